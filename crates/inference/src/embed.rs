//! Pictures and texts as vectors, and how well they fit each other.

use sensorium_flow::Features;
use sensorium_media::{Media, Modality, Picture};
use sensorium_model::clip::{self, Comparison, softmax};
use sensorium_model::imagebind::BoundTower;
use sensorium_nn::params;
use sensorium_pretrained::families::sensorium::Bound;
use sensorium_pretrained::{
    Dinov2, Error, Match, Matcher, SentenceEncoder, SoundEncoder, TEMPLATES, Tower, Towers,
};

use crate::error::Result;
use crate::{EmbeddingModel, ScoreModel};

/// A picture and a text beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Cosine of the two vectors, -1 to 1; of BLIP-2, the best query's.
    pub similarity: f32,
    /// What a model makes of the cosine.
    pub logit: f32,
    /// Of this text among all of the picture (softmax); of a model that was trained on pairs, of the
    /// pair alone (sigmoid).
    pub probability: f32,
    /// That the text belongs to the picture, where a model was trained to tell that (BLIP-2's ITM).
    pub matching: Option<f32>,
}

impl From<clip::Score> for Score {
    fn from(clip::Score { similarity, logit, probability }: clip::Score) -> Self {
        Self { similarity, logit, probability, matching: None }
    }
}

impl From<Match> for Score {
    /// Without a temperature, a cosine is its own logit.
    fn from(Match { similarity, probability, matching }: Match) -> Self {
        Self { similarity, logit: similarity, probability, matching: Some(matching) }
    }
}

/// A label's place among others, and of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classified {
    /// Among all labels (softmax).
    pub probability: f32,
    /// Of the label alone (sigmoid), where the model was trained to tell it.
    pub sigmoid: Option<f32>,
}

/// A label inside a template: `{}` stands for it, `{a}` for it with its article.
fn filled(template: &str, label: &str) -> String {
    template.replace("{a}", &with_article(label)).replace("{}", label)
}

/// "a" or "an" before a label that has no article yet.
fn with_article(label: &str) -> String {
    let label = label.trim();
    let has_one = ["a ", "an ", "the "].iter().any(|article| label.starts_with(article));
    match label.chars().next() {
        _ if has_one => label.to_owned(),
        Some(c) if "aeiouAEIOU".contains(c) => format!("an {label}"),
        _ => format!("a {label}"),
    }
}

/// One vector of unit length for each label. The mean over several templates is less moody than any one
/// of them (Radford et al. 2021, <https://arxiv.org/abs/2103.00020>, section 3.1.4).
///
/// # Errors
/// As [`EmbeddingModel::embed_texts`].
pub fn embed_labels(
    model: &dyn EmbeddingModel,
    labels: &[String],
    templates: &[String],
) -> Result<Vec<Vec<f32>>> {
    let sentences = labels.iter().flat_map(|label| templates.iter().map(|t| filled(t, label)));
    let rows = model.embed_texts(&sentences.collect::<Vec<_>>())?;
    Ok(match templates.len() {
        1 => rows,
        n => rows.chunks(n).map(mean).collect(),
    })
}

/// Vectors of media by pictures alone.
pub(crate) fn as_pictures<M: EmbeddingModel + ?Sized>(
    model: &M,
    media: &[Media],
) -> Result<Vec<Vec<f32>>> {
    let known = [Modality::Text, Modality::Image, Modality::Video];
    if let Some(got) = media.iter().map(Media::modality).find(|kind| !known.contains(kind)) {
        return Err(crate::Error::Modality { got, known: known.to_vec() });
    }
    let pictures: Vec<Picture> = media.iter().flat_map(Media::pictures).cloned().collect();
    let mut rows = model.embed_pictures(&pictures)?.into_iter();
    let own = |medium: &Media| {
        let frames: Vec<Vec<f32>> = rows.by_ref().take(medium.pictures().count()).collect();
        match medium {
            Media::Video(_) => mean(&frames),
            _ => frames.into_iter().next().unwrap_or_default(),
        }
    };
    Ok(media.iter().map(own).collect())
}

