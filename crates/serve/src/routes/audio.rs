//! `/v1/audio/speech`, `/v1/audio/transcriptions` and `/v1/audio/translations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response, sse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use sensorium_inference::speech::{SPEEDS, SpeakOptions};
use sensorium_inference::whisper::{
    Fallback, Segment, Task, TranscribeOptions, Transcript, subtitles,
};
use sensorium_media::Modality;
use serde_json::{Value, json};

use super::chat::{data, events};
use crate::app::{Admitted, App};
use crate::error::{ApiError, Result, of_media};
use crate::fields::Fields;
use crate::form;
use crate::parts::Upload;

/// Names of OpenAI's voices: whoever asks for one gets the model's own, in this order.
const VOICES: [&str; 13] = [
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
];

/// The voice that a request names, none where OpenAI's is meant: a text, or an object with an `id`.
pub(super) fn voice(fields: &mut Fields) -> Result<Option<String>> {
    let voice: Option<Value> = fields.take("voice")?;
    Ok(match voice {
        Some(Value::String(name)) => Some(name),
        Some(Value::Object(map)) => map.get("id").and_then(Value::as_str).map(str::to_owned),
        Some(_) => return Err(ApiError::invalid(fields.param("voice"), "expected a voice's name")),
        None => None,
    })
}

/// The model's voice for a name: OpenAI's names take turns over them.
pub(super) fn mapped(name: Option<String>, voices: &[String]) -> Option<String> {
    let name = name?;
    let known = VOICES.iter().position(|voice| *voice == name);
    match known.filter(|_| !voices.contains(&name) && !voices.is_empty()) {
        Some(i) => Some(voices[i % voices.len()].clone()),
        None => Some(name),
    }
}

/// Most letters of a text that is spoken, as OpenAI has it.
const LETTERS: usize = 4096;

/// Speaks.
pub async fn speech(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let text: String = fields.need("input")?;
    let voice = voice(&mut fields)?;
    let [least, most] = SPEEDS.map(f64::from);
    let speed = fields.number("speed", least..=most)?.unwrap_or(1.0) as f32;
    let format: String = fields.take("response_format")?.unwrap_or_else(|| "wav".to_owned());
    let streamed: Option<String> = fields.take("stream_format")?;
    if text.chars().count() > LETTERS {
        let message = format!("expected at most {LETTERS} letters, got {}", text.chars().count());
        return Err(ApiError::invalid("input", message));
    }
    if !["wav", "pcm"].contains(&&*format) {
        let message = format!("expected wav or pcm, which are written here, got {format:?}");
        return Err(ApiError::invalid("response_format", message));
    }
    let model = app.engine.models.able(name.as_deref(), "speak").await?;
    let voice = mapped(voice, &model.info.voices);
    let options = SpeakOptions { voice, speed, ..SpeakOptions::default() };
    let speech = app.engine.speak(&model, text, options).await?;
    let bytes = match &*format {
        "pcm" => samples(&speech.wav).to_vec(),
        _ => speech.wav,
    };
    let response = match streamed.as_deref() {
        Some("sse") => {
            let piece = json!({"type": "speech.audio.delta", "audio": STANDARD.encode(bytes)});
            events(stream::iter([data(&piece), data(&json!({"type": "speech.audio.done"}))]))
        }
        None | Some("audio") => {
            let mime = if format == "pcm" { "audio/pcm" } else { "audio/wav" };
            ([(header::CONTENT_TYPE, mime)], bytes).into_response()
        }
        Some(other) => {
            let message = format!("expected audio or sse, got {other:?}");
            return Err(ApiError::invalid("stream_format", message));
        }
    };
    Ok(fields.heeded(response))
}

/// The samples of a WAV file that was written here: what stands in its chunk `data`.
fn samples(wav: &[u8]) -> &[u8] {
    let at = wav.windows(4).position(|word| word == b"data").map_or(wav.len(), |at| at + 8);
    let size = wav.get(at.wrapping_sub(4)..at).and_then(|size| size.try_into().ok());
    let size = size.map_or(0, u32::from_le_bytes) as usize;
    wav.get(at..at + size).unwrap_or_default()
}

/// Writes down what was said.
pub async fn transcriptions(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    transcribed(&app, admitted, Task::Transcribe).await
}

/// Writes down in English what was said.
pub async fn translations(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    transcribed(&app, admitted, Task::Translate).await
}

