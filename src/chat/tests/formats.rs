//! Formats of rows, and the names of their columns, keys and roles.

use super::*;

const ONE_TURN: &str = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n";

fn kind(row: Value) -> RowKind {
    Setup::default().row(row).format
}

#[test]
fn the_format_is_found_and_named() {
    let message = |role: &str| json!({"role": role, "content": "x"});
    let rows = [
        (json!({"text": "ab"}), "text"),
        (json!({"prompt": "a", "completion": "b", "text": "c"}), "prompt and completion"),
        (
            json!({"prompt": [message("user")], "completion": [message("assistant")]}),
            "prompt and completion (messages)",
        ),
        (
            json!({"messages": [message("user"), message("assistant")], "prompt": "a", "prompt_id": 1}),
            "messages",
        ),
        (
            json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
            "conversations",
        ),
        (
            json!({"instruction": "a", "input": "", "output": "b", "text": "c"}),
            "instruction and output (alpaca)",
        ),
        (json!({"messages": null, "text": "ab"}), "text"),
    ];
    for (row, name) in rows {
        assert_eq!(kind(row.clone()).to_string(), name, "{row}");
    }
}

#[test]
fn conversations_have_other_names_of_keys_and_roles() {
    let row = json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]});
    assert_eq!(Setup::default().marked(row), ONE_TURN);
    let row = json!({"talk": [{"who": "customer", "words": "a"}, {"who": "agent", "words": "b"}]});
    let setup = Setup::default().format(json!({
        "field_messages": "talk", "message_property_mappings": {"role": "who", "content": "words"},
        "roles": {"user": ["customer"], "assistant": ["agent", "bot"]}, "roles_to_train": ["agent"],
    }));
    assert_eq!(setup.marked(row), ONE_TURN);
}

#[test]
fn alpaca_columns_become_a_user_and_an_assistant() {
    let setup = Setup::default();
    let row = json!({"instruction": "a", "input": "x", "output": "b", "system": "s"});
    let expected = format!("<|im_start|>system\ns<|im_end|>\n{}", ONE_TURN.replace("\na<", "\na\nx<"));
    assert_eq!(setup.marked(row), expected);
    assert_eq!(
        setup.marked(json!({"instruction": "a", "input": null, "output": "b", "system": ""})),
        ONE_TURN
    );
    let setup =
        Setup::default().format(json!({"type": "alpaca", "field_instruction": "q", "field_output": "r"}));
    assert_eq!(setup.marked(json!({"q": "a", "r": "b", "messages": "other"})), ONE_TURN);
}

#[test]
fn a_system_column_precedes_messages_without_one() {
    let mut row = chat(&["a", "b"]);
    row["system"] = "s".into();
    let expected = format!("<|im_start|>system\ns<|im_end|>\n{ONE_TURN}");
    assert_eq!(Setup::default().marked(row.clone()), expected);
    let own = json!({"role": "system", "content": "s"});
    row["messages"].as_array_mut().expect("it is a list").insert(0, own);
    row["system"] = "another".into();
    assert_eq!(Setup::default().marked(row), expected);
}

#[test]
fn blank_columns_are_none() {
    for blank in ["", " \n"] {
        let mut row = chat(&["a", "b"]);
        for column in ["system", "tools", "chat_template_kwargs"] {
            row[column] = blank.into();
        }
        let template = format!("{{{{ 'tools' if tools is not none }}}}{CHATML}");
        assert_eq!(Setup::of(&template).marked(row), ONE_TURN);
        let row = json!({"instruction": "a", "input": blank, "output": "b"});
        assert_eq!(Setup::default().marked(row), ONE_TURN);
    }
}

