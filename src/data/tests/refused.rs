//! Data that cannot be used: each problem is named with its file and line.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::csv::Parser;
use super::super::window::LONGEST_ROW;
use super::super::{DataError, RowIndex, RowProblem, Rows, index_in};
use super::{TEXTS, dataset, scan, stored};
use crate::exit::Exit;
use crate::run_file::Task;
use crate::store::Stores;

/// The problem with a file and the line it is reported at.
async fn refused(name: &str, content: &[u8]) -> (String, RowProblem) {
    match scan(name, content).await {
        Err(DataError::Row { place, problem, .. }) => (place.to_string(), problem),
        other => panic!("expected a refused row, got {other:?}"),
    }
}

#[tokio::test]
async fn bad_json_lines_are_named() {
    let column = |column: &str| column.to_owned();
    let good = "{\"text\":\"a\",\"label\":\"b\"}\n";
    let second = |line: &str| format!("{good}{line}\n").into_bytes();
    let kind = |name: &str, found, expected| RowProblem::WrongKind { column: column(name), found, expected };
    let label = "a string, an integer or a boolean";
    let cases: Vec<(Vec<u8>, RowProblem)> = vec![
        ([good.as_bytes(), b"{\"text\":\"\xff\",\"label\":1}"].concat(), RowProblem::NotUtf8),
        (second("[1, 2]"), RowProblem::NotAnObject),
        (second("\"text\""), RowProblem::NotAnObject),
        (
            second("{\"txt\":\"a\",\"label\":\"b\"}"),
            RowProblem::MissingColumn {
                column: column("text"),
                key: "text_column",
                present: vec![column("label"), column("txt")],
            },
        ),
        (second("{\"text\":null,\"label\":\"b\"}"), kind("text", "null", "a string")),
        (second("{\"text\":{\"a\":1},\"label\":\"b\"}"), kind("text", "an object", "a string")),
        (second("{\"text\":\"\",\"label\":\"b\"}"), RowProblem::EmptyValue { column: column("text") }),
        (
            second("{\"text\":\"a\",\"label\":1.5}"),
            RowProblem::Fraction { label: "1.5".into(), column: column("label") },
        ),
        (
            second("{\"text\":\"a\",\"label\":-1}"),
            RowProblem::NegativeLabel { label: "-1".into(), column: column("label") },
        ),
        (second("{\"text\":\"a\",\"label\":null}"), kind("label", "null", label)),
    ];
    for (content, expected) in cases {
        assert_eq!(refused("t.jsonl", &content).await, (":2".to_owned(), expected));
    }
    let deep = format!("{{\"text\":{}", "[".repeat(10_000));
    for broken in ["{\"text\":\"a\"", "{\"text\":\"a\",\"label\":\"b\"} x", "nonsense", &deep] {
        let (place, problem) = refused("t.jsonl", &second(broken)).await;
        assert!(matches!(problem, RowProblem::Json(_)), "{problem:?}");
        assert_eq!(place, ":2");
    }
}

#[tokio::test]
async fn bad_csv_rows_are_named() {
    let cases: [(&[u8], &str, RowProblem); 6] = [
        (b"text,label\na,b\na,b,c\n", ":3", RowProblem::Ragged { found: 3, expected: 2 }),
        (b"text,label\n\"a\nb\",x\na\n", ":4", RowProblem::Ragged { found: 1, expected: 2 }),
        (b"text,label\na,b\n\"open,b\nc,d\n", ":3", RowProblem::UnclosedQuote),
        (b"text,label\na,b\n,b\n", ":3", RowProblem::EmptyValue { column: "text".into() }),
        (b"text,label\na,\xff\n", ":2", RowProblem::NotUtf8),
        (b"text,text,label\na,b,c\n", ":1", RowProblem::TwoColumns { column: "text".into() }),
    ];
    for (content, place, problem) in cases {
        assert_eq!(refused("t.csv", content).await, (place.to_owned(), problem));
    }
    let (_, problem) = refused("t.csv", b"text,kind\na,b\n").await;
    let present = vec!["text".to_owned(), "kind".to_owned()];
    assert_eq!(problem, RowProblem::MissingColumn { column: "label".into(), key: "label_column", present });
}

