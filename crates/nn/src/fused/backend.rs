//! The door through burn's dispatch: one extension method per number of inputs.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_flex::FlexTensor;
use sensorium_kernels::buffer;

use crate::profile;

/// A contiguous f32 array with its shape: what an [`Operation`] reads and writes.
#[derive(Clone, Debug)]
pub struct Array(FlexTensor);

impl Array {
    /// Wraps row-major `values` of `shape`.
    pub fn new(values: Vec<f32>, shape: &[usize]) -> Self {
        let shape = Shape::from(shape.to_vec());
        Self(FlexTensor::from_data(TensorData::new(values, shape)))
    }

    fn of(tensor: FlexTensor) -> Self {
        assert!(
            tensor.dtype() == DType::F32,
            "fused operations take f32 tensors, got {:?}",
            tensor.dtype()
        );
        Self(profile::time("strided inputs made contiguous", || tensor.to_contiguous()))
    }

    /// The values, row-major.
    pub fn values(&self) -> &[f32] {
        let start = self.0.layout().start_offset();
        &self.0.storage::<f32>()[start..start + self.0.layout().num_elements()]
    }

    /// The extent of each axis.
    pub fn shape(&self) -> Vec<usize> {
        self.0.layout().shape().to_vec()
    }

    /// Length of the last axis.
    pub fn width(&self) -> usize {
        self.shape().last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.values().len() / self.width().max(1)
    }
}

/// One fused operation with `N` inputs and one output.
pub trait Operation: Debug + Send + Sync + 'static {
    /// The output and whatever the backward wants back.
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>);

    /// Gradients of the inputs; `wanted[i]` says whether input `i` needs one.
    fn backward(&self, call: &Call, grad: &Array, wanted: &[bool]) -> Vec<Option<Array>>;

    /// Floating-point operations of the forward's products, for profiles; a backward has twice as
    /// many. 0 for loops that memory bounds.
    fn flop(&self, _inputs: &[Array]) -> f64 {
        0.0
    }

    /// Its name in profiles.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>().rsplit("::").next().unwrap_or_default()
    }
}

/// A recorded call: what went in and what the forward saved.
#[derive(Clone, Debug)]
pub struct Call {
    /// Inputs in order.
    pub inputs: Vec<Array>,
    /// What [`Operation::forward`] returned beside its output.
    pub saved: Vec<Array>,
}

/// An operation, shared between the forward pass and the recorded backward.
pub type SharedOperation = Arc<dyn Operation>;

/// Fused operations as a burn backend extension, by number of tensor inputs.
#[backend_extension(Autodiff, Flex)]
pub trait Fused: Backend {
    /// One input.
    fn fused1(op: SharedOperation, a: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Two inputs.
    fn fused2(op: SharedOperation, a: FloatTensor<Self>, b: FloatTensor<Self>)
    -> FloatTensor<Self>;
    /// Three inputs.
    fn fused3(
        op: SharedOperation,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

fn run(op: &SharedOperation, inputs: Vec<FlexTensor>) -> FlexTensor {
    let inputs: Vec<Array> = inputs.into_iter().map(Array::of).collect();
    forward(op, &inputs).0.0
}

fn forward(op: &SharedOperation, inputs: &[Array]) -> (Array, Vec<Array>) {
    profile::count(
        || op.forward(inputs),
        |(output, _)| (described(op, "", inputs, output), op.flop(inputs)),
    )
}

fn backward(
    op: &SharedOperation,
    call: &Call,
    grad: &Array,
    wanted: &[bool],
) -> Vec<Option<Array>> {
    profile::count(
        || op.backward(call, grad, wanted),
        |_| {
            let name = described(op, " backward", &call.inputs, grad);
            (name, 2.0 * op.flop(&call.inputs))
        },
    )
}

/// An operation with the shapes of its first input and its output.
fn described(op: &SharedOperation, way: &str, inputs: &[Array], output: &Array) -> String {
    let input = inputs.first().map(Array::shape).unwrap_or_default();
    format!("{}{way} {input:?} -> {:?}", op.name(), output.shape())
}

impl Fused for Flex {
    fn fused1(op: SharedOperation, a: FloatTensor<Self>) -> FloatTensor<Self> {
        run(&op, vec![a])
    }
    fn fused2(
        op: SharedOperation,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        run(&op, vec![a, b])
    }
    fn fused3(
        op: SharedOperation,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        run(&op, vec![a, b, c])
    }
}

#[derive(Debug)]
struct Recorded(SharedOperation);

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = Call;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = Array::of(grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = backward(&self.0, &ops.state, &grad, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient.0);
            }
        }
    }
}

fn record<C: CheckpointStrategy, const N: usize>(
    op: SharedOperation,
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let arrays: Vec<Array> =
        inputs.iter().map(|input| Array::of(input.primitive().clone())).collect();
    let (output, saved) = forward(&op, &arrays);
    match Recorded(op).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let call = Call { inputs: arrays, saved };
            prep.finish(call, output.0)
        }
        OpsKind::UnTracked(prep) => prep.finish(output.0),
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn fused1(op: SharedOperation, a: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 1>(op, [a])
    }
    fn fused2(
        op: SharedOperation,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, 2>(op, [a, b])
    }
    fn fused3(
        op: SharedOperation,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, 3>(op, [a, b, c])
    }
}

pub(super) fn apply1<const A: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::fused1(Arc::new(op), a.into_dispatch()))
}

pub(super) fn apply2<const A: usize, const B: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
    b: Tensor<B>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::fused2(Arc::new(op), a.into_dispatch(), b.into_dispatch()))
}

pub(super) fn apply3<const A: usize, const B: usize, const C: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
) -> Tensor<R> {
    let (a, b, c) = (a.into_dispatch(), b.into_dispatch(), c.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused3(Arc::new(op), a, b, c))
}

/// A gradient to be overwritten, for an input that wants one.
pub(super) fn gradient(wanted: bool, like: &Array) -> Option<Vec<f32>> {
    wanted.then(|| buffer(like.values().len()))
}

/// Puts a filled buffer back into the shape of the input it belongs to.
pub(super) fn shaped(values: Option<Vec<f32>>, like: &Array) -> Option<Array> {
    values.map(|values| Array::new(values, &like.shape()))
}
