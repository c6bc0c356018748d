//! Settings of Llama and of those that differ from it in a few: Mistral, Qwen2, Qwen3, Phi-3, Gemma.

use sensorium_backbone::{BackboneConfig, Biases, GateActivation, LlamaConfig, Mrope, RopeScaling};
use serde_json::{Value, json};

use super::{Config, FOREIGN, Result, divides, tied};
use crate::plan::Expected;
use sensorium_checkpoint::{Tensor, Tensors};

/// <https://huggingface.co/docs/transformers/model_doc/llama>
pub fn llama(config: &Config<'_>) -> Result<BackboneConfig> {
    let bias = config.flag_or("attention_bias", false)?;
    let mlp = config.flag_or("mlp_bias", false)?;
    read(config, Family { biases: Biases { qkv: bias, o: bias, mlp }, ..Family::default() })
}

/// <https://huggingface.co/docs/transformers/model_doc/mistral>
pub fn mistral(config: &Config<'_>) -> Result<BackboneConfig> {
    read(config, Family { n_kv_heads: Some(8), window: true, ..Family::default() })
}

/// <https://huggingface.co/docs/transformers/model_doc/qwen2>
pub fn qwen2(config: &Config<'_>) -> Result<BackboneConfig> {
    let biases = Biases { qkv: true, ..Biases::default() };
    let window = slides(config)?;
    read(config, Family { n_kv_heads: Some(32), biases, window, ..Family::default() })
}

/// <https://huggingface.co/docs/transformers/model_doc/qwen3>
pub fn qwen3(config: &Config<'_>) -> Result<BackboneConfig> {
    let bias = config.flag_or("attention_bias", false)?;
    let window = slides(config)?;
    let biases = Biases { qkv: bias, o: bias, mlp: false };
    let (n_kv_heads, head_width) = (Some(32), Some(128));
    read(
        config,
        Family { n_kv_heads, head_width, biases, window, qk_norm: true, ..Family::default() },
    )
}

/// The language model of Qwen2-VL and Qwen2.5-VL: Qwen2's, whose positions have three axes.
pub fn qwen2_vl(config: &Config<'_>) -> Result<BackboneConfig> {
    let biases = Biases { qkv: true, ..Biases::default() };
    let window = slides(config)?;
    let mrope = Some(Mrope { section: [16, 24, 24], interleaved: false });
    read(config, Family { biases, window, mrope, ..Family::default() })
}

/// The language model of Qwen3-VL: Qwen3's, whose positions have three axes.
pub fn qwen3_vl(config: &Config<'_>) -> Result<BackboneConfig> {
    let bias = config.flag_or("attention_bias", false)?;
    let biases = Biases { qkv: bias, o: bias, mlp: false };
    let mrope = Some(Mrope { section: [24, 20, 20], interleaved: true });
    let head_width = Some(128);
    read(config, Family { head_width, biases, qk_norm: true, mrope, ..Family::default() })
}

/// <https://huggingface.co/docs/transformers/model_doc/phi3>
pub fn phi3(config: &Config<'_>) -> Result<BackboneConfig> {
    config.only("attention_bias", &json!(false))?;
    // Stands in every file; only LongRoPE reads it.
    config.without_effect(&["original_max_position_embeddings"]);
    read(config, Family { window: true, ..Family::default() })
}

/// <https://huggingface.co/docs/transformers/model_doc/gemma>
pub fn gemma1(config: &Config<'_>) -> Result<BackboneConfig> {
    Ok(BackboneConfig::Llama(gemma(config, 16, false)?))
}

/// What all Gemmas share.
pub fn gemma(config: &Config<'_>, n_kv_heads: usize, qk_norm: bool) -> Result<LlamaConfig> {
    // The first files say gelu and mean its tanh form.
    for key in ["hidden_act", "hidden_activation"] {
        if !matches!(config.text_or(key, "gelu")?, "gelu" | "gelu_pytorch_tanh") {
            return Err(config.wrong(key, "gelu_pytorch_tanh", FOREIGN));
        }
    }
    let bias = config.flag_or("attention_bias", false)?;
    shape(
        config,
        Family {
            n_kv_heads: Some(n_kv_heads),
            head_width: Some(256),
            biases: Biases { qkv: bias, o: bias, mlp: false },
            tied: true,
            gate: GateActivation::GeluTanh,
            scales: true,
            qk_norm,
            ..Family::default()
        },
    )
}

