//! Failures that trainers of language models are silent about, and the right behaviour of each, by number:
//!
//! 1. A template without generation tags gives a mask of zeros: `src/chat/tests/masks.rs`
//!    (`a_template_without_tags_trains_each_answer_through_its_end_token`) and `refusals.rs` beside it.
//! 2. The turn's end token is untrained: `masks.rs` (as 1, and `the_special_token_behind_every_answer_ends_a_turn`), and
//!    `tests/language_rows.rs` (`preprocess_shows_what_is_trained`).
//! 3. Padding that is eos masks eos: `masks.rs` (`an_end_token_that_pads_too_is_trained`).
//! 4. Truncation removes the answer: `src/chat/tests/tokens.rs` (`a_row_without_trained_tokens_is_dropped`),
//!    `tests/language_rows.rs` (`validate_checks_the_first_thousand_rows_and_says_so`), and here.
//! 5. BOS twice: `tokens.rs` (`a_rendered_template_gets_no_special_tokens`, `a_text_that_begins_with_bos_gets_no_second_one`).
//! 6. Another template than the checkpoint's: `src/chat/tests/templates.rs`
//!    (`a_name_is_accepted_where_the_checkpoint_has_that_template`), and here for `final/`.
//! 7. Thoughts are stripped from earlier turns: `masks.rs` (`a_text_that_the_template_leaves_out_is_a_warning`), and here.
//! 8. Packing mixes rows: here, and `worker/src/torch/tests/language.rs` for gradients.
//! 9. A mean of means: here.
//! 10. Tied embeddings break: `src/checkpoint/tests/tied.rs`, `tests/language_full.rs` for models, and here for adapters.
//! 11. An adapter does nothing elsewhere: here.
//! 12. A config that readers of version 4 misread: `src/network/tests.rs`, and here.
//! 13. Full logits in evaluation: `tests/language_memory.rs`.
//! 14. No gradient under checkpointing: here.
//! 15. Ranks wait for one that tokenises, a resumed run loses state, a seed does not reproduce: `tests/language_bits.rs`; no
//!     worker waits for another, because planning tokenises before any worker joins.

use std::path::Path;

use headstart_tests::language::{LORA, TEMPLATE, chat, chats, write};
use headstart_tests::{headstart, sha256, text};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One step over a file of rows, without dropout or evaluation.
const STEP: [&str; 6] = [
    "adapter=lora",
    "max_steps=1",
    "eval_strategy=no",
    "learning_rate=1e-2",
    "lora_r=4",
    "resume_from_checkpoint=no",
];

