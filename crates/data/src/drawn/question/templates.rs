//! The wordings of every question, at least eight per kind. The first is the plainest.
//!
//! `{x}` and `{y}` are noun phrases without an article ("red circle"), `{a x}` and `{a y}` with
//! one, `{s}` and `{t}` plurals, `{r}` words for a relation ("left of").

/// The colour of `{x}`.
pub(super) const COLOR: &[&str] = &[
    "what colour is the {x}?",
    "what is the colour of the {x}?",
    "which colour is the {x}?",
    "which colour does the {x} have?",
    "please tell me the colour of the {x}",
    "colour of the {x}?",
    "the {x} is what colour?",
    "tell me what colour the {x} is",
    "what colour is that {x}?",
    "can you see what colour the {x} is?",
    "name the colour of the {x}",
    "{x} colour?",
    "what colour has the {x}?",
    "which colour was used for the {x}?",
];

/// The only object's shape.
pub(super) const ONLY_SHAPE: &[&str] = &[
    "what shape is in the image?",
    "what shape is present?",
    "what shape does the image contain?",
    "what shape is this?",
    "which shape is shown?",
    "what is this?",
    "name the shape",
    "which shape is it?",
    "please name the shape in the picture",
    "what shape do you see?",
    "what is in the picture?",
    "shape?",
    "what does the picture show?",
    "which shape can be seen?",
];

/// The shape of the object that is `{x}`, a colour.
pub(super) const SHAPE: &[&str] = &[
    "what is the {x} shape?",
    "what shape is {x}?",
    "which shape is {x}?",
    "what shape is the {x} object?",
    "what is the {x} thing?",
    "which shape is the {x} one?",
    "please name the {x} shape",
    "name the shape that is {x}",
    "{x} shape?",
    "the {x} object is a what?",
    "what {x} shape do you see?",
    "tell me what the {x} shape is",
    "what kind of shape is {x}?",
    "the shape in {x} is which one?",
];

/// How many `{s}`.
pub(super) const COUNT: &[&str] = &[
    "how many {s} are there?",
    "how many {s} do you see?",
    "how many {s} are in the image?",
    "how many {s} does the picture show?",
    "count the {s}",
    "number of {s}?",
    "what is the number of {s}?",
    "please count the {s}",
    "how many {s}?",
    "tell me how many {s} there are",
    "can you count the {s}?",
    "how many {s} can be seen?",
    "what number of {s} is shown?",
    "how many {s} are present?",
];

/// Is there `{a x}`?
pub(super) const EXISTS: &[&str] = &[
    "is there {a x}?",
    "is there {a x} in the image?",
    "is {a x} present?",
    "does the image contain {a x}?",
    "do you see {a x}?",
    "can you see {a x}?",
    "does the picture show {a x}?",
    "is {a x} in the picture?",
    "please tell me if there is {a x}",
    "any {x}?",
    "is {a x} visible?",
    "does this have {a x}?",
    "is there any {x}?",
    "can {a x} be seen?",
];

/// Is there no `{x}`? Yes when there is none.
pub(super) const NEGATION: &[&str] = &[
    "is there not {a x}?",
    "is there not {a x} in the image?",
    "is no {x} present?",
    "does the image not contain {a x}?",
    "is there no {x}?",
    "is it true that there is no {x}?",
    "does the picture show no {x}?",
    "is {a x} missing?",
    "is {a x} absent?",
    "is the image without {a x}?",
    "no {x} here, right?",
    "does the picture lack {a x}?",
    "is there no {x} in the image?",
    "is no {x} visible?",
];

