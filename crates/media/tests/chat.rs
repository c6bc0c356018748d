//! What the assistant says is found in the conversations of any chat template.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::sync::LazyLock;

use sensorium_media::{
    ChatFormat, ChatTemplate, Medium, Message, Modality, Part, Prompt, Role, Tokenizer,
};
use serde_json::{Map, Value};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts = (0..40).map(|i| format!("what is it? a red circle and {i} blue squares, yes"));
    Tokenizer::train(texts, 540).unwrap()
});

fn format(template: &str) -> ChatFormat {
    ChatFormat { template: ChatTemplate::parse(template).unwrap(), variables: Map::new() }
}

fn talk() -> Vec<Message> {
    vec![
        Message::text(Role::User, "what is it? <|end|>"),
        Message::text(Role::Assistant, "a red circle"),
        Message::text(Role::User, "yes?"),
        Message::text(Role::Assistant, "yes <|end|> yes"),
    ]
}

/// The text of what is to be learned, control tokens by name, each run of it apart.
fn learned(prompt: &Prompt) -> Vec<String> {
    let mut runs = vec![String::new()];
    for (id, answer) in prompt.ids.iter().zip(&prompt.answer) {
        match (answer, runs.last_mut()) {
            (true, Some(run)) => {
                let text = TOKENIZER.decode(&[*id]).unwrap();
                run.push_str(&if text.is_empty() { TOKENIZER.token(*id).unwrap() } else { text });
            }
            (false, Some(run)) if !run.is_empty() => runs.push(String::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

const CHATML: &str = "{% for m in messages %}<|user|>{{ m.role }}\n{{ m.content }}<|end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|user|>assistant\n{% endif %}";

#[test]
fn answers_are_found_without_a_block_for_them() {
    let lesson = format(CHATML).lesson(&TOKENIZER, &talk(), &[]).unwrap();
    // The line end after the end token is the template's, not the model's.
    assert_eq!(learned(&lesson), ["a red circle<|end|>", "yes <|end|> yes<|end|>"]);
    let end = TOKENIZER.id("<|end|>").unwrap();
    assert_eq!(lesson.ids.iter().filter(|id| **id == end).count(), 4, "texts are data");
    let prompt = format(CHATML).prompt(&TOKENIZER, &talk()[..3], &[]).unwrap();
    assert!(lesson.ids.starts_with(&prompt.ids) && !prompt.answer.contains(&true));
}

#[test]
fn a_generation_block_says_what_is_learned() {
    let template = "{% for m in messages %}<|user|>{{ m.role }}\n{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content }}<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>\
        {% endif %}{% endfor %}";
    let lesson = format(template).lesson(&TOKENIZER, &talk(), &[]).unwrap();
    assert_eq!(learned(&lesson), ["a red circle<|end|>", "yes <|end|> yes<|end|>"]);
    let never = "{% for m in messages %}{{ m.content }}{% if false %}{% generation %}\
        {% endgeneration %}{% endif %}{% endfor %}";
    let error = format(never).lesson(&TOKENIZER, &talk(), &[]).unwrap_err().to_string();
    assert!(error.contains("generation block for each answer") && error.contains("hint: "));
}

#[test]
fn a_template_that_rewrites_what_was_said_is_refused() {
    let last_only = "{% for m in messages %}<|user|>{{ m.content if loop.last else '...' }}<|end|>\
        {% endfor %}";
    let error = format(last_only).lesson(&TOKENIZER, &talk(), &[]).unwrap_err().to_string();
    assert!(error.contains("alike whatever follows"), "{error}");
}

#[test]
fn media_have_slots_of_their_own_lengths() {
    let (image, audio) = (Part::Media(Modality::Image), Part::Media(Modality::Audio));
    let parts = vec![image.clone(), Part::Text("and <|image_token|>".into()), audio, image];
    let messages =
        [Message { role: Role::User, parts }, Message::text(Role::Assistant, "a circle")];
    let template = "{% for m in messages %}<|user|>{% for p in m.content %}{{ p.text if p.type == \
        'text' else '<|' ~ p.type ~ '_token|>' }}{% endfor %}<|end|>{% endfor %}";
    let format = format(template);
    let mut media = vec![
        Medium::framed(Modality::Image, 2),
        Medium::framed(Modality::Audio, 5),
        Medium::framed(Modality::Image, 3),
    ];
    // Two tiles of two tokens with something between them.
    media[0].text = format!("{0}{0}a{0}{0}", media[0].marker);
    let prompt = format.prompt(&TOKENIZER, &messages[..1], &media).unwrap();
    let slots: Vec<_> = prompt.slots.iter().map(|s| (s.len, s.modality)).collect();
    let image = Modality::Image;
    assert_eq!(slots, [(2, image), (2, image), (5, Modality::Audio), (3, image)]);
    for slot in &prompt.slots {
        let name = format!("<|{}_token|>", slot.modality);
        let marker = TOKENIZER.id(&name).unwrap();
        assert!(prompt.ids[slot.at..slot.at + slot.len].iter().all(|id| *id == marker));
    }
    let widths: Vec<_> =
        (1..=3).map(|n| prompt.spans.iter().filter(|s| **s == n).count()).collect();
    assert_eq!(widths, [5, 7, 5]);

    for (media, words) in [(&media[..2], "3 <image> markers"), (&media[..0], "3 <image> markers")] {
        let error = format.prompt(&TOKENIZER, &messages, media).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let deaf = ChatTemplate::parse("{% for m in messages %}{{ m.role }}{% endfor %}").unwrap();
    let deaf = ChatFormat { template: deaf, variables: Map::new() };
    let error = deaf.prompt(&TOKENIZER, &messages, &media).unwrap_err().to_string();
    assert!(error.contains("<|image_token|>") && error.contains("hint: "), "{error}");
}

/// Qwen2-VL's templates take texts too: of what holds media they are given parts, so that they write what stands
/// around them (`reference/qwen_vl.py`).
#[test]
fn a_template_of_texts_and_parts_names_media_by_itself() {
    for name in ["qwen2_vl", "qwen2_5_vl"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name);
        let read = |file: &str| std::fs::read(folder.join(file)).expect("the golden is complete");
        let tokenizer = Tokenizer::from_bytes(&read("tokenizer.json")).expect("a tokenizer");
        let template = String::from_utf8(read("chat_template.jinja")).expect("a text");
        let format = format(&template);
        let cases: Vec<Value> = serde_json::from_slice(&read("expected.json")).expect("JSON");
        for case in cases {
            let grids: Vec<[usize; 3]> =
                serde_json::from_value(case["grids"].clone()).expect("grids");
            let pictures = case["pictures"].as_array().expect("a list").len();
            let medium = |(i, grid): (usize, &[usize; 3])| {
                let (modality, kind) = match i < pictures {
                    true => (Modality::Image, "image"),
                    false => (Modality::Video, "video"),
                };
                let (marker, len) = (format!("<|{kind}_pad|>"), grid.iter().product::<usize>() / 4);
                let (token, text) = (marker.clone(), marker.repeat(len));
                Medium { modality, token, marker, text, len }
            };
            let media: Vec<Medium> = grids.iter().enumerate().map(medium).collect();
            let places = media.iter().map(|medium| Part::Media(medium.modality));
            let question = case["question"].as_str().expect("a text").to_owned();
            let parts = places.chain([Part::Text(question)]).collect();
            let messages = [Message { role: Role::User, parts }];
            let prompt = format.prompt(&tokenizer, &messages, &media).expect("a prompt");
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("ids");
            assert_eq!(prompt.ids, ids, "{name}: {case}");
        }
    }
}
