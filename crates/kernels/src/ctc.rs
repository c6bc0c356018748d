//! Connectionist temporal classification: how likely labels are, wherever in time they stand.
//!
//! Graves et al. 2006, <https://www.cs.toronto.edu/~graves/icml_2006.pdf>
//!
//! Between labels, before the first and behind the last stands a blank, so that `L` labels are
//! `2L + 1` states; a path stays in its state, goes to the next, or passes over a blank between two
//! labels that differ. Sums over paths are taken in logarithms, and each frame's are shifted by the
//! largest, so that long sounds keep their digits.

use crate::cross_entropy::log_sum_exp;
use crate::math::exp;
use crate::parallel::chunked;

/// The class that spells nothing.
pub const BLANK: u32 = 0;

/// What a sample's frames spell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Frames of the sample; what is behind them is padding.
    pub frames: usize,
    /// Classes, none of them [`BLANK`].
    pub labels: Vec<u32>,
}

impl Transcript {
    /// Whether the frames can spell the labels: one frame for each, and a blank between equal ones.
    pub fn fits(&self) -> bool {
        let repeats = self.labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        self.labels.len() + repeats <= self.frames
    }

    /// States of a path: the labels, and a blank on either side of each.
    pub fn states(&self) -> usize {
        2 * self.labels.len() + 1
    }

    /// The class that a state spells.
    pub fn class(&self, state: usize) -> usize {
        (if state.is_multiple_of(2) { BLANK } else { self.labels[state / 2] }) as usize
    }

    /// Whether a path may come to `state` from the one two before it.
    pub fn skips(&self, state: usize) -> bool {
        state % 2 == 1 && state > 1 && self.class(state) != self.class(state - 2)
    }

    fn reversed(&self) -> Self {
        Self { frames: self.frames, labels: self.labels.iter().rev().copied().collect() }
    }
}

/// `-log p(labels)` of each sample, and its gradient in the logits; both 0 where the labels do not fit.
///
/// `logits, dlogits [b, t, v]`; `losses [b]`; `dlogits` is overwritten.
pub fn ctc(
    t: usize,
    v: usize,
    logits: &[f32],
    transcripts: &[Transcript],
    losses: &mut [f32],
    dlogits: &mut [f32],
) {
    assert_eq!(logits.len(), transcripts.len() * t * v, "ctc: logits");
    assert_eq!(dlogits.len(), logits.len(), "ctc: dlogits");
    assert_eq!(losses.len(), transcripts.len(), "ctc: losses");
    for Transcript { frames, labels } in transcripts {
        assert!(*frames <= t, "ctc: {frames} frames of {t}");
        let known = labels.iter().all(|&label| label != BLANK && (label as usize) < v);
        assert!(known, "ctc: labels {labels:?} of {v} classes, blank {BLANK}");
    }
    if t * v == 0 {
        return losses.fill(0.0);
    }
    chunked!(logits.len(), 1; [logits * (t * v), transcripts * 1], [losses * 1, dlogits * (t * v)] => |logits: &[f32], transcripts: &[Transcript], losses: &mut [f32], dlogits: &mut [f32]| {
        let samples = logits.chunks_exact(t * v).zip(dlogits.chunks_exact_mut(t * v));
        for ((loss, transcript), (logits, dlogits)) in losses.iter_mut().zip(transcripts).zip(samples) {
            *loss = sample(v, logits, transcript, dlogits);
        }
    });
}

