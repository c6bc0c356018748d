//! `goldens/bert`: a sentence encoder from its directory.

use sensorium_encoder::text::Texts;
use sensorium_encoder::text::bert::{Bert, Pooling};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families;
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
