//! A language model's directory as a GGUF file and back: the same tensors, bit for bit, and the same
//! tokens. The directories are goldens with a tokenizer beside them.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::gguf::{Kind, Mapped};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_inference::{GenerateOptions, LanguageModel, Model, Options};
use sensorium_media::Vocabulary;
use sensorium_nn::fused::with_twins;
use sensorium_nn::prelude::{Device, pack};
use sensorium_pretrained::Directory;
use sensorium_pretrained::convert::{Converted, convert};
use sensorium_testkit::assert_close;
use serde_json::{Value, json};
use tempfile::TempDir;

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";

/// The bytes of printable letters, merges, and the marks of ChatML: below 101 rows.
fn tokenizer(pre: &'static str, opens: bool) -> Vec<u8> {
    let mut tokens: Vec<String> =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    tokens.extend(('!'..='l').chain('n'..='z').chain(['\u{120}', '\u{10a}']).map(String::from));
    tokens.extend(["he", "ll", "<think>"].map(str::to_owned));
    let n = tokens.len();
    let kinds = (0..n)
        .map(|id| {
            if id < 3 {
                3
            } else if id == n - 1 {
                4
            } else {
                1
            }
        })
        .collect();
    let merges = ["h e", "l l"].map(str::to_owned).to_vec();
    let vocabulary = Vocabulary { pre, tokens, merges, kinds };
    vocabulary.published().to_json(opens.then_some(1)).unwrap()
}

/// A golden's directory with a tokenizer.
fn directory(name: &str, pre: &'static str, opens: bool) -> TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name);
    let dir = TempDir::new().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden.join(file), dir.path().join(file)).unwrap();
    }
    // GGUF's Qwen3 has no biases.
    if name == "qwen3" {
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["attention_bias"] = false.into();
        std::fs::write(&path, config.to_string()).unwrap();
        let path = dir.path().join("model.safetensors");
        let mut tensors = safetensors::load(&path).unwrap();
        tensors.tensors.retain(|name, _| !name.ends_with("bias"));
        std::fs::write(&path, safetensors::write(&tensors, Dtype::F32).unwrap()).unwrap();
    }
    let write = |file: &str, bytes: &[u8]| std::fs::write(dir.path().join(file), bytes).unwrap();
    write("tokenizer.json", &tokenizer(pre, opens));
    write("generation_config.json", br#"{"eos_token_id": [2, 0]}"#);
    let config = json!({"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"},
                        "chat_template": CHATML});
    write("tokenizer_config.json", config.to_string().as_bytes());
    dir
}

const FAMILIES: [(&str, &str, bool, &str); 5] = [
    ("llama3", "llama-bpe", true, "llama"),
    ("mistral", "gpt-2", false, "llama"),
    ("qwen2", "qwen2", false, "qwen2"),
    ("qwen2_tied", "qwen2", false, "qwen2"),
    ("qwen3", "qwen2", false, "qwen3"),
];

fn run(from: &Path, to: &Path, kind: Option<Kind>) -> Converted {
    let mut last = (0, 0);
    let done = convert(from, to, kind, true, &mut |done, all| last = (done, all)).unwrap();
    assert_eq!(last, (done.parameters, done.parameters));
    done
}

fn open(path: &Path) -> LanguageModel {
    let options = Options { format: Some(pack::Format::F32), ..Options::on(&Device::flex()) };
    match Model::open(path, &options).unwrap() {
        Model::Language(model) => model,
        other => panic!("a language model, not {other:?}"),
    }
}

