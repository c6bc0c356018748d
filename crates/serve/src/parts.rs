//! What messages hold: texts, and media in the several spellings that clients have for them.

use std::io::Write;
use std::path::Path;

use axum::http::StatusCode;
use sensorium_media::{Media, Message, Modality, Part, Role, video};
use serde_json::{Map, Value};

use crate::error::{ApiError, Result, of_media};
use crate::fields::Fields;
use crate::source::{Reader, Source};
use crate::store::Store;

/// Most messages of a conversation, and most media in it.
const MESSAGES: usize = 1024;
const MEDIA: usize = 32;

/// A file that came with a request.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its bytes, or where they are.
    pub source: Source,
    /// What it is to be read as.
    pub modality: Modality,
    /// Frames of a video that are taken.
    pub frames: video::Sampling,
    /// The part of the request that holds it.
    pub param: String,
}

/// Messages whose media are not decoded yet.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    /// Their media, in order.
    pub uploads: Vec<Upload>,
}

/// Whose files a conversation may name.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// Where they are.
    pub store: &'a Store,
    /// Who asks.
    pub client: &'a str,
}

impl Conversation {
    /// Adds a message of one text.
    pub fn say(&mut self, role: Role, text: impl Into<String>) {
        self.messages.push(Message::text(role, text));
    }

