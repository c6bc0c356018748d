//! A picture's paper, and the pieces that lie on it.

use sensorium_data::look::Color;
use sensorium_media::Picture;

/// How far from the paper a pixel is that is none of it, at least, in steps of 255.
const OFF_PAPER: f32 = 40.0;
/// A pixel is of an object if it is so far from the paper as a share of the furthest of those around it: about half
/// of it is covered.
const COVERED: f32 = 0.45;
/// How many pixels around.
const AROUND: usize = 2;
/// The darkest channel of the darkest paper is lighter.
const LIGHT: f32 = 185.0;
/// The smallest object covers more of the picture.
const SMALLEST: f32 = 0.003;

/// What lies on the paper: connected, of one colour.
pub struct Piece {
    pub color: Color,
    /// Column and row of the upper left of what follows.
    pub at: [i32; 2],
    pub width: usize,
    /// How much of each pixel it covers, 0 to 1, holes filled; row by row, with an empty frame of one pixel.
    pub coverage: Vec<f32>,
}

impl Piece {
    /// Pixels that it covers.
    pub fn area(&self) -> f32 {
        self.coverage.iter().sum()
    }

    /// Column and row of each pixel, and how much of it is covered.
    pub fn pixels(&self) -> impl Iterator<Item = [f32; 3]> {
        let place =
            |n: usize| [self.at[0] + (n % self.width) as i32, self.at[1] + (n / self.width) as i32];
        self.coverage.iter().enumerate().map(move |(n, &covered)| {
            let [x, y] = place(n);
            [x as f32, y as f32, covered]
        })
    }
}

type Rgb = [f32; 3];

/// A picture whose paper is known.
struct Sheet {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
    /// Of each row.
    paper: Vec<Rgb>,
    /// How far each pixel is from the paper.
    off: Vec<f32>,
}

/// All pieces but those that are smaller than any object.
pub fn pieces(picture: &Picture) -> Vec<Piece> {
    let sheet = Sheet::new(picture);
    let labels = sheet.labels();
    let least = SMALLEST * sheet.pixels.len() as f32;
    let count = labels.iter().copied().max().unwrap_or(0);
    let pieces = (1..=count).map(|label| sheet.piece(&labels, label));
    pieces.filter(|piece| piece.area() >= least).collect()
}

impl Sheet {
    fn new(picture: &Picture) -> Self {
        let rgb = |pixel: &[u8]| [pixel[0], pixel[1], pixel[2]].map(f32::from);
        let pixels: Vec<Rgb> = picture.pixels.chunks_exact(3).map(rgb).collect();
        let (width, height) = (picture.width as usize, picture.height as usize);
        let paper = paper(&pixels, width);
        let off = pixels.iter().enumerate().map(|(n, &pixel)| apart(pixel, paper[n / width]));
        Self { width, height, off: off.collect(), pixels, paper }
    }

    /// For each pixel the number of its piece, from 1; 0 for the paper.
    fn labels(&self) -> Vec<usize> {
        let covered: Vec<bool> = (0..self.pixels.len()).map(|n| self.is_covered(n)).collect();
        let mut labels = vec![0; covered.len()];
        let mut count = 0;
        for start in 0..covered.len() {
            if !covered[start] || labels[start] > 0 {
                continue;
            }
            count += 1;
            labels[start] = count;
            let mut open = vec![start];
            while let Some(n) = open.pop() {
                for near in self.around(n, 1).filter(|&near| covered[near]) {
                    if labels[near] == 0 {
                        labels[near] = count;
                        open.push(near);
                    }
                }
            }
        }
        labels
    }

    fn is_covered(&self, n: usize) -> bool {
        let furthest = self.around(n, AROUND).map(|near| self.off[near]).fold(0.0, f32::max);
        self.off[n] > OFF_PAPER && self.off[n] > COVERED * furthest
    }

    /// Pixels at most so many columns and rows away, itself among them.
    fn around(&self, n: usize, far: usize) -> impl Iterator<Item = usize> + use<'_> {
        let (x, y) = (n % self.width, n / self.width);
        let columns = x.saturating_sub(far)..(x + far + 1).min(self.width);
        let rows = y.saturating_sub(far)..(y + far + 1).min(self.height);
        rows.flat_map(move |row| columns.clone().map(move |column| row * self.width + column))
    }

    fn piece(&self, labels: &[usize], label: usize) -> Piece {
        let own: Vec<usize> = (0..labels.len()).filter(|&n| labels[n] == label).collect();
        let (color, rgb) = self.color(&own);
        let edge = |of: &dyn Fn(usize) -> usize| {
            let (low, high) = own
                .iter()
                .fold((usize::MAX, 0), |(low, high), &n| (low.min(of(n)), high.max(of(n))));
            (low as i32 - 2, high + 5 - low)
        };
        let ((left, width), (top, height)) = (edge(&|n| n % self.width), edge(&|n| n / self.width));
        let mut coverage = vec![0.0; width * height];
        for &n in &own {
            // What is around it and of no other piece is covered in part.
            for near in self.around(n, 1).filter(|&near| labels[near] == label || labels[near] == 0)
            {
                let (x, y) = ((near % self.width) as i32 - left, (near / self.width) as i32 - top);
                let paper = self.paper[near / self.width];
                coverage[y as usize * width + x as usize] = share(self.pixels[near], paper, rgb);
            }
        }
        fill(&mut coverage, width);
        Piece { color, at: [left, top], width, coverage }
    }

    /// The colour of most of its pixels that are fully covered, and as what it is drawn.
    fn color(&self, own: &[usize]) -> (Color, Rgb) {
        let mut off: Vec<f32> = own.iter().map(|&n| self.off[n]).collect();
        off.sort_by(f32::total_cmp);
        let far = 0.85 * off.get(off.len() * 9 / 10).copied().unwrap_or_default();
        let mut of = Color::ALL.map(|_| Vec::new());
        for &n in own.iter().filter(|&&n| self.off[n] >= far) {
            let paper = self.paper[n / self.width];
            of[nearest(self.pixels[n], paper) as usize].push(self.pixels[n]);
        }
        let most = Color::ALL.into_iter().max_by_key(|&color| of[color as usize].len());
        let color = most.unwrap_or(Color::Black);
        let votes = &of[color as usize];
        let mean =
            |c: usize| votes.iter().map(|rgb| rgb[c]).sum::<f32>() / votes.len().max(1) as f32;
        (color, std::array::from_fn(mean))
    }
}

