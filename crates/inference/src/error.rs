//! What can go wrong between a file, a prompt and an answer.

use sensorium_media::Modality;
use sensorium_model::whisper::WhisperError;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a running model: expected, got, and a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A GGUF file is damaged, foreign, or of a model that is not supported.
    #[error(transparent)]
    File(#[from] sensorium_checkpoint::Error),

    /// A checkpoint is damaged, foreign, or of a model that is not supported.
    #[error(transparent)]
    Pretrained(#[from] sensorium_pretrained::Error),

    /// The tokenizer or the chat template is inconsistent or not supported, or refuses what it is
    /// given.
    #[error(transparent)]
    Text(#[from] sensorium_media::Error),

    /// A speech model cannot do what is asked for.
    #[error(transparent)]
    Whisper(#[from] WhisperError),

    /// A model was asked for what it was not made for.
    #[error("expected a model that {expected}, got {family}, which {does}\nhint: {hint}")]
    Cannot {
        /// What was asked for, such as `answers`.
        expected: &'static str,
        /// The model's family.
        family: &'static str,
        /// What it does.
        does: &'static str,
        /// Which models or commands to take.
        hint: &'static str,
    },

    /// There is nothing to go on from.
    #[error(
        "expected a prompt of at least one token, got none\nhint: this model's texts have no opening token; write a word"
    )]
    Empty,

    /// The prompt is longer than the model can read.
    #[error(
        "expected a prompt of at most {limit} tokens, got {got}\nhint: shorten the prompt, or take a model with a longer context"
    )]
    TooLong {
        /// Tokens that fit beside one of the answer.
        limit: usize,
        /// Tokens of the prompt.
        got: usize,
    },

    /// A model that reads one picture in front of a text was given several.
    #[error(
        "expected one picture, got {got}\nhint: this model reads a picture in front of a text; ask about each alone"
    )]
    OnePicture {
        /// Pictures.
        got: usize,
    },

    /// A model that answers one question was to learn a longer conversation.
    #[error(
        "expected a question with its answer, got {got} messages\nhint: this model reads a prompt at once and knows no conversations; split them into single questions"
    )]
    OneAnswer {
        /// Messages.
        got: usize,
    },

    /// A model that reads no text without a picture was given none.
    #[error(
        "expected a picture before the text, got none\nhint: this model was only taught texts about pictures; add --image FILE"
    )]
    NoPicture,

    /// A model that reads texts alone was given pictures.
    #[error(
        "expected a model that sees pictures, got one that reads texts alone\nhint: leave the pictures out, or take a LLaVA, SmolVLM, Qwen2-VL, BLIP-2 or Idefics"
    )]
    Blind,

    /// A medium of a kind that the model does not read.
    #[error(
        "expected media that the model reads ({}), got one of the kind {got}\nhint: leave it out, or take a model that reads it",
        listed(known)
    )]
    Modality {
        /// Its kind.
        got: Modality,
        /// What the model reads.
        known: Vec<Modality>,
    },

    /// A medium of a kind that the model does not make.
    #[error(
        "expected media that the model makes ({}), got {wanted}\nhint: take a model with a generator of that kind: `sensorium train` with the recipe `flow` makes one",
        listed(known)
    )]
    Makes {
        /// What is wanted.
        wanted: Modality,
        /// What the model makes.
        known: Vec<Modality>,
    },

    /// A way to make media that is fixed by how a generator was trained.
    #[error(
        "expected no {what}, which this model's generator has of its own, got {got}\nhint: leave it out; published diffusion models can be told"
    )]
    Fixed {
        /// What was asked for.
        what: &'static str,
        /// As which.
        got: String,
    },

    /// A generator that draws of texts alone was given a picture.
    #[error(
        "expected a text alone, got a picture to be drawn anew\nhint: Stable Diffusion redraws pictures; a model that was trained by the recipe `gill` answers about one with another: `ask`"
    )]
    Redraws,

    /// The model computed no picture.
    #[error(
        "expected a finite picture, got NaN or infinity\nhint: the weights are damaged, or their values overflow; try --precision f32"
    )]
    NotFinitePicture,

    /// An id that the model has no row for.
    #[error(
        "expected token ids below {vocabulary}, got {got}\nhint: the tokenizer is not that of the model"
    )]
    NoToken {
        /// Rows of the token table.
        vocabulary: usize,
        /// The id.
        got: u32,
    },

    /// A voice that the model has not.
    #[error("expected a voice of {}, got {got}\nhint: --list-voices names them", known.join(", "))]
    Voice {
        /// What was asked for.
        got: String,
        /// The model's.
        known: Vec<String>,
    },

    /// A speed at which nobody speaks.
    #[error(
        "expected a speed of 0.25 to 4, got {got}\nhint: 1 is the voice's own, 2 twice as fast"
    )]
    Speed {
        /// What was asked for.
        got: f32,
    },

    /// Letters that a voice does not know.
    #[error(
        "expected letters that the voice knows, got {letters:?} in {text:?}\nhint: write it in the letters of the voice's own language, numbers in words, or take another voice"
    )]
    Letters {
        /// Each of them once.
        letters: String,
        /// Where they stand.
        text: String,
    },

    /// A text in phonemes for a voice that reads none, or writes its own.
    #[error(
        "expected a text in words, got one in phonemes\nhint: leave --phonemes out: this voice reads letters, or looks words up itself"
    )]
    Phonemes,

    /// A vector of a voice for a model that has voices of its own.
    #[error(
        "expected one of the model's own voices, got a vector of one\nhint: leave --speaker out; --list-voices names them"
    )]
    OwnVoices,

    /// No vector of a voice, or one of another model.
    #[error(
        "expected a voice of {expected} finite numbers, got {got}\nhint: pass --speaker FILE with an x-vector (.npy, or .json with a list), such as those of the data set Matthijs/cmu-arctic-xvectors; or put vectors by name into voices.safetensors beside the model"
    )]
    Speaker {
        /// How many.
        expected: usize,
        /// What there is.
        got: String,
    },

    /// A model that speaks at a speed of its own.
    #[error(
        "expected the voice's own speed, 1, got {got}\nhint: leave --speed out; this model speaks as fast as it was taught"
    )]
    OwnSpeed {
        /// What was asked for.
        got: f32,
    },

    /// Speech that did not end.
    #[error(
        "expected speech that comes to an end, got {seconds:.1} s of {text:?} without one\nhint: write shorter sentences, or try another --seed"
    )]
    NoEnd {
        /// How long it has become.
        seconds: f64,
        /// What was to be said.
        text: String,
    },

    /// A text for a model that speaks its own answers.
    #[error(
        "expected an answer of the model's own to speak, got a text\nhint: its voice reads what it thinks: `sensorium ask QUESTION --out answer.wav`"
    )]
    OwnAnswers,

    /// Nothing was said, or nothing of it became a sound.
    #[error(
        "expected codes of speech for {text:?}, got none\nhint: ask otherwise, or try another --seed"
    )]
    Silent {
        /// What was to be said.
        text: String,
    },

    /// A text in words for a voice that reads phonemes, which nothing here writes for it.
    #[error(
        "expected a text in the phonemes that the voice reads, got one in words\nhint: write it in phonemes, as Python's misaki does (g2p(text)), and pass --phonemes"
    )]
    NeedsPhonemes,

    /// A text in which nothing can be spoken.
    #[error(
        "expected a text with letters that the voice knows, got {text:?}\nhint: write at least one word"
    )]
    NoLetters {
        /// What there is.
        text: String,
    },

    /// The model computed no spectrogram.
    #[error(
        "expected a finite spectrogram, got NaN or infinity\nhint: the weights are damaged, or their values overflow; try --precision f32"
    )]
    NoSpectrogram,

    /// The model computed no numbers.
    #[error(
        "expected finite logits after token {tokens}, got NaN or infinity\nhint: the weights are damaged, or their values overflow; try another file of the model"
    )]
    NotFinite {
        /// Tokens read.
        tokens: usize,
    },

    /// A mistake of ours came to light while a text was worked on.
    #[error(
        "the work on this text broke down; others are not touched\nhint: this is a fault of the program, please report it"
    )]
    BrokeDown,

    /// A JSON schema that no text can be held to.
    #[error(
        "expected a JSON schema that an answer can follow, got: {reason}\nhint: an example is {{\"type\": \"object\", \"properties\": {{\"colour\": {{\"type\": \"string\"}}}}, \"required\": [\"colour\"]}}"
    )]
    Schema {
        /// What is wrong with it.
        reason: String,
    },

    /// A text was to follow a schema, and there was no room for all of it.
    #[error(
        "expected an answer that follows the schema within {room} tokens, got none that is whole by then\nhint: raise max_new_tokens ({max_new_tokens} here; --max-tokens), or limit what the schema allows, as with maxLength and maxItems"
    )]
    Unfinished {
        /// Tokens that there was room for.
        room: usize,
        /// Tokens that were asked for.
        max_new_tokens: usize,
    },

    /// The model computed no numbers for a stretch of sound.
    #[error(
        "expected finite logits at {seconds:.2} s, got NaN or infinity\nhint: the weights are damaged, or their values overflow; try --precision f32"
    )]
    NotFiniteAt {
        /// Where in the sound.
        seconds: f64,
    },
}

fn listed(modalities: &[Modality]) -> String {
    modalities.iter().map(Modality::to_string).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// Whether a conversation fills the model's context.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }
}
