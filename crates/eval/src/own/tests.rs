//! Every task with models whose figures are known beforehand, on the samples of `data`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sensorium_inference::{
    ChatModel, Classified, Continuation, EmbeddingModel, FewShot, Finish, GenerateOptions, OnStep,
    Reply, Score, ScoreModel,
};
use sensorium_media::{Media, Message, Modality, Picture, Role};

use super::*;
use crate::compare::compare;

/// Tells red from all else, in pictures and in texts; `blind` sees no difference.
struct Colours {
    blind: bool,
}

impl EmbeddingModel for Colours {
    fn embed_pictures(&self, pictures: &[Picture]) -> sensorium_inference::Result<Vec<Vec<f32>>> {
        let middle = |p: &Picture| (p.height / 2 * p.width + p.width / 2) as usize * 3;
        let is_red = |p: &Picture| p.pixels[middle(p)] > p.pixels[middle(p) + 2];
        Ok(pictures.iter().map(|p| vector(is_red(p) || self.blind)).collect())
    }

    fn embed_texts(&self, texts: &[String]) -> sensorium_inference::Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| vector(text.contains("red") || self.blind)).collect())
    }
}

/// A closer look sees even when the vectors do not.
impl ScoreModel for Colours {
    fn score(&self, _: &[Media], _: &[String]) -> sensorium_inference::Result<Vec<Vec<Score>>> {
        Ok(Vec::new())
    }

    fn classify(
        &self,
        _: &Media,
        _: &[String],
        _: Option<&str>,
    ) -> sensorium_inference::Result<Vec<Classified>> {
        Ok(Vec::new())
    }

    fn matching(
        &self,
        picture: &Picture,
        texts: &[String],
    ) -> sensorium_inference::Result<Option<Vec<f32>>> {
        let seeing = Self { blind: false };
        let picture = seeing.embed_pictures(std::slice::from_ref(picture))?.concat();
        let fits = |text: Vec<f32>| if text == picture { 5.0 } else { -5.0 };
        Ok(Some(seeing.embed_texts(texts)?.into_iter().map(fits).collect()))
    }
}

fn vector(red: bool) -> Vec<f32> {
    if red { vec![1.0, 0.0] } else { vec![0.0, 1.0] }
}

/// Always says the same.
struct Parrot(&'static str);

impl ChatModel for Parrot {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Image]
    }

    fn has_template(&self) -> sensorium_inference::Result<bool> {
        Ok(true)
    }

    fn answer(
        &self,
        _: &[Message],
        _: &[Media],
        _: &GenerateOptions,
        _: OnStep<'_>,
    ) -> sensorium_inference::Result<Reply> {
        Ok(reply(self.0))
    }

    fn complete(
        &self,
        _: &str,
        _: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> sensorium_inference::Result<Reply> {
        self.answer(&[], media, options, on_step)
    }

    fn token(&self, _: u32) -> String {
        String::new()
    }
}

fn reply(text: &str) -> Reply {
    let continuation = Continuation {
        text: text.to_owned(),
        ids: Vec::new(),
        prompt_tokens: 0,
        cached_tokens: 0,
        first_logits: Vec::new(),
        finish: Finish::Stop,
        eos: None,
        prefill: 0.0,
        steps: 0,
        decode: 0.0,
    };
    Reply {
        prompt: Vec::new(),
        slots: Vec::new(),
        distances: Vec::new(),
        process: 0.0,
        encode: 0.0,
        continuation,
        wanted: None,
        thoughts: None,
    }
}

/// Says of a picture what was said of the last one of its colour; of none, how many exemplars there were.
struct Copycat;

impl ChatModel for Copycat {
    fn modalities(&self) -> &[Modality] {
        &[Modality::Image]
    }

    fn has_template(&self) -> sensorium_inference::Result<bool> {
        Ok(true)
    }

    fn answer(
        &self,
        messages: &[Message],
        media: &[Media],
        options: &GenerateOptions,
        _: OnStep<'_>,
    ) -> sensorium_inference::Result<Reply> {
        assert_eq!(options.stop, ["\n"]);
        let said: Vec<String> = messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
            .map(Message::words)
            .collect();
        let looks: Vec<_> = media.iter().flat_map(Media::pictures).map(|p| self.look(p)).collect();
        let (last, before) = looks.split_last().expect("the picture that is asked about");
        let alike = before.iter().rposition(|look| look == last);
        Ok(reply(&alike.map_or(said.len().to_string(), |at| said[at].clone())))
    }

