//! Rows and settings that are refused, by name and with the right exit code.

use super::*;

/// The message and the exit code.
fn said(error: &ChatError) -> (String, Exit) {
    (error.to_string(), error.exit())
}

fn assert_says(error: &ChatError, words: &[&str], exit: Exit) {
    let (message, found) = said(error);
    assert_eq!(found, exit, "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

fn not_built(setup: &Setup) -> ChatError {
    setup.build().expect_err("it is refused")
}

#[test]
fn rows_of_other_shapes() {
    let setup = Setup::default();
    let cases = [
        (json!({"question": "a", "answer": "b"}), &["\"question\", \"answer\"", "field_messages"][..]),
        (json!({"messages": 3}), &["messages: must be a list of messages, not a number"]),
        (json!({"messages": "not json"}), &["messages: the text is not JSON"]),
        (json!({"messages": [["user", "a"]]}), &["messages[0]: must be a message"]),
        (
            json!({"messages": [{"speaker": "user", "content": "a"}]}),
            &["messages[0]", "speaker", "message_property_mappings"],
        ),
        (json!({"messages": [{"role": 1}]}), &["messages[0].role: must be a text, not a number"]),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            &["messages[0].content: must be a text, not a number"],
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            &["messages[0].content[0]", "text"],
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "train": false}]}]}),
            &["messages[0].content[0]", "not supported yet"],
        ),
        (
            json!({"messages": [{"role": "user", "train": "no"}]}),
            &["messages[0].train: must be true or false"],
        ),
        (json!({"messages": [], "tools": {}}), &["tools: must be a list of tools, not an object"]),
        (json!({"messages": [], "tools": "{"}), &["tools: the text is not JSON"]),
        (
            json!({"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}),
            &["messages[0].weight: must be 0 or 1"],
        ),
        (json!({"messages": [], "system": 1}), &["system: must be a text"]),
        (json!({"messages": [], "chat_template_kwargs": [1]}), &["chat_template_kwargs: must be an object"]),
        (json!({"text": 1}), &["text: must be a text, not a number"]),
        (
            json!({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}),
            &["prompt: the text is not JSON"],
        ),
    ];
    for (row, words) in cases {
        assert_says(&setup.refused(row), words, Exit::Data);
    }
}

#[test]
fn a_type_whose_columns_are_missing() {
    let setup = |kind: &str| Setup::default().format(json!({"type": kind}));
    let row = || json!({"other": "x"});
    assert_says(&setup("completion").refused(row()), &["\"text\"", "format text"], Exit::Data);
    assert_says(&setup("alpaca").refused(row()), &["\"instruction\""], Exit::Data);
    assert_says(&setup("prompt_completion").refused(row()), &["\"prompt\""], Exit::Data);
    assert_says(
        &setup("chat_template").refused(row()),
        &["\"messages or conversations\"", "format messages"],
        Exit::Data,
    );
}

#[test]
fn a_column_that_the_entry_names_and_the_row_lacks() {
    let row = || json!({"text": "x", "messages": [], "prompt": "a", "completion": "b"});
    for (key, name) in [
        ("field_messages", "talk"),
        ("field_prompt", "question"),
        ("field_completion", "answer"),
        ("field_instruction", "task"),
        ("field_output", "result"),
    ] {
        let refused = Setup::default().format(json!({(key): name})).refused(row());
        let ChatError::Missing { column, .. } = &refused else { panic!("{key}: {refused}") };
        // Of alpaca's columns, the first that is missing is named.
        assert!(column == name || (key, column.as_str()) == ("field_output", "instruction"), "{refused}");
    }
}

#[test]
fn arguments_of_tools_that_are_not_json() {
    let calls = json!([{"function": {"name": "f", "arguments": "{city: Rome}"}}]);
    let row = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]});
    let place = "messages[0].tool_calls[0].function.arguments: the text is not JSON";
    assert_says(&Setup::default().refused(row), &[place], Exit::Data);
}

#[test]
fn a_checkpoint_without_a_template() {
    let setup = Setup { template: None, ..Setup::default() };
    assert_says(
        &setup.refused(chat(&["a", "b"])),
        &["no chat template", "chat_template_jinja"],
        Exit::Checkpoint,
    );
    assert_eq!(setup.marked(json!({"text": "ab"})), "a[b<|im_end|>]", "texts need none");
}

#[test]
fn a_template_that_does_not_parse() {
    let error = not_built(&Setup::of("line one\n{% for m in %}"));
    assert_says(&error, &["chat_template.jinja: line 2"], Exit::Checkpoint);
}

#[test]
fn a_template_that_refuses_or_fails() {
    let raise = Setup::of("{{ raise_exception('roles must alternate') }}").refused(chat(&["a", "b"]));
    assert_eq!(raise, ChatError::Raised("roles must alternate".into()));
    assert_eq!(raise.exit(), Exit::Data);
    let failed = Setup::of("\n{{ messages[0].nothing.more }}").refused(chat(&["a", "b"]));
    assert_says(&failed, &["in line 2"], Exit::Data);
}

#[test]
fn a_template_that_never_ends() {
    let loops = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
    ];
    for template in loops {
        let error = Setup::of(template).refused(chat(&["a", "b"]));
        assert!(matches!(error, ChatError::Fuel | ChatError::Failed { .. }), "{template}: {error}");
        assert_eq!(error.exit(), Exit::Data);
    }
    let error = Setup::of(loops[0]).refused(chat(&["a", "b"]));
    assert_says(&error, &["ran out of fuel"], Exit::Data);
}

