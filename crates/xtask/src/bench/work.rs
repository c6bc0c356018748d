//! The work that is compared: what each side runs, and what it costs at least.

use super::machine::Limit;

/// Threads of both sides.
pub const THREADS: usize = 2;
const MODEL: &str = "data/smollm2/SmolLM2-135M-Instruct";
const QUANTISED: [&str; 4] = ["Q8_0", "Q4_0", "Q4_1", "Q4_K_M"];

/// One piece of work that both sides do.
#[derive(Debug)]
pub struct Work {
    /// Its row in the table; each word of it selects the row.
    pub name: String,
    /// Arguments of our example `bench`.
    pub ours: String,
    /// A script in `bench/peers` and its arguments; empty where no peer does this.
    pub peer: String,
    /// Model file that both sides read, below the repository.
    pub file: Option<String>,
    /// What is counted, and how many of them one repetition does.
    pub unit: &'static str,
    pub amount: f64,
    /// What bounds the work, and how much of it one repetition needs.
    pub limit: Limit,
    pub cost: Cost,
}

/// Operations (a multiply-add is two) or bytes of one repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    Operations(f64),
    /// The whole model file, so many times.
    Readings(f64),
    /// Nobody has counted.
    Unknown,
}

/// Every piece of work, in the order of the table.
pub fn all() -> Vec<Work> {
    let mut works = vec![
        vit("P1 vit int8 batch 16", "int8", 16),
        vit("P2 vit int8 batch 1", "int8", 1),
        vit("P3 vit bf16 batch 16", "bf16", 16),
        vit("P4 vit f32 batch 16", "f32", 16),
    ];
    works.extend(QUANTISED.map(|format| prefill(&format!("P5 prefill {format} 512"), format, 512)));
    works.extend(QUANTISED.map(|format| decode(&format!("P6 decode {format} 128"), format, 128)));
    works.extend([step("P7 step f32", "f32"), step("P8 step bf16", "bf16")]);
    works.push(clip_step(256));
    works.push(see("P10 see f32", "f32"));
    works.push(see("P10 see bf16", "bf16"));
    works.push(start());
    works.extend(QUANTISED.map(load));
    let [tiny, base] = [hear_operations(4.0, 384.0), hear_operations(6.0, 512.0)];
    works.push(hear("whisper-tiny.en", "faster-whisper", tiny));
    works.push(hear("whisper-tiny.en", "transformers", tiny));
    works.push(hear("whisper-base", "transformers", base));
    for tokens in [128, 256, 512, 1024, 2048, 4096] {
        works.push(prefill(&format!("growth growth-prefill Q8_0 {tokens}"), "Q8_0", tokens));
    }
    for texts in [1, 2, 4, 8, 16] {
        works.push(decode_batch("Q4_1", texts, 128));
    }
    for batch in [1, 2, 4, 8, 16, 32, 64] {
        works.push(vit(&format!("growth growth-vit int8 batch {batch}"), "int8", batch));
    }
    works
}

/// The works of which one of `words` is a word; P1 to P11, but for P10, without any.
pub fn select(words: &[&str]) -> Vec<Work> {
    let chosen = |work: &Work| match words {
        // P10 has a model of its own to be made first.
        [] => work.name.starts_with('P') && !work.name.starts_with("P10"),
        words => work.name.split(' ').any(|word| words.contains(&word)),
    };
    all().into_iter().filter(chosen).collect()
}

fn vit(name: &str, precision: &str, batch: usize) -> Work {
    let script = if precision == "bf16" { "torch_vit.py" } else { "onnx_vit.py" };
    Work {
        name: name.to_owned(),
        ours: format!("vit {precision} {batch}"),
        peer: format!("{script} --precision {precision} --batch {batch} --threads {THREADS}"),
        file: None,
        unit: "pictures",
        amount: batch as f64,
        limit: limit(precision),
        cost: Cost::Operations(batch as f64 * vit_operations()),
    }
}

fn prefill(name: &str, format: &str, tokens: usize) -> Work {
    let file = format!("{MODEL}.{format}.gguf");
    Work {
        name: name.to_owned(),
        ours: format!("prefill {file} {tokens}"),
        peer: format!("llama_cpp_run.py {file} prefill {tokens} --threads {THREADS}"),
        file: Some(file),
        unit: "tokens",
        amount: tokens as f64,
        limit: Limit::Int8,
        cost: Cost::Operations(prefill_operations(tokens)),
    }
}

