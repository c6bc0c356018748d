//! Pictures with captions in one JSON file, in its three forms:
//!
//! ```json
//! {"images": [{"id": 7, "file_name": "7.jpg"}], "annotations": [{"image_id": 7, "caption": "a dog"}]}
//! {"images": [{"filepath": "val2014", "filename": "7.jpg", "split": "test", "sentences": [{"raw": "a dog"}]}]}
//! [{"image": "val2014/7.jpg", "caption": "a dog"}, {"image": "8.jpg", "caption": ["a cat", "a black cat"]}]
//! ```
//!
//! COCO's own (Chen et al. 2015, <https://arxiv.org/abs/1504.00325>), Karpathy's splits of COCO and Flickr
//! (Karpathy and Fei-Fei 2015, <https://arxiv.org/abs/1412.2306>), and LAVIS's.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::{Entry, Record, bytes};
use crate::drawn::scene::Split;
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Coco { images: Vec<Image>, annotations: Vec<Annotation> },
    Karpathy { images: Vec<Sentences> },
    Lavis(Vec<Captioned>),
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    caption: Option<String>,
}

#[derive(Deserialize)]
struct Sentences {
    #[serde(default)]
    filepath: String,
    filename: String,
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: Option<String>,
}

#[derive(Deserialize)]
struct Captioned {
    image: String,
    caption: Option<Captions>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Captions {
    One(String),
    Many(Vec<String>),
}

/// The entries of the file at `path`, one for each caption; of Karpathy's splits, those of the part
/// that is asked for: `train` and `restval` to learn from, `val` to measure on, `test` to tell.
///
/// # Errors
/// It cannot be read or is of none of these forms.
pub fn read(path: &Path, split: Split) -> Result<Vec<Entry>> {
    let expected = "captions in JSON as COCO, Karpathy's splits or LAVIS have them";
    let file = serde_json::from_slice(&bytes(path, expected)?).map_err(|error| Error::Format {
        path: path.to_owned(),
        expected,
        got: error.to_string(),
        hint: "other tables are read as kind = \"csv\", \"folder\" or \"messages\"",
    })?;
    Ok(match file {
        File::Coco { images, annotations } => coco(images, annotations),
        File::Karpathy { images } => images
            .into_iter()
            .filter(|image| is_of(split, &image.split))
            .flat_map(karpathy)
            .collect(),
        File::Lavis(pictures) => pictures.into_iter().flat_map(lavis).collect(),
    })
}

fn coco(images: Vec<Image>, annotations: Vec<Annotation>) -> Vec<Entry> {
    let files: HashMap<u64, String> =
        images.into_iter().map(|image| (image.id, image.file_name)).collect();
    let entry = |Annotation { image_id, caption }: Annotation| {
        let file = files.get(&image_id).ok_or_else(|| format!("no image of the id {image_id}"))?;
        captioned(file.clone(), caption)
    };
    annotations.into_iter().map(entry).collect()
}

fn is_of(split: Split, name: &str) -> bool {
    match split {
        Split::Train => ["train", "restval"].contains(&name),
        Split::Val => name == "val",
        Split::HeldOut => name == "test",
    }
}

fn karpathy(image: Sentences) -> Vec<Entry> {
    let Sentences { filepath, filename, sentences, .. } = image;
    let file = if filepath.is_empty() { filename } else { format!("{filepath}/{filename}") };
    sentences.into_iter().map(|sentence| captioned(file.clone(), sentence.raw)).collect()
}

fn lavis(Captioned { image, caption }: Captioned) -> Vec<Entry> {
    let captions = match caption {
        Some(Captions::Many(captions)) => captions.into_iter().map(Some).collect(),
        Some(Captions::One(caption)) => vec![Some(caption)],
        None => vec![None],
    };
    captions.into_iter().map(|caption| captioned(image.clone(), caption)).collect()
}

fn captioned(file: String, caption: Option<String>) -> Entry {
    match caption.as_deref().map(str::trim).filter(|caption| !caption.is_empty()) {
        Some(caption) => Ok(Record::captioned(file, caption)),
        None => Err(format!("no caption for {file}")),
    }
}