/// Are there `{a x}` and `{a y}`?
pub(super) const BOTH: &[&str] = &[
    "is there {a x} and {a y}?",
    "are there {a x} and {a y}?",
    "do you see {a x} and {a y}?",
    "does the image contain {a x} and {a y}?",
    "is there both {a x} and {a y}?",
    "are {a x} and {a y} present?",
    "does the picture show {a x} and {a y}?",
    "can you see both {a x} and {a y}?",
    "{a x} and {a y}, are both there?",
    "are both {a x} and {a y} in the image?",
    "are {a x} and {a y} shown?",
    "please check: is there {a x} and {a y}?",
    "is {a x} shown together with {a y}?",
    "can both {a x} and {a y} be seen?",
];

/// Is `{x}` `{r}` `{y}`?
pub(super) const RELATION: &[&str] = &[
    "is the {x} {r} the {y}?",
    "does the {x} lie {r} the {y}?",
    "is the {x} located {r} the {y}?",
    "the {x} is {r} the {y}, right?",
    "do you see the {x} {r} the {y}?",
    "is it true that the {x} is {r} the {y}?",
    "{x} {r} the {y}?",
    "please tell me if the {x} is {r} the {y}",
    "can the {x} be found {r} the {y}?",
    "is the {x} placed {r} the {y}?",
    "does the picture show the {x} {r} the {y}?",
    "is the {x} drawn {r} the {y}?",
    "would you say the {x} is {r} the {y}?",
    "does the {x} sit {r} the {y}?",
];

/// On which side `{x}` is of `{y}`; `{r}` names both, "left or right of".
pub(super) const SIDE: &[&str] = &[
    "is the {x} {r} the {y}?",
    "does the {x} lie {r} the {y}?",
    "is the {x} located {r} the {y}?",
    "the {x} is {r} the {y}, which one?",
    "do you see the {x} {r} the {y}?",
    "say whether the {x} is {r} the {y}",
    "{x} {r} the {y}?",
    "please tell me if the {x} is {r} the {y}",
    "can the {x} be found {r} the {y}?",
    "is the {x} placed {r} the {y}?",
    "does the picture show the {x} {r} the {y}?",
    "is the {x} drawn {r} the {y}?",
    "would you say the {x} is {r} the {y}?",
    "does the {x} sit {r} the {y}?",
];

/// What is `{r}` `{y}`?
pub(super) const NEIGHBOUR: &[&str] = &[
    "what is {r} the {y}?",
    "what do you see {r} the {y}?",
    "which object is {r} the {y}?",
    "what lies {r} the {y}?",
    "what can be seen {r} the {y}?",
    "which shape is {r} the {y}?",
    "{r} the {y} there is what?",
    "what is located {r} the {y}?",
    "name the object {r} the {y}",
    "please tell me what is {r} the {y}",
    "what is drawn {r} the {y}?",
    "what sits {r} the {y}?",
    "which thing is {r} the {y}?",
    "tell me what is {r} the {y}",
];

/// The size of `{x}`.
pub(super) const SIZE: &[&str] = &[
    "what size is the {x}?",
    "how big is the {x}?",
    "how large is the {x}?",
    "is the {x} small, medium or large?",
    "what is the size of the {x}?",
    "size of the {x}?",
    "which size does the {x} have?",
    "please tell me the size of the {x}",
    "tell me how big the {x} is",
    "is the {x} large, medium or small?",
    "{x} size?",
    "the {x} is of which size?",
    "which size is the {x}?",
    "of what size is the {x}?",
];

/// The fill of `{x}`.
pub(super) const FILL: &[&str] = &[
    "is the {x} solid, outlined or striped?",
    "how is the {x} filled?",
    "what fill does the {x} have?",
    "what is the fill of the {x}?",
    "which fill has the {x}?",
    "is the {x} striped, solid or outlined?",
    "what pattern does the {x} have?",
    "fill of the {x}?",
    "please tell me how the {x} is filled",
    "how is the {x} drawn inside?",
    "what is the pattern of the {x}?",
    "tell me the fill of the {x}",
    "the {x} is filled in what way?",
    "which pattern fills the {x}?",
];

