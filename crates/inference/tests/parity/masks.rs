//! What is learned of a conversation: the assistant's words and the end of its turn, nothing else.

use sensorium_media::chat::{Message, Part, Role, render};
use sensorium_media::{Modality, Special, Tokenizer};
use sensorium_model::prompt::{Batch, IGNORED};

fn tokenizer() -> Tokenizer {
    let corpus = ["what is this a red circle and a blue square how many two be brief"; 4];
    Tokenizer::train(corpus.into_iter().map(String::from), 512).expect("it trains")
}

fn user(text: &str) -> Message {
    Message { role: Role::User, parts: vec![Part::Media(Modality::Image), Part::Text(text.into())] }
}

/// The assistant's text and its end, as ids.
fn turn(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = tokenizer.encode(text).expect("encodes");
    ids.push(tokenizer.special(Special::End).expect("trained with it"));
    ids
}

#[test]
fn only_the_assistants_turns_are_learned() {
    let tokenizer = tokenizer();
    let long = [
        Message::text(Role::System, "be brief"),
        user("what is this"),
        Message::text(Role::Assistant, "a red circle"),
        Message::text(Role::User, "how many"),
        Message::text(Role::Assistant, "two"),
    ];
    let short = [user("what is this"), Message::text(Role::Assistant, "a blue square")];
    let prompts =
        [&long[..], &short[..]].map(|m| render(&tokenizer, m, 4, false).expect("our own format"));
    let batch = Batch::new(&prompts, tokenizer.special(Special::Pad).expect("trained with it"));

    let want = [
        [turn(&tokenizer, "a red circle"), turn(&tokenizer, "two")].concat(),
        turn(&tokenizer, "a blue square"),
    ];
    let [_, t] = batch.shape;
    for (row, want) in want.iter().enumerate() {
        let labels = &batch.labels[row * t..(row + 1) * t];
        let learned: Vec<u32> =
            labels.iter().filter(|&&l| l != IGNORED).map(|&l| l as u32).collect();
        assert_eq!(&learned, want, "row {row}");
        for (at, &label) in labels.iter().enumerate().filter(|(_, label)| **label != IGNORED) {
            assert_eq!(batch.ids[row * t + at + 1], label as u32, "the label is the next token");
        }
    }
    assert_eq!(batch.learned(), want.concat().len());
}

/// Written out by hand: `<bos> <user> <image> I I <image_end> text <end> <assistant> text <end>`.
#[test]
fn a_hand_written_conversation_has_this_mask() {
    let tokenizer = tokenizer();
    let messages = [user("a"), Message::text(Role::Assistant, "two")];
    let prompt = render(&tokenizer, &messages, 2, false).expect("our own format");
    let [question, answer] =
        ["a", "two"].map(|text| tokenizer.encode(text).expect("encodes").len());
    let before = 6 + question + 2;
    let mask = [vec![false; before], vec![true; answer + 1]].concat();
    assert_eq!(prompt.answer, mask);
    assert_eq!(prompt.slots[0].at, 3);
    assert_eq!(&prompt.spans[..7], [0, 0, 1, 1, 1, 1, 0]);

    let batch = Batch::new(std::slice::from_ref(&prompt), 0);
    let ids = prompt.ids.iter().map(|&id| id as i32);
    let mut labels = vec![IGNORED; before - 1];
    labels.extend(ids.skip(before));
    labels.push(IGNORED);
    assert_eq!(batch.labels, labels);
}

/// A prompt that the assistant is still to answer teaches nothing.
#[test]
fn an_open_prompt_has_no_labels() {
    let tokenizer = tokenizer();
    let prompt = render(&tokenizer, &[user("what is this")], 4, true).expect("our own format");
    assert_eq!(prompt.ids.last(), tokenizer.special(Special::Assistant).ok().as_ref());
    assert_eq!(Batch::new(&[prompt], 0).learned(), 0);
}
