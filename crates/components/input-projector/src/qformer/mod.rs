//! Q-Former: a few learned queries ask a picture's features, and their answers are what a language
//! model reads of it. With a text beside them it tells whether the two belong together.
//!
//! Li et al. 2023 (BLIP-2), <https://arxiv.org/abs/2301.12597>, section 3.1
//!
//! ```text
//! queries [B, Q, D] ─┐               ┌─▶ cross-attention ─▶ queries' MLP ─▶ [B, Q, D]
//!                    ├─▶ attention ──┤   features [B, N, E]
//! text    [B, T, D] ─┘               └─▶ text's MLP ──────────────────────▶ [B, T, D]
//! ```
//! Every part is followed by a norm, as in BERT, from which the first weights were.

mod matching;
mod words;

use std::sync::Arc;

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

pub use matching::{Matching, MatchingConfig, Words};
pub use words::WordHead;

/// Shape of a [`QFormer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QFormerConfig {
    /// Width E of the features.
    pub features: usize,
    /// Queries Q.
    pub queries: usize,
    /// Width D.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// The first of so many layers asks the features, above 0.
    pub every: usize,
    /// Whether layers have an MLP for texts.
    pub text: bool,
    /// Epsilon of every norm.
    pub eps: f64,
}

/// Standard deviation of weights before training (BERT).
const STD: f64 = 0.02;

impl QFormerConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| QFormer::init(self, init))
    }

    /// Whether layer `i` asks the features.
    fn asks(&self, i: usize) -> bool {
        i.is_multiple_of(self.every)
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct QFormer {
    /// `[Q, D]`.
    queries: Param<Tensor<2>>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl QFormer {
    /// Weights of 0.02.
    pub fn init(config: &QFormerConfig, init: &mut Init) -> Self {
        Self {
            queries: init.normal([config.queries, config.hidden_size], STD),
            norm: LayerNorm::init(config.hidden_size, config.eps, init),
            layers: (0..config.n_layers).map(|i| Layer::init(config, i, init)).collect(),
        }
    }

    /// The queries alone: `[B, N, E] -> [B, Q, D]`.
    pub fn ask(&self, features: &Features) -> Tensor<3> {
        self.hidden(Some(features), None, self.layers.len())
    }

    /// A text alone: `[B, T, D] -> [B, T, D]`, of which `lengths [B]` positions count.
    pub fn read(&self, text: Tensor<3>, lengths: &Arc<[usize]>) -> Tensor<3> {
        self.hidden(None, Some((text, lengths)), self.layers.len())
    }

    /// Queries and text, which see each other, to what becomes of the queries:
    /// `[B, N, E], [B, T, D] -> [B, Q, D]`, or `[1, N, E]` of one picture for all texts. Of the text,
    /// `lengths [B]` positions count.
    pub fn ask_about(
        &self,
        features: &Features,
        text: Tensor<3>,
        lengths: &Arc<[usize]>,
    ) -> Tensor<3> {
        let x = self.hidden(Some(features), Some((text, lengths)), self.layers.len());
        x.narrow(1, 0, self.queries.dims()[0])
    }

    /// What so many layers make of queries, where there are features to ask, and of a text, where there
    /// is one: `[B, Q + T, D]`, the queries first. After none, what the first one reads.
    ///
    /// # Panics
    /// When there is neither.
    pub fn hidden(
        &self,
        features: Option<&Features>,
        text: Option<(Tensor<3>, &Arc<[usize]>)>,
        layers: usize,
    ) -> Tensor<3> {
        let n = features.map_or(0, |_| self.queries.dims()[0]);
        let (text, lengths) = text.unzip();
        // The queries stand first: they count as the text's beginning does.
        let lengths: Option<Arc<[usize]>> =
            lengths.map(|lengths| lengths.iter().map(|length| n + length).collect());
        self.run(features, text, &Mask::Full, lengths.as_ref(), layers)
    }

    /// What becomes of a text each of whose tokens sees the queries and the tokens before it, and which
    /// no query sees: `[B, N, E], [B, T, D] -> [B, T, D]`. What pads it at its end moves nothing before.
    pub fn tell(&self, features: &Features, text: Tensor<3>) -> Tensor<3> {
        let ([b, t, _], n) = (text.dims(), self.queries.dims()[0]);
        let row = std::iter::repeat_n(Span::Shared(1), n).chain(std::iter::repeat_n(Span::None, t));
        let spans: Vec<Span> = row.collect::<Vec<_>>().repeat(b);
        let mask = Mask::Prefix { offset: 0, spans: spans.into() };
        self.run(Some(features), Some(text), &mask, None, self.layers.len()).narrow(1, n, t)
    }

    fn run(
        &self,
        features: Option<&Features>,
        text: Option<Tensor<3>>,
        mask: &Mask,
        lengths: Option<&Arc<[usize]>>,
        layers: usize,
    ) -> Tensor<3> {
        let pictures = features.map_or(0, |Features(features)| features.dims()[0]);
        let b = text.as_ref().map_or(pictures, |text| text.dims()[0]);
        let queries = features.map(|_| self.queries.val().unsqueeze::<3>().repeat_dim(0, b));
        let n = queries.as_ref().map_or(0, |queries| queries.dims()[1]);
        let x = Tensor::cat(queries.into_iter().chain(text).collect(), 1); // [B, Q + T, D]
        let (x, layers) = (self.norm.forward(x), self.layers.iter().take(layers));
        layers.fold(x, |x, layer| layer.forward(x, n, features, mask, lengths))
    }
}

sensorium_nn::pack!(QFormer: layers);

/// The queries' answers in a language model's width: `[B, N, E] -> [B, Q, D]`.
#[derive(Module, Debug)]
pub struct QFormerProjector {
    /// What asks.
    pub qformer: QFormer,
    fc: Linear,
}

impl QFormerProjector {
    /// Weights of 0.02, to embeddings of `width`.
    pub fn init(config: &QFormerConfig, width: usize, init: &mut Init) -> Self {
        Self {
            qformer: QFormer::init(config, init),
            fc: Linear::init(config.hidden_size, width, true, STD, init),
        }
    }

    /// Name and shape of every parameter of one made so, without one being made.
    pub fn parameters(config: &QFormerConfig, width: usize) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Self::init(config, width, init))
    }
}