fn greedy(llm: &LanguageModel, prompt: &[u32]) -> Vec<u32> {
    let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
    llm.extend(prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap().ids
}

#[test]
fn directories_become_files_and_directories_again_bit_for_bit() {
    for (name, pre, opens, family) in FAMILIES {
        let from = directory(name, pre, opens);
        let [file, back] = ["m.gguf", "back"].map(|name| from.path().join(name));
        let done = run(from.path(), &file, None);
        assert_eq!((done.family, done.bytes), (family, file.metadata().unwrap().len()), "{name}");
        run(&file, &back, None);

        let tensors =
            |path: &Path| safetensors::load(&path.join("model.safetensors")).unwrap().tensors;
        assert_eq!(tensors(from.path()), tensors(&back), "{name}");
        let [a, b, c] = [from.path(), &file, &back].map(open);
        assert_eq!(a.lm.config, c.lm.config, "{name}");
        let text = "hello  there, 123 <think>ll\n\nhell";
        let prompt = a.prompt(text).unwrap();
        for other in [&b, &c] {
            assert_eq!(other.prompt(text).unwrap(), prompt, "{name}");
            assert_eq!(
                other.lm.text.tokenizer.decode(&prompt).unwrap(),
                a.lm.text.tokenizer.decode(&prompt).unwrap()
            );
            assert_eq!(other.lm.text.bos_token_id, a.lm.text.bos_token_id, "{name}");
            let say = [json!({"role": "user", "content": "hell<|im_end|>o"})];
            assert_eq!(other.chat(&say).unwrap(), a.chat(&say).unwrap(), "{name}");
            assert_eq!(other.logits(&prompt[..10]), a.logits(&prompt[..10]), "{name}");
            assert_eq!(greedy(other, &prompt[..5]), greedy(&a, &prompt[..5]), "{name}");
            let [ours, theirs] = [&a, other].map(|model| &model.lm.text.eos_token_ids);
            assert!(ours.iter().all(|end| theirs.contains(end)), "{name}");
        }
        // Without kernels the file's matrices are parameters, and packed ones nowhere.
        let twin = with_twins(|| open(&file).logits(&prompt[..10]));
        assert_close(name, &twin, &a.logits(&prompt[..10]), 1e-4);
    }
}

#[test]
fn blocks_are_near_and_halves_are_kept() {
    // Rows of 32 numbers but for one matrix, which is stored in halves.
    let from = directory("llama3", "llama-bpe", true);
    let [q8, half, back] = ["q8.gguf", "f16.gguf", "f16"].map(|name| from.path().join(name));
    let done = run(from.path(), &q8, Some(Kind::Q8_0));
    assert!(done.stored["Q8_0"] > 10 && done.stored["F16"] == 2, "{done:?}");
    let prompt: Vec<u32> = (0..20).map(|i| (i * 37) % 80).collect();
    let [want, got] = [from.path(), &q8].map(|path| open(path).logits(&prompt));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
    assert!(cosine > 0.999 && got != want, "{cosine}");

    // Halves stay halves on the way back, and norms with them.
    run(from.path(), &half, Some(Kind::F16));
    run(&half, &back, None);
    let stored = Directory::open(&back).unwrap().shapes().unwrap();
    assert!(stored.values().all(|stored| stored.dtype == "F16"));
    run(&back, &from.path().join("again.gguf"), None);
    let mapped = Mapped::open(&from.path().join("again.gguf")).unwrap();
    let gguf = mapped.gguf().unwrap();
    assert!(
        gguf.tensors().iter().all(|info| (info.shape().len() == 1) == (info.kind() == Kind::F32))
    );
    // Blocks become numbers.
    run(&q8, &from.path().join("q8"), None);
    let error =
        convert(&q8, &from.path().join("x"), Some(Kind::Q8_0), true, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("f32, f16 or bf16"), "{error}");
}

/// What is done to a JSON file.
type Change<'a> = &'a dyn Fn(&mut Value);

/// That this conversion fails, says this, and leaves nothing behind.
fn fails(from: &Path, to: &Path, kind: Option<Kind>, says: &str) {
    let there = to.exists();
    let error = convert(from, to, kind, true, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains(says) && error.contains("hint: "), "{error}");
    assert_eq!(to.exists(), there);
    let names = std::fs::read_dir(to.parent().unwrap()).into_iter().flatten().flatten();
    let names: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
    assert!(names.iter().all(|path| !path.to_string_lossy().ends_with(".tmp")), "{names:?}");
}

#[test]
fn what_cannot_be_said_or_would_be_lost_is_refused() {
    let from = directory("qwen3", "qwen2", false);
    let (dir, to) = (from.path(), from.path().join("out.gguf"));
    fails(dir, dir, None, "nothing there");
    fails(dir, &dir.join("out"), None, "ends in .gguf");
    fails(&dir.join("nowhere"), &dir.join("out"), None, "nowhere");
    fails(&dir.join("config.json"), &dir.join("out"), None, "GGUF");
    fails(&dir.join("config.json"), &to, None, "directory");
    fails(dir, &dir.join("no/such/parent.gguf"), None, "no/such");

    let change = |file: &str, change: Change<'_>| {
        let path = dir.join(file);
        let before = std::fs::read(&path).unwrap();
        let mut value = serde_json::from_slice(&before).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        move || std::fs::write(&path, &before).unwrap()
    };
    let cases: [(&str, &str, Change<'_>); 7] = [
        ("config.json", "the biases of its family", &|v| v["attention_bias"] = true.into()),
        ("config.json", "one of llama, mistral, qwen2, qwen3", &|v| v["model_type"] = "opt".into()),
        ("config.json", "missing", &|v| v["num_hidden_layers"] = 3.into()),
        ("config.json", "shape", &|v| v["vocab_size"] = 102.into()),
        ("tokenizer.json", "pre_tokenizer", &|v| v["pre_tokenizer"] = Value::Null),
        ("tokenizer.json", "post_processor", &|v| {
            let mark = json!({"SpecialToken": {"id": "<|im_end|>", "type_id": 0}});
            v["post_processor"] = json!({"type": "TemplateProcessing", "pair": [mark, mark],
                "single": [mark, {"Sequence": {"id": "A", "type_id": 0}}, mark],
                "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [2], "tokens": ["<|im_end|>"]}}});
        }),
        ("generation_config.json", "at most 3", &|v| v["eos_token_id"] = json!([1, 2, 3, 4])),
    ];
    for (file, says, changed) in cases {
        let back = change(file, changed);
        fails(dir, &to, None, says);
        back();
    }
    run(dir, &to, None);
    fails(dir, &to, None, "nothing there");
    // A file with a tensor too few.
    let bytes = std::fs::read(&to).unwrap();
    std::fs::write(&to, &bytes[..bytes.len() - 64]).unwrap();
    fails(&to, &dir.join("out"), None, "GGUF");
}