    fn complete(
        &self,
        _: &str,
        _: bool,
        media: &[Media],
        options: &GenerateOptions,
        on_step: OnStep<'_>,
    ) -> sensorium_inference::Result<Reply> {
        self.answer(&[], media, options, on_step)
    }

    fn token(&self, _: u32) -> String {
        String::new()
    }
}

impl FewShot for Copycat {
    fn caption_request(&self) -> &'static str {
        ""
    }

    fn look(&self, picture: &Picture) -> Vec<f32> {
        Colours { blind: false }
            .embed_pictures(std::slice::from_ref(picture))
            .expect("colours")
            .concat()
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/samples").join(name)
}

/// What decodes samples.
static HERE: LazyLock<MediaDecoder> = LazyLock::new(MediaDecoder::here);

/// How a sample is measured.
fn own(config: &DatasetConfig) -> Own<'_> {
    Own {
        config,
        split: Split::HeldOut,
        decoder: &HERE,
        model: "a model",
        limit: None,
        max_bad: 0.05,
        prompts: &[],
        max_tokens: None,
        choices: &[],
        shots: None,
        labels: &[],
        rerank: 2,
        context: 0,
        sampler: sensorium_inference::SamplerOptions::default(),
        best_of: 1,
        speech: TranscribeOptions::default(),
        seed: 0,
        progress: &|_, _| (),
    }
}

/// The report of a task on a sample.
fn report(
    task: Task,
    config: &DatasetConfig,
    measure: impl Fn(&mut Set<'_>, &Own<'_>) -> Result<Measured>,
) -> OwnReport {
    let own = own(config);
    let one_a_picture = matches!(task, Task::Retrieval | Task::Caption);
    let mut set = Set::open(&own, one_a_picture).unwrap();
    let measured = measure(&mut set, &own).unwrap();
    report::report(task, set, measured, &own)
}

fn folder(name: &str) -> DatasetConfig {
    DatasetConfig::Folder {
        path: sample(name),
        frames: None,
        request: None,
        licence: None,
        share: 1.0,
    }
}

fn values(report: &OwnReport) -> Vec<f64> {
    report.metrics.iter().zip(&report.report.figures).map(|(_, figure)| figure.value).collect()
}

#[test]
fn who_sees_names_and_finds_and_who_does_not_is_last() {
    let classes = folder("folder-classes");
    let (path, images) = (sample("captions-lavis/karpathy_train.json"), None);
    let captions = DatasetConfig::Captions { path, images, licence: None, share: 1.0 };
    for (blind, named, ranks) in [(false, 1.0, [0.0, 0.0]), (true, 0.0, [2.0, 1.0])] {
        let model = Colours { blind };
        let found =
            report(Task::ZeroShot, &classes, |set, own| zero_shot::measure(&model, set, own));
        assert_eq!(values(&found), [named, named]);
        let found = report(Task::Retrieval, &captions, |set, own| {
            retrieval::measure(&model, None, set, own)
        });
        let recall = f64::from(u8::from(!blind));
        // Two captions are the blue picture's: the first of another's is behind both, or one.
        assert_eq!(
            (found.report.figures[0].value, found.report.figures[4].value),
            (recall, recall)
        );
        assert_eq!(found.examples[0].numbers["captions"], [ranks[0]]);
        assert_eq!(found.examples[1].numbers["pictures"], [ranks[1]; 2]);
        let again = report(Task::Retrieval, &captions, |set, own| {
            retrieval::measure(&model, Some(&model), set, own)
        });
        assert_eq!(again.report.figures[..8], found.report.figures);
        assert_eq!(again.examples[1].numbers["pictures again"], [0.0; 2]);
    }
}

