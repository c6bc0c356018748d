//! Clips of one thing that moves: the judge is code that knows no model.

use sensorium_data::drawn::clips::Way;
use sensorium_inference::Model;
use sensorium_media::{Media, Modality};

use super::set::Set;
use super::{Measured, Metric, Own};
use crate::error::Result;
use crate::judge::motion;
use crate::statistic::Aggregate;

/// Whether the thing goes the way that is asked for, which is the way that it goes in the drawn clip of the same
/// caption. The prior is what the clip of another caption shows of it.
pub(super) fn measure(model: &Model, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    let maker = model.media()?;
    let mut judged = Vec::new();
    set.together(|items, examples| {
        for (item, example) in items.iter().zip(examples) {
            let Some(wanted) = example.media.first().and_then(way) else { continue };
            let text = example.text.unwrap_or_default();
            let texts = std::slice::from_ref(&text);
            let made =
                maker.generate(Modality::Video, texts, own.sampler(item, maker), &mut |_, _| ())?;
            judged.push((item.scored(text, String::new()), wanted, made.first().and_then(way)));
        }
        Ok(())
    })?;
    let others = judged.iter().zip(judged.iter().cycle().skip(1));
    let chance = others.filter(|((_, wanted, _), (.., seen))| *seen == Some(*wanted)).count();
    let prior = chance as f64 / judged.len().max(1) as f64;
    let examples = judged.into_iter().map(|(mut scored, wanted, seen)| {
        scored.got = seen.map_or_else(|| "nothing moves".into(), |way| format!("{way:?}"));
        let right = f64::from(u8::from(seen == Some(wanted)));
        scored.worth = right;
        scored.numbers.insert("way".into(), vec![right]);
        scored
    });
    let mut metric = Metric::new("clips", "way", "way", Aggregate::Mean);
    metric.prior = Some(prior);
    Ok(Measured { examples: examples.collect(), metrics: vec![metric], notes: Vec::new() })
}

fn way(medium: &Media) -> Option<Way> {
    match medium {
        Media::Video(video) => motion(video),
        _ => None,
    }
}
