//! The door through burn's dispatch: one extension method per number of inputs.
//!
//! Kernels take slices, so they are for tensors of the CPU. Elsewhere an operation is its *twin*: the
//! same formula in the framework's own operations, which also differentiates them. No call is made
//! without one.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Shape, Tensor, TensorData};
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

    pub(super) fn of(tensor: FlexTensor) -> Self {
        assert!(
            tensor.dtype() == DType::F32,
            "fused operations take f32 tensors, got {:?}",
            tensor.dtype()
        );
        // A part of a buffer is contiguous too: its values start further on.
        if tensor.layout().is_contiguous() {
            return Self(tensor);
        }
        Self(profile::time("strided inputs made contiguous", || tensor.to_contiguous()))
    }

    pub(super) fn into_tensor(self) -> FlexTensor {
        self.0
    }

    /// The values, row-major.
    pub fn values(&self) -> &[f32] {
        let start = self.0.layout().start_offset();
        &self.0.storage::<f32>()[start..start + self.0.layout().num_elements()]
    }

    /// The values, to be changed; copied first if others hold them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let (start, n) = (self.0.layout().start_offset(), self.0.layout().num_elements());
        &mut self.0.storage_mut::<f32>()[start..start + n]
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

    /// The output alone; may be written over an input that nobody else holds.
    fn run(&self, inputs: Vec<Array>) -> Array {
        self.forward(&inputs).0
    }

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
    // The operation may write over its inputs: what is to be told of them is taken before.
    let about = profile::is_on().then(|| (shape_of_first(&inputs), op.flop(&inputs)));
    let output = profile::count(
        || op.run(inputs),
        |output| {
            let (input, flop) = about.unwrap_or_default();
            (described(op, "", &input, output), flop)
        },
    );
    output.0
}

fn forward(op: &SharedOperation, inputs: &[Array]) -> (Array, Vec<Array>) {
    profile::count(
        || op.forward(inputs),
        |(output, _)| (described(op, "", &shape_of_first(inputs), output), op.flop(inputs)),
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
            let name = described(op, " backward", &shape_of_first(&call.inputs), grad);
            (name, 2.0 * op.flop(&call.inputs))
        },
    )
}

fn shape_of_first(inputs: &[Array]) -> Vec<usize> {
    inputs.first().map(Array::shape).unwrap_or_default()
}

/// An operation with the shapes of its first input and its output.
fn described(op: &SharedOperation, way: &str, input: &[usize], output: &Array) -> String {
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

thread_local! {
    static TWINS: Cell<bool> = const { Cell::new(false) };
}

static LAST: Mutex<&str> = Mutex::new("");

/// Does `work` with the twins of all operations, on the CPU too: what another device computes, to be
/// compared without one.
pub fn with_twins<T>(work: impl FnOnce() -> T) -> T {
    let before = TWINS.replace(true);
    let done = work();
    TWINS.set(before);
    done
}

/// Whether operations with the tensor are done by the kernels, which is so on the CPU.
pub fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    !TWINS.get() && x.device() == Device::flex()
}

/// What was last asked of another device than the CPU, an operation by its name in profiles. Empty as
/// long as nothing was.
pub fn last_asked() -> &'static str {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks a device for something.
pub(crate) fn ask<R>(what: &'static str, work: impl FnOnce() -> R) -> R {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = what;
    work()
}

pub(super) fn apply1<const A: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
    composed: impl FnOnce(Tensor<A>) -> Tensor<R>,
) -> Tensor<R> {
    if !has_kernels(&a) {
        return ask(op.name(), || composed(a));
    }
    Tensor::from_dispatch(Dispatch::fused1(Arc::new(op), a.into_dispatch()))
}

pub(super) fn apply2<const A: usize, const B: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
    b: Tensor<B>,
    composed: impl FnOnce(Tensor<A>, Tensor<B>) -> Tensor<R>,
) -> Tensor<R> {
    if !has_kernels(&a) {
        return ask(op.name(), || composed(a, b));
    }
    Tensor::from_dispatch(Dispatch::fused2(Arc::new(op), a.into_dispatch(), b.into_dispatch()))
}

pub(super) fn apply3<const A: usize, const B: usize, const C: usize, const R: usize>(
    op: impl Operation,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    composed: impl FnOnce(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<R>,
) -> Tensor<R> {
    if !has_kernels(&a) {
        return ask(op.name(), || composed(a, b, c));
    }
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
