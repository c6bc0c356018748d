//! Where tokens stand and what they see of each other, for every decoder.

use std::ops::Range;

use proptest::prelude::*;
use sensorium_backbone::{Backbone, BackboneConfig, Gpt2Config, LlamaConfig, OptConfig};
use sensorium_flow::{Forward, Sequence, Span};
use sensorium_nn::params::{read, update};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;

const VOCABULARY: usize = 19;
const WIDTH: usize = 24;

fn models(seed: u64) -> [Backbone; 3] {
    let (vocabulary, context, width, n_layers, n_heads, mlp) = (VOCABULARY, 64, WIDTH, 2, 3, 20);
    let llama = LlamaConfig {
        vocab_size: vocabulary,
        context,
        hidden_size: width,
        n_layers,
        n_heads,
        n_kv_heads: 1,
        head_dim: 8,
        intermediate_size: mlp,
        ..LlamaConfig::small()
    };
    let opt = OptConfig {
        vocab_size: vocabulary,
        context,
        embed: width,
        hidden_size: width,
        n_layers,
        n_heads,
        intermediate_size: mlp,
        post_norm: false,
        final_norm: true,
        tied: true,
    };
    let eps = 1e-5;
    let gpt2 = Gpt2Config {
        vocab_size: vocabulary,
        context,
        hidden_size: width,
        n_layers,
        n_heads,
        intermediate_size: mlp,
        eps,
        tied: true,
    };
    let configs =
        [BackboneConfig::Llama(llama), BackboneConfig::Opt(opt), BackboneConfig::Gpt2(gpt2)];
    configs.map(|config| {
        let model = Backbone::init(&config, &mut Init::new(seed, &Device::flex()));
        // Fresh weights are small; larger ones let every token be felt.
        update(model, |_, shape, data| {
            data.iter_mut().for_each(|v| *v *= 4.0);
            shape.len() > 1
        })
    })
}

fn ids(rng: &mut Rng, n: usize) -> Vec<u32> {
    (0..n).map(|_| (rng.next_u64() % VOCABULARY as u64) as u32).collect()
}

fn hidden(model: &Backbone, ids: &[u32], rows: usize, sequence: &Sequence) -> Vec<f32> {
    let embeds = model.embed(ids, [rows, ids.len() / rows]);
    read(model.forward(embeds, sequence, None).0)
}

fn standing_at(rows: usize, at: Range<usize>) -> Sequence {
    let positions = (0..rows).flat_map(|_| at.clone()).map(|at| at as u32);
    Sequence { positions: Some(positions.collect()), ..Sequence::default() }
}

/// A few tokens and a picture, then questions about it: ids and spans.
struct Packed {
    shared: Vec<(u32, Span)>,
    questions: Vec<Vec<u32>>,
}

impl Packed {
    fn draw(seed: u64, [text, picture]: [usize; 2], lengths: &[usize]) -> Self {
        let mut rng = Rng::new(seed);
        let spans = [vec![Span::None; text], vec![Span::Shared(1); picture]].concat();
        let shared = ids(&mut rng, text + picture).into_iter().zip(spans).collect();
        Self { shared, questions: lengths.iter().map(|&n| ids(&mut rng, n)).collect() }
    }

    /// All in one row. Each question stands right behind the picture, or where it is in the row.
    fn together(&self, model: &Backbone, near: bool) -> Vec<Vec<f32>> {
        let mut tokens = self.shared.clone();
        let mut positions: Vec<u32> = (0..tokens.len() as u32).collect();
        for (number, question) in self.questions.iter().enumerate() {
            let first = if near { self.shared.len() } else { tokens.len() } as u32;
            positions.extend(first..first + question.len() as u32);
            tokens.extend(question.iter().map(|&id| (id, Span::Apart(number as u32))));
        }
        let mut rows = self.rows(model, &tokens, Some(positions));
        let mut rows = rows.split_off(self.shared.len()).into_iter();
        let question = |ids: &Vec<u32>| rows.by_ref().take(ids.len()).flatten().collect();
        self.questions.iter().map(question).collect()
    }

    fn alone(&self, model: &Backbone, question: &[u32]) -> Vec<f32> {
        let own = question.iter().map(|&id| (id, Span::None));
        let tokens: Vec<_> = self.shared.iter().copied().chain(own).collect();
        self.rows(model, &tokens, None).split_off(self.shared.len()).concat()
    }

    fn rows(
        &self,
        model: &Backbone,
        tokens: &[(u32, Span)],
        positions: Option<Vec<u32>>,
    ) -> Vec<Vec<f32>> {
        let (ids, spans): (Vec<u32>, Vec<Span>) = tokens.iter().copied().unzip();
        let positions = positions.map(Into::into);
        let sequence = Sequence { positions, spans: Some(spans.into()), ..Sequence::default() };
        hidden(model, &ids, 1, &sequence).chunks(WIDTH).map(<[f32]>::to_vec).collect()
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Bit for bit, with a cache and without.
    #[test]
    fn tokens_stand_one_after_the_other_unless_said_otherwise(
        seed: u64, rows in 1..4_usize, before in 1..6_usize, t in 1..9_usize,
    ) {
        let ids = ids(&mut Rng::new(seed), rows * t);
        for model in models(seed) {
            let plain = Sequence::default();
            let said = standing_at(rows, 0..t);
            prop_assert_eq!(
                hidden(&model, &ids, rows, &plain),
                hidden(&model, &ids, rows, &said)
            );

            let mut cache = Default::default();
            let earlier = model.embed(&vec![1; rows * before], [rows, before]);
            model.forward(earlier, &plain, Some(&mut cache));
            let said = standing_at(rows, before..before + t);
            let [got, want] = [said, plain].map(|sequence| {
                let embeds = model.embed(&ids, [rows, t]);
                read(model.forward(embeds, &sequence, Some(&mut cache.clone())).0)
            });
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_packed_question_is_read_as_if_it_were_alone(
        seed: u64, text in 1..6_usize, picture in 0..5_usize,
        lengths in prop::collection::vec(1..6_usize, 1..5),
    ) {
        let packed = Packed::draw(seed, [text, picture], &lengths);
        for model in models(seed) {
            let together = packed.together(&model, true);
            for (question, got) in packed.questions.iter().zip(&together) {
                let far = largest_difference(got, &packed.alone(&model, question));
                prop_assert!(far < 1e-5, "{far}");
            }
        }
    }
}

/// What positions are for: where questions stand in the row is not where they are asked.
#[test]
fn a_packed_question_far_from_its_picture_is_read_differently() {
    let packed = Packed::draw(7, [2, 4], &[5, 5, 5]);
    for model in models(7) {
        let last = packed.questions.len() - 1;
        let far = &packed.together(&model, false)[last];
        assert!(largest_difference(far, &packed.alone(&model, &packed.questions[last])) > 1e-2);
    }
}