/// The paper's colour in each row: a line through the light pixels, drawn again through those that are near it.
fn paper(pixels: &[Rgb], width: usize) -> Vec<Rgb> {
    let light = |pixel: &Rgb| pixel.iter().all(|&value| value >= LIGHT);
    let rows = pixels.len() / width;
    let mut own: Vec<bool> = pixels.iter().map(light).collect();
    let mut paper = vec![[255.0; 3]; rows];
    for _ in 0..3 {
        if own.iter().filter(|&&own| own).count() * 20 < own.len() {
            break;
        }
        paper = line(pixels, &own, width);
        let near = |(n, &pixel): (usize, &Rgb)| apart(pixel, paper[n / width]) < 24.0;
        own = pixels.iter().enumerate().map(near).collect();
    }
    paper
}

/// Least squares of each channel over the rows of these pixels.
fn line(pixels: &[Rgb], own: &[bool], width: usize) -> Vec<Rgb> {
    let own: Vec<(f32, Rgb)> = pixels
        .iter()
        .zip(own)
        .enumerate()
        .filter(|(_, (_, own))| **own)
        .map(|(n, (&pixel, _))| ((n / width) as f32, pixel))
        .collect();
    let mean = |of: &dyn Fn(&(f32, Rgb)) -> f32| own.iter().map(of).sum::<f32>() / own.len() as f32;
    let row = mean(&|own| own.0);
    let spread = mean(&|own| (own.0 - row).powi(2)).max(f32::EPSILON);
    let lines: [[f32; 2]; 3] = std::array::from_fn(|c| {
        let value = mean(&|own| own.1[c]);
        [value, mean(&|own| (own.0 - row) * (own.1[c] - value)) / spread]
    });
    let at = |y: usize| lines.map(|[value, slope]| value + slope * (y as f32 - row));
    (0..pixels.len() / width).map(at).collect()
}

/// The largest difference of a channel.
fn apart(a: Rgb, b: Rgb) -> f32 {
    (0..3).map(|c| (a[c] - b[c]).abs()).fold(0.0, f32::max)
}

/// How far on its way from paper to ink a pixel is.
fn share(pixel: Rgb, paper: Rgb, ink: Rgb) -> f32 {
    let dot = |a: Rgb, b: Rgb| (0..3).map(|c| (a[c] - paper[c]) * (b[c] - paper[c])).sum::<f32>();
    (dot(pixel, ink) / dot(ink, ink).max(1.0)).clamp(0.0, 1.0)
}

/// How much of a pixel is at least covered whose colour is told, and how much nearer a colour must be for each share
/// of the pixel that it leaves to the paper.
const INKED: [f32; 5] = [1.0, 0.85, 0.7, 0.55, 0.4];
const BARE: f32 = 40.0;

/// The colour one of whose tones, on this paper, is nearest: thin lines cover their pixels in part.
fn nearest(pixel: Rgb, paper: Rgb) -> Color {
    let far = |color: Color| {
        let [from, to] = color.ends().map(|end| end.map(f32::from));
        let over = INKED.iter().map(|inked| {
            let [from, to] = [from, to].map(|end| between(paper, end, *inked));
            let tone = between(from, to, share(pixel, from, to));
            let apart = (0..3).map(|c| (pixel[c] - tone[c]).powi(2)).sum::<f32>().sqrt();
            apart + BARE * (1.0 - inked)
        });
        over.fold(f32::INFINITY, f32::min)
    };
    let nearest = Color::ALL.into_iter().min_by(|&a, &b| far(a).total_cmp(&far(b)));
    nearest.unwrap_or(Color::Black)
}

/// The colour so far on the way from one to another.
fn between(from: Rgb, to: Rgb, along: f32) -> Rgb {
    std::array::from_fn(|c| from[c] + along * (to[c] - from[c]))
}

/// Covers what no way over less than half covered pixels leads to from the frame.
fn fill(coverage: &mut [f32], width: usize) {
    let mut outside = vec![false; coverage.len()];
    let mut open = vec![0];
    while let Some(n) = open.pop() {
        if outside[n] || coverage[n] >= COVERED {
            continue;
        }
        outside[n] = true;
        let (x, y) = (n % width, n / width);
        open.extend((x > 0).then(|| n - 1));
        open.extend((x + 1 < width).then_some(n + 1));
        open.extend((y > 0).then(|| n - width));
        open.extend(Some(n + width).filter(|&n| n < coverage.len()));
    }
    let inside = |n: usize| !outside[n] && coverage[n] < COVERED;
    let holes: Vec<usize> = (0..coverage.len()).filter(|&n| inside(n)).collect();
    holes.into_iter().for_each(|n| coverage[n] = 1.0);
}
