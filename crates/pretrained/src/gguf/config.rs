//! The backbone's shape from a file's metadata; what would change the computation is refused.

use sensorium_backbone::{Biases, GateActivation, LlamaConfig, RopeScaling};

use sensorium_checkpoint::gguf::{Gguf, Metadata, Value};
use sensorium_checkpoint::{Error, Result};

/// A family of models that differ in no more than this.
#[derive(Debug)]
pub struct Family {
    /// `general.architecture`.
    pub name: &'static str,
    /// `model_type` of the directories that become such files, the plainest first; none where no directory does.
    pub published: &'static [&'static str],
    /// Query and key rows are stored for a rotation of neighbouring channels; ours, as the published
    /// code, turns channel `i` with `i + K/2`.
    pub interleaved: bool,
    /// Queries and keys are normed.
    qk_norm: bool,
    /// Which maps have biases; where none are named, those that the file holds.
    pub biases: Option<Biases>,
    gate: GateActivation,
    /// Token embeddings are multiplied by the root of the width.
    scales: bool,
    /// Maps of the same input lie in one matrix, and texts are no longer than the window.
    pub fused: bool,
}

const NO_BIASES: Biases = Biases { qkv: false, o: false, mlp: false };

/// The families that are read and written.
pub const FAMILIES: [Family; 5] = [
    Family {
        name: "llama",
        published: &["llama", "mistral"],
        interleaved: true,
        qk_norm: false,
        biases: None,
        gate: GateActivation::Silu,
        scales: false,
        fused: false,
    },
    Family {
        name: "qwen2",
        published: &["qwen2"],
        interleaved: false,
        qk_norm: false,
        biases: Some(Biases { qkv: true, ..NO_BIASES }),
        gate: GateActivation::Silu,
        scales: false,
        fused: false,
    },
    Family {
        name: "qwen3",
        published: &["qwen3"],
        interleaved: false,
        qk_norm: true,
        biases: Some(NO_BIASES),
        gate: GateActivation::Silu,
        scales: false,
        fused: false,
    },
    // Its norms are stored with the 1 that published ones lack, so that directories are another kind.
    Family {
        name: "gemma",
        published: &[],
        interleaved: false,
        qk_norm: false,
        biases: Some(NO_BIASES),
        gate: GateActivation::GeluTanh,
        scales: true,
        fused: false,
    },
    Family {
        name: "phi3",
        published: &[],
        interleaved: false,
        qk_norm: false,
        biases: Some(NO_BIASES),
        gate: GateActivation::Silu,
        scales: false,
        fused: true,
    },
];

/// Maps that Phi-3's files hold in one matrix, in the order of its rows.
pub const FUSED: [(&str, &[&str]); 2] = [
    (".attn_qkv.", &[".attn_q.", ".attn_k.", ".attn_v."]),
    (".ffn_up.", &[".ffn_gate.", ".ffn_up."]),
];

/// LongRoPE's factors of short texts and of long ones, `[K / 2]`.
pub const ROPE_FACTORS: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];
/// What queries and keys are multiplied by.
const ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";
/// How many tokens before it each token sees.
const WINDOW: &str = "attention.sliding_window";

/// Factors on the wavelengths of the rotary angles, `[K / 2]`.
pub const ROPE_FREQS: &str = "rope_freqs.weight";

/// Bounds of Llama 3.1's stretching in turns: the file's factors follow from them and two numbers.
const LOW: f32 = 1.0;
const HIGH: f32 = 4.0;
/// Longest text before stretching where the file does not say, as of Llama 3.1.
const BEFORE: usize = 8192;
/// Longest text before stretching; beside factors of Llama 3.1, other readers take no notice of it.
const STRETCHED_FROM: &str = "rope.scaling.original_context_length";

/// Numbers that are multiplied with somewhere: 1 changes nothing, others the backbone does not do.
const FACTORS: [&str; 3] = ["embedding_scale", "residual_scale", "logit_scale"];

