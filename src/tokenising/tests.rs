//! Passes over small data with a tokenizer of single bytes.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use serde_json::{Map, Value, json};

use super::*;
use crate::chat::{ChatSettings, EncoderParts, ExcessLength, RowFormat};
use crate::data::{FewRows, RowTokens, index_in};
use crate::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};
use crate::run_file::{Dataset, Task};

const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}\
                        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The characters that stand for bytes in byte-level vocabularies, in the order of the bytes.
fn byte_characters() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256..;
    (0..256u32)
        .map(|byte| if printable(byte) { byte } else { others.next().unwrap() })
        .map(|point| char::from_u32(point).unwrap())
        .collect()
}

fn tokenizer() -> TokenizerSpec {
    let vocab: Map<String, Value> = byte_characters()
        .iter()
        .zip(0..)
        .map(|(byte, id): (&char, u32)| (byte.to_string(), id.into()))
        .collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"});
    let mut files = TokenizerFiles::default();
    files.insert("tokenizer.json", Bytes::from(file.to_string()));
    files.insert("tokenizer_config.json", Bytes::from(config.to_string()));
    TokenizerSpec::resolve(&files, &json!({}), Registered::NONE).unwrap()
}

fn encoder(limit: u32, settings: &ChatSettings, datasets: &[Dataset]) -> Arc<RowEncoder> {
    let entries: Vec<RowFormat> = datasets.iter().map(Dataset::row_format).collect();
    let parts = EncoderParts {
        tokenizer: &tokenizer(),
        tokenizer_config: None,
        chat_template: Some(TEMPLATE.to_owned()),
        template: None,
        generation_config: None,
        sequence_len: limit,
        vocab: 258,
        settings,
        entries: &entries,
    };
    Arc::new(RowEncoder::new(parts).unwrap())
}

fn dataset(name: &str) -> Dataset {
    Dataset {
        path: format!("memory://data/{name}"),
        text_column: "text".into(),
        text_pair_column: None,
        image_column: "image".into(),
        label_column: Some("label".into()),
        rows: RowFormat::default(),
    }
}

async fn stored(files: &[(&str, &str)]) -> Stores {
    let stores = Stores::default();
    stores.mount("memory://data", Arc::new(InMemory::new()));
    for (name, content) in files {
        let file = stores.locate(&format!("memory://data/{name}")).unwrap();
        file.write(Bytes::copy_from_slice(content.as_bytes())).await.unwrap();
    }
    stores
}

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}]}
{"messages": [{"role": "user", "content": "no answer"}]}
{"text": "four"}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "long long long long long long long"}]}
"#;
const TEXTS: &str = "text\nx\nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n";

async fn tokenised(
    files: &[(&str, &str)],
    settings: &ChatSettings,
    change: impl FnOnce(&mut Tokenising<'_>),
) -> Result<(RowIndex, Vec<Note>), RowsError> {
    let stores = stored(files).await;
    let datasets: Vec<Dataset> = files.iter().map(|(name, _)| dataset(name)).collect();
    let (mut index, _) = index_in(&stores, &datasets, Task::CausalLm, None).await.unwrap();
    let encoder = encoder(48, settings, &datasets);
    let mut with = Tokenising { encoder, hash: 7, entries: &[1, 2], kept: None, most: None };
    change(&mut with);
    let notes = tokenise(&stores, &mut index, RowsOf::Training, &with).await?;
    Ok((index, notes))
}

#[tokio::test]
async fn rows_that_cannot_be_trained_on_leave_the_index() {
    let files = [("chats.jsonl", CHATS), ("texts.csv", TEXTS)];
    let (index, notes) = tokenised(&files, &ChatSettings::default(), |_| ()).await.unwrap();
    // <|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nbc<|im_end|>\n: of these, bc<|im_end|> is trained.
    assert_eq!((index.len(), index.tokens(), index.trained()), (3, &[24, 5, 2][..], &[3, 4, 1][..]));
    assert_eq!((0..3).map(|row| index.entry_of(row)).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!((0..3).map(|row| index.data_row(row)).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!((index.row(1).unwrap().file, index.row(2).unwrap().file), (0, 1));
    assert_eq!(RowIndex::decode(&index.encode(), 0).unwrap(), index);
    let text: Vec<String> = notes.iter().map(Note::to_string).collect();
    assert_eq!(
        text,
        [
            "training rows are messages (1), text (2)",
            "training rows have 31 tokens, 8 of them trained (train_on_inputs: true trains all); the longest row has 24",
            "training data: dropped 2 rows (numbers 3, 5): longer than sequence_len",
            "training data: dropped 1 row (number 1): no assistant turn",
        ]
    );
    assert_eq!(notes.iter().filter(|note| note.is_warning()).count(), 2);
}

#[tokio::test]
async fn truncated_rows_stay_and_are_counted() {
    let settings = ChatSettings { excess_length_strategy: ExcessLength::Truncate, ..ChatSettings::default() };
    let files = [("chats.jsonl", CHATS), ("texts.csv", TEXTS)];
    let (index, notes) = tokenised(&files, &settings, |_| ()).await.unwrap();
    assert_eq!(index.tokens(), [24, 5, 48, 2, 48]);
    let rows = FewRows { rows: 2, first: vec![3, 5] };
    let what = "cut to sequence_len tokens; their ends are not trained".to_owned();
    assert!(notes.contains(&Note::OfRows { pass: RowsOf::Training, what, rows }), "{notes:?}");
}

#[tokio::test]
async fn a_wrong_row_is_named_and_ends_the_run() {
    let settings = ChatSettings { excess_length_strategy: ExcessLength::Raise, ..ChatSettings::default() };
    let error = tokenised(&[("chats.jsonl", CHATS)], &settings, |_| ()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data);
    let text = error.to_string();
    assert!(
        text.starts_with("memory://data/chats.jsonl, row 3 at byte ")
            && text.contains("more than sequence_len 48")
    );
    let lines = "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n";
    let error =
        tokenised(&[("t.jsonl", lines)], &ChatSettings::default(), |_| ()).await.unwrap_err().to_string();
    assert!(error.contains("row 1 at byte 14") && error.contains("\"txt\""), "{error}");
    let end = ChatSettings { eot_tokens: Some(vec!["q".into()]), ..ChatSettings::default() };
    let lines = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}]}\n";
    // The end of every turn is found by itself.
    assert!(tokenised(&[("chats.jsonl", lines)], &end, |_| ()).await.is_ok());
}

