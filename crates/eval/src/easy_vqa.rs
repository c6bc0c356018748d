//! easy-VQA's official test split: one shape, 13 answers, Zhou 2020, <https://easy-vqa-demo.victorzhou.com>.

use std::path::Path;

use sensorium_data::easy_vqa::EasyVqa;
use sensorium_data::question::Sample;
use sensorium_data::scene::Split;
use sensorium_inference::ChatModel;
use sensorium_media::MediaDecoder;

use crate::Settings;
use crate::answer::{self, Prior, normal, share};
use crate::error::Result;
use crate::report::Report;

/// Exact match over all 9,673 questions (by default) and by type of answer. The prior is the most
/// frequent answer to the same words in the training split.
///
/// # Errors
/// `easy-vqa` below the data folder is missing or damaged.
pub fn measure(model: &dyn ChatModel, settings: &Settings<'_>) -> Result<Report> {
    let dir = settings.data.join("easy-vqa");
    let test = EasyVqa::open(&dir, Split::Val, settings.decoder)?;
    let n = settings.samples_or(test.len()).min(test.len());
    // Evenly spread, so that few questions are still about many pictures.
    let samples: Vec<Sample> = (0..n).map(|i| test.sample(i * test.len() / n)).collect();
    let prior = prior(&dir, settings.decoder)?;
    let done = |i| (settings.progress)(i, n);
    let answers = answer::all(model, &samples, settings.size, &done)?;

    let scored: Vec<(&Sample, &String)> = samples.iter().zip(&answers).collect();
    let row = |task: &str, choices: Option<usize>| {
        let of_type = |item: &&(&Sample, &String)| choices.is_none_or(|c| item.0.choices == c);
        let items: Vec<_> = scored.iter().filter(of_type).copied().collect();
        let by_words = share(&items, |(sample, _)| prior.hits(sample));
        answer::figure(task, &items, by_words)
    };
    let figures = vec![
        row("all answers", None),
        row("yes or no", Some(2)),
        row("shapes", Some(3)),
        row("colours", Some(8)),
    ];
    let majority =
        share(&samples, |sample| prior.majority() == Some(normal(&sample.answer).as_str()));
    Ok(Report {
        name: "easy-vqa".to_owned(),
        data: format!("easy-VQA, official test split, {n} of {} questions", test.len()),
        seed: settings.seed,
        figures,
        notes: vec![
            format!("the most frequent answer alone is right in {:.2} %", 100.0 * majority),
            "the prior is the most frequent answer to the same words in the training split".into(),
        ],
    })
}

/// Learned from the whole training half, pictures of held-out pairs included.
fn prior(dir: &Path, decoder: &MediaDecoder) -> Result<Prior> {
    let open = |split| EasyVqa::open(dir, split, decoder);
    let halves = [open(Split::Train)?, open(Split::HeldOut)?];
    Ok(Prior::learn(halves.iter().flat_map(|half| (0..half.len()).map(|i| half.sample(i)))))
}
