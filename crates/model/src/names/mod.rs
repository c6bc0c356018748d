//! What published checkpoints call our parameters: one small table per model, ours to theirs.
//!
//! ```text
//! image.blocks.3.attention.q.weight  ◀──▶  vision_model.encoder.layers.3.self_attn.q_proj.weight
//! ```
//! A table lists parts; `*` stands for a layer's number, and `weight` or `bias` is carried over.
//! [`load`] and [`save`] are strict and speak of the published names, so that an error names a key
//! that its reader can find in the file.

mod clip;
mod gguf;
mod llama;
mod llava;
mod whisper;

use sensorium_nn::prelude::*;

use crate::checkpoint::{self, Tensors, strict};
use crate::weights;

pub use clip::{CLIP, CLIP_VISION};
pub use gguf::GGUF;
pub use llama::LLAMA;
pub use llava::{LLAVA, LLAVA_LEGACY, LLAVA_TOWER};
pub use whisper::WHISPER;

/// Ours, theirs: names of tensors, or of parts with a `weight` or `bias`.
type Row = (&'static str, &'static str);

/// A table under a prefix: `(our prefix, their prefix, rows)`.
type Part = (&'static str, &'static str, &'static [Row]);

/// How one published layout spells a model's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    parts: &'static [Part],
    /// Theirs of shape `[]`, ours of shape `[1]`.
    scalars: &'static [&'static str],
    /// Ours that the layout does not have: they keep the values they are born with.
    absent: &'static [&'static str],
    /// How theirs end that carry nothing to learn.
    ignorable: &'static [&'static str],
}

impl Layout {
    /// The published name of our parameter `name`; the name itself if the layout has none for it.
    pub fn to_hf(&self, name: &str) -> String {
        let found = self.parts.iter().find_map(|(ours, theirs, rows)| {
            let name = under(ours, name)?;
            let found = rows.iter().find_map(|(from, to)| rename(from, to, name))?;
            Some(joined(theirs, &found))
        });
        found.unwrap_or_else(|| name.to_string())
    }

    /// Our name of the published `name`, if the layout knows it.
    pub fn from_hf(&self, name: &str) -> Option<String> {
        self.parts.iter().find_map(|(ours, theirs, rows)| {
            let name = under(theirs, name)?;
            let found = rows.iter().find_map(|(to, from)| rename(from, to, name))?;
            Some(joined(ours, &found))
        })
    }

    fn is_absent(&self, ours: &str) -> bool {
        self.absent.contains(&ours)
    }

    fn is_ignorable(&self, theirs: &str) -> bool {
        self.ignorable.iter().any(|end| theirs.ends_with(end))
    }
}

/// The module with every parameter read from a published checkpoint.
///
/// # Errors
/// Lists, by published name, every tensor that is missing, left over or of another shape.
pub fn load<M: Module>(module: M, tensors: &Tensors, layout: &Layout) -> checkpoint::Result<M> {
    let mut found = tensors.clone();
    found.tensors.retain(|name, _| !layout.is_ignorable(name));
    let wanted = params::list(&module).into_iter().filter(|p| !layout.is_absent(&p.name));
    let wanted: Vec<_> = wanted
        .map(|p| {
            let theirs = layout.to_hf(&p.name);
            let shape = if layout.scalars.contains(&&*theirs) { Vec::new() } else { p.shape };
            (theirs, shape)
        })
        .collect();
    strict(&wanted, &found)?;
    Ok(params::update(module, |name, _, data| match found.tensors.get(&layout.to_hf(name)) {
        Some(tensor) => {
            data.copy_from_slice(tensor.data());
            true
        }
        None => false,
    }))
}

/// The module's tensors as the layout publishes them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn save(module: &impl Module, layout: &Layout) -> checkpoint::Result<Tensors> {
    let mut published = Tensors::default();
    for (name, tensor) in weights::tensors(module)?.tensors {
        if layout.is_absent(&name) {
            continue;
        }
        let theirs = layout.to_hf(&name);
        let (shape, data) = tensor.into_parts();
        let shape = if layout.scalars.contains(&&*theirs) { Vec::new() } else { shape };
        published.tensors.insert(theirs, checkpoint::Tensor::new(shape, data)?);
    }
    Ok(published)
}

/// `name` without `prefix` and its dot.
fn under<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(name);
    }
    name.strip_prefix(prefix)?.strip_prefix('.')
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

