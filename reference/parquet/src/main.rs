//! Writes the Parquet files of `crates/data/tests/samples` with Apache's own library, which the program itself
//! does without:
//!
//! ```text
//! cargo run --manifest-path reference/parquet/Cargo.toml -- crates/data/tests/samples
//! ```

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A column of a group of rows, with its levels of definition and of repetition.
enum Column {
    Bytes(Vec<ByteArray>, Vec<i16>, Vec<i16>),
    Ints(Vec<i64>, Vec<i16>),
}

fn bytes(values: &[&[u8]], defs: &[i16], reps: &[i16]) -> Column {
    let values = values.iter().map(|value| ByteArray::from(value.to_vec())).collect();
    Column::Bytes(values, defs.to_vec(), reps.to_vec())
}

fn texts(values: &[&str], defs: &[i16], reps: &[i16]) -> Column {
    bytes(&values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>(), defs, reps)
}

/// Levels, where a column has any.
fn some(levels: &[i16]) -> Option<&[i16]> {
    (!levels.is_empty()).then_some(levels)
}

fn write(
    path: &Path,
    schema: &str,
    properties: WriterPropertiesBuilder,
    groups: Vec<Vec<Column>>,
) -> Result {
    std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {schema} }}"))?);
    // Pages of one row: what is read finds its way among many.
    let properties = properties.set_data_page_row_count_limit(1).set_write_batch_size(1);
    let mut file =
        SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties.build()))?;
    for group in groups {
        let mut writer = file.next_row_group()?;
        for column in group {
            let mut next = writer.next_column()?.ok_or("a column more than the schema has")?;
            match column {
                Column::Bytes(values, defs, reps) => {
                    next.typed::<ByteArrayType>().write_batch(&values, some(&defs), some(&reps))?
                }
                Column::Ints(values, defs) => {
                    next.typed::<Int64Type>().write_batch(&values, some(&defs), None)?
                }
            };
            next.close()?;
        }
        writer.close()?;
    }
    file.close()?;
    Ok(())
}

const IMAGE: &str = "optional group image { optional binary bytes; optional binary path (UTF8); }";
const PICTURE: &str =
    "optional group element { optional binary bytes; optional binary path (UTF8); }";
const LABELS: &str = r#"{"info": {"features": {"label": {"names": ["blue_square", "red_square"], "_type": "ClassLabel"}}}}"#;

fn list(name: &str, element: &str) -> String {
    format!("optional group {name} (LIST) {{ repeated group list {{ {element} }} }}")
}

fn main() -> Result {
    let samples = std::env::args().nth(1).ok_or("expected the folder of the samples")?;
    let at = |name: &str| Path::new(&samples).join(name);
    let red = std::fs::read(at("folder-csv/red.png"))?;
    let blue = std::fs::read(at("captions-coco/val/8.png"))?;
    let new = || WriterProperties::builder();

    // Pictures with labels, as the hub's library writes them; the third is named only.
    let features = KeyValue::new("huggingface".to_string(), LABELS.to_string());
    let properties = || {
        new()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![features.clone()]))
    };
    let schema = format!("{IMAGE} optional int64 label;");
    write(
        &at("parquet-pictures/train-00000-of-00001.parquet"),
        &schema,
        properties(),
        vec![
            vec![
                bytes(&[&red, &blue], &[2, 2], &[]),
                texts(&["a.png", "b.png"], &[2, 2], &[]),
                Column::Ints(vec![1, 0], vec![1, 1]),
            ],
            vec![
                bytes(&[], &[1], &[]),
                texts(&["blue.png"], &[2], &[]),
                Column::Ints(vec![0], vec![1]),
            ],
        ],
    )?;
    write(
        &at("parquet-pictures/test-00000-of-00001.parquet"),
        &schema,
        properties(),
        vec![vec![
            bytes(&[&red], &[2], &[]),
            texts(&["c.png"], &[2], &[]),
            Column::Ints(vec![1], vec![1]),
        ]],
    )?;
    std::fs::write(at("parquet-pictures/blue.png"), &blue)?;

    // Conversations with lists of pictures: of one, of none, of two.
    let message =
        "optional group element { optional binary role (UTF8); optional binary content (UTF8); }";
    let (defs, reps) = ([4; 6], [0, 1, 0, 1, 0, 1]);
    write(
        &at("parquet-messages/chats.parquet"),
        &[list("messages", message), list("images", PICTURE)].concat(),
        new()
            .set_compression(Compression::GZIP(Default::default()))
            .set_writer_version(WriterVersion::PARQUET_2_0),
        vec![vec![
            texts(&["user", "assistant", "user", "assistant", "user", "assistant"], &defs, &reps),
            texts(
                &[
                    "<image>\nWhat is this?",
                    "A red square.",
                    "What is a square?",
                    "Four equal sides.",
                    "Which is red?",
                    "The second.",
                ],
                &defs,
                &reps,
            ),
            bytes(&[&red, &blue, &red], &[4, 1, 4, 4], &[0, 0, 0, 1]),
            texts(&["a.png"], &[4, 1, 3, 3], &[0, 0, 0, 1]),
        ]],
    )?;

    // What img2dataset writes: the second could not be fetched.
    write(
        &at("parquet-captions/00000.parquet"),
        "optional binary caption (UTF8); optional binary status (UTF8); optional binary jpg;",
        new()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BYTE_ARRAY),
        vec![vec![
            texts(&["a red square", "a red one", "a blue square"], &[1, 1, 1], &[]),
            texts(&["success", "failed_to_download", "success"], &[1, 1, 1], &[]),
            bytes(&[&red, &blue], &[1, 0, 1], &[]),
        ]],
    )?;

    // Documents of texts and pictures, which are files, and their table of captions.
    let text = "optional binary element (UTF8);";
    write(
        &at("parquet-documents/documents.parquet"),
        &[list("images", text), list("texts", text)].concat(),
        new(),
        vec![vec![
            texts(&["red.png", "blue.png"], &[3, 2, 3, 2], &[0, 1, 1, 0]),
            texts(&["A red square, and a blue one:", "Text alone."], &[2, 3, 2, 3], &[0, 1, 1, 0]),
        ]],
    )?;
    write(
        &at("folder-parquet/metadata.parquet"),
        "required binary file_name (UTF8); optional binary text (UTF8);",
        new().set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY).set_dictionary_enabled(false),
        vec![vec![
            texts(&["red.png", "blue.png"], &[], &[]),
            texts(&["a red square", "a blue square"], &[1, 1], &[]),
        ]],
    )?;
    for folder in ["parquet-documents", "folder-parquet"] {
        std::fs::write(at(folder).join("red.png"), &red)?;
        std::fs::write(at(folder).join("blue.png"), &blue)?;
    }
    Ok(())
}
