//! What a renderer knows of what it drew, for losses that ask more than a caption tells.

use crate::drawn::conversation::Turn;
use crate::drawn::look::Look;
use crate::drawn::scene::{NAMES, Object, Places, Scene, UNKNOWN};

/// What is known of a drawn example beside its caption.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the caption says, worded in one way.
    pub gist: String,
    /// What a captioner learns to answer; where nothing is asked, the question is empty.
    pub turns: Vec<Turn>,
    pub(crate) places: Places,
    pub(crate) scene: Option<Scene>,
}

impl Facts {
    /// What was drawn, of a scene.
    pub fn scene(&self) -> Option<&Scene> {
        self.scene.as_ref()
    }

    /// How many classes each attribute of a region has; class 0 is "nothing is there".
    pub const REGION_CLASSES: [usize; 4] = Look::CLASSES;

    /// The length of what [`Facts::places_shown`] and [`Facts::places_told`] give.
    pub const PLACES: usize = 3 * NAMES;

    /// The classes of what lies at each position of a `grid` x `grid` map of the picture, row by row;
    /// nothing where that is not known.
    pub fn regions(&self, grid: usize) -> Option<Vec<[i32; 4]>> {
        let classes = |here: Option<&Object>| here.map_or([0; 4], |o| o.look().classes());
        Some(self.scene.as_ref()?.regions(grid).into_iter().map(classes).collect())
    }

    /// Where named things lie in the picture and how large they are, each number from -1 to 1.
    pub fn places_shown(&self) -> Vec<Option<f32>> {
        let places = self.scene.as_ref().map_or(UNKNOWN, Scene::places);
        places.as_flattened().to_vec()
    }

    /// What the caption tells of that.
    pub fn places_told(&self) -> Vec<Option<f32>> {
        self.places.as_flattened().to_vec()
    }
}