/// What one kind of model differs in, and its defaults for what a file leaves out.
#[derive(Default)]
struct Family {
    /// As many as there are query heads, unless stated.
    n_kv_heads: Option<usize>,
    /// The width over the heads, unless stated.
    head_width: Option<usize>,
    biases: Biases,
    qk_norm: bool,
    /// `sliding_window` counts.
    window: bool,
    /// The head is the token table, unless stated.
    tied: bool,
    gate: GateActivation,
    /// Token embeddings are multiplied by the root of the width.
    scales: bool,
    /// How angles are shared among the axes of positions that have three, unless stated.
    mrope: Option<Mrope>,
}

fn read(config: &Config<'_>, family: Family) -> Result<BackboneConfig> {
    Ok(BackboneConfig::Llama(shape(config, family)?))
}

fn shape(config: &Config<'_>, family: Family) -> Result<LlamaConfig> {
    if family.gate == GateActivation::Silu {
        config.only("hidden_act", &json!("silu"))?;
    }
    config.only("partial_rotary_factor", &json!(1.0))?;
    let width = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_kv_heads = config.size_or("num_key_value_heads", family.n_kv_heads.unwrap_or(n_heads))?;
    divides(config, "num_key_value_heads", n_heads, n_kv_heads)?;
    let head_width =
        config.size_or("head_dim", family.head_width.unwrap_or((width / n_heads).max(1)))?;
    if head_width % 2 != 0 || head_width > MAX_HEAD {
        let expected = format!("an even width of at most {MAX_HEAD}");
        return Err(config.wrong("head_dim", &expected, FOREIGN));
    }
    let (theta, rope_scaling) = angles(config, head_width, family.mrope.is_some())?;
    let mrope = family.mrope.map(|usual| mrope(config, head_width, usual)).transpose()?;
    Ok(LlamaConfig {
        vocab_size: config.size("vocab_size")?,
        context: context(config, family.window, &rope_scaling)?,
        hidden_size: width,
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads,
        head_dim: head_width,
        intermediate_size: config.size("intermediate_size")?,
        theta,
        eps: config.positive_or("rms_norm_eps", 1e-6)?,
        qk_norm: family.qk_norm,
        tied: config.flag_or("tie_word_embeddings", family.tied)?,
        biases: family.biases,
        rope_scaling,
        mrope,
        gate: family.gate,
        embedding_scale: if family.scales { (width as f32).sqrt() } else { 1.0 },
        gemma: None,
    })
}

/// Whether a layer of Qwen's sees only so many tokens before each: those from `max_window_layers` on,
/// unless each layer says its own.
fn slides(config: &Config<'_>) -> Result<bool> {
    config.without_effect(&["layer_types", "max_window_layers", "sliding_window"]);
    if !config.flag_or("use_sliding_window", false)? {
        return Ok(false);
    }
    if let Some(kinds) = config.get("layer_types").and_then(Value::as_array) {
        return Ok(kinds.iter().any(|kind| kind != "full_attention"));
    }
    let n_layers = config.size("num_hidden_layers")?;
    let full = config.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
    Ok((n_layers as u64) > full)
}

/// Widest head: the published ones have up to 256.
const MAX_HEAD: usize = 1 << 12;

/// The longest text. Where each token sees only so many before it, a text up to that length is read
/// as if it saw all, and longer ones are refused. Files with YaRN may still say the length before it.
fn context(config: &Config<'_>, window: bool, rope_scaling: &RopeScaling) -> Result<usize> {
    let context = config.size("max_position_embeddings")?;
    let context = match rope_scaling {
        RopeScaling::Yarn { factor, context: before, .. } => {
            context.max((factor * before) as usize)
        }
        _ => context,
    };
    Ok(if window { context.min(config.size_or("sliding_window", context)?) } else { context })
}

/// Base of the angles and their stretching, from `rope_parameters` or, in files before
/// transformers 5, `rope_theta` and `rope_scaling`; heads are `head_width` wide.
pub fn rope(config: &Config<'_>, head_width: usize) -> Result<(f32, RopeScaling)> {
    angles(config, head_width, false)
}

/// How the angles of heads so wide are shared among three axes.
fn mrope(config: &Config<'_>, head_width: usize, usual: Mrope) -> Result<Mrope> {
    const KEY: &str = "mrope_section";
    let (new, old) = (config.find("rope_parameters")?, config.find("rope_scaling")?);
    let rope = new.or(old).map_or_else(|| config.find_or_empty("rope_scaling"), Ok)?;
    rope.only("mrope_interleaved", &json!(usual.interleaved))?;
    let angles = head_width / 2;
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let section = match rope.get(KEY) {
        None => Some(usual.section),
        Some(value) => value.as_array().and_then(|all| {
            let all: Option<Vec<usize>> = all.iter().map(number).collect();
            <[usize; 3]>::try_from(all?).ok()
        }),
    };
    let whole = |section: &[usize; 3]| {
        section.iter().all(|n| *n <= angles) && section.iter().sum::<usize>() == angles
    };
    let section = section.filter(whole).ok_or_else(|| {
        let expected = format!("three numbers, together the {angles} angles of a head");
        rope.wrong(KEY, &expected, FOREIGN)
    })?;
    Ok(Mrope { section, ..usual })
}

