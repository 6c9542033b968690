//! Checkpoints and data behind symbolic links.

use std::os::unix::fs::symlink;

use headstart_tests::refused::Refused;
use headstart_tests::{digits, outcome, repository, succeed, texts};

#[test]
fn a_run_through_links_has_the_bits_of_one_without() {
    let (plain, linked) = (texts(), texts());
    // As the hub's cache keeps checkpoints and data: snapshots of links to blobs, in a directory that is a link itself.
    let hub = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| hub.path().join(name);
    for name in ["blobs", "snapshots/abc/data"] {
        std::fs::create_dir_all(at(name)).expect("writable");
    }
    let files = ["config.json", "model.safetensors", "tokenizer.json"];
    for (number, name) in files.iter().enumerate() {
        std::fs::rename(linked.path().join("model").join(name), at(&format!("blobs/{number}")))
            .expect("it was made");
        symlink(format!("../../blobs/{number}"), at("snapshots/abc").join(name)).expect("writable");
    }
    std::fs::rename(linked.path().join("train.jsonl"), at("blobs/9")).expect("it was made");
    symlink("../../../blobs/9", at("snapshots/abc/data/train-0.jsonl")).expect("writable");
    symlink("abc", at("snapshots/main")).expect("writable");
    symlink(at("snapshots/main"), linked.path().join("here")).expect("writable");
    succeed(plain.path(), &["train", "run.yaml", "--workers", "1"]);
    let sets = ["--set", "base_model=here", "--set", "datasets.0.path=here/*/train-*.jsonl"];
    succeed(linked.path(), &[&["train", "run.yaml", "--workers", "2"][..], &sets].concat());
    assert_eq!(outcome(&plain.path().join("out"))[0], outcome(&linked.path().join("out"))[0]);
}

#[test]
fn folders_of_images_may_be_links_and_what_leads_nowhere_is_named() {
    let directory = digits();
    let images = repository().join("examples/digits/data/five_to_nine/eval");
    let root = directory.path().join("images [1]");
    std::fs::create_dir_all(root.join("9")).expect("writable");
    for class in ["5", "6"] {
        symlink(images.join(class), root.join(class)).expect("writable");
    }
    let nine =
        std::fs::read_dir(images.join("9")).expect("it was made").flatten().next().expect("an image").path();
    symlink(nine, root.join("9/one.png")).expect("writable");
    symlink("..", root.join("9/up")).expect("writable");
    let sets =
        ["--set", "datasets.0.path=images [1]", "--set", "eval_datasets=null", "--set", "eval_strategy=no"];
    let validate = [&["validate", "run.yaml"][..], &sets].concat();
    let said = succeed(directory.path(), &validate);
    assert!(said.contains("3: 5, 6, 9"), "{said}");
    symlink("../gone.png", root.join("9/two.png")).expect("writable");
    Refused::of(directory.path(), &validate)
        .code(10)
        .says(&["images [1]/9/two.png", "a link to ../gone.png, which is not there"])
        .before_workers();
}
