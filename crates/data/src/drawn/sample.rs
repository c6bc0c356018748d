//! What is drawn and what is said about it.

use sensorium_media::Picture;

use crate::drawn::scene::{Places, Scene};

/// A question and its answer.
pub type Turn = [String; 2];

/// A picture and what it shows.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The picture, square.
    pub picture: Picture,
    /// A true sentence about it.
    pub caption: String,
    /// What the caption says, worded in one way.
    pub gist: String,
    /// What a captioner learns to answer: of a scene, a few questions; then, unasked, all there is.
    pub turns: Vec<Turn>,
    /// The same sentence made false, where that is possible: first by swapping two attributes.
    pub negatives: Vec<String>,
    /// What the caption tells of where things lie and how large they are.
    pub places: Places,
    /// Equal for pairs whose captions may hold for each other's pictures: leave those out of the
    /// negatives of a contrastive loss.
    pub concept: u64,
    /// What is drawn, of a scene.
    pub scene: Option<Scene>,
}
