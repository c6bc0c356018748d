//! `goldens/bert`: a sentence encoder from its directory.

use std::path::Path;
use std::sync::Arc;

use sensorium_encoder::text::Texts;
use sensorium_encoder::text::bert::{Bert, Pooling};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families;
use sensorium_pretrained::families::blip2;
use sensorium_pretrained::families::blip2::new::{NewMatcher, NewQFormer};
use sensorium_pretrained::names::{self, BERT};
use sensorium_testkit::{Golden, Tensors, assert_tensor};

use crate::twin::{STACK, device, ids};

fn texts(golden: &Golden) -> Texts {
    let (ids, [b, t]) = ids(golden, "input_ids");
    let (_, mask) = &golden.inputs()["attention_mask"];
    let ends = mask.chunks(t).map(|row| row.iter().sum::<f32>() as usize - 1).collect();
    Texts { ids, shape: [b, t], ends }
}

fn check(bert: &Bert, texts: &Texts, outputs: &Tensors, tolerance: f32) {
    let [b, t] = texts.shape;
    let e = outputs["mean"].0[1];
    // What stands where a text is padded is nobody's.
    let keep = |i: usize| if i % t <= texts.ends[i / t] { 1.0 } else { 0.0 };
    for i in 0..=2 {
        let mut values = read(bert.hidden(texts, i));
        let rows = values.chunks_mut(e).enumerate();
        rows.for_each(|(i, row)| row.iter_mut().for_each(|x| *x *= keep(i)));
        let name = format!("hidden.{i}");
        assert_tensor(&name, &[b, t, e], &values, &outputs[&name], tolerance);
    }
    for (name, pooling) in [("mean", Pooling::Mean), ("first", Pooling::First)] {
        let got = read(bert.embed(texts, pooling));
        assert_tensor(name, &[b, e], &got, &outputs[name], tolerance);
    }
}

#[test]
fn bert() {
    let golden = Golden::open("bert");
    let directory = Directory::open(&golden.path("")).expect("the golden is a checkpoint");
    let config = families::bert::config(&directory.config()).expect("it is read");
    let bert = Bert::init(&config, &mut Init::empty(&device()));
    let tensors = directory.tensors().expect("it has weights");
    let mut bert = names::load(bert, &tensors, &BERT).expect("the names fit");
    let (texts, outputs) = (texts(&golden), golden.outputs());
    check(&bert, &texts, &outputs, STACK);
    bert.pack_as(pack::Format::F32);
    check(&bert, &texts, &outputs, STACK);
}

/// `goldens/bert` with a tokenizer beside it, and the sizes of a Q-Former that begins with it.
fn beginning() -> (tempfile::TempDir, NewQFormer) {
    let dir = tempfile::tempdir().expect("a directory");
    let goldens = Golden::open("bert").path("..");
    for (from, name) in [
        ("bert", "config.json"),
        ("bert", "model.safetensors"),
        ("blip2_matching", "tokenizer.json"),
    ] {
        std::fs::copy(goldens.join(from).join(name), dir.path().join(name)).expect("it is there");
    }
    let sizes = NewQFormer {
        queries: 4,
        hidden_size: 30,
        n_layers: 2,
        n_heads: 3,
        intermediate_size: 44,
        context: 16,
        ..NewQFormer::default()
    };
    (dir, sizes)
}

/// Li et al. 2023, section 3.1: alone with a text, a Q-Former that begins with a BERT says what
/// transformers' BERT says.
#[test]
fn a_qformer_begins_with_a_bert() {
    let (golden, (dir, sizes)) = (Golden::open("bert"), beginning());
    let open = |path: &Path| Directory::open(path).expect("a checkpoint");
    let (directory, encoder) = (open(dir.path()), open(&golden.path("../published_dinov2")));
    let bert = blip2::bert::Bert::open(&directory, &sizes).expect("of these sizes");
    let (sizes, tokenizer) = (bert.sizes(&sizes), bert.tokenizer().expect("it is there"));
    let (mut init, mut seeded) = (Init::empty(&device()), Init::new(1, &device()));
    let new = NewMatcher::new(&encoder, &sizes, tokenizer, &mut init, &mut seeded);
    let new = new.and_then(|new| new.begin_with(&bert)).expect("it is made");

    let (texts, outputs) = (texts(&golden), golden.outputs());
    let [b, t] = texts.shape;
    let lengths: Arc<[usize]> = texts.ends.iter().map(|end| end + 1).collect();
    let matching = &new.model.matcher.projector;
    let x = matching.qformer.read(matching.words(&texts.ids, [b, t]), &lengths);
    let mut values = read(x);
    let rows = values.chunks_mut(sizes.hidden_size).enumerate();
    let is_padding = |i: usize| i % t > texts.ends[i / t];
    rows.filter(|(i, _)| is_padding(*i)).for_each(|(_, row)| row.fill(0.0));
    assert_tensor("text", &[b, t, sizes.hidden_size], &values, &outputs["hidden.2"], STACK);
}

#[test]
fn a_qformer_of_other_sizes_than_its_bert_is_refused() {
    let (dir, sizes) = beginning();
    let directory = Directory::open(dir.path()).expect("a checkpoint");
    let refused = |sizes: NewQFormer| {
        blip2::bert::Bert::open(&directory, &sizes).expect_err("other sizes").to_string()
    };
    for (key, sizes) in [
        ("hidden_size", NewQFormer { hidden_size: 60, ..sizes.clone() }),
        ("num_hidden_layers", NewQFormer { n_layers: 3, ..sizes.clone() }),
        ("num_attention_heads", NewQFormer { n_heads: 2, ..sizes.clone() }),
        ("intermediate_size", NewQFormer { intermediate_size: 45, ..sizes.clone() }),
        ("max_position_embeddings", NewQFormer { context: 17, ..sizes }),
    ] {
        let told = refused(sizes);
        assert!(told.contains(key) && told.contains("[qformer]"), "{told}");
    }
}