impl Project for QFormerProjector {
    fn project(&self, features: Features) -> Embeds {
        Embeds(self.fc.forward(self.qformer.ask(&features)))
    }

    fn tokens(&self, _: usize) -> usize {
        self.qformer.queries.dims()[0]
    }
}

sensorium_nn::pack!(QFormerProjector: qformer, fc);

#[derive(Module, Debug)]
struct Layer {
    own: PostAttention,
    cross: Option<PostAttention>,
    query_mlp: PostMlp,
    text_mlp: Option<PostMlp>,
}

impl Layer {
    fn init(config: &QFormerConfig, i: usize, init: &mut Init) -> Self {
        let (d, e) = (config.hidden_size, config.features);
        Self {
            own: PostAttention::init(config, d, init),
            cross: config.asks(i).then(|| PostAttention::init(config, e, init)),
            query_mlp: PostMlp::init(config, init),
            text_mlp: config.text.then(|| PostMlp::init(config, init)),
        }
    }

    /// `[B, Q + T, D] -> [B, Q + T, D]`
    fn forward(
        &self,
        x: Tensor<3>,
        queries: usize,
        features: Option<&Features>,
        mask: &Mask,
        lengths: Option<&Arc<[usize]>>,
    ) -> Tensor<3> {
        let x = self.own.forward(x.clone(), x, mask, lengths);
        let texts = x.dims()[1] - queries;
        match (queries, texts) {
            (0, _) => self.text(x),
            (_, 0) => self.query(x, features),
            _ => {
                let text = x.clone().narrow(1, queries, texts);
                let query = self.query(x.narrow(1, 0, queries), features);
                Tensor::cat(vec![query, self.text(text)], 1)
            }
        }
    }

    fn query(&self, x: Tensor<3>, features: Option<&Features>) -> Tensor<3> {
        let x = match (&self.cross, features) {
            (Some(cross), Some(Features(features))) => {
                // Where one picture is asked about many texts, its keys and values are made once.
                let ([b, q, d], pictures) = (x.dims(), features.dims()[0]);
                let x = x.reshape([pictures, b / pictures * q, d]);
                cross.forward(x, features.clone(), &Mask::Full, None).reshape([b, q, d])
            }
            _ => x,
        };
        self.query_mlp.forward(x)
    }

    fn text(&self, x: Tensor<3>) -> Tensor<3> {
        self.text_mlp.iter().fold(x, |x, mlp| mlp.forward(x))
    }
}

sensorium_nn::pack!(Layer: own, cross, query_mlp, text_mlp);

/// `norm(x + attention(x, context))`
#[derive(Module, Debug)]
struct PostAttention {
    attention: Attention,
    norm: LayerNorm,
}

impl PostAttention {
    /// Over a context of width `e`.
    fn init(config: &QFormerConfig, e: usize, init: &mut Init) -> Self {
        let d = config.hidden_size;
        Self {
            attention: Attention::across([d, e], config.n_heads, [STD; 2], init),
            norm: LayerNorm::init(d, config.eps, init),
        }
    }

    /// `x [B, T, D], context [B, N, E] -> [B, T, D]`
    fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        mask: &Mask,
        lengths: Option<&Arc<[usize]>>,
    ) -> Tensor<3> {
        let found = self.attention.forward(x.clone(), context, mask.clone(), lengths.cloned());
        self.norm.forward(x + found)
    }
}

