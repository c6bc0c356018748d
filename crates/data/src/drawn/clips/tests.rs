use std::collections::HashMap;

use super::*;

const TRAIN: OpenOptions =
    OpenOptions { seed: 5, split: Split::Train, val_share: 0.0, picture_size: 32 };

fn clips(split: Split, count: u64) -> impl Iterator<Item = Clip> {
    (0..count).map(move |index| Clip::random(split, &mut split.rng(14, 5, index)))
}

#[test]
fn clips_repeat_and_have_eight_frames() {
    for index in 0..200 {
        let (a, b) = (captioned(&TRAIN, index), captioned(&TRAIN, index));
        assert_eq!((&a.text, &a.media, &a.negatives), (&b.text, &b.media, &b.negatives));
        let Media::Video(video) = &a.media[0] else { panic!("a video") };
        assert_eq!((video.frames.len(), video.frames[7].seconds, video.duration), (8, 1.75, 2.0));
        assert_ne!(video.frames[0].picture, video.frames[7].picture, "{:?}", a.text);
        let text = a.text.expect("a caption");
        assert!(!a.negatives.contains(&text) && a.negatives[0] != a.negatives[1], "{text}");
        assert!(text.is_ascii() && text == text.to_lowercase());
    }
}

#[test]
fn held_out_pairs_are_seen_in_no_other_split() {
    let held = |clip: &Clip| {
        let frames = (0..FRAMES).flat_map(|frame| clip.seen(frame));
        frames.filter(|object| object.look().is_held_out()).count()
    };
    assert!(
        clips(Split::Train, 3_000).chain(clips(Split::Val, 3_000)).all(|clip| held(&clip) == 0)
    );
    let own = |clip: Clip| clip.objects.iter().filter(|o| o.look().is_held_out()).count();
    assert!(clips(Split::HeldOut, 500).all(|clip| own(clip) == 1));
}

#[test]
fn objects_are_apart_and_named_apart() {
    let apart = |clip: &Clip| (0..FRAMES).all(|frame| super::apart(&clip.seen(frame)));
    assert!(clips(Split::Train, 3_000).all(|clip| apart(&clip)));
    for clip in clips(Split::Train, 1_000).filter(|clip| clip.objects.len() == 2) {
        for frame in 0..FRAMES {
            if let [a, b] = clip.seen(frame).as_slice() {
                assert!(a.color != b.color && a.shape != b.shape);
            }
        }
    }
}

#[test]
fn what_happens_is_told() {
    let object = |color, shape| {
        let clip = clips(Split::Train, 1).next().expect("a clip");
        Object { color, shape, ..clip.objects[0].clone() }
    };
    use crate::drawn::look::Shape;
    let red = object(Color::Red, Shape::Circle);
    let blue = object(Color::Blue, Shape::Rectangle);
    let (left, green) = (Change::Move(Way::Left), Change::Turn(Color::Green, [0; 3]));
    let cases = [
        (vec![(0, left)], "a red circle moves to the left"),
        (
            vec![(1, green), (1, Change::Move(Way::Up))],
            "a blue rectangle turns green, then moves up",
        ),
        (
            vec![(0, Change::Grow), (1, Change::Appear)],
            "a red circle grows, then a blue rectangle appears",
        ),
    ];
    for (events, words) in cases {
        let rng = &mut Rng::new(1);
        let events = events.iter().map(|&(n, change)| Event::new(n, change, [0, 3], rng)).collect();
        let background = clips(Split::Train, 1).next().expect("a clip").background;
        let clip = Clip { background, objects: vec![red.clone(), blue.clone()], events };
        assert_eq!(clip.story(0), words);
    }
}

/// Where what is drawn has moved between the first and the last of some frames, if it is one object away from
/// the edges.
fn moved(frames: &[Frame]) -> Option<[f32; 2]> {
    let centre = |frame: &Frame| {
        let side = frame.picture.width as usize;
        let ground = &frame.picture.pixels[..3];
        let differs = |n: usize| {
            let rgb = &frame.picture.pixels[3 * n..3 * n + 3];
            rgb.iter().zip(ground).any(|(a, b)| a.abs_diff(*b) > 60)
        };
        let drawn: Vec<_> =
            (0..side * side).filter(|n| differs(*n)).map(|n| [n % side, n / side]).collect();
        let inside = drawn.iter().flatten().all(|at| *at > 0 && *at < side - 1);
        let mean = |axis: usize| {
            drawn.iter().map(|at| at[axis]).sum::<usize>() as f32 / drawn.len() as f32
        };
        (inside && !drawn.is_empty()).then(|| [mean(0), mean(1)])
    };
    let ([x, y], [to_x, to_y]) = (centre(frames.first()?)?, centre(frames.last()?)?);
    Some([to_x - x, to_y - y])
}

