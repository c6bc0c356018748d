//! The model inside the binary, as `sensorium export` wrote it to `models/nano`.

use sensorium_pretrained::{Directory, Result};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../models/nano/", $name)).as_slice())),*]
    };
}

/// Its files. Nothing is copied: they are parts of the program.
const FILES: &[(&str, &[u8])] = files![
    "config.json",
    "tokenizer.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "provenance.json",
    "image.gguf",
    "audio.gguf",
    "video.gguf",
    "table.gguf",
    "text.gguf",
    "clip.gguf",
    "projector.gguf",
    "audio_projector.gguf",
    "video_projector.gguf",
    "table_projector.gguf",
    "audio_head.gguf",
    "video_head.gguf",
    "table_head.gguf",
    "domain.gguf",
    "backbone.gguf",
    "talker.gguf",
];

/// Its directory.
///
/// ```
/// use sensorium::inference::{Model, Options};
///
/// let options = Options::on(&sensorium::nn::prelude::Device::flex());
/// let directory = sensorium::embedded::directory().expect("it is whole");
/// let model = Model::load(&directory, &options).expect("it loads");
/// let vectors = model.embedding().unwrap().embed_texts(&["a red circle".to_owned()]).unwrap();
/// assert_eq!(vectors[0].len(), 128);
/// ```
///
/// # Errors
/// None, if the program was built with its model.
pub fn directory() -> Result<Directory> {
    Directory::embedded("the embedded model", FILES)
}