/// Keys of a family that are read here, or change nothing: layouts, what is said by the tensors, what
/// a mixture of experts does that is refused.
const KNOWN: [&str; 26] = [
    "attention.clamp_kqv",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "embedding_scale",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "logit_scale",
    "residual_scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    SCALING_FACTOR,
    SCALING,
    "rope.scaling.finetuned",
    STRETCHED_FROM,
    "tensor_data_layout",
    "vocab_size",
];
/// Of the tokenizer, beside the ids of tokens and further templates.
const KNOWN_TOKENIZER: [&str; 11] = [
    "chat_template",
    "chat_templates",
    "ggml.add_bos_token",
    "ggml.add_space_prefix",
    "ggml.merges",
    "ggml.model",
    "ggml.pre",
    "ggml.scores",
    "ggml.token_type",
    "ggml.tokens",
    "huggingface.json",
];

/// How rotary angles are stretched.
const SCALING: &str = "rope.scaling.type";
const SCALING_FACTOR: &str = "rope.scaling.factor";

/// Sizes stay below this, so that products of two are far from overflowing.
const MAX_SIZE: usize = 1 << 24;

/// The configuration and the family.
///
/// # Errors
/// A key is missing, of another type or out of range; the architecture is another one.
pub fn read(gguf: &Gguf<'_>) -> Result<(LlamaConfig, &'static Family)> {
    let family = family(&gguf.metadata)?;
    let keys = Keys { metadata: &gguf.metadata, family };
    keys.check_supported()?;
    let (width, mut context) = (keys.size("embedding_length")?, keys.size("context_length")?);
    if family.fused && keys.get(WINDOW).is_some() {
        // A text up to the window is read as if each token saw all of it; 0 is none.
        let window = keys.metadata.count(&keys.key(WINDOW))?;
        context = if window > 0 { context.min(window) } else { context };
    }
    let n_heads = keys.size("attention.head_count")?;
    let n_kv_heads = keys.size_or("attention.head_count_kv", n_heads)?;
    if n_heads % n_kv_heads != 0 {
        let expected = format!("a divisor of {n_heads}");
        return Err(keys.wrong("attention.head_count_kv", expected, n_kv_heads.to_string()));
    }
    let head_width = keys.head_width(width, n_heads)?;
    keys.check_attention(context, head_width)?;
    let theta = keys.positive("rope.freq_base", Some(1e4))?;
    let has = |name: &str| gguf.get(name).is_ok();
    let config = LlamaConfig {
        vocab_size: gguf.metadata.strings("tokenizer.ggml.tokens", None)?.len(),
        context,
        hidden_size: width,
        n_layers: keys.layers(gguf.tensors().len())?,
        n_heads,
        n_kv_heads,
        head_dim: head_width,
        intermediate_size: keys.size("feed_forward_length")?,
        theta,
        eps: keys.positive("attention.layer_norm_rms_epsilon", None)?.into(),
        qk_norm: family.qk_norm,
        tied: !has("output.weight"),
        biases: family.biases.unwrap_or_else(|| Biases {
            qkv: has("blk.0.attn_q.bias"),
            o: has("blk.0.attn_output.bias"),
            mlp: has("blk.0.ffn_gate.bias"),
        }),
        rope_scaling: rope_scaling(gguf, &keys, head_width, theta)?,
        mrope: None,
        gate: family.gate,
        embedding_scale: if family.scales { (width as f32).sqrt() } else { 1.0 },
        gemma: None,
    };
    Ok((config, family))
}

/// The keys of the model and of its tokenizer that are not heeded and may change the output.
pub fn ignored(metadata: &Metadata, family: &Family) -> Vec<String> {
    let model = format!("{}.", family.name);
    let keys = metadata.iter().filter(|(key, value)| {
        let known = match (key.strip_prefix(&model), key.strip_prefix("tokenizer.")) {
            (Some(key), _) => {
                KNOWN.contains(&key) || key == "attention.causal" && **value == Value::Bool(true)
            }
            (_, Some(key)) => {
                KNOWN_TOKENIZER.contains(&key)
                    || key.starts_with("chat_template.")
                    || key.starts_with("ggml.") && key.ends_with("_token_id")
                    || **value == Value::Bool(false)
            }
            _ => true,
        };
        !known
    });
    keys.map(|(key, _)| key.to_owned()).collect()
}

