//! A large batch in the memory of a small one: its vectors are made chunk by chunk and kept, the loss
//! gives their gradients, and each chunk is run once more to hand these on to its tower.
//!
//! Gao et al. 2021 (GradCache), <https://arxiv.org/abs/2101.06983>

use sensorium_encoder::text::Texts;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;

use super::ClipWithHeads as Model;
use crate::error::Result;
use crate::optim::{self, Gradients};

/// One of the two towers, and what it reads of a batch.
pub(super) struct Tower<'a, C> {
    /// What the names of its parameters begin with.
    pub prefix: &'a str,
    /// The batch, in parts.
    pub chunks: Vec<C>,
    /// A part's vectors, `[n, C]`.
    pub embed: &'a dyn Fn(&Model, &C) -> Tensor<2>,
}

impl<C> Tower<'_, C> {
    /// The vectors of the whole batch, as what a gradient is wanted for.
    fn vectors(&self, model: &Model, device: &Device) -> Param<Tensor<2>> {
        let (mut all, mut width) = (Vec::new(), 0);
        for chunk in &self.chunks {
            let vectors = (self.embed)(model, chunk);
            width = vectors.dims()[1];
            all.extend(read(vectors));
        }
        let shape = [all.len() / width.max(1), width];
        Param::from_tensor(Tensor::from_data(TensorData::new(all, shape), device))
    }

    /// Adds the gradients of the tower's parameters, from those of its vectors.
    fn add(&self, model: &Model, vectors: &[f32], sum: &mut Gradients) -> Result<()> {
        let parameters = params::list(model);
        let learns = |name: &str| {
            name.starts_with(self.prefix)
                && parameters.iter().any(|p| p.name == name && p.trainable)
        };
        if !parameters.iter().any(|p| learns(&p.name)) {
            return Ok(());
        }
        let tower = params::set_trainable(model.clone(), learns);
        let mut rest = vectors;
        for chunk in &self.chunks {
            let made = (self.embed)(&tower, chunk);
            let (here, after) = rest.split_at(made.dims().iter().product());
            rest = after;
            let weights = TensorData::new(here.to_vec(), made.dims());
            let handed_on = (made.clone() * Tensor::from_data(weights, &made.device())).sum();
            optim::accumulate(sum, params::gradients(&tower, handed_on.backward())?, 1.0);
        }
        Ok(())
    }
}

/// The vectors of a batch.
#[derive(Module, Debug)]
struct Vectors {
    images: Param<Tensor<2>>,
    texts: Param<Tensor<2>>,
}

/// What the loss is of, so that one backward pass gives all gradients.
#[derive(Module, Debug)]
struct Whole {
    model: Model,
    vectors: Vectors,
}

/// The loss of a batch and its gradients, those of the parameters that compare included, whose names
/// `compares` knows.
pub(super) fn gradients<I, T>(
    model: &Model,
    images: &Tower<'_, I>,
    texts: &Tower<'_, T>,
    compares: impl Fn(&str) -> bool,
    device: &Device,
    loss: impl Fn(&Model, Tensor<2>, Tensor<2>) -> Tensor<1>,
) -> Result<(f64, Gradients)> {
    let still = params::set_trainable(model.clone(), |_| false);
    let vectors =
        Vectors { images: images.vectors(&still, device), texts: texts.vectors(&still, device) };
    let vectors = params::set_trainable(vectors, |_| true);
    let parameters = params::list(model);
    let learns =
        |name: &str| compares(name) && parameters.iter().any(|p| p.name == name && p.trainable);
    let comparing = params::set_trainable(model.clone(), learns);

    let whole = Whole { model: comparing, vectors };
    let value = loss(&whole.model, whole.vectors.images.val(), whole.vectors.texts.val());
    let number = f64::from(read(value.clone())[0]);
    let found = params::gradients(&whole, value.backward())?;
    let mut sum = Gradients::new();
    let (mut of_images, mut of_texts) = (Vec::new(), Vec::new());
    for (name, gradient) in found {
        match name.as_str() {
            "vectors.images" => of_images = gradient.into_vec(),
            "vectors.texts" => of_texts = gradient.into_vec(),
            name => drop(sum.insert(name.trim_start_matches("model.").to_owned(), gradient)),
        }
    }
    images.add(model, &of_images, &mut sum)?;
    texts.add(model, &of_texts, &mut sum)?;
    Ok((number, sum))
}

/// Texts in so many parts, each as long as all of them.
pub(super) fn split(texts: &Texts, chunks: usize) -> Vec<Texts> {
    let [b, t] = texts.shape;
    let rows: Vec<usize> = (0..b).collect();
    let part = |rows: &[usize]| Texts {
        ids: texts.ids[rows[0] * t..(rows[0] + rows.len()) * t].to_vec(),
        shape: [rows.len(), t],
        ends: rows.iter().map(|&row| texts.ends[row]).collect(),
    };
    rows.chunks(b.div_ceil(chunks.max(1)).max(1)).map(part).collect()
}
