//! Keys of rows of language models, in the spellings of this program and of others.

use super::*;
use crate::chat::{ChatSettings, ExcessLength, RowFormat, RowType, TemplateChoice, TrainOnEos};

const LM: &str = "base_model: models/chat\ntask: causal-lm\noutput_dir: runs/a\n";

fn lm(more: &str) -> Result<(RunSpec, IgnoredKeys), SpecError> {
    let data = if more.contains("datasets:") { "" } else { "datasets: [{path: train.jsonl}]\n" };
    parse_noting("run.yaml", &format!("{LM}{data}{more}"), &[])
}

fn read(more: &str) -> RunSpec {
    lm(more).unwrap_or_else(|error| panic!("{more:?} is refused:\n{error}")).0
}

#[test]
fn absent_keys_train_assistant_turns_by_the_template_of_the_checkpoint() {
    let spec = read("");
    assert_eq!(spec.chat, ChatSettings::default());
    let format = RowFormat { text_column: Some("text".into()), ..RowFormat::default() };
    assert_eq!(spec.datasets[0].row_format(), format);
    // Runs of other tasks are written as before.
    let keys = accepted("").result_keys();
    assert!(
        !keys.contains_key("train_on_inputs")
            && !keys["datasets"][0].as_object().unwrap().contains_key("type")
    );
}

