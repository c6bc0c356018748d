//! Pictures of drawn scenes: the judge is code that knows no model.

use std::ops::ControlFlow;

use sensorium_data::Example;
use sensorium_data::caption::request;
use sensorium_data::scene::Scene;
use sensorium_inference::{GenerateOptions, Model, Sampler, Step};
use sensorium_media::{Media, Message, Modality, Picture, Role};

use super::set::{Item, Set};
use super::{Measured, Metric, Own, Scored};
use crate::error::{EvalError, Result};
use crate::judge::{Fulfilled, Seen, fulfilled, scene};
use crate::statistic::Aggregate;

/// What is judged, and the numbers of it.
const FACTS: [&str; 4] = ["color", "shape", "relation", "count"];

/// Whether there is a picture at all: a language model may answer in words.
const DRAWN: &str = "drawn";

/// How much of what was asked for is there: colours and shapes of the objects, how two lie, how many there are.
/// The prior is what a picture of another request shows of it.
pub(super) fn measure(model: &Model, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    let artist = Artist { model, own };
    let mut judged = Vec::new();
    set.together(|items, examples| {
        let scenes: Vec<Scene> = examples.iter().map(wanted).collect::<Result<_>>()?;
        let drawn = artist.draw(items, &examples, &scenes)?;
        for ((item, wanted), picture) in items.iter().zip(scenes).zip(&drawn) {
            let seen = picture.as_ref().map(scene).unwrap_or_default();
            let mut scored = item.scored(request(&wanted), told(&seen));
            scored.numbers.insert(DRAWN.into(), vec![f64::from(u8::from(picture.is_some()))]);
            judged.push((scored, wanted, seen));
        }
        Ok(())
    })?;
    let priors = priors(&judged);
    let examples = judged.into_iter().map(|(mut scored, wanted, seen)| {
        for (name, value) in facts(&wanted, &seen) {
            scored.worth += value / FACTS.len() as f64;
            scored.numbers.insert(name.into(), vec![value]);
        }
        scored
    });
    let metric = |(name, prior): (&str, f64)| {
        let mut metric = Metric::new("pictures", name, name, Aggregate::Mean);
        metric.prior = Some(prior);
        metric
    };
    let drawn = Metric::new("answers", "a picture", DRAWN, Aggregate::Mean);
    let examples: Vec<Scored> = examples.collect();
    let metrics = FACTS.into_iter().zip(priors).map(metric).chain([drawn]);
    let metrics = metrics.filter(|metric| !metric.rows(&examples).is_empty()).collect();
    Ok(Measured { examples, metrics, notes: Vec::new() })
}

fn wanted(example: &Example) -> Result<Scene> {
    let scene = example.facts.as_ref().and_then(|facts| facts.scene().cloned());
    scene.ok_or(EvalError::NoScene)
}

/// What is right of a scene that was asked for.
fn facts(wanted: &Scene, seen: &[Seen]) -> Vec<(&'static str, f64)> {
    let Fulfilled { color, shape, relation, count } = fulfilled(wanted, seen);
    let mut all = vec![("color", color), ("shape", shape), ("count", f64::from(u8::from(count)))];
    // How more than two lie is not asked for.
    if let (Some(right), 2) = (relation, wanted.objects.len()) {
        all.push(("relation", f64::from(u8::from(right))));
    }
    all
}

/// What the pictures of the requests before would be worth.
fn priors(judged: &[(Scored, Scene, Vec<Seen>)]) -> [f64; 4] {
    let others = judged.iter().zip(judged.iter().cycle().skip(1));
    let all: Vec<_> = others.flat_map(|((_, wanted, _), (.., seen))| facts(wanted, seen)).collect();
    FACTS.map(|name| {
        let own: Vec<f64> = all.iter().filter(|(of, _)| *of == name).map(|(_, x)| *x).collect();
        own.iter().fold(0.0, |sum, x| sum + x) / own.len().max(1) as f64
    })
}

fn told(seen: &[Seen]) -> String {
    let one = |seen: &Seen| format!("{} {}", seen.color.name(), seen.shape.name());
    seen.iter().map(one).collect::<Vec<_>>().join(", ")
}

struct Artist<'a> {
    model: &'a Model,
    own: &'a Own<'a>,
}

impl Artist<'_> {
    /// A picture of each scene, if the model draws one.
    fn draw(
        &self,
        items: &[&Item],
        examples: &[Example],
        scenes: &[Scene],
    ) -> Result<Vec<Option<Picture>>> {
        let of = |((item, example), scene): ((&&Item, &Example), &Scene)| {
            let maker = self.model.media()?;
            let sampler = self.own.sampler(item, maker);
            let text = request(scene);
            let media = match (&example.messages[..], self.own.prompts.first()) {
                ([asked @ .., _], _) => {
                    let seen = example.media.len().saturating_sub(1);
                    self.asked(asked, &example.media[..seen], sampler)?
                }
                ([], Some(prompt)) => {
                    let asked = Message::text(Role::User, prompt.replace("{}", &text));
                    self.asked(&[asked], &[], sampler)?
                }
                ([], None) => {
                    let texts = vec![text.clone(); self.own.best_of];
                    maker.generate(Modality::Image, &texts, sampler, &mut |_, _| ())?
                }
            };
            self.best(media, &text)
        };
        items.iter().zip(examples).zip(scenes).map(of).collect()
    }

    /// What the model answers with, if that is no text.
    fn asked(&self, messages: &[Message], media: &[Media], sampler: Sampler) -> Result<Vec<Media>> {
        let options = GenerateOptions::default();
        let listen = &mut |_: Step<'_>| ControlFlow::Continue(());
        let reply = self.model.chat()?.answer(messages, media, &options, listen)?;
        match reply.wanted {
            Some(wanted) => Ok(self.model.media()?.make(&wanted, self.own.best_of, sampler)?),
            None => Ok(Vec::new()),
        }
    }

    /// The one that the model holds to fit best.
    fn best(&self, media: Vec<Media>, text: &str) -> Result<Option<Picture>> {
        let fits = match media.len() {
            0 | 1 => vec![0.0; media.len()],
            _ => self.model.score()?.similarities(&media, text)?,
        };
        let best = media.into_iter().zip(fits).max_by(|a, b| a.1.total_cmp(&b.1));
        Ok(best.and_then(|(medium, _)| medium.pictures().next().cloned()))
    }
}
