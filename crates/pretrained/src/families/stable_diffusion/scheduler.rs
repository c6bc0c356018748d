//! Settings of schedulers, whose defaults are those of diffusers' classes.

use sensorium_flow::Scheduler;
use sensorium_generator::diffusion::{
    BetaSchedule, NoiseSchedule, Prediction, SchedulerConfig, Sigmas, Spacing,
};
use serde_json::Value;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;

/// The classes that are built here.
const KNOWN: [(&str, Scheduler); 3] = [
    ("EulerDiscreteScheduler", Scheduler::Euler),
    ("DDIMScheduler", Scheduler::Ddim),
    ("PNDMScheduler", Scheduler::Pndm),
];

/// More steps of training than any model had.
const MAX_STEPS: usize = 100_000;

const FOREIGN: &str = "the file may be damaged, or of a scheduler that is not supported";

/// A pipeline's scheduler, as its file says it.
#[derive(Debug)]
pub(super) struct Schedulers {
    part: Directory,
    /// Its class, where it is built here.
    own: Option<Scheduler>,
}

impl Schedulers {
    /// From the pipeline's directory. A class that is not known is no error yet: another may be asked for.
    ///
    /// # Errors
    /// The file is missing or damaged, or a setting of a known class asks for what is not supported.
    pub fn read(directory: &Directory) -> Result<Self> {
        let part = directory.part("scheduler")?;
        let class = part.model_type().unwrap_or_default();
        let own = KNOWN.iter().find(|(known, _)| *known == class).map(|(_, kind)| *kind);
        let schedulers = Self { part, own };
        if own.is_some() {
            schedulers.config(None)?;
            schedulers.part.tell(&schedulers.part.config())?;
        }
        Ok(schedulers)
    }

    /// The scheduler that is asked for with the settings of the file; the file's own if none is.
    ///
    /// # Errors
    /// The file's own is not known, or a setting asks for what is not supported.
    pub fn config(&self, asked: Option<Scheduler>) -> Result<SchedulerConfig> {
        let config = self.part.config();
        let Some(kind) = asked.or(self.own) else {
            let classes = KNOWN.map(|(class, _)| class).join(", ");
            let hint =
                "--scheduler euler, ddim or pndm draws by other steps with the same settings";
            return Err(config.wrong("_class_name", &format!("one of {classes}"), hint));
        };
        let prediction = prediction(&config, kind)?;
        let noise = noise(&config, prediction)?;
        Ok(SchedulerConfig {
            kind,
            noise,
            prediction,
            spacing: spacing(&config, kind)?,
            steps_offset: offset(&config),
            // PNDM's class thinks otherwise than DDIM's of what it leaves unsaid.
            set_alpha_to_one: config.flag_or("set_alpha_to_one", kind == Scheduler::Ddim)?,
            sigmas: self.sigmas(&config, kind)?,
            ends_noisy: ends_noisy(&config)?,
        })
    }

    /// Euler's noise. What would change slopes otherwise is refused.
    fn sigmas(&self, config: &Config<'_>, kind: Scheduler) -> Result<Sigmas> {
        config.only("thresholding", &Value::Bool(false))?;
        config.without_effect(&["dynamic_thresholding_ratio", "sample_max_value"]);
        match kind {
            Scheduler::Euler => eulers(config),
            Scheduler::Ddim => Ok(Sigmas::OfTimes),
            Scheduler::Pndm => {
                // Else it begins as Runge and Kutta do, with four looks a step; of another class, nobody has said.
                let skips = config.flag_or("skip_prk_steps", self.own != Some(kind))?;
                let wrong = || config.wrong("skip_prk_steps", "true", FOREIGN);
                if skips { Ok(Sigmas::OfTimes) } else { Err(wrong()) }
            }
        }
    }
}

/// The noise of training.
fn noise(config: &Config<'_>, prediction: Prediction) -> Result<NoiseSchedule> {
    let steps = config.size_or("num_train_timesteps", 1000)?;
    if steps > MAX_STEPS {
        let expected = format!("at most {MAX_STEPS} steps");
        return Err(config.wrong("num_train_timesteps", &expected, FOREIGN));
    }
    let zero_snr = config.flag_or("rescale_betas_zero_snr", false)?;
    // Noise alone says nothing of a picture; a velocity does.
    if zero_snr && prediction == Prediction::Epsilon {
        return Err(config.wrong("rescale_betas_zero_snr", "false beside epsilon", FOREIGN));
    }
    Ok(NoiseSchedule { betas: betas(config, steps)?, steps, zero_snr })
}

