//! The thread of a model that answers: it reads prompts and goes on with all texts together.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use sensorium_inference::{
    Batch, ChatModel, Continuation, GenerateOptions, Inputs, LanguageModel, Model, Reply, Step,
};
use sensorium_media::{Media, Message};
use tokio::sync::mpsc::UnboundedSender;

use super::Limits;
use super::fair::Fair;
use super::pieces::Pieces;
use crate::error::{ApiError, Result};

/// What is to be gone on with.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// A conversation and its media, in order.
    Chat(Arc<[Message]>, Arc<[Media]>),
    /// A text as it is.
    Text(String),
    /// Tokens as they are.
    Ids(Vec<u32>),
}

/// A text that is wanted.
pub(super) struct Job {
    /// Who wants it.
    pub client: String,
    pub prompt: Prompt,
    pub options: GenerateOptions,
    /// How many of the likeliest tokens are told beside each, if any are told.
    pub logprobs: Option<usize>,
    pub heard: UnboundedSender<Heard>,
}

/// What is told of a text.
pub(super) enum Heard {
    /// It has grown.
    Piece(String, Vec<TokenLogprob>),
    /// It is whole.
    Done(Box<Reply>),
    /// It will not be.
    Failed(ApiError),
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The likeliest in its place.
    pub top: Vec<(String, f64)>,
}

/// A text that grows.
struct Growing {
    job: Job,
    /// Of a prompt that was made ready here.
    inputs: Inputs,
    pieces: Pieces,
    /// Those whose text is not told yet.
    tokens: Vec<TokenLogprob>,
}

/// The way to a model's thread, which ends when it is dropped.
pub(super) type Jobs = Sender<Job>;

/// Texts that are read one after another: more in a row would make those wait that grow.
const READ_AT_ONCE: usize = 1;

/// Starts the thread of a model that answers.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start(
    model: Arc<Model>,
    limits: Limits,
    said: Arc<AtomicU64>,
) -> std::io::Result<Jobs> {
    let (jobs, waiting) = channel();
    let thread = std::thread::Builder::new().name("answers".into()).stack_size(8 << 20);
    thread.spawn(move || work(&model, limits, &waiting, &said))?;
    Ok(jobs)
}

fn work(model: &Model, limits: Limits, jobs: &Receiver<Job>, said: &AtomicU64) {
    let Ok(chat) = model.chat() else { return };
    let mut waiting = Fair::default();
    loop {
        let mut batch = Answering::new(chat, model.language().ok(), limits.cache, said);
        // A batch that has broken down is made anew.
        let ended =
            catch_unwind(AssertUnwindSafe(|| batch.run(limits.running, jobs, &mut waiting)));
        match ended {
            Ok(()) => return,
            Err(_) => batch.fail(&ApiError::internal("a step of the model broke down")),
        }
    }
}

/// Texts that one model goes on with.
struct Answering<'m> {
    chat: &'m dyn ChatModel,
    language: Option<&'m LanguageModel>,
    batch: Option<Batch<'m>>,
    /// Tokens of all texts.
    said: &'m AtomicU64,
    growing: HashMap<usize, Growing>,
}

impl<'m> Answering<'m> {
    fn new(
        chat: &'m dyn ChatModel,
        language: Option<&'m LanguageModel>,
        cache: usize,
        said: &'m AtomicU64,
    ) -> Self {
        let batch = language.map(|language| Batch::remembering(language, cache));
        Self { chat, language, batch, said, growing: HashMap::new() }
    }

