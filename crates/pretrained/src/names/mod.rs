//! What published checkpoints call our parameters: one small table per model, ours to theirs.
//!
//! ```text
//! image.blocks.3.attention.q.weight  ◀──▶  vision_model.encoder.layers.3.self_attn.q_proj.weight
//! ```
//! A table lists parts; `*` stands for a layer's number, and `weight` or `bias` is carried over, as are
//! names of statistics.
//! [`load`] and [`save`] are strict and speak of the published names, so that an error names a key
//! that its reader can find in the file.

mod bert;
mod blip2;
mod clap;
mod clip;
mod consistency;
mod dinov2;
mod dinov3;
mod dinov3_convnext;
mod gemma;
mod gguf;
mod gpt2;
mod idefics;
mod idefics3;
mod in_proj;
mod internvl;
mod janus;
mod kokoro;
mod llama;
mod llava;
mod open_clip;
mod opt;
mod qwen2_5_omni;
mod qwen2_audio;
mod qwen_vl;
mod siglip;
mod speecht5;
mod stable_diffusion;
mod t5;
mod vits;
mod wav2vec2;
mod whisper;

use std::collections::BTreeMap;

use sensorium_nn::prelude::*;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::{Tensors, strict_shapes};
use sensorium_model::weights;

pub use bert::{BERT, BERT_NESTED};
pub use blip2::{BLIP2, BLIP2_PRETRAINING, BLIP2_TOWER};
pub use clap::CLAP;
pub use clip::{CLIP, CLIP_TEXT, CLIP_TEXT_BARE, CLIP_VISION, VISION_TOWER, VISION_TOWER_BARE};
pub use consistency::CONSISTENCY;
pub use dinov2::{DINOV2, DINOV2_SWIGLU};
pub use dinov3::{DINOV3, DINOV3_NESTED};
pub use dinov3_convnext::{DINOV3_CONVNEXT, DINOV3_CONVNEXT_NESTED};
pub use gemma::{GEMMA, GEMMA3, PALIGEMMA};
pub use gguf::GGUF;
pub use gpt2::{GPT2, GPT2_BARE};
pub use idefics::IDEFICS;
pub use idefics3::IDEFICS3;
pub use internvl::INTERNVL;
pub use janus::JANUS;
pub use kokoro::KOKORO;
pub use llama::LLAMA;
pub use llava::{LLAVA, LLAVA_DINOV2, LLAVA_LEGACY, LLAVA_SAVED, LLAVA_TOWER};
pub use open_clip::{OPEN_CLIP, OPEN_CLIP_RESNET, PROJECTIONS as OPEN_CLIP_PROJECTIONS};
pub use opt::{OPT, OPT_LEGACY};
pub use qwen_vl::{QWEN2_5_OMNI, QWEN2_VL, QWEN2_VL_NESTED, QWEN3_VL, QWEN3_VL_BESIDE};
pub use qwen2_5_omni::{QWEN2_5_OMNI_TALKER, QWEN2_5_OMNI_TOKEN2WAV};
pub use qwen2_audio::{
    QWEN2_5_OMNI_AUDIO, QWEN2_AUDIO, QWEN2_AUDIO_NESTED, VOXTRAL, VOXTRAL_NESTED,
};
pub use siglip::{SIGLIP, SIGLIP_TEXT, SIGLIP_TEXT_BARE};
pub use speecht5::{SPEECHT5, SPEECHT5_HIFIGAN};
pub use stable_diffusion::{AUTOENCODER, STABLE_DIFFUSION, STABLE_DIFFUSION_BARE};
pub use t5::{T5, T5_GATED};
pub use vits::{VITS, VITS_TRAINING};
pub use wav2vec2::{HUBERT, HUBERT_TRAINING, WAV2VEC2, WAV2VEC2_TRAINING};
pub use whisper::WHISPER;

