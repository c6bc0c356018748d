//! What can go wrong while measuring.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, EvalError>;

/// Each message says what was expected, what was found and where, and ends with a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A data set is missing or damaged.
    #[error(transparent)]
    Data(#[from] sensorium_data::Error),

    /// The model cannot do the task, or could not be asked.
    #[error(transparent)]
    Model(#[from] sensorium_inference::Error),

    /// A window of text does not fit the model.
    #[error(
        "expected a window of 4 to {longest} tokens, got {got}\nhint: --context N; 512 is what others measure with"
    )]
    Window {
        /// The model's context.
        longest: usize,
        /// The window asked for.
        got: usize,
    },

    /// The text is too short to be measured.
    #[error(
        "expected a text of at least one window of {context} tokens, got {got} tokens\nhint: take a longer text, or a shorter window with --context"
    )]
    ShortText {
        /// Tokens of a window.
        context: usize,
        /// Tokens of the text.
        got: usize,
    },

    /// More of the data is broken than may be.
    #[error(
        "expected at most {} % of the examples broken, got {bad} of {of}: {named}\nhint: mend them, or raise --max-bad; `sensorium data check` lists them all", max_bad * 100.0
    )]
    TooManyBad {
        /// How many.
        bad: usize,
        /// Of how many.
        of: usize,
        /// The share that may be.
        max_bad: f64,
        /// The first of them.
        named: String,
    },

    /// Nothing of the data could be measured.
    #[error(
        "expected examples for {task}, got none: {reason}\nhint: `sensorium data check` tells what a data set holds"
    )]
    Nothing {
        /// What was to be measured.
        task: &'static str,
        /// What is wrong with the first.
        reason: String,
    },

    /// A data set that goes on for ever.
    #[error(
        "expected data with an end, got kind = {kind}, which is drawn\nhint: --samples N measures on the first N"
    )]
    Endless {
        /// Its kind.
        kind: &'static str,
    },

    /// The model does not know what its training set was like.
    #[error(
        "expected a model that knows what its training set was like, got another\nhint: recipe = \"domain\" looks at the pictures of a model that was trained here"
    )]
    NoDomain,

    /// Examples are no drawn scenes.
    #[error(
        "expected drawn scenes, whose facts are known, got other data\nhint: --kind scenes --set objects=3 draws them"
    )]
    NoScene,

    /// A data set lacks what is measured.
    #[error(
        "expected examples with {lacks} for {task}, got some without\nhint: docs/eval.md lists what each task reads; --kind says how the data are written"
    )]
    Lacks {
        /// What was to be measured.
        task: &'static str,
        /// What it needs.
        lacks: &'static str,
    },

    /// A data set without classes.
    #[error(
        "expected pictures of two classes or more, got {got}\nhint: one folder for each class, or a table whose texts are the classes"
    )]
    Classes {
        /// Classes.
        got: usize,
    },

    /// More labels than there are, or too few.
    #[error(
        "expected {classes} to {pool} labels, got {labels}\nhint: at least one for each class; a fifth of the data is measured on"
    )]
    Labels {
        /// Labels asked for.
        labels: usize,
        /// Classes.
        classes: usize,
        /// Labels that there are.
        pool: usize,
    },

    /// A prompt has no place for what it is about.
    #[error(
        "expected {{}} in the prompt, got {got:?}\nhint: {{}} stands for {what}, as in {example:?}"
    )]
    Prompt {
        /// The prompt.
        got: String,
        /// What is put there.
        what: &'static str,
        /// One that has it.
        example: &'static str,
    },

    /// Exemplars for what is not asked in words.
    #[error(
        "expected caption or vqa with exemplars, got {task}\nhint: leave --shots out, or measure one of the two"
    )]
    Shots {
        /// What was to be measured.
        task: &'static str,
    },

    /// There are not enough exemplars.
    #[error(
        "expected {expected} exemplars beside the item, got {got}\nhint: --exemplars takes pictures with captions for caption and questions with answers for vqa; ask for fewer --shots"
    )]
    Exemplars {
        /// How many are to be shown.
        expected: usize,
        /// How many there are.
        got: usize,
    },

    /// Two reports that are not of the same thing.
    #[error(
        "expected two reports of the same {what}, got {a} and {b}\nhint: measure both models with the same task, --data, --limit and --split"
    )]
    NotAlike {
        /// What differs.
        what: &'static str,
        /// The first's.
        a: String,
        /// The second's.
        b: String,
    },
}
