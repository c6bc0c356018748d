//! Data sets in TOML:
//!
//! ```toml
//! [data]
//! val_share = 0.05                  # of each user's set below, where no [[data.val]] is given
//! [[data.train]]
//! kind = "folder"
//! path = "my/pictures"
//! share = 0.8
//! [[data.train]]
//! kind = "scenes"
//! share = 0.2
//! ```

use std::path::{Path, PathBuf};

use sensorium_media::MediaDecoder;
use serde::{Deserialize, Serialize};

use crate::drawn::caption::RELATED;
use crate::drawn::clinic::{self, Without};
use crate::drawn::conversation::Focus;
use crate::drawn::easy_vqa::EasyVqa;
use crate::drawn::icons::Icons;
use crate::drawn::scene::Split;
use crate::drawn::{clips, datasets, edits, records, sounds};
use crate::read::table::Columns;
use crate::read::texts::SampleBy;
use crate::read::{
    Entry, Records, captions, folder, interleaved, llava_json, messages, parquet, table, texts,
    vqa, webdataset,
};
use crate::{Augment, Dataset, Error, Mixture, Result};

/// What a run learns from, and what it is measured on meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Data sets to learn from.
    pub train: Vec<DatasetConfig>,
    /// Data sets to measure on.
    #[serde(default)]
    pub val: Vec<DatasetConfig>,
    /// Share (0 to 1) of each of the user's sets in `train` that is measured on and never learned
    /// from. Only without `val`.
    #[serde(default)]
    pub val_share: f32,
    /// Share (0 to 1) of examples that may be unreadable before a run stops.
    #[serde(default = "max_bad")]
    pub max_bad: f64,
    /// How the pictures of `train` that come from files are changed at random.
    pub augment: Option<Augment>,
    /// How much of the way from easy to full scenes (0 to 1) lies behind at the first step and at the
    /// last: from 0.4 on, scenes hold all that they can.
    #[serde(default = "all_the_way")]
    pub curriculum: [f32; 2],
}

fn all_the_way() -> [f32; 2] {
    [0.0, 1.0]
}

fn max_bad() -> f64 {
    0.05
}

