//! The model inside the binary: `nano`, as `sensorium export` wrote it to `models/nano`.

use sensorium_inference::nano::Files;

/// Its files. Nothing is copied: they are parts of the program.
///
/// ```
/// use sensorium::inference::{EmbeddingModel, nano::Nano};
/// use sensorium::nn::running_device;
///
/// let nano = Nano::load(&sensorium::embedded::files(), &running_device()).expect("it is whole");
/// assert_eq!(nano.embed_texts(&["a red circle"])[0].len(), 128);
/// ```
pub fn files() -> Files<'static> {
    macro_rules! files {
        ($($name:literal),*) => {
            vec![$(($name, include_bytes!(concat!("../../../models/nano/", $name)).as_slice().into())),*]
        };
    }
    Files(files![
        "tokenizer.json",
        "image.gguf",
        "text.gguf",
        "clip.gguf",
        "projector.gguf",
        "backbone.gguf"
    ])
}
