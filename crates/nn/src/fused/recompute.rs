//! Activations that are made again instead of kept: of a part of a model only the input stays until
//! the backward pass, which runs the part a second time (Chen et al. 2016,
//! <https://arxiv.org/abs/1604.06174>). Results and gradients keep their bits.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchTensor, Flex, backend_extension};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Shape, Tensor, TensorData};

use super::backend::{Array, has_kernels};
use crate::params::read;

/// `forward(module, x)`, `[B, T, D] -> [B, T, D]`, of which only `x` is kept for the backward pass. On
/// other devices than the CPU nothing is done apart: what is kept there is for the device to say, see
/// [`Device::gradient_checkpointing`].
pub fn recompute<M: Module + 'static>(
    module: &M,
    x: Tensor<3>,
    forward: impl Fn(&M, Tensor<3>) -> Tensor<3> + Send + Sync + 'static,
) -> Tensor<3> {
    if !has_kernels(&x) {
        return forward(module, x);
    }
    let mut trained = Trained::default();
    module.visit(&mut trained);
    let Some(one) = trained.one else { return forward(module, x) };
    let y = forward(&module.clone().map(&mut Apart { tracked: false }), x.clone().detach());
    // Later in a graph of its own: the outer one is locked while its backward pass runs.
    let twin = module.clone().map(&mut Apart { tracked: true });
    let part = Part { module: Mutex::new(twin), forward: Box::new(forward), device: x.device() };
    let (x, y) = (x.into_dispatch(), y.into_dispatch());
    Tensor::from_dispatch(Dispatch::recomputed(Arc::new(part), trained.places, x, one, y))
}

/// Where the gradients of the parameters that are trained are collected, and one of those.
#[derive(Default)]
struct Trained {
    places: Places,
    one: Option<DispatchTensor>,
}

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if tensor.is_require_grad() {
            self.one = Some(Dispatch::located(self.places.clone(), tensor.into_dispatch()));
        }
    }
}

/// Cuts parameters off from the graph they are in; those that are trained begin a new one, or none.
struct Apart {
    tracked: bool,
}

impl ModuleMapper for Apart {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let tracked = self.tracked && tensor.is_require_grad();
            tensor.detach().set_require_grad(tracked)
        })
    }
}

/// Takes the gradients of the parameters that are trained, in the order of [`Trained`].
struct Slopes<'a>(&'a mut burn::tensor::Gradients, Vec<Option<Array>>);

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if tensor.is_require_grad() {
            let slope = tensor.grad_remove(self.0);
            self.1.push(slope.map(|slope| Array::new(read(slope), &tensor.dims())));
        }
    }
}

type Forward<M> = Box<dyn Fn(&M, Tensor<3>) -> Tensor<3> + Send + Sync>;

/// A part of a model and how it is run.
struct Part<M> {
    module: Mutex<M>,
    forward: Forward<M>,
    device: Device,
}

impl<M> Debug for Part<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Part")
    }
}

/// A `Part` of any module.
pub trait Recomputed: Debug + Send + Sync {
    /// The gradients of `x` and of the trained parameters.
    fn gradients(&self, x: &Array, grad: &Array) -> (Option<Array>, Vec<Option<Array>>);
}

/// As the backend extension takes it.
pub type SharedPart = Arc<dyn Recomputed>;

/// Where the gradients of parameters are collected, in their order.
pub type Places = Arc<Mutex<Vec<NodeId>>>;

impl<M: Module> Part<M> {
    fn tensor(&self, x: &Array) -> Tensor<3> {
        let data = TensorData::new(x.values().to_vec(), Shape::from(x.shape()));
        Tensor::from_data(data, &self.device)
    }
}

impl<M: Module> Recomputed for Part<M> {
    fn gradients(&self, x: &Array, grad: &Array) -> (Option<Array>, Vec<Option<Array>>) {
        let module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        let x = self.tensor(x).require_grad();
        let y = (self.forward)(&module, x.clone());
        // The derivative of this sum by the output is the gradient that came in.
        let mut slopes = (y * self.tensor(grad)).sum().backward();
        let dx = x.grad_remove(&mut slopes).map(|dx| Array::new(read(dx), &x.dims()));
        let mut trained = Slopes(&mut slopes, Vec::new());
        module.visit(&mut trained);
        (dx, trained.1)
    }
}

/// Parts that are run again, as a burn backend extension.
#[backend_extension(Autodiff, Flex)]
pub trait Recompute: Backend {
    /// Adds the place of a parameter's gradient.
    fn located(places: Places, parameter: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Puts a part's output `y` behind its input `x` and its trained parameters, for which one of
    /// them stands.
    fn recomputed(
        part: SharedPart,
        places: Places,
        x: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Recompute for Flex {
    fn located(_places: Places, parameter: FloatTensor<Self>) -> FloatTensor<Self> {
        parameter
    }

    fn recomputed(
        _part: SharedPart,
        _places: Places,
        _x: FloatTensor<Self>,
        _parameter: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        y
    }
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Again {
    part: SharedPart,
    x: Array,
    places: Places,
}

#[derive(Debug)]
struct RunAgain;

impl Backward<Flex, 2> for RunAgain {
    type State = Again;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = Array::of(grads.consume::<Flex>(&ops.node));
        let Again { part, x, places } = &ops.state;
        let (dx, slopes) = part.gradients(x, &grad);
        if let ([Some(x), _], Some(dx)) = (ops.parents, dx) {
            grads.register::<Flex>(x.id, dx.into_tensor());
        }
        let places = places.lock().unwrap_or_else(PoisonError::into_inner);
        for (&id, slope) in places.iter().zip(slopes) {
            if let Some(slope) = slope {
                grads.register::<Flex>(id, slope.into_tensor());
            }
        }
    }
}

impl<C: CheckpointStrategy> Recompute for Autodiff<Flex, C> {
    fn located(places: Places, parameter: FloatTensor<Self>) -> FloatTensor<Self> {
        places.lock().unwrap_or_else(PoisonError::into_inner).push(parameter.id());
        parameter
    }

    fn recomputed(
        part: SharedPart,
        places: Places,
        x: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let output = y.primitive().clone();
        // With the parameter the part is tracked even if `x` is not.
        let parents = [x.node(), parameter.node()];
        match RunAgain.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = Array::of(x.primitive().clone());
                prep.finish(Again { part, x, places }, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}
