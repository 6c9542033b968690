//! Templates: which one is chosen, and that it prints what Python's Jinja prints.

use super::super::{generation, python, rewrite};
use super::*;

/// What a template prints, with a date.
fn printed(template: &str) -> String {
    let settings = json!({"train_on_inputs": true, "chat_template_date": "2026-03-09"});
    let mut row = chat(&["a"]);
    row["chat_template_kwargs"] = json!({
        "none": null, "yes": true, "one": 1.0, "tiny": 1e-7, "big": 1e16, "text": "it's \"ü\"\n\u{200b}",
        "list": [1, "a", null, false], "map": {"b": 1, "a": {"c": []}}, "html": "<a & 'b'>",
    });
    Setup::of(template).settings(settings).text(row)
}

#[test]
fn values_are_printed_as_python_prints_them() {
    for (template, expected) in [
        ("{{ none }} {{ yes }} {{ one }} {{ tiny }} {{ big }}", "None True 1.0 1e-07 1e+16"),
        ("{{ list }}", "[1, 'a', None, False]"),
        ("{{ map }}", "{'b': 1, 'a': {'c': []}}"),
        ("{{ [text] }}", "['it\\'s \"ü\"\\n\\u200b']"),
        ("{{ ['it\\'s'] }}", "[\"it's\"]"),
        ("{{ (1,) }} {{ (1, 2) }} {{ () }}", "(1,) (1, 2) ()"),
        ("[{{ missing }}]", "[]"),
        ("{{ map|string ~ 'x' }}", "{'b': 1, 'a': {'c': []}}x"),
        (
            "{{ none is iterable }} {{ 'a' is iterable }} {{ map is iterable }} {{ one is iterable }}",
            "False True True False",
        ),
        ("{{ map is sequence }} {{ list is sequence }} {{ none is sequence }}", "True True False"),
        ("{{ messages[0].content.strip().upper() }}", "A"),
    ] {
        assert_eq!(printed(template), expected, "{template}");
    }
}

