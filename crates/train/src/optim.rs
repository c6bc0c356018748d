//! Optimisation by name: clipping, AdamW with groups, gradient accumulation, EMA.

use std::collections::BTreeMap;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Tensors;
use sensorium_model::weights;
use sensorium_nn::optim::{self, AdamWRates, Flat};
use sensorium_nn::params;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Gradients by parameter name.
pub type Gradients = BTreeMap<String, Flat>;

/// AdamW (Loshchilov and Hutter 2017), clipping and EMA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Weight of the past in the mean of gradients.
    pub beta1: f32,
    /// Weight of the past in the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay of parameters with two axes or more.
    pub weight_decay: f32,
    /// Parameters whose name contains one of these are not decayed.
    pub no_decay: Vec<String>,
    /// Gradients are scaled down to this norm; 0 leaves them.
    pub clip: f64,
    /// Weight of the past in the running average of weights; 0 keeps none.
    pub ema: f32,
}

impl Default for OptimConfig {
    fn default() -> Self {
        let no_decay = ["embedding", "position", "probe"].map(String::from).to_vec();
        Self {
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.05,
            no_decay,
            clip: 1.0,
            ema: 0.0,
        }
    }
}

/// The optimiser and all that it remembers.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: OptimConfig,
    step: u64,
    /// First and second moment of each parameter.
    moments: BTreeMap<String, [Flat; 2]>,
    shadow: BTreeMap<String, Flat>,
    /// The weight of the past in `shadow`, where a recipe sets it step by step.
    decay: Option<f32>,
}

impl AdamW {
    /// An optimiser that has seen nothing yet.
    pub fn new(config: OptimConfig) -> Self {
        Self { config, step: 0, moments: BTreeMap::new(), shadow: BTreeMap::new(), decay: None }
    }

    /// From the next step on, the weight of the past in the running average of weights is `decay`, whatever
    /// the config says.
    pub fn average(&mut self, decay: f32) {
        self.decay = Some(decay);
    }

    /// One update of every parameter that has a gradient. `norm` is [`norm`] of `gradients`, by
    /// which they are clipped; `rate` may depend on the parameter's name (a part's own rate).
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: &Gradients,
        norm: f64,
        rate: impl Fn(&str) -> f64,
    ) -> M {
        self.step += 1;
        let clip = self.config.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let wanted = |name: &str| gradients.contains_key(name);
        params::edit(model, wanted, |name, shape, values| {
            self.update(name, shape, values, &gradients[name], rate(name), scale);
        })
    }

    fn update(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &mut Flat,
        gradient: &Flat,
        rate: f64,
        scale: f64,
    ) {
        let new = || [gradient.zeros_like(), gradient.zeros_like()];
        let moments = self.moments.entry(name.to_string()).or_insert_with(new);
        for moment in &mut *moments {
            // A damaged checkpoint's moments are forgotten.
            if moment.count() != gradient.count() {
                *moment = gradient.zeros_like();
            }
            moment.beside(gradient);
        }
        let plain = shape.len() < 2 || self.config.no_decay.iter().any(|part| name.contains(part));
        let decay = if plain { 0.0 } else { self.config.weight_decay };
        let OptimConfig { beta1, beta2, eps, ema, .. } = self.config;
        let (rate, scale) = (rate as f32, scale as f32);
        let rates = AdamWRates { rate, beta1, beta2, eps, decay, step: self.step, scale };
        values.adamw(gradient, moments, rates);
        // The average starts at the first weights it sees, and trusts later ones more at first.
        let warm = (1.0 + self.step as f32) / (10.0 + self.step as f32);
        let past = self.decay.unwrap_or(ema.min(warm));
        if ema > 0.0 || self.decay.is_some() {
            let shadow = self.shadow.entry(name.to_string()).or_insert_with(|| values.clone());
            shadow.beside(values);
            shadow.follow(values, past);
        }
    }

    /// The model with the running averages in place of the weights they follow.
    pub fn averaged<M: Module>(&self, model: M) -> M {
        let wanted = |name: &str| self.shadow.contains_key(name);
        params::edit(model, wanted, |name, _, values| values.clone_from(&self.shadow[name]))
    }

    /// What a resumed run needs, as tensors `m.NAME`, `v.NAME`, `ema.NAME`.
    ///
    /// # Errors
    /// Never in practice: every vector has its own length as shape.
    pub fn state(&self) -> checkpoint::Result<Tensors> {
        let mut state = Tensors::default();
        let mut put = |name: String, values: &Flat| -> checkpoint::Result<()> {
            let tensor = checkpoint::Tensor::new(vec![values.count()], values.clone().into_vec())?;
            state.tensors.insert(name, tensor);
            Ok(())
        };
        for (name, [m, v]) in &self.moments {
            put(format!("m.{name}"), m)?;
            put(format!("v.{name}"), v)?;
        }
        for (name, shadow) in &self.shadow {
            put(format!("ema.{name}"), shadow)?;
        }
        state.metadata.insert("step".into(), self.step.to_string());
        Ok(state)
    }

    /// Takes up where [`state`](Self::state) left off, on whichever device the parameters are now.
    pub fn restore(&mut self, state: Tensors) {
        self.step = state.metadata.get("step").and_then(|s| s.parse().ok()).unwrap_or(0);
        let none = || [(); 2].map(|()| Flat::Host(Vec::new()));
        for (key, tensor) in state.tensors {
            let values = Flat::Host(tensor.into_parts().1);
            match weights::plain(&key).split_once('.') {
                Some(("m", name)) => {
                    self.moments.entry(name.into()).or_insert_with(none)[0] = values;
                }
                Some(("v", name)) => {
                    self.moments.entry(name.into()).or_insert_with(none)[1] = values;
                }
                Some(("ema", name)) => {
                    self.shadow.insert(name.into(), values);
                }
                _ => {}
            }
        }
    }
}

/// Euclidean norm of all gradients together.
pub fn norm(gradients: &Gradients) -> f64 {
    optim::norm(gradients.values())
}

/// `sum += weight * new`: the token-weighted mean over micro-batches, not a mean of means.
pub fn accumulate(sum: &mut Gradients, new: Gradients, weight: f32) {
    for (name, mut gradient) in new {
        match sum.get_mut(&name) {
            Some(sum) => sum.add(&gradient, weight),
            None => {
                gradient.scale(weight);
                sum.insert(name, gradient);
            }
        }
    }
}
