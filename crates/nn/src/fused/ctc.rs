//! Connectionist temporal classification (Graves et al. 2006): the loss of labels whose places in time
//! nobody told.

use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Shape, Tensor, TensorData};
use sensorium_kernels::buffer;
use sensorium_kernels::ctc::{self as kernel, BLANK, Transcript};

use super::backend::{Array, Call, Operation, apply1, shaped};

#[derive(Debug)]
struct Ctc(Arc<[Transcript]>);

impl Operation for Ctc {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let logits = &inputs[0];
        let [b, t, v] = logits.shape()[..] else { unreachable!("ctc takes [B, T, V]") };
        let (mut losses, mut dlogits) = (vec![0.0; b], buffer(b * t * v));
        kernel::ctc(t, v, logits.values(), &self.0, &mut losses, &mut dlogits);
        (Array::new(losses, &[b]), vec![Array::new(dlogits, &[b, t, v])])
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let logits = &call.inputs[0];
        let mut dlogits = call.saved[0].values().to_vec();
        let sample = (dlogits.len() / self.0.len().max(1)).max(1);
        for (sample, grad) in dlogits.chunks_mut(sample).zip(grad.values()) {
            sample.iter_mut().for_each(|d| *d *= grad);
        }
        vec![shaped(Some(dlogits), logits)]
    }
}

/// `logits [B, T, V] -> [B]`: `-log p(labels)` of each sample, whose classes are [`BLANK`] and the labels;
/// 0, without a gradient, where the labels do not fit into its frames.
pub fn ctc(logits: Tensor<3>, transcripts: Arc<[Transcript]>) -> Tensor<1> {
    apply1(Ctc(transcripts.clone()), logits, |logits| composed(logits, &transcripts))
}

/// A logarithm of nothing that is finite, so that it has gradients.
const NEVER: f32 = -1e30;

fn composed(logits: Tensor<3>, transcripts: &[Transcript]) -> Tensor<1> {
    let [b, t, _] = logits.dims();
    let device = logits.device();
    let longest = transcripts.iter().map(|one| one.labels.len()).max().unwrap_or(0);
    let states = 2 * longest.max(1) + 1;
    let each = |value: &dyn Fn(&Transcript, usize) -> bool| {
        table(
            transcripts,
            states,
            &device,
            |one, state| if value(one, state) { 0.0 } else { NEVER },
        )
    };
    let skips = each(&|one, state| state < one.states() && one.skips(state)); // [B, S]
    let ends = each(&|one, state| state < one.states() && state + 2 >= one.states());

    let classes = transcripts.iter().flat_map(|one| {
        (0..states)
            .map(|state| if state < one.states() { one.class(state) as i32 } else { BLANK as i32 })
    });
    let classes = TensorData::new(classes.collect::<Vec<_>>(), Shape::from([b, 1, states]));
    let classes = Tensor::<3, Int>::from_data(classes, &device).repeat_dim(1, t);
    let log_p = log_softmax(logits, 2).gather(2, classes); // [B, T, S]

    let never = |n: usize| Tensor::full([b, n], NEVER, &device);
    let mut x = each(&|_, state| state == 0);
    for frame in 0..t {
        let back = |n: usize| Tensor::cat(vec![never(n), x.clone().narrow(1, 0, states - n)], 1);
        let next = add(vec![x.clone(), back(1), back(2) + skips.clone()]);
        let next = next + log_p.clone().narrow(1, frame, 1).reshape([b, states]);
        let lives =
            table(transcripts, 1, &device, |one, _| f32::from(u8::from(frame < one.frames)));
        x = next * lives.clone() + x * (lives.neg() + 1.0);
    }
    let ends = (x + ends).chunk(states, 1);
    let fits = table(transcripts, 1, &device, |one, _| f32::from(u8::from(one.fits())));
    (add(ends).neg() * fits).reshape([b])
}

/// A number for each sample and state, `[B, states]`.
fn table(
    transcripts: &[Transcript],
    states: usize,
    device: &Device,
    number: impl Fn(&Transcript, usize) -> f32,
) -> Tensor<2> {
    let row = |one| (0..states).map(move |state| (one, state));
    let numbers = transcripts.iter().flat_map(row).map(|(one, state)| number(one, state));
    let shape = Shape::from([transcripts.len(), states]);
    Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), shape), device)
}

/// The logarithm of the sum of what these are logarithms of.
fn add(logarithms: Vec<Tensor<2>>) -> Tensor<2> {
    let first = logarithms[0].clone().detach();
    let most = logarithms[1..].iter().fold(first, |most, x| most.max_pair(x.clone().detach()));
    let terms = logarithms.into_iter().map(|x| (x - most.clone()).exp());
    let sum = terms.reduce(|sum, x| sum + x).unwrap_or_else(|| most.zeros_like());
    sum.log() + most
}
