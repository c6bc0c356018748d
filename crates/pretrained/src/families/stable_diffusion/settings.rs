//! Settings of UNets and autoencoders, whose defaults are those of diffusers' classes.

use sensorium_generator::diffusion::{
    AutoencoderConfig, AutoencoderKlConfig, AutoencoderTinyConfig, TinySide, UNet2DConditionConfig,
};
use serde_json::{Value, json};

use crate::config::Config;
use crate::error::Result;
use crate::vision::MAX_LAYERS;

/// The class of the denoiser.
pub(super) const UNET: &str = "UNet2DConditionModel";

/// The classes of the autoencoders.
pub(super) const KL: &str = "AutoencoderKL";
pub(super) const TINY: &str = "AutoencoderTiny";

/// More sizes than any published model has.
const MAX_LEVELS: usize = 8;

/// Longest edge of latents that a model was trained with.
const MAX_LATENTS: usize = 512;

pub(in crate::families) const FOREIGN: &str =
    "the file may be damaged, or of a model that is not supported";

/// That each of these is absent or says what is done here; a number is that number however it is spelt.
pub(in crate::families) fn only(config: &Config<'_>, known: &[(&str, Value)]) -> Result<()> {
    for (key, want) in known {
        let is = |got: &Value| match (got.as_f64(), want.as_f64()) {
            (Some(got), Some(want)) => got == want,
            _ => got == want,
        };
        if config.get(key).is_some_and(|got| !is(got)) {
            return Err(config.wrong(key, &want.to_string(), FOREIGN));
        }
    }
    Ok(())
}

/// That the class is this one.
pub(in crate::families) fn class(config: &Config<'_>, known: &[&str]) -> Result<()> {
    match known.contains(&config.text_or("_class_name", "")?) {
        true => Ok(()),
        false => Err(config.wrong("_class_name", &format!("one of {}", known.join(", ")), FOREIGN)),
    }
}

/// The sizes listed at `key`.
pub(in crate::families) fn sizes(
    config: &Config<'_>,
    key: &str,
    default: &[usize],
) -> Result<Vec<usize>> {
    const MOST: u64 = 1 << 20;
    let Some(value) = config.get(key) else { return Ok(default.to_vec()) };
    let size =
        |value: &Value| value.as_u64().filter(|n| (1..=MOST).contains(n)).map(|n| n as usize);
    let list = value.as_array().and_then(|all| all.iter().map(size).collect::<Option<Vec<_>>>());
    let fits = |list: &Vec<usize>| (1..=MAX_LEVELS).contains(&list.len());
    list.filter(fits).ok_or_else(|| {
        let expected = format!("1 to {MAX_LEVELS} whole numbers of 1 to {MOST}");
        config.wrong(key, &expected, FOREIGN)
    })
}

/// A number for each level: those listed at `key`, or the one that stands there.
fn each(config: &Config<'_>, key: &str, default: usize, levels: usize) -> Result<Vec<usize>> {
    match config.get(key) {
        Some(Value::Array(_)) => {
            let all = sizes(config, key, &[])?;
            let expected = format!("a number for each of {levels} levels");
            if all.len() == levels { Ok(all) } else { Err(config.wrong(key, &expected, FOREIGN)) }
        }
        _ => Ok(vec![config.size_or(key, default)?; levels]),
    }
}

/// As [`each`], of counts of layers.
pub(in crate::families) fn layers(
    config: &Config<'_>,
    key: &str,
    default: usize,
    levels: usize,
) -> Result<Vec<usize>> {
    let all = each(config, key, default, levels)?;
    match all.iter().all(|&n| n <= MAX_LAYERS) {
        true => Ok(all),
        false => Err(config.wrong(key, &format!("at most {MAX_LAYERS} layers"), FOREIGN)),
    }
}

/// Names of blocks, one for each level; whether each is the second of the two known.
pub(in crate::families) fn blocks(
    config: &Config<'_>,
    key: &str,
    [plain, other]: [&str; 2],
    levels: usize,
    default: &[bool],
) -> Result<Vec<bool>> {
    let Some(value) = config.get(key) else { return Ok(default.to_vec()) };
    let one = |value: &Value| match value.as_str() {
        Some(name) if name == plain => Some(false),
        Some(name) if name == other => Some(true),
        _ => None,
    };
    let all = value.as_array().and_then(|all| all.iter().map(one).collect::<Option<Vec<_>>>());
    all.filter(|all| all.len() == levels).ok_or_else(|| {
        let names = if plain == other { plain.to_owned() } else { format!("{plain} or {other}") };
        config.wrong(key, &format!("{names} for each of {levels} levels"), FOREIGN)
    })
}