/// Is `{x}` larger than `{y}`? `{more}` is larger, bigger or smaller.
pub(super) const LARGER: &[&str] = &[
    "is the {x} {more} than the {y}?",
    "is the {y} not as {much} as the {x}?",
    "would you say the {x} is {more} than the {y}?",
    "the {x} is {more} than the {y}, right?",
    "is it true that the {x} is {more} than the {y}?",
    "{x} {more} than the {y}?",
    "compare them: is the {x} {more} than the {y}?",
    "does the {x} look {more} than the {y}?",
    "please tell me if the {x} is {more} than the {y}",
    "is the {x} drawn {more} than the {y}?",
    "can you see that the {x} is {more} than the {y}?",
    "of the {x} and the {y}, is the {x} {more}?",
    "is the {x} the {more} one, compared to the {y}?",
    "do you find the {x} {more} than the {y}?",
];

/// Are there more `{s}` than `{t}`?
pub(super) const MORE: &[&str] = &[
    "are there more {s} than {t}?",
    "are there fewer {t} than {s}?",
    "more {s} than {t}?",
    "do you see more {s} than {t}?",
    "does the image contain more {s} than {t}?",
    "is the number of {s} greater than the number of {t}?",
    "do the {s} outnumber the {t}?",
    "does the picture show more {s} than {t}?",
    "please tell me if there are more {s} than {t}",
    "are the {s} more than the {t}?",
    "is it true that there are more {s} than {t}?",
    "can you see more {s} than {t}?",
    "are more {s} than {t} present?",
    "compared to the {t}, are there more {s}?",
];

/// Where `{x}` is.
pub(super) const WHERE: &[&str] = &[
    "where is the {x}?",
    "where in the image is the {x}?",
    "where do you see the {x}?",
    "in which part of the picture is the {x}?",
    "where can the {x} be found?",
    "what is the position of the {x}?",
    "position of the {x}?",
    "please tell me where the {x} is",
    "where does the {x} lie?",
    "locate the {x}",
    "tell me where the {x} is",
    "where is the {x} located?",
    "in what place is the {x}?",
    "find the {x}",
];

/// `{c}` or `{d}`, two colours, of `{x}`.
pub(super) const CHOOSE: &[&str] = &[
    "is the {x} {c} or {d}?",
    "which is it: is the {x} {c} or {d}?",
    "the {x}: {c} or {d}?",
    "do you see the {x} in {c} or in {d}?",
    "what colour is the {x}, {c} or {d}?",
    "would you call the {x} {c} or {d}?",
    "{c} or {d}: what is the {x}?",
    "please choose: is the {x} {c} or {d}?",
    "choose a colour for the {x}: {c} or {d}",
    "is that {x} {c} or {d}?",
    "does the {x} look {c} or {d}?",
    "tell me, is the {x} {c} or {d}?",
    "of {c} and {d}, which is the colour of the {x}?",
    "is the colour of the {x} {c} or {d}?",
];

/// Whether the two objects agree in `{k}`, which is colour, shape or size.
pub(super) const SAME: &[&str] = &[
    "do the two shapes have the same {k}?",
    "are both of the same {k}?",
    "is the {k} of both objects the same?",
    "do both objects have the same {k}?",
    "same {k}?",
    "are the two objects equal in {k}?",
    "do they share the same {k}?",
    "please tell me if both have the same {k}",
    "do the objects agree in {k}?",
    "have the two the same {k}?",
    "is it true that both have the same {k}?",
    "are the two things of one {k}?",
    "is the {k} the same for both?",
    "do they match in {k}?",
];

/// The background's colour.
pub(super) const BACKGROUND: &[&str] = &[
    "what colour is the background?",
    "what is the colour of the background?",
    "which colour does the background have?",
    "what is the background colour?",
    "background colour?",
    "what colour is behind everything?",
    "which colour is the background?",
    "please tell me the colour of the background",
    "on what colour is this drawn?",
    "what colour is the page?",
    "tell me the background colour",
    "what colour is the paper?",
    "the background is what colour?",
    "name the colour of the background",
];
