//! Text to ids and back, by a GGUF file's tokenizer or a directory's.

use std::cmp::Reverse;

use sensorium_media::{ByteBpe, HubTokenizer};

use crate::error::Result;

/// Stands inside what users write where it spells a control token, until the template has been
/// rendered. A noncharacter: no text has it.
const SHIELD: char = '\u{10FFFF}';

/// A published tokenizer. A control token's name in a text is encoded as letters, unless the text is a
/// rendered template.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    kind: Kind,
    /// Longest first.
    control: Vec<(String, u32)>,
}

#[expect(clippy::large_enum_variant, reason = "a model has one")]
#[derive(Clone, Debug)]
enum Kind {
    Gguf(ByteBpe),
    Hub {
        /// Names of special tokens become those tokens.
        whole: HubTokenizer,
        /// They do not.
        data: HubTokenizer,
    },
}

impl From<ByteBpe> for Tokenizer {
    fn from(bpe: ByteBpe) -> Self {
        let control = longest_first(bpe.control().to_vec());
        Self { kind: Kind::Gguf(bpe), control }
    }
}

impl From<HubTokenizer> for Tokenizer {
    fn from(whole: HubTokenizer) -> Self {
        let control = longest_first(whole.special());
        let data = whole.clone().for_data();
        Self { kind: Kind::Hub { whole, data }, control }
    }
}

fn longest_first(mut control: Vec<(String, u32)>) -> Vec<(String, u32)> {
    control.retain(|(name, _)| !name.is_empty());
    control.sort_by_key(|(name, _)| Reverse(name.len()));
    control
}

impl Tokenizer {
    /// Ids of a text, which is data.
    ///
    /// # Errors
    /// The text is too long for a directory's tokenizer, or has what it knows no id for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::Gguf(bpe) => Ok(bpe.encode(text)),
            Kind::Hub { data, .. } => Ok(data.encode(text, false)?),
        }
    }

    /// Text of ids, without control tokens. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// A directory's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &self.kind {
            Kind::Gguf(bpe) => Ok(bpe.decode(ids)),
            Kind::Hub { data, .. } => Ok(data.decode(ids, false)?),
        }
    }

    /// Id of the token of this name, control tokens included.
    pub fn id(&self, name: &str) -> Option<u32> {
        match &self.kind {
            Kind::Gguf(bpe) => bpe.id(name),
            Kind::Hub { data, .. } => data.id(name),
        }
    }

    /// Name of a token, control tokens included.
    pub fn name(&self, id: u32) -> Option<String> {
        match &self.kind {
            Kind::Gguf(bpe) => {
                bpe.control().iter().find(|(_, of)| *of == id).map(|(n, _)| n.clone())
            }
            Kind::Hub { data, .. } => data.token(id),
        }
    }

    /// Number of ids.
    pub fn vocabulary(&self) -> usize {
        match &self.kind {
            Kind::Gguf(bpe) => bpe.vocabulary(),
            Kind::Hub { data, .. } => data.vocabulary(),
        }
    }

    /// What a user wrote, with every control token's name in it broken up.
    pub fn shield(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, _) in &self.control {
            if out.contains(name.as_str()) {
                let mut broken: Vec<char> = name.chars().collect();
                broken.insert(1, SHIELD);
                out = out.replace(name.as_str(), &broken.iter().collect::<String>());
            }
        }
        out
    }

    /// Ids of a rendered template: names of control tokens become those tokens, but for those that
    /// were [shielded](Self::shield).
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
        if let Kind::Hub { whole, .. } = &self.kind
            && !text.contains(SHIELD)
        {
            return Ok(whole.encode(text, false)?);
        }
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some((at, name, id)) = self.first_control(rest) {
            ids.extend(self.encode(&rest[..at].replace(SHIELD, ""))?);
            ids.push(id);
            rest = &rest[at + name.len()..];
        }
        ids.extend(self.encode(&rest.replace(SHIELD, ""))?);
        Ok(ids)
    }

    /// The first control token of a text, the longest where several begin.
    fn first_control(&self, text: &str) -> Option<(usize, &str, u32)> {
        let found = self.control.iter().filter_map(|(name, id)| Some((text.find(name)?, name, id)));
        found
            .min_by_key(|(at, name, _)| (*at, Reverse(name.len())))
            .map(|(at, name, id)| (at, &**name, *id))
    }
}
