//! One row, many wrappings: compressed, in Parquet, in folders, in blocks.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{
    Blocks, Cache, DataError, DataRequest, FilePosition, Packing, RowIndex, RowProblem, Rows, index, index_in,
};
use super::{TEXTS, all, dataset, pairs, picture, scan, shown, stored, write};
use crate::exit::Exit;
use crate::run_file::Task;
use crate::store::Stores;

const JSONL: &[u8] = b"{\"text\":\"one\",\"label\":\"b\"}\n\n{\"text\":\"two\",\"label\":\"a\"}\n{\"text\":\"three\",\"label\":\"b\"}";

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

/// A file beside this module, as pyarrow or datasets wrote it.
pub(super) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/testdata").join(name))
        .unwrap()
}

/// The rows of a file, read the way a worker does.
pub(super) async fn cached(stores: &Stores, index: RowIndex) -> Vec<(u32, String)> {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(directory.path().to_owned(), 1 << 30);
    all(&Rows::new(Arc::new(index), Some(cache), stores.clone())).await
}

#[tokio::test]
async fn compressed_files_hold_the_rows_of_plain_ones() {
    let (plain, labels) = scan("t.jsonl", JSONL).await.unwrap();
    let halves = [gzip(&JSONL[..40]), gzip(&JSONL[40..])].concat();
    let cases = [
        ("t.jsonl.gz", gzip(JSONL), Packing::Gzip),
        ("members.jsonl.gz", halves, Packing::Gzip),
        ("t.jsonl.zst", zstd(JSONL), Packing::Zstd),
        ("unnamed.jsonl", zstd(JSONL), Packing::Zstd),
        ("t.csv.gz", gzip(b"text,label\none,b\ntwo,a\nthree,b\n"), Packing::Gzip),
    ];
    for (name, content, packing) in cases {
        let stores = stored(&[(name, content.as_slice())]).await;
        let (index, found) =
            index_in(&stores, &[dataset(format!("memory://data/{name}"))], TEXTS, None).await.unwrap();
        assert_eq!(
            (&found, index.files()[0].packing, index.labels()),
            (&labels, packing, plain.labels()),
            "{name}"
        );
        assert_eq!(RowIndex::decode(&index.encode(), 2).unwrap(), index);
        assert_eq!(cached(&stores, index).await, pairs(&[(1, "one"), (0, "two"), (1, "three")]), "{name}");
    }
}

#[tokio::test]
async fn what_a_file_unpacks_to_is_kept_whole_or_made_anew() {
    let stores = stored(&[("t.jsonl.gz", gzip(JSONL).as_slice())]).await;
    let (index, _) = index_in(&stores, &[dataset("memory://data/t.jsonl.gz")], TEXTS, None).await.unwrap();
    let (index, directory) = (Arc::new(index), tempfile::tempdir().unwrap());
    let rows = || {
        let cache = Cache::new(directory.path().to_owned(), 1 << 30);
        Rows::new(index.clone(), Some(cache), stores.clone())
    };
    let before = all(&rows()).await;
    let kept: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [kept] = kept.as_slice() else { panic!("one file is kept: {kept:?}") };
    assert_eq!(std::fs::read(kept).unwrap(), JSONL);
    std::fs::write(kept, vec![b'x'; JSONL.len()]).unwrap();
    assert_eq!(all(&rows()).await, before);
    let file = stores.locate("memory://data/t.jsonl.gz").unwrap();
    file.delete().await.unwrap();
    assert_eq!(all(&rows()).await, before, "found without the store");
    let uncached = Rows::new(index.clone(), None, stores.clone()).read(&[0]).await;
    assert!(matches!(uncached, Err(DataError::Kind { .. })), "{uncached:?}");
    // Another file of the same size: compressed anew after a change.
    let other = gzip(&JSONL.to_ascii_uppercase());
    file.write(other.into()).await.unwrap();
    std::fs::remove_file(kept).unwrap();
    let changed = rows().read(&[0]).await.unwrap_err();
    assert!(matches!(changed, DataError::Changed { .. } | DataError::Row { .. }), "{changed}");
    assert_eq!(changed.exit(), Exit::Data);
}

