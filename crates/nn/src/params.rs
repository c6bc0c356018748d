//! A module's parameters by name: list, read, replace, freeze, and their gradients.

use burn::tensor::Device;
use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Shape, Tensor, TensorData};

use crate::init::Init;
use crate::optim::Flat;

/// A parameter without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Field names joined by dots: `blocks.0.mlp.fc1.weight`. Variants of enums are not named.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Whether a backward must give it a gradient.
    pub trainable: bool,
    /// Whether training moves it: by its gradient or, of a norm's statistics, with the norm's weight.
    pub moves: bool,
}

impl Parameter {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The row-major values of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// Every parameter in field order, and norms' statistics.
pub fn list(module: &impl Module) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    visit(module, |name, tensor| {
        parameters.push(Parameter {
            name: name.to_string(),
            shape: tensor.shape(),
            trainable: tensor.is_trainable(),
            moves: tensor.is_trainable(),
        });
    });
    let trained: BTreeSet<String> =
        parameters.iter().filter(|p| p.trainable).map(|p| p.name.clone()).collect();
    for parameter in &mut parameters {
        if let Some(norm) = norm(&parameter.name) {
            parameter.moves = trained.contains(&format!("{norm}weight"));
        }
    }
    parameters
}

/// Whether these are the running statistics of a norm, which are kept beside parameters and are none.
pub fn is_statistic(name: &str) -> bool {
    norm(name).is_some()
}

/// The norm, its dot included, whose running statistics these are.
fn norm(name: &str) -> Option<&str> {
    name.strip_suffix("running_mean").or_else(|| name.strip_suffix("running_var"))
}

/// Name and shape of every parameter and statistic of the module that `init` makes, in field order, at the cost of
/// the names: a file is compared with them before memory is taken for its claims.
pub fn shapes<M: Module>(init: impl FnOnce(&mut Init) -> M) -> Vec<(String, Vec<usize>)> {
    let module = init(&mut Init::empty(&Device::flex()));
    list(&module).into_iter().map(|p| (p.name, p.shape)).collect()
}

/// Number of values in all parameters.
pub fn count(module: &impl Module) -> usize {
    list(module).iter().filter(|p| !is_statistic(&p.name)).map(Parameter::count).sum()
}

/// Every parameter's values by name.
pub fn values(module: &impl Module) -> BTreeMap<String, Values> {
    values_of(module, |_| true)
}

/// As [`values`], of all that training moves.
pub fn trained(module: &impl Module) -> BTreeMap<String, Values> {
    let moving = list(module).into_iter().filter(|p| p.moves).map(|p| p.name);
    let moving: BTreeSet<String> = moving.collect();
    values_of(module, |name| moving.contains(name))
}

fn values_of(module: &impl Module, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Values> {
    let mut all = BTreeMap::new();
    visit(module, |name, tensor| {
        if wanted(name) {
            all.insert(name.to_string(), Values { shape: tensor.shape(), data: tensor.values() });
        }
    });
    all
}

/// A backward pass reached no gradient for parameters that should be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingGradients(pub Vec<String>);

impl std::fmt::Display for MissingGradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "expected a gradient for every trainable parameter, got none for {}: {}\n\
             hint: freeze the part, or use it in the loss",
            self.0.len(),
            self.0.join(", ")
        )
    }
}

impl std::error::Error for MissingGradients {}

/// The gradient of every trainable parameter by name, where it was computed; one that is missing is an
/// error.
pub fn gradients(
    module: &impl Module,
    mut gradients: Gradients,
) -> Result<BTreeMap<String, Flat>, MissingGradients> {
    let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
    visit(module, |name, tensor| {
        if !tensor.is_trainable() {
            return;
        }
        match tensor.gradient(&mut gradients) {
            Some(gradient) => {
                found.insert(name.to_string(), gradient);
            }
            None => missing.push(name.to_string()),
        }
    });
    if missing.is_empty() { Ok(found) } else { Err(MissingGradients(missing)) }
}