/// The names that models have here.
pub const PLAIN: Layout = Layout { parts: &[], scalars: &[], absent: &[], ignorable: &[] };

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

    /// The name of the file's tensor that holds our parameter `name`, alone or with others.
    pub fn file_name(&self, name: &str) -> String {
        let theirs = self.to_hf(name);
        in_proj::packed(&theirs).map_or(theirs, |(whole, _)| whole)
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

    /// Our parameters' names and shapes as the layout has them.
    pub fn shapes(&self, ours: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
        let ours = ours.into_iter().filter(|(name, _)| !self.is_absent(name));
        let theirs = ours.map(|(name, shape)| {
            let theirs = self.to_hf(&name);
            let scalar = self.scalars.contains(&&*theirs);
            (theirs, if scalar { Vec::new() } else { shape })
        });
        theirs.collect()
    }

    /// As [`shapes`](Self::shapes), with parts that are published in one matrix in one.
    pub fn file_shapes(&self, ours: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
        in_proj::join_shapes(self.shapes(ours))
    }

    /// Whether a published tensor carries nothing to learn.
    pub fn is_ignorable(&self, theirs: &str) -> bool {
        self.ignorable.iter().any(|end| theirs.ends_with(end))
    }
}

/// The module with every parameter read from a published checkpoint.
///
/// # Errors
/// Lists, by published name, every tensor that is missing, left over or of another shape.
pub fn load<M: Module>(module: M, tensors: &Tensors, layout: &Layout) -> checkpoint::Result<M> {
    check(&module, "", tensors, layout)?;
    let data = |name: &str| Some(tensors.tensors.get(&layout.to_hf(name))?.data().to_vec());
    Ok(params::fill(module, |name, _| data(name)))
}

/// As [`load`], with every value moved: the module and the file's tensors are never both whole in
/// memory. Matrices of queries, keys and values in one are taken apart.
///
/// # Errors
/// As [`load`].
pub fn take<M: Module>(module: M, tensors: Tensors, layout: &Layout) -> checkpoint::Result<M> {
    take_part(module, "", tensors, layout)
}

/// As [`take`], of a module that is the part `part` of what the layout speaks of.
///
/// # Errors
/// As [`load`].
pub fn take_part<M: Module>(
    module: M,
    part: &str,
    mut tensors: Tensors,
    layout: &Layout,
) -> checkpoint::Result<M> {
    in_proj::split(&mut tensors);
    check(&module, part, &tensors, layout)?;
    let mut data = |name: &str| {
        Some(tensors.tensors.remove(&layout.to_hf(&joined(part, name)))?.into_parts().1)
    };
    Ok(params::fill(module, |name, _| data(name)))
}

fn check(
    module: &impl Module,
    part: &str,
    tensors: &Tensors,
    layout: &Layout,
) -> checkpoint::Result<()> {
    let ours = params::list(module).into_iter().map(|p| (joined(part, &p.name), p.shape)).collect();
    let found = tensors.tensors.iter().filter(|(name, _)| !layout.is_ignorable(name));
    let found: BTreeMap<&str, &[usize]> =
        found.map(|(name, tensor)| (name.as_str(), tensor.shape())).collect();
    strict_shapes(&layout.shapes(ours), &found)
}

/// The module's tensors as the layout publishes them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn save(module: &impl Module, layout: &Layout) -> checkpoint::Result<Tensors> {
    save_part(module, "", layout)
}