/// That groups divide the channels of every level.
pub(in crate::families) fn groups(config: &Config<'_>, channels: &[usize]) -> Result<usize> {
    let groups = config.size_or("norm_num_groups", 32)?;
    match channels.iter().all(|c| c.is_multiple_of(groups)) {
        true => Ok(groups),
        false => {
            Err(config.wrong("norm_num_groups", &format!("a divisor of {channels:?}"), FOREIGN))
        }
    }
}

/// The UNet.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub(super) fn unet(config: &Config<'_>) -> Result<UNet2DConditionConfig> {
    class(config, &[UNET])?;
    unsupported(config)?;
    let channels = sizes(config, "block_out_channels", &[320, 640, 1280, 1280])?;
    let n = channels.len();
    let default = |attends: &dyn Fn(usize) -> bool| (0..n).map(attends).collect::<Vec<_>>();
    let down = blocks(
        config,
        "down_block_types",
        ["DownBlock2D", "CrossAttnDownBlock2D"],
        n,
        &default(&|i| i + 1 < n),
    )?;
    let mut up = blocks(
        config,
        "up_block_types",
        ["UpBlock2D", "CrossAttnUpBlock2D"],
        n,
        &default(&|i| i > 0),
    )?;
    up.reverse();
    let heads = each(config, "attention_head_dim", 8, n)?;
    if !channels.iter().zip(&heads).all(|(c, heads)| c.is_multiple_of(*heads)) {
        let expected = format!("divisors of {channels:?}: they are numbers of heads");
        return Err(config.wrong("attention_head_dim", &expected, FOREIGN));
    }
    Ok(UNet2DConditionConfig {
        sample_size: sample_size(config)?,
        in_channels: config.size_or("in_channels", 4)?,
        out_channels: config.size_or("out_channels", 4)?,
        layers_per_block: layers(config, "layers_per_block", 2, n)?,
        transformer_layers_per_block: layers(config, "transformer_layers_per_block", 1, n)?,
        heads,
        attends_down: down,
        attends_up: up,
        cross_attention_dim: config.size_or("cross_attention_dim", 1280)?,
        use_linear_projection: config.flag_or("use_linear_projection", false)?,
        norm_num_groups: groups(config, &channels)?,
        norm_eps: config.positive_or("norm_eps", 1e-5)?,
        flip_sin_to_cos: config.flag_or("flip_sin_to_cos", true)?,
        freq_shift: freq_shift(config, channels[0])?,
        block_out_channels: channels,
    })
}

/// What no model of these pipelines has.
fn unsupported(config: &Config<'_>) -> Result<()> {
    only(
        config,
        &[
            ("act_fn", json!("silu")),
            ("attention_type", json!("default")),
            ("center_input_sample", json!(false)),
            ("class_embeddings_concat", json!(false)),
            ("conv_in_kernel", json!(3)),
            ("conv_out_kernel", json!(3)),
            ("downsample_padding", json!(1)),
            ("dual_cross_attention", json!(false)),
            ("mid_block_only_cross_attention", json!(false)),
            ("mid_block_scale_factor", json!(1)),
            ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
            ("only_cross_attention", json!(false)),
            ("resnet_out_scale_factor", json!(1)),
            ("resnet_skip_time_act", json!(false)),
            ("resnet_time_scale_shift", json!("default")),
            ("time_embedding_type", json!("positional")),
        ],
    )?;
    for key in [
        "addition_embed_type",
        "class_embed_type",
        "cross_attention_norm",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "num_attention_heads",
        "num_class_embeds",
        "projection_class_embeddings_input_dim",
        "reverse_transformer_layers_per_block",
        "time_cond_proj_dim",
        "time_embedding_act_fn",
        "time_embedding_dim",
        "timestep_post_act",
    ] {
        config.only_null(key)?;
    }
    // Of an embedding that there is not, and of numbers of 16 bits.
    config.without_effect(&[
        "addition_embed_type_num_heads",
        "addition_time_embed_dim",
        "upcast_attention",
    ]);
    Ok(())
}

/// Height and width of the latents that it was trained with.
pub(in crate::families) fn sample_size(config: &Config<'_>) -> Result<[usize; 2]> {
    let size = match config.get("sample_size") {
        Some(Value::Array(_)) => sizes(config, "sample_size", &[])?,
        _ => vec![config.size_or("sample_size", 64)?; 2],
    };
    let expected = format!("one or two numbers up to {MAX_LATENTS}");
    match size[..] {
        [h, w] if h <= MAX_LATENTS && w <= MAX_LATENTS => Ok([h, w]),
        _ => Err(config.wrong("sample_size", &expected, FOREIGN)),
    }
}