/// As [`rope`]; where positions have three axes, files may call that a kind of stretching.
fn angles(config: &Config<'_>, head_width: usize, axes: bool) -> Result<(f32, RopeScaling)> {
    let new = config.find("rope_parameters")?;
    let old = config.find("rope_scaling")?;
    let theta = match &new {
        Some(new) if new.get("rope_theta").is_some() => new.positive_or("rope_theta", 1e4)?,
        _ => config.positive_or("rope_theta", 1e4)?,
    };
    let scaling = match new.or(old) {
        Some(rope) if axes && kind(&rope)? == "mrope" => RopeScaling::None,
        Some(rope) => rope_scaling(config, &rope, head_width)?,
        None => RopeScaling::None,
    };
    Ok((theta as f32, scaling))
}

/// The stretching that `rope` says, of a model with these settings.
pub fn rope_scaling(
    config: &Config<'_>,
    rope: &Config<'_>,
    head_width: usize,
) -> Result<RopeScaling> {
    rope.only("partial_rotary_factor", &json!(1.0))?;
    // Some files have both names.
    rope.without_effect(&["type"]);
    Ok(match kind(rope)? {
        // Dynamic scaling begins where the longest text that is read here ends.
        "default" | "dynamic" => {
            rope.without_effect(&["factor", "original_max_position_embeddings"]);
            RopeScaling::None
        }
        "linear" => RopeScaling::Linear { factor: rope.positive_or("factor", 1.0)? as f32 },
        "llama3" => llama3(rope)?,
        "yarn" => yarn(config, rope)?,
        // As Phi-3's first files have it.
        "longrope" | "su" => longrope(config, rope, head_width)?,
        _ => {
            let known =
                "\"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\" or \"longrope\"";
            return Err(rope.wrong(kind_key(rope), known, FOREIGN));
        }
    })
}

/// Where a stretching says what it is: older files have another key.
fn kind_key(rope: &Config<'_>) -> &'static str {
    if rope.get("rope_type").is_some() { "rope_type" } else { "type" }
}

fn kind<'c>(rope: &'c Config<'_>) -> Result<&'c str> {
    rope.text_or(kind_key(rope), "default")
}

/// Longest text before stretching, which a file may have beside the stretching too, and how much longer
/// texts became.
fn stretched(config: &Config<'_>, rope: &Config<'_>) -> Result<(usize, f64)> {
    const BEFORE: &str = "original_max_position_embeddings";
    let now = config.size("max_position_embeddings")?;
    let before = config.size_or(BEFORE, rope.size_or(BEFORE, now)?)?;
    if before < 2 {
        return Err(rope.wrong(BEFORE, "at least 2", FOREIGN));
    }
    Ok((before, rope.positive_or("factor", now as f64 / before as f64)?))
}

fn yarn(config: &Config<'_>, rope: &Config<'_>) -> Result<RopeScaling> {
    let (context, factor) = stretched(config, rope)?;
    let scale = |times: f64| if factor <= 1.0 { 1.0 } else { 0.1 * times * factor.ln() + 1.0 };
    let given = |key: &str| rope.get(key).map(|_| rope.positive_or(key, 1.0)).transpose();
    // DeepSeek's two numbers; a zero is none.
    let both = ["mscale", "mscale_all_dim"].map(|key| rope.get(key).and_then(Value::as_f64));
    let attention = match (given("attention_factor")?, both) {
        (Some(attention), _) => attention,
        (None, [Some(over), Some(under)]) if over != 0.0 && under != 0.0 => {
            scale(over) / scale(under)
        }
        (None, _) => scale(1.0),
    };
    let (fast, slow) = (rope.positive_or("beta_fast", 32.0)?, rope.positive_or("beta_slow", 1.0)?);
    Ok(RopeScaling::Yarn {
        factor: factor as f32,
        fast: fast as f32,
        slow: slow as f32,
        context: context as f32,
        truncate: rope.flag_or("truncate", true)?,
        attention: attention as f32,
    })
}

fn longrope(config: &Config<'_>, rope: &Config<'_>, head_width: usize) -> Result<RopeScaling> {
    let (context, factor) = stretched(config, rope)?;
    let usual =
        if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (context as f64).ln()).sqrt() };
    let list = |key: &str| {
        let numbers = rope.get(key).and_then(Value::as_array).map(|all| {
            let numbers = all.iter().filter_map(Value::as_f64).map(|x| x as f32);
            numbers.filter(|x| x.is_finite() && *x > 0.0).collect::<Vec<_>>()
        });
        numbers.filter(|numbers| numbers.len() == head_width / 2).ok_or_else(|| {
            let expected = format!("{} numbers above 0, one for each angle", head_width / 2);
            rope.wrong(key, &expected, FOREIGN)
        })
    };
    Ok(RopeScaling::LongRope {
        short: list("short_factor")?,
        long: list("long_factor")?,
        context,
        attention: rope.positive_or("attention_factor", usual)? as f32,
    })
}