fn decode(name: &str, format: &str, tokens: usize) -> Work {
    let file = format!("{MODEL}.{format}.gguf");
    Work {
        name: name.to_owned(),
        ours: format!("decode {file} {tokens}"),
        peer: format!("llama_cpp_run.py {file} decode {tokens} --threads {THREADS}"),
        file: Some(file),
        unit: "tokens",
        amount: tokens as f64,
        limit: Limit::Read,
        // The keys and values of at most 144 tokens are little beside it.
        cost: Cost::Readings(tokens as f64),
    }
}

/// So many tokens of each of several texts at once.
fn decode_batch(format: &str, texts: usize, tokens: usize) -> Work {
    let name = format!("growth growth-decode {format} {tokens} batch {texts}");
    let decode = decode(&name, format, tokens);
    Work {
        ours: format!("batch {MODEL}.{format}.gguf {texts} {tokens}"),
        peer: format!("{} --texts {texts}", decode.peer),
        amount: (texts * tokens) as f64,
        ..decode
    }
}

fn step(name: &str, precision: &str) -> Work {
    let flag = if precision == "bf16" { "--bf16 " } else { "" };
    Work {
        name: name.to_owned(),
        ours: format!("step {precision}"),
        peer: format!("torch_step.py {flag}--threads {THREADS}"),
        file: None,
        unit: "steps",
        amount: 1.0,
        limit: limit(precision),
        cost: Cost::Operations(step_operations()),
    }
}

/// From the file to the first token after a prompt of 16.
fn load(format: &str) -> Work {
    let file = format!("{MODEL}.{format}.gguf");
    Work {
        name: format!("load {format}"),
        ours: format!("load {file}"),
        peer: format!("llama_cpp_run.py {file} load 16 --threads {THREADS}"),
        file: Some(file),
        unit: "starts",
        amount: 1.0,
        limit: Limit::Read,
        cost: Cost::Readings(1.0),
    }
}

/// One step of CLIP ViT-S/32 and its text tower.
fn clip_step(batch: usize) -> Work {
    Work {
        name: format!("P9 clip step f32 batch {batch}"),
        ours: format!("clip {batch}"),
        peer: format!("open_clip_step.py --batch {batch} --threads {THREADS}"),
        file: None,
        unit: "pairs",
        amount: batch as f64,
        limit: Limit::F32,
        cost: Cost::Operations(clip_step_operations(batch)),
    }
}

/// The command from its start to its answer with the embedded model.
fn start() -> Work {
    Work {
        name: "P11 start to answer".to_owned(),
        ours: "start examples/pictures/three.png".to_owned(),
        peer: String::new(),
        file: None,
        unit: "answers",
        amount: 1.0,
        limit: Limit::Read,
        cost: Cost::Unknown,
    }
}

/// A question about one picture of 512 x 512 pixels to its first token, SmolVLM-256M's shape with
/// random weights.
fn see(name: &str, precision: &str) -> Work {
    const DIRECTORY: &str = "runs/peers/models/smolvlm-256m";
    Work {
        name: name.to_owned(),
        ours: format!("see {DIRECTORY} {DIRECTORY}/picture.png {precision}"),
        peer: format!("smolvlm_see.py {DIRECTORY} --precision {precision} --threads {THREADS}"),
        file: Some(format!("{DIRECTORY}/model.safetensors")),
        unit: "questions",
        amount: 1.0,
        limit: limit(precision),
        cost: Cost::Operations(see_operations()),
    }
}

/// One of pocketsphinx-testdata's recordings, 7.1 s, written down greedily in f32.
fn hear(model: &str, engine: &str, operations: f64) -> Work {
    let (directory, sound) = (format!("data/{model}"), "data/speech/0870.wav");
    Work {
        name: format!("hear {model} {engine}"),
        ours: format!("hear {directory} {sound} f32"),
        peer: format!("whisper_hear.py {directory} {sound} --engine {engine} --threads {THREADS}"),
        file: Some(sound.to_owned()),
        unit: "recordings",
        amount: 1.0,
        limit: Limit::F32,
        cost: Cost::Operations(operations),
    }
}

fn limit(precision: &str) -> Limit {
    match precision {
        "int8" => Limit::Int8,
        "bf16" => Limit::Bf16,
        _ => Limit::F32,
    }
}

/// ViT-B/32, one picture: 49 patches of 32 x 32 x 3, 50 positions of width 768, 12 layers, a
/// projection of the class token to 512.
fn vit_operations() -> f64 {
    let (n, d) = (50.0, 768.0);
    let layer = n * 12.0 * d * d + 2.0 * n * n * d;
    2.0 * (49.0 * 32.0 * 32.0 * 3.0 * d + 12.0 * layer + d * 512.0)
}

