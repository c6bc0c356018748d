use std::collections::HashMap;

use sensorium_media::Mel;

use super::*;

const TRAIN: OpenOptions =
    OpenOptions { seed: 5, split: Split::Train, val_share: 0.0, picture_size: 0 };

#[test]
fn sounds_repeat_and_are_one_to_three_seconds() {
    for index in 0..300 {
        let (a, b) = (captioned(&TRAIN, index), captioned(&TRAIN, index));
        assert_eq!((&a.text, &a.media, &a.negatives), (&b.text, &b.media, &b.negatives));
        let Media::Audio(sound) = &a.media[0] else { panic!("a sound") };
        assert!((16_000..=48_000).contains(&sound.samples.len()), "{}", sound.samples.len());
        let loudest = sound.samples.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!((0.1..1.05).contains(&loudest), "{loudest} {:?}", a.text);
        let text = a.text.expect("a caption");
        assert!(a.negatives.len() == 2 && !a.negatives.contains(&text), "{text}");
        assert!(text.is_ascii() && text == text.to_lowercase());
    }
}

#[test]
fn held_out_pairs_are_heard_in_no_other_split() {
    let pairs = |split: Split| {
        (0..5_000).filter_map(move |index| {
            let heard = Heard::random(split, &mut split.rng(12, 5, index));
            heard.second.map(|second| held_out(heard.first.kind, second.kind))
        })
    };
    assert!(pairs(Split::Train).chain(pairs(Split::Val)).all(|held| !held));
    assert!(pairs(Split::HeldOut).count() == 5_000 && pairs(Split::HeldOut).all(|held| held));
    let heard = |n: usize| [n, n + 1].map(|kind| Voice { kind, high: true });
    let falsified = (0..2_000).flat_map(|n| {
        let [first, second] = heard(n % 23);
        Heard { first, times: 1, second: Some(second) }.falsified(&mut Rng::new(n as u64))
    });
    let may_be_heard =
        |h: Heard| h.second.is_some_and(|second| !held_out(h.first.kind, second.kind));
    assert!(falsified.into_iter().all(may_be_heard));
}

#[test]
fn what_is_heard_is_told() {
    let voice = |kind: usize, high| Voice { kind, high };
    let cases = [
        (voice(0, false), 2, None, "a low bell, twice"),
        (voice(4, false), 1, Some(voice(3, true)), "a siren, then a high drum"),
        (voice(9, true), 1, None, "rain"),
        (voice(17, true), 3, None, "a high organ, three times"),
        (voice(12, true), 1, None, "an alarm"),
    ];
    for (first, times, second, words) in cases {
        assert_eq!(Heard { first, times, second }.words(), words);
    }
}

/// Answers by question, whatever kind it names.
fn tally(split: Split) -> HashMap<String, HashMap<String, f32>> {
    let mut tally: HashMap<String, HashMap<String, f32>> = HashMap::new();
    for index in 0..12_000 {
        let rng = &mut split.rng(13, 5, index);
        for [question, answer] in Heard::random(split, rng).turns(rng) {
            let of_kind = ["yes", "no"].contains(&&*answer);
            let question = if of_kind { "exists".to_owned() } else { question };
            *tally.entry(question).or_default().entry(answer).or_default() += 1.0;
        }
    }
    tally
}

/// No answer is more than a few per cent more frequent than its chance: of the 24 kinds 1/24, of how
/// often 1/3, of the others 1/2.
#[test]
fn answers_are_balanced() {
    let tally = tally(Split::Train);
    let cases = [
        ("which sound is it?", 24, 0.015),
        ("what makes this sound?", 24, 0.015),
        ("which sound comes first?", 24, 0.015),
        ("what do you hear last?", 24, 0.015),
        ("how many times does it sound?", 3, 0.04),
        ("how often do you hear it?", 3, 0.04),
        ("is it high or low?", 2, 0.05),
        ("exists", 2, 0.02),
    ];
    for (question, choices, slack) in cases {
        let answers = &tally[question];
        assert_eq!(answers.len(), choices, "{question}");
        let total: f32 = answers.values().sum();
        let most = answers.values().fold(0.0_f32, |most, n| most.max(*n)) / total;
        assert!(most < 1.0 / choices as f32 + slack, "{question}: {most} of {total}");
    }
}

/// Mean log-mel energies of quarters of what stands out of the background.
fn quarters(sound: &Sound) -> Vec<f32> {
    const BANDS: usize = 40;
    let frames = sound.samples.len() / mel::HOP;
    let mel = Mel::new(&sound.samples, BANDS).window(0, frames);
    let loud =
        |frame: usize| (0..BANDS).map(|band| mel[band * frames + frame]).fold(-9.0, f32::max);
    let most = (0..frames).map(loud).fold(-9.0, f32::max);
    let heard: Vec<usize> = (0..frames).filter(|frame| loud(*frame) > most - 0.5).collect();
    let (from, to) = (heard[0], heard[heard.len() - 1] + 1);
    let quarter = |n: usize| from + (to - from) * n / 4;
    let mean = |n: usize, band: usize| {
        let part = quarter(n)..quarter(n + 1).max(quarter(n) + 1);
        let len = part.len() as f32;
        part.map(|frame| mel[band * frames + frame.min(frames - 1)]).sum::<f32>() / len - most
    };
    let length = (to - from) as f32 / 50.0;
    let means = (0..4).flat_map(|n| (0..BANDS).map(move |band| (n, band)));
    means.map(|(n, band)| mean(n, band)).chain([length]).collect()
}

/// The nearest mean of 30 other sounds of each kind, low or high, tells what each of 240 is.
#[test]
fn kinds_differ_in_their_spectra() {
    let features = |kind: usize, high: bool, index: u64| {
        let voice = Heard { first: Voice { kind, high }, times: 1, second: None };
        quarters(&voice.sound(&mut Rng::at(kind as u64, u64::from(high), index)))
    };
    let mean = |kind: usize, high: bool| {
        let all: Vec<_> = (0..30).map(|index| features(kind, high, index)).collect();
        (0..all[0].len()).map(|n| all.iter().map(|f| f[n]).sum::<f32>() / 30.0).collect::<Vec<_>>()
    };
    let means: Vec<_> = (0..KINDS.len())
        .flat_map(|kind| [false, true].map(|high| (kind, mean(kind, high))))
        .collect();
    let mut wrong = Vec::new();
    for n in 0..240 {
        let kind = n % KINDS.len();
        let heard = features(kind, n % 2 == 0 || n < 120, 1_000 + n as u64);
        let distance =
            |mean: &[f32]| -> f32 { mean.iter().zip(&heard).map(|(a, b)| (a - b).powi(2)).sum() };
        let nearest = means.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1)));
        let guess = nearest.map_or(0, |(kind, _)| *kind);
        if guess != kind {
            wrong.push((KINDS[kind].name, KINDS[guess].name));
        }
    }
    assert!(wrong.len() < 24, "{} of 240: {wrong:?}", wrong.len());
}
