//! Columns of Parquet files of every kind, as pyarrow and datasets write them: labels by what they mean, or refused.

use std::sync::Arc;

use super::super::{DataError, FilePosition, Note, RowIndex, RowProblem, index, index_in};
use super::formats::{cached, fixture};
use super::{TEXTS, dataset, pairs, stored};
use crate::data::DataRequest;
use crate::exit::Exit;
use crate::run_file::Dataset;

/// A dataset with another column of labels.
fn labelled(name: &str, label: &str) -> Dataset {
    Dataset { label_column: Some(label.into()), ..dataset(format!("memory://data/{name}.parquet")) }
}

/// The labels of the rows of files, by name.
async fn labels(names: &[&str], label: &str) -> Result<(Vec<String>, Vec<u32>), DataError> {
    let files: Vec<(String, Vec<u8>)> =
        names.iter().map(|name| (format!("{name}.parquet"), fixture(&format!("{name}.parquet")))).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, file)| (name.as_str(), file.as_slice())).collect();
    let datasets: Vec<Dataset> = names.iter().map(|name| labelled(name, label)).collect();
    let (index, labels) = index_in(&stored(&files).await, &datasets, TEXTS, None).await?;
    Ok((labels, index.labels().to_vec()))
}

#[tokio::test]
async fn labels_of_every_kind_are_what_the_file_says() {
    let integers: [(&str, &str); 8] = [
        ("int8", "127"),
        ("int16", "32767"),
        ("int32", "2147483647"),
        ("int64", "9223372036854775807"),
        ("uint8", "255"),
        ("uint16", "65535"),
        ("uint32", "4294967295"),
        ("uint64", "18446744073709551615"),
    ];
    for file in ["kinds", "kinds_old"] {
        for (column, top) in integers {
            let expected = (["0", "2", top].map(str::to_owned).to_vec(), vec![1, 0, 2]);
            assert_eq!(labels(&[file], column).await.unwrap(), expected, "{file} {column}");
        }
    }
    let strings = ["string", "large_string", "string_view", "dictionary", "binary", "struct.en"];
    let floats = ["float32", "float64"];
    for (columns, names) in [(&strings[..], ["a", "b", "c"]), (&floats[..], ["0", "1", "2"])] {
        for column in columns {
            let expected = (names.map(str::to_owned).to_vec(), vec![1, 0, 2]);
            assert_eq!(labels(&["kinds"], column).await.unwrap(), expected, "{column}");
        }
    }
    let booleans = labels(&["kinds"], "bool").await.unwrap();
    assert_eq!(booleans, (["false", "true"].map(str::to_owned).to_vec(), vec![1, 0, 1]));
}

#[tokio::test]
async fn columns_that_hold_no_labels_are_refused() {
    for (column, place, says) in [
        ("float16", "", "is a 16-bit float, expected a string, an integer or a boolean"),
        ("fraction", ", row 2", "the label 1.5 in column \"fraction\" has a fraction"),
        ("missing", ", row 2", "column \"missing\" is null"),
        ("nan", ", row 2", "the label NaN in column \"nan\" means that there is none"),
        ("fixed", "", "is bytes of a fixed length"),
        ("date", "", "is a date"),
        ("timestamp", "", "is a timestamp"),
        ("time", "", "is a time"),
        ("decimal", "", "is a decimal number"),
        ("decimal_long", "", "is a decimal number"),
        ("null", ", row 0", "column \"null\" is null"),
        ("list", "", "\"list\" is a list or a struct, expected one value in each row"),
        ("struct", "", "its fields are \"struct.en\", \"struct.n\""),
        ("lable", "", "no column \"lable\"; the columns are \"text\", \"pair\""),
    ] {
        let error = labels(&["kinds"], column).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("kinds.parquet{place}: ")) && text.contains(says), "{column}: {text}");
        assert_eq!(error.exit(), Exit::Data);
    }
}

#[tokio::test]
async fn columns_that_hold_no_texts_are_refused() {
    let stores = stored(&[("kinds.parquet", fixture("kinds.parquet").as_slice())]).await;
    for (column, says) in [
        ("int64", "column \"int64\" is a number, expected a string"),
        ("bool", "is a boolean"),
        ("date", "is a date"),
        ("fixed", "is bytes of a fixed length"),
        ("list", "is a list or a struct"),
    ] {
        for pair in [false, true] {
            let mut data = labelled("kinds", "int8");
            match pair {
                true => data.text_pair_column = Some(column.into()),
                false => data.text_column = column.into(),
            }
            let error = index_in(&stores, &[data], TEXTS, None).await.unwrap_err().to_string();
            assert!(error.contains("kinds.parquet: ") && error.contains(says), "{column}: {error}");
        }
    }
    for column in ["string", "large_string", "string_view", "dictionary", "binary", "struct.en"] {
        let data = Dataset { text_column: column.into(), ..labelled("kinds", "int8") };
        let (index, _) = index_in(&stores, &[data], TEXTS, None).await.unwrap();
        let read = cached(&stores, index).await;
        assert_eq!(read, pairs(&[(1, "b"), (0, "a"), (2, "c")]), "{column}");
    }
}

