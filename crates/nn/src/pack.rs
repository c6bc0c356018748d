//! The running life: matrices laid out once for many products.

use std::sync::Arc;

use burn::module::Param;
use burn::tensor::Tensor;
pub use sensorium_kernels::packed::{Blocked, Format, Packed};
use sensorium_kernels::packed::{Product, Then};

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

/// Lays out the matrix `[out, in]` of the layer with this name, from its parameter or from elsewhere.
pub type Packer<'a> = dyn FnMut(&str, &Param<Tensor<2>>) -> Arc<Packed> + 'a;

/// A part of a model that can be laid out for running. Its outputs stay those of the same forward
/// function; it can no longer be trained or saved.
pub trait Pack {
    /// Lays out every matrix of the part, which is called `path`.
    fn pack(&mut self, path: &str, packer: &mut Packer<'_>);

    /// Lays out every matrix from its parameter.
    fn pack_as(&mut self, format: Format) {
        self.pack("", &mut |_, weight| {
            let weight = weight.val();
            let [out, in_] = weight.dims();
            Arc::new(Packed::new(format, out, in_, &read(weight)))
        });
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&mut self, path: &str, packer: &mut Packer<'_>) {
        for (n, part) in self.iter_mut().enumerate() {
            part.pack(&join(path, &n.to_string()), packer);
        }
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack(&mut self, path: &str, packer: &mut Packer<'_>) {
        self.iter_mut().for_each(|part| part.pack(path, packer));
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
            fn pack(&mut self, path: &str, packer: &mut $crate::pack::Packer<'_>) {
                $(self.$inner.pack(&$crate::pack::join(path, stringify!($inner)), packer);)*
            }
        }
    };
}
