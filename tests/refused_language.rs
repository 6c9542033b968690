//! Runs of language models that must be refused before a worker starts, by name and with the right exit code.

use std::path::Path;

use headstart_tests::language::{LORA, chat, chats, config, write};
use headstart_tests::refused::Refused;
use headstart_tests::succeed;
use serde_json::{Value, json};

/// A run that is in order but for what `spoil` does to it and what these keys say.
#[track_caller]
fn refuse(spoil: impl Fn(&Path), sets: &[&str], code: i32, says: &[&str]) {
    let directory = chats();
    spoil(directory.path());
    let sets: Vec<&str> = LORA.iter().chain(sets).flat_map(|set| ["--set", set]).collect();
    for command in ["validate", "train"] {
        let arguments = [&[command, "run.yaml"][..], &sets].concat();
        Refused::of(directory.path(), &arguments).code(code).says(says).before_workers();
    }
    let written = std::fs::read_dir(directory.path().join("out")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "nothing is left in output_dir");
}

fn as_it_is(_: &Path) {}

/// Training rows.
fn rows(rows: impl Into<String>) -> impl Fn(&Path) {
    let rows = rows.into();
    move |directory| write(directory, "train.jsonl", &rows)
}

fn template(template: &str) -> impl Fn(&Path) {
    move |directory| write(directory, "model/chat_template.jinja", template)
}

/// `config.json` with another value of a key.
fn with(key: &str, value: Value) -> impl Fn(&Path) {
    move |directory| {
        let mut config = config(258, 1024);
        config[key] = value.clone();
        write(directory, "model/config.json", config.to_string());
    }
}

macro_rules! refused {
    ($($case:ident: $spoil:expr, $sets:expr => $code:literal $says:expr,)*) => {
        $(
            #[test]
            fn $case() {
                refuse($spoil, &$sets, $code, &$says);
            }
        )*
    };
}

refused! {
    a_checkpoint_without_a_template:
        |directory: &Path| std::fs::remove_file(directory.join("model/chat_template.jinja")).expect("it was written"), []
        => 12 ["the checkpoint has no chat template", "chat_template_jinja"],
    a_template_that_does_not_parse: template("a\n{% for %}"), [] => 12 ["chat_template.jinja: line 2"],
    conversations_without_an_answer:
        rows("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n".repeat(12)), []
        => 10 ["no training row is left", "12 rows", "no assistant turn"],
    a_turn_without_an_end_token:
        template("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"), []
        => 12 ["train.jsonl, row 0", "no end token follows message 1", "eot_tokens"],
    an_end_token_that_the_tokenizer_lacks: as_it_is, ["eot_tokens=[\"<|nothing|>\"]"]
        => 12 ["eot_tokens: the tokenizer has no token \"<|nothing|>\""],
    arguments_of_a_tool_that_are_not_json:
        rows(json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "tool_calls": [{"function": {"name": "f", "arguments": "{city: Rome}"}}]},
        ]}).to_string()), []
        => 10 ["train.jsonl, row 0", "messages[1].tool_calls[0].function.arguments: the text is not JSON"],
    a_template_that_raises: template("{{ raise_exception('roles must alternate') }}"), []
        => 10 ["train.jsonl, row 0", "roles must alternate"],
    a_template_that_never_ends:
        template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"), []
        => 10 ["train.jsonl, row 0", "out of fuel"],
    an_answer_that_the_template_changes:
        template("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.upper() + '<|im_end|>\n' }}{% endfor %}"),
        [] => 10 ["train.jsonl, row 0", "message 1"],
    an_unknown_target_module: as_it_is, ["lora_target_modules=[query]"]
        => 2 ["lora_target_modules", "\"query\" is no module of this network", "q_proj"],
    rows_longer_than_the_positions: as_it_is, ["sequence_len=1025"] => 2 ["sequence_len is 1025", "1024"],
    a_row_that_is_too_long_to_be_cut: rows(chat("a", &"b".repeat(1100))), ["excess_length_strategy=raise"]
        => 10 ["train.jsonl, row 0", "more than sequence_len 1024"],
    an_unknown_network: with("model_type", json!("mamba")), []
        => 12 ["config.json", "model_type \"mamba\" is not supported yet", "llama"],
    an_unknown_rope: with("rope_scaling", json!({"rope_type": "spiral", "factor": 2.0})), [] => 12 ["config.json", "spiral"],
    a_token_beyond_the_embeddings: with("vocab_size", json!(257)), ["init=random"] => 12 ["token \"<|im_end|>\" has number 257, beyond the network's vocab_size 257"],
    a_template_of_another_name: as_it_is, ["chat_template=llama3"] => 2 ["chat_template: llama3", "tokenizer_default"],
    an_unknown_template: as_it_is, ["chat_template=mine"] => 2 ["chat_template: mine", "tokenizer_default"],
}

/// An adapter decides its rank and modules, and fits the network that it was made for.
#[test]
fn an_adapter_of_another_rank_or_base() {
    let directory = chats();
    let mut arguments = vec!["train", "run.yaml", "--set", "output_dir=first", "--set", "max_steps=1"];
    arguments.extend(LORA.iter().flat_map(|set| ["--set", set]));
    succeed(directory.path(), &arguments);
    let continued = ["--set", "adapter=lora", "--set", "lora_model_dir=first/final"];
    let refuse = |sets: &[&str], says: &[&str]| {
        for command in ["validate", "train"] {
            let arguments = [&[command, "run.yaml"][..], &continued, sets].concat();
            Refused::of(directory.path(), &arguments).code(12).says(says).before_workers();
        }
    };
    refuse(&["--set", "lora_r=5"], &["lora_r is 5, but the adapter in", "first/final"]);
    let mut other = config(258, 1024);
    other["intermediate_size"] = json!(48);
    write(directory.path(), "model/config.json", other.to_string());
    headstart_tests::language::weights(directory.path(), &other, safetensors::Dtype::BF16);
    refuse(&[], &["first/final", "lora_"]);
}