/// One data set. `share` is how often its examples come, as compared with the other sets'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DatasetConfig {
    /// Pictures with a `metadata.csv` or `metadata.jsonl`, or in one folder for each class: see
    /// [`folder`].
    Folder {
        /// The folder.
        path: PathBuf,
        /// The files are videos, of which so many frames are taken, evenly (1 to 64); without it each is a
        /// picture.
        frames: Option<usize>,
        /// What a conversation asks for a file's text, as "what is said?" of recordings; without it, the text
        /// is a caption.
        request: Option<String>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Conversations about pictures, as LLaVA has them: see [`llava_json`].
    LlavaJson {
        /// The JSON file.
        path: PathBuf,
        /// The folder of its pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Conversations as chat models' APIs have them, or prompts with completions: see [`messages`].
    Messages {
        /// The file of JSON lines.
        path: PathBuf,
        /// The folder of its pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// A table of files and captions: see [`table`].
    Csv {
        /// The table.
        path: PathBuf,
        /// The folder of its pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// The column of pictures' files.
        #[serde(default = "filepath")]
        image_key: String,
        /// The column of captions.
        #[serde(default = "title")]
        caption_key: String,
        /// What is between columns; without it, tabs, or commas where there are none.
        separator: Option<char>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Captions in one JSON file, as COCO, Karpathy's splits or LAVIS have them: see [`captions`].
    Captions {
        /// The JSON file.
        path: PathBuf,
        /// The folder of its pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Questions and answers in two JSON files, as VQAv2 has them: see [`vqa`].
    Vqa {
        /// The JSON file of questions.
        path: PathBuf,
        /// The JSON file of annotations.
        answers: PathBuf,
        /// The folder of its pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// A picture's file, as `COCO_train2014_{:012}.jpg`.
        image: String,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Shards of pictures with captions: see [`webdataset`].
    Webdataset {
        /// Which files: `photos-{000..123}.tar`, `photos-*.tar`, several joined by `::`.
        path: PathBuf,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Pictures with captions, conversations, documents or texts in Parquet files: see [`parquet`].
    Parquet {
        /// Which files: one, a folder of them, or a pattern as of `webdataset`.
        path: PathBuf,
        /// The folder of pictures that are named, not held; without it, the file's own.
        images: Option<PathBuf>,
        /// The column of pictures.
        image_key: Option<String>,
        /// The column of captions.
        caption_key: Option<String>,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Documents of texts and pictures in turn, as MMC4 and OBELICS have them: see [`interleaved`].
    Interleaved {
        /// Which files: JSON lines or tar, one or a pattern as of `webdataset`.
        path: PathBuf,
        /// The folder of the pictures; without it, the file's own.
        images: Option<PathBuf>,
        /// The least similarity of a picture of MMC4 to its text.
        #[serde(default = "min_similarity")]
        min_similarity: f32,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Plain texts: see [`texts`].
    Text {
        /// A file, or a folder of them.
        path: PathBuf,
        /// What an example is.
        #[serde(default)]
        sample_by: SampleBy,
        /// Under which licence it may be learned from.
        licence: Option<String>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Drawn scenes with captions.
    Scenes {
        /// How often (0 to 1) a caption tells how two objects lie, where they can be told apart.
        #[serde(default = "related")]
        related: f32,
        /// The most objects of a scene; without, six once a run's curriculum is over.
        #[serde(default)]
        objects: Option<usize>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Questions and answers about drawn scenes.
    SceneConversations {
        /// What is asked more often.
        #[serde(default)]
        focus: Focus,
        /// Share (0 to 1) of the conversations whose questions are each asked as if they were the
        /// first.
        #[serde(default = "isolated")]
        isolated: f32,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Everything there is in drawn scenes, asked for and told.
    SceneDescriptions {
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Pictures of scenes that are to be changed, and as they then are, as the answer.
    SceneEdits {
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Sounds with captions: see [`sounds`].
    Sounds {
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Questions and answers about sounds.
    SoundConversations {
        /// As of `scene-conversations`.
        #[serde(default = "isolated")]
        isolated: f32,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Videos of eight frames with captions: see [`clips`].
    Clips {
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Questions and answers about such videos.
    ClipConversations {
        /// As of `scene-conversations`.
        #[serde(default = "isolated")]
        isolated: f32,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Tables of drawn scenes' objects with captions: see [`records`].
    Records {
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Questions and answers about such tables.
    RecordConversations {
        /// As of `scene-conversations`.
        #[serde(default = "isolated")]
        isolated: f32,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// A picture of a cell and a patient's row, and whether they are ill: see [`clinic`].
    Clinic {
        /// What is left out.
        without: Option<Without>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Texts about what is drawn.
    Documents {
        /// The icons' directory, for their words; without it there are only scenes.
        icons: Option<PathBuf>,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// Icons with captions.
    Icons {
        /// Their directory.
        path: PathBuf,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
    /// easy-VQA's questions, a conversation for each picture.
    EasyVqa {
        /// Its directory.
        path: PathBuf,
        /// The most questions about one picture.
        #[serde(default = "turns")]
        turns: usize,
        /// As of `scene-conversations`.
        #[serde(default = "isolated")]
        isolated: f32,
        /// See [`DatasetConfig`].
        #[serde(default = "one")]
        share: f32,
    },
}

fn one() -> f32 {
    1.0
}

/// open_flamingo's.
fn min_similarity() -> f32 {
    0.24
}

fn filepath() -> String {
    "filepath".into()
}

fn title() -> String {
    "title".into()
}

fn related() -> f32 {
    RELATED
}

fn isolated() -> f32 {
    0.8
}

fn turns() -> usize {
    8
}

/// What opening a data set takes beside its config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Seed of what is drawn and of every order.
    pub seed: u64,
    /// Which part: of a user's set, all but [`Split::Train`] is what `val_share` sets apart.
    pub split: Split,
    /// Share (0 to 1) of a user's set that is set apart; 0 leaves it whole, whatever the split.
    pub val_share: f32,
    /// Side of drawn pictures in pixels.
    pub picture_size: u32,
}

impl Config {
    /// What the run learns from, files' pictures decoded by `decoder`.
    ///
    /// # Errors
    /// A data set that does not open, or a setting that makes no sense.
    pub fn open_train(
        &self,
        seed: u64,
        picture_size: u32,
        decoder: &MediaDecoder,
    ) -> Result<Mixture> {
        let val_share = if self.val.is_empty() { self.val_share } else { 0.0 };
        if !(0.0..1.0).contains(&val_share) {
            let got = val_share.to_string();
            return Err(Error::Config { key: "val_share", expected: "0 or more, below 1", got });
        }
        let options = OpenOptions { seed, split: Split::Train, val_share, picture_size };
        let train = mixture(&self.train, &options, decoder)?;
        match self.augment {
            Some(augment) => augment.check().map(|_| train.augmented(augment, picture_size)),
            None => Ok(train),
        }
    }

    /// What the run is measured on; nothing where neither `val` nor `val_share` is set.
    ///
    /// # Errors
    /// As [`Config::open_train`].
    pub fn open_val(
        &self,
        seed: u64,
        picture_size: u32,
        decoder: &MediaDecoder,
    ) -> Result<Option<Mixture>> {
        let options = OpenOptions { seed, split: Split::Val, val_share: 0.0, picture_size };
        match (&self.val[..], self.val_share) {
            ([], 0.0) => Ok(None),
            ([], val_share) => {
                mixture(&self.train, &OpenOptions { val_share, ..options }, decoder).map(Some)
            }
            (val, _) => mixture(val, &options, decoder).map(Some),
        }
    }
}

/// Where the files of a data set at `path` are: of a pattern, that of its first file.
fn folder_of(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let first = Path::new(text.split("::").next().unwrap_or_default());
    match first.is_dir() {
        true => first.to_owned(),
        false => first.parent().unwrap_or(first).to_owned(),
    }
}

fn mixture(
    configs: &[DatasetConfig],
    options: &OpenOptions,
    decoder: &MediaDecoder,
) -> Result<Mixture> {
    let open = |config: &DatasetConfig| Ok((config.open(options, decoder)?, config.share()));
    Mixture::new(options.seed, configs.iter().map(open).collect::<Result<_>>()?)
}

impl DatasetConfig {
    /// How often its examples come, as compared with the other sets'.
    pub fn share(&self) -> f32 {
        match self {
            Self::Folder { share, .. }
            | Self::LlavaJson { share, .. }
            | Self::Messages { share, .. }
            | Self::Csv { share, .. }
            | Self::Captions { share, .. }
            | Self::Vqa { share, .. }
            | Self::Webdataset { share, .. }
            | Self::Parquet { share, .. }
            | Self::Interleaved { share, .. }
            | Self::Text { share, .. }
            | Self::Scenes { share, .. }
            | Self::SceneConversations { share, .. }
            | Self::SceneDescriptions { share }
            | Self::SceneEdits { share }
            | Self::Sounds { share }
            | Self::SoundConversations { share, .. }
            | Self::Clips { share }
            | Self::ClipConversations { share, .. }
            | Self::Records { share }
            | Self::RecordConversations { share, .. }
            | Self::Clinic { share, .. }
            | Self::Documents { share, .. }
            | Self::Icons { share, .. }
            | Self::EasyVqa { share, .. } => *share,
        }
    }

    /// Its `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::LlavaJson { .. } => "llava-json",
            Self::Messages { .. } => "messages",
            Self::Csv { .. } => "csv",
            Self::Captions { .. } => "captions",
            Self::Vqa { .. } => "vqa",
            Self::Webdataset { .. } => "webdataset",
            Self::Parquet { .. } => "parquet",
            Self::Interleaved { .. } => "interleaved",
            Self::Text { .. } => "text",
            Self::Scenes { .. } => "scenes",
            Self::SceneConversations { .. } => "scene-conversations",
            Self::SceneDescriptions { .. } => "scene-descriptions",
            Self::SceneEdits { .. } => "scene-edits",
            Self::Sounds { .. } => "sounds",
            Self::SoundConversations { .. } => "sound-conversations",
            Self::Clips { .. } => "clips",
            Self::ClipConversations { .. } => "clip-conversations",
            Self::Records { .. } => "records",
            Self::RecordConversations { .. } => "record-conversations",
            Self::Clinic { .. } => "clinic",
            Self::Documents { .. } => "documents",
            Self::Icons { .. } => "icons",
            Self::EasyVqa { .. } => "easy-vqa",
        }
    }

    /// Where it is read from, if it is not all drawn.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Folder { path, .. }
            | Self::LlavaJson { path, .. }
            | Self::Messages { path, .. }
            | Self::Csv { path, .. }
            | Self::Captions { path, .. }
            | Self::Vqa { path, .. }
            | Self::Webdataset { path, .. }
            | Self::Parquet { path, .. }
            | Self::Interleaved { path, .. }
            | Self::Text { path, .. }
            | Self::Icons { path, .. }
            | Self::EasyVqa { path, .. } => Some(path),
            Self::Documents { icons, .. } => icons.as_deref(),
            Self::Scenes { .. }
            | Self::SceneConversations { .. }
            | Self::SceneDescriptions { .. }
            | Self::SceneEdits { .. }
            | Self::Sounds { .. }
            | Self::SoundConversations { .. }
            | Self::Clips { .. }
            | Self::ClipConversations { .. }
            | Self::Records { .. }
            | Self::RecordConversations { .. }
            | Self::Clinic { .. } => None,
        }
    }

    /// Under which licence it may be learned from, where that is known.
    pub fn licence(&self) -> Option<&str> {
        match self {
            Self::Folder { licence, .. }
            | Self::LlavaJson { licence, .. }
            | Self::Messages { licence, .. }
            | Self::Csv { licence, .. }
            | Self::Captions { licence, .. }
            | Self::Vqa { licence, .. }
            | Self::Webdataset { licence, .. }
            | Self::Parquet { licence, .. }
            | Self::Interleaved { licence, .. }
            | Self::Text { licence, .. } => licence.as_deref(),
            Self::Scenes { .. }
            | Self::SceneConversations { .. }
            | Self::SceneDescriptions { .. }
            | Self::SceneEdits { .. }
            | Self::Sounds { .. }
            | Self::SoundConversations { .. }
            | Self::Clips { .. }
            | Self::ClipConversations { .. }
            | Self::Records { .. }
            | Self::RecordConversations { .. }
            | Self::Clinic { .. }
            | Self::Documents { .. } => Some("MIT OR Apache-2.0, drawn by this program"),
            Self::Icons { .. } => Some("Apache-2.0 (Noto Emoji) and MIT (Fluent Emoji, emojibase)"),
            Self::EasyVqa { .. } => Some("MIT, Victor Zhou"),
        }
    }

    /// Opens the data set: lists what it holds, decodes no user's picture yet. `decoder` will.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another format, or nothing in it.
    pub fn open(&self, options: &OpenOptions, decoder: &MediaDecoder) -> Result<Box<dyn Dataset>> {
        let options = *options;
        let asked = |isolated, talk: datasets::Talk| {
            datasets::conversations(self.kind(), options, isolated, talk)
        };
        Ok(match self {
            Self::Folder { path, frames, request, .. } => {
                let records = folder::read(path)?;
                let records = Records::new("folder", path, path, records, &options, decoder)?;
                Box::new(records.watched(*frames)?.asked(request.clone()))
            }
            Self::LlavaJson { path, images, .. }
            | Self::Messages { path, images, .. }
            | Self::Csv { path, images, .. }
            | Self::Captions { path, images, .. }
            | Self::Parquet { path, images, .. }
            | Self::Interleaved { path, images, .. }
            | Self::Vqa { path, images, .. } => {
                let images = images.clone().unwrap_or_else(|| folder_of(path));
                let images = images.as_path();
                let records = self.entries(path, images, &options)?;
                Box::new(Records::new(self.kind(), path, images, records, &options, decoder)?)
            }
            Self::Webdataset { path, .. } => {
                let records = webdataset::read(&path.to_string_lossy())?;
                Box::new(Records::new("webdataset", path, path, records, &options, decoder)?)
            }
            Self::Text { path, sample_by, .. } => {
                let records = texts::read(path, *sample_by)?;
                Box::new(Records::new("text", path, path, records, &options, decoder)?)
            }
            Self::Scenes { related, objects, .. } => datasets::scenes(options, *related, *objects),
            Self::SceneConversations { focus, isolated, .. } => {
                datasets::scene_conversations(options, focus.clone(), *isolated)
            }
            Self::SceneDescriptions { .. } => datasets::scene_descriptions(options),
            Self::SceneEdits { .. } => datasets::captioned(self.kind(), options, edits::edit),
            Self::Sounds { .. } => datasets::captioned(self.kind(), options, sounds::captioned),
            Self::Clips { .. } => datasets::captioned(self.kind(), options, clips::captioned),
            Self::Records { .. } => datasets::captioned(self.kind(), options, records::captioned),
            Self::SoundConversations { isolated, .. } => asked(*isolated, sounds::talk),
            Self::ClipConversations { isolated, .. } => asked(*isolated, clips::talk),
            Self::RecordConversations { isolated, .. } => asked(*isolated, records::talk),
            Self::Clinic { without, .. } => {
                let without = *without;
                let talk =
                    move |options: &OpenOptions, index| clinic::talk(options, index, without);
                datasets::conversations(self.kind(), options, 0.0, talk)
            }
            Self::Documents { icons, .. } => {
                let icons = icons.as_deref().map(Icons::open).transpose()?;
                datasets::documents(options, icons)
            }
            Self::Icons { path, .. } => datasets::icons(options, Icons::open(path)?),
            Self::EasyVqa { path, turns, isolated, .. } => {
                let data = EasyVqa::open(path, options.split, decoder)?;
                datasets::easy_vqa(options.seed, data, *turns, *isolated)
            }
        })
    }

    /// What is listed at `path`, with pictures below `images`.
    fn entries(&self, path: &Path, images: &Path, options: &OpenOptions) -> Result<Vec<Entry>> {
        let pattern = path.to_string_lossy();
        match self {
            Self::Messages { .. } => messages::read(path),
            Self::Captions { .. } => captions::read(path, options.split),
            Self::Vqa { answers, image, .. } => vqa::read(path, answers, image),
            Self::Parquet { image_key: image, caption_key: caption, .. } => {
                // What is set apart by `val_share` is of the part to learn from.
                let split = if options.val_share > 0.0 { Split::Train } else { options.split };
                let [image, caption] = [image.as_deref(), caption.as_deref()];
                parquet::read(&pattern, split, parquet::Columns { image, caption })
            }
            Self::Interleaved { min_similarity, .. } => {
                interleaved::read(&pattern, *min_similarity)
            }
            Self::Csv { image_key: image, caption_key: caption, separator, .. } => {
                table::read(path, images, Columns { image, caption, separator: *separator })
            }
            _ => llava_json::read(path),
        }
    }
}
