//! Boxes in answers, and how much two of them share.
//!
//! ```text
//! [0.1, 0.2, 0.5, 0.9]                 x1 y1 x2 y2 as shares of the picture (LLaVA, Shikra)
//! [100, 200, 500, 900]                 in thousandths (Qwen-VL, InternVL, most others)
//! (100,200),(500,900)                  the same (Qwen-VL)
//! <loc0102><loc0205><loc0512><loc0921> y1 x1 y2 x2 in 1024ths (PaliGemma)
//! ```

/// Left, top, right and bottom as shares of the picture.
pub type Box = [f64; 4];

/// The first box of an answer: the first four numbers between brackets of any kind, or the first four
/// `<loc....>`. Corners in the wrong order are put right.
pub fn find(answer: &str) -> Option<Box> {
    let found = match locations(answer) {
        Some([top, left, bottom, right]) => [left, top, right, bottom].map(|x| x / 1024.0),
        None => {
            let found = numbers(answer)?;
            let whole = if found.iter().all(|x| *x <= 1.0) { 1.0 } else { 1000.0 };
            found.map(|x| x / whole)
        }
    };
    let [a, b, c, d] = found;
    let sound = found.iter().all(|x| (0.0..=1.0).contains(x));
    sound.then_some([a.min(c), b.min(d), a.max(c), b.max(d)])
}

fn locations(answer: &str) -> Option<[f64; 4]> {
    let marks = answer.split("<loc").skip(1);
    let mut numbers = marks.filter_map(|mark| mark.split('>').next()?.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?])
}

/// Four numbers of which the first stands behind an opening bracket, with nothing between them but
/// brackets, commas, spaces and the marks `<x1>`, as some models write.
fn numbers(answer: &str) -> Option<[f64; 4]> {
    let openings = answer.match_indices(['[', '(', '{', '<']);
    openings.filter_map(|(at, bracket)| four(&answer[at + bracket.len()..])).next()
}

fn four(text: &str) -> Option<[f64; 4]> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let is_between = |c: char| "[](){}<>,; \n".contains(c);
    let (mut rest, mut found) = (text, [0.0; 4]);
    for number in &mut found {
        rest = rest.trim_start_matches(is_between);
        let end = rest.find(|c| !is_number(c)).unwrap_or(rest.len());
        *number = rest[..end].parse().ok()?;
        rest = &rest[end..];
    }
    Some(found)
}

/// What two boxes share of what they cover together, 0 to 1.
pub fn iou(a: Box, b: Box) -> f64 {
    let side = |low: f64, high: f64| (high - low).max(0.0);
    let area = |[left, top, right, bottom]: Box| side(left, right) * side(top, bottom);
    let both = [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])];
    let shared = area(both);
    let covered = area(a) + area(b) - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_found_in_what_models_say() {
        for (answer, wanted) in [
            ("[0.1, 0.2, 0.5, 0.9]", Some([0.1, 0.2, 0.5, 0.9])),
            ("The dog is at [100, 200, 500, 900].", Some([0.1, 0.2, 0.5, 0.9])),
            ("<box>(100,200),(500,900)</box>", Some([0.1, 0.2, 0.5, 0.9])),
            ("<loc0256><loc0512><loc0768><loc1024> dog", Some([0.5, 0.25, 1.0, 0.75])),
            ("(see 1) [[500, 900, 100, 200]]", Some([0.1, 0.2, 0.5, 0.9])),
            ("{\"bbox\": [1, 0, 0, 1]}", Some([0.0, 0.0, 1.0, 1.0])),
            ("[1, 2, 3]", None),
            ("[1, 2, 3, 4000]", None),
            ("[-0.1, 0.2, 0.3, 0.4]", None),
            ("no box", None),
            ("", None),
        ] {
            assert_eq!(find(answer), wanted, "{answer}");
        }
    }

    #[test]
    fn overlaps_by_hand() {
        let unit = [0.0, 0.0, 1.0, 1.0];
        for (a, b, wanted) in [
            (unit, unit, 1.0),
            (unit, [0.0, 0.0, 0.5, 0.5], 0.25),
            ([0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.75, 1.0], 1.0 / 3.0),
            ([0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 1.0, 1.0], 0.0),
            ([0.5; 4], [0.5; 4], 0.0),
        ] {
            assert!((iou(a, b) - wanted).abs() < 1e-12, "{a:?} {b:?}: {}", iou(a, b));
        }
    }
}