/// The mean of all positions of what was seen, of unit length.
pub(crate) fn pooled(seen: Option<Features>) -> Vec<f32> {
    let Some(Features(x)) = seen else { return Vec::new() };
    let width = x.dims()[2];
    let rows: Vec<Vec<f32>> = params::read(x).chunks(width).map(<[f32]>::to_vec).collect();
    mean(&rows)
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum: Vec<f32> = (0..width).map(|i| rows.iter().map(|row| row[i]).sum()).collect();
    // A sum of zero length stays zero instead of becoming NaN.
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    sum.iter().map(|x| x / length).collect()
}

/// Scores of two towers.
pub(crate) fn score(
    model: &dyn EmbeddingModel,
    comparison: impl Fn(Modality) -> Comparison,
    media: &[Media],
    texts: &[String],
) -> Result<Vec<Vec<Score>>> {
    let (vectors, texts) = (model.embed_media(media)?, model.embed_texts(texts)?);
    let row = |(medium, vector): (&Media, Vec<f32>)| {
        let scores = comparison(medium.modality()).scores(&[vector], &texts).concat();
        scores.into_iter().map(Score::from).collect()
    };
    Ok(media.iter().zip(vectors).map(row).collect())
}

/// The picture of each medium.
pub(crate) fn seen(media: &[Media]) -> Result<Vec<Picture>> {
    let picture = |medium: &Media| {
        let picture = medium.pictures().next().cloned();
        picture.ok_or_else(|| Error::NoSounds.into())
    };
    media.iter().map(picture).collect()
}

/// How well each label fits the medium, by two towers.
pub(crate) fn classify(
    model: &dyn EmbeddingModel,
    comparison: Comparison,
    medium: &Media,
    labels: &[String],
    template: Option<&str>,
) -> Result<Vec<Classified>> {
    let templates = template.map_or_else(|| model.templates(), |own| vec![own.to_owned()]);
    let labels = embed_labels(model, labels, &templates)?;
    let vector = model.embed_media(std::slice::from_ref(medium))?;
    let scores = comparison.scores(&vector, &labels).concat();
    let among = softmax(&scores.iter().map(|score| score.logit).collect::<Vec<_>>());
    let alone = comparison.bias.is_some();
    let both = among.into_iter().zip(&scores).map(|(probability, score)| Classified {
        probability,
        sigmoid: alone.then_some(score.probability),
    });
    Ok(both.collect())
}

impl EmbeddingModel for Towers {
    fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Ok(Towers::embed_pictures(self, pictures))
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(Towers::embed_texts(self, texts)?)
    }

    fn templates(&self) -> Vec<String> {
        self.templates.clone()
    }
}

impl ScoreModel for Towers {
    fn score(&self, media: &[Media], texts: &[String]) -> Result<Vec<Vec<Score>>> {
        score(self, |_| self.comparison, media, texts)
    }

    fn classify(
        &self,
        medium: &Media,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>> {
        classify(self, self.comparison, medium, labels, template)
    }
}

/// Pictures and texts, and other media beside them where there are encoders for these.
#[derive(Debug)]
pub struct Space {
    /// Pictures and texts.
    pub towers: Towers,
    /// Other media.
    pub bound: Option<Bound>,
}

impl Space {
    fn comparison(&self, modality: Modality) -> Comparison {
        let tower = self.bound.as_ref().and_then(|bound| bound.imagebind.tower(modality));
        tower.map_or(self.towers.comparison, BoundTower::comparison)
    }

    /// The vector of a medium that an encoder of its own reads: the mean of its pieces'.
    fn own(&self, medium: &Media) -> Result<Option<Vec<f32>>> {
        let Some(Bound { imagebind, processors, device }) = &self.bound else { return Ok(None) };
        let kind = medium.modality();
        let mut own = imagebind.towers.iter().zip(processors);
        let Some((tower, processor)) = own.find(|(_, one)| one.modality() == kind) else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        for piece in processor.pieces(medium)? {
            let input = processor.input([&piece], device)?;
            rows.extend(input.map(|input| params::read(tower.embed(input))));
        }
        Ok(Some(mean(&rows)))
    }
}

impl EmbeddingModel for Space {
    fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Ok(self.towers.embed_pictures(pictures))
    }