/// As [`save`], of a module that is the part `part` of what the layout speaks of.
///
/// # Errors
/// As [`save`].
pub fn save_part(module: &impl Module, part: &str, layout: &Layout) -> checkpoint::Result<Tensors> {
    let mut published = Tensors::default();
    for (name, tensor) in weights::tensors(module)?.tensors {
        let name = joined(part, &name);
        if layout.is_absent(&name) {
            continue;
        }
        let theirs = layout.to_hf(&name);
        let (shape, data) = tensor.into_parts();
        let shape = if layout.scalars.contains(&&*theirs) { Vec::new() } else { shape };
        published.tensors.insert(theirs, checkpoint::Tensor::new(shape, data)?);
    }
    in_proj::join(&mut published);
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

/// `name` spelt as `to`, if it is spelt as `from`: the numbers at each `*` and an ending `weight`, `bias` or
/// of a norm's statistics are carried over.
fn rename(from: &str, to: &str, name: &str) -> Option<String> {
    let mut segments = name.split('.');
    let mut numbers = Vec::new();
    for want in from.split('.') {
        let got = segments.next()?;
        match want {
            "*" if got.parse::<u32>().is_ok() => numbers.push(got),
            _ if want == got => {}
            _ => return None,
        }
    }
    let renamed = numbers.iter().fold(to.to_owned(), |to, number| to.replacen('*', number, 1));
    match (segments.next(), segments.next()) {
        (None, _) => Some(renamed),
        (Some(end), None) if ["weight", "bias"].contains(&end) || params::is_statistic(end) => {
            Some(format!("{renamed}.{end}"))
        }
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
        assert_eq!(rename("a.*.b.*", "*.c.*.d", "a.3.b.40").as_deref(), Some("3.c.40.d"));
        for other in ["blocks.x.mlp.fc1.bias", "blocks.1.mlp.fc1.scale", "blocks.1.mlp", "", "."] {
            assert_eq!(rename(ours, theirs, other), None, "{other}");
        }
    }

    #[test]
    fn every_row_leads_there_and_back_and_no_two_meet() {
        for layout in [
            AUTOENCODER,
            BERT,
            BERT_NESTED,
            BLIP2,
            BLIP2_PRETRAINING,
            CLAP,
            CLIP,
            CLIP_TEXT,
            CLIP_TEXT_BARE,
            CLIP_VISION,
            DINOV2,
            DINOV2_SWIGLU,
            DINOV3,
            DINOV3_NESTED,
            GEMMA,
            GEMMA3[0],
            GEMMA3[1],
            GEMMA3[2],
            GEMMA3[3],
            GGUF,
            GPT2,
            GPT2_BARE,
            HUBERT,
            IDEFICS,
            IDEFICS3,
            INTERNVL[0],
            INTERNVL[1],
            JANUS,
            LLAMA,
            LLAVA,
            LLAVA_DINOV2,
            LLAVA_LEGACY,
            LLAVA_SAVED,
            LLAVA_TOWER,
            OPEN_CLIP,
            OPEN_CLIP_RESNET,
            QWEN2_5_OMNI,
            QWEN2_5_OMNI_AUDIO,
            QWEN2_5_OMNI_TALKER,
            QWEN2_5_OMNI_TOKEN2WAV,
            QWEN2_AUDIO,
            QWEN2_AUDIO_NESTED,
            QWEN2_VL,
            QWEN2_VL_NESTED,
            QWEN3_VL,
            QWEN3_VL_BESIDE,
            PALIGEMMA[0],
            PALIGEMMA[1],
            PALIGEMMA[2],
            PALIGEMMA[3],
            SIGLIP,
            SIGLIP_TEXT,
            SIGLIP_TEXT_BARE,
            SPEECHT5,
            SPEECHT5_HIFIGAN,
            KOKORO,
            STABLE_DIFFUSION,
            STABLE_DIFFUSION_BARE,
            T5,
            T5_GATED,
            VISION_TOWER,
            VISION_TOWER_BARE,
            VITS,
            VOXTRAL,
            VOXTRAL_NESTED,
            WAV2VEC2,
            WHISPER,
        ] {
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
            (SIGLIP, "image.pool.mlp.fc1.bias", "vision_model.head.mlp.fc1.bias"),
            (SIGLIP, "image.pool.attention.v.bias", "vision_model.head.attention.in_proj.v.bias"),
            (SIGLIP, "text.proj.bias", "text_model.head.bias"),
            (
                BLIP2,
                "image.blocks.3.attention.k.bias",
                "vision_model.encoder.layers.3.self_attn.qkv.k.bias",
            ),
            (BLIP2, "projector.qformer.queries", "query_tokens"),
            (BLIP2, "projector.qformer.norm.weight", "qformer.layernorm.weight"),
            (
                BLIP2,
                "projector.qformer.layers.4.cross.attention.v.weight",
                "qformer.encoder.layer.4.crossattention.attention.value.weight",
            ),
            (BLIP2, "projector.fc.bias", "language_projection.bias"),
            (BLIP2, "projector.head.weight", "itm_head.weight"),
            (DINOV2, "blocks.1.attention.o.bias", "encoder.layer.1.attention.output.dense.bias"),
            (
                OPEN_CLIP,
                "image.blocks.1.mlp.fc1.bias",
                "visual.transformer.resblocks.1.mlp.c_fc.bias",
            ),
            (OPEN_CLIP, "text.proj.weight", "text_projection"),
            (
                OPEN_CLIP_RESNET,
                "image.layer2.0.downsample.norm.running_var",
                "visual.layer2.0.downsample.1.running_var",
            ),
            (OPEN_CLIP_RESNET, "image.pool.o.weight", "visual.attnpool.c_proj.weight"),
            (DINOV2_SWIGLU, "blocks.1.mlp.fc1.bias", "encoder.layer.1.mlp.weights_in.bias"),
            (LLAMA, "layers.2.attention.k_norm.weight", "model.layers.2.self_attn.k_norm.weight"),
            (LLAMA, "head.weight", "lm_head.weight"),
            (GGUF, "layers.2.attention.o.weight", "blk.2.attn_output.weight"),
            (GGUF, "head.weight", "output.weight"),
            (
                LLAVA_LEGACY,
                "towers.0.projector.mlp.fc2.bias",
                "multi_modal_projector.linear_2.bias",
            ),
            (LLAVA_LEGACY, "backbone.norm.weight", "language_model.model.norm.weight"),
            (LLAVA_LEGACY, "backbone.head.weight", "language_model.lm_head.weight"),
            (
                LLAVA_LEGACY,
                "towers.0.encoder.class",
                "vision_tower.vision_model.embeddings.class_embedding",
            ),
            (
                LLAVA,
                "towers.0.projector.mlp.fc1.weight",
                "model.multi_modal_projector.linear_1.weight",
            ),
            (LLAVA, "backbone.norm.weight", "model.language_model.norm.weight"),
            (LLAVA, "backbone.head.weight", "lm_head.weight"),
            (LLAVA, "towers.0.encoder.norm.bias", "model.vision_tower.post_layernorm.bias"),
            (
                LLAVA_TOWER,
                "towers.0.encoder.norm.bias",
                "model.vision_tower.vision_model.post_layernorm.bias",
            ),
            (IDEFICS, "image.pre_norm.bias", "model.vision_model.pre_layrnorm.bias"),
            (IDEFICS, "projector.latents", "model.perceiver_resampler.latents"),
            (
                IDEFICS,
                "projector.layers.2.mlp.fc2.weight",
                "model.perceiver_resampler.blocks.2.1.c_proj.weight",
            ),
            (
                IDEFICS,
                "language.gated.3.cross.q_norm.weight",
                "model.gated_cross_attn_layers.3.cross_attn.q_layer_norm.weight",
            ),
            (IDEFICS, "language.gated.3.mlp_gate", "model.gated_cross_attn_layers.3.alpha_dense"),
            (IDEFICS, "language.llama.norm.weight", "model.norm.weight"),
            (IDEFICS, "language.llama.head.weight", "lm_head.weight"),
            (
                IDEFICS3,
                "towers.0.projector.fc.weight",
                "model.connector.modality_projection.proj.weight",
            ),
            (IDEFICS3, "backbone.norm.weight", "model.text_model.norm.weight"),
            (IDEFICS3, "backbone.head.weight", "lm_head.weight"),
            (IDEFICS3, "towers.0.encoder.norm.bias", "model.vision_model.post_layernorm.bias"),
            (
                STABLE_DIFFUSION,
                "unet.down_blocks.1.attentions.0.transformer_blocks.2.ff.out.bias",
                "unet.down_blocks.1.attentions.0.transformer_blocks.2.ff.net.2.bias",
            ),
            (
                STABLE_DIFFUSION,
                "vae.decoder.mid_block.attentions.0.attention.to_q.weight",
                "vae.decoder.mid_block.attentions.0.to_q.weight",
            ),
            (AUTOENCODER, "encoder.layers.4.pool.norm.bias", "encoder.layers.4.pool.1.bias"),
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