    /// Goes on until nobody can ask any more.
    fn run(&mut self, running: usize, jobs: &Receiver<Job>, waiting: &mut Fair<Job>) {
        loop {
            if self.growing.is_empty() && waiting.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                waiting.push(&job.client.clone(), job);
            }
            jobs.try_iter().for_each(|job| waiting.push(&job.client.clone(), job));
            for _ in 0..READ_AT_ONCE {
                if self.growing.len() < running
                    && let Some(job) = waiting.pop()
                {
                    self.begin(job);
                }
            }
            self.step();
        }
    }

    /// Reads a prompt; of a model that answers one at a time, says all of its answer.
    fn begin(&mut self, job: Job) {
        if job.heard.is_closed() {
            return;
        }
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&job)));
        let read = read.unwrap_or_else(|_| Err(ApiError::internal("a prompt broke the model")));
        match read {
            Ok(Some((key, inputs))) => {
                let growing =
                    Growing { job, inputs, pieces: Pieces::default(), tokens: Vec::new() };
                self.growing.insert(key, growing);
            }
            Ok(None) => {}
            Err(error) => drop(job.heard.send(Heard::Failed(error))),
        }
    }

    /// The key of a text in the batch; nothing where all is said.
    fn read(&mut self, job: &Job) -> Result<Option<(usize, Inputs)>> {
        let inputs = match (&job.prompt, self.language) {
            (Prompt::Chat(messages, media), _) => {
                self.tells_apart(messages)?;
                match self.chat.prepare(messages, media, &job.options)? {
                    Some(inputs) => inputs,
                    None => return self.alone(job, messages, media).map(|()| None),
                }
            }
            (Prompt::Text(text), Some(language)) => {
                language.inputs(language.prompt(text)?, &job.options)?
            }
            (Prompt::Ids(ids), Some(language)) => language.inputs(ids.clone(), &job.options)?,
            (Prompt::Text(_) | Prompt::Ids(_), None) => {
                let message =
                    "expected a model that continues texts, got one that answers messages alone";
                return Err(ApiError::invalid("model", message));
            }
        };
        let Some(batch) = &mut self.batch else { return Err(ApiError::internal("no batch")) };
        Ok(Some((batch.join_inputs(&inputs)?, inputs)))
    }

    /// That no message of a conversation would be left out.
    fn tells_apart(&self, messages: &[Message]) -> Result<()> {
        if messages.len() < 2 || self.chat.has_template()? {
            return Ok(());
        }
        let message = format!(
            "expected one message, for the model has no chat template that tells several apart, got {}",
            messages.len()
        );
        Err(ApiError::invalid("messages", message))
    }

    /// Answers one conversation, while all others wait.
    fn alone(&self, job: &Job, messages: &[Message], media: &[Media]) -> Result<()> {
        let (mut pieces, mut tokens) = (Pieces::default(), Vec::new());
        let reply = self.chat.answer(messages, media, &job.options, &mut |step| {
            tell(job, &mut pieces, &mut tokens, step, self.chat)
        })?;
        finish(job, &mut pieces, tokens, reply);
        Ok(())
    }

    fn step(&mut self) {
        let (chat, growing) = (self.chat, &mut self.growing);
        let Some(batch) = &mut self.batch else { return };
        self.said.fetch_add(growing.len() as u64, Ordering::Relaxed);
        let finished = batch.step(&mut |key, step| match growing.get_mut(&key) {
            Some(Growing { job, pieces, tokens, .. }) => tell(job, pieces, tokens, step, chat),
            None => ControlFlow::Break(()),
        });
        for (key, said) in finished {
            if let Some(growing) = self.growing.remove(&key) {
                self.end(growing, said);
            }
        }
    }

    fn end(&self, growing: Growing, said: sensorium_inference::Result<Continuation>) {
        let Growing { job, inputs, mut pieces, tokens } = growing;
        match said {
            Ok(said) => {
                let wanted = self.chat.wanted(&inputs, &said);
                let thoughts = self.chat.thoughts(&inputs, &said);
                let reply = Reply { thoughts, ..inputs.reply(said, wanted) };
                finish(&job, &mut pieces, tokens, reply);
            }
            Err(error) => drop(job.heard.send(Heard::Failed(error.into()))),
        }
    }

    /// Tells all whose texts were growing that they will not grow any more.
    fn fail(&mut self, error: &ApiError) {
        for (_, growing) in self.growing.drain() {
            // Whoever has gone needs not be told.
            let _ = growing.job.heard.send(Heard::Failed(error.clone()));
        }
    }
}

