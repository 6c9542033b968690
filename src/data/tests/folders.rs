//! Folders of images as people have them: files of any name, files that are no images, parts in place of classes.

use std::path::Path;

use super::super::{DataError, DataRequest, Indexed, Note, index};
use super::{dataset, picture, stored, write};
use crate::exit::Exit;
use crate::run_file::Task;
use crate::store::Stores;

async fn look_in(stores: &Stores, path: &str, labels: Option<&[String]>) -> Result<Indexed, DataError> {
    let datasets = [dataset(path)];
    let task = Task::ImageClassification;
    index(stores, DataRequest { datasets: &datasets, task, labels, data_cache: 1 << 30, kept: None }).await
}

async fn look(root: &Path) -> Result<Indexed, DataError> {
    look_in(&Stores::default(), root.to_str().unwrap(), None).await
}

async fn refused(root: &Path) -> String {
    let error = look(root).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data);
    error.to_string()
}

/// A directory with an image under each name.
fn images(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        write(directory.path(), name, &picture(8, 8, ""));
    }
    directory
}

#[tokio::test]
async fn images_are_told_by_content_whatever_their_name() {
    let names = ["bird/0.jfif", "bird/IMG_1", "bird/2.jpeg_large", "cat/0.JPG", "cat/1.png", "cat/2.txt"];
    let directory = images(&names);
    write(directory.path(), "cat/3.gif", b"GIF89a\x08\0\x08\0");
    write(directory.path(), "cat/4.bmp", b"GIF89a\x08\0\x08\0");
    let found = look(directory.path()).await.unwrap();
    assert_eq!(
        (found.labels, found.index.labels().to_vec()),
        (vec!["bird".into(), "cat".into()], vec![0, 0, 0, 1, 1, 1, 1, 1])
    );

    // In a bucket, names that promise an image are believed and others are looked at.
    let png = picture(8, 8, "");
    let stores = stored(&[
        ("i/bird/IMG_0", &png),
        ("i/bird/a.txt", b"a note"),
        ("i/cat/0.png", b"left to the workers"),
        ("i/cat/notes", b"a note"),
    ])
    .await;
    let found = look_in(&stores, "memory://data/i", None).await.unwrap();
    assert_eq!((found.labels.len(), found.index.len()), (2, 2));
    let others = ["bird/a.txt", "cat/notes"].map(str::to_owned).to_vec();
    assert!(found.notes.contains(&Note::NotImages {
        url: "memory://data/i".into(),
        files: 2,
        first: others
    }));
}