/// The stretching: Llama 3.1's, whose factors the file holds, or what the settings say.
fn rope_scaling(
    gguf: &Gguf<'_>,
    keys: &Keys<'_>,
    head_width: usize,
    theta: f32,
) -> Result<RopeScaling> {
    if ROPE_FACTORS.iter().any(|name| gguf.get(name).is_ok()) {
        return longrope(gguf, keys, head_width);
    }
    let linear = keys.scaling()?;
    let Ok(info) = gguf.get(ROPE_FREQS) else { return Ok(linear) };
    if linear != RopeScaling::None {
        let expected = format!("none beside {ROPE_FREQS}");
        return Err(keys.wrong(SCALING_FACTOR, expected, format!("{linear:?}")));
    }
    let wrong = |expected: &str, got: String| Err(wrong(ROPE_FREQS, expected.into(), got));
    if info.shape() != [head_width / 2] {
        return wrong("half a head of factors", format!("{:?}", info.shape()));
    }
    let got = info.tensor()?.into_parts().1;
    let most = got.iter().copied().fold(1.0, f32::max);
    // A division and its inverse may have moved it by a bit.
    let whole = most.round();
    let factor = if (most / whole - 1.0).abs() < 1e-5 { whole } else { most };
    let context = keys.size_or(STRETCHED_FROM, BEFORE)? as f32;
    let rope_scaling = RopeScaling::Llama3 { factor, low: LOW, high: HIGH, context };
    let want = rope_scaling.factors(theta, head_width, 0);
    let same = |(got, want): (&f32, &f32)| (got / want - 1.0).abs() < 1e-4;
    if got.iter().zip(&want).all(same) {
        return Ok(rope_scaling);
    }
    wrong("the factors of Llama 3.1", "others".into())
}

/// LongRoPE, whose factors the file holds.
fn longrope(gguf: &Gguf<'_>, keys: &Keys<'_>, head_width: usize) -> Result<RopeScaling> {
    let factors = |name: &str| {
        let info = gguf.get(name)?;
        if info.shape() != [head_width / 2] {
            return Err(wrong(
                name,
                "half a head of factors".into(),
                format!("{:?}", info.shape()),
            ));
        }
        let values = info.tensor()?.into_parts().1;
        match values.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
            Some(x) => Err(wrong(name, "numbers above 0".into(), x.to_string())),
            None => Ok(values),
        }
    };
    let [short, long] = ROPE_FACTORS.map(factors);
    let context = keys.size(STRETCHED_FROM)?;
    let attention = keys.positive(ATTENTION_FACTOR, Some(1.0))?;
    Ok(RopeScaling::LongRope { short: short?, long: long?, context, attention })
}

/// YaRN with its paper's numbers, the only ones that a file has.
fn yarn(factor: f32, context: f32) -> RopeScaling {
    let attention = (0.1 * f64::from(factor).max(1.0).ln() + 1.0) as f32;
    RopeScaling::Yarn { factor, fast: 32.0, slow: 1.0, context, truncate: true, attention }
}

/// Whether a model has no use for a tensor of this name, whatever it holds: what is not of the language
/// model, and other programs' tables of angles.
pub fn is_needless(name: &str) -> bool {
    is_stray(name) || name.contains(".attn_rot_embd") || name.ends_with("rotary_emb.inv_freq")
}

/// Whether a tensor of this name is of no language model.
pub fn is_stray(name: &str) -> bool {
    let ours = ["blk.", "token_embd", "output", "rope_"];
    !ours.iter().any(|part| name.starts_with(part))
}

