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

    /// The model could not be asked.
    #[error(transparent)]
    Model(#[from] sensorium_model::nano::NanoError),
}
