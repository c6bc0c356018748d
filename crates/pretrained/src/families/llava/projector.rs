//! The one map of LLaVA 1.0. transformers' LLaVA has two with an activation between them: there it is
//! the first one, behind `"projector_hidden_act": "linear"`, and the second one changes nothing.

use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_input_projector::ProjectorConfig;

use crate::error::Result;
use crate::names::Layout;
use crate::plan::Expected;

/// Ours.
const MAP: &str = "towers.0.projector.fc";

/// The two maps as the layout has them, and the widths of the one, where that is what is published.
fn maps(layout: &Layout, config: &ProjectorConfig) -> Option<([String; 2], [usize; 2])> {
    let &ProjectorConfig::Linear { features, shuffle, bias: true, width } = config else {
        return None;
    };
    let maps = [1, 2].map(|i| {
        let name = layout.to_hf(&format!("towers.0.projector.mlp.fc{i}.weight"));
        name.trim_end_matches(".weight").to_owned()
    });
    // A layout that knows the one map (PaliGemma) has no two.
    let known = maps.iter().all(|map| !map.starts_with("towers."));
    known.then_some((maps, [features * shuffle * shuffle, width]))
}

/// What files hold in the place of the one map.
pub fn as_published(tensors: &mut Vec<Expected>, layout: &Layout, config: &ProjectorConfig) {
    let Some(([first, second], [_, width])) = maps(layout, config) else { return };
    for tensor in tensors.iter_mut() {
        tensor.name = tensor.name.replace(MAP, &first);
    }
    for (end, shape) in [("weight", vec![width, width]), ("bias", vec![width])] {
        let (name, packs) = (format!("{second}.{end}"), end == "weight");
        tensors.push(Expected { part: "projector", name, shape, packs });
    }
}

/// Two maps to the one that they are together.
///
/// # Errors
/// Never in practice: their shapes have been checked.
pub fn prepare(tensors: &mut Tensors, layout: &Layout, config: &ProjectorConfig) -> Result<()> {
    let Some(([first, second], [columns, width])) = maps(layout, config) else { return Ok(()) };
    let mut take = |name: String| {
        tensors.tensors.remove(&name).map_or(Vec::new(), |tensor| tensor.into_parts().1)
    };
    let [w1, b1] = ["weight", "bias"].map(|end| take(format!("{first}.{end}")));
    let [w2, b2] = ["weight", "bias"].map(|end| take(format!("{second}.{end}")));
    let (mut weight, mut bias) = (vec![0.0; width * columns], b2);
    for (i, row) in w2.chunks(width).enumerate() {
        // Of the identity only the diagonal, whose products are the very numbers.
        for (j, factor) in row.iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
            let to = &mut weight[i * columns..][..columns];
            to.iter_mut().zip(&w1[j * columns..]).for_each(|(to, w)| *to += factor * w);
            bias[i] += factor * b1[j];
        }
    }
    tensors.tensors.insert(format!("{MAP}.weight"), Tensor::new(vec![width, columns], weight)?);
    tensors.tensors.insert(format!("{MAP}.bias"), Tensor::new(vec![width], bias)?);
    Ok(())
}

/// The one map as two.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn publish(tensors: &mut Tensors, layout: &Layout, config: &ProjectorConfig) -> Result<()> {
    let Some(([first, second], [_, width])) = maps(layout, config) else { return Ok(()) };
    for end in ["weight", "bias"] {
        if let Some(tensor) = tensors.tensors.remove(&format!("{MAP}.{end}")) {
            tensors.tensors.insert(format!("{first}.{end}"), tensor);
        }
    }
    let mut identity = vec![0.0; width * width];
    identity.iter_mut().step_by(width + 1).for_each(|x| *x = 1.0);
    tensors.tensors.insert(format!("{second}.weight"), Tensor::new(vec![width; 2], identity)?);
    tensors.tensors.insert(format!("{second}.bias"), Tensor::new(vec![width], vec![0.0; width])?);
    Ok(())
}