/// Tells of a token; breaks off when nobody listens.
fn tell(
    job: &Job,
    pieces: &mut Pieces,
    tokens: &mut Vec<TokenLogprob>,
    step: Step<'_>,
    chat: &dyn ChatModel,
) -> ControlFlow<()> {
    tokens.extend(job.logprobs.map(|top| logprob(step, top, chat)));
    let piece = pieces.grown(trimmed(job, step.text), &job.options.stop);
    let is_heard = match piece {
        "" => !job.heard.is_closed(),
        piece => job.heard.send(Heard::Piece(piece.to_owned(), std::mem::take(tokens))).is_ok(),
    };
    if is_heard { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Tells what is left of a text that has ended.
fn finish(job: &Job, pieces: &mut Pieces, tokens: Vec<TokenLogprob>, reply: Reply) {
    let text = trimmed(job, &reply.continuation.text);
    let rest = pieces.rest(if job.is_raw() { text } else { text.trim_end() });
    // Whoever has gone needs not be told.
    if !rest.is_empty() || !tokens.is_empty() {
        let _ = job.heard.send(Heard::Piece(rest.to_owned(), tokens));
    }
    let _ = job.heard.send(Heard::Done(Box::new(reply)));
}

/// An answer begins with a word.
fn trimmed<'t>(job: &Job, text: &'t str) -> &'t str {
    if job.is_raw() { text } else { text.trim_start() }
}

impl Job {
    /// Whether the text goes on where another has ended.
    fn is_raw(&self) -> bool {
        !matches!(self.prompt, Prompt::Chat(..))
    }
}

fn logprob(step: Step<'_>, top: usize, chat: &dyn ChatModel) -> TokenLogprob {
    let logprob = step.log_probability();
    let mut ids: Vec<u32> = (0..step.logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| step.logits[*b as usize].total_cmp(&step.logits[*a as usize]);
    let top = top.min(ids.len());
    if top < ids.len() {
        ids.select_nth_unstable_by(top, by_logit);
        ids.truncate(top);
    }
    ids.sort_by(by_logit);
    let top = ids.iter().map(|&id| (chat.token(id), logprob(id))).collect();
    TokenLogprob { token: chat.token(step.id), logprob: logprob(step.id), top }
}

#[cfg(test)]
mod tests {
    use sensorium_inference::{Finish, OnStep};
    use sensorium_media::{Modality, Role};

    use super::*;

    /// Says what it is told, and breaks down where it is told to.
    struct Parrot;

    impl ChatModel for Parrot {
        fn modalities(&self) -> &[Modality] {
            &[Modality::Text]
        }

        fn has_template(&self) -> sensorium_inference::Result<bool> {
            Ok(true)
        }

        fn answer(
            &self,
            messages: &[Message],
            _: &[Media],
            _: &GenerateOptions,
            _: OnStep<'_>,
        ) -> sensorium_inference::Result<Reply> {
            let text = messages.last().map(Message::words).unwrap_or_default();
            assert_ne!(text, "break", "told to break down");
            let continuation = Continuation {
                text,
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
            let (prompt, slots, distances) = Default::default();
            Ok(Reply {
                prompt,
                slots,
                distances,
                process: 0.0,
                encode: 0.0,
                continuation,
                wanted: None,
                thoughts: None,
            })
        }

        fn complete(
            &self,
            _: &str,
            _: bool,
            _: &[Media],
            _: &GenerateOptions,
            _: OnStep<'_>,
        ) -> sensorium_inference::Result<Reply> {
            unreachable!("messages alone are sent")
        }

        fn token(&self, _: u32) -> String {
            String::new()
        }
    }

    #[test]
    fn a_prompt_that_breaks_the_model_fails_alone() {
        let (said, (jobs, waiting)) = (AtomicU64::new(0), channel());
        let asked: Vec<_> = (0..300)
            .map(|i| {
                let text = if i % 3 == 1 { "break".to_owned() } else { format!("text {i}") };
                let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
                let messages = vec![Message::text(Role::User, text.clone())];
                let prompt = Prompt::Chat(messages.into(), Vec::new().into());
                let (client, options) = (format!("client {}", i % 7), GenerateOptions::default());
                let job = Job { client, prompt, options, logprobs: None, heard };
                jobs.send(job).expect("it listens");
                (text, hears)
            })
            .collect();
        drop(jobs);
        let mut answering = Answering::new(&Parrot, None, 0, &said);
        answering.run(16, &waiting, &mut Fair::default());
        for (text, mut hears) in asked {
            match (hears.try_recv(), &*text) {
                (Ok(Heard::Failed(error)), "break") => assert_eq!(error.code, "internal"),
                (Ok(Heard::Piece(piece, _)), text) => assert_eq!(piece, text),
                _ => panic!("{text}: neither said nor failed"),
            }
        }
        assert!(answering.growing.is_empty());
    }
}