fn train(directory: &Path, sets: &[&str]) -> String {
    let mut arguments = vec!["train", "run.yaml"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let output = headstart(directory, &arguments);
    assert!(output.status.success(), "{sets:?}: {}", text(&output));
    text(&output)
}

/// The ledger's line of the first step of a run over these rows.
fn first_step(directory: &TempDir, name: &str, rows: &[String], sets: &[&str]) -> Value {
    write(directory.path(), &format!("{name}.jsonl"), rows.concat());
    let (data, output) = (format!("datasets.0.path={name}.jsonl"), format!("output_dir={name}"));
    train(directory.path(), &[&STEP[..], sets, &[&data, &output]].concat());
    let ledger = std::fs::read_to_string(directory.path().join(name).join("final/ledger.jsonl"));
    let ledger = ledger.expect("the run wrote it");
    serde_json::from_str(ledger.lines().nth(1).expect("a step")).expect("JSON")
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"))
}

fn assert_close(left: f64, right: f64, what: &str) {
    assert!((left - right).abs() <= 1e-5 * right.abs(), "{what}: {left} and {right}");
}

/// The tensors of an adapter, 32-bit floats, by name.
fn adapter(directory: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(directory.join("adapter_model.safetensors")).expect("the run wrote it");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let (values, rest) = view.data().as_chunks::<4>();
        assert!(rest.is_empty() && view.dtype() == safetensors::Dtype::F32, "{name}");
        (name, values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    };
    tensors.tensors().into_iter().map(read).collect()
}

/// 8: rows of several lengths in one micro-batch cost what each costs alone.
#[test]
fn the_loss_of_rows_end_to_end_is_the_sum_of_their_losses() {
    let directory = chats();
    let rows: Vec<String> = [1, 4, 9, 4]
        .iter()
        .zip(0..)
        .map(|(words, row)| chat(&format!("q{row}?"), &"ab c ".repeat(*words)))
        .collect();
    let together = ["per_device_train_batch_size=4", "global_batch_size=4", "shards_per_step=1"];
    let packed = first_step(&directory, "packed", &rows, &together);
    let alone = ["per_device_train_batch_size=1", "global_batch_size=1", "shards_per_step=1"];
    let (mut sum, mut tokens) = (0.0, 0.0);
    for (row, name) in rows.iter().zip(["a", "b", "c", "d"]) {
        let line = first_step(&directory, name, std::slice::from_ref(row), &alone);
        sum += number(&line, "loss") * number(&line, "trained_tokens");
        tokens += number(&line, "trained_tokens");
    }
    assert_eq!(number(&packed, "trained_tokens"), tokens);
    assert_close(number(&packed, "loss") * tokens, sum, "loss");
}

/// 9: a token counts the same, whatever shard its row is in.
#[test]
fn answers_of_1_and_500_tokens_weigh_by_their_tokens() {
    let directory = chats();
    let rows = [chat("short?", "y"), chat("long?", &"lorem ipsum dolor si".repeat(25))];
    let one =
        ["train_on_eos=none", "global_batch_size=2", "per_device_train_batch_size=2", "shards_per_step=1"];
    let one = first_step(&directory, "one", &rows, &one);
    let two =
        ["train_on_eos=none", "global_batch_size=2", "per_device_train_batch_size=1", "shards_per_step=2"];
    let two = first_step(&directory, "two", &rows, &two);
    let alone =
        ["train_on_eos=none", "global_batch_size=1", "per_device_train_batch_size=1", "shards_per_step=1"];
    let short = first_step(&directory, "short", &rows[..1], &alone);
    let long = first_step(&directory, "long", &rows[1..], &alone);
    let counts = [&short, &long, &two].map(|line| number(line, "trained_tokens"));
    assert_eq!(counts, [1.0, 500.0, 501.0]);
    let [short, long] = [short, long].map(|line| number(&line, "loss"));
    for line in [&one, &two] {
        assert_close(number(line, "loss"), (short + 500.0 * long) / 501.0, "loss");
    }
    assert_close(number(&two, "grad_norm"), number(&one, "grad_norm"), "norm of the gradient");
    let means = f64::midpoint(short, long);
    assert!((number(&two, "loss") - means).abs() > 1e-2 * means, "a mean of means would show: {means}");
}

/// 14: what checkpointing computes again is what gradients need.
#[test]
fn every_adapter_learns_in_the_first_step() {
    let directory = chats();
    for checkpointing in ["gradient_checkpointing=true", "gradient_checkpointing=false"] {
        let output = format!("output_dir={checkpointing}");
        train(directory.path(), &[&STEP[..], &["warmup_steps=0", checkpointing, &output]].concat());
        let tensors = adapter(&directory.path().join(checkpointing).join("final"));
        let changed: Vec<bool> = tensors
            .iter()
            .filter(|(name, _)| name.contains(".lora_B."))
            .map(|(_, values)| values.iter().any(|value| *value != 0.0))
            .collect();
        assert_eq!(changed, [true; 14], "seven linear modules in each of two layers: {checkpointing}");
    }
    let bits = |run: &str| sha256(&directory.path().join(run).join("final/adapter_model.safetensors"));
    assert_eq!(bits("gradient_checkpointing=true"), bits("gradient_checkpointing=false"));
}

/// 11: the names are those of the plain network, and what is loaded by them does something.
#[test]
fn an_adapter_is_found_by_the_names_of_the_plain_network() {
    let directory = chats();
    train(directory.path(), &LORA);
    let at = |run: &str| directory.path().join(run).join("final");
    for (name, _) in adapter(&at("out")) {
        let module =
            name.strip_prefix("base_model.model.model.layers.").expect("a module of LlamaForCausalLM");
        assert!(module.ends_with(".lora_A.weight") || module.ends_with(".lora_B.weight"), "{name}");
    }
    let config: Value =
        serde_json::from_slice(&std::fs::read(at("out").join("adapter_config.json")).expect("written"))
            .expect("JSON");
    assert_eq!(config["task_type"], "CAUSAL_LM");
    let still = ["adapter=lora", "learning_rate=0", "max_steps=1", "eval_strategy=no"];
    let loaded = [&still[..], &["output_dir=loaded", "lora_model_dir=out/final"]].concat();
    train(directory.path(), &loaded);
    let base = [&still[..], &["output_dir=base"]].concat();
    train(directory.path(), &base);
    let golden = |run: &str| sha256(&at(run).join("golden.jsonl"));
    assert_eq!(golden("loaded"), golden("out"));
    assert_ne!(golden("base"), golden("out"));
}

/// 10: embeddings that train with an adapter are one tensor under two names, and give the same network again.
#[test]
fn a_tied_embedding_beside_an_adapter_stays_tied() {
    let directory = chats();
    let tied = [&LORA[..], &["lora_modules_to_save=[embed_tokens]"]].concat();
    train(directory.path(), &tied);
    let at = |run: &str| directory.path().join(run).join("final");
    let tensors = adapter(&at("out"));
    let named = |end: &str| -> Vec<&Vec<f32>> {
        tensors.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, values)| values).collect()
    };
    let (table, head) = (named("embed_tokens.weight"), named("lm_head.weight"));
    assert_eq!((table.len(), table), (1, head));
    let still = ["adapter=lora", "learning_rate=0", "max_steps=1", "eval_strategy=no"];
    train(directory.path(), &[&still[..], &["output_dir=loaded", "lora_model_dir=out/final"]].concat());
    assert_eq!(sha256(&at("loaded").join("golden.jsonl")), sha256(&at("out").join("golden.jsonl")));
}