/// Each rendering ends, but a row asks for more of them than all may cost.
#[test]
fn conversations_of_many_costly_renderings() {
    // Data costs fuel by its size, and little time.
    let costly = format!("{{% for i in range(120) %}}{{% set a = 'x' * 999999 %}}{{% endfor %}}{CHATML}");
    let turns = ["a"; 200];
    let setup = Setup { sequence_len: 100_000, ..Setup::of(&costly) };
    let error = setup.refused(chat(&turns));
    assert_says(&error, &["ran out of fuel"], Exit::Data);
    setup.row(chat(&turns[..4]));
}

/// Printing and dropping values must not overflow the stack.
#[test]
fn values_that_nest_without_end() {
    for print in ["{{ n.x }}", "{{ n.x|tojson }}", "{{ n.x|string }}", ""] {
        let template = format!(
            "{{% set n = namespace(x=[]) %}}{{% for i in range(99999) %}}{{% set n.x = [n.x] %}}{{% endfor %}}{print}"
        );
        let error = Setup::of(&template).settings(json!({"train_on_inputs": true})).encode(chat(&["a", "b"]));
        assert!(error.is_err(), "{print}");
    }
}

#[test]
fn a_turn_without_an_end_token() {
    let template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}";
    let setup = Setup::of(template);
    let words = ["message 1 (assistant)", "<|im_end|>", "eot_tokens", "train_on_eos: none"];
    assert_says(&setup.refused(chat(&["a", "b"])), &words, Exit::Checkpoint);
    let none = Setup::of(template).settings(json!({"train_on_eos": "none"}));
    assert_eq!(none.marked(chat(&["a", "b"])), "user: a\nassistant: [b]\n");
    // The next turn's end token is not this turn's.
    let late = "{% for m in messages %}{{ m.role + ': ' + m.content }}{{ '<|im_end|>' if m.role == 'user' else '\n' }}{% endfor %}";
    let error = Setup::of(late).refused(chat(&["a", "b", "c"]));
    assert!(matches!(error, ChatError::NoEndToken { message: 1, .. }), "{error}");
}

#[test]
fn end_tokens_that_the_tokenizer_lacks() {
    let error = not_built(&Setup::default().settings(json!({"eot_tokens": ["<|im_end|>", "<|end|>"]})));
    assert_says(&error, &["eot_tokens", "\"<|end|>\""], Exit::Checkpoint);
    let setup = Setup { generation: Some(json!({"eos_token_id": "no"})), ..Setup::default() };
    assert_says(&not_built(&setup), &["generation_config.json: eos_token_id"], Exit::Checkpoint);
    let mut setup = Setup::default();
    setup.config["eos_token"] = Value::Null;
    assert_says(&setup.refused(json!({"text": "a"})), &["eos_token", "add_eos: false"], Exit::Checkpoint);
}

#[test]
fn an_answer_that_is_not_in_the_text() {
    let shown = |expression: &str| CHATML.replace("message.content +", &format!("{expression} +"));
    for (expression, words) in [
        ("message.content|upper", "shows it more than once, or changes it"),
        ("''", "leaves it out"),
        ("message.content + message.content", "more than once"),
        ("message.content|replace('b', 'B')", "changes it"),
    ] {
        let error = Setup::of(&shown(expression)).refused(chat(&["a", "b"]));
        assert_says(&error, &["message 1 (assistant)", words, "{% generation %}"], Exit::Data);
    }
}

#[test]
fn tags_that_do_not_match_the_messages() {
    let template = "{% generation %}{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}{% endgeneration %}";
    let mut row = chat(&["a", "b", "c", "d"]);
    assert_eq!(Setup::of(template).row(row.clone()).input_ids.len(), 8);
    row["messages"][1]["train"] = false.into();
    let error = Setup::of(template).refused(row);
    assert_eq!((&error, error.exit()), (&ChatError::Spans { spans: 1, turns: 2 }, Exit::Data));
    let mark = Setup::of(TAGGED).refused(chat(&["a", "b\u{10FFF0}"]));
    assert_says(&mark, &["U+10FFF0"], Exit::Data);
    let trimmed =
        "{% set t %}{% generation %} {{ messages[1].content }} {% endgeneration %}{% endset %}{{ t|trim }}";
    assert_eq!(Setup::of(trimmed).refused(chat(&["a", "b"])), ChatError::Unstable);
}

#[test]
fn settings_that_contradict() {
    let with = |keys: Value| not_built(&Setup::default().settings(keys));
    assert_says(&with(json!({"chat_template": "jinja"})), &["chat_template_jinja"], Exit::Usage);
    assert_says(&with(json!({"chat_template": "llama3"})), &["llama3", "tokenizer_default"], Exit::Usage);
    assert_says(&with(json!({"chat_template": "nonsense"})), &["nonsense", "not known"], Exit::Usage);
    for date in ["2026-02-29", "2026-13-01", "26-01-01", "2026-1-1", "2026-01-01x", "today", ""] {
        assert_says(&with(json!({"chat_template_date": date})), &["YYYY-MM-DD"], Exit::Usage);
    }
}