/// Replaces values: `change` sees each parameter's name, shape and values and may edit them.
/// Parameters for which it returns `false` keep their tensor.
pub fn update<M: Module>(
    module: M,
    mut change: impl FnMut(&str, &[usize], &mut Vec<f32>) -> bool,
) -> M {
    mapped(module, Change::Update(&mut change))
}

/// Gives parameters new values, row-major, by name and shape; those that are given none keep theirs. What
/// they held is not read: it may be zeros that take no memory.
pub fn fill<M: Module>(module: M, mut give: impl FnMut(&str, &[usize]) -> Option<Vec<f32>>) -> M {
    mapped(module, Change::Fill(&mut give))
}

/// Edits the values of the parameters whose names satisfy `wanted`, where they lie unless something
/// else holds them too. All others keep their tensor.
pub fn edit<M: Module>(
    module: M,
    wanted: impl Fn(&str) -> bool,
    mut change: impl FnMut(&str, &[usize], &mut Flat),
) -> M {
    mapped(module, Change::Edit(&wanted, &mut change))
}

/// Makes parameters whose name satisfies `trainable` trainable and all others frozen.
pub fn set_trainable<M: Module>(module: M, trainable: impl Fn(&str) -> bool) -> M {
    mapped(module, Change::Train(&trainable))
}

/// What a visitor may ask of a parameter, whatever its rank.
trait AnyRank {
    fn shape(&self) -> Vec<usize>;
    fn is_trainable(&self) -> bool;
    fn values(&self) -> Vec<f32>;
    fn gradient(&self, gradients: &mut Gradients) -> Option<Flat>;
}

impl<const D: usize> AnyRank for Tensor<D> {
    fn shape(&self) -> Vec<usize> {
        self.dims().to_vec()
    }
    fn is_trainable(&self) -> bool {
        self.is_require_grad()
    }
    fn values(&self) -> Vec<f32> {
        read(self.clone())
    }
    fn gradient(&self, gradients: &mut Gradients) -> Option<Flat> {
        self.grad_remove(gradients).map(Flat::of)
    }
}

/// A tensor's values, row-major.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("parameters and activations are f32")
}

fn visit(module: &impl Module, mut each: impl FnMut(&str, &dyn AnyRank)) {
    module.visit(&mut Visitor { path: Path::default(), each: &mut each });
}

fn mapped<M: Module>(module: M, change: Change<'_>) -> M {
    module.map(&mut Mapper { path: Path::default(), change })
}

/// Names of the fields on the way to a parameter. A variant of an enum is no field: which type reads
/// a file is not the file's to say.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !is_enum(container) {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !is_enum(container) {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

/// As burn's derived modules tell their visitors.
fn is_enum(container: &str) -> bool {
    container.starts_with("Enum:")
}

/// What is called stands behind a pointer: a model's walk is code of its own for each type of visitor and mapper.
struct Visitor<'a> {
    path: Path,
    each: &'a mut dyn FnMut(&str, &dyn AnyRank),
}

impl ModuleVisitor for Visitor<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.each)(&self.path.name(), &param.val());
    }
}

struct Mapper<'a> {
    path: Path,
    change: Change<'a>,
}

/// The values of a parameter by its name and shape, if it is given any.
type Give<'a> = dyn FnMut(&str, &[usize]) -> Option<Vec<f32>> + 'a;

/// Changes the values of a parameter of a name and a shape; false leaves them.
type Update<'a> = dyn FnMut(&str, &[usize], &mut Vec<f32>) -> bool + 'a;

/// What becomes of parameters.
enum Change<'a> {
    Fill(&'a mut Give<'a>),
    Update(&'a mut Update<'a>),
    /// Those whose names are wanted.
    Edit(&'a dyn Fn(&str) -> bool, &'a mut dyn FnMut(&str, &[usize], &mut Flat)),
    /// By their names, trainable or frozen.
    Train(&'a dyn Fn(&str) -> bool),
}