#[tokio::test]
async fn what_is_no_image_is_counted_or_refused_but_never_lost() {
    let directory = images(&["cat/0.png", "cat/._0.png", "dog/0.png", "dog/deep/.hidden/0.png"]);
    let root = directory.path();
    for name in ["cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "__MACOSX/cat/0.png"] {
        write(root, name, b"x");
    }
    for name in ["README.md", "classes.txt", "cat/notes.txt", "dog/clip.mp4"] {
        write(root, name, b"some bytes");
    }
    let found = look(root).await.unwrap();
    assert_eq!((found.labels, found.index.len()), (vec!["cat".into(), "dog".into()], 2));
    let said: Vec<String> = found.notes.iter().map(Note::to_string).collect();
    let url = root.to_str().unwrap();
    assert_eq!(
        said,
        [
            format!(
                "{url}: skipped 6 hidden or system files: __MACOSX/cat/0.png, cat/.DS_Store, cat/._0.png, cat/Thumbs.db, dog/deep/.hidden/0.png, …"
            ),
            format!("{url}: skipped 2 files that are no images: cat/notes.txt, dog/clip.mp4"),
        ]
    );
    assert_eq!(found.notes.iter().map(Note::is_warning).collect::<Vec<_>>(), [false, true]);

    for (name, content, says) in [
        ("cat/1.jpg", b"<html>404</html>".as_slice(), "cat/1.jpg: an HTML page, not the file"),
        ("cat/1.jpg", b"some text", "cat/1.jpg: not a PNG, JPEG, WebP, GIF or BMP image"),
        ("cat/1.tiff", b"II*\0\x08\0\0\0", "cat/1.tiff: TIFF images are not supported yet"),
        ("cat/1", b"\0\0\0\x1cftypheic", "cat/1: HEIC images are not supported yet"),
        ("cat/1.webp", b"", "cat/1.webp: the file is empty"),
        ("cat/1.gif", b"GIF89a\xff\xff\xff\xff", "cat/1.gif: the image has 65535 × 65535 pixels"),
        ("cat/data.parquet", b"PAR1", "name such files with a pattern"),
        ("cat/metadata.jsonl", b"{}", "a list of labels below the directory"),
    ] {
        let path = write(root, name, content);
        let error = refused(root).await;
        assert!(error.contains(says), "{name}: {error}");
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn a_class_does_not_vanish_with_its_images() {
    let directory = images(&["cat/0.png", "dog/0.png"]);
    let root = directory.path();
    std::fs::create_dir(root.join("empty")).unwrap();
    let error = refused(root).await;
    assert!(error.contains("the class folder \"empty\" has no image; add images"), "{error}");
    write(root, "empty/a.pdf", b"%PDF-1.7");
    write(root, "empty/.DS_Store", b"x");
    let error = refused(root).await;
    assert!(error.contains("\"empty\" has no image; 2 other files are there (empty/a.pdf)"), "{error}");
    // Who lists the classes means them.
    let given = ["dog", "cat", "empty"].map(str::to_owned);
    let found = look_in(&Stores::default(), root.to_str().unwrap(), Some(&given)).await.unwrap();
    assert_eq!((found.labels, found.index.labels()), (given.to_vec(), [1, 0].as_slice()));
    // A hidden folder is no class.
    std::fs::remove_dir_all(root.join("empty")).unwrap();
    write(root, ".cache/x", b"x");
    assert_eq!(look(root).await.unwrap().labels, ["cat", "dog"]);

    let nothing = tempfile::tempdir().unwrap();
    write(nothing.path(), "a/x.txt", b"x");
    let error = refused(nothing.path()).await;
    assert!(error.contains("the class folder \"a\" has no image"), "{error}");
}

#[tokio::test]
async fn parts_of_a_dataset_are_no_classes() {
    for names in [
        ["train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "val/cat/0.png"],
        ["train/cat/0.png", "Valid/cat/0.png", "test/cat/0.png", "extra/0.png"],
        ["training_set/0.png", "test_set/0.png", "dev_set/0.png", "eval/0.png"],
    ] {
        let directory = images(&names);
        let error = refused(directory.path()).await;
        let first = if names[0].starts_with("training") { "training_set" } else { "train" };
        let cure = format!("(path: {}/{first})", directory.path().display());
        assert!(error.contains("are named like parts of one dataset") && error.contains(&cure), "{error}");
    }
    // Trains beside planes are a class.
    let directory = images(&["train/0.png", "plane/0.png", "test/0.png", "plane/deep/1.png"]);
    let found = look(directory.path()).await.unwrap();
    assert_eq!(found.labels, ["plane", "test", "train"]);
    assert_eq!(found.notes, [Note::FolderLabels]);
    // So are parts that are listed as labels.
    let directory = images(&["train/0.png", "test/0.png"]);
    let given = ["test", "train"].map(str::to_owned);
    let found = look_in(&Stores::default(), directory.path().to_str().unwrap(), Some(&given)).await.unwrap();
    assert_eq!(found.index.labels(), [0, 1]);
}

#[tokio::test]
async fn a_list_may_name_images_of_any_name_but_only_images() {
    let directory = images(&["IMG_0", "b.jfif"]);
    let root = directory.path();
    write(root, "notes.txt", b"some text");
    let list = |second: &str| {
        let lines = format!(
            "{{\"file_name\": \"IMG_0\", \"label\": 1}}\n{{\"file_name\": \"{second}\", \"label\": 0}}\n"
        );
        write(root, "metadata.jsonl", lines.as_bytes());
    };
    list("b.jfif");
    assert_eq!(look(root).await.unwrap().index.labels(), [1, 0]);
    list("notes.txt");
    let error = refused(root).await;
    assert!(
        error.contains("metadata.jsonl:2") && error.contains("\"notes.txt\" is no image, by its first bytes"),
        "{error}"
    );
}
