//! Curves of one or more runs as SVG pictures.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::error::{Result, TrainError};
use crate::log::{self, Metrics};

/// Width and height in pixels.
const SIZE: (u32, u32) = (880, 480);
/// More points than this only make the picture heavy.
const MAX_POINTS: usize = 800;
/// Values beyond this are left out: the axis could not be labelled.
const MAX_VALUE: f64 = 1e30;
/// Colours that differ for colour-blind readers too. Okabe and Ito 2008,
/// <https://jfly.uni-koeln.de/color/>.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// One run's values of one metric: `(step, value)`.
type Curve = Vec<(f64, f64)>;

struct Run {
    name: String,
    steps: Vec<Metrics>,
}

/// Draws every metric of the runs, one picture a metric and one colour a run, into `plots/` of the
/// first run directory. Returns the pictures.
///
/// # Errors
/// [`TrainError::NothingToPlot`] if a run has no steps; errors of reading and writing.
pub fn plot(run_dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let Some(first) = run_dirs.first() else {
        return Err(TrainError::NothingToPlot { path: PathBuf::new() });
    };
    let runs = run_dirs.iter().map(|dir| read(dir)).collect::<Result<Vec<_>>>()?;
    let plots = first.join("plots");
    fs::create_dir_all(&plots).map_err(TrainError::io("create", &plots))?;

    let mut pictures = Vec::new();
    for metric in metrics(&runs) {
        let curves: Vec<Curve> = runs.iter().map(|run| curve(run, &metric)).collect();
        if curves.iter().all(Vec::is_empty) {
            continue;
        }
        let path = plots.join(format!("{}.svg", file_name(&metric)));
        let picture = draw(&metric, &runs, &curves)
            .map_err(|message| TrainError::Plot { path: path.clone(), message })?;
        fs::write(&path, picture).map_err(TrainError::io("write", &path))?;
        pictures.push(path);
    }
    Ok(pictures)
}

fn read(dir: &Path) -> Result<Run> {
    let steps = log::read(dir)?;
    if steps.is_empty() {
        return Err(TrainError::NothingToPlot { path: dir.to_owned() });
    }
    let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
    Ok(Run { name: printable(&name), steps })
}

/// Names of all metrics in the order of their first appearance.
fn metrics(runs: &[Run]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = runs.iter().flat_map(|run| &run.steps).flat_map(Metrics::scalars);
    names.filter(|(name, _)| seen.insert(*name)).map(|(name, _)| name.to_owned()).collect()
}

fn curve(run: &Run, metric: &str) -> Curve {
    let value = |step: &Metrics| {
        let (_, value) = step.scalars().find(|(name, _)| *name == metric)?;
        // Also leaves out what is not a number.
        (value.abs() <= MAX_VALUE).then_some((step.step as f64, value))
    };
    run.steps.iter().filter_map(value).collect()
}

fn draw(metric: &str, runs: &[Run], curves: &[Curve]) -> std::result::Result<String, String> {
    let mut svg = String::new();
    draw_on(SVGBackend::with_string(&mut svg, SIZE), metric, runs, curves)
        .map_err(|error| error.to_string())?;
    Ok(svg)
}

/// Raw values in a light shade and a smoothed line over them.
fn draw_on(
    backend: SVGBackend,
    metric: &str,
    runs: &[Run],
    curves: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // The learning rate has no noise, and its corners are to be seen.
    let line = if metric == "learning_rate" { thin } else { smooth };
    let lines: Vec<Curve> = curves.iter().map(|curve| line(curve)).collect();
    let (x, y) = (x_range(curves), y_range(curves, &lines));
    let title = match runs {
        [run] => format!("{}: {}", run.name, label(metric)),
        _ => label(metric),
    };
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.4))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .x_desc("step")
        .y_desc(label(metric))
        .x_label_formatter(&|step| number(*step))
        .y_label_formatter(&|value| number(*value))
        .draw()?;
    let colours = COLOURS.iter().cycle();
    for (((run, curve), line), colour) in runs.iter().zip(curves).zip(lines).zip(colours) {
        let inside = |(step, value): (f64, f64)| (step, value.clamp(y.start, y.end));
        let raw = LineSeries::new(thin(curve).into_iter().map(inside), colour.mix(0.25).filled());
        chart.draw_series(raw.point_size(if curve.len() == 1 { 3 } else { 0 }))?;
        let line = line.into_iter().map(inside);
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(&run.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if runs.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .label_font(("sans-serif", 15))
            .draw()?;
    }
    area.present()?;
    Ok(())
}

