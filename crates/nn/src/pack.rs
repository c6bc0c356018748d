//! The running life: matrices laid out once for many products.

use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{FloatDType, Tensor};
pub use sensorium_kernels::packed::{Blocked, Format, Packed};
use sensorium_kernels::packed::{Product, Then};
pub use sensorium_kernels::quant::Kind;

use crate::fused::has_kernels;
use crate::lora::Lora;
use crate::params::read;

/// A dense layer laid out for running, with its bias as it was then.
#[derive(Debug)]
pub struct Dense {
    /// `[out, in]`.
    pub weight: Arc<Packed>,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

impl Dense {
    /// The layer's product, and what becomes of it.
    pub(crate) fn product<'a>(&'a self, then: Then<'a>) -> Product<'a> {
        Product { weights: &self.weight, bias: self.bias.as_deref(), then }
    }
}

/// Lays out the matrix `[out, in]` of the layer with this name, from its parameter or from elsewhere; or
/// lets it be.
pub type Packer<'a> = dyn FnMut(&str, &Param<Tensor<2>>) -> Option<Arc<Packed>> + 'a;

/// Sees every matrix of a model with the name of its layer.
pub type Visit<'a> = dyn FnMut(&str, &mut dyn Matrix) + 'a;

/// A layer that multiplies with a matrix.
pub trait Matrix {
    /// Lays the matrix out for running, if it is to be.
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>);

    /// Keeps the matrix in bfloat16 where it lies, if its device multiplies such numbers; layers that cannot leave it.
    fn halve(&mut self) {}

    /// Keeps the matrix, which is frozen, in blocks of few bits; false in layers that cannot, and where its
    /// rows are no whole blocks.
    fn quantize(&mut self, _kind: Kind) -> bool {
        false
    }

    /// The matrix `[out, in]`, and where what is learned beside it stands; nothing in layers that take
    /// no adapter.
    fn adaptable(&mut self) -> Option<(&Param<Tensor<2>>, &mut Option<Lora>)> {
        None
    }

    /// Takes what is learned beside the matrix, which is a parameter still, into it.
    fn merge(&mut self) {}
}

/// The matrix in bfloat16, if its device multiplies such numbers.
pub(crate) fn halved(weight: &Param<Tensor<2>>) -> Option<Param<Tensor<2>>> {
    let weight = weight.val();
    let works = weight.device().supports_dtype(FloatDType::BF16);
    works.then(|| Param::from_tensor(weight.cast(FloatDType::BF16)))
}

/// A part of a model that can be laid out for running. Its outputs stay those of the same forward
/// function; it can no longer be trained or saved.
pub trait Pack {
    /// Every matrix of the part, which is called `path`.
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>);

    /// Lays out every matrix.
    fn pack(&mut self, packer: &mut Packer<'_>) {
        self.matrices("", &mut |name, matrix| matrix.pack(&mut |weight| packer(name, weight)));
    }

    /// Lays out every matrix from its parameter. On other devices than the CPU they stay parameters, for
    /// [`Format::Bf16`] of such numbers.
    fn pack_as(&mut self, format: Format) {
        self.matrices("", &mut |_, matrix| {
            let mut elsewhere = false;
            matrix.pack(&mut |weight| {
                let weight = weight.val();
                let [out, in_] = weight.dims();
                elsewhere = !has_kernels(&weight);
                (!elsewhere).then(|| Arc::new(Packed::new(format, out, in_, &read(weight))))
            });
            if elsewhere && format == Format::Bf16 {
                matrix.halve();
            }
        });
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        for (n, part) in self.iter_mut().enumerate() {
            part.matrices(&join(path, &n.to_string()), visit);
        }
    }
}

impl<T: Pack> Pack for Option<T> {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        self.iter_mut().for_each(|part| part.matrices(path, visit));
    }
}

/// The name of a part's part.
pub fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

/// Implements [`Pack`] for a struct by its parts with matrices: `pack!(Mlp: fc1, fc2);`.
#[macro_export]
macro_rules! pack {
    ($part:ty: $($inner:ident),*) => {
        impl $crate::pack::Pack for $part {
            fn matrices(&mut self, path: &str, visit: &mut $crate::pack::Visit<'_>) {
                $(self.$inner.matrices(&$crate::pack::join(path, stringify!($inner)), visit);)*
            }
        }
    };
}