fn llama3(rope: &Config<'_>) -> Result<RopeScaling> {
    let number = |key: &str| match rope.get(key).is_some_and(Value::is_number) {
        true => rope.positive_or(key, 1.0).map(|x| x as f32),
        false => Err(rope.wrong(key, "a number", FOREIGN)),
    };
    let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
    if high <= low {
        return Err(rope.wrong("high_freq_factor", "more than low_freq_factor", FOREIGN));
    }
    let context = number("original_max_position_embeddings")?;
    Ok(RopeScaling::Llama3 { factor: number("factor")?, low, high, context })
}

/// Parts of a layer that Phi-3 publishes in one matrix, in the order of its rows.
pub const FUSED: [(&str, &[&str]); 2] = [
    (".self_attn.qkv_proj.", &[".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."]),
    (".mlp.gate_up_proj.", &[".mlp.gate_proj.", ".mlp.up_proj."]),
];

/// The tensors as they are published where parts lie in one matrix, by a table such as [`FUSED`].
pub fn fused(tensors: Vec<Expected>, table: &[(&str, &[&str])]) -> Vec<Expected> {
    let mut joined: Vec<Expected> = Vec::with_capacity(tensors.len());
    for mut tensor in tensors {
        for (whole, parts) in table {
            if let Some(part) = parts.iter().find(|part| tensor.name.contains(**part)) {
                tensor.name = tensor.name.replace(*part, whole);
            }
        }
        match joined.last_mut() {
            Some(last) if last.name == tensor.name => last.shape[0] += tensor.shape[0],
            _ => joined.push(tensor),
        }
    }
    joined
}

/// The tensors without a head that is the table again; Phi-3's fused matrices apart, Gemma's norms
/// with the 1 that is added to them.
pub fn prepare(config: &LlamaConfig, tensors: Tensors) -> Result<Tensors> {
    let tensors = tied(tensors, config.tied, "lm_head.weight", "embed_tokens.weight")?;
    let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
    let rows = [vec![q, kv, kv], vec![config.intermediate_size; 2]];
    let mut prepared = Tensors::default();
    for (name, tensor) in tensors.tensors {
        let fused = FUSED.iter().zip(&rows).find(|((whole, _), _)| name.contains(whole));
        match (fused, tensor.shape()) {
            (Some(((whole, parts), rows)), [out, _]) if *out == rows.iter().sum::<usize>() => {
                for (part, matrix) in parts.iter().zip(apart(tensor, rows)?) {
                    prepared.tensors.insert(name.replace(whole, part), matrix);
                }
            }
            (_, [_]) if is_from_one(config, &name) => {
                let (shape, mut values) = tensor.into_parts();
                values.iter_mut().for_each(|x| *x += 1.0);
                prepared.tensors.insert(name, Tensor::new(shape, values)?);
            }
            _ => drop(prepared.tensors.insert(name, tensor)),
        }
    }
    Ok(prepared)
}

/// Whether a tensor is what a norm's weights are beyond 1, as Gemma's are.
fn is_from_one(config: &LlamaConfig, name: &str) -> bool {
    config.gate == GateActivation::GeluTanh && name.ends_with("norm.weight")
}

/// The tensors as files have them.
pub fn publish(config: &LlamaConfig, mut tensors: Tensors) -> Result<Tensors> {
    for (name, tensor) in &mut tensors.tensors {
        if is_from_one(config, name) {
            let (shape, mut values) = tensor.clone().into_parts();
            values.iter_mut().for_each(|x| *x -= 1.0);
            *tensor = Tensor::new(shape, values)?;
        }
    }
    Ok(tensors)
}

/// A matrix `[rows, in]` as matrices of so many rows.
fn apart(tensor: Tensor, rows: &[usize]) -> Result<Vec<Tensor>> {
    let (shape, values) = tensor.into_parts();
    let mut rest = values.as_slice();
    let part = |&rows: &usize| {
        let (part, after) = rest.split_at(rows * shape[1]);
        rest = after;
        Ok(Tensor::new(vec![rows, shape[1]], part.to_vec())?)
    };
    rows.iter().map(part).collect()
}
