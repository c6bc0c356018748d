//! Conversations to prompts that are learned from, by the model's own chat template.

use sensorium_data::conversation::Turn;
use sensorium_data::{Example, Media};
use sensorium_media::chat::{TEMPLATE, caption_request};
use sensorium_media::{
    ChatFormat, ChatTemplate, Layout, Medium, Message, Modality, Part, Prompt, Role, Special,
    Tokenizer,
};
use sensorium_pretrained::TextProcessor;
use sensorium_pretrained::families::llava;
use serde_json::Map;

use crate::error::{Result, TrainError};

/// What makes prompts.
#[derive(Debug)]
pub struct Chat {
    tokenizer: Tokenizer,
    format: ChatFormat,
    /// Opens every prompt, if the model was trained so and the template does not.
    bos: Option<u32>,
    /// The token that a picture's places hold; without one, they are framed as models made here have it.
    marker: Option<String>,
    /// Tokens of each part of a picture.
    tokens: usize,
    /// The most tokens that the model reads.
    context: usize,
    /// Fills rows.
    pub pad: u32,
}

impl Chat {
    /// Of a model made here, whose pictures take `tokens` each.
    ///
    /// # Errors
    /// The tokenizer is not one that is trained here.
    pub fn own(tokenizer: &Tokenizer, tokens: usize, context: usize) -> Result<Self> {
        let format = ChatFormat { template: ChatTemplate::parse(TEMPLATE)?, variables: Map::new() };
        let pad = tokenizer.special(Special::Pad)?;
        let tokenizer = tokenizer.clone();
        Ok(Self { tokenizer, format, bos: None, marker: None, tokens, context, pad })
    }

    /// Of a published model, whose pictures' places hold the token `marker`; without one, it reads texts
    /// alone.
    ///
    /// # Errors
    /// There is no chat template, or no token `marker`.
    pub fn published(
        text: TextProcessor,
        marker: Option<u32>,
        [tokens, context]: [usize; 2],
    ) -> Result<Self> {
        let TextProcessor { tokenizer, bos_token_id: bos, chat, .. } = text;
        let token = |marker: u32| {
            tokenizer.token(marker).ok_or_else(|| {
                let message =
                    format!("expected a token {marker} for pictures in its tokenizer, got none");
                crate::model::config("model.from", &message, "its files may be of different models")
            })
        };
        let marker = marker.map(token).transpose()?;
        let format = chat.format()?;
        Ok(Self { tokenizer, format, bos, marker, tokens, context, pad: bos.unwrap_or_default() })
    }

    /// What stands for a picture, or one of a video's frames.
    pub fn picture(&self, layout: Layout) -> Medium {
        match &self.marker {
            Some(marker) => llava::medium(marker, layout, self.tokens),
            None => Medium::framed(Modality::Image, self.tokens),
        }
    }

    /// The prompt of an example, for each of whose media there is what stands for it: a conversation, or a
    /// caption as the answer to one request. Isolated questions are [packed](Self::questions).
    ///
    /// # Errors
    /// The template refuses the messages, or the media take more tokens than the model reads.
    pub fn prompt(&self, example: &Example, media: &[Vec<Medium>]) -> Result<Prompt> {
        let flat = media.concat();
        if example.messages.is_empty() {
            let modalities = flat.iter().map(|one| one.modality).collect::<Vec<_>>();
            return self.conversation(&captioned(example, &modalities), &flat);
        }
        let messages = placed(&example.messages, media);
        match example.isolated {
            true => self.questions(&messages, &flat),
            false => self.conversation(&messages, &flat),
        }
    }

