//! Run files that must be refused: exit code 2, the place under a caret, a cure, and nothing started.

use headstart_tests::refused::Refused;
use headstart_tests::texts;

/// A run file that is in order but for what `spoil` does to it, under both commands. The caret is where `place` first
/// stands in the file; `""` is for problems of the whole file.
#[track_caller]
fn refuse(spoil: impl Fn(String) -> Vec<u8>, place: &str, says: &[&str]) {
    let directory = texts();
    let path = directory.path().join("run.yaml");
    let spoilt = spoil(std::fs::read_to_string(&path).expect("it was written"));
    std::fs::write(&path, &spoilt).expect("the directory is writable");
    for command in ["validate", "train"] {
        let mut refused = Refused::of(directory.path(), &[command, "run.yaml"]).code(2).before_workers();
        refused = refused.says(&["run.yaml"]).says(says);
        if !place.is_empty() {
            refused.says(&[&format!("[run.yaml:{}]", line_column(&String::from_utf8_lossy(&spoilt), place))]);
        }
    }
    assert!(!directory.path().join("out").exists());
}

fn line_column(text: &str, place: &str) -> String {
    let start = text.find(place).unwrap_or_else(|| panic!("{place:?} is in the file"));
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    format!("{}:{}", text[..start].matches('\n').count() + 1, start - line_start + 1)
}

/// With a line more.
fn add(line: &str) -> impl Fn(String) -> Vec<u8> {
    let line = line.to_owned();
    move |good| format!("{good}{line}\n").into_bytes()
}

/// With a value replaced.
fn change(from: &'static str, to: &'static str) -> impl Fn(String) -> Vec<u8> {
    move |good| {
        assert!(good.contains(from), "{from:?} is in the good file");
        good.replace(from, to).into_bytes()
    }
}

/// Lists of lists of anchors: ten bytes that stand for ten billion.
fn laughs() -> String {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]");
    for level in 1..10 {
        let below = format!("*a{},", level - 1).repeat(10);
        text += &format!("\na{level}: &a{level} [{below}]");
    }
    text
}

macro_rules! refused {
    ($($case:ident: $spoil:expr, $place:expr => $says:expr,)*) => {
        $(
            #[test]
            fn $case() {
                refuse($spoil, $place, &$says);
            }
        )*
    };
}