#[test]
fn captions_and_answers_are_scored() {
    let data = folder("folder-csv");
    let of =
        |said| report(Task::Caption, &data, |set, own| caption::measure(&Parrot(said), set, own));
    let (right, wrong) = (of("A blue square."), of("unknown"));
    let blue = right.examples.iter().find(|e| e.id.contains("blue")).unwrap();
    assert!(blue.worth > 7.0, "three of four lengths of n-grams, all of them: {}", blue.worth);
    assert_eq!(values(&wrong)[0], 0.0);
    // The prior says one of the two captions, too.
    assert_eq!(right.report.figures[0].prior, Some(right.report.figures[0].value));
    let told = compare(&wrong, &right, 0).unwrap();
    assert!(told.differences[0].difference > 0.0 && told.differences[0].p > 0.05, "{told}");

    let (path, answers) = (sample("vqa/questions.json"), sample("vqa/annotations.json"));
    let image = "COCO_{:06}.png".to_owned();
    let vqa = DatasetConfig::Vqa { path, answers, images: None, image, licence: None, share: 1.0 };
    let found = report(Task::Vqa, &vqa, |set, own| vqa::measure(&Parrot("Four."), None, set, own));
    assert_eq!((values(&found)[0], found.metrics[0].prior), (0.5, Some(1.0)));
    let error = compare(&found, &right, 0).unwrap_err().to_string();
    assert!(error.contains("same task"), "{error}");
}

/// The captions said of the red picture and of the blue one after so many exemplars.
fn said_after(exemplars: &str, choose: Choose, counts: &[usize]) -> Result<Vec<(String, String)>> {
    let (data, exemplars) = (folder("folder-csv"), folder(exemplars));
    let own = own(&data);
    let mut set = Set::open(&own, true).unwrap();
    let shots = Shots { counts, exemplars: &exemplars, choose };
    let measured = shots::measure(Task::Caption, &Copycat, &mut set, &own, &shots)?;
    let report = report::report(Task::Caption, set, measured, &own);
    Ok(report.examples.into_iter().map(|scored| (scored.id, scored.got)).collect())
}

#[test]
fn exemplars_are_shown_as_they_are_chosen() {
    let (red, blue) = ("a red square", "a blue square");
    for (choose, count, said) in [
        (Choose::Random, 2, [red, blue]),
        // The nearest picture is the last that is shown.
        (Choose::Rices, 1, [red, blue]),
        (Choose::Shuffled, 2, [blue, red]),
        // Two, without their pictures.
        (Choose::Random, 0, ["2", "2"]),
        (Choose::Rices, 0, ["2", "2"]),
    ] {
        let found = said_after("folder-jsonl", choose, &[count]).unwrap();
        let got: Vec<&str> = found.iter().map(|(_, got)| got.as_str()).collect();
        assert_eq!(got, said, "{choose:?}, {count} shots");
    }
    // A picture is never its own exemplar.
    let found = said_after("folder-csv", Choose::Rices, &[1]).unwrap();
    assert!(found.iter().all(|(_, got)| got == "1"), "{found:?}");
    let error = said_after("folder-csv", Choose::Random, &[2]).unwrap_err().to_string();
    assert!(error.contains("expected 2 exemplars") && error.contains("got 1"), "{error}");
}

#[test]
fn each_number_of_shots_has_its_figures() {
    let found = said_after("folder-jsonl", Choose::Random, &[0, 2]).unwrap();
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids[0].ends_with(", 0-shot") && ids[3].ends_with(", 2-shot"), "{ids:?}");

    let (path, answers) = (sample("vqa/questions.json"), sample("vqa/annotations.json"));
    let image = "COCO_{:06}.png".to_owned();
    let vqa = DatasetConfig::Vqa { path, answers, images: None, image, licence: None, share: 1.0 };
    let own = own(&vqa);
    let mut set = Set::open(&own, false).unwrap();
    let (path, images) = (sample("llava-json/conversations.json"), None);
    let exemplars = DatasetConfig::LlavaJson { path, images, licence: None, share: 1.0 };
    let shots = Shots { counts: &[0, 1], exemplars: &exemplars, choose: Choose::Random };
    let measured = shots::measure(Task::Vqa, &Copycat, &mut set, &own, &shots).unwrap();
    let report = report::report(Task::Vqa, set, measured, &own);
    let figures = report.report.figures.iter();
    let (n, tasks): (Vec<_>, Vec<_>) =
        figures.map(|figure| (figure.n, figure.task.as_str())).unzip();
    assert_eq!(tasks[..2], ["all questions, 0-shot", "all questions, 1-shot"]);
    assert_eq!(n[0], n[1]);
    assert!(tasks.contains(&"answer: number, 1-shot"), "{tasks:?}");
    // Only what is asked in words has exemplars.
    let mut set = Set::open(&own, false).unwrap();
    let error = shots::measure(Task::Grounding, &Copycat, &mut set, &own, &shots).map(|_| ());
    assert!(error.unwrap_err().to_string().contains("caption or vqa"));
}