#[test]
fn tojson_writes_what_python_writes() {
    for (template, expected) in [
        ("{{ html|tojson }}", r#""<a & 'b'>""#),
        ("{{ text|tojson }}", "\"it's \\\"ü\\\"\\n\u{200b}\""),
        ("{{ 'ü🙂'|tojson(ensure_ascii=true) }}", r#""\u00fc\ud83d\ude42""#),
        ("{{ list|tojson }}", r#"[1, "a", null, false]"#),
        ("{{ map|tojson }}", r#"{"b": 1, "a": {"c": []}}"#),
        ("{{ map|tojson(sort_keys=true) }}", r#"{"a": {"c": []}, "b": 1}"#),
        ("{{ map|tojson(separators=(',', ':')) }}", r#"{"b":1,"a":{"c":[]}}"#),
        ("{{ map|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": {\n    \"c\": []\n  }\n}"),
        ("{{ [tiny, big, one, 0.1, -0.0]|tojson }}", "[1e-07, 1e+16, 1.0, 0.1, -0.0]"),
    ] {
        assert_eq!(printed(template), expected, "{template}");
    }
}

#[test]
fn floats_have_the_shortest_digits() {
    for (number, expected) in [
        (0.0, "0.0"),
        (1e15, "1000000000000000.0"),
        (1.5e16, "1.5e+16"),
        (0.0001, "0.0001"),
        (0.00001234, "1.234e-05"),
        (1e-300, "1e-300"),
        (-2.5, "-2.5"),
        (f64::NAN, "nan"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(python::float(number), expected);
    }
}

#[test]
fn the_date_is_pinned() {
    assert_eq!(
        printed("{{ strftime_now('%d %b %Y, %A %B %-d %j %y-%m') }}"),
        "09 Mar 2026, Monday March 9 068 26-03"
    );
    assert_eq!(printed("{{ strftime_now('%H:%M:%S %%') }}"), "00:00:00 %");
    let unset = Setup::of("{{ strftime_now('%Y') }}").refused(chat(&["a", "b"]));
    assert!(unset.to_string().contains("chat_template_date is not set"), "{unset}");
}

#[test]
fn white_space_around_blocks_is_stripped_as_transformers_does() {
    assert_eq!(printed("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
}

#[test]
fn the_file_precedes_the_key_and_named_templates_are_chosen_by_tools() {
    let mut tools = chat(&["a"]);
    tools["tools"] = json!([]);
    let mut setup = Setup::of("file").settings(json!({"train_on_inputs": true}));
    setup.config["chat_template"] = "key".into();
    assert_eq!(setup.text(chat(&["a"])), "file");
    setup.template = None;
    assert_eq!(setup.text(chat(&["a"])), "key");
    let named = |name: &str| json!({"name": name, "template": name});
    setup.config["chat_template"] = json!([named("default"), named("tool_use"), named("rag")]);
    assert_eq!(setup.text(chat(&["a"])), "default");
    assert_eq!(setup.text(tools.clone()), "tool_use");
    setup.config["chat_template"] = json!([named("default")]);
    assert_eq!(setup.text(tools), "default");
    setup.config["chat_template"] = json!([named("rag")]);
    assert_eq!(setup.build().err(), Some(ChatError::NoDefaultTemplate { found: vec!["rag".into()] }));
    setup.settings.chat_template_jinja = Some("given".into());
    assert_eq!(setup.text(chat(&["a"])), "given");
}

/// A name is the checkpoint's template, or is refused: nothing is trained with another template than it is used with.
#[test]
fn a_name_is_accepted_where_the_checkpoint_has_that_template() {
    let named =
        |template: &str, name: &str| Setup::of(template).settings(json!({"chat_template": name})).build();
    assert!(named(CHATML, "chatml").is_ok());
    let with_system = format!("{{{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}}}{CHATML}");
    assert!(named(&with_system, "qwen_25").is_ok());
    assert!(named(CHATML, "gemma").is_err());
    let gemma = "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + (m.role if m.role == 'user' else 'model') + '\n' + \
                 m.content|trim + '<end_of_turn>\n' }}{% endfor %}";
    assert!(named(gemma, "gemma").is_ok());
}

#[test]
fn generation_tags_become_filters_and_nothing_else_does() {
    let rewritten = |source: &str| rewrite::rewrite(source).source;
    let filter = format!("{{%- filter {} +%}}x{{% endfilter -%}}", generation::FILTER);
    assert_eq!(rewritten("{%- generation +%}x{% endgeneration -%}"), filter);
    for untouched in [
        "{# {% generation %} #}",
        "{{ '{% generation %}' }}",
        "{% raw %}{% generation %}{% endraw %}",
        "{% set generation = 1 %}{{ generation }}",
        "{% generation = 2 %}",
        "{% if x == '%}' %}{% endif %}",
        "{",
        "{%",
        "{#",
    ] {
        assert_eq!(rewritten(untouched), untouched);
    }
    let set = |value: &str| rewritten(&format!("{{%- set n.x ={value}-%}}"));
    assert_eq!(set(" [n.x, '-%}'] "), "{%- set n.x =( [n.x, '-%}'] )|headstart_shallow -%}");
    assert_eq!(rewritten("{% set x = a.b %}"), "{% set x = a.b %}");
    let after_raw = rewritten("{% raw %}{% x {% endraw %}{% generation %}{% endgeneration %}");
    assert!(
        after_raw.ends_with("{% endraw %}{% filter headstart_generation %}{% endfilter %}"),
        "{after_raw}"
    );
}

/// A template may ask whether tools are none, which undefined ones are not.
#[test]
fn probes_are_rendered_without_tools_as_rows_are() {
    let template = format!("{{{{ raise_exception('tools') if tools is not none }}}}{CHATML}");
    let setup = Setup::of(&template).settings(json!({"chat_template": "chatml"}));
    assert!(setup.marked(chat(&["a", "b"])).ends_with("[b<|im_end|>]\n"));
}