refused! {
    an_unknown_key: add("learning_rat: 1e-4"), "learning_rat:" => ["unknown key", "did you mean `learning_rate`?"],
    an_unknown_key_of_a_block: add("cluster: {min_worker: 2}"), "min_worker"
        => ["`cluster.min_worker`", "did you mean `min_workers`?"],
    a_wrong_type: change("max_steps: 14", "max_steps: [14]"), "[14]" => ["`max_steps` must be a whole number"],
    text_for_a_number: change("learning_rate: 1e-3", "learning_rate: fast"), "fast"
        => ["`learning_rate` must be a finite number, found \"fast\""],
    a_negative_learning_rate: change("learning_rate: 1e-3", "learning_rate: -1e-3"), "-1e-3"
        => ["`learning_rate` must be at least 0, found -0.001"],
    no_samples: change("per_device_train_batch_size: 2", "per_device_train_batch_size: 0"), "0\n"
        => ["`per_device_train_batch_size` must be from 1"],
    an_indivisible_batch: change("global_batch_size: 16", "global_batch_size: 15"), "15"
        => ["15 is not a multiple of per_device_train_batch_size 2", "change one of the two"],
    class_weights: add("class_weights: [1.0, 2.5]"), "class_weights"
        => ["`class_weights` is not supported yet", "class weights are not supported yet"],
    another_order_of_the_data: add("group_by_length: true"), "group_by_length"
        => ["`group_by_length: true` is not supported yet", "remove it"],
    half_precision: add("fp16: True"), "fp16" => ["`fp16: true` is not supported yet", "32-bit floats"],
    a_key_twice: add("seed: 1\nlr: 2"), "lr:" => ["`lr` and `learning_rate` are the same key", "keep one of them"],
    a_number_beyond_its_type: add("seed: 99999999999999999999999999999999999999999999"), "9999"
        => ["`seed` must be a whole number"],
    a_missing_key: change("base_model: model\n", ""), "" => ["`base_model` is missing", "add `base_model:`"],
    an_open_bracket: add("freeze: ["), "" => ["not valid YAML", "[run.yaml:1"],
    a_tab_for_indentation: add("cluster:\n\tmin_workers: 2"), "" => ["not valid YAML", "[run.yaml:1"],
    other_bytes_than_text: |good: String| [good.as_bytes(), b"# \xff\xfe\n"].concat(), ""
        => ["line 16 is not text in UTF-8"],
    a_nul_byte: |good: String| [good.as_bytes(), b"seed: \0\n"].concat(), "" => ["not valid YAML", "[run.yaml:16"],
    two_megabytes: |good: String| format!("{good}# {}\n", "x".repeat(2 << 20)).into_bytes(), ""
        => ["at most 1048576 bytes", "List data under `datasets`"],
    deep_lists: add(&format!("freeze: {}{}", "[".repeat(50_000), "]".repeat(50_000))), ""
        => ["not valid YAML", "[run.yaml:16"],
    deep_blocks: |good: String| {
        let deep: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        format!("{good}{deep}").into_bytes()
    }, "" => ["not valid YAML", "[run.yaml:"],
    anchors_that_multiply: add(&laughs()), "" => ["not valid YAML", "[run.yaml:"],
    an_anchor_in_itself: add("freeze: &a [*a]"), "" => ["not valid YAML", "[run.yaml:16"],
    an_unknown_anchor: add("freeze: *nowhere"), "" => ["not valid YAML", "[run.yaml:16"],
    an_empty_file: |_: String| Vec::new(), "" => ["`base_model` is missing", "`datasets` is missing"],
    a_list: |_: String| b"- base_model: model\n".to_vec(), "- base" => ["must be a block of keys, found a list"],
    two_documents: add("---\nseed: 1"), "" => ["not valid YAML", "[run.yaml:"],
}

#[test]
fn what_is_no_file() {
    let directory = texts();
    for (path, says) in [("nowhere.yaml", "cannot be read"), ("model", "cannot be read")] {
        for command in ["validate", "train"] {
            Refused::of(directory.path(), &[command, path]).code(2).says(&[path, says]).before_workers();
        }
    }
}

/// Endless input is cut at the limit of a run file.
#[test]
fn an_endless_file() {
    let directory = texts();
    Refused::of(directory.path(), &["train", "/dev/zero"])
        .code(2)
        .says(&["/dev/zero", "at most 1048576 bytes"])
        .before_workers();
}

#[test]
fn overrides_are_refused_like_the_file() {
    let directory = texts();
    let deep = format!("freeze={}", "[".repeat(10_000));
    let long = format!("a{}=1", ".a".repeat(10_000));
    for (set, says) in [
        ("learning_rat=1", "did you mean `learning_rate`?"),
        ("learning_rate=-1", "must be at least 0"),
        ("learning_rate", "key=value"),
        ("datasets.7.path=x", "positions count from 0"),
        (deep.as_str(), "not valid YAML"),
        (long.as_str(), "unknown key"),
    ] {
        Refused::of(directory.path(), &["train", "run.yaml", "--set", set])
            .code(2)
            .says(&["--set", says])
            .before_workers();
    }
}

/// What only the checkpoint can tell.
#[test]
fn lengths_that_the_network_does_not_have() {
    let directory = texts();
    for (set, says) in [
        (
            "sequence_len=2",
            "sequences of 2 tokens (sequence_len, or the tokenizer's model_max_length): at least 3 are needed",
        ),
        ("sequence_len=17", "sequence_len is 17, but"),
    ] {
        Refused::of(directory.path(), &["train", "run.yaml", "--set", set])
            .code(2)
            .says(&[says])
            .before_workers();
    }
}