/// What is taken off the number of a time's waves, which must leave some.
pub(in crate::families) fn freq_shift(config: &Config<'_>, channels: usize) -> Result<f64> {
    let shift = match config.get("freq_shift") {
        None => Some(0.0),
        Some(value) => value.as_f64(),
    };
    let half = (channels / 2) as f64;
    shift.filter(|shift| *shift >= 0.0 && *shift < half).ok_or_else(|| {
        let expected = format!("a number of 0 to less than {half}, half of block_out_channels");
        config.wrong("freq_shift", &expected, FOREIGN)
    })
}

/// An autoencoder.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub(super) fn autoencoder(config: &Config<'_>) -> Result<AutoencoderConfig> {
    class(config, &[KL, TINY])?;
    only(config, &[("in_channels", json!(3)), ("out_channels", json!(3))])?;
    // How it runs in 16 bits, and how large its pictures were.
    config.without_effect(&["force_upcast", "sample_size"]);
    match config.text_or("_class_name", KL)? == TINY {
        true => Ok(AutoencoderConfig::Tiny(tiny(config)?)),
        false => Ok(AutoencoderConfig::Kl(kl(config)?)),
    }
}

fn kl(config: &Config<'_>) -> Result<AutoencoderKlConfig> {
    only(config, &[("act_fn", json!("silu"))])?;
    ["latents_mean", "latents_std"].iter().try_for_each(|key| config.only_null(key))?;
    let channels = sizes(config, "block_out_channels", &[64])?;
    let n = channels.len();
    for (key, name) in
        [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")]
    {
        blocks(config, key, [name, name], n, &[])?;
    }
    Ok(AutoencoderKlConfig {
        layers_per_block: layers(config, "layers_per_block", 1, 1)?[0],
        latent_channels: config.size_or("latent_channels", 4)?,
        norm_num_groups: groups(config, &channels)?,
        scaling_factor: config.positive_or("scaling_factor", 0.18215)?,
        shift_factor: shift_factor(config)?,
        use_quant_conv: config.flag_or("use_quant_conv", true)?,
        use_post_quant_conv: config.flag_or("use_post_quant_conv", true)?,
        mid_block_add_attention: config.flag_or("mid_block_add_attention", true)?,
        block_out_channels: channels,
    })
}

fn tiny(config: &Config<'_>) -> Result<AutoencoderTinyConfig> {
    only(
        config,
        &[
            ("act_fn", json!("relu")),
            ("upsample_fn", json!("nearest")),
            ("upsampling_scaling_factor", json!(2)),
        ],
    )?;
    // How latents are kept in bytes; a copy of the decoder's.
    config.without_effect(&["latent_magnitude", "latent_shift", "block_out_channels"]);
    let encoder = side(config, "encoder", [1, 3, 3, 3])?;
    let decoder = side(config, "decoder", [3, 3, 3, 1])?;
    if encoder.num_blocks.len() != decoder.num_blocks.len() {
        let expected = "as many sizes as num_encoder_blocks";
        return Err(config.wrong("num_decoder_blocks", expected, FOREIGN));
    }
    Ok(AutoencoderTinyConfig {
        encoder,
        decoder,
        latent_channels: config.size_or("latent_channels", 4)?,
        scaling_factor: config.positive_or("scaling_factor", 1.0)?,
        shift_factor: shift_factor(config)?,
        use_midblock_gn: config.flag_or("use_midblock_gn", false)?,
    })
}

/// One side of a small autoencoder, whose sizes all have as many channels.
fn side(config: &Config<'_>, name: &str, blocks: [usize; 4]) -> Result<TinySide> {
    let (channels, counts) = (format!("{name}_block_out_channels"), format!("num_{name}_blocks"));
    let side = TinySide {
        block_out_channels: sizes(config, &channels, &[64; 4])?,
        num_blocks: sizes(config, &counts, &blocks)?,
    };
    let first = side.block_out_channels[0];
    if side.block_out_channels.iter().any(|&c| c != first) {
        return Err(config.wrong(&channels, "the same number for every size", FOREIGN));
    }
    let n = side.block_out_channels.len();
    if side.num_blocks.len() != n || side.num_blocks.iter().any(|&blocks| blocks > MAX_LAYERS) {
        let expected = format!("{n} numbers of blocks, at most {MAX_LAYERS}");
        return Err(config.wrong(&counts, &expected, FOREIGN));
    }
    Ok(side)
}

fn shift_factor(config: &Config<'_>) -> Result<f64> {
    let shift = config.get("shift_factor").map_or(Some(0.0), Value::as_f64);
    shift
        .filter(|shift| shift.is_finite())
        .ok_or_else(|| config.wrong("shift_factor", "a number", FOREIGN))
}
