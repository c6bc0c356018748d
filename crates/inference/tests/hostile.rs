//! A checkpoint's directory with any `config.json` loads or is a typed error, and takes no more memory
//! than its tensors do.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sensorium_nn::prelude::Device;
use std::path::Path;

use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_nn::prelude::{Pack, pack};
use sensorium_pretrained::families::language;
use sensorium_pretrained::{Directory, Error, SentenceEncoder};
use sensorium_testkit::Golden;
use serde_json::{Value, json};
use tempfile::TempDir;

const NAMES: [&str; 5] = ["llama3", "qwen2_tied", "opt_post", "gpt2", "bert"];

/// A tokenizer of three words.
const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
    "decoder": null, "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2},
    "unk_token": "?"}}"#;

/// The golden's weights, with a `config.json` to be changed.
struct Copy {
    name: &'static str,
    folder: TempDir,
    config: Vec<u8>,
}

impl Copy {
    fn of(name: &'static str) -> Self {
        let (golden, folder) = (Golden::open(name), TempDir::new().unwrap());
        let file = "model.safetensors";
        std::fs::copy(golden.path(file), folder.path().join(file)).unwrap();
        let config = std::fs::read(golden.path("config.json")).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), WORDS).unwrap();
        Self { name, folder, config }
    }

    /// True if it loads with this configuration, and then also runs.
    fn loads(&self, config: &[u8]) -> bool {
        std::fs::write(self.folder.path().join("config.json"), config).unwrap();
        match run(self.name, self.folder.path()) {
            Ok(()) => true,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("hint: ") && text.len() < 8000, "{text}");
                false
            }
        }
    }
}

fn run(name: &str, folder: &Path) -> Result<(), Error> {
    let directory = Directory::open(folder)?;
    if name == "bert" {
        return SentenceEncoder::open(&directory, &Device::flex())?.embed(&["a b", ""]).map(|_| ());
    }
    let (config, mut backbone) = language::load(&directory, &Device::flex())?;
    backbone.pack_as(pack::Format::F32);
    let ids = [1, 2, 3].map(|id| id.min(config.vocabulary() as u32 - 1));
    let t = ids.len().min(config.context());
    let Hidden(x) = backbone.forward(backbone.embed(&ids[..t], [1, t]), &Sequence::default(), None);
    let [_, t, d] = x.dims();
    backbone.logits(x.reshape([t, d]));
    Ok(())
}

#[test]
fn sizes_that_lie_take_no_memory() {
    let sizes = [0_u64, 1, 2, 3, 7, 1 << 16, (1 << 24) - 1, 1 << 24, 1 << 31, u64::MAX];
    for name in NAMES {
        let copy = Copy::of(name);
        let whole: Value = serde_json::from_slice(&copy.config).unwrap();
        assert!(copy.loads(&copy.config), "{name}");
        let keys = whole.as_object().unwrap().keys();
        for key in keys.filter(|key| whole[key.as_str()].is_number()) {
            let values = sizes.iter().map(|size| json!(size));
            for value in values.chain([json!(-1), json!(1e300), json!("1"), json!([]), json!(null)])
            {
                let mut changed = whole.clone();
                changed[key] = value;
                copy.loads(changed.to_string().as_bytes());
            }
        }
    }
}

#[test]
fn configurations_with_changed_bytes_load_or_are_errors() {
    let (mut loaded, mut refused) = (0, 0);
    for (seed, name) in NAMES.into_iter().enumerate() {
        let copy = Copy::of(name);
        for i in 0..500_u64 {
            let mut bytes = copy.config.clone();
            for k in 0..1 + i % 3 {
                let at = draw(10_000 * seed as u64 + 10 * i + k) % bytes.len();
                match draw(77 + 31 * i + k) % 4 {
                    0 => bytes[at] ^= 1 << (i % 7),
                    1 => drop(bytes.drain(at..(at + 1 + i as usize % 9).min(bytes.len()))),
                    2 => bytes.insert(at, b"0123456789\"{}[],:-e"[i as usize % 19]),
                    _ => bytes[at] = b"0123456789"[i as usize % 10],
                }
            }
            match copy.loads(&bytes) {
                true => loaded += 1,
                false => refused += 1,
            }
        }
    }
    assert!(loaded > 100 && refused > 500 && loaded + refused == 2500, "{loaded} {refused}");
}

/// Draws that depend on nothing but their number.
fn draw(n: u64) -> usize {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize
}