#[tokio::test]
async fn none_left_is_an_error_of_the_data() {
    let lines = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n".repeat(12);
    let error = tokenised(&[("t.jsonl", &lines)], &ChatSettings::default(), |_| ()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data);
    let expected = "no training row is left: 12 rows (numbers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …) dropped: no assistant turn";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn only_the_first_rows_are_looked_at_where_that_is_asked() {
    let lines: String = (0..5).map(|row| format!("{{\"text\": \"{row}\"}}\n")).collect();
    let few = |with: &mut Tokenising<'_>| with.most = Some(2);
    let (index, _) =
        tokenised(&[("a.jsonl", &lines), ("b.jsonl", &lines)], &ChatSettings::default(), few).await.unwrap();
    assert_eq!((index.len(), index.files().len(), index.tokens()), (2, 1, &[2, 2][..]));
}

#[tokio::test]
async fn a_pass_is_kept_for_the_same_rows_and_tokenizer() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..9000).map(|row| format!("{{\"text\": \"some text, number {row}\"}}\n")).collect();
    let chats = format!("{CHATS}{lines}");
    let files = [("chats.jsonl", chats.as_str())];
    let at = |hash: u128| {
        let path = directory.path().to_owned();
        move |with: &mut Tokenising<'_>| {
            with.hash = hash;
            with.kept = Some(Box::leak(path.into_boxed_path()));
        }
    };
    let kept = || std::fs::read_dir(directory.path()).unwrap().count();
    let settings = ChatSettings::default();
    let first = tokenised(&files, &settings, at(1)).await.unwrap();
    assert_eq!(kept(), 1);
    // That it is used shows with an encoder of other rules under the same hash.
    let other = ChatSettings { train_on_inputs: true, ..ChatSettings::default() };
    assert_eq!(tokenised(&files, &other, at(1)).await.unwrap(), first);
    assert_ne!(tokenised(&files, &other, at(2)).await.unwrap(), first);
    assert_eq!(kept(), 2);
    // Entries beside it, such as evaluation data, change nothing; what the entry itself says does.
    let with_entries = |entries: &'static [u128]| {
        let change = at(1);
        move |with: &mut Tokenising<'_>| {
            change(with);
            with.entries = entries;
        }
    };
    assert_eq!(tokenised(&files, &other, with_entries(&[1])).await.unwrap(), first);
    assert_ne!(tokenised(&files, &other, with_entries(&[3, 2])).await.unwrap(), first);
    // Damage is no harm.
    for file in std::fs::read_dir(directory.path()).unwrap() {
        std::fs::write(file.unwrap().path(), "x").unwrap();
    }
    assert_eq!(tokenised(&files, &settings, at(1)).await.unwrap(), first);
    // Nor is a change of the data overlooked.
    let files = [("chats.jsonl", lines.as_str())];
    assert_eq!(tokenised(&files, &settings, at(1)).await.unwrap().0.len(), 9000);
    // The first problem is kept too.
    let wrong = format!("{lines}{{}}\n");
    let files = [("chats.jsonl", wrong.as_str())];
    let error = tokenised(&files, &settings, at(1)).await.unwrap_err().to_string();
    let before = kept();
    assert_eq!(tokenised(&files, &settings, at(1)).await.unwrap_err().to_string(), error);
    assert_eq!((kept(), error.contains("row 9000")), (before, true), "{error}");
}

#[tokio::test]
async fn compressed_and_nested_files_are_read_as_planned() {
    let file = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/testdata").join(name);
        Bytes::from(std::fs::read(path).unwrap())
    };
    let stores = stored(&[]).await;
    let zstd = Bytes::from(zstd::encode_all(CHATS.as_bytes(), 3).unwrap());
    for (name, content) in [("p.parquet", file("messages_hf.parquet")), ("z.jsonl.zst", zstd)] {
        stores.locate(&format!("memory://data/{name}")).unwrap().write(content).await.unwrap();
    }
    let datasets = ["p.parquet", "z.jsonl.zst"].map(dataset);
    let (mut index, _) = index_in(&stores, &datasets, Task::CausalLm, None).await.unwrap();
    let encoder = encoder(64, &ChatSettings::default(), &datasets);
    let with = Tokenising { encoder: encoder.clone(), hash: 0, entries: &[1, 2], kept: None, most: None };
    // The second conversation of the Parquet file has null content, which this template cannot render.
    let error = tokenise(&stores, &mut index.clone(), RowsOf::Training, &with).await.unwrap_err();
    assert!(error.to_string().contains("p.parquet, row 1 "), "{error}");
    let with = Tokenising { most: Some(1), ..with };
    tokenise(&stores, &mut index, RowsOf::Training, &with).await.unwrap();
    assert_eq!((index.len(), index.trained()), (1, &[3][..]));
    let counts = RowTokens { tokens: index.tokens()[0], trained: 3 };
    assert!(counts.tokens > 40);
}
