//! The 24 kinds of sound, each by its own rule: where its energy lies and how that changes with time.

use super::waves::{
    add, count, decay, high_pass, low_pass, noise, oscillator, saw, shaped, sine, square,
};
use sensorium_kernels::rng::Rng;

/// A kind of sound.
#[derive(Debug)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// From where to where its frequency is drawn, in hertz: once, or for what is low and what is high.
    hertz: &'static [[f32; 2]],
    /// Samples of a frequency and of at most so many seconds, of any loudness.
    wave: fn(f32, f32, &mut Rng) -> Vec<f32>,
}

/// All kinds.
pub const KINDS: [Kind; 24] = [
    Kind { name: "bell", hertz: &[[300.0, 420.0], [900.0, 1300.0]], wave: bell },
    Kind { name: "beep", hertz: &[[350.0, 500.0], [1200.0, 1700.0]], wave: beep },
    Kind { name: "click", hertz: &[[3000.0, 4000.0]], wave: click },
    Kind { name: "drum", hertz: &[[55.0, 80.0], [170.0, 240.0]], wave: drum },
    Kind { name: "siren", hertz: &[[750.0, 950.0]], wave: siren },
    Kind { name: "whistle", hertz: &[[2300.0, 3100.0]], wave: whistle },
    Kind { name: "chirp", hertz: &[[3200.0, 4000.0]], wave: chirp },
    Kind { name: "phone", hertz: &[[1250.0, 1500.0]], wave: phone },
    Kind { name: "knock", hertz: &[[320.0, 480.0]], wave: knock },
    Kind { name: "rain", hertz: &[[2500.0, 4500.0]], wave: rain },
    Kind { name: "wind", hertz: &[[300.0, 500.0]], wave: wind },
    Kind { name: "engine", hertz: &[[35.0, 55.0]], wave: engine },
    Kind { name: "alarm", hertz: &[[700.0, 850.0]], wave: alarm },
    Kind { name: "buzzer", hertz: &[[110.0, 160.0]], wave: buzzer },
    Kind { name: "rising tone", hertz: &[[280.0, 380.0]], wave: rising },
    Kind { name: "falling tone", hertz: &[[280.0, 380.0]], wave: falling },
    Kind { name: "guitar", hertz: &[[100.0, 160.0], [330.0, 480.0]], wave: guitar },
    Kind { name: "organ", hertz: &[[120.0, 180.0], [440.0, 600.0]], wave: organ },
    Kind { name: "heartbeat", hertz: &[[50.0, 65.0]], wave: heartbeat },
    Kind { name: "footstep", hertz: &[[500.0, 800.0]], wave: footstep },
    Kind { name: "drop", hertz: &[[450.0, 650.0]], wave: drop },
    Kind { name: "horn", hertz: &[[150.0, 210.0], [400.0, 540.0]], wave: horn },
    Kind { name: "helicopter", hertz: &[[11.0, 15.0]], wave: helicopter },
    Kind { name: "hiss", hertz: &[[3500.0, 5000.0]], wave: hiss },
];

impl Kind {
    /// Whether it is low or high, rather than always alike.
    pub fn is_pitched(&self) -> bool {
        self.hertz.len() == 2
    }

    /// Its samples, at most so many `seconds`; `high` or low counts for what is pitched.
    pub(super) fn wave(&self, high: bool, seconds: f32, rng: &mut Rng) -> Vec<f32> {
        let [from, to] = self.hertz[usize::from(high && self.is_pitched())];
        let hertz = rng.between(from, to);
        let mut samples = (self.wave)(hertz, seconds, rng);
        // What is cut off would click.
        let (len, fade) = (samples.len(), count(0.008));
        for (n, x) in samples.iter_mut().rev().take(fade.min(len)).enumerate() {
            *x *= n as f32 / fade as f32;
        }
        samples
    }
}

/// The sum of `parts`: multiples of `hertz` with their loudness and how fast they die away.
fn partials(hertz: f32, seconds: f32, parts: &[[f32; 3]]) -> Vec<f32> {
    let mut sum = vec![0.0; count(seconds)];
    for &[multiple, loud, fall] in parts {
        let tone = oscillator(seconds, |_| hertz * multiple, |phase| loud * sine(phase));
        add(&mut sum, &decay(tone, fall), 0.0);
    }
    sum
}

fn bell(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    partials(
        hertz,
        seconds,
        &[[1.0, 1.0, 0.6], [2.76, 0.7, 0.35], [5.4, 0.5, 0.2], [8.93, 0.3, 0.1]],
    )
}

fn beep(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    oscillator(seconds.min(0.35), |_| hertz, sine)
}

fn click(hertz: f32, _: f32, rng: &mut Rng) -> Vec<f32> {
    decay(high_pass(noise(0.04, rng), hertz), 0.004)
}

fn drum(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let skin = oscillator(seconds, |t| hertz * (1.0 + 1.2 * (-t / 0.03).exp()), sine);
    let mut samples = decay(skin, 0.14);
    let stick = decay(low_pass(noise(0.1, rng), 1500.0), 0.015);
    add(&mut samples, &shaped(stick, |_| 1.5), 0.0);
    samples
}

fn siren(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let rate = rng.between(2.2, 3.0);
    let wail = |t: f32| hertz * (0.6 * sine((rate * t).fract())).exp2();
    oscillator(seconds, wail, |phase| sine(phase) + 0.4 * sine(3.0 * phase))
}