#[test]
fn every_key_reaches_the_run() {
    let spec = read(
        "train_on_inputs: true\nroles_to_train: [assistant, tool]\ntrain_on_eos: last\neot_tokens: ['<|end|>']\n\
         add_eos: false\nchat_template: jinja\nchat_template_jinja: '{{ messages }}'\nchat_template_date: 2026-01-02\n\
         chat_template_kwargs: {enable_thinking: false, depth: 2}\nexcess_length_strategy: truncate\n",
    );
    let expected = ChatSettings {
        train_on_inputs: true,
        roles_to_train: vec!["assistant".into(), "tool".into()],
        train_on_eos: TrainOnEos::Last,
        eot_tokens: Some(vec!["<|end|>".into()]),
        add_eos: false,
        chat_template: TemplateChoice::Jinja,
        chat_template_jinja: Some("{{ messages }}".into()),
        chat_template_path: None,
        chat_template_kwargs: [("depth".into(), 2.into()), ("enable_thinking".into(), false.into())]
            .into_iter()
            .collect(),
        chat_template_date: Some("2026-01-02".into()),
        excess_length_strategy: ExcessLength::Truncate,
    };
    assert_eq!(spec.chat, expected);
    let again: RunSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn datasets_say_how_their_rows_are_read() {
    let spec = read(
        "text_column: body\ndatasets:\n- path: a.jsonl\n  type: chat_template\n  field_messages: turns\n  \
         message_property_mappings: {role: from, content: value}\n  roles: {user: [human, person], assistant: bot}\n  \
         roles_to_train: []\n  train_on_eos: all\n  message_field_training: learn\n  field_tools: functions\n\
         - path: b.csv\n  type: completion\n  field: story\n- {path: c.json, type: alpaca, field_input: context}\n",
    );
    let [chat, text, alpaca] = spec.datasets.as_slice() else { panic!("{:?}", spec.datasets) };
    let rows = &chat.rows;
    assert_eq!((rows.kind, rows.field_messages.as_deref()), (Some(RowType::Messages), Some("turns")));
    assert_eq!(rows.message_property_mappings["content"], "value");
    let roles = rows.roles.as_ref().unwrap();
    assert_eq!(
        (roles["user"].as_slice(), roles["assistant"].as_slice()),
        (&["human".into(), "person".into()][..], &["bot".into()][..])
    );
    assert_eq!((rows.roles_to_train.as_deref(), rows.train_on_eos), (Some(&[][..]), Some(TrainOnEos::All)));
    assert_eq!((rows.field_tools.as_deref(), chat.text_column.as_str()), (Some("functions"), "body"));
    assert_eq!(
        (text.rows.kind, text.row_format().text_column.as_deref()),
        (Some(RowType::Text), Some("story"))
    );
    assert_eq!(
        (alpaca.rows.kind, alpaca.rows.field_input.as_deref()),
        (Some(RowType::Alpaca), Some("context"))
    );
    let again: RunSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn what_other_trainers_say_is_taken_or_told_of() {
    assert!(read("train_on_prompt: true\n").chat.train_on_inputs);
    assert_eq!(read("dataset_text_field: body\n").datasets[0].text_column, "body");
    assert_eq!(
        read("datasets: [{path: a, type: sharegpt}]\n").datasets[0].rows.kind,
        Some(RowType::Messages)
    );
    let taken = "sample_packing: true\npacking: true\npad_to_sequence_len: true\nassistant_only_loss: true\n\
                 special_tokens: {}\nstage: sft\n";
    let (_, ignored) = lm(taken).unwrap();
    assert_eq!(ignored.keys().collect::<Vec<_>>(), ["sample_packing", "packing", "pad_to_sequence_len"]);
    assert!(ignored.to_string().contains("rows are laid end to end"), "{ignored}");
    let (_, packed) =
        lm("packing: true\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 3\n").unwrap();
    assert!(packed.to_string().contains("global_batch_size = 12 rows (not 12 packed sequences)"), "{packed}");
    assert!(
        lm("sample_packing: false\nneat_packing: false\neval_sample_packing: false\n").unwrap().1.is_empty()
    );
    let both = "assistant_only_loss: true\ncompletion_only_loss: true\n";
    assert!(lm(both).unwrap().1.is_empty());
    for dtype in ["torch_dtype: bfloat16\n", "dtype: torch.bfloat16\nbf16: true\n"] {
        let (_, ignored) = lm(dtype).unwrap();
        assert!(ignored.to_string().contains("frozen weights stay in memory"), "{ignored}");
    }
    for (keys, says) in [
        ("assistant_only_loss: false\n", "train_on_inputs: true"),
        ("completion_only_loss: true\ntrain_on_inputs: true\n", "the opposite of train_on_inputs"),
        (
            "assistant_only_loss: true\ncompletion_only_loss: false\n",
            "`completion_only_loss` means the opposite",
        ),
        ("create_new_adapter: true\n", "merge that adapter into the checkpoint"),
        ("torch_dtype: float16\n", "`torch_dtype: float16` is not supported yet"),
        ("special_tokens: {pad_token: x}\n", "the tokenizer is used as the checkpoint has it"),
        ("mask_history: true\n", "`train: false` in the data"),
        (
            "datasets: [{path: a, type: input_output}]\n",
            "`datasets[0].type: input_output` is not supported yet",
        ),
        ("datasets: [{path: a, message_field_role: from}]\n", "message_property_mappings: {role: NAME"),
        ("train_on_eos: turns\n", "did you mean turn?"),
        ("chat_template: jinja\n", "`chat_template: jinja` needs the template"),
        ("chat_template: chatml\nchat_template_jinja: x\n", "`chat_template: chatml` and another key"),
        ("chat_template_path: a\nchat_template_jinja: x\n", "both give the template"),
        ("labels: [a, b]\n", "`labels` is for classification"),
        ("text_pair_column: b\n", "`text_pair_column` is for classification"),
        (
            "datasets: [{path: a, message_property_mappings: {role: [a, b]}}]\n",
            "`message_property_mappings.role` must be one name",
        ),
    ] {
        let error = lm(keys).expect_err(keys);
        let said: Vec<String> =
            error.problems().iter().map(|p| format!("{p} {}", p.help.as_deref().unwrap_or(""))).collect();
        assert!(said.join("\n").contains(says), "{keys}: {said:?}");
    }
}

#[test]
fn other_tasks_have_no_use_for_keys_of_rows() {
    for keys in ["train_on_inputs: false\n", "chat_template: jinja\n", "excess_length_strategy: drop\n"] {
        let error = parse_run(keys).expect_err(keys).to_string();
        assert!(error.contains("is for language models"), "{error}");
    }
    let run = RUN.replace("path: train.jsonl", "path: train.jsonl\n    type: alpaca");
    let error = parse("run.yaml", &run, &[]).unwrap_err().to_string();
    assert!(error.starts_with("run.yaml:5:5: `type` is for language models"), "{error}");
}
