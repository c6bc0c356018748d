//! Where things go in a clip. Its edges are joined, so a place is an angle.

use std::f32::consts::TAU;

use sensorium_data::drawn::clips::Way;
use sensorium_data::look::Color;
use sensorium_media::{Picture, Video};

use super::pieces::pieces;
use super::{SIDE, at_most};

/// What moves, moves by a third; less than so much is none.
const LEAST: f32 = 0.17;

/// Which way that thing of a clip goes which goes furthest; nothing if all stay. Things are told apart by colour.
pub fn motion(video: &Video) -> Option<Way> {
    let frames: Vec<_> = video.pictures().map(places).collect();
    let paths = Color::ALL.map(|color| {
        let steps = frames.windows(2).filter_map(|pair| {
            let (from, to) = (pair[0][color as usize]?, pair[1][color as usize]?);
            // The shorter way round.
            Some([0, 1].map(|axis| (to[axis] - from[axis] + 0.5).rem_euclid(1.0) - 0.5))
        });
        steps.fold([0.0; 2], |[x, y], step| [x + step[0], y + step[1]])
    });
    let far = |[x, y]: &[f32; 2]| x.abs().max(y.abs());
    let [x, y] = paths.into_iter().max_by(|a, b| far(a).total_cmp(&far(b)))?;
    if far(&[x, y]) < LEAST {
        return None;
    }
    Some(match (x.abs() >= y.abs(), x < 0.0, y < 0.0) {
        (true, true, _) => Way::Left,
        (true, false, _) => Way::Right,
        (false, _, true) => Way::Up,
        (false, _, false) => Way::Down,
    })
}

/// The share of a clip's frames that show something of a colour.
pub fn kept(video: &Video, color: Color) -> f64 {
    let shown = video.pictures().filter(|picture| places(picture)[color as usize].is_some());
    shown.count() as f64 / video.frames.len().max(1) as f64
}

/// Where the middle of all that has each colour lies, as fractions of the picture's edges.
fn places(picture: &Picture) -> [Option<[f32; 2]>; Color::ALL.len()] {
    let picture = at_most(picture, SIDE);
    let edges = [picture.width as f32, picture.height as f32];
    let mut sums = [[0.0; 4]; Color::ALL.len()];
    for piece in pieces(&picture) {
        for [x, y, covered] in piece.pixels() {
            let [(sx, cx), (sy, cy)] = [x / edges[0], y / edges[1]].map(|at| (at * TAU).sin_cos());
            let sums = &mut sums[piece.color as usize];
            sums.iter_mut().zip([sx, cx, sy, cy]).for_each(|(sum, part)| *sum += covered * part);
        }
    }
    sums.map(|[sx, cx, sy, cy]| {
        let is_there = [sx, cx, sy, cy] != [0.0; 4];
        is_there.then(|| [sx.atan2(cx), sy.atan2(cy)].map(|angle| (angle / TAU).rem_euclid(1.0)))
    })
}
