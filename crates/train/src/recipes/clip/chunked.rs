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

#[cfg(test)]
mod tests {
    use sensorium_encoder::image::{EncoderConfig, VitConfig};
    use sensorium_encoder::text::TextConfig;
    use sensorium_model::clip::{Clip, ClipConfig};

    use super::*;
    use crate::recipes::clip::Loss;

    const PAIRS: usize = 8;
    const SIDE: usize = 16;

    struct Batch {
        model: Model,
        planes: Vec<f32>,
        texts: Texts,
        kind: Loss,
        device: Device,
    }

    impl Batch {
        fn new(kind: Loss) -> Self {
            let device = Device::flex().autodiff();
            let image = VitConfig { n_heads: 2, ..VitConfig::clip(SIDE, 8, 24, 2, 12) };
            let text = TextConfig {
                vocab_size: 20,
                hidden_size: 24,
                n_layers: 2,
                n_heads: 2,
                intermediate_size: 48,
                embed: 12,
                ..TextConfig::small()
            };
            let image = EncoderConfig::Vit(image);
            let config = ClipConfig { image, text, bias: kind == Loss::Sigmoid };
            let mut init = Init::new(3, &device);
            let clip = Clip::init(&config, &mut init);
            let model = Model { clip, captioner: None, regions: None, places: None };
            let model = params::set_trainable(model, |_| true);
            let planes = read(init.normal([PAIRS, 3 * SIDE * SIDE], 1.0).val());
            let ids: Vec<Vec<u32>> =
                (0..PAIRS as u32).map(|i| vec![i, 2 * i + 1, (3 * i + 2) % 20, 19]).collect();
            Self { model, planes, texts: Texts::pad(&ids, 0), kind, device }
        }

        fn loss(&self, model: &Model, images: Tensor<2>, texts: Tensor<2>) -> Tensor<1> {
            let clip = &model.clip;
            match (self.kind, &clip.bias) {
                (Loss::Sigmoid, Some(bias)) => {
                    let ignored = vec![false; PAIRS * PAIRS];
                    loss::sigmoid(images, texts, clip.scale.val(), bias.val(), &ignored)
                }
                _ => loss::info_nce(images, texts, clip.scale.val()),
            }
        }

        fn images(&self, model: &Model, planes: &[f32]) -> Tensor<2> {
            let planes = crate::batch::images(planes.to_vec(), [SIDE; 2], &self.device);
            model.clip.embed_images(planes)
        }

        fn whole(&self) -> Gradients {
            let images = self.images(&self.model, &self.planes);
            let texts = self.model.clip.embed_texts(&self.texts);
            let loss = self.loss(&self.model, images, texts);
            params::gradients(&self.model, loss.backward()).unwrap()
        }

        fn in_chunks(&self, chunks: usize) -> Gradients {
            let values = PAIRS.div_ceil(chunks) * 3 * SIDE * SIDE;
            let pictures = Tower {
                prefix: "clip.image.",
                chunks: self.planes.chunks(values).map(<[f32]>::to_vec).collect(),
                embed: &|model: &Model, planes: &Vec<f32>| self.images(model, planes),
            };
            let texts = Tower {
                prefix: "clip.text.",
                chunks: split(&self.texts, chunks),
                embed: &|model: &Model, texts: &Texts| model.clip.embed_texts(texts),
            };
            let compares = |name: &str| ["clip.scale", "clip.bias"].contains(&name);
            let loss = |model: &Model, images, texts| self.loss(model, images, texts);
            gradients(&self.model, &pictures, &texts, compares, &self.device, loss).unwrap().1
        }

        /// As ranks would: each makes the vectors of its half, sees the other's as constants, and the
        /// gradients are summed. Scale and bias are in every rank's loss: their mean counts.
        fn by_rank(&self) -> Gradients {
            let values = self.planes.len() / 2;
            let halves = split(&self.texts, 2);
            let mut sum = Gradients::new();
            for rank in 0..2 {
                let of = |half: usize| {
                    let planes = &self.planes[half * values..(half + 1) * values];
                    let images = self.images(&self.model, planes);
                    let both = [images, self.model.clip.embed_texts(&halves[half])];
                    both.map(|x| if half == rank { x } else { x.detach() })
                };
                let ([a, b], [c, d]) = (of(0), of(1));
                let (images, texts) = (Tensor::cat(vec![a, c], 0), Tensor::cat(vec![b, d], 0));
                let loss = self.loss(&self.model, images, texts);
                let found = params::gradients(&self.model, loss.backward()).unwrap();
                optim::accumulate(&mut sum, found, 1.0);
            }
            for name in ["clip.scale", "clip.bias"] {
                sum.get_mut(name).into_iter().for_each(|gradient| gradient.scale(0.5));
            }
            sum
        }
    }

    /// How far two gradients are apart, of the length of the second.
    fn off(got: Gradients, want: &Gradients) -> f64 {
        assert!(got.keys().eq(want.keys()));
        let (mut apart, mut length) = (0.0, 0.0);
        for (name, got) in got {
            for (got, want) in got.into_vec().into_iter().zip(want[&name].clone().into_vec()) {
                apart += f64::from(got - want).powi(2);
                length += f64::from(want).powi(2);
            }
        }
        (apart / length).sqrt()
    }

    #[test]
    fn chunks_and_ranks_have_the_gradient_of_the_batch() {
        for kind in [Loss::InfoNce, Loss::Sigmoid] {
            let batch = Batch::new(kind);
            let whole = batch.whole();
            for chunks in [2, 3, PAIRS] {
                let off = off(batch.in_chunks(chunks), &whole);
                assert!(off < 1e-6, "{kind:?}, {chunks} chunks: {off}");
            }
            let off = off(batch.by_rank(), &whole);
            assert!(off < 1e-6, "{kind:?}, by rank: {off}");
        }
    }
}
