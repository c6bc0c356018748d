//! CLIP's ViT-B/32 image encoder with random weights: P1 to P4.

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use serde_json::json;

use crate::{Task, device, timed};

const PARAMETERS: usize = 87_849_216;

pub fn task(format: pack::Format, batch: usize) -> Task {
    let device = device();
    let mut init = Init::new(1, &device);
    let config = VitConfig::clip_base_patch32();
    let mut vit = Vit::init(&config, &mut init);
    assert_eq!(params::count(&vit), PARAMETERS);
    let pictures = init.normal([batch, 3, config.image, config.image], 1.0).val();
    let exact = read(vit.embed(pictures.clone()));
    vit.pack_as(format);
    let packed = read(vit.embed(pictures.clone()));
    let pairs = exact.chunks(config.embed).zip(packed.chunks(config.embed));
    let cosine = pairs.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min);

    let facts = [("cosine".to_owned(), json!(cosine))].into_iter().collect();
    let run = Box::new(move || timed(|| read(vit.embed(pictures.clone()))).1);
    Task { facts, run }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