fn betas(config: &Config<'_>, steps: usize) -> Result<BetaSchedule> {
    let (start, end) = (beta(config, "beta_start", 1e-4)?, beta(config, "beta_end", 0.02)?);
    if let Some(value) = config.get("trained_betas") {
        config.without_effect(&["beta_schedule"]);
        let beta = |value: &Value| value.as_f64().filter(|beta| (0.0..1.0).contains(beta));
        let all = value.as_array().and_then(|all| {
            all.iter().map(|value| Some(beta(value)? as f32)).collect::<Option<Vec<_>>>()
        });
        let all =
            all.filter(|all| all.len() == steps && all.first().is_some_and(|&first| first > 0.0));
        let expected = format!("{steps} numbers from 0 to 1, as num_train_timesteps says");
        return all
            .map(BetaSchedule::Trained)
            .ok_or_else(|| config.wrong("trained_betas", &expected, FOREIGN));
    }
    match config.text_or("beta_schedule", "linear")? {
        "linear" => Ok(BetaSchedule::Linear { start, end }),
        "scaled_linear" => Ok(BetaSchedule::ScaledLinear { start, end }),
        "squaredcos_cap_v2" => Ok(BetaSchedule::SquaredCosine),
        _ => {
            let known = "linear, scaled_linear or squaredcos_cap_v2";
            Err(config.wrong("beta_schedule", known, FOREIGN))
        }
    }
}

/// A share of noise: more than none and less than all.
fn beta(config: &Config<'_>, key: &str, default: f64) -> Result<f64> {
    match config.positive_or(key, default)? {
        beta if beta < 1.0 => Ok(beta),
        _ => Err(config.wrong(key, "a number between 0 and 1", FOREIGN)),
    }
}

fn prediction(config: &Config<'_>, kind: Scheduler) -> Result<Prediction> {
    match (config.text_or("prediction_type", "epsilon")?, kind) {
        ("epsilon", _) => Ok(Prediction::Epsilon),
        ("v_prediction", _) => Ok(Prediction::Velocity),
        ("sample", Scheduler::Euler | Scheduler::Ddim) => Ok(Prediction::Sample),
        _ => {
            let known = "epsilon, v_prediction or, but for PNDM, sample";
            Err(config.wrong("prediction_type", known, FOREIGN))
        }
    }
}

fn spacing(config: &Config<'_>, kind: Scheduler) -> Result<Spacing> {
    let default = if kind == Scheduler::Euler { "linspace" } else { "leading" };
    match config.text_or("timestep_spacing", default)? {
        "leading" => Ok(Spacing::Leading),
        "trailing" => Ok(Spacing::Trailing),
        "linspace" => Ok(Spacing::Linspace),
        _ => Err(config.wrong("timestep_spacing", "leading, trailing or linspace", FOREIGN)),
    }
}

/// diffusers takes 1 in this pipeline whatever stands there, and never holds latents between -1 and 1.
fn offset(config: &Config<'_>) -> usize {
    config.without_effect(&["steps_offset", "clip_sample", "clip_sample_range"]);
    1
}

fn eulers(config: &Config<'_>) -> Result<Sigmas> {
    let never = Value::Bool(false);
    config.only("use_exponential_sigmas", &never)?;
    config.only("use_beta_sigmas", &never)?;
    config.only("timestep_type", &Value::from("discrete"))?;
    let limit =
        |key: &str| config.get(key).is_some().then(|| config.positive_or(key, 1.0)).transpose();
    let (min, max) = (limit("sigma_min")?, limit("sigma_max")?);
    let log = match config.text_or("interpolation_type", "linear")? {
        "linear" => false,
        "log_linear" => true,
        _ => return Err(config.wrong("interpolation_type", "linear or log_linear", FOREIGN)),
    };
    Ok(match (config.flag_or("use_karras_sigmas", false)?, log) {
        (true, _) => Sigmas::Karras { min, max },
        (false, true) => Sigmas::LogLinear,
        (false, false) => Sigmas::OfTimes,
    })
}

fn ends_noisy(config: &Config<'_>) -> Result<bool> {
    match config.text_or("final_sigmas_type", "zero")? {
        "zero" => Ok(false),
        "sigma_min" => Ok(true),
        _ => Err(config.wrong("final_sigmas_type", "zero or sigma_min", FOREIGN)),
    }
}
