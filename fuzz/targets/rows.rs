//! A data file; its first byte says under which name, its content how it is packed. What planning accepts, workers read.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use headstart::chat::RowFormat;
use headstart::data::{Cache, Content, RowIndex, Rows, index_in};
use headstart::run_file::{Dataset, Task};
use headstart::store::Stores;
use headstart_fuzz::{let_give_up, run};
use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;

/// Names of data files, which say how they are read. Another format is another name here; compressed and Parquet files are
/// known by their first bytes, so any name will do for them.
const NAMES: [&str; 3] = ["rows.jsonl", "rows.csv", "rows"];
/// Bytes that packed files may unpack to.
const CACHE: u64 = 1 << 30;

fuzz_target!(|bytes: &[u8]| {
    let_give_up(&["parquet"]);
    let Some((kind, content)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*kind) % NAMES.len()];
    let url = format!("memory://fuzz/{name}");
    // Rows are texts, pairs of texts, or whole rows.
    match usize::from(*kind) / NAMES.len() % 3 {
        0 => run(read(&url, content, None, Task::SequenceClassification)),
        1 => run(read(&url, content, Some("pair".to_owned()), Task::SequenceClassification)),
        _ => run(read(&url, content, None, Task::CausalLm)),
    }
});

async fn read(url: &str, content: &[u8], text_pair_column: Option<String>, task: Task) {
    let stores = Stores::default();
    stores.mount("memory://fuzz", Arc::new(InMemory::new()));
    let file = stores.locate(url).expect("a plain URL");
    file.write(Bytes::copy_from_slice(content)).await.expect("memory takes everything");
    let dataset = Dataset {
        path: url.to_owned(),
        text_column: "text".into(),
        text_pair_column,
        image_column: "image".into(),
        label_column: Some("label".into()),
        rows: RowFormat::default(),
    };
    let Ok((index, labels)) = index_in(&stores, &[dataset], task, None).await else {
        return;
    };
    let whole = task == Task::CausalLm;
    assert!(whole == labels.is_empty() && labels.len() != 1);
    assert!(whole || index.labels().iter().all(|label| (*label as usize) < labels.len()));
    assert_eq!(RowIndex::decode(&index.encode(), labels.len()).expect("it survives the wire"), index);
    let numbers: Vec<u64> = (0..index.len()).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = Cache::new(directory.path().to_owned(), CACHE);
    let rows = Rows::new(Arc::new(index), Some(cache), stores);
    let rows = rows.read(&numbers).await.expect("planned rows can be read");
    assert!(rows.iter().all(|row| match &row.content {
        Content::Text { text, pair } =>
            !whole && !text.is_empty() && pair.as_ref().is_none_or(|pair| !pair.is_empty()),
        Content::Image(_) => false,
        Content::Json(_) => whole,
    }));
}