/// From the first step to the last.
fn x_range(curves: &[Curve]) -> Range<f64> {
    let steps = || curves.iter().flatten().map(|(step, _)| *step);
    widen(steps().fold(f64::INFINITY, f64::min), steps().fold(f64::NEG_INFINITY, f64::max))
}

/// All smoothed values and nearly all raw ones: a few spikes must not press the rest into a flat
/// line. What is outside is drawn on the border.
fn y_range(curves: &[Curve], lines: &[Curve]) -> Range<f64> {
    let mut values: Vec<f64> = curves.iter().flatten().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let outliers = values.len() / 100;
    let nearly_all = [values[outliers], values[values.len() - 1 - outliers]];
    let shown = || lines.iter().flatten().map(|(_, value)| *value).chain(nearly_all);
    let low = shown().fold(f64::INFINITY, f64::min);
    let high = shown().fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.05 * (high - low);
    widen(low - margin, high + margin)
}

/// A range wide enough for ticks that differ as floating-point numbers.
fn widen(low: f64, high: f64) -> Range<f64> {
    let least = (1e-6 * low.abs().max(high.abs())).max(1e-12);
    if high - low >= least {
        return low..high;
    }
    let middle = low + (high - low) / 2.0;
    let half = (0.1 * middle.abs()).max(1e-6);
    middle - half..middle + half
}

/// At most about [`MAX_POINTS`] points: the lowest and the highest of every stretch.
fn thin(curve: &[(f64, f64)]) -> Curve {
    let stretch = 2 * curve.len().div_ceil(MAX_POINTS);
    if stretch <= 2 {
        return curve.to_vec();
    }
    curve.chunks(stretch).flat_map(extremes).collect()
}

/// Lowest and highest point, in the order of their steps.
fn extremes(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + use<> {
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let low = points.iter().min_by(by_value).copied();
    let high = points.iter().max_by(by_value).copied();
    let swap = low.map(|point| point.0) > high.map(|point| point.0);
    let pair = if swap { [high, low] } else { [low, high] };
    pair.into_iter().flatten()
}

/// What the values are around a step, without lag and without spikes: the mean of the middle half of
/// a window of a fiftieth of the run, centred on the step.
fn smooth(curve: &[(f64, f64)]) -> Curve {
    let half = curve.len() / 100;
    let around = |index: usize| {
        let end = curve.len().min(index + half + 1);
        (curve[index].0, middle(&curve[index.saturating_sub(half)..end]))
    };
    let stride = curve.len().div_ceil(MAX_POINTS).max(1);
    let last = curve.len().checked_sub(1).filter(|last| last % stride != 0);
    (0..curve.len()).step_by(stride).chain(last).map(around).collect()
}

/// Mean of the values between the first and the third quartile.
fn middle(points: &[(f64, f64)]) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let inner = &values[quarter..values.len() - quarter];
    inner.iter().sum::<f64>() / inner.len() as f64
}

fn label(metric: &str) -> String {
    match metric {
        "learning_rate" => "learning rate".to_owned(),
        "grad_norm" => "gradient norm".to_owned(),
        "samples_per_second" => "samples / s".to_owned(),
        "gflops" => "GFLOP / s".to_owned(),
        other => printable(&other.replace('_', " ")),
    }
}

