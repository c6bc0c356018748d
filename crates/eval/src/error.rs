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
}
