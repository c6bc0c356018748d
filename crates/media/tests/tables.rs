//! Tables equal what Python wrote (`reference/table.py`), and bad input is refused by row and column.

use std::path::{Path, PathBuf};

use sensorium_media::table::{Cell, Kind, MAX_CELL_BYTES, MAX_COLUMNS, Table};
use sensorium_media::{Error, Media, MediaDecoder, Modality};
use serde_json::Value;

const FILES: [&str; 10] = [
    "comma.csv",
    "semicolon.csv",
    "tab.tsv",
    "marked.csv",
    "wide.csv",
    "wide_big.csv",
    "lines.jsonl",
    "sheet.xlsx",
    "snappy.parquet",
    "zstd.parquet",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/table").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).expect("goldens/table is committed")
}

fn decode(text: impl AsRef<[u8]>) -> Result<Table, Error> {
    Table::decode(text.as_ref(), "t.csv")
}

fn same(cell: &Cell, want: &Value) -> bool {
    match cell {
        Cell::Missing => want.is_null(),
        Cell::Number(number) => want.as_f64() == Some(*number),
        Cell::Category(text) => want.as_str() == Some(text),
        Cell::Boolean(value) => want.as_bool() == Some(*value),
        Cell::Date(days) => want["days"].as_f64().is_some_and(|want| (want - days).abs() < 1e-9),
    }
}

#[test]
fn every_format_has_the_same_columns_and_rows() {
    let expected: Value = serde_json::from_slice(&bytes("expected.json")).expect("JSON");
    for file in FILES {
        let table = MediaDecoder::here().table(&golden(file)).unwrap_or_else(|e| panic!("{e}"));
        let schema = serde_json::to_value(&table.schema).expect("it has no maps");
        assert_eq!(schema, expected["schema"], "{file}");
        let want = expected["rows"].as_array().expect("rows");
        assert_eq!(table.rows.len(), want.len(), "{file}");
        for (row, want) in table.rows.iter().zip(want) {
            let want = want.as_array().expect("cells");
            let all = row.len() == want.len() && row.iter().zip(want).all(|(c, w)| same(c, w));
            assert!(all, "{file}: {row:?}, not {want:?}");
        }
        assert_eq!(Media::Table(table).modality(), Modality::Table);
    }
}

/// What a child writes down, its parent reads.
#[test]
fn a_table_is_read_as_it_was_written() {
    let table = decode("a,b\n0.1,2024-01-05T00:00:01\n1e300,\n").expect("a table");
    let json = serde_json::to_string(&table).expect("it has no maps");
    assert_eq!(serde_json::from_str::<Table>(&json).expect("its own text"), table);
}

#[test]
fn kinds_are_told_by_all_cells() {
    use Kind::{Boolean, Category, Date, Number};
    for (cells, kind, missing) in [
        (&["1", "-2.5", "3e4"][..], Number, 0),
        (&["1", "", "NaN", "N/A"], Number, 3),
        (&["1", "x"], Category, 0),
        (&["true", "FALSE", "null"], Boolean, 1),
        (&["yes", "no"], Boolean, 0),
        (&["yes", "maybe"], Category, 0),
        (&["2024-01-05", "NA"], Date, 1),
        (&["2024-01-05", "soon"], Category, 0),
        (&["0", "1"], Number, 0),
        (&[" 7 ", "8"], Number, 0),
        (&["x"], Category, 0),
    ] {
        let table = decode(format!("n,c\n1,{}\n", cells.join("\n1,"))).expect("a table");
        let column = &table.schema[1];
        assert_eq!((column.kind, column.missing), (kind, missing), "{cells:?}");
    }
    // In files that have numbers, a text is a text.
    let table = decode("{\"a\": \"1\", \"b\": 1}\n{\"a\": \"NA\", \"b\": null}").expect("a table");
    assert_eq!(
        table.schema.iter().map(|c| (c.kind, c.missing)).collect::<Vec<_>>(),
        [(Category, 0), (Number, 1)]
    );
    // Of several kinds in one column, texts.
    let table = decode("{\"a\": 1.5}\n{\"a\": true}\n{\"a\": \"x\"}").expect("a table");
    let texts = ["1.5", "true", "x"].map(|text| vec![Cell::Category(text.into())]);
    assert_eq!((table.schema[0].kind, table.rows), (Category, texts.into()));
}

