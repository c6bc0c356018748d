//! What can go wrong between bytes and pixels or token ids.

use serde::{Deserialize, Serialize};

use crate::Modality;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure says what was expected, what was found and where, and ends
/// with a hint. `origin` is the name the caller gave the input: a path, a URL,
/// the name of a request's part. Errors can be written and read, as those of a
/// [`MediaDecoder`](crate::MediaDecoder)'s children are.
#[derive(Debug, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file.
    #[error(
        "expected a picture at {origin}, got no such file\nhint: check the path; relative paths start at the working directory"
    )]
    Missing {
        /// Path as given.
        origin: String,
    },
    /// The file exists but is not a regular file, or reading it failed.
    #[error(
        "expected a readable file at {origin}, got: {reason}\nhint: check that it is a regular file and its permissions"
    )]
    Unreadable {
        /// Path as given.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// Zero bytes, or a picture without a pixel.
    #[error(
        "expected a picture in {origin}, got {got}\nhint: the file may not have been written or uploaded completely"
    )]
    Empty {
        /// Name of the input.
        origin: String,
        /// `0 bytes` or `0x5 pixels`.
        got: String,
    },
    /// The input ends before the picture does.
    #[error(
        "expected a complete {kind} picture in {origin}, got one that ends early after {bytes} bytes\nhint: copy or download it again"
    )]
    Truncated {
        /// Name of the input.
        origin: String,
        /// Format by content, for example `PNG`.
        kind: String,
        /// Length of the input.
        bytes: usize,
    },
    /// The content is something else, whatever the file's name says.
    #[error(
        "expected a PNG, JPEG, GIF, WebP or BMP picture in {origin}, got {found}\nhint: the content counts, not the extension; convert it to PNG or JPEG"
    )]
    NotAPicture {
        /// Name of the input.
        origin: String,
        /// What the content looks like.
        found: String,
    },
    /// The content is no video, whatever the file's name says.
    #[error(
        "expected a video in {origin} (MP4, MOV or Matroska with H.264, GIF, APNG, WebP), got {found}\nhint: the content counts, not the extension; with `ffmpeg` on the path, what it knows is read too"
    )]
    NotAVideo {
        /// Name of the input.
        origin: String,
        /// What the content looks like.
        found: String,
    },
    /// A text that is to be said has letters that the lexicon does not know.
    #[error(
        "expected a text in Latin letters, got {characters}\nhint: speech is in English alone; write names as they sound"
    )]
    UnknownScript {
        /// The letters, once each.
        characters: String,
    },
    /// A text that is to be said has no word in it.
    #[error("expected a text with a word in it, got {}\nhint: write what is to be said", if got.trim().is_empty() { "nothing".to_owned() } else { quote(got) })]
    NoWords {
        /// How the text begins.
        got: String,
    },
    /// A text that is to be written in phonemes, and no program that does it.
    #[error(
        "expected the program `espeak-ng` on the path, which writes texts in phonemes, got none\nhint: install it (apt-get install espeak-ng), or write the phonemes and pass --phonemes"
    )]
    NoEspeak,
    /// A text that the program for phonemes fails at.
    #[error(
        "expected phonemes of {text} by espeak-ng, got: {reason}\nhint: `espeak-ng --voices` lists its languages; or write the phonemes and pass --phonemes"
    )]
    Espeak {
        /// How the text begins.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A video that another codec has compressed.
    #[error(
        "expected a video compressed by H.264 in {origin}, got another codec's\nhint: with `ffmpeg` on the path it is read all the same"
    )]
    VideoCodec {
        /// Name of the input.
        origin: String,
    },
    /// A video is longer than one is read.
    #[error(
        "expected at most {limit} frames in {origin}, got {got} or more\nhint: cut the video into pieces, or drop frames, as with `ffmpeg -i FILE -r 5 video.mp4`"
    )]
    TooManyFrames {
        /// Name of the input.
        origin: String,
        /// Most frames.
        limit: usize,
        /// As many were found.
        got: usize,
    },
    /// The content is no table, whatever the file's name says.
    #[error(
        "expected a table in {origin} (CSV, TSV, JSON lines, Parquet, XLSX), got {found}\nhint: the content counts, not the extension; spreadsheets save CSV in UTF-8"
    )]
    NotATable {
        /// Name of the input.
        origin: String,
        /// What the content looks like.
        found: String,
    },
    /// A table that is not whole.
    #[error("expected {expected} in {place} of {origin}, got {got}\nhint: {hint}")]
    Table {
        /// Name of the input.
        origin: String,
        /// Row and column, where they are known.
        place: Box<str>,
        /// What stands there in a whole table.
        expected: Box<str>,
        /// What this one has.
        got: Box<str>,
        /// What can be done.
        hint: Box<str>,
    },
    /// A table of more than is read.
    #[error(
        "expected at most {limit} {what} in {origin}, got {got}\nhint: take the rows and columns that are needed, or split the table"
    )]
    TableTooLarge {
        /// Name of the input.
        origin: String,
        /// What is counted.
        what: String,
        /// The most that is read.
        limit: usize,
        /// What the input has, or as many as were counted.
        got: usize,
    },
    /// A picture that is known and not read here.
    #[error(
        "expected a PNG, JPEG, GIF, WebP or BMP picture in {origin}, got {what}, not supported\nhint: {hint}"
    )]
    Unsupported {
        /// Name of the input.
        origin: String,
        /// What it is.
        what: String,
        /// How to make one of it that can be read.
        hint: String,
    },
    /// A limit on file size, pixels or decoded bytes is exceeded.
    #[error(
        "expected at most {limit} {what} in {origin}, got {got}\nhint: scale the picture down before giving it"
    )]
    TooLarge {
        /// Name of the input.
        origin: String,
        /// The quantity: `bytes`, `pixels`, `decoded bytes`.
        what: String,
        /// Largest value allowed.
        limit: u64,
        /// What the input claims.
        got: u64,
    },
    /// The format is right and the data is not.
    #[error(
        "expected a valid {kind} picture in {origin}, got damaged data: {reason}\nhint: open and save it again with an image editor"
    )]
    Damaged {
        /// Name of the input.
        origin: String,
        /// Format by content.
        kind: String,
        /// What the decoder said.
        reason: String,
    },
    /// A buffer does not fit the size given for it.
    #[error(
        "expected {expected} bytes for {width}x{height} RGB pixels and both edges at least 1, got {got} bytes\nhint: pixels are row-major, three bytes each"
    )]
    Pixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `width * height * 3`.
        expected: u64,
        /// Length of the buffer.
        got: u64,
    },
    /// A tokenizer file is not one of ours, or is inconsistent.
    #[error(
        "expected {expected} in the tokenizer's {place}, got {got}\nhint: use the tokenizer.json, or the older files, that were published with the model's weights"
    )]
    Tokenizer {
        /// The file, or where in the JSON document.
        place: String,
        /// What a valid file holds there.
        expected: String,
        /// What this one holds.
        got: String,
    },
    /// A published image processor asks for what is not done here, or is damaged.
    #[error(
        "expected {expected} at {place} of the image processor's settings, got {got}\nhint: the preprocessor_config.json may be damaged, or of a model that is not supported"
    )]
    Processor {
        /// Key of the setting.
        place: String,
        /// What can be done.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// One edge of a picture is too long for the other.
    #[error(
        "expected a picture whose longer edge is at most {limit} times the shorter one, got {width}x{height} pixels\nhint: cut it, or put it on a wider ground"
    )]
    Ratio {
        /// Most that the ratio may be.
        limit: u32,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The vocabulary that a model's file carries is inconsistent, or of a kind not known here.
    #[error(
        "{field}: expected {expected}, got {got}\nhint: convert the model to GGUF again, or take a file of a model whose tokenizer is among those"
    )]
    Vocabulary {
        /// The metadata's key.
        field: String,
        /// What a file that can be read holds there.
        expected: String,
        /// What this one holds.
        got: String,
    },
    /// A chat template that cannot be read or run.
    #[error(
        "chat template{place}: expected {expected}, got {got}\nhint: take the chat_template.jinja published with the model, or leave the template out and write the prompt as text"
    )]
    Template {
        /// Where, as ` line 3`; empty for all of it.
        place: String,
        /// What a template that can be used does there.
        expected: String,
        /// What this one does.
        got: String,
    },
    /// The template itself refuses the conversation, in its own words.
    #[error(
        "the model's chat template refuses the conversation: {message}\nhint: change the messages as it says"
    )]
    Refused {
        /// The template's message.
        message: String,
    },
    /// A prompt does not hold the places that the media given with it take.
    #[error(
        "expected {expected} of the token {marker} in the prompt, got {got}\nhint: the chat template and the tokenizer must know it; they may be of another model"
    )]
    Slots {
        /// The token.
        marker: String,
        /// How many the media take.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A tokenizer could not be trained.
    #[error(
        "expected {expected} to train a tokenizer, got {got}\nhint: 4096 entries and a few megabytes of text are a good start"
    )]
    Training {
        /// What training needs.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// A file's name does not say as what a medium is to be written.
    #[error(
        "expected a name that ends in {known} for a file of {modality}, got {got} in {path}\nhint: the extension says what is written"
    )]
    Extension {
        /// Path as given.
        path: String,
        /// What is to be written.
        modality: Modality,
        /// Extensions of such files.
        known: String,
        /// The path's own.
        got: String,
    },
    /// A file cannot be written.
    #[error(
        "expected to write {path}, got: {reason}\nhint: check that its folder is there, may be written to and has room"
    )]
    Unwritable {
        /// Path as given.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// What compresses videos is not there.
    #[error(
        "expected the program `ffmpeg` on the path to write {path}, got none\nhint: install it, or write .gif or .apng, which need nothing else"
    )]
    NoFfmpeg {
        /// What is to be written.
        path: String,
    },
    /// A kind of files cannot hold a medium.
    #[error(
        "expected a medium that a .{kind} file can hold, got: {got}\nhint: take another kind of file"
    )]
    Encode {
        /// Extension of the kind.
        kind: String,
        /// What is in the way.
        got: String,
    },
    /// The process that was to decode it gave no answer.
    #[error(transparent)]
    Child(#[from] crate::media_decoder::ChildError),
    /// A sound cannot be decoded.
    #[error(transparent)]
    Sound(#[from] crate::sound::SoundError),
    /// The markers of a prompt and its media of one kind do not agree.
    #[error("prompt has {} but {} given\nhint: {}", count(*markers, &format!("<{modality}> marker")), given_of(*modality, *given), marker_hint(*modality, *markers, *given))]
    Markers {
        /// What they mark the places of.
        modality: Modality,
        /// Markers of theirs in the text, as `<image>`.
        markers: usize,
        /// Media given with it.
        given: usize,
    },
}

fn count(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

fn given_of(modality: Modality, n: usize) -> String {
    let verb = if n == 1 { "was" } else { "were" };
    format!("{} {verb}", count(n, &modality.to_string()))
}

fn marker_hint(modality: Modality, markers: usize, given: usize) -> String {
    match markers > given {
        true => format!("add one with --{modality}, or remove a marker"),
        false => format!("add a marker for each {modality}; `ask` without any puts them first"),
    }
}

/// Foreign text in an error: short and without control characters.
pub(crate) fn quote(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    format!("{head:?}")
}