/// A tick: four digits are enough for any axis of a curve.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}").replace(".00e", "e");
    }
    let digits = (3 - size.max(1e-3).log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// XML has no control characters.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn file_name(metric: &str) -> String {
    metric.replace(|c: char| !(c.is_alphanumeric() || c == '-'), "_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::log::RunLog;

    fn run(parent: &Path, name: &str, values: impl IntoIterator<Item = f64>) -> PathBuf {
        let dir = parent.join(name);
        let mut log = RunLog::create(&dir, "").unwrap();
        for (step, loss) in (0..).zip(values) {
            let extra = BTreeMap::from([("val/accuracy".to_owned(), 1.0 - loss)]);
            let rate = 1e-3 * (1.0 + (step as f64 / 300.0).cos());
            log.write(&Metrics { step, loss, learning_rate: rate, extra, ..Metrics::default() })
                .unwrap();
        }
        dir
    }

    /// A noisy curve like that of a loss.
    fn losses(count: u64, offset: f64) -> impl Iterator<Item = f64> {
        (0..count).map(move |step| {
            let noise = (step.wrapping_mul(2_654_435_761) % 1000) as f64 / 1000.0 - 0.5;
            let spike = if step % 397 == 396 { 20.0 } else { 0.0 };
            offset + 2.0 * (-(step as f64) / 200.0).exp() + 0.3 * noise + spike
        })
    }

    #[test]
    fn every_metric_of_a_run_gets_a_labelled_picture() {
        let parent = tempfile::tempdir().unwrap();
        let pictures = plot(&[run(parent.path(), "clip <tiny>", losses(3000, 0.5))]).unwrap();
        let names: Vec<_> =
            pictures.iter().map(|path| path.file_stem().unwrap().to_string_lossy()).collect();
        assert_eq!(
            names,
            ["loss", "learning_rate", "grad_norm", "samples_per_second", "gflops", "val_accuracy"]
        );
        let svg = fs::read_to_string(&pictures[1]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["clip &lt;tiny&gt;: learning rate", "step", "0.001", "2500"] {
            assert!(svg.contains(&format!("\n{text}\n")), "no text `{text}` in {svg}");
        }
        assert!(svg.len() < 100_000, "{} bytes", svg.len());
    }

    #[test]
    fn runs_are_compared_in_one_picture() {
        let parent = tempfile::tempdir().unwrap();
        let runs =
            [("a", 0.5), ("b", 1.0)].map(|(name, at)| run(parent.path(), name, losses(900, at)));
        let pictures = plot(&runs).unwrap();
        assert_eq!(pictures[0], runs[0].join("plots/loss.svg"));
        let svg = fs::read_to_string(&pictures[0]).unwrap();
        assert!(svg.contains("\na\n") && svg.contains("\nb\n"));
    }

    #[test]
    fn odd_values_neither_hang_nor_panic() {
        let odd: [&[f64]; 9] = [
            &[1.0],
            &[0.0, 0.0],
            &[f64::NAN, 1.0, f64::INFINITY, 2.0],
            &[f64::MAX, -f64::MAX, 1.0],
            &[1e30, -1e30],
            &[1e6, 1e6 + 1e-9],
            &[1e-300, 2e-300],
            &[f64::MIN_POSITIVE, 1e30],
            &[-1.0, -2.0, -1e-20],
        ];
        let parent = tempfile::tempdir().unwrap();
        for (index, values) in odd.iter().enumerate() {
            let dir = run(parent.path(), &index.to_string(), values.iter().copied());
            assert!(!plot(&[dir]).unwrap().is_empty());
        }
        let nothing = run(parent.path(), "none", []);
        assert!(matches!(plot(&[nothing]), Err(TrainError::NothingToPlot { .. })));
        assert!(matches!(plot(&[]), Err(TrainError::NothingToPlot { .. })));
        let nan = run(parent.path(), "nan", [f64::NAN]);
        assert!(!plot(&[nan]).unwrap().iter().any(|path| path.ends_with("loss.svg")));
    }

    #[test]
    fn a_long_curve_keeps_its_extremes() {
        let curve: Curve =
            (0..100_001).map(|i| (i as f64, if i == 70_007 { 9.0 } else { 0.0 })).collect();
        let thinned = thin(&curve);
        assert!(thinned.len() <= MAX_POINTS + 2 && thinned.contains(&(70_007.0, 9.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let smoothed = smooth(&curve);
        assert_eq!(smoothed.last().map(|point| point.0), Some(100_000.0));
        assert!(smoothed.iter().all(|point| point.1 == 0.0), "one spike leaves no trace");
        let line: Curve = (0..1000).map(|i| (i as f64, i as f64)).collect();
        assert!(
            smooth(&line)[10..].iter().all(|(step, value)| (step - value).abs() < 6.0),
            "no lag"
        );
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.001, "0.001"),
            (0.25, "0.25"),
            (1.5, "1.5"),
            (1500.0, "1500"),
            (2e6, "2e6"),
            (1.25e-5, "1.25e-5"),
            (-0.5, "-0.5"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