    fn embed_media(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        let own = media.iter().map(|medium| self.own(medium)).collect::<Result<Vec<_>>>()?;
        let others: Vec<Media> = media
            .iter()
            .zip(&own)
            .filter(|(_, own)| own.is_none())
            .map(|(medium, _)| medium.clone())
            .collect();
        let mut others = as_pictures(&self.towers, &others)?.into_iter();
        Ok(own.into_iter().filter_map(|own| own.or_else(|| others.next())).collect())
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        EmbeddingModel::embed_texts(&self.towers, texts)
    }

    fn templates(&self) -> Vec<String> {
        self.towers.templates.clone()
    }
}

impl ScoreModel for Space {
    fn score(&self, media: &[Media], texts: &[String]) -> Result<Vec<Vec<Score>>> {
        score(self, |modality| self.comparison(modality), media, texts)
    }

    fn classify(
        &self,
        medium: &Media,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>> {
        classify(self, self.comparison(medium.modality()), medium, labels, template)
    }
}

impl EmbeddingModel for Tower {
    fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Ok(Tower::embed_pictures(self, pictures)?)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(Tower::embed_texts(self, texts)?)
    }
}

impl EmbeddingModel for Dinov2 {
    fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Ok(Dinov2::embed_pictures(self, pictures))
    }

    fn embed_texts(&self, _: &[String]) -> Result<Vec<Vec<f32>>> {
        Err(Error::NoTexts { family: self.family }.into())
    }

    fn features(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        Ok(Dinov2::features(self, &seen(media)?))
    }
}

impl EmbeddingModel for SoundEncoder {
    fn embed_pictures(&self, _: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Err(Error::NoPictures { family: "an encoder of sounds" }.into())
    }

    fn embed_texts(&self, _: &[String]) -> Result<Vec<Vec<f32>>> {
        Err(Error::NoTexts { family: "an encoder of sounds" }.into())
    }

    fn features(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        let features = |medium: &Media| {
            let sound =
                medium.sound().ok_or(Error::NoPictures { family: "an encoder of sounds" })?;
            Ok(SoundEncoder::features(self, sound))
        };
        media.iter().map(features).collect()
    }
}

impl EmbeddingModel for SentenceEncoder {
    fn embed_pictures(&self, _: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Err(Error::NoPictures { family: "bert" }.into())
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(self.embed(texts)?)
    }
}

impl EmbeddingModel for Matcher {
    fn embed_pictures(&self, _: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Err(Error::ManyVectors { family: "blip-2" }.into())
    }

    fn embed_views(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        Ok(seen(media)?.iter().map(|picture| self.views(picture)).collect())
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(Matcher::embed_texts(self, texts)?)
    }
}

impl ScoreModel for Matcher {
    fn score(&self, media: &[Media], texts: &[String]) -> Result<Vec<Vec<Score>>> {
        let rows = self.compare(&seen(media)?, texts)?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(Score::from).collect()).collect())
    }

    fn matching(&self, picture: &Picture, texts: &[String]) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.belongs(picture, texts)?))
    }

    fn classify(
        &self,
        medium: &Media,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>> {
        let template = template.unwrap_or(TEMPLATES[0]);
        let texts: Vec<String> = labels.iter().map(|label| filled(template, label)).collect();
        let scores = self.score(std::slice::from_ref(medium), &texts)?.concat();
        let alone =
            |score: Score| Classified { probability: score.probability, sigmoid: score.matching };
        Ok(scores.into_iter().map(alone).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_get_their_articles() {
        let cases =
            [("red circle", "a red circle"), ("orange", "an orange"), ("the sun", "the sun")];
        for (label, expected) in cases {
            assert_eq!(with_article(label), expected);
        }
        assert_eq!(filled("this is {a}", " a cat "), "this is a cat");
        assert_eq!(filled("photo of {}.", "cat"), "photo of cat.");
    }

    #[test]
    fn means_have_unit_length() {
        assert_eq!(mean(&[vec![1.0, 0.0], vec![1.0, 0.0]]), [1.0, 0.0]);
        assert_eq!(mean(&[vec![1.0], vec![-1.0]]), [0.0]);
    }
}
