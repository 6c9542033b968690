//! Which tokens are trained.

use super::*;

const TWO_TURNS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn a_template_without_tags_trains_each_answer_through_its_end_token() {
    let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n\
                    <|im_start|>assistant\n[d<|im_end|>]\n";
    assert_eq!(Setup::default().marked(chat(&TWO_TURNS)), expected);
    assert_eq!(Setup::of(TAGGED).marked(chat(&TWO_TURNS)), expected);
}

/// The padding token is the end token in many checkpoints: masks go by position.
#[test]
fn an_end_token_that_pads_too_is_trained() {
    let mut setup = Setup::default();
    setup.config["pad_token"] = "<|im_end|>".into();
    assert!(setup.marked(chat(&["a", "b"])).ends_with("[b<|im_end|>]\n"));
}

#[test]
fn train_on_eos_decides_which_end_tokens_are_trained() {
    let with =
        |value: &str| Setup::default().settings(json!({"train_on_eos": value})).marked(chat(&TWO_TURNS));
    let [open, user] = ["<|im_start|>assistant\n", "<|im_start|>user\n"];
    let all = format!("{user}a[<|im_end|>]\n{open}[b<|im_end|>]\n{user}c[<|im_end|>]\n{open}[d<|im_end|>]\n");
    assert_eq!(with("all"), all);
    assert_eq!(with("turn"), all.replace("[<|im_end|>]", "<|im_end|>"));
    let last = format!("{user}a<|im_end|>\n{open}[b]<|im_end|>\n{user}c<|im_end|>\n{open}[d<|im_end|>]\n");
    assert_eq!(with("last"), last);
    assert_eq!(with("none"), last.replace("[d<|im_end|>]", "[d]<|im_end|>"));
}