#[test]
fn texts_that_hold_json_are_parsed() {
    let row = json!({"messages": chat(&["a", "b"])["messages"].to_string()});
    assert_eq!(Setup::default().marked(row), ONE_TURN);
    let template = "{{ tools[0].function.parameters.n }}{% for m in messages %}{{ m.content ~ (m.tool_calls[0].function.\
                    arguments.k if m.tool_calls else '') ~ '<|im_end|>' }}{% endfor %}";
    let parameters = json!({"n": 7}).to_string();
    let tools =
        json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]).to_string();
    let call = json!({"function": {"name": "f", "arguments": "{\"k\": [1, 2.0, null]}"}});
    let row = json!({
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [call]}],
        "tools": tools,
    });
    assert_eq!(Setup::of(template).marked(row), "7a<|im_end|>[b[1, 2.0, None]<|im_end|>]");
}

#[test]
fn nulls_of_a_message_are_absent_keys() {
    let template = "{% for m in messages %}{{ m.keys()|list|join(',') }};{% endfor %}";
    let setup = Setup::of(template).settings(json!({"train_on_inputs": true}));
    let row = json!({"messages": [{"role": "user", "content": "a", "name": null, "tool_calls": null}]});
    assert_eq!(setup.row(row).text, "role,content;");
    let mut parquet = json!({"a": [{"b": null, "c": {"d": null, "e": 1}}, null], "f": null});
    drop_nested_nulls(&mut parquet);
    assert_eq!(parquet, json!({"a": [{"c": {"e": 1}}, null]}));
}

#[test]
fn thoughts_are_given_under_each_name() {
    let template = "{% for m in messages %}{{ m.reasoning_content ~ m.thinking }}{% endfor %}";
    for key in ["reasoning_content", "thinking", "reasoning"] {
        let setup = Setup::of(template).settings(json!({"train_on_inputs": true}));
        let row = json!({"messages": [{"role": "assistant", "content": "", (key): "hm"}]});
        assert_eq!(setup.row(row).text, "hmhm", "{key}");
    }
}

#[test]
fn variables_of_the_row_override_the_entrys_and_the_runs() {
    let template = "{{ [one, two, three, add_generation_prompt]|join(' ') }}";
    let setup = Setup::of(template)
        .settings(json!({"train_on_inputs": true, "chat_template_kwargs": {"one": 1, "two": 1, "three": 1}}))
        .format(json!({"chat_template_kwargs": {"two": 2, "three": 2}}));
    let mut row = chat(&["a"]);
    row["chat_template_kwargs"] = json!({"three": "3", "add_generation_prompt": true}).to_string().into();
    assert_eq!(setup.row(row).text, "1 2 3 False");
}

#[test]
fn content_may_be_a_list_of_text_parts() {
    let template = "{% for m in messages %}{{ m.role ~ ':' }}{% if m.content is string %}{{ m.content }}{% else %}{% for part in \
                    m.content %}{{ part.text }}{% endfor %}{% endif %}{{ '<|im_end|>' }}{% endfor %}";
    let part = |text: &str| json!([{"type": "text", "text": text}]);
    let row = json!({"messages": [{"role": "user", "content": part("a")}, {"role": "assistant", "content": part("b")}]});
    assert_eq!(Setup::of(template).marked(row), "user:a<|im_end|>assistant:[b<|im_end|>]");
}

#[test]
fn only_columns_of_use_are_read() {
    let available: Vec<String> =
        ["id", "prompt", "messages", "tools", "text", "score"].map(String::from).into();
    let columns =
        |format: Value| Setup::default().format(format).build().expect("it is sound").columns(0, &available);
    assert_eq!(columns(json!({})), ["prompt", "messages", "tools", "text"]);
    assert_eq!(columns(json!({"type": "chat_template"})), ["messages", "tools"]);
    assert_eq!(columns(json!({"type": "completion", "text_column": "score"})), ["score"]);
}

#[test]
fn types_have_the_names_of_other_trainers() {
    for (name, kind) in [
        ("completion", RowType::Text),
        ("text", RowType::Text),
        ("chat_template", RowType::Messages),
        ("sharegpt", RowType::Messages),
        ("alpaca", RowType::Alpaca),
        ("prompt_completion", RowType::PromptCompletion),
    ] {
        assert_eq!(serde_json::from_value::<RowType>(name.into()).expect("it is known"), kind, "{name}");
    }
}
