//! What a [`Sequence`] is to attention and to tables of positions.

use sensorium_flow::Sequence;
use sensorium_nn::prelude::*;

/// What `t` tokens after `offset` others see: those before them, and what spans add and take.
pub(crate) fn mask(sequence: &Sequence, offset: usize, t: usize) -> Mask {
    let Some(spans) = &sequence.spans else { return Mask::Causal { offset } };
    // Spans are of all keys; those of earlier calls are over.
    let earlier = std::iter::repeat_n(Span::None, offset);
    let rows = spans.chunks(t).flat_map(|row| earlier.clone().chain(row.iter().copied()));
    Mask::Prefix { offset, spans: rows.collect() }
}

/// The rows of `table` for `t` tokens after `offset` others, the first position's row being `first`:
/// `[B, T, D]`, or `[1, T, D]` where all texts stand alike.
pub(crate) fn learned_positions(
    table: &Param<Tensor<2>>,
    first: usize,
    sequence: &Sequence,
    offset: usize,
    t: usize,
) -> Tensor<3> {
    let Some(positions) = &sequence.positions else {
        return table.val().narrow(0, first + offset, t).unsqueeze();
    };
    let rows = positions.iter().map(|&at| (first + at as usize) as i32).collect();
    let d = table.dims()[1];
    fused::embedding(table.val(), rows).reshape([positions.len() / t, t, d])
}