#[tokio::test]
async fn endless_rows_end_at_the_limit() {
    let limit = LONGEST_ROW;
    let mut line = b"{\"text\":\"a\",\"label\":\"b\"}\n{\"text\":\"".to_vec();
    line.resize(line.len() + (40 << 20), b'x');
    assert_eq!(refused("t.jsonl", &line).await, (":2".to_owned(), RowProblem::TooLong { limit, csv: false }));
    let mut quoted = b"text,label\n\"".to_vec();
    quoted.resize(quoted.len() + (40 << 20), b'\n');
    assert_eq!(refused("t.csv", &quoted).await, (":2".to_owned(), RowProblem::TooLong { limit, csv: true }));
}

#[tokio::test]
async fn files_that_cannot_be_data_are_refused_with_the_cure() {
    let cases: [(&str, &[u8], &str); 7] = [
        ("t.jsonl.gz", b"x", "not those of gzip"),
        ("t.jsonl.xz", b"x", "unpack the file"),
        ("t.arrow", b"x", "convert it to Parquet or JSONL"),
        ("t.txt", b"x", "Names that say it end in .jsonl, .json or .csv"),
        ("t.jsonl", b"\n\n", "no rows"),
        ("t.csv", b"text,label\n", "no rows"),
        ("t.csv", b"text,label\na,only\nb,only\n", "at least two labels"),
    ];
    for (name, content, cure) in cases {
        let error = scan(name, content).await.unwrap_err();
        assert!(error.to_string().contains(cure), "{name}: {error}");
        assert_eq!(error.exit(), Exit::Data, "{name}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let error = index_in(&Stores::default(), &[dataset(path)], TEXTS, None).await.unwrap_err();
    assert!(error.to_string().contains("*.jsonl"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_named_and_not_called_empty() {
    let (stores, directory) = (stored(&[]).await, tempfile::tempdir().unwrap());
    let here = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(here("empty")).unwrap();
    let (absent, empty) = ("not found", "no rows");
    for (task, path, says) in [
        (TEXTS, "memory://data/none.csv".to_owned(), absent),
        (TEXTS, here("none.csv"), absent),
        (TEXTS, here("none/*.jsonl"), absent),
        (Task::ImageClassification, here("none"), absent),
        (Task::ImageClassification, "memory://data/none".to_owned(), absent),
        (Task::ImageClassification, here("empty"), empty),
    ] {
        let error = index_in(&stores, &[dataset(path.clone())], task, None).await.unwrap_err();
        assert_eq!((error.to_string(), error.exit()), (format!("{path}: {says}"), Exit::Data));
    }
}

#[tokio::test]
async fn an_index_that_contradicts_itself_is_refused() {
    use crate::wire::pb;
    let (index, _) = scan("t.csv", b"text,label\na,b\nc,d\n").await.unwrap();
    assert!(RowIndex::decode(b"\xff\xff", 2).is_err());
    assert!(RowIndex::decode(&index.encode(), 1).is_err(), "a label of another run");
    let spoil: [fn(&mut pb::RowIndex); 5] = [
        |message| message.offset[1] = u64::MAX,
        |message| message.length[0] = 1000,
        |message| message.rows_in_file[0] = 3,
        |message| message.files[0].sha256 = Bytes::from_static(b"short"),
        |message| message.files[0].format = 9,
    ];
    for spoil in spoil {
        let mut message = pb::RowIndex::from(&index);
        spoil(&mut message);
        let refused = RowIndex::try_from(message);
        assert!(matches!(refused, Err(DataError::Index(_))), "{refused:?}");
    }
    let rows = Rows::new(Arc::new(index), None, Stores::default());
    assert_eq!(rows.read(&[2]).await, Err(DataError::NoSuchRow { row: 2, rows: 2 }));
}

proptest! {
    /// However a record is cut into pieces, it is split as if it had come whole.
    #[test]
    fn csv_fields_survive_quoting(fields in prop::collection::vec("[a-z\",\r\n é]{0,12}", 2..6), tail in "[a-z]{0,9}") {
        let quoted: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        let record = quoted.join(",");
        let input = format!("{record}\n{tail}");
        let mut parser = Parser::new(b',');
        for cut in 0..=record.len() {
            prop_assert_eq!(parser.parse(&input.as_bytes()[..cut], false), None, "cut at {}", cut);
        }
        for (bytes, last) in [(input.as_bytes(), false), (record.as_bytes(), true)] {
            let taken = parser.parse(bytes, last).expect("the record is complete");
            prop_assert_eq!(&bytes[..record.len()], record.as_bytes());
            prop_assert!(taken >= record.len() && taken <= record.len() + 1);
            let found: Vec<String> = (0..parser.len()).map(|place| parser.field(place).unwrap().to_owned()).collect();
            prop_assert_eq!(&found, &fields);
        }
    }
}