#[tokio::test]
async fn declared_classes_are_the_labels_in_their_order() {
    let names = ["zebra", "ant", "cow"].map(str::to_owned).to_vec();
    for file in ["classes", "classes_arrow"] {
        // No row is an ant.
        assert_eq!(labels(&[file], "label").await.unwrap(), (names.clone(), vec![0, 2, 0]), "{file}");
    }
    let (found, ids) = labels(&["classes", "classes_order"], "label").await.unwrap();
    assert_eq!((found, ids), (names.clone(), vec![0, 2, 0, 2, 1, 0]), "classes are matched by name");
    let error = labels(&["classes", "classes_other"], "label").await.unwrap_err();
    let text = error.to_string();
    for part in [
        "classes_other.parquet: ",
        "\"zebra\", \"ant\", but that of",
        "/classes.parquet has",
        "\"cow\"",
        "`labels`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let none = labels(&["classes_none"], "label").await.unwrap_err();
    let DataError::Row { place: FilePosition::Entry(1), problem, .. } = none else { panic!("{none}") };
    assert_eq!(problem, RowProblem::NoLabel { label: "-1".into(), column: "label".into() });
    // Rows of other files must have one of the classes.
    let error = labels(&["texts_snappy", "classes"], "label").await.unwrap_err().to_string();
    assert!(error.contains("classes.parquet: ") && error.contains("the label \"net\""), "{error}");
    let error = labels(&["classes", "texts_snappy"], "label").await.unwrap_err().to_string();
    assert!(error.contains("texts_snappy.parquet, row 0: label \"net\" is not one of"), "{error}");
}

#[tokio::test]
async fn given_labels_come_before_declared_ones() {
    let stores = stored(&[
        ("classes.parquet", fixture("classes.parquet").as_slice()),
        ("classes_order.parquet", fixture("classes_order.parquet").as_slice()),
    ])
    .await;
    // As evaluation gets the labels of training.
    let given = ["ant", "cow", "zebra"].map(str::to_owned);
    for (file, ids) in [("classes", vec![2, 1, 2]), ("classes_order", vec![1, 0, 2])] {
        let datasets = [labelled(file, "label")];
        let (index, labels) = index_in(&stores, &datasets, TEXTS, Some(&given)).await.unwrap();
        assert_eq!((labels, index.labels()), (given.to_vec(), ids.as_slice()), "{file}");
    }
    let datasets = [labelled("classes", "label")];
    let wanted =
        DataRequest { datasets: &datasets, task: TEXTS, labels: None, data_cache: 1 << 30, kept: None };
    let indexed = index(&stores, wanted).await.unwrap();
    assert_eq!(indexed.notes, [Note::DeclaredLabels { column: "label".into() }]);
}

#[tokio::test]
async fn pairs_of_parquet_files_are_read_whatever_their_pages() {
    let content = fixture("pairs_pages.parquet");
    let stores = stored(&[("p.parquet", content.as_slice())]).await;
    let data = Dataset { text_pair_column: Some("pair".into()), ..dataset("memory://data/p.parquet") };
    let (index, _) = index_in(&stores, &[data], TEXTS, None).await.unwrap();
    assert_eq!(RowIndex::decode(&index.encode(), 3).unwrap(), index);
    let read = cached(&stores, index).await;
    let x = "x".repeat(30);
    let expected: Vec<(u32, String)> = (0..600).map(|row| (row % 3, format!("{row} | {row} {x}"))).collect();
    assert_eq!(read, expected);

    let stores = Arc::new(stored(&[("p.parquet", fixture("pair_null.parquet").as_slice())]).await);
    let data =
        |pair: &str| Dataset { text_pair_column: Some(pair.into()), ..dataset("memory://data/p.parquet") };
    let error = index_in(&stores, &[data("pair")], TEXTS, None).await.unwrap_err().to_string();
    assert!(error.contains("p.parquet, row 1: column \"pair\" is null"), "{error}");
    let error = index_in(&stores, &[data("second")], TEXTS, None).await.unwrap_err().to_string();
    assert!(error.contains("no column \"second\"") && error.contains("set text_pair_column"), "{error}");
}
