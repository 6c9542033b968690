//! Rows of language models: whole objects, from files of every kind.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Cache, Content, DataError, Format, Packing, RowIndex, Rows, index_in};
use super::formats::{fixture, gzip};
use super::{dataset, stored};
use crate::exit::Exit;
use crate::run_file::Task;

const LM: Task = Task::CausalLm;

async fn indexed(name: &str, content: &[u8]) -> Result<RowIndex, DataError> {
    let stores = stored(&[(name, content)]).await;
    let (index, labels) = index_in(&stores, &[dataset(format!("memory://data/{name}"))], LM, None).await?;
    assert!(labels.is_empty());
    Ok(index)
}

/// The rows of a file, read as a worker does.
async fn rows(name: &str, content: &[u8]) -> Result<Vec<Value>, DataError> {
    let stores = stored(&[(name, content)]).await;
    let index = Arc::new(indexed(name, content).await?);
    assert_eq!(RowIndex::decode(&index.encode(), 0).unwrap(), *index);
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(directory.path().to_owned(), 1 << 30);
    let numbers: Vec<u64> = (0..index.len()).collect();
    let found = Rows::new(index, Some(cache), stores).read(&numbers).await?;
    let objects = found.into_iter().map(|row| match row.content {
        Content::Json(object) => Value::Object(object),
        other => panic!("{other:?}"),
    });
    Ok(objects.collect())
}