    /// A whole conversation. What is beyond the model's context is left out.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn conversation(&self, messages: &[Message], media: &[Medium]) -> Result<Prompt> {
        let mut prompt = self.opened(self.format.lesson(&self.tokenizer, messages, media)?);
        let (got, limit) = (behind_media(&prompt), self.context);
        if got > limit {
            return Err(TrainError::TooLong { got, limit });
        }
        prompt.ids.truncate(limit);
        prompt.answer.truncate(limit);
        prompt.spans.truncate(limit);
        Ok(prompt)
    }

    /// What is to be answered by words, which may be none, and then by signal tokens, of which the first is learned
    /// and the others follow it.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt); all of it is more than the model reads.
    pub fn answered(
        &self,
        messages: &[Message],
        media: &[Vec<Medium>],
        words: &str,
        signals: &[u32],
    ) -> Result<Prompt> {
        let messages = placed(messages, media);
        let prompt = self.format.prompt(&self.tokenizer, &messages, &media.concat())?;
        let mut prompt = self.opened(prompt);
        let said = self.tokenizer.encode(words)?;
        prompt.ids.extend(said.iter().chain(signals));
        prompt.answer.resize(prompt.answer.len() + said.len() + 1, true);
        prompt.answer.resize(prompt.ids.len(), false);
        prompt.spans.resize(prompt.ids.len(), 0);
        let (got, limit) = (prompt.ids.len(), self.context);
        if got > limit { Err(TrainError::TooLong { got, limit }) } else { Ok(prompt) }
    }

    /// With the opening token, unless the template has written it.
    fn opened(&self, mut prompt: Prompt) -> Prompt {
        if let Some(bos) = self.bos.filter(|bos| prompt.ids.first() != Some(bos)) {
            prompt.open(bos);
        }
        prompt
    }

    /// Questions about the same media, each asked as if it were the first, for none can be answered
    /// from the answers before it. All share the media's tokens, and each stands in a span of its own
    /// below 0.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn questions(&self, messages: &[Message], media: &[Medium]) -> Result<Prompt> {
        let turns = alone(messages);
        let prompts = turns.iter().map(|turn| self.conversation(turn, media));
        let mut prompts = prompts.collect::<Result<Vec<_>>>()?.into_iter();
        let Some(mut all) = prompts.next() else { return Ok(Prompt::default()) };
        // The media and the token that ends them, unless a template puts the question before.
        let same =
            |other: &Prompt| all.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        let alike = prompts.as_slice().iter().map(same).min().unwrap_or(all.ids.len());
        let behind = behind_media(&all);
        if alike < behind {
            return self.conversation(messages, media);
        }
        let shared = alike.min(behind + 1);
        all.spans[shared..].fill(-1);
        for (prompt, span) in prompts.zip((i32::MIN..-1).rev()) {
            all.ids.extend(&prompt.ids[shared..]);
            all.answer.extend(&prompt.answer[shared..]);
            all.spans.resize(all.ids.len(), span);
        }
        Ok(all)
    }
}

/// The conversations that are learned of an example by themselves: its own, each of its isolated questions, or a
/// request with its caption as the answer.
pub fn conversations(example: &Example) -> Vec<Vec<Message>> {
    match (example.messages.is_empty(), example.isolated) {
        (true, _) => {
            let modalities = example.media.iter().map(Media::modality).collect::<Vec<_>>();
            vec![captioned(example, &modalities)]
        }
        (false, true) => alone(&example.messages),
        (false, false) => vec![example.messages.clone()],
    }
}

/// A caption as the answer to one request, behind media of these kinds.
fn captioned(example: &Example, modalities: &[Modality]) -> Vec<Message> {
    let caption = example.text.clone().unwrap_or_default();
    let first = modalities.first().copied().unwrap_or(Modality::Image);
    let mut messages = messages(&[[caption_request(first).into(), caption]], 0);
    messages[0].parts.splice(0..0, modalities.iter().copied().map(Part::Media));
    messages
}

/// The messages of an example with a place for each of what stands for its media.
fn placed(messages: &[Message], media: &[Vec<Medium>]) -> Vec<Message> {
    let mut rest = media.iter();
    let mut each = |part: &Part| match part {
        Part::Media(_) => {
            let media = rest.next().into_iter().flatten();
            media.map(|medium| Part::Media(medium.modality)).collect()
        }
        Part::Text(_) => vec![part.clone()],
    };
    let message = |message: &Message| Message {
        role: message.role,
        parts: message.parts.iter().flat_map(&mut each).collect(),
    };
    messages.iter().map(message).collect()
}

/// Where the last medium's tokens end.
fn behind_media(prompt: &Prompt) -> usize {
    prompt.slots.iter().map(|slot| slot.at + slot.len).max().unwrap_or_default()
}

/// Each question with its answer, and all pictures before it.
fn alone(messages: &[Message]) -> Vec<Vec<Message>> {
    let is_media = |part: &&Part| matches!(part, Part::Media(_));
    let parts = messages.iter().flat_map(|message| &message.parts);
    let media: Vec<Part> = parts.filter(is_media).cloned().collect();
    let turn = |turn: &[Message]| {
        let mut turn = turn.to_vec();
        for message in &mut turn {
            message.parts.retain(|part| !is_media(&part));
        }
        turn[0].parts.splice(0..0, media.clone());
        turn
    };
    messages.chunks(2).map(turn).collect()
}