/// 6 and 12: templates, tokenizer and config go to `final/` as the checkpoint has them.
#[test]
fn files_of_the_checkpoint_are_kept_byte_for_byte() {
    let directory = chats();
    let at = |path: &str| {
        std::fs::read(directory.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    // A spelling of version 4 with a key that nobody knows, oddly laid out.
    let config = String::from_utf8(at("model/config.json")).expect("UTF-8");
    let config = config.replacen('{', "{ \"torch_dtype\":  \"bfloat16\",\n\"_notes\": [1,2 ],", 1) + "\n";
    write(directory.path(), "model/config.json", &config);
    train(directory.path(), &["max_steps=1", "eval_strategy=no"]);
    for file in ["config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(at(&format!("out/final/{file}")), at(&format!("model/{file}")), "{file}");
    }
    let other = TEMPLATE.replace("<|im_start|>assistant", "<|im_start|> assistant");
    write(directory.path(), "other.jinja", &other);
    let said = train(
        directory.path(),
        &[&STEP[..], &["output_dir=other", "chat_template_path=other.jinja"]].concat(),
    );
    assert_eq!(String::from_utf8(at("other/final/chat_template.jinja")).expect("UTF-8"), other);
    assert!(said.contains("chat_template_path replaces the checkpoint's chat template"), "{said}");
}

/// 4 and 7: what is cut off, and what a template leaves out, is said before training.
#[test]
fn what_is_not_trained_on_is_said() {
    let directory = chats();
    let rows = [chat("short?", "fits"), chat(&"long? ".repeat(200), "cut off")].concat();
    write(directory.path(), "cut.jsonl", rows);
    let cut = ["datasets.0.path=cut.jsonl", "excess_length_strategy=truncate"];
    let said = train(directory.path(), &[&STEP[..], &cut].concat());
    assert!(said.contains("1 row (number 1)") && said.contains("no trained tokens"), "{said}");

    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}\
                    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    write(directory.path(), "model/chat_template.jinja", template);
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let thoughts = json!({"messages": [turn("user", "a"), turn("assistant", "<think>why</think>b")]});
    write(directory.path(), "thoughts.jsonl", format!("{thoughts}\n"));
    let mut arguments = vec!["validate", "run.yaml", "--set", "output_dir=thoughts"];
    arguments.extend(["--set", "datasets.0.path=thoughts.jsonl"]);
    let output = headstart(directory.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("(number 0): the chat template leaves out content of a message"),
        "{}",
        text(&output)
    );
}
