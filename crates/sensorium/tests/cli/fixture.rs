//! Runs of the command, and files for it: a model of random weights, a picture, broken pictures.

use sensorium::nn::prelude::Device;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sensorium::checkpoint::Tensors;
use sensorium::checkpoint::gguf::{self, Array, Kind, Metadata, Source, Value};
use sensorium::checkpoint::safetensors::{self, Dtype};
use sensorium::data::pairs;
use sensorium::data::scene::{Scene, Split};
use sensorium::media::Tokenizer;
use sensorium_model::clip::Clip;
use sensorium_model::llava::Llava;

use sensorium::nn::prelude::Init;
use sensorium::pretrained::families::sensorium::SensoriumConfig;
use sensorium::pretrained::names::GGUF;
use sensorium::train::size::{ImageEncoder, Size};
use sensorium_backbone::LlamaConfig;
use sensorium_model::weights;

/// An empty directory of this name, below the build's.
pub fn dir(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A file with these contents, as an argument.
pub fn file(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A drawn scene as PNG.
pub fn png() -> Vec<u8> {
    Scene::random(Split::Val, 1, 0, 3).render(64).to_png()
}

/// The embedded model's directory.
const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano");

/// A model directory of random weights, made once.
pub fn model() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(write_model)
}

fn write_model() -> String {
    let path = dir("model");
    let captions = (0..500).map(|i| pairs::scene_pair(Split::Train, 1, i, 1.0, 1).caption);
    let tokenizer = Tokenizer::train(captions, 600).unwrap();
    file(&path, "tokenizer.json", &tokenizer.to_bytes().unwrap());
    for name in ["preprocessor_config.json", "chat_template.jinja"] {
        file(&path, name, &std::fs::read(format!("{NANO}/{name}")).unwrap());
    }
    let clip_config = Size::Small.clip(ImageEncoder::Vit, tokenizer.vocabulary(), true);
    let llava_config = Size::Small.llava(tokenizer.vocabulary());
    let config = SensoriumConfig {
        clip: Some(clip_config.clone()),
        llava: Some(llava_config.clone()),
        ..SensoriumConfig::default()
    };
    file(&path, "config.json", &serde_json::to_vec(&config).unwrap());
    let init = &mut Init::new(1, &Device::flex());
    let (clip, llava) = (Clip::init(&clip_config, init), Llava::init(&llava_config, init));
    let mut scalars = weights::tensors(&clip).unwrap();
    scalars.tensors.retain(|name, _| ["scale", "bias"].contains(&name.as_str()));
    let write = |name: &str, tensors: Tensors| {
        let bytes = safetensors::write(&tensors, Dtype::F32).unwrap();
        file(&path, &format!("{name}.safetensors"), &bytes);
    };
    write("image", weights::tensors(&clip.image).unwrap());
    write("text", weights::tensors(&clip.text).unwrap());
    write("clip", scalars);
    write("projector", weights::tensors(&llava.towers[0].projector).unwrap());
    write("backbone", weights::tensors(&llava.backbone).unwrap());
    path.to_str().unwrap().to_owned()
}

/// A language model of random weights in a GGUF file, made once: one layer of nano's backbone.
pub fn gguf() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| file(&dir("gguf"), "tiny.gguf", &gguf_bytes()))
}

fn gguf_bytes() -> Vec<u8> {
    let letters = ('!'..='~').chain(['Ġ', 'Ċ']).map(String::from);
    let tokens: Vec<String> = letters.chain(["<|im_end|>".to_owned()]).collect();
    let mut config = LlamaConfig::small();
    (config.vocab_size, config.n_layers) = (tokens.len(), 1);
    let mut metadata = Metadata::new();
    for (key, n) in [
        ("qwen3.block_count", 1),
        ("qwen3.context_length", config.context),
        ("qwen3.embedding_length", config.hidden_size),
        ("qwen3.feed_forward_length", config.intermediate_size),
        ("qwen3.attention.head_count", config.n_heads),
        ("qwen3.attention.head_count_kv", config.n_kv_heads),
        ("qwen3.attention.key_length", config.head_dim),
        ("tokenizer.ggml.eos_token_id", tokens.len() - 1),
    ] {
        metadata.set(key, Value::U32(n as u32));
    }
    let kinds = tokens.iter().map(|token| if token.len() > 3 { 3 } else { 1 }).collect();
    for (key, value) in [
        ("qwen3.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("general.architecture", Value::String("qwen3".into())),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("gpt-2".into())),
        ("tokenizer.ggml.merges", Value::Array(Array::String(vec![]))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds))),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
    ] {
        metadata.set(key, value);
    }
    let parameters: Vec<(String, Vec<usize>, Vec<f32>)> = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let n: usize = shape.iter().product();
            let values = (0..n).map(|i| ((i * 7919 + n) % 1013) as f32 / 1013.0 - 0.48);
            (GGUF.to_hf(&name), shape, values.collect())
        })
        .collect();
    let sources: Vec<Source<'_>> = parameters
        .iter()
        .map(|(name, shape, data)| Source { name, shape, data, kind: Kind::Q4_1 })
        .collect();
    gguf::write(&metadata, &sources).unwrap()
}

/// A tokenizer of three words, for a model of random weights.
pub const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": null, "model": {"type": "WordLevel", "unk_token": "?",
        "vocab": {"?": 0, "<s>": 1, "a": 3, "b": 4, "ab": 5}}}"#;

/// A directory of this name with the checkpoint of a golden and these files.
pub fn golden_with(name: &str, golden: &str, files: &[(&str, &str)]) -> String {
    let path = dir(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(golden);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), path.join(file)).unwrap();
    }
    for (name, text) in files {
        file(&path, name, text.as_bytes());
    }
    path.to_str().unwrap().to_owned()
}

/// A language model's directory, made once.
pub fn language_model() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(|| {
        let config = r#"{"chat_template": "{% for m in messages %}{{ bos_token + m.content }}{% endfor %}{{ bos_token }}",
            "bos_token": "<s>"}"#;
        golden_with("language", "qwen2", &[("tokenizer.json", WORDS), ("tokenizer_config.json", config)])
    })
}

/// Runs the command with these arguments and this standard input.
pub fn run_with(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sensorium"))
        .args(args)
        .env("COLUMNS", "100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early does not read its input: that is no failure here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Standard output of a run that must succeed.
pub fn succeeds(args: &[&str]) -> String {
    let output = run_with(args, "");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out
}

/// Standard error of a run that must fail with this status, one error, and a hint.
pub fn fails(status: i32, args: &[&str]) -> String {
    let output = run_with(args, "");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {out}{err}");
    assert_eq!(out, "", "{args:?}");
    assert!(err.starts_with("error: ") && err.matches("error: ").count() == 1, "{args:?}: {err}");
    assert!(err.contains("\nhint: ") && !err.contains("panicked"), "{args:?}: {err}");
    err
}

pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}
