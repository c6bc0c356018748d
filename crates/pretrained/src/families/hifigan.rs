//! Settings of HiFi-GAN, as VITS and SpeechT5's vocoder spell them, and of convolutions.

use sensorium_generator::audio::hifigan::HifiGanConfig;
use serde_json::Value;

use crate::config::Config;
use crate::error::Result;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Frames or letters that a convolution may read over.
pub(super) const MAX_REACH: usize = 4096;

/// Samples of a frame.
const MAX_HOP: usize = 1 << 14;

/// The shape of a decoder, whose rates and their kernels are `usual` where none are said.
///
/// # Errors
/// A setting is of another type, out of range, or does not fit the others.
pub(super) fn read(config: &Config<'_>, usual: [&[usize]; 2], bias: bool) -> Result<HifiGanConfig> {
    let rates = sizes(config, "upsample_rates", config.get("upsample_rates"), usual[0])?;
    let key = "upsample_kernel_sizes";
    let kernels = sizes(config, key, config.get(key), usual[1])?;
    let fits = |(rate, kernel): (&usize, &usize)| {
        kernel.checked_sub(*rate).is_some_and(|more| more.is_multiple_of(2))
    };
    if kernels.len() != rates.len() || !rates.iter().zip(&kernels).all(fits) {
        let expected = "of each of the upsample_rates, an even number more than it";
        return Err(config.wrong(key, expected, FOREIGN));
    }
    let hop = rates.iter().try_fold(1usize, |hop, rate| hop.checked_mul(*rate));
    let channels = config.size_or("upsample_initial_channel", 512)?;
    if hop.is_none_or(|hop| hop > MAX_HOP) || channels >> rates.len() == 0 {
        let expected = format!("at most {MAX_HOP} samples of a frame, of {channels} channels");
        return Err(config.wrong("upsample_rates", &expected, FOREIGN));
    }
    let slope = config.positive_or("leaky_relu_slope", 0.1)?;
    let upsamples = rates.into_iter().zip(kernels).map(|(rate, kernel)| [rate, kernel]).collect();
    // VITS's own name of the choice, which transformers does not have.
    let paired = match config.text_or("resblock", "1")? {
        "1" => true,
        "2" => false,
        _ => return Err(config.wrong("resblock", "\"1\" or \"2\"", FOREIGN)),
    };
    Ok(HifiGanConfig { channels, upsamples, blocks: blocks(config)?, paired, slope, bias })
}

/// Kernels of the decoder's blocks, and the dilations of each.
fn blocks(config: &Config<'_>) -> Result<Vec<(usize, Vec<usize>)>> {
    const KERNELS: &str = "resblock_kernel_sizes";
    const DILATIONS: &str = "resblock_dilation_sizes";
    let kernels = sizes(config, KERNELS, config.get(KERNELS), &[3, 7, 11])?;
    if kernels.iter().any(|kernel| kernel.is_multiple_of(2)) {
        return Err(config.wrong(KERNELS, "odd numbers", FOREIGN));
    }
    let lists = match config.get(DILATIONS) {
        None => vec![vec![1, 3, 5]; kernels.len()],
        Some(value) => {
            let lists = value.as_array().map_or(&[][..], Vec::as_slice).iter();
            lists.map(|list| sizes(config, DILATIONS, Some(list), &[])).collect::<Result<_>>()?
        }
    };
    let reaches = |(kernel, dilations): (&usize, &Vec<usize>)| {
        dilations.iter().all(|dilation| kernel * dilation <= MAX_REACH)
    };
    if lists.len() != kernels.len() || !kernels.iter().zip(&lists).all(reaches) {
        let expected = format!("a list for each of the {KERNELS}, over at most {MAX_REACH} places");
        return Err(config.wrong(DILATIONS, &expected, FOREIGN));
    }
    Ok(kernels.into_iter().zip(lists).collect())
}

pub(super) fn at_most(
    config: &Config<'_>,
    key: &str,
    default: usize,
    most: usize,
) -> Result<usize> {
    let n = config.size_or(key, default)?;
    match n <= most {
        true => Ok(n),
        false => Err(config.wrong(key, &format!("at most {most}"), FOREIGN)),
    }
}

pub(super) fn odd(config: &Config<'_>, key: &str, default: usize) -> Result<usize> {
    let n = at_most(config, key, default, MAX_REACH)?;
    match n.is_multiple_of(2) {
        true => Err(config.wrong(key, "an odd number", FOREIGN)),
        false => Ok(n),
    }
}

pub(super) fn sizes(
    config: &Config<'_>,
    key: &str,
    value: Option<&Value>,
    default: &[usize],
) -> Result<Vec<usize>> {
    const MOST: usize = 16;
    let Some(value) = value else { return Ok(default.to_vec()) };
    let size = |value: &Value| value.as_u64().filter(|n| (1..=MAX_REACH as u64).contains(n));
    let list = value.as_array().filter(|list| (1..=MOST).contains(&list.len()));
    let list: Option<Vec<usize>> =
        list.and_then(|list| list.iter().map(|n| size(n).map(|n| n as usize)).collect());
    let expected = format!("1 to {MOST} sizes of 1 to {MAX_REACH}");
    list.ok_or_else(|| config.wrong(key, &expected, FOREIGN))
}
