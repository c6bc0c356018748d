//! What is drawn when: few objects first.

use crate::drawn::scene::MOST_OBJECTS;

/// Before this much of a run, pairs show one large solid object. Shapes must first be plain to see:
/// among small ones a model learns colours and then nothing for a long time.
pub const FIRST: f32 = 0.15;

/// Before this much of a run, scenes hold one or two objects; after it, up to six.
pub const EASY: f32 = 0.4;

/// How many objects scenes hold at most after `progress` (0 to 1) of a run.
pub fn most_objects(progress: f32) -> usize {
    if progress < EASY { 2 } else { MOST_OBJECTS }
}