fn sample(v: usize, logits: &[f32], transcript: &Transcript, dlogits: &mut [f32]) -> f32 {
    dlogits.fill(0.0);
    if !transcript.fits() {
        return 0.0;
    }
    let inside = transcript.frames * v;
    let mut log_p = logits[..inside].to_vec();
    let mut lse = vec![0.0; transcript.frames];
    log_sum_exp(v, &log_p, &mut lse);
    for (row, lse) in log_p.chunks_exact_mut(v).zip(lse) {
        row.iter_mut().for_each(|x| *x -= lse);
    }
    let (before, total) = paths(log_p.chunks_exact(v), transcript);
    let (after, _) = paths(log_p.rchunks_exact(v), &transcript.reversed());

    let states = transcript.states();
    let mut share = vec![0.0; states];
    let rows = log_p.chunks_exact(v).zip(dlogits.chunks_exact_mut(v));
    for (frame, (log_p, d)) in rows.enumerate() {
        let before = &before[frame * states..][..states];
        let after = &after[(transcript.frames - 1 - frame) * states..][..states];
        for (state, share) in share.iter_mut().enumerate() {
            // Both count the frame's own class.
            let joint = before[state] + after[states - 1 - state] - log_p[transcript.class(state)];
            *share = if joint.is_nan() { f32::NEG_INFINITY } else { joint };
        }
        let most = share.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = share.iter().map(|x| exp(x - most)).sum();
        d.iter_mut().zip(log_p).for_each(|(d, &x)| *d = exp(x));
        for (state, share) in share.iter().enumerate() {
            d[transcript.class(state)] -= exp(share - most) / sum;
        }
    }
    -total as f32
}

/// Logarithms of the sums over all paths that are in a state at a frame, `[frames, states]`, each frame's
/// shifted by its largest; and the logarithm of the sum over all paths to the end.
fn paths<'a>(log_p: impl Iterator<Item = &'a [f32]>, transcript: &Transcript) -> (Vec<f32>, f64) {
    let states = transcript.states();
    // Before the first frame all paths are in the first state.
    let mut row = vec![f32::NEG_INFINITY; states];
    row[0] = 0.0;
    let (mut all, mut shift) = (Vec::new(), 0.0);
    for log_p in log_p {
        let from = |state: usize, back: usize| {
            state.checked_sub(back).map_or(f32::NEG_INFINITY, |at| row[at])
        };
        let next = |state: usize| {
            let skipped = if transcript.skips(state) { from(state, 2) } else { f32::NEG_INFINITY };
            add([from(state, 0), from(state, 1), skipped]) + log_p[transcript.class(state)]
        };
        let mut next: Vec<f32> = (0..states).map(next).collect();
        let most = next.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        next.iter_mut().for_each(|x| *x -= most);
        shift += f64::from(most);
        all.extend_from_slice(&next);
        row = next;
    }
    let last = if states > 1 { row[states - 2] } else { f32::NEG_INFINITY };
    (all, shift + f64::from(add([row[states - 1], last, f32::NEG_INFINITY])))
}