#[test]
fn an_entry_overrides_the_runs_keys() {
    let setup = Setup::default().format(json!({"roles_to_train": ["user"], "train_on_eos": "none"}));
    assert_eq!(
        setup.marked(chat(&["a", "b"])),
        "<|im_start|>user\n[a]<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    );
}

#[test]
fn roles_to_train_is_a_list_of_roles() {
    let setup = Setup::default().settings(json!({"roles_to_train": ["assistant", "human"]}));
    let expected = "<|im_start|>user\n[a<|im_end|>]\n<|im_start|>assistant\n[b<|im_end|>]\n";
    assert_eq!(setup.marked(chat(&["a", "b"])), expected);
    let tagged = Setup { template: Some(TAGGED.into()), ..setup };
    assert_eq!(tagged.marked(chat(&["a", "b"])), expected);
}

#[test]
fn train_on_inputs_trains_all_but_the_first_token() {
    for template in [CHATML, TAGGED] {
        let setup = Setup::of(template).settings(json!({"train_on_inputs": true}));
        let expected = "<|im_start|>[user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n]";
        assert_eq!(setup.marked(chat(&["a", "b"])), expected);
        let mut row = chat(&["a", "b"]);
        row["messages"][1]["train"] = false.into();
        assert!(setup.marked(row).ends_with("assistant\n]b<|im_end|>[\n]"));
    }
}

#[test]
fn a_message_says_itself_whether_it_is_trained() {
    let mut row = chat(&TWO_TURNS);
    row["messages"][1]["train"] = false.into();
    row["messages"][2]["train"] = 1.into();
    let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\n[c<|im_end|>]\n\
                    <|im_start|>assistant\n[d<|im_end|>]\n";
    assert_eq!(Setup::default().marked(row.clone()), expected);
    assert_eq!(Setup::of(TAGGED).marked(row.clone()), expected);
    row["messages"][1]["train"] = Value::Null;
    row["messages"][1]["weight"] = 0.into();
    row["messages"][2]["weight"] = true.into();
    assert_eq!(Setup::default().format(json!({"message_field_training": "weight"})).marked(row), expected);
}

#[test]
fn only_the_completion_of_message_lists_is_trained() {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = json!({
        "prompt": [message("user", "a"), message("assistant", "b"), message("user", "c")],
        "completion": [message("assistant", "d")],
    });
    let expected = Setup::default().marked(chat(&TWO_TURNS)).replace("[b<|im_end|>]", "b<|im_end|>");
    assert_eq!(Setup::default().marked(row.clone()), expected);
    assert_eq!(Setup::of(TAGGED).marked(row), expected);
}

/// What the tokenizer calls EOS may end texts only; a turn's end is what follows every answer.
#[test]
fn the_special_token_behind_every_answer_ends_a_turn() {
    let mut setup = Setup::default();
    setup.config["eos_token"] = "</s>".into();
    assert!(setup.marked(chat(&["a", "b"])).ends_with("[b<|im_end|>]\n"));
}

#[test]
fn the_end_tokens_of_the_generation_config_count() {
    let template = CHATML.replace("<|im_end|>\n", "<|eot|> and more\n");
    let mut setup = Setup::of(&template);
    setup.config["eos_token"] = "</s>".into();
    setup.generation = Some(json!({"eos_token_id": [257, 260]}));
    assert!(setup.marked(chat(&["a", "b"])).ends_with("[b<|eot|>] and more\n"));
}

#[test]
fn thoughts_and_calls_of_a_turn_are_trained() {
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content %}{{ '<think>' + \
                    m.reasoning_content + '</think>' }}{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ '<call>' + \
                    c.function.arguments|tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
                    {{ '<|im_start|>assistant\n<think>' }}{% endif %}";
    let mut row = chat(&["a", "b", "c", ""]);
    row["messages"][1]["reasoning"] = "why".into();
    row["messages"][3]["tool_calls"] = json!([{"function": {"arguments": "{\"x\": 1.0}"}}]);
    let marked = Setup::of(template).marked(row);
    assert!(marked.contains("assistant\n[<think>why</think>b<|im_end|>]\n"), "{marked}");
    assert!(marked.ends_with("assistant\n[<call>{\"x\": 1.0}<|im_end|>]\n"), "{marked}");
}

/// As Mistral's: an answer follows its question at once, and a call is shown without its content.
#[test]
fn a_call_behind_a_question_without_a_prompt_is_trained() {
    let template = "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}{% elif m.tool_calls %}\
                    {{ '[CALL]' + m.tool_calls|tojson + '<|im_end|>' }}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}";
    let mut row = chat(&["a", "", "c", "d"]);
    row["messages"][1]["tool_calls"] = json!([{"function": {"name": "f"}}]);
    let marked = Setup::of(template).marked(row.clone());
    let call = r#"[CALL][{"function": {"name": "f"}}]"#;
    assert_eq!(marked, format!("[INST]a[/INST][{call}<|im_end|>][INST]c[/INST][d<|im_end|>]"));
    row["messages"][1]["content"] = "words that are not shown".into();
    assert!(matches!(Setup::of(template).refused(row), ChatError::NotVerbatim { message: 1, .. }));
}

/// Templates of models that think show the thoughts of the last turn only.
#[test]
fn a_text_that_the_template_leaves_out_is_a_warning() {
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if loop.last %}{{ m.content }}{% else %}\
                    {{ m.content.split('</think>')[-1].strip() }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let row =
        Setup::of(template).row(chat(&["a", "<think>\nfirst\n</think>\nb", "c", "<think>last</think>d"]));
    assert_eq!(row.warnings, [RowWarning::Vanished { message: 1, key: "content".into() }]);
    let marked = marked(&row);
    assert!(marked.contains("assistant\n[b<|im_end|>]"), "{marked}");
    assert!(marked.contains("assistant\n[<think>last</think>d<|im_end|>]"), "{marked}");
}

#[test]
fn tags_decide_and_a_span_without_its_end_is_a_warning() {
    let template =
        TAGGED.replace("+ '<|im_end|>' }}{% endgeneration %}", "}}{% endgeneration %}{{ '<|im_end|>' }}");
    let setup = Setup::of(&template).settings(json!({"train_on_eos": "all"}));
    let row = setup.row(chat(&["a", "b"]));
    assert_eq!(row.warnings, [RowWarning::TagsDecide, RowWarning::SpanWithoutEnd(0)]);
    assert!(marked(&row).ends_with("[b]<|im_end|>\n"));
}

/// A byte-pair token reaches over the edge of a span: it is trained if any of its characters is.
#[test]
fn a_span_is_as_wide_as_the_tokens_that_it_touches() {
    let row = json!({"prompt": "é", "completion": "é"});
    let encoded = Setup::default().row(row);
    assert_eq!(encoded.trained, [false, false, true, true, true]);
}

#[test]
fn an_excluded_turn_takes_its_end_token_along() {
    let mut row = chat(&["a", "b", "c", "d"]);
    row["messages"][1]["train"] = false.into();
    let expected = |end: &str| {
        format!(
            "<|im_start|>[user\na<|im_end|>\n<|im_start|>assistant\n]b{end}\n<|im_start|>user\nc<|im_end|>\n\
             <|im_start|>assistant\nd<|im_end|>\n]"
        )
    };
    for (eos, end) in [("turn", "<|im_end|>["), ("all", "[<|im_end|>")] {
        let setup = Setup::default().settings(json!({"train_on_inputs": true, "train_on_eos": eos}));
        assert_eq!(setup.marked(row.clone()), expected(end), "{eos}");
    }
}

#[test]
fn a_weight_says_whether_a_message_is_trained() {
    let mut row = chat(&["a", "b", "c", "d"]);
    row["messages"][1]["weight"] = 0.into();
    row["messages"][3]["weight"] = 1.into();
    let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n\
                    <|im_start|>assistant\n[d<|im_end|>]\n";
    assert_eq!(Setup::default().marked(row.clone()), expected);
    // The entry's own key comes first.
    row["messages"][1]["train"] = true.into();
    row["messages"][3]["train"] = false.into();
    assert!(Setup::default().marked(row).contains("[b<|im_end|>]"));
}
