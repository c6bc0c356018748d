//! What LLaVA-NeXT and LLaVA-OneVision have beside LLaVA: a picture on one of several canvases, and the
//! vector at the end of its rows.

use sensorium_checkpoint::Tensors;
use sensorium_input_projector::{Anyres, AnyresConfig};
use sensorium_media::{ImageProcessor, Style};
use sensorium_model::llava::LlavaConfig;
use sensorium_nn::prelude::*;
use serde_json::json;

use super::settings::{NEXT, ONEVISION};
use super::{FOREIGN, frames, vit};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names;
use crate::plan::{Expected, Plan};
use crate::vision;

/// Whether a family has it.
pub fn is_cut(family: &str) -> bool {
    matches!(family, NEXT | ONEVISION)
}

/// The shape, by the settings alone.
pub fn config(family: &str, top: &Config<'_>, llava: &LlavaConfig) -> Result<AnyresConfig> {
    const STRATEGY: &str = "vision_feature_select_strategy";
    top.only("use_image_newline_parameter", &json!(true))?;
    // Read by `processor`.
    top.without_effect(&["image_grid_pinpoints"]);
    let grid = vit(llava).map_or(0, |vit| vit.grid());
    if llava.towers[0].tokens() != grid * grid {
        let hint = "tiles are laid side by side, so each must be a square of tokens";
        return Err(top.wrong(STRATEGY, "\"default\" of an encoder with a class token", hint));
    }
    let most = if family == ONEVISION { Some(most(top)?) } else { None };
    Ok(AnyresConfig { width: llava.backbone.width(), grid, most })
}

/// `anyres_max_9`: tiles whose tokens a picture may have.
fn most(top: &Config<'_>) -> Result<usize> {
    const KEY: &str = "vision_aspect_ratio";
    let number = top.text_or(KEY, "anyres_max_9")?.strip_prefix("anyres_max_");
    let number = number.and_then(|number| number.parse().ok()).filter(|n| (1..=256).contains(n));
    number.ok_or_else(|| top.wrong(KEY, "anyres_max_N with N of 1 to 256", FOREIGN))
}

/// Adds what the files hold of it to a plan.
pub fn plan(plan: &mut Plan, config: AnyresConfig) {
    plan.layout = plan.layout.with_newline();
    let name = plan.layout.to_hf("anyres.newline");
    plan.tensors.push(Expected {
        part: "projector",
        name,
        shape: vec![config.width],
        packs: false,
    });
}

/// It, with its tensor taken from the model's.
///
/// # Errors
/// Never in practice: the plan has been checked.
pub fn take(
    config: &AnyresConfig,
    tensors: &mut Tensors,
    layout: &names::Layout,
    init: &mut Init,
) -> Result<Anyres> {
    let mut own = Tensors::default();
    own.tensors.extend(tensors.tensors.remove_entry(&layout.to_hf("anyres.newline")));
    Ok(names::take_part(Anyres::init(config, init), "anyres", own, layout)?)
}

/// The processor of pictures, whose canvases are those of the model, and of a video's frames.
pub fn processor(directory: &Directory, family: &str, side: usize) -> Result<ImageProcessor> {
    let style = if family == NEXT { Style::LlavaNext } else { Style::LlavaOnevision };
    let processor = vision::square(directory, style, side)?;
    let top = directory.config();
    if let Some(value) = top.get("image_grid_pinpoints")
        && *value != json!(processor.pinpoints())
    {
        let hint = "config.json and preprocessor_config.json must be of the same model";
        return Err(top.wrong("image_grid_pinpoints", "the image processor's", hint));
    }
    if family == ONEVISION {
        frames::same(directory, &processor)?;
    }
    Ok(processor)
}