/// Metadata that tells a model of this shape, and nothing of its tokens.
///
/// # Errors
/// The format's readers would take the model for another.
pub fn write(config: &LlamaConfig, family: &Family) -> Result<Metadata> {
    let unwritable = |expected: &str, got: String| Error::Unwritable {
        what: format!("a model of the family {} as GGUF", family.name),
        expected: expected.into(),
        got,
        hint: "readers of GGUF files would compute something else",
    };
    if family.biases.is_some_and(|biases| biases != config.biases) {
        return Err(unwritable("the biases of its family", format!("{:?}", config.biases)));
    }
    let number = |n: usize| Value::U32(n as u32);
    let k = config.head_dim;
    let mut keys = vec![
        ("vocab_size", number(config.vocab_size)),
        ("block_count", number(config.n_layers)),
        ("context_length", number(config.context)),
        ("embedding_length", number(config.hidden_size)),
        ("feed_forward_length", number(config.intermediate_size)),
        ("attention.head_count", number(config.n_heads)),
        ("attention.head_count_kv", number(config.n_kv_heads)),
        ("attention.key_length", number(k)),
        ("attention.value_length", number(k)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.eps as f32)),
        ("rope.dimension_count", number(k)),
        ("rope.freq_base", Value::F32(config.theta)),
    ];
    if let RopeScaling::Llama3 { low, high, context, .. } = &config.rope_scaling {
        let (low, high, context) = (*low, *high, *context);
        let whole = context.fract() == 0.0 && (1.0..=MAX_SIZE as f32).contains(&context);
        if low != LOW || high != HIGH || !whole || !family.interleaved {
            let got = format!("{:?}", config.rope_scaling);
            return Err(unwritable("rotary angles as Llama 3.1 stretches them", got));
        }
        keys.push((STRETCHED_FROM, number(context as usize)));
    }
    match &config.rope_scaling {
        RopeScaling::Linear { factor } => {
            keys.push((SCALING, Value::String("linear".into())));
            keys.push((SCALING_FACTOR, Value::F32(*factor)));
        }
        RopeScaling::Yarn { factor, context, .. }
            if config.rope_scaling == yarn(*factor, *context) =>
        {
            keys.push((SCALING, Value::String("yarn".into())));
            keys.push((SCALING_FACTOR, Value::F32(*factor)));
            keys.push((STRETCHED_FROM, number(*context as usize)));
        }
        RopeScaling::Yarn { .. } | RopeScaling::LongRope { .. } => {
            let got = format!("{:?}", config.rope_scaling);
            return Err(unwritable("YaRN as its paper has it, or none", got));
        }
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
    }
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", Value::String(family.name.into()));
    metadata.set("general.type", Value::String("model".into()));
    for (key, value) in keys {
        metadata.set(format!("{}.{key}", family.name), value);
    }
    Ok(metadata)
}