async fn transcribed(app: &App, admitted: Admitted, task: Task) -> Result<Response> {
    let (mut fields, files) = form::read(&admitted).await?;
    let file = files.into_iter().find(|file| file.name == "file");
    let file = file.ok_or_else(|| ApiError::missing("file"))?;
    let upload = Upload::new(file.bytes, Modality::Audio, "file");
    let name: Option<String> = fields.take("model")?;
    let language: Option<String> = fields.take("language")?;
    let prompt: Option<String> = fields.take("prompt")?;
    let format: String = fields.take("response_format")?.unwrap_or_else(|| "json".to_owned());
    let known = ["json", "text", "srt", "vtt", "verbose_json"];
    if !known.contains(&&*format) {
        let message = format!("expected one of {}, got {format:?}", known.join(", "));
        return Err(ApiError::invalid("response_format", message));
    }
    let temperature = fields.number("temperature", 0.0..=1.0)?.unwrap_or(0.0) as f32;
    let grains: Vec<String> = fields.take("timestamp_granularities")?.unwrap_or_default();
    let streamed: bool = fields.take("stream")?.unwrap_or(false);
    let options = TranscribeOptions {
        language,
        task,
        timestamps: format != "text" && format != "json",
        fallback: Fallback { temperature, ..Fallback::default() },
        initial_prompt: prompt,
        ..usual()
    };
    let heard = heard(app, name.as_deref(), upload, options).await?;
    let response = match streamed {
        true => told(&heard),
        false => written(&heard, &format, &grains),
    };
    Ok(fields.heeded(response))
}

/// How a sound is written down where nothing is said of it.
pub(super) fn usual() -> TranscribeOptions {
    TranscribeOptions {
        language: None,
        task: Task::Transcribe,
        timestamps: false,
        fallback: Fallback::default(),
        condition_on_previous_text: true,
        initial_prompt: None,
        seed: 0,
    }
}

/// What is said in a file.
///
/// # Errors
/// No model hears; the file is no sound.
pub(super) async fn heard(
    app: &App,
    name: Option<&str>,
    upload: Upload,
    options: TranscribeOptions,
) -> Result<Transcript> {
    let model = app.engine.models.able(name, "transcribe").await?;
    let reader = app.engine.reader.clone();
    app.engine
        .run(&model, move |model| {
            let speech = model.speech()?;
            let mut wrong = None;
            let heard = upload.with_file(&reader, |path| {
                let heard = speech.transcribe(path, &reader.decoder, &options, &mut |_, _| ());
                Ok(heard.inspect_err(|_| wrong = Some(path.display().to_string())))
            })?;
            heard.map_err(|error| match error {
                sensorium_inference::Error::Text(error) => {
                    of_media(&error, &wrong.unwrap_or_default(), &upload.param)
                }
                error => error.into(),
            })
        })
        .await
}

fn written(heard: &Transcript, format: &str, grains: &[String]) -> Response {
    let text = |body: String| {
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
    };
    match format {
        "text" => text(format!("{}\n", heard.text)),
        "srt" => text(subtitles::srt(cues(heard))),
        "vtt" => text(subtitles::vtt(cues(heard))),
        "verbose_json" => Json(verbose(heard, grains)).into_response(),
        _ => Json(json!({"text": heard.text})).into_response(),
    }
}

fn cues(heard: &Transcript) -> impl Iterator<Item = subtitles::Cue<'_>> {
    heard.segments.iter().map(|segment| (segment.start, segment.end, &*segment.text))
}

fn verbose(heard: &Transcript, grains: &[String]) -> Value {
    let mut body = json!({
        "task": "transcribe", "language": heard.language, "duration": heard.duration, "text": heard.text
    });
    if grains.is_empty() || grains.iter().any(|grain| grain == "segment") {
        body["segments"] = heard.segments.iter().enumerate().map(segment).collect();
    }
    if grains.iter().any(|grain| grain == "word") {
        let words = heard.segments.iter().flat_map(|segment| &segment.words);
        let word = |word: &sensorium_inference::whisper::Word| json!({"word": word.text, "start": word.start, "end": word.end});
        body["words"] = words.map(word).collect();
    }
    body
}

fn segment((id, segment): (usize, &Segment)) -> Value {
    let Segment { start, end, text, tokens, confidence, .. } = segment;
    json!({
        "id": id, "seek": 0, "start": start, "end": end, "text": text, "tokens": tokens,
        "temperature": confidence.temperature, "avg_logprob": confidence.avg_logprob,
        "compression_ratio": confidence.compression_ratio, "no_speech_prob": confidence.no_speech_prob
    })
}

/// A transcript as events.
fn told(heard: &Transcript) -> Response {
    let deltas = heard.segments.iter().enumerate().map(|(i, segment)| {
        let space = if i == 0 { "" } else { " " };
        data(&json!({"type": "transcript.text.delta", "delta": format!("{space}{}", segment.text)}))
    });
    let done = data(&json!({"type": "transcript.text.done", "text": heard.text}));
    let all: Vec<sse::Event> = deltas.chain([done]).collect();
    events(stream::iter(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_voices_are_the_models_own() {
        let voices = ["slt", "rms"].map(str::to_owned);
        let name = |name: &str| mapped(Some(name.to_owned()), &voices);
        assert_eq!(name("alloy").as_deref(), Some("slt"));
        assert_eq!(name("ash").as_deref(), Some("rms"));
        assert_eq!(name("rms").as_deref(), Some("rms"));
        assert_eq!(name("nobody").as_deref(), Some("nobody"), "to be refused by its name");
        assert_eq!(mapped(None, &voices), None);
    }
}
