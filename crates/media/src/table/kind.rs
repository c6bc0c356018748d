//! What a column's cells hold, told by all of them.

use time::{Date, Month};

use super::{Cell, Kind};

/// Spellings of nothing, in small letters.
const MISSING: [&str; 8] = ["", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"];

/// Units behind a name's last `_`: those that are no words or letters with a meaning of their own.
const UNITS: [&str; 30] = [
    "mm", "cm", "km", "kg", "mg", "lb", "lbs", "ms", "ml", "usd", "eur", "gbp", "hz", "khz", "mhz",
    "kwh", "kw", "mv", "kpa", "mmhg", "bpm", "kcal", "percent", "pct", "years", "days", "hours",
    "minutes", "seconds", "celsius",
];

/// The unit that a column's name tells.
pub fn unit(name: &str) -> Option<String> {
    let within = |open: char, close: char| {
        let (before, unit) = name.trim_end().strip_suffix(close)?.rsplit_once(open)?;
        let unit = unit.trim();
        (!before.trim().is_empty() && !unit.is_empty()).then(|| unit.to_owned())
    };
    let behind = || {
        let (before, unit) = name.rsplit_once('_')?;
        let known = UNITS.contains(&unit.to_lowercase().as_str());
        (known && !before.is_empty()).then(|| unit.to_owned())
    };
    within('(', ')').or_else(|| within('[', ']')).or_else(behind)
}

/// Empties a cell that spells nothing.
pub fn miss(cell: &mut Cell) {
    if let Cell::Category(text) = cell
        && MISSING.contains(&text.trim().to_lowercase().as_str())
    {
        *cell = Cell::Missing;
    }
}

/// Makes all cells of column `at` of one kind: where none but texts fits all of them, texts.
///
/// # Errors
/// The row and text of a number that is not finite, in a column of numbers.
pub fn settle(rows: &mut [Vec<Cell>], at: usize, spelt: bool) -> Result<Kind, (usize, String)> {
    for kind in [Kind::Number, Kind::Boolean, Kind::Date] {
        // Files that have numbers have texts on purpose; dates are texts in all of them.
        let of = |cell: &Cell| match cell {
            Cell::Category(text) if spelt || kind == Kind::Date => read(kind, text.trim()),
            other => (kind_of(other) == Some(kind)).then(|| other.clone()),
        };
        let mut cells = rows.iter().map(|row| &row[at]).filter(|cell| **cell != Cell::Missing);
        if cells.clone().next().is_none() || !cells.all(|cell| of(cell).is_some()) {
            continue;
        }
        for (row, n) in rows.iter_mut().zip(1..) {
            let Some(cell) = of(&row[at]) else { continue };
            if let (Cell::Number(number), got) = (&cell, &row[at])
                && !number.is_finite()
            {
                return Err((n, text(got)));
            }
            row[at] = cell;
        }
        return Ok(kind);
    }
    for row in rows.iter_mut().filter(|row| row[at] != Cell::Missing) {
        row[at] = Cell::Category(text(&row[at]));
    }
    Ok(Kind::Category)
}

fn kind_of(cell: &Cell) -> Option<Kind> {
    Some(match cell {
        Cell::Missing => return None,
        Cell::Number(_) => Kind::Number,
        Cell::Category(_) => Kind::Category,
        Cell::Boolean(_) => Kind::Boolean,
        Cell::Date(_) => Kind::Date,
    })
}

/// What a cell holds, as it may be spelt in a file.
pub fn text(cell: &Cell) -> String {
    match cell {
        Cell::Missing => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Category(text) => text.clone(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Date(days) => {
            let all = (days * 86_400_000.0).round() as i64;
            let (day, rest) = (all.div_euclid(86_400_000), all.rem_euclid(86_400_000));
            let date = Date::from_julian_day(EPOCH.saturating_add(day as i32));
            date.map_or_else(|_| days.to_string(), |date| format!("{date}{}", time(rest)))
        }
    }
}

/// Thousandths of a second since midnight, as they stand behind a date: nothing for midnight.
fn time(thousandths: i64) -> String {
    let (seconds, rest) = (thousandths / 1000, thousandths % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (thousandths, rest) {
        (0, _) => String::new(),
        (_, 0) => format!("T{h:02}:{m:02}:{s:02}"),
        _ => format!("T{h:02}:{m:02}:{s:02}.{rest:03}"),
    }
}

/// A text as a cell of that kind, if it spells one.
fn read(kind: Kind, text: &str) -> Option<Cell> {
    match kind {
        Kind::Number => number(text),
        Kind::Boolean => boolean(text),
        Kind::Date => date(text),
        Kind::Category => Some(Cell::Category(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Cell> {
    text.parse().ok().map(Cell::Number)
}

fn boolean(text: &str) -> Option<Cell> {
    match text.to_lowercase().as_str() {
        "true" | "yes" => Some(Cell::Boolean(true)),
        "false" | "no" => Some(Cell::Boolean(false)),
        _ => None,
    }
}

/// 1970-01-01 as a Julian day.
pub const EPOCH: i32 = 2_440_588;

/// `2024-03-09`, also with `T07:30` or ` 07:30:15.5`, whose time zone is passed over.
fn date(text: &str) -> Option<Cell> {
    let (day, time) = match text.split_once(['T', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let digits = |text: &str, n: usize| -> Option<u32> {
        let all = text.len() == n && text.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| text.parse().ok())?
    };
    let mut parts = day.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(digits(month, 2)? as u8).ok()?;
    let date =
        Date::from_calendar_date(digits(year, 4)? as i32, month, digits(day, 2)? as u8).ok()?;
    let seconds = match time {
        Some(time) => {
            let zone = time.find(['Z', '+', '-']).unwrap_or(time.len());
            let mut parts = time[..zone].split(':');
            let (hours, minutes) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
            let seconds: f64 = parts.next().unwrap_or("0").parse().ok()?;
            let sound = hours < 24 && minutes < 60 && (0.0..60.0).contains(&seconds);
            sound.then(|| f64::from(hours * 3600 + minutes * 60) + seconds)?
        }
        None => 0.0,
    };
    let is_all = parts.next().is_none();
    is_all.then(|| Cell::Date(f64::from(date.to_julian_day() - EPOCH) + seconds / 86_400.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_stand_in_brackets_or_behind_the_name() {
        for (name, want) in [
            ("height (cm)", Some("cm")),
            ("height [cm]", Some("cm")),
            ("blood pressure (mmHg) ", Some("mmHg")),
            ("height_cm", Some("cm")),
            ("systolic_mmHg", Some("mmHg")),
            ("height", None),
            ("class_a", None),
            ("price_min", None),
            ("_cm", None),
            ("(cm)", None),
            ("f(x) of y", None),
            ("n ()", None),
        ] {
            assert_eq!(unit(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn dates_are_days_since_1970() {
        for (text, want) in [
            ("1970-01-01", Some(0.0)),
            ("2024-02-29", Some(19_782.0)),
            ("2024-02-29T12:00", Some(19_782.5)),
            ("2024-02-29 06:00:00.0Z", Some(19_782.25)),
            ("2024-02-29T18:00:00+02:00", Some(19_782.75)),
            ("1969-12-31", Some(-1.0)),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("2024-1-1", None),
            ("24-01-01", None),
            ("2024-01-01-01", None),
            ("2024-01-01T25:00", None),
            ("2024-01-01Tnoon", None),
            ("01/02/2024", None),
            ("+024-01-01", None),
        ] {
            assert_eq!(date(text), want.map(Cell::Date), "{text}");
        }
    }
}