#[tokio::test]
async fn rows_of_json_are_their_objects() {
    let lines =
        "{\"text\": \"a\", \"n\": [1, {\"b\": null}]}\r\n\n{\"prompt\": \"größe\", \"completion\": \"\"}";
    let expected =
        vec![json!({"text": "a", "n": [1, {"b": null}]}), json!({"prompt": "größe", "completion": ""})];
    let array = format!("[{}]", expected.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n"));
    assert_eq!(rows("t.jsonl", lines.as_bytes()).await.unwrap(), expected);
    assert_eq!(rows("t.jsonl.gz", &gzip(lines.as_bytes())).await.unwrap(), expected);
    assert_eq!(rows("t.json", array.as_bytes()).await.unwrap(), expected);
    let error = rows("t.jsonl", b"{\"text\": \"a\"}\n[1]\n").await.unwrap_err();
    assert!(error.to_string().contains("t.jsonl:2: not a JSON object"), "{error}");
    assert_eq!(error.exit(), Exit::Data);
    // What planning accepts can be read later: depth, numbers and escapes too.
    for value in [format!("{}1{}", "[".repeat(200), "]".repeat(200)), "1e999".into(), "\"\\ud800\"".into()] {
        let error =
            rows("t.jsonl", format!("{{\"text\": {value}}}\n").as_bytes()).await.unwrap_err().to_string();
        assert!(error.contains("t.jsonl:1: not valid JSON"), "{error}");
    }
}

#[tokio::test]
async fn rows_of_csv_are_objects_of_texts() {
    let file = "id;prompt;completion\n7;\"a\nb\";\n8;c;d\n";
    let expected = vec![
        json!({"id": "7", "prompt": "a\nb", "completion": ""}),
        json!({"id": "8", "prompt": "c", "completion": "d"}),
    ];
    assert_eq!(rows("t.csv", file.as_bytes()).await.unwrap(), expected);
    assert_eq!(rows("unnamed", file.as_bytes()).await.unwrap(), expected);
    let twice = rows("t.csv", b"text,text\na,b\n").await.unwrap_err().to_string();
    assert!(twice.contains("\"text\" occurs twice"), "{twice}");
    let nothing = rows("unnamed", b"x,y\na,b\n").await.unwrap_err().to_string();
    assert!(nothing.contains("does not name one of the columns"), "{nothing}");
}

/// What `make_messages.py` wrote, without nulls in structs.
fn conversations() -> Vec<Value> {
    let call =
        |id: &str| json!({"id": id, "function": {"name": "look_up", "arguments": "{\"city\": \"Köln\"}"}});
    vec![
        json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "größe?"},
                {"role": "assistant", "content": "42"},
            ],
            "chat_template_kwargs": {"strict": true, "scores": [0.5, null, 1.0]},
            "tools": [{"a": 1}, {}],
        }),
        json!({
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "tool_calls": [call("c1"), call("c2")]},
                {"role": "tool", "content": "", "tool_call_id": "c1"},
                {"role": "assistant", "content": "Fine.", "train": false},
            ],
            "chat_template_kwargs": {"scores": []},
        }),
        json!({"messages": [], "tools": []}),
        json!({"chat_template_kwargs": {"strict": false}, "tools": [null, {"c": -3}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
    ]
}

#[tokio::test]
async fn nested_parquet_is_read_as_the_json_of_the_needed_columns() {
    for name in ["messages", "messages_v2", "messages_old"] {
        let file = format!("{name}.parquet");
        assert_eq!(rows(&file, &fixture(&file)).await.unwrap(), conversations(), "{name}");
        let index = indexed(&file, &fixture(&file)).await.unwrap();
        let [planned] = index.files() else { panic!("one file") };
        assert_eq!((planned.format, planned.packing, planned.whole), (Format::Json, Packing::Parquet, true));
        assert_eq!(planned.columns, ["messages", "chat_template_kwargs", "tools"], "{name}");
    }
    let expected: Vec<Value> =
        conversations()[..2].iter().map(|row| json!({"messages": row["messages"]})).collect();
    assert_eq!(rows("hf.parquet", &fixture("messages_hf.parquet")).await.unwrap(), expected);
    let prompts = rows("p.parquet", &fixture("prompts.parquet")).await.unwrap();
    assert_eq!(
        prompts,
        [json!({"prompt": "p", "completion": "c"}), json!({"prompt": "q", "completion": "d"})]
    );
}

#[tokio::test]
async fn parquet_without_a_usable_column_is_refused() {
    for (name, says) in
        [("kinds", "no column"), ("messages_dates", "column \"messages\" is of a type that is not supported")]
    {
        let result = rows("t.parquet", &fixture(&format!("{name}.parquet"))).await;
        if name == "kinds" {
            // It has a column of texts.
            assert!(result.is_ok_and(|rows| rows.iter().all(|row| row.get("text").is_some())));
            continue;
        }
        let error = result.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit(), Exit::Data);
    }
    let images = rows("t.parquet", &fixture("images_hf.parquet")).await.unwrap_err().to_string();
    assert!(images.contains("the columns are \"image\", \"label\""), "{images}");
}

#[tokio::test]
async fn files_know_their_datasets() {
    let stores =
        stored(&[("a.jsonl", b"{\"text\":\"1\"}\n"), ("b.jsonl", b"{\"text\":\"2\"}\n{\"text\":\"3\"}\n")])
            .await;
    let datasets = ["b.jsonl", "a.jsonl", "*.jsonl"].map(|name| dataset(format!("memory://data/{name}")));
    let (index, _) = index_in(&stores, &datasets, LM, None).await.unwrap();
    let entries: Vec<usize> = (0..index.len()).map(|row| index.entry_of(row)).collect();
    assert_eq!(entries, [0, 0, 1, 2, 2, 2]);
    let decoded = RowIndex::decode(&index.encode(), 0).unwrap();
    assert_eq!(decoded.entry_of(2), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Damaged levels and lists are refused or read, without a panic.
    #[test]
    fn damaged_lists_are_survived(file in 0usize..3, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut content = fixture(["messages.parquet", "messages_v2.parquet", "messages_old.parquet"][file]);
        for (place, value) in damage {
            let place = place.index(content.len());
            content[place] = value;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Err(error) = runtime.block_on(indexed("t.parquet", &content)) {
            prop_assert_eq!(error.exit(), Exit::Data);
        }
    }
}
