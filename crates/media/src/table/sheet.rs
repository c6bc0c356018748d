//! The first sheet of a spreadsheet (ECMA-376, <https://ecma-international.org/publications-and-standards/standards/ecma-376/>):
//! XML in a ZIP archive. Its first row that is not empty has the names of the columns.

mod archive;
mod book;

use archive::Archive;
use book::Book;
use roxmltree::{Document, Node, ParsingOptions};

use super::{Cell, MAX_COLUMNS, Raw, empty, kind, wrong};
use crate::Result;

/// Most elements and texts of a part: of a cell there are three.
const MAX_NODES: u32 = 1 << 22;

pub fn read(bytes: &[u8], origin: &str) -> Result<Raw> {
    let damaged = |got: String| {
        let hint = "open and save it again as XLSX or CSV, without a password";
        wrong(origin, "the file", "a whole XLSX file", got, hint)
    };
    let archive = Archive::open(bytes).map_err(damaged)?;
    let book = Book::read(&archive).map_err(damaged)?;
    let text = archive.text(&book.sheet).map_err(damaged)?;
    let sheet = xml(&text).map_err(damaged)?;
    let mut reader =
        Sheet { origin, first: 0, names: Vec::new(), raw: None, row: Vec::new(), at: 0 };
    let mut place = [0, 0];
    for row in children(sheet.root_element(), "sheetData").flat_map(|data| children(data, "row")) {
        place = [number(row, "r").unwrap_or(place[0] + 1), 0];
        for cell in children(row, "c") {
            place = match cell.attribute("r").map(reference) {
                Some(Some(place)) => place,
                Some(None) => {
                    return Err(damaged(format!("a cell called {:?}", cell.attribute("r"))));
                }
                None => [place[0], place[1] + 1],
            };
            let value = book.cell(cell).map_err(|got| {
                let place = format!("row {}, column {}", place[0], place[1]);
                wrong(origin, place, "a value", got, "mend the formula, or empty the cell")
            })?;
            reader.push(place, value)?;
        }
    }
    reader.finish()
}

/// Parses a part; entities of its own are refused.
fn xml(text: &str) -> std::result::Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| error.to_string())
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn number(node: Node<'_, '_>, attribute: &str) -> Option<usize> {
    node.attribute(attribute)?.parse().ok()
}

/// Row and column, from 1, of a cell called `AB12`.
fn reference(name: &str) -> Option<[usize; 2]> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let column = name[..digits].bytes().try_fold(0usize, |column, letter| {
        let letter = letter.is_ascii_uppercase().then(|| usize::from(letter - b'A') + 1)?;
        column.checked_mul(26)?.checked_add(letter)
    })?;
    let row = name[digits..].parse().ok()?;
    (column > 0 && row > 0).then_some([row, column])
}

/// What was read so far.
struct Sheet<'a> {
    origin: &'a str,
    /// Column of the first name.
    first: usize,
    names: Vec<String>,
    /// Once the names are known.
    raw: Option<Raw>,
    /// The row that is being read, and its number.
    row: Vec<Cell>,
    at: usize,
}

impl Sheet<'_> {
    fn push(&mut self, [row, column]: [usize; 2], cell: Cell) -> Result<()> {
        if cell == Cell::Missing {
            return Ok(());
        }
        let refused = |expected, got, hint| {
            Err(wrong(self.origin, format!("row {row}, column {column}"), expected, got, hint))
        };
        if self.names.is_empty() {
            (self.first, self.at) = (column, row);
        }
        if row < self.at {
            let hint = "open and save it again as XLSX or CSV";
            return refused("rows in order", "one of those before", hint);
        }
        let width =
            if row > self.at || self.raw.is_some() { self.names.len() } else { MAX_COLUMNS };
        let Some(at) = column.checked_sub(self.first).filter(|at| *at < width) else {
            let hint =
                "the first row has the names of all columns, and nothing stands beside the table";
            return refused("a column with a name", "a cell without one", hint);
        };
        while self.at < row {
            self.end()?;
        }
        match self.raw {
            Some(_) => self.row[at] = cell,
            None => {
                self.names.resize(self.names.len().max(at + 1), String::new());
                self.names[at] = kind::text(&cell);
            }
        }
        Ok(())
    }

    /// Ends the row that is being read.
    fn end(&mut self) -> Result<()> {
        self.at += 1;
        match &mut self.raw {
            Some(raw) => raw.push(std::mem::take(&mut self.row), self.origin)?,
            None => self.raw = Some(Raw::named(self.names.iter().cloned(), self.origin)?),
        }
        self.row = vec![Cell::Missing; self.names.len()];
        Ok(())
    }

    fn finish(mut self) -> Result<Raw> {
        if self.names.is_empty() {
            return Err(empty(self.origin, "an empty first sheet"));
        }
        self.end()?;
        self.raw.ok_or_else(|| empty(self.origin, "no rows"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_letters_and_digits() {
        for (name, want) in [
            ("A1", Some([1, 1])),
            ("Z9", Some([9, 26])),
            ("AA10", Some([10, 27])),
            ("XFD1048576", Some([1_048_576, 16_384])),
            ("A0", None),
            ("a1", None),
            ("1", None),
            ("A", None),
            ("A-1", None),
            ("ZZZZZZZZZZZZZZZZZZZZ1", None),
            ("Ä1", None),
        ] {
            assert_eq!(reference(name), want, "{name}");
        }
    }
}