sensorium_nn::pack!(PostAttention: attention);

/// `norm(x + mlp(x))`
#[derive(Module, Debug)]
struct PostMlp {
    mlp: Mlp,
    norm: LayerNorm,
}

impl PostMlp {
    fn init(config: &QFormerConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        Self {
            mlp: Mlp::init([d, config.intermediate_size, d], config.activation, [STD; 2], init),
            norm: LayerNorm::init(d, config.eps, init),
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.forward(self.mlp.add_to(x.clone(), x))
    }
}

sensorium_nn::pack!(PostMlp: mlp);

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn config(text: bool) -> QFormerConfig {
        QFormerConfig {
            features: 10,
            queries: 3,
            hidden_size: 12,
            n_layers: 3,
            n_heads: 2,
            intermediate_size: 20,
            activation: Activation::Gelu,
            every: 2,
            text,
            eps: 1e-12,
        }
    }

    /// The weights scaled up, so that what is seen shows.
    fn loud() -> (QFormer, Init) {
        let mut init = Init::new(4, &Device::flex());
        let qformer = QFormer::init(&config(true), &mut init);
        let loud = params::update(qformer, |_, shape, data| {
            data.iter_mut().for_each(|x| *x *= if shape.len() > 1 { 20.0 } else { 1.0 });
            true
        });
        (loud, init)
    }

    fn differ(a: &Tensor<3>, b: &Tensor<3>) -> bool {
        read(a.clone()).iter().zip(read(b.clone())).any(|(a, b)| (a - b).abs() > 1e-3)
    }

    fn same(a: &Tensor<3>, b: &Tensor<3>) -> bool {
        read(a.clone()).iter().zip(read(b.clone())).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    /// What two inputs make of each other: recipes, check E5.
    #[test]
    fn queries_and_texts_see_what_they_may() {
        let (qformer, mut init) = loud();
        let draw = |init: &mut Init, n: usize, width: usize| init.normal([2, n, width], 1.0).val();
        let [see, see_other] = [(); 2].map(|()| Features(draw(&mut init, 5, 10)));
        let [text, other] = [(); 2].map(|()| draw(&mut init, 4, 12));
        let whole: Arc<[usize]> = vec![4; 2].into();

        // Alone, neither moves the other: only the features and the text's own words do.
        assert!(differ(&qformer.ask(&see), &qformer.ask(&see_other)));
        assert!(differ(&qformer.read(text.clone(), &whole), &qformer.read(other.clone(), &whole)));

        // Together, the text moves the queries, and the features what the queries say of it.
        let both = |see: &Features, text: &Tensor<3>| qformer.ask_about(see, text.clone(), &whole);
        let reference = both(&see, &text);
        assert!(differ(&reference, &qformer.ask(&see)));
        assert!(differ(&reference, &both(&see, &other)));
        assert!(differ(&reference, &both(&see_other, &text)));

        // And the queries move the text, which the last layer alone shows.
        let joined = |see: &Features, text: &Tensor<3>| {
            qformer.hidden(Some(see), Some((text.clone(), &whole)), 3).narrow(1, 3, 4)
        };
        assert!(differ(&joined(&see, &text), &joined(&see_other, &text)));
        assert!(differ(&joined(&see, &text), &qformer.read(text.clone(), &whole)));

        // Told of, each token sees the queries and what is before it; no query sees the text.
        let told = |see: &Features, text: &Tensor<3>| qformer.tell(see, text.clone());
        let later =
            Tensor::cat(vec![text.clone().narrow(1, 0, 2), other.clone().narrow(1, 2, 2)], 1);
        let [a, b] = [&text, &later].map(|text| told(&see, text));
        assert!(same(&a.clone().narrow(1, 0, 2), &b.clone().narrow(1, 0, 2)));
        assert!(differ(&a.clone().narrow(1, 3, 1), &b.narrow(1, 3, 1)));
        assert!(differ(&a, &told(&see_other, &text)));
        // The first token sees of the text itself alone: were a query to see more, it would move, too.
        let [a, b] = [&text, &later].map(|text| told(&see, text).narrow(1, 0, 1));
        assert!(same(&a, &b));

        // What pads a text moves nothing.
        let short: Arc<[usize]> = vec![2, 4].into();
        let head = |x: &Tensor<3>| x.clone().narrow(0, 0, 1).narrow(1, 0, 2);
        let padded = Tensor::cat(
            vec![Tensor::cat(vec![head(&text), head(&other)], 1), text.clone().narrow(0, 1, 1)],
            0,
        );
        let read_both = [&text, &padded].map(|text| qformer.read(text.clone(), &short));
        assert!(same(&head(&read_both[0]), &head(&read_both[1])));
        let [a, b] = [&text, &padded].map(|text| qformer.ask_about(&see, text.clone(), &short));
        assert!(same(&a, &b));
    }
}
