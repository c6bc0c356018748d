//! What a checkpoint's weights must be, from its settings alone: names, shapes, memory.

use std::collections::{BTreeMap, BTreeSet};

use sensorium_nn::prelude::*;

use super::directory::Directory;
use super::error::Result;
use crate::names::Layout;
use sensorium_checkpoint::{differences, strict_shapes};

/// What models are made of.
pub const PARTS: [&str; 9] =
    ["image", "encoder", "decoder", "text", "projector", "language", "unet", "vae", "scalars"];

/// A tensor that the weights must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The part of the model: one of [`PARTS`].
    pub part: &'static str,
    /// As the file spells it.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Whether it is a matrix that can be laid out in fewer bits.
    pub packs: bool,
}

impl Expected {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Bytes that it takes in memory when matrices are in `format`.
    fn bytes(&self, format: Option<pack::Format>) -> u64 {
        let (plain, Some(format)) = (4 * self.count(), format.filter(|_| self.packs)) else {
            return 4 * self.count();
        };
        let out = self.shape.first().map_or(1, |&out| out as u64);
        let in_ = self.count().checked_div(out).unwrap_or_default();
        match format {
            pack::Format::F32 => plain,
            pack::Format::Bf16 => 2 * self.count(),
            pack::Format::Int8 => self.count() + 4 * out,
            pack::Format::Blocks(blocked) => {
                let (block, bytes) = (blocked.kind().block(), blocked.kind().block_bytes());
                // Rows that are no whole blocks stay as they are.
                if in_.is_multiple_of(block as u64) {
                    self.count() / block as u64 * bytes as u64
                } else {
                    plain
                }
            }
        }
    }
}

/// What a checkpoint's weights must be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `model_type`.
    pub family: &'static str,
    /// Every tensor, in the order of the model.
    pub tensors: Vec<Expected>,
    pub(super) layout: Layout,
    /// Tensors that a file must hold and that are no parameters: names and shapes.
    pub(crate) buffers: Vec<(String, Vec<usize>)>,
    /// Tensors that a file may hold twice.
    pub(crate) copies: &'static [&'static str],
    /// How names begin of what only training needs, or what is not run here.
    pub(crate) training: &'static [&'static str],
}

/// What of the tensors `found` is not `expected`, of which one is told unless a directory must hold
/// nothing else.
pub(crate) fn strays(
    directory: &Directory,
    expected: &[(String, Vec<usize>)],
    found: &BTreeMap<&str, &[usize]>,
) -> Result<BTreeSet<String>> {
    let all = differences(expected, found);
    if directory.is_strict() || !all.missing.is_empty() || !all.reshaped.is_empty() {
        strict_shapes(expected, found)?;
    }
    tell_strays(&format!("{}: ", directory.path().display()), &all.unexpected);
    Ok(all.unexpected.into_iter().map(str::to_owned).collect())
}

/// Warns of tensors that are not read.
pub(crate) fn tell_strays(path: &str, strays: &[&str]) {
    if let [first, others @ ..] = strays {
        let n = others.len();
        let more = if n > 0 { format!(" and {n} more") } else { String::new() };
        log::warn!(
            "{path}the model has no place for {first}{more}: not read (--strict refuses them)"
        );
    }
}

impl Plan {
    /// The plan of a model with these parameters of ours; those under no part's name are of `whole`.
    pub(crate) fn new(
        family: &'static str,
        whole: &'static str,
        layout: Layout,
        parameters: Vec<(String, Vec<usize>)>,
    ) -> Self {
        let expected = |(ours, shape): (String, Vec<usize>)| {
            // A tower's encoder sees pictures, as far as any is published.
            let inner =
                ours.strip_prefix("towers.0.").map(|inner| inner.replacen("encoder", "image", 1));
            let inner = inner.as_deref().unwrap_or(&ours);
            let part = match inner.split('.').next() {
                Some("text") => "text",
                Some("image") => "image",
                Some("projector") => "projector",
                Some("encoder") => "encoder",
                Some("decoder") => "decoder",
                Some("unet") => "unet",
                Some("vae") => "vae",
                Some("scale" | "text_scale" | "bias") => "scalars",
                _ => whole,
            };
            let table = ours.ends_with("embedding.weight") || ours.ends_with("position");
            // What is published in one matrix is named by its first part.
            let mut theirs = layout.file_shapes(vec![(ours, shape)]);
            let (name, shape) = theirs.pop()?;
            let matrix = shape.len() > 2 || shape.len() == 2 && name.ends_with("weight");
            let packs = matrix && !table;
            Some(Expected { part, name, shape, packs })
        };
        let (statistics, parameters): (Vec<_>, Vec<_>) =
            parameters.into_iter().partition(|(name, _)| params::is_statistic(name));
        let tensors = parameters.into_iter().filter_map(expected).collect();
        Self {
            family,
            tensors,
            layout,
            buffers: layout.shapes(statistics),
            copies: &[],
            training: &[],
        }
    }

    /// Number of values of `part`, or of all.
    pub fn parameters(&self, part: Option<&str>) -> u64 {
        let tensors = self.tensors.iter().filter(|t| part.is_none_or(|part| t.part == part));
        tensors.map(Expected::count).sum()
    }

    /// Bytes that the weights take in memory when matrices are in `format`, f32 without one.
    pub fn bytes(&self, format: Option<pack::Format>) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes(format)).sum()
    }

    /// Whether a tensor of the file carries nothing to learn.
    pub fn is_ignorable(&self, name: &str) -> bool {
        let is_copy = || !self.tensors.iter().any(|tensor| tensor.name == name);
        self.layout.is_ignorable(name)
            || self.training.iter().any(|prefix| name.starts_with(prefix))
            || self.copies.contains(&name) && is_copy()
    }

    /// That the directory holds the weights of the plan; no values are read. Returns the names of what
    /// it holds beside them, of which one is told unless it must hold nothing else, as of the settings
    /// that nobody has asked for.
    pub(crate) fn check(&self, directory: &Directory) -> Result<BTreeSet<String>> {
        directory.tell(&directory.config())?;
        let stored = directory.shapes()?;
        let found = stored.iter().map(|(name, stored)| (name.as_str(), &*stored.shape)).collect();
        let (expected, found) = (self.shapes(), self.without_ignorable(&found));
        strays(directory, &expected, &found)
    }

    /// Name and shape of every tensor that the files must hold.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|tensor| (tensor.name.clone(), tensor.shape.clone()));
        tensors.chain(self.buffers.iter().cloned()).collect()
    }

    /// What of a file's tensors the plan speaks of.
    pub fn without_ignorable<'a>(
        &self,
        found: &BTreeMap<&'a str, &'a [usize]>,
    ) -> BTreeMap<&'a str, &'a [usize]> {
        let found = found.iter().filter(|(name, _)| !self.is_ignorable(name));
        found.map(|(&name, &shape)| (name, shape)).collect()
    }
}