/// Forwards the pixels move where the caption says; backwards they move the opposite way.
#[test]
fn reversed_frames_move_the_opposite_way() {
    let mut seen = 0;
    for clip in clips(Split::Train, 800).filter(|clip| clip.objects.len() == 1) {
        let [Event { change: Change::Move(way), .. }] = clip.events[..] else { continue };
        let mut frames = clip.video(48).frames;
        // Whether it went across an edge: its way is then not the difference of its places.
        let whole = (0..FRAMES).all(|n| clip.scene(n).objects.len() == 1);
        let Some(forwards) = moved(&frames).filter(|_| whole) else { continue };
        frames.reverse();
        let backwards = moved(&frames).expect("the same frames");
        let along = |to: [f32; 2], way: Way| to[0] * way.step()[0] + to[1] * way.step()[1];
        assert!(along(forwards, way) > 10.0, "{way:?} {forwards:?}");
        assert!(along(backwards, way.opposite()) > 10.0, "{way:?} {backwards:?}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

/// In no frame does the place of what moves depend on where it moves: the mean of each tenth of the
/// picture's places is the same for all ways.
#[test]
fn no_frame_tells_the_way() {
    let mut places: HashMap<(&str, usize), [f32; 6]> = HashMap::new();
    for clip in clips(Split::Train, 40_000) {
        let [Event { change: Change::Move(way), .. }] = clip.events[..] else { continue };
        for frame in [0, 3, 7] {
            let object = &clip.seen(frame)[0];
            let [x, y] = [object.x, object.y].map(|at| at.rem_euclid(1.0));
            let right = [x, y, f32::from(x < 0.25), f32::from(x > 0.75), f32::from(y < 0.25), 1.0];
            let sums = places.entry((way.name(), frame)).or_default();
            sums.iter_mut().zip(right).for_each(|(sum, x)| *sum += x);
        }
    }
    assert_eq!(places.len(), 12);
    for ((way, frame), sums) in places {
        let [x, y, left, right, top, count] = sums;
        assert!(count > 800.0, "{count}");
        for (mean, expected) in [(x, 0.5), (y, 0.5), (left, 0.25), (right, 0.25), (top, 0.25)] {
            let mean = mean / count;
            // Four standard deviations of 800 places.
            assert!((mean - expected).abs() < 0.06, "{way} in frame {frame}: {mean}");
        }
    }
}

/// The most frequent answer is no more than a few per cent above chance: of four ways 1/4, of six
/// kinds of change 1/6, of what the same object does first or last 1/5, of ten colours 1/10, else 1/2.
#[test]
fn answers_are_balanced() {
    let mut tally: HashMap<String, HashMap<String, f32>> = HashMap::new();
    let shapes = crate::drawn::look::Shape::ALL.map(|shape| shape.name());
    for index in 0..12_000 {
        let rng = &mut Split::Train.rng(15, 5, index);
        let clip = Clip::random(Split::Train, rng);
        for [mut question, answer] in clip.turns(rng) {
            for shape in shapes {
                question = question.replace(shape, "x");
            }
            let two = answer.starts_with("the ") && !question.contains(" or ");
            if !two {
                *tally.entry(question).or_default().entry(answer).or_default() += 1.0;
            }
        }
    }
    let cases = [
        ("which way does the x move?", 4, 0.03),
        ("where does the x go?", 4, 0.03),
        ("what happens to the x?", 6, 0.03),
        ("what happens first?", 5, 0.03),
        ("what comes last?", 5, 0.03),
        ("what colour is the x at the end?", 10, 0.03),
        ("what colour is the x at first?", 10, 0.03),
        ("does the x move left?", 2, 0.04),
        ("what moves, the x or the x?", 9, 0.04),
    ];
    for (question, choices, slack) in cases {
        let answers = &tally[question];
        assert_eq!(answers.len(), choices, "{question}: {answers:?}");
        let total: f32 = answers.values().sum();
        let most = answers.values().fold(0.0_f32, |most, n| most.max(*n)) / total;
        assert!(most < 1.0 / choices as f32 + slack, "{question}: {most} of {total}");
    }
}