fn whistle(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let sway = |t: f32| hertz * (1.0 - 0.2 * (-t / 0.05).exp() + 0.02 * sine((6.0 * t).fract()));
    let mut samples = oscillator(seconds, sway, sine);
    let breath = high_pass(noise(seconds, rng), 1500.0);
    add(&mut samples, &shaped(breath, |_| 0.15), 0.0);
    shaped(samples, |t| (t / 0.06).min(1.0))
}

fn chirp(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    let along = |t: f32| (t / 0.09).fract() / 0.6;
    let sweep = |t: f32| hertz * (1.0 + 0.5 * along(t).min(1.0));
    let gain = |t: f32| if along(t) < 1.0 { sine(along(t) / 2.0) } else { 0.0 };
    shaped(oscillator(seconds.min(0.5), sweep, sine), gain)
}

fn phone(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    let mut samples = oscillator(seconds, |_| hertz, sine);
    add(&mut samples, &oscillator(seconds, |_| 1.3 * hertz, sine), 0.0);
    shaped(samples, |t| if (20.0 * t).fract() < 0.5 { 1.0 } else { 0.1 })
}

fn knock(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let wood = [[1.0, 1.0, 0.03], [2.3, 0.6, 0.02], [3.7, 0.3, 0.012]];
    let mut samples = partials(hertz, seconds.min(0.25), &wood);
    add(&mut samples, &decay(low_pass(noise(0.03, rng), 2500.0), 0.003), 0.0);
    samples
}

/// Noise, and drops that fall at random.
fn rain(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let mut samples = shaped(high_pass(noise(seconds, rng), 800.0), |_| 0.25);
    for _ in 0..(90.0 * seconds) as usize {
        let (at, pitch) = (rng.between(0.0, seconds), hertz * rng.between(0.6, 1.4));
        let drop = shaped(oscillator(0.012, |_| pitch, sine), |_| 0.6);
        add(&mut samples, &decay(drop, 0.003), at);
    }
    shaped(samples, |t| (t / 0.1).min(1.0))
}

/// Low noise that swells.
fn wind(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let (rate, start) = (rng.between(0.8, 1.6), rng.f32());
    let low = high_pass(low_pass(noise(seconds, rng), hertz), 120.0);
    let swell = |t: f32| 0.6 + 0.4 * sine((rate * t + start).fract());
    shaped(low, |t| swell(t) * (t / 0.15).min(1.0))
}

/// Strokes of a motor, each a short low burst.
fn engine(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let strokes = low_pass(oscillator(seconds, |_| hertz, saw), 350.0);
    let rattle = low_pass(noise(seconds, rng), 700.0);
    let fired = shaped(rattle, |t| 1.5 * (1.0 - (hertz * t).fract()).powi(3));
    let mut samples = strokes;
    add(&mut samples, &fired, 0.0);
    samples
}

fn alarm(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    let two = |t: f32| if (4.0 * t).fract() < 0.5 { hertz } else { 1.4 * hertz };
    oscillator(seconds, two, square)
}

fn buzzer(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    high_pass(oscillator(seconds, |_| hertz, square), 400.0)
}

fn rising(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    oscillator(seconds, |t| hertz * (3.0 * t / seconds).exp2(), sine)
}

fn falling(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    oscillator(seconds, |t| hertz * (3.0 - 3.0 * t / seconds).exp2(), sine)
}

/// A plucked string: noise that goes round a delay line and loses its high part (Karplus and Strong 1983).
fn guitar(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let period = count(1.0 / hertz).max(2);
    let mut samples = noise(seconds, rng);
    for n in period + 1..samples.len() {
        samples[n] = 0.498 * (samples[n - period] + samples[n - period - 1]);
    }
    samples
}

fn organ(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    let pipes = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0].map(|multiple: f32| [multiple, 0.9, 1e3]);
    shaped(partials(hertz, seconds, &pipes), |t| (t / 0.05).min(1.0))
}

/// Two soft thumps.
fn heartbeat(hertz: f32, _: f32, _: &mut Rng) -> Vec<f32> {
    let thump = decay(oscillator(0.2, |_| hertz, sine), 0.05);
    let mut samples = vec![0.0; count(0.35)];
    add(&mut samples, &thump, 0.0);
    add(&mut samples, &shaped(thump, |_| 0.6), 0.15);
    samples
}

/// Heel and sole.
fn footstep(hertz: f32, _: f32, rng: &mut Rng) -> Vec<f32> {
    let mut samples = vec![0.0; count(0.25)];
    add(&mut samples, &decay(low_pass(noise(0.1, rng), hertz), 0.015), 0.0);
    let sole = low_pass(high_pass(noise(0.12, rng), 1500.0), 5000.0);
    add(&mut samples, &decay(shaped(sole, |_| 0.5), 0.03), 0.08);
    samples
}

fn drop(hertz: f32, _: f32, _: &mut Rng) -> Vec<f32> {
    decay(oscillator(0.2, |t| hertz * (1.0 + (t / 0.08).min(2.0)), sine), 0.045)
}

/// Two reeds at once.
fn horn(hertz: f32, seconds: f32, _: &mut Rng) -> Vec<f32> {
    let mut samples = oscillator(seconds, |_| hertz, saw);
    add(&mut samples, &oscillator(seconds, |_| 1.26 * hertz, saw), 0.0);
    shaped(low_pass(samples, 2500.0), |t| (t / 0.08).min(1.0))
}

/// Low noise, chopped.
fn helicopter(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    let air = low_pass(noise(seconds, rng), 900.0);
    shaped(air, |t| (1.0 - (hertz * t).fract()).powi(4))
}

fn hiss(hertz: f32, seconds: f32, rng: &mut Rng) -> Vec<f32> {
    high_pass(high_pass(noise(seconds, rng), hertz), hertz)
}
