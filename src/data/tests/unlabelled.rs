//! Rows without labels, as predictions read them: no column of labels is needed, and what one holds does not matter.

use std::ops::ControlFlow;

use super::super::{Content, DataError, Row, for_each_row, index_in};
use super::formats::fixture;
use super::{TEXTS, dataset, picture, stored, write};
use crate::run_file::{Dataset, Task};
use crate::store::Stores;

/// Indexes a path without labels, and reads every row back.
async fn rows(stores: &Stores, path: &str, task: Task) -> Result<Vec<Content>, DataError> {
    let datasets = [Dataset { label_column: None, ..dataset(path) }];
    let (index, labels) = index_in(stores, &datasets, task, None).await?;
    assert!(labels.is_empty() && index.labels().iter().all(|label| *label == 0), "{path}");
    let (send, received) = std::sync::mpsc::channel();
    let take = move |row: Row| match send.send(row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    for_each_row(stores, &index, take).await?;
    let rows: Vec<Row> = received.into_iter().collect();
    assert!(rows.iter().zip(0..).all(|(row, number)| row.number == number), "{path}");
    assert_eq!(rows.len() as u64, index.len(), "{path}");
    Ok(rows.into_iter().map(|row| row.content).collect())
}

#[tokio::test]
async fn texts_need_no_column_of_labels() {
    let parquet = fixture("texts_zstd.parquet");
    let files: [(&str, &[u8]); 5] = [
        ("t.jsonl", b"{\"text\":\"a\"}\n\n{\"text\":\"b\",\"label\":null}\n"),
        ("t.json", b"[{\"text\":\"a\"},{\"text\":\"b\",\"label\":[1]}]"),
        ("t.csv", b"text,label\na,\nb,x\n"),
        ("u.csv", b"id;text\n1;a\n2;b\n"),
        ("t.parquet", &parquet),
    ];
    let stores = stored(&files).await;
    let text = |text: &str| Content::Text { text: text.to_owned(), pair: None };
    for (name, _) in &files[..4] {
        let found = rows(&stores, &format!("memory://data/{name}"), TEXTS).await.unwrap();
        assert_eq!(found, [text("a"), text("b")], "{name}");
    }
    let found = rows(&stores, "memory://data/t.parquet", TEXTS).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|row| matches!(row, Content::Text { .. })));
    // Texts are as necessary as ever.
    let stores = stored(&[("t.jsonl", b"{\"text\":\"a\"}\n{\"label\":\"x\"}\n")]).await;
    let error = rows(&stores, "memory://data/t.jsonl", TEXTS).await.unwrap_err().to_string();
    assert!(error.contains("t.jsonl:2") && error.contains("no column \"text\""), "{error}");
}

#[tokio::test]
async fn images_need_no_class_folders_and_no_list() {
    let directory = tempfile::tempdir().unwrap();
    let pictures = [("b.png", 8), ("train/a.png", 9), ("a.png", 10)];
    for (name, side) in pictures {
        write(directory.path(), name, &picture(side, side, ""));
    }
    write(directory.path(), "metadata.jsonl", b"{\"file_name\": \"none.png\"}\n");
    let path = directory.path().to_str().unwrap();
    let found = rows(&Stores::default(), path, Task::ImageClassification).await.unwrap();
    let image = |side: u32| Content::Image(picture(side, side, "").into());
    assert_eq!(found, [image(10), image(8), image(9)], "in the order of their names");

    let stores = stored(&[("i.parquet", fixture("images_hf.parquet").as_slice())]).await;
    let found = rows(&stores, "memory://data/i.parquet", Task::ImageClassification).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|row| matches!(row, Content::Image(_))));
}