#[test]
fn odd_tables_are_read() {
    let size = |text: &str| {
        let table = decode(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(table.rows.iter().all(|row| row.len() == table.schema.len()));
        [table.rows.len(), table.schema.len()]
    };
    let wide = |n: usize| {
        let row = |cell: &dyn Fn(usize) -> String| (0..n).map(cell).collect::<Vec<_>>().join(",");
        format!("{}\n{}\n", row(&|i| format!("c{i}")), row(&|i| i.to_string()))
    };
    for (text, want) in [
        ("a\n1\n2\n", [2, 1]),
        (&wide(10_000), [1, 10_000]),
        ("a,b\r\n1,2\r\n\r\n", [1, 2]),
        ("a,b\n1,2\n,\n,", [1, 2]),
        (",b\n1,2", [1, 2]),
        ("a,b\n\"x,y\",\"1\"\"2\"\n", [1, 2]),
        ("\"a,b;c\";d\n1;2\n", [1, 2]),
        ("a|b\n1|2", [1, 2]),
        ("{\"a\": 1}\n\n{\"b\": 2}\n", [2, 2]),
    ] {
        assert_eq!(size(text), want, "{}", &text[..text.len().min(40)]);
    }
    assert_eq!(decode(",b\n1,2").expect("a table").schema[0].name, "column 1");
}

/// Each with what its error must tell.
#[test]
fn bad_tables_are_refused_by_row_and_column() {
    let long = "x".repeat(MAX_CELL_BYTES + 1);
    let wide = vec!["c"; MAX_COLUMNS + 1].join(",");
    let cases: [(&[u8], &[&str]); 20] = [
        (b"", &["t.csv", "0 bytes"]),
        (b" \n\n", &["only white space"]),
        (b"a,b\n", &["no rows"]),
        (b"a,b\n,\n", &["no rows"]),
        (b"a,b\n1,2\n3\n", &["2 cells", "row 2", "got 1", "double quotes"]),
        (b"a,b\n1,2,3\n", &["row 1", "got 3"]),
        (b"a,b,a\n1,2,3\n", &["each name once", "got a"]),
        (b"a,b\n1,inf\n", &["finite", "row 1, column `b`", "got inf"]),
        (b"a,b\n1,2\nJos\xE9,3\n", &["UTF-8", "line 3", "0xe9", "iconv"]),
        (b"\xFF\xFEa\0\x00\xD8", &["UTF-16", "0xd800"]),
        (b"a\0b\0\n\0", &["table", "CSV, TSV"]),
        (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", &["table", "PNG"]),
        (b"{\"a\": 1}\n{\"a\": }\n", &["object in JSON", "line 2"]),
        (b"{\"a\": 1}\n{\"a\": [1]}\n", &["line 2, column `a`", "a list"]),
        (b"{}\n{}", &["no columns"]),
        (b"[{\"a\": 1}]", &["an object in each line", "jq"]),
        (b"PK\x03\x04 and no more", &["XLSX", "cut short"]),
        (b"PAR1 and no more", &["Parquet"]),
        (long.as_bytes(), &["no rows"]),
        (wide.as_bytes(), &["16384 columns", "16385"]),
    ];
    for (text, told) in cases {
        let error = decode(text).map(drop).expect_err("it is bad").to_string();
        let all = told.iter().all(|part| error.contains(part));
        assert!(all && error.contains("\nhint: "), "{:?}: {error}", &text[..text.len().min(30)]);
    }
    let error = decode(format!("a,b\n1,2\n1,{long}\n")).expect_err("a long cell").to_string();
    assert!(error.contains("row 2, column `b`") && error.contains("32768"), "{error}");
    let error = MediaDecoder::here().table(Path::new("none.csv")).expect_err("no file").to_string();
    assert!(error.contains("none.csv"), "{error}");
}

/// No panic: an error, or the rows that are there.
#[test]
fn cut_and_changed_tables_are_refused_or_read() {
    let mut refused = 0;
    for file in FILES {
        let whole = bytes(file);
        for part in 0..64 {
            refused += usize::from(decode(&whole[..whole.len() * part / 64]).is_err());
            let mut changed = whole.clone();
            changed[part * whole.len() / 64] ^= 0xFF;
            drop(decode(&changed));
        }
    }
    assert!(refused > 300, "{refused} of 640");
}