    /// Adds a message of OpenAI's shape; `param` names it.
    ///
    /// # Errors
    /// A role or a part that is not known, or a part without what it needs.
    pub fn push(
        &mut self,
        message: Map<String, Value>,
        param: &str,
        files: Files<'_>,
    ) -> Result<()> {
        if self.messages.len() >= MESSAGES {
            let text = format!("expected at most {MESSAGES} messages");
            return Err(ApiError::invalid("messages", text));
        }
        let mut fields = Fields::new(message, param);
        let role: String = fields.need("role")?;
        let calls: Option<Vec<Value>> = fields.take("tool_calls")?;
        let content: Option<Value> = fields.take("content")?;
        let is_result = matches!(&*role, "tool" | "function");
        let role = match &*role {
            "system" | "developer" => Role::System,
            "user" | "tool" | "function" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let text =
                    format!("expected developer, system, user, assistant or tool, got {other:?}");
                return Err(ApiError::invalid(format!("{param}.role"), text));
            }
        };
        let mut parts = match content {
            Some(content) => self.content(content, &format!("{param}.content"), files)?,
            None if calls.is_some() => Vec::new(),
            None => return Err(ApiError::missing(&format!("{param}.content"))),
        };
        if is_result {
            parts.insert(0, Part::Text("<tool_response>\n".to_owned()));
            parts.push(Part::Text("\n</tool_response>".to_owned()));
        }
        // What was called stands in the words in which it was called.
        parts.extend(calls.iter().flatten().filter_map(called).map(Part::Text));
        self.messages.push(Message { role, parts });
        Ok(())
    }

    /// The parts of a content, which is a text or a list.
    ///
    /// # Errors
    /// A part that is not known, or without what it needs.
    pub fn content(&mut self, content: Value, param: &str, files: Files<'_>) -> Result<Vec<Part>> {
        let parts = match content {
            Value::String(text) => return Ok(vec![Part::Text(text)]),
            Value::Array(parts) => parts,
            _ => return Err(ApiError::invalid(param, "expected a text or a list of parts")),
        };
        let part = |(i, part)| {
            let param = format!("{param}[{i}]");
            match part {
                Value::Object(map) => self.part(map, &param, files),
                Value::String(text) => Ok(Part::Text(text)),
                _ => Err(ApiError::invalid(param, "expected an object with a type")),
            }
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    fn part(&mut self, map: Map<String, Value>, param: &str, files: Files<'_>) -> Result<Part> {
        let mut fields = Fields::new(map, param);
        let kind: String = fields.need("type")?;
        let place = |name: &str| format!("{param}.{name}");
        let upload = match &*kind {
            "text" | "input_text" | "output_text" => return fields.need("text").map(Part::Text),
            "refusal" => return fields.need("refusal").map(Part::Text),
            "image_url" | "input_image" if fields.has("file_id") => {
                stored(&mut fields, Modality::Image, files)?
            }
            "image_url" | "input_image" => linked(&mut fields, "image_url", Modality::Image)?,
            "audio_url" => linked(&mut fields, "audio_url", Modality::Audio)?,
            "video_url" | "input_video" => linked(&mut fields, "video_url", Modality::Video)?,
            "input_audio" => {
                let mut audio: Fields = match fields.object("input_audio")? {
                    Some(audio) => audio,
                    None => return Err(ApiError::missing(&place("input_audio"))),
                };
                let data: String = audio.need("data")?;
                let at = place("input_audio.data");
                Upload::new(Source::parse(&data, &at)?, Modality::Audio, at)
            }
            "file" | "input_file" => {
                let mut file = fields.object("file")?.unwrap_or(fields);
                attached(&mut file, param, files)?
            }
            other => {
                let known = "text, image_url, input_audio, audio_url, video_url, file";
                let text = format!("expected one of {known}, got {other:?}");
                return Err(ApiError::invalid(place("type"), text));
            }
        };
        if self.uploads.len() >= MEDIA {
            return Err(ApiError::invalid(param, format!("expected at most {MEDIA} media")));
        }
        let modality = upload.modality;
        self.uploads.push(upload);
        Ok(Part::Media(modality))
    }

    /// Fetches and decodes the media, in order.
    ///
    /// # Errors
    /// One cannot be had, is damaged, too large, or not what it is said to be: it is named.
    pub fn media(uploads: &[Upload], reader: &Reader) -> Result<Vec<Media>> {
        uploads.iter().map(|upload| upload.decode(reader)).collect()
    }
}

/// A tool call of the assistant, as the model writes them.
fn called(call: &Value) -> Option<String> {
    let function = call.get("function")?;
    let (name, arguments) = (function.get("name")?, function.get("arguments")?.as_str()?);
    Some(format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"))
}

impl Upload {
    /// Of these bytes, read as what they are said to be.
    pub fn new(source: impl Into<Source>, modality: Modality, param: impl Into<String>) -> Self {
        let (source, param) = (source.into(), param.into());
        Self { source, modality, frames: video::Sampling::default(), param }
    }

    /// What it holds.
    ///
    /// # Errors
    /// It cannot be had, is damaged, too large, or not what it is said to be.
    pub fn decode(&self, reader: &Reader) -> Result<Media> {
        self.with_file(reader, |path| reader.decoder.medium(self.modality, path, self.frames))
    }

    /// Works with a file that holds its bytes, and is gone afterwards.
    ///
    /// # Errors
    /// It cannot be had; the disk is full; else what `work` says.
    pub fn with_file<T>(
        &self,
        reader: &Reader,
        work: impl FnOnce(&Path) -> sensorium_media::Result<T>,
    ) -> Result<T> {
        let full = |_| {
            let text = "expected room on the disk for the files of a request, got none";
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text)
        };
        let bytes = self.source.read(self.modality, &reader.fetcher, &self.param)?;
        let mut file = tempfile::NamedTempFile::new().map_err(full)?;
        file.write_all(&bytes).and_then(|()| file.flush()).map_err(full)?;
        let path = file.path();
        work(path).map_err(|error| of_media(&error, &path.display().to_string(), &self.param))
    }
}

/// A part whose medium stands in a URL, alone or in an object.
fn linked(fields: &mut Fields, name: &str, modality: Modality) -> Result<Upload> {
    let url: Value = fields.need(name)?;
    let param = fields.param(name);
    let mut frames = video::Sampling::default();
    let url = match url {
        Value::String(url) => url,
        Value::Object(map) => {
            let mut inner = Fields::new(map, &param);
            let count = inner.count("num_frames", 1..=video::MAX_SAMPLED)?;
            let most = inner.count("max_frames", 1..=video::MAX_SAMPLED)?;
            let fps = inner.number("fps", 0.001..=1000.0)?;
            frames = match (count.or(most), fps) {
                (None, Some(fps)) => video::Sampling::PerSecond(fps),
                (Some(count), _) => video::Sampling::Frames(count),
                (None, None) => frames,
            };
            inner.need("url")?
        }
        _ => return Err(ApiError::invalid(param, "expected a URL")),
    };
    let source = Source::parse(&url, &param)?;
    Ok(Upload { frames, ..Upload::new(source, modality, param) })
}

/// A part that is a file: what it is read as is said by its name, or by the type of its data.
fn attached(fields: &mut Fields, param: &str, files: Files<'_>) -> Result<Upload> {
    if fields.has("file_id") {
        return stored(fields, Modality::Table, files);
    }
    let data: String = fields.need("file_data")?;
    let name: Option<String> = fields.take("filename")?;
    let mime = data.strip_prefix("data:").and_then(|rest| rest.split([';', ',']).next());
    // A name tells less than a type: a recording and a film both end in webm.
    let modality = mime.and_then(by_type).or(name.as_deref().and_then(Modality::of_file));
    let modality = modality.ok_or_else(|| {
        let text = "expected a filename of a table (csv, tsv, jsonl, parquet, xlsx), a picture, a sound or a video";
        ApiError::new(StatusCode::BAD_REQUEST, "unsupported_media_type", text).at(param)
    })?;
    let at = format!("{param}.file_data");
    Ok(Upload::new(Source::parse(&data, &at)?, modality, at))
}

/// A part that names a file which was sent before.
fn stored(fields: &mut Fields, usual: Modality, files: Files<'_>) -> Result<Upload> {
    let id: String = fields.need("file_id")?;
    let param = fields.param("file_id");
    let file = files.store.file(files.client, &id).map_err(|error| error.at(&*param))?;
    let modality = Modality::of_file(&file.filename).unwrap_or(usual);
    Ok(Upload::new(file.bytes.to_vec(), modality, param))
}

fn by_type(mime: &str) -> Option<Modality> {
    Some(match mime {
        "text/csv" | "text/tab-separated-values" | "application/jsonl" => Modality::Table,
        _ if mime.starts_with("image/") => Modality::Image,
        _ if mime.starts_with("audio/") => Modality::Audio,
        _ if mime.starts_with("video/") => Modality::Video,
        _ if mime.contains("spreadsheet") || mime.contains("parquet") => Modality::Table,
        _ => return None,
    })
}
