//! What a workbook says of all its sheets: which is the first, its texts, and which numbers are dates.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::archive::Archive;
use super::{children, number, xml};
use crate::table::Cell;

/// Days from 1899-12-30, where numbers of dates begin, to 1970-01-01; and from 1904-01-01, of older Macs.
const EPOCHS: [f64; 2] = [25_569.0, 24_107.0];

/// See the [module](self).
pub struct Book {
    /// The part of the first sheet.
    pub sheet: String,
    texts: Vec<String>,
    /// Which of the cells' formats are dates.
    dates: Vec<bool>,
    epoch: f64,
}

impl Book {
    /// # Errors
    /// A part is missing or damaged.
    pub fn read(archive: &Archive<'_>) -> Result<Self, String> {
        let text = archive.text("xl/workbook.xml")?;
        let book = xml(&text)?;
        let root = book.root_element();
        let is_old = |properties: Node<'_, '_>| {
            properties.attribute("date1904").is_some_and(|old| old == "1" || old == "true")
        };
        let epoch = EPOCHS[usize::from(children(root, "workbookPr").any(is_old))];
        let first = children(root, "sheets").flat_map(|sheets| children(sheets, "sheet")).next();
        // Its namespace has two names, of which writers choose one.
        let id = first.and_then(|sheet| sheet.attributes().find(|a| a.name() == "id"));
        let id = id.ok_or("no sheet")?.value();

        let text = archive.text("xl/_rels/workbook.xml.rels")?;
        let relations = xml(&text)?;
        let mut relations = children(relations.root_element(), "Relationship");
        let target = relations.find(|relation| relation.attribute("Id") == Some(id));
        let target = target.and_then(|relation| relation.attribute("Target"));
        let target = target.ok_or_else(|| format!("no sheet {id}"))?;
        let sheet = match target.strip_prefix('/') {
            Some(target) => target.to_owned(),
            None => format!("xl/{target}"),
        };
        let part = |name: &str| -> Result<Option<String>, String> {
            archive.has(name).then(|| archive.text(name)).transpose()
        };
        let texts = part("xl/sharedStrings.xml")?.map(|text| texts(&text)).transpose()?;
        let dates = part("xl/styles.xml")?.map(|text| dates(&text)).transpose()?;
        Ok(Self {
            sheet,
            texts: texts.unwrap_or_default(),
            dates: dates.unwrap_or_default(),
            epoch,
        })
    }

    /// What a cell holds.
    ///
    /// # Errors
    /// Its formula has none, or it refers to a text that is not there.
    pub fn cell(&self, cell: Node<'_, '_>) -> Result<Cell, String> {
        let value = children(cell, "v").filter_map(|value| value.text()).next();
        let text = |text: &str| match text.trim() {
            "" => Cell::Missing,
            text => Cell::Category(text.to_owned()),
        };
        Ok(match (cell.attribute("t").unwrap_or("n"), value) {
            ("inlineStr", _) => text(&children(cell, "is").map(written).collect::<String>()),
            (_, None) | ("e", Some("#N/A")) => Cell::Missing,
            ("e", Some(error)) => return Err(error.to_owned()),
            ("b", Some(value)) => Cell::Boolean(value == "1" || value == "true"),
            ("str" | "d", Some(value)) => text(value),
            ("s", Some(value)) => {
                let shared = value.parse().ok().and_then(|at: usize| self.texts.get(at));
                text(shared.ok_or_else(|| format!("the text {value}, of {}", self.texts.len()))?)
            }
            (_, Some(value)) => {
                let parsed: f64 =
                    value.trim().parse().map_err(|_| format!("the number {value:?}"))?;
                let is_date = number(cell, "s").and_then(|style| self.dates.get(style).copied());
                match is_date {
                    Some(true) => Cell::Date(parsed - self.epoch),
                    _ => Cell::Number(parsed),
                }
            }
        })
    }
}

/// Texts that several cells share.
fn texts(part: &str) -> Result<Vec<String>, String> {
    Ok(children(xml(part)?.root_element(), "si").map(written).collect())
}

/// A text in one piece or in pieces of several looks, without how it is said.
fn written(node: Node<'_, '_>) -> String {
    let pieces = node.children().flat_map(|child| match child.tag_name().name() {
        "t" => vec![child],
        "r" => children(child, "t").collect(),
        _ => Vec::new(),
    });
    pieces.filter_map(|piece| piece.text()).collect()
}

/// Of each of the cells' formats, whether it is a date.
fn dates(part: &str) -> Result<Vec<bool>, String> {
    let styles = xml(part)?;
    let root = styles.root_element();
    let formats = children(root, "numFmts").flat_map(|formats| children(formats, "numFmt"));
    let own = |format: Node<'_, '_>| {
        Some((number(format, "numFmtId")?, is_date(format.attribute("formatCode")?)))
    };
    let own: BTreeMap<usize, bool> = formats.filter_map(own).collect();
    let cells = children(root, "cellXfs").flat_map(|cells| children(cells, "xf"));
    Ok(cells
        .map(|cell| match number(cell, "numFmtId") {
            // Those that have no code, as every program knows them; 18 to 21 are times of day.
            Some(14..=17 | 22 | 27..=36 | 50..=58) => true,
            Some(id) => own.get(&id).copied().unwrap_or_default(),
            None => false,
        })
        .collect())
}

/// Whether a format shows days or years: `yyyy\-mm\-dd`, `[$-407]d. mmm`; not `0.0 "days"`.
fn is_date(code: &str) -> bool {
    let mut letters = code.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => letters.by_ref().take_while(|&c| c != '"').for_each(drop),
            '[' => letters.by_ref().take_while(|&c| c != ']').for_each(drop),
            '\\' | '_' | '*' => drop(letters.next()),
            'd' | 'D' | 'y' | 'Y' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_dates_show_days_or_years() {
        for (code, want) in [
            ("yyyy\\-mm\\-dd", true),
            ("[$-407]d. mmm", true),
            ("MM/YY", true),
            ("0.0 \"days\"", false),
            ("[Red]0.00", false),
            ("hh:mm:ss", false),
            ("0\\d", false),
            ("General", false),
            ("\"open", false),
        ] {
            assert_eq!(is_date(code), want, "{code}");
        }
    }
}