/// The family of a file.
///
/// # Errors
/// It names another.
pub fn family(metadata: &Metadata) -> Result<&'static Family> {
    const KEY: &str = "general.architecture";
    let name = metadata.string(KEY)?;
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        let got: String = name.chars().take(60).collect();
        wrong(KEY, format!("one of {}", known.join(", ")), format!("{got:?}"))
    })
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    family: &'static Family,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.name)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&self.key(name))
    }

    /// A size from 1 to [`MAX_SIZE`].
    fn size(&self, name: &str) -> Result<usize> {
        let n = self.metadata.uniform_count(&self.key(name))?;
        if (1..=MAX_SIZE).contains(&n) {
            return Ok(n);
        }
        Err(self.wrong(name, format!("1 to {MAX_SIZE}"), n.to_string()))
    }

    fn size_or(&self, name: &str, default: usize) -> Result<usize> {
        if self.get(name).is_some() { self.size(name) } else { Ok(default) }
    }

    /// No more layers than the file has tensors: a lying count must not become a long list.
    fn layers(&self, tensors: usize) -> Result<usize> {
        let n = self.size("block_count")?;
        if n <= tensors {
            return Ok(n);
        }
        let expected = format!("at most as many layers as there are tensors, {tensors}");
        Err(self.wrong("block_count", expected, n.to_string()))
    }

    /// Of queries, keys and values alike, all of it rotated.
    fn head_width(&self, width: usize, n_heads: usize) -> Result<usize> {
        let k = self.size_or("attention.key_length", width / n_heads)?;
        if k == 0 || k % 2 != 0 {
            return Err(self.wrong("attention.key_length", "an even width".into(), k.to_string()));
        }
        for name in ["attention.value_length", "rope.dimension_count"] {
            let other = self.size_or(name, k)?;
            if other != k {
                return Err(self.wrong(
                    name,
                    format!("{k}, the width of a head"),
                    other.to_string(),
                ));
            }
        }
        Ok(k)
    }

    fn positive(&self, name: &str, default: Option<f32>) -> Result<f32> {
        let x = match default {
            Some(default) if self.get(name).is_none() => default,
            _ => self.metadata.f32(&self.key(name))?,
        };
        if x.is_finite() && x > 0.0 {
            return Ok(x);
        }
        Err(self.wrong(name, "a finite number above 0".into(), x.to_string()))
    }

    /// A number to multiply with; 0 says that there is none.
    fn factor(&self, name: &str) -> Result<Option<f32>> {
        let found = self.get(name).map(|_| self.metadata.f32(&self.key(name)));
        Ok(found.transpose()?.filter(|x| *x != 0.0))
    }

    fn check_supported(&self) -> Result<()> {
        for name in FACTORS {
            let factor = self.factor(name)?.unwrap_or(1.0);
            if factor != 1.0 {
                return Err(self.wrong(name, "1".into(), factor.to_string()));
            }
        }
        const CLAMP: &str = "attention.clamp_kqv";
        if self.get(CLAMP).is_some() {
            return Err(self.wrong(CLAMP, "a model without it".into(), "a value".into()));
        }
        if self.get("expert_count").is_some() && self.metadata.count(&self.key("expert_count"))? > 0
        {
            let got = "a mixture of experts".to_owned();
            return Err(self.wrong("expert_count", "0".into(), got));
        }
        Ok(())
    }

    /// The stretching that the settings say; without a type it is linear, as llama.cpp has it.
    fn scaling(&self) -> Result<RopeScaling> {
        match self.get(SCALING) {
            Some(Value::String(kind)) if kind == "none" => return Ok(RopeScaling::None),
            Some(Value::String(kind)) if kind == "linear" => {}
            Some(Value::String(kind)) if kind == "yarn" => {
                let factor = self.positive(SCALING_FACTOR, None)?;
                for name in ["attn_factor", "yarn_log_multiplier"] {
                    let name = format!("rope.scaling.{name}");
                    if self.factor(&name)?.is_some_and(|x| x != 1.0) {
                        return Err(self.wrong(&name, "none, or 1".into(), "another".into()));
                    }
                }
                return Ok(yarn(factor, self.size(STRETCHED_FROM)? as f32));
            }
            None => {}
            Some(_) => {
                let expected = "\"none\", \"linear\" or \"yarn\"".to_owned();
                return Err(self.wrong(SCALING, expected, "another way".into()));
            }
        }
        for name in [SCALING_FACTOR, "rope.scale_linear"] {
            match self.factor(name)? {
                Some(1.0) | None => {}
                Some(factor) if factor.is_finite() && factor > 0.0 => {
                    return Ok(RopeScaling::Linear { factor });
                }
                Some(factor) => {
                    return Err(self.wrong(
                        name,
                        "a finite number above 0".into(),
                        factor.to_string(),
                    ));
                }
            }
        }
        Ok(RopeScaling::None)
    }

    /// That a window does not hide any of the text, and that the products of queries and keys have the
    /// usual scale.
    fn check_attention(&self, context: usize, head_width: usize) -> Result<()> {
        let window = self.get(WINDOW).map_or(Ok(0), |_| self.metadata.count(&self.key(WINDOW)))?;
        if (1..context).contains(&window) {
            return Err(self.wrong(WINDOW, format!("at least {context}"), window.to_string()));
        }
        let usual = (head_width as f32).sqrt().recip();
        let scale = self.factor("attention.scale")?.unwrap_or(usual);
        if scale.is_nan() || (scale / usual - 1.0).abs() > 1e-5 {
            return Err(self.wrong("attention.scale", usual.to_string(), scale.to_string()));
        }
        Ok(())
    }

    fn wrong(&self, name: &str, expected: String, got: String) -> Error {
        wrong(&self.key(name), expected, got)
    }
}

fn wrong(key: &str, expected: String, got: String) -> Error {
    Error::Metadata { key: key.to_owned(), expected, got }
}