impl ModuleMapper for Mapper<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        match &mut self.change {
            Change::Fill(give) => param.map(|tensor| match give(&name, &tensor.dims()) {
                Some(data) => replaced(&tensor, data),
                None => tensor,
            }),
            Change::Update(change) => param.map(|tensor| {
                let mut data = read(tensor.clone());
                match change(&name, &tensor.dims(), &mut data) {
                    true => replaced(&tensor, data),
                    false => tensor,
                }
            }),
            Change::Edit(wanted, _) if !wanted(&name) => param,
            Change::Edit(_, change) => param.map(|tensor| {
                let (dims, device) = (tensor.dims(), tensor.device());
                let trainable = tensor.is_require_grad();
                // The tensor is ours alone: its memory becomes the vector and a tensor again.
                let mut values = Flat::of(tensor);
                change(&name, &dims, &mut values);
                values.tensor(dims, &device).set_require_grad(trainable)
            }),
            Change::Train(trainable) => param.set_require_grad(trainable(&name)),
        }
    }
}

/// A tensor like another one with these values.
fn replaced<const D: usize>(old: &Tensor<D>, data: Vec<f32>) -> Tensor<D> {
    let data = TensorData::new(data, Shape::from(old.dims()));
    Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, LayerNorm, Linear};

    #[expect(clippy::large_enum_variant, reason = "there are two of them")]
    #[derive(Module, Debug)]
    enum Either {
        One(Linear),
        Many(Vec<Linear>),
    }

    #[test]
    fn variants_are_not_named() {
        let init = &mut Init::empty(&Device::flex());
        let mut linear = || Linear::init(2, 2, false, 0.1, init);
        let names = |module: &Either| list(module).into_iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(names(&Either::One(linear())), ["weight"]);
        let many = Either::Many(vec![linear(), linear()]);
        assert_eq!(names(&many), ["0.weight", "1.weight"]);
        let (mut updated, mut edited) = (Vec::new(), Vec::new());
        let many = update(many, |name, _, _| {
            updated.push(name.to_owned());
            true
        });
        let many = edit(many, |name| name == "1.weight", |name, _, _| edited.push(name.to_owned()));
        assert_eq!((names(&many), edited), (updated, vec!["1.weight".to_owned()]));
    }

    #[test]
    fn statistics_move_with_the_weight_of_their_norm() {
        let init = &mut Init::empty(&Device::flex().autodiff());
        let norms: Vec<_> = (0..2).map(|_| BatchNorm2d::init(3, 1.0, init)).collect();
        let norms = set_trainable(norms, |name| name.starts_with("0."));
        let moving = list(&norms).into_iter().filter(|p| p.moves && !p.trainable);
        let names: Vec<String> = moving.map(|p| p.name).collect();
        assert_eq!(names, ["0.running_mean", "0.running_var"]);
        assert_eq!(trained(&norms).len(), 4);
        assert_eq!(count(&norms), 2 * 6);
    }

    /// Of a layer too large for any memory, whose values cannot even be counted.
    #[test]
    fn shapes_take_no_memory() {
        let huge = usize::MAX / 2;
        let linear = shapes(|init| Linear::init(huge, huge, true, 0.1, init));
        let of = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
        assert_eq!(linear, [of("weight", &[huge, huge]), of("bias", &[huge])]);
        let norm = shapes(|init| LayerNorm::init(huge, 1e-5, init));
        assert_eq!(norm, [of("weight", &[huge]), of("bias", &[huge])]);
        let (c_in, kernel) = (3, 1 << 24);
        let config = Conv2dConfig { c_in, c_out: huge, kernel, stride: 1, padding: 0, bias: false };
        let conv = shapes(|init| Conv2d::init(config, init));
        assert_eq!(conv, [of("weight", &[huge, c_in, kernel, kernel])]);
    }
}
