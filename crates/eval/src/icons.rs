//! Style: naming icons drawn by people whose style training never sees.

use sensorium_data::icons::{Icons, Style, ZERO_SHOT};
use sensorium_inference::{EmbeddingModel, embed_labels};

use crate::error::Result;
use crate::figure::Figure;
use crate::report::Report;
use crate::{Settings, label};

/// Top-1 among a hundred well-known concepts, in the style held out and in one that is trained on.
/// There is one picture of each, so `samples` can only make them fewer.
///
/// # Errors
/// `icons` below the data folder is missing or damaged.
pub fn measure(model: &dyn EmbeddingModel, settings: &Settings<'_>) -> Result<Report> {
    let dir = settings.data.join("icons");
    let labels = embed_labels(model, &ZERO_SHOT.map(str::to_owned), &model.templates())?;
    let styles = [
        (Style::OpenMoji, "OpenMoji, a style never trained on"),
        (Style::Noto, "Noto, a style to train on"),
    ];
    let mut figures = Vec::new();
    for (row, (style, task)) in styles.into_iter().enumerate() {
        let icons = Icons::open_styles(&dir, &[style])?;
        let mut shown = icons.zero_shot(style, settings.size);
        shown.truncate(settings.samples_or(ZERO_SHOT.len()));
        let (truths, pictures): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        let embedded = model.embed_pictures(&pictures)?;
        let right = embedded
            .iter()
            .zip(&truths)
            .filter(|(picture, truth)| label::nearest(picture, &labels) == **truth)
            .count();
        let counts = [right, truths.len()];
        figures.push(Figure::new(task, "top-1 of 100", counts, 1.0 / ZERO_SHOT.len() as f64));
        (settings.progress)(row + 1, styles.len());
    }
    Ok(Report {
        name: "icons".to_owned(),
        data: "a hundred well-known icons, one picture each".to_owned(),
        seed: settings.seed,
        figures,
        notes: vec![
            "means something only for a model trained on icons; OpenMoji (CC BY-SA 4.0) is for \
             measuring only"
                .to_owned(),
        ],
    })
}