/// `name` spelt as `to`, if it is spelt as `from`: the number at `*` and an ending `weight` or
/// `bias` are carried over.
fn rename(from: &str, to: &str, name: &str) -> Option<String> {
    let mut segments = name.split('.');
    let mut number = "*";
    for want in from.split('.') {
        let got = segments.next()?;
        match want {
            "*" if got.parse::<u32>().is_ok() => number = got,
            _ if want == got => {}
            _ => return None,
        }
    }
    let renamed = to.replace('*', number);
    match (segments.next(), segments.next()) {
        (None, _) => Some(renamed),
        (Some(end @ ("weight" | "bias")), None) => Some(format!("{renamed}.{end}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_endings_are_carried_over() {
        let [ours, theirs] = ["blocks.*.mlp.fc1", "layers.*.fc_in"];
        assert_eq!(
            rename(ours, theirs, "blocks.11.mlp.fc1.bias").as_deref(),
            Some("layers.11.fc_in.bias")
        );
        assert_eq!(rename(ours, theirs, "blocks.11.mlp.fc1").as_deref(), Some("layers.11.fc_in"));
        for other in ["blocks.x.mlp.fc1.bias", "blocks.1.mlp.fc1.scale", "blocks.1.mlp", "", "."] {
            assert_eq!(rename(ours, theirs, other), None, "{other}");
        }
    }

    #[test]
    fn every_row_leads_there_and_back_and_no_two_meet() {
        for layout in [CLIP, CLIP_VISION, GGUF, LLAMA, LLAVA, LLAVA_LEGACY, LLAVA_TOWER, WHISPER] {
            let mut seen = std::collections::BTreeSet::new();
            for (ours, _, rows) in layout.parts {
                for (row, _) in *rows {
                    let name = joined(ours, row).replace('*', "7");
                    let theirs = layout.to_hf(&name);
                    assert_eq!(layout.from_hf(&theirs), Some(name));
                    assert!(seen.insert(theirs.clone()), "{theirs} twice");
                }
            }
        }
    }

    #[test]
    fn published_keys_are_spelt_as_the_files_spell_them() {
        let cases = [
            (CLIP, "image.pre_norm.weight", "vision_model.pre_layrnorm.weight"),
            (CLIP, "image.stem.convs.0.weight", "vision_model.embeddings.patch_embedding.weight"),
            (CLIP, "image.proj.weight", "visual_projection.weight"),
            (CLIP, "text.blocks.9.norm2.bias", "text_model.encoder.layers.9.layer_norm2.bias"),
            (CLIP, "scale", "logit_scale"),
            (LLAMA, "layers.2.attention.k_norm.weight", "model.layers.2.self_attn.k_norm.weight"),
            (LLAMA, "head.weight", "lm_head.weight"),
            (GGUF, "layers.2.attention.o.weight", "blk.2.attn_output.weight"),
            (GGUF, "head.weight", "output.weight"),
            (LLAVA_LEGACY, "projector.Mlp.mlp.fc2.bias", "multi_modal_projector.linear_2.bias"),
            (LLAVA_LEGACY, "backbone.norm.weight", "language_model.model.norm.weight"),
            (LLAVA_LEGACY, "backbone.head.weight", "language_model.lm_head.weight"),
            (LLAVA_LEGACY, "image.class", "vision_tower.vision_model.embeddings.class_embedding"),
            (LLAVA, "projector.Mlp.mlp.fc1.weight", "model.multi_modal_projector.linear_1.weight"),
            (LLAVA, "backbone.norm.weight", "model.language_model.norm.weight"),
            (LLAVA, "backbone.head.weight", "lm_head.weight"),
            (LLAVA, "image.norm.bias", "model.vision_tower.post_layernorm.bias"),
            (LLAVA_TOWER, "image.norm.bias", "model.vision_tower.vision_model.post_layernorm.bias"),
            (WHISPER, "encoder.conv2.bias", "model.encoder.conv2.bias"),
            (
                WHISPER,
                "encoder.blocks.3.norm2.bias",
                "model.encoder.layers.3.final_layer_norm.bias",
            ),
            (WHISPER, "decoder.position", "model.decoder.embed_positions.weight"),
            (
                WHISPER,
                "decoder.layers.1.cross.o.bias",
                "model.decoder.layers.1.encoder_attn.out_proj.bias",
            ),
        ];
        for (layout, ours, theirs) in cases {
            assert_eq!(layout.to_hf(ours), theirs);
            assert_eq!(layout.from_hf(theirs).as_deref(), Some(ours));
        }
        assert_eq!(CLIP.from_hf("vision_model.pre_layernorm.weight"), None);
    }
}
