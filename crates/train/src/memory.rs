//! What a run takes at the least, before its first step, and what the machine has left.

use sensorium_nn::params::{self, Parameter};
use sensorium_nn::prelude::*;

use crate::error::{Result, TrainError};

/// What is read a step, as far as memory goes.
#[derive(Clone, Copy, Debug)]
pub struct Reads<'a> {
    /// The beginning of the names of a part's parameters, and how many tokens it reads at once.
    pub parts: &'a [(&'a str, usize)],
    /// Whether blocks make their activations again.
    pub recompute: bool,
}

/// Bytes beside the weights, which are there already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Of what is trained: a gradient and two moments.
    pub optimizer: f64,
    /// What is kept for the backward pass.
    pub activations: f64,
}

/// Bytes of a number.
const F32: f64 = 4.0;

/// The least that a step takes: inputs and outputs of every matrix that a gradient passes.
pub fn need(model: &impl Module, reads: Reads) -> Need {
    let all = params::list(model);
    let trained: usize = all.iter().filter(|p| p.trainable).map(Parameter::count).sum();
    let activations = reads.parts.iter().map(|(part, tokens)| {
        let of_part: Vec<&Parameter> = all.iter().filter(|p| p.name.starts_with(part)).collect();
        if !of_part.iter().any(|p| p.trainable) {
            return 0.0;
        }
        // Tables of tokens are looked up, and heads read few of the tokens.
        let is_dense = |p: &&&Parameter| {
            p.shape.len() == 2
                && !["embedding", "head", "lora", "position"].iter().any(|no| p.name.contains(no))
        };
        let widths = of_part.iter().filter(is_dense).map(|p| p.shape.iter().sum::<usize>());
        let kept = if reads.recompute { 1.0 / RECOMPUTED } else { 1.0 };
        widths.sum::<usize>() as f64 * *tokens as f64 * F32 * kept
    });
    Need { optimizer: 3.0 * trained as f64 * F32, activations: activations.sum() }
}

/// How much less is kept where every block keeps its input alone.
const RECOMPUTED: f64 = 12.0;

/// Refuses what cannot fit.
///
/// # Errors
/// The machine has less, with what would fit.
pub fn check(need: Need, batch_size: usize, recompute: bool) -> Result<()> {
    let Some(available) = available() else { return Ok(()) };
    fits(need, batch_size, recompute, available)
}

fn fits(need: Need, batch_size: usize, recompute: bool, available: f64) -> Result<()> {
    let Need { optimizer, activations } = need;
    if optimizer + activations <= available {
        return Ok(());
    }
    let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
    let left = available - optimizer;
    let batch = (left / (activations / batch_size.max(1) as f64)).floor();
    let again = !recompute && activations / RECOMPUTED <= left;
    let hint = match (again, batch >= 1.0) {
        (true, true) => {
            format!("recompute = true fits, or batch_size = {batch}, or more of `accumulate`")
        }
        (true, false) => "recompute = true fits".to_owned(),
        (false, true) => format!("batch_size = {batch} fits, or more of `accumulate`"),
        (false, false) if left > 0.0 => {
            "train less of it, shorter texts, or a smaller model".to_owned()
        }
        (false, false) => "train less of it: [lora], or `train` of [model]".to_owned(),
    };
    let (needed, of) = (gib(optimizer + activations), [gib(optimizer), gib(activations)]);
    Err(TrainError::Memory { available: gib(available), needed, of, hint })
}

/// Bytes that the system can still give: what `/proc/meminfo` and the control group say; nothing where
/// neither is there.
fn available() -> Option<f64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let of =
        |text: &str, key: &str| text.lines().find(|line| line.starts_with(key)).and_then(number);
    let meminfo = read("/proc/meminfo")?;
    let kibibytes = of(&meminfo, "MemAvailable:")? + of(&meminfo, "SwapFree:").unwrap_or_default();
    let limit = read("/sys/fs/cgroup/memory.max").as_deref().and_then(number);
    let used = read("/sys/fs/cgroup/memory.stat").and_then(|stat| of(&stat, "anon "));
    let group = limit.map(|limit| limit - used.unwrap_or_default());
    Some((kibibytes * 1024.0).min(group.unwrap_or(f64::INFINITY)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceName;
    use crate::size::Size;
    use sensorium_backbone::Llama;

    #[test]
    fn what_is_trained_and_kept_is_counted() {
        let model =
            Llama::init(&Size::Tiny.llama(512), &mut Init::new(1, &DeviceName::default().open()));
        let reads = |tokens, recompute| {
            let parts = [("", tokens)];
            need(&model, Reads { parts: &parts, recompute })
        };
        let all = params::count(&model) as f64;
        assert_eq!(reads(0, false), Need { optimizer: 12.0 * all, activations: 0.0 });
        // Two layers of width 96: q and o of 96, k and v of 32, gate, up and down of 256.
        let layer = 2 * (96 + 96) + 2 * (96 + 32) + 3 * (96 + 256);
        assert_eq!(reads(10, false).activations, (4 * 10 * 2 * layer) as f64);
        assert!(reads(10, true).activations < reads(10, false).activations / 10.0);
        let frozen = params::set_trainable(model.clone(), |_| false);
        let none = need(&frozen, Reads { parts: &[("", 10)], recompute: false });
        assert_eq!(none, Need { optimizer: 0.0, activations: 0.0 });
        assert!(available().is_some_and(|bytes| bytes > 0.0));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_what_would() {
        let gib = f64::from(1 << 30);
        let need = Need { optimizer: 2.0 * gib, activations: 8.0 * gib };
        for (available, recompute, says) in [
            (10.0, false, None),
            (7.0, false, Some("recompute = true fits, or batch_size = 5,")),
            (7.0, true, Some("batch_size = 5 fits")),
            (2.9, false, Some("recompute = true fits\u{0}")),
            (2.1, true, Some("shorter texts")),
            (1.0, false, Some("[lora]")),
        ] {
            let error = fits(need, 8, recompute, available * gib).map_err(|e| format!("{e}\u{0}"));
            match says {
                None => assert!(error.is_ok()),
                Some(says) => {
                    let error = error.unwrap_err();
                    assert!(error.contains(says), "{available}: {error}");
                    assert!(error.contains("10.0 GiB") && error.contains("hint:"), "{error}");
                }
            }
        }
    }
}