/// Questions and answers about so many pictures, which stand before the first question.
pub fn messages(turns: &[Turn], pictures: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = turns
        .iter()
        .flat_map(|[question, answer]| {
            [Message::text(Role::User, question), Message::text(Role::Assistant, answer)]
        })
        .collect();
    if let Some(first) = messages.first_mut() {
        first.parts.splice(0..0, vec![Part::Media(Modality::Image); pictures]);
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensorium_flow::Input;
    use sensorium_model::llava::Llava;
    use sensorium_model::prompt::{Batch, packed, rows};
    use sensorium_nn::params::read;
    use sensorium_nn::prelude::*;

    use crate::size::Size;

    fn chat(tokens: usize) -> Chat {
        let corpus = ["what colour is the circle red how many two where left"; 4];
        let tokenizer =
            Tokenizer::train(corpus.into_iter().map(String::from), 512).expect("it trains");
        Chat::own(&tokenizer, tokens, 512).expect("our own format")
    }

    fn turns() -> [Turn; 3] {
        let turns = [["what colour is it", "red"], ["how many", "two"], ["where", "left"]];
        turns.map(|turn| turn.map(String::from))
    }

    #[test]
    fn questions_share_the_picture_and_nothing_else() {
        let (chat, turns) = (chat(4), turns());
        let all = chat
            .questions(&messages(&turns, 1), &[chat.picture(Layout::Whole)])
            .expect("our own format");
        assert_eq!(all.slots[0].at, 3);
        assert_eq!(all.spans[..8], [0, 0, 1, 1, 1, 1, 1, 1]);
        for (turn, span) in turns.into_iter().zip([-1, -2, -3]) {
            let alone = chat
                .conversation(&messages(&[turn], 1), &[chat.picture(Layout::Whole)])
                .expect("as above");
            let at = |i: &usize| all.spans[*i] >= 0 || all.spans[*i] == span;
            let seen: Vec<usize> = (0..all.ids.len()).filter(at).collect();
            assert_eq!(seen.iter().map(|&i| all.ids[i]).collect::<Vec<_>>(), alone.ids);
            assert_eq!(seen.iter().map(|&i| all.answer[i]).collect::<Vec<_>>(), alone.answer);
        }
    }

    /// Conversations about pictures in one row cost what they cost each in its own.
    #[test]
    fn packed_conversations_have_the_loss_that_they_have_alone() {
        let device = Device::flex();
        let mut config = Size::Tiny.llava(512);
        config.prefix = false;
        let llava = Llava::init(&config, &mut Init::new(3, &device));
        let chat = chat(config.towers[0].tokens());
        let images = Init::new(4, &device).normal([2, 3, 96, 96], 1.0).val();
        let features = [llava.encode(Input::Image(images))];
        let talk = |pictures, turns: &[Turn]| {
            let media = vec![chat.picture(Layout::Whole); pictures];
            chat.conversation(&messages(turns, pictures), &media).expect("our own format")
        };
        let turns = turns();
        let prompts = [talk(1, &turns[..1]), talk(0, &turns[1..]), talk(1, &turns)];
        let loss = |prompts: &[Prompt]| {
            read(llava.loss(&Batch::new(prompts, chat.pad), &features, 1e-4))[0]
        };
        let lengths = prompts.clone().map(|prompt| prompt.ids.len());
        assert_eq!(rows(&lengths, lengths.iter().sum()), [[2, 0, 1]]);
        assert_eq!(rows(&lengths, lengths[0] + lengths[1]), [vec![2], vec![0, 1]]);
        let off = (loss(&prompts) - loss(&[packed(&prompts)])).abs();
        assert!(off < 1e-5, "{off}");
    }

    #[test]
    fn a_packed_question_is_read_as_if_asked_alone() {
        let device = Device::flex();
        for prefix in [true, false] {
            let mut config = Size::Tiny.llava(512);
            config.prefix = prefix;
            let llava = Llava::init(&config, &mut Init::new(3, &device));
            let chat = chat(config.towers[0].tokens());
            let image = Init::new(4, &device).normal([1, 3, 96, 96], 1.0).val();
            let features = llava.encode(Input::Image(image));
            let logits = |prompt: &Prompt| {
                let batch = Batch::new(std::slice::from_ref(prompt), chat.pad);
                let logits = llava.logits(llava.forward(&batch, std::slice::from_ref(&features)));
                let width = logits.dims()[2];
                read(logits).chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
            };
            let all = chat
                .questions(&messages(&turns(), 1), &[chat.picture(Layout::Whole)])
                .expect("our own format");
            let packed = logits(&all);
            for (turn, span) in turns().into_iter().zip([-1, -2, -3]) {
                let alone = chat
                    .conversation(&messages(&[turn], 1), &[chat.picture(Layout::Whole)])
                    .expect("as above");
                let seen =
                    (0..all.ids.len()).filter(|&i| all.spans[i] >= 0 || all.spans[i] == span);
                for (i, alone) in seen.zip(logits(&alone)) {
                    let off = packed[i].iter().zip(alone).map(|(a, b)| (a - b).abs());
                    let off = off.fold(0.0, f32::max);
                    assert!(off < 1e-4, "prefix {prefix}, question {span}, token {i}: {off}");
                }
            }
        }
    }
}