/// The logarithm of the sum of what these are logarithms of.
fn add(logarithms: [f32; 3]) -> f32 {
    let most = logarithms.into_iter().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        return most;
    }
    most + logarithms.iter().map(|x| exp(x - most)).sum::<f32>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_same_on_all_pools, assert_same_portably, gradient, random, wide,
    };

    fn transcript(frames: usize, labels: &[u32]) -> Transcript {
        Transcript { frames, labels: labels.to_vec() }
    }

    fn run(t: usize, v: usize, logits: &[f32], transcripts: &[Transcript]) -> (Vec<f32>, Vec<f32>) {
        let mut losses = vec![f32::NAN; transcripts.len()];
        let mut dlogits = vec![f32::NAN; logits.len()];
        ctc(t, v, logits, transcripts, &mut losses, &mut dlogits);
        (losses, dlogits)
    }

    /// Every one of the `v^frames` paths, in f64.
    fn all_paths(v: usize, logits: &[f64], wanted: &Transcript) -> f64 {
        let p: Vec<f64> = logits
            .chunks(v)
            .flat_map(|row| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(move |x| x.exp() / sum)
            })
            .collect();
        let path = |number: usize| -> Vec<usize> {
            (0..wanted.frames).map(|frame| number / v.pow(frame as u32) % v).collect()
        };
        let spells = |path: &[usize]| {
            let mut labels = path.to_vec();
            labels.dedup();
            labels.retain(|&class| class != BLANK as usize);
            labels.iter().map(|&class| class as u32).eq(wanted.labels.iter().copied())
        };
        let paths = (0..v.pow(wanted.frames as u32)).map(path).filter(|path| spells(path));
        let likely = paths.map(|path| {
            path.iter().enumerate().map(|(frame, class)| p[frame * v + class]).product::<f64>()
        });
        -likely.sum::<f64>().ln()
    }

    #[test]
    fn it_is_the_sum_over_all_paths() {
        for labels in [&[][..], &[1], &[2, 1], &[1, 1], &[1, 2, 1]] {
            for frames in 3..6 {
                let (t, v) = (6, 3);
                let logits: Vec<f32> = random(7, t * v).iter().map(|x| 3.0 * x).collect();
                let wanted = transcript(frames, labels);
                let (losses, dlogits) = run(t, v, &logits, std::slice::from_ref(&wanted));
                assert_close(&losses, &[all_paths(v, &wide(&logits), &wanted)], 1e-5);
                let slope = gradient(&wide(&logits), |x| all_paths(v, x, &wanted));
                assert_close(&dlogits, &slope, 1e-5);
            }
        }
    }

    #[test]
    fn samples_do_not_disturb_each_other_and_padding_does_not_count() {
        let (t, v) = (7, 4);
        let logits = random(3, 3 * t * v);
        let all = [transcript(7, &[1, 2]), transcript(4, &[3, 3]), transcript(5, &[])];
        let (losses, dlogits) = run(t, v, &logits, &all);
        for (i, one) in all.iter().enumerate() {
            let own = i * t * v..(i + 1) * t * v;
            let mut changed = logits[own.clone()].to_vec();
            changed[one.frames * v..].fill(9.0);
            let (loss, slopes) = run(t, v, &changed, std::slice::from_ref(one));
            assert_eq!((loss[0], &slopes[..]), (losses[i], &dlogits[own]));
            assert!(slopes[one.frames * v..].iter().all(|&d| d == 0.0));
        }
    }

    /// One frame for each label, and a blank between equal ones.
    #[test]
    fn what_does_not_fit_costs_nothing() {
        for (frames, labels, fits) in [
            (0, &[][..], true),
            (0, &[1], false),
            (2, &[1, 2], true),
            (2, &[1, 1], false),
            (3, &[1, 1], true),
        ] {
            let one = transcript(frames, labels);
            assert_eq!(one.fits(), fits, "{one:?}");
            let (losses, dlogits) = run(3, 3, &random(1, 9), std::slice::from_ref(&one));
            let nothing = losses[0] == 0.0 && dlogits.iter().all(|&d| d == 0.0);
            assert_eq!(nothing, !fits || frames == 0, "{one:?}: {losses:?}");
        }
    }

    /// Half a minute at 50 Hz: the sum over paths is below e^-5000, and shares keep five digits.
    #[test]
    fn long_sounds_keep_their_digits() {
        let (t, v) = (1500, 40);
        let logits: Vec<f32> = random(5, t * v).iter().map(|x| 6.0 * x).collect();
        let labels: Vec<u32> = (0..300).map(|i| 1 + i * 7 % 39).collect();
        let (losses, dlogits) = run(t, v, &logits, &[transcript(t, &labels)]);
        assert!(losses[0] > 4000.0 && losses[0].is_finite(), "{losses:?}");
        // What a frame's paths take from one class they give to another.
        for row in dlogits.chunks(v) {
            assert!(row.iter().sum::<f32>().abs() < 1e-5, "{row:?}");
        }
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let all = |t: usize, b: usize| {
            let labels = |i: usize| (0..i as u32).map(|k| 1 + k * 5 % 10).collect();
            let all: Vec<_> =
                (0..b).map(|i| Transcript { frames: t - i, labels: labels(i) }).collect();
            let (losses, dlogits) = run(t, 11, &random(2, b * t * 11), &all);
            [losses, dlogits].concat()
        };
        assert_same_on_all_pools(|| all(400, 7));
        assert_same_portably(|| all(20, 3));
    }

    #[test]
    #[should_panic(expected = "labels [3] of 3 classes")]
    fn a_label_outside_is_refused() {
        run(2, 3, &[0.0; 6], &[transcript(2, &[3])]);
    }
}
