//! A video in a prompt: to a model that reads pictures, its frames in order.

use sensorium_media::{Media, Message, Modality, Part, Video, split_markers};

use crate::error::Result;

/// Messages in which each medium's place is that of its `parts`, which are told by the medium and its number.
pub(crate) fn with_places(
    messages: &[Message],
    media: &[Media],
    parts: impl Fn(&Media, usize) -> Vec<Part>,
) -> Vec<Message> {
    // Media come in the order of their places.
    let mut rest = media.iter().enumerate();
    let mut each = |part: &Part| match part {
        Part::Media(_) => rest.next().map_or(vec![part.clone()], |(i, medium)| parts(medium, i)),
        Part::Text(_) => vec![part.clone()],
    };
    let message = |message: &Message| Message {
        role: message.role,
        parts: message.parts.iter().flat_map(&mut each).collect(),
    };
    messages.iter().map(message).collect()
}

/// Messages in which each video's place is that of its frames.
pub(crate) fn with_frames(messages: &[Message], media: &[Media]) -> Vec<Message> {
    with_places(messages, media, |medium, _| match medium {
        Media::Video(video) => frames(video, false),
        medium => vec![Part::Media(medium.modality())],
    })
}

/// The places of a video's frames. With `timed`, words tell how many they are and when each is shown, as
/// SmolVLM's processor has it; its models were trained so.
pub(crate) fn frames(video: &Video, timed: bool) -> Vec<Part> {
    match timed {
        true => told(video),
        false => vec![Part::Media(Modality::Image); video.frames.len()],
    }
}

/// The parts of a text that is to be continued, its media at their places.
pub(crate) fn marked(text: &str, media: &[Media]) -> Result<Vec<Part>> {
    let modalities: Vec<Modality> = media.iter().map(Media::modality).collect();
    Ok(split_markers(text, &modalities)?)
}

fn told(video: &Video) -> Vec<Part> {
    let (count, duration) = (number(video.frames.len()), video.duration as u64);
    let [hours, minutes, seconds] = [duration / 3600, duration / 60 % 60, duration % 60];
    let mut text = format!(
        "You are provided the following series of {count} frames from a \
         {hours}:{minutes:02}:{seconds:02} [H:MM:SS] video.\n"
    );
    let mut parts = Vec::new();
    for frame in &video.frames {
        let at = frame.seconds as u64;
        text += &format!("\nFrame from {:02}:{:02}:", at / 60, at % 60);
        parts.extend([Part::Text(std::mem::take(&mut text)), Part::Media(Modality::Image)]);
    }
    parts.push(Part::Text("\n\n".into()));
    parts
}

/// A number below 100 in words.
fn number(n: usize) -> String {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    match (ONES.get(n), TENS.get((n / 10).wrapping_sub(2))) {
        (Some(word), _) => (*word).to_owned(),
        (None, Some(tens)) if n.is_multiple_of(10) => (*tens).to_owned(),
        (None, Some(tens)) => format!("{tens}-{}", ONES[n % 10]),
        (None, None) => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelt() {
        let words = [(1, "one"), (12, "twelve"), (20, "twenty"), (64, "sixty-four"), (100, "100")];
        for (n, word) in words {
            assert_eq!(number(n), word);
        }
    }
}