/// SmolLM2-135M: 30 layers of width 576, 192 wide keys and values, MLPs of 1536; 49152 logits of
/// the last token; attention to the tokens before.
fn prefill_operations(tokens: usize) -> f64 {
    let (t, d) = (tokens as f64, 576.0);
    let layer = 2.0 * d * d + 2.0 * d * 192.0 + 3.0 * d * 1536.0;
    let attention = 2.0 * d * t * (t + 1.0) / 2.0;
    2.0 * (30.0 * (t * layer + attention) + d * 49152.0)
}

/// SmolVLM-256M: an encoder of 12 layers of width 768 on 1024 patches of 16 x 16 x 3, a map from
/// 16 x 768 to 576 on 64 of them, a prompt of 90 tokens through SmolLM2-135M.
fn see_operations() -> f64 {
    let (n, d) = (1024.0, 768.0);
    let layer = n * 12.0 * d * d + 2.0 * n * n * d;
    let encoder = n * 16.0 * 16.0 * 3.0 * d + 12.0 * layer;
    2.0 * (encoder + 64.0 * 16.0 * d * 576.0) + prefill_operations(90)
}

/// Whisper: two convolutions over 3000 frames of 80 bands, layers on 1500 positions, their keys and
/// values for the decoder, and 26 tokens, each with the logits of 51865.
fn hear_operations(layers: f64, d: f64) -> f64 {
    let n = 1500.0;
    let encoder =
        2.0 * n * d * 240.0 + n * d * 3.0 * d + layers * (n * 12.0 * d * d + 2.0 * n * n * d);
    let decoder = layers * 2.0 * n * d * d + 26.0 * (layers * 14.0 * d * d + 51865.0 * d);
    2.0 * (encoder + decoder)
}

/// 6 layers of width 384, 32 x 64 tokens, 1000 logits each; the backward has twice the products.
fn step_operations() -> f64 {
    let (batch, t, d) = (32.0, 64.0, 384.0);
    let layer = batch * (t * 12.0 * d * d + 2.0 * d * t * (t + 1.0) / 2.0);
    3.0 * 2.0 * (6.0 * layer + batch * t * d * 1000.0)
}

/// CLIP ViT-S/32: 12 layers of width 384 on the 50 positions of a picture and on the 77 tokens of a
/// text, the latter causal; patches, projections, the products of all pairs; the backward has twice
/// the products.
fn clip_step_operations(batch: usize) -> f64 {
    let (b, d) = (batch as f64, 384.0);
    let (picture, text) = (50.0, 77.0);
    let image = 49.0 * 32.0 * 32.0 * 3.0 * d
        + 12.0 * (picture * 12.0 * d * d + 2.0 * picture * picture * d)
        + d * d;
    let words = 12.0 * (text * 12.0 * d * d + text * (text + 1.0) * d) + d * d;
    3.0 * 2.0 * (b * (image + words) + b * b * d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        select(words).into_iter().map(|work| work.name).collect()
    }

    #[test]
    fn words_select_rows() {
        assert_eq!(names(&["P1", "P8"]), ["P1 vit int8 batch 16", "P8 step bf16"]);
        assert_eq!(names(&["decode"]).len(), 4);
        assert_eq!(names(&["growth"]).len(), 18);
        assert_eq!(names(&["growth-vit"]).len(), 7);
        assert_eq!(names(&["load"]).len(), 4);
        assert!(names(&["P12"]).is_empty());
        assert_eq!(names(&[]).len(), 16);
        assert!(names(&[]).iter().all(|name| name.starts_with('P')));
    }

    #[test]
    fn operations_are_those_counted_by_hand() {
        // 50 positions: 8.49 G in the layers' products, 0.23 G in the patches, 0.09 G in attention.
        assert!((vit_operations() / 1e9 - 8.82).abs() < 0.01, "{}", vit_operations());
        // 0.9 G in the convolutions, 17.5 G in the layers, 2.5 G in the decoder, twice.
        assert!(
            (hear_operations(4.0, 384.0) / 1e9 - 42.0).abs() < 1.0,
            "{}",
            hear_operations(4.0, 384.0)
        );
        // 175 G in the encoder's products of 85 M weights, 39 G in its attention, 19 G in the prompt.
        assert!((see_operations() / 1e9 - 234.2).abs() < 0.1, "{}", see_operations());
        // 11.0 M weights in products, 2048 tokens, forward and backward; 1.8 G in attention.
        assert!((step_operations() / 1e9 - 137.0).abs() < 0.1, "{}", step_operations());
        // 21.2 M weights on 50 and on 77 positions, 256 pairs: 4.1 T in products, 0.1 in attention.
        assert!((clip_step_operations(256) / 1e12 - 4.31).abs() < 0.01);
        // 106.2 M weights, 512 tokens; 9.1 G in attention.
        assert!((prefill_operations(512) / 1e9 - 117.8).abs() < 0.1, "{}", prefill_operations(512));
    }
}