#[tokio::test]
async fn parquet_of_every_codec_is_read() {
    let expected = pairs(&[
        (1, "größe"),
        (2, "plain"),
        (1, "said \"hi\",\nthere"),
        (2, "plain"),
        (1, "last"),
        (0, &"a longer text ".repeat(4)),
        (2, "x"),
        (1, "plain"),
        (0, "y"),
        (2, "z"),
    ]);
    for codec in ["none", "snappy", "gzip", "zstd", "lz4", "v2"] {
        let content = fixture(&format!("texts_{codec}.parquet"));
        // The name does not matter.
        let stores = stored(&[("t.jsonl", content.as_slice())]).await;
        let (index, labels) =
            index_in(&stores, &[dataset("memory://data/t.jsonl")], TEXTS, None).await.unwrap();
        assert_eq!(labels, ["admin", "net", "web"], "{codec}");
        assert_eq!(index.files()[0].kind(), "Parquet");
        assert_eq!(RowIndex::decode(&index.encode(), 3).unwrap(), index);
        assert_eq!(cached(&stores, index).await, expected, "{codec}");
    }
    let (place, problem) = refused(&fixture("texts_int.parquet")).await;
    assert_eq!(place, FilePosition::Entry(2));
    assert_eq!(problem, RowProblem::NegativeLabel { label: "-7".into(), column: "label".into() });
    let stores = stored(&[("t.parquet", fixture("texts_int.parquet").as_slice())]).await;
    let given = ["-7", "1", "3"].map(str::to_owned);
    let (index, _) =
        index_in(&stores, &[dataset("memory://data/t.parquet")], TEXTS, Some(&given)).await.unwrap();
    assert_eq!(index.labels()[..3], [2, 1, 0]);
}

#[tokio::test]
async fn images_of_hugging_face_are_read_with_the_names_of_their_classes() {
    let stores = stored(&[("i.parquet", fixture("images_hf.parquet").as_slice())]).await;
    let datasets = [dataset("memory://data/i.parquet")];
    let (index, labels) = index_in(&stores, &datasets, Task::ImageClassification, None).await.unwrap();
    assert_eq!(labels, ["cat", "ant", "bee"], "in the order of the file");
    assert_eq!(index.labels(), [1, 0, 1, 2]);
    let rows = cached(&stores, index).await;
    assert!(rows[0].1.contains("PNG") && rows[1].1.contains("JFIF"));
    let error = index_in(&stores, &datasets, TEXTS, None).await.unwrap_err();
    assert!(
        error.to_string().contains("no column \"text\"; the columns are \"image\", \"label\""),
        "{error}"
    );
}

#[tokio::test]
async fn bad_parquet_is_named_with_its_row() {
    let whole = fixture("texts_snappy.parquet");
    let (place, problem) = refused(&fixture("texts_null.parquet")).await;
    assert_eq!((place, problem.to_string().contains("null")), (FilePosition::Entry(9), true), "{problem}");
    let (_, problem) = refused(&fixture("texts_delta.parquet")).await;
    assert!(problem.to_string().contains("encoding 7"), "{problem}");
    for cut in [5, whole.len() / 2, whole.len() - 1] {
        let (place, problem) = refused(&whole[..cut]).await;
        assert!(place == FilePosition::File && problem.to_string().contains("cut short"), "{problem}");
    }
    let mut long = whole.clone();
    let end = long.len() - 8;
    long[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(refused(&long).await.1, RowProblem::Parquet(_)));
    let error = scan("t.parquet", b"{}\n").await.unwrap_err();
    assert!(error.to_string().contains("named as Parquet"), "{error}");
}

async fn refused(content: &[u8]) -> (FilePosition, RowProblem) {
    match scan("t.parquet", content).await {
        Err(DataError::Row { place, problem, .. }) => (place, problem),
        other => panic!("expected a refused file, got {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A few damaged bytes are refused or read, but neither a panic nor an allocation by what they say.
    #[test]
    fn damaged_parquet_is_survived(codec in 0usize..6, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let codec = ["none", "snappy", "gzip", "zstd", "lz4", "v2"][codec];
        let mut content = fixture(&format!("texts_{codec}.parquet"));
        for (place, value) in damage {
            let place = place.index(content.len());
            content[place] = value;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Err(error) = runtime.block_on(scan("t.jsonl", &content)) {
            prop_assert_eq!(error.exit(), Exit::Data);
        }
    }
}

#[tokio::test]
async fn damaged_and_swollen_streams_are_refused() {
    let broken = [("t.jsonl.gz", gzip(JSONL)), ("t.jsonl.zst", zstd(JSONL))];
    for (name, mut content) in broken {
        content.truncate(content.len() - 6);
        let error = scan(name, &content).await.unwrap_err();
        let DataError::Row { problem: RowProblem::Packed(_), .. } = &error else { panic!("{error}") };
        assert!(error.to_string().contains(&format!("{name}:")), "{error}");
    }
    let rows = b"{\"text\":\"a\",\"label\":\"b\"}\n".repeat(5_000_000);
    for (name, content) in [("t.jsonl.gz", gzip(&rows)), ("t.jsonl.zst", zstd(&rows))] {
        let error = scan(name, &content).await.unwrap_err();
        assert!(matches!(error, DataError::Row { problem: RowProblem::Bomb { .. }, .. }), "{error}");
    }
    let stores = stored(&[("t.jsonl.gz", gzip(JSONL).as_slice())]).await;
    let datasets = [dataset("memory://data/t.jsonl.gz")];
    let wanted =
        |data_cache| DataRequest { datasets: &datasets, task: TEXTS, labels: None, data_cache, kept: None };
    assert!(index(&stores, wanted(JSONL.len() as u64)).await.is_ok());
    let error = index(&stores, wanted(JSONL.len() as u64 - 1)).await.unwrap_err();
    assert!(error.to_string().contains("raise data_cache"), "{error}");
}

#[tokio::test]
async fn a_list_of_labels_replaces_class_folders() {
    let directory = tempfile::tempdir().unwrap();
    let (root, stores) = (directory.path(), Stores::default());
    for (name, tail) in [("a.png", "first"), ("deep/b.png", "second")] {
        write(root, name, &picture(8, 8, tail));
    }
    let list = |lines: &str| write(root, "metadata.jsonl", lines.as_bytes());
    let datasets = [dataset(root.to_str().unwrap())];
    let scan = || index_in(&stores, &datasets, Task::ImageClassification, None);
    list(
        "{\"file_name\": \"deep/b.png\", \"label\": 7, \"note\": []}\n\n{\"file_name\": \"a.png\", \"label\": 3}\n",
    );
    let (index, labels) = scan().await.unwrap();
    assert_eq!(labels, ["3", "7"]);
    let rows = all(&Rows::new(Arc::new(index), None, stores.clone())).await;
    assert_eq!(rows, [(1, shown(&picture(8, 8, "second"))), (0, shown(&picture(8, 8, "first")))]);

    let good = "{\"file_name\": \"a.png\", \"label\": 3}\n";
    for (second, place, says) in [
        (
            "{\"file_name\": \"c.png\", \"label\": 3}",
            "metadata.jsonl:2",
            "is not an image file of the directory",
        ),
        ("{\"file_name\": \"../a.png\", \"label\": 3}", "metadata.jsonl:2", "leads out of the directory"),
        ("{\"file_name\": \"/etc/passwd\", \"label\": 3}", "metadata.jsonl:2", "leads out of the directory"),
        ("{\"file_name\": \"deep/b.png\"}", "metadata.jsonl:2", "no column \"label\""),
        ("", "deep/b.png", "does not name this image"),
    ] {
        list(&format!("{good}{second}\n"));
        let error = scan().await.unwrap_err();
        assert!(error.to_string().contains(place) && error.to_string().contains(says), "{error}");
        assert_eq!(error.exit(), Exit::Data);
    }
}

#[tokio::test]
async fn images_that_no_decoder_takes_are_refused_before_training() {
    let (directory, stores) = (tempfile::tempdir().unwrap(), Stores::default());
    let datasets = [dataset(directory.path().to_str().unwrap())];
    write(directory.path(), "a/good.png", &picture(8, 8, ""));
    for (content, says) in [(picture(60_000, 60_000, ""), "60000 × 60000"), (b"GIF".to_vec(), "first bytes")]
    {
        write(directory.path(), "b/bad.png", &content);
        let error = index_in(&stores, &datasets, Task::ImageClassification, None).await.unwrap_err();
        assert!(error.to_string().contains("b/bad.png: ") && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn blocks_come_one_by_one_and_make_room_for_others() {
    let text = "x".repeat(3 << 20);
    let line = |row: usize| format!("{{\"text\":\"{row}{text}\",\"label\":\"{}\"}}\n", row % 2);
    let content: String = (0..14).map(line).collect();
    let stores = stored(&[("t.jsonl", content.as_bytes())]).await;
    let (index, _) = index_in(&stores, &[dataset("memory://data/t.jsonl")], TEXTS, None).await.unwrap();
    let (index, directory) = (Arc::new(index), tempfile::tempdir().unwrap());
    let blocks = Blocks::of(&index);
    assert_eq!((blocks.len(), blocks.rows(4)), (5, 12..14));
    let cache = Cache::new(directory.path().to_owned(), 20 << 20);
    let rows = Rows::new(index, Some(cache), stores).in_blocks(blocks);
    let held = || -> Vec<u64> {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    };
    let first = rows.read(&[4]).await.unwrap();
    assert_eq!(held().len(), 1, "its block alone was fetched");
    assert!(held()[0] > 9 << 20 && held()[0] < 10 << 20);
    for row in [0, 13, 7, 2, 4] {
        let found = rows.read(&[row]).await.unwrap();
        let super::Content::Text { text: found, .. } = &found[0].content else { panic!("a text") };
        assert!(found.starts_with(&format!("{row}x")) && found.len() > 3 << 20);
        assert!(held().iter().sum::<u64>() <= 20 << 20, "{:?}", held());
    }
    assert_eq!(rows.read(&[4]).await.unwrap(), first, "evicted and fetched again");
}
