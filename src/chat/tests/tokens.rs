//! Begin and end tokens, lengths, and ids.

use super::*;

/// The tokenizer encloses texts in these.
fn enclosed(before: &str, after: &str) -> Value {
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut tokens = Map::new();
    for (token, at_end) in [(before, false), (after, true)] {
        let Some(id) = SPECIAL.iter().position(|special| *special == token) else { continue };
        single.insert(if at_end { single.len() } else { 0 }, special(token));
        tokens.insert(token.into(), json!({"id": token, "ids": [256 + id], "tokens": [token]}));
    }
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens})
}

#[test]
fn texts_and_completions_end_with_one_eos() {
    let mut setup = Setup::default();
    setup.config["eos_token"] = "</s>".into();
    for post_processor in [Value::Null, enclosed("", "</s>")] {
        setup.post_processor = post_processor;
        assert_eq!(setup.marked(json!({"text": "ab"})), "a[b</s>]");
        assert_eq!(setup.marked(json!({"text": "ab</s>"})), "a[b</s>]");
        assert_eq!(setup.marked(json!({"prompt": "ab", "completion": "c"})), "ab[c</s>]");
        assert_eq!(setup.marked(json!({"prompt": "ab", "completion": "c</s>"})), "ab[c</s>]");
    }
    setup.settings.add_eos = false;
    setup.post_processor = Value::Null;
    assert_eq!(setup.marked(json!({"text": "ab"})), "a[b]");
    setup.settings.train_on_inputs = true;
    assert_eq!(setup.marked(json!({"prompt": "ab", "completion": "c"})), "a[bc]");
}

#[test]
fn a_text_that_begins_with_bos_gets_no_second_one() {
    let setup = Setup { post_processor: enclosed("<s>", ""), ..Setup::default() };
    assert_eq!(setup.marked(json!({"text": "ab"})), "<s>[ab<|im_end|>]");
    assert_eq!(setup.marked(json!({"text": "<s>ab"})), "<s>[ab<|im_end|>]");
    assert_eq!(setup.marked(json!({"prompt": "a", "completion": "b"})), "<s>a[b<|im_end|>]");
}

#[test]
fn a_rendered_template_gets_no_special_tokens() {
    let template = format!("{{{{ bos_token }}}}{CHATML}");
    let setup =
        Setup { template: Some(template), post_processor: enclosed("<s>", "</s>"), ..Setup::default() };
    let marked = setup.marked(chat(&["a", "b"]));
    assert_eq!(marked, "<s><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n");
}

#[test]
fn a_row_that_is_too_long_is_dropped_cut_or_refused() {
    let row = || json!({"prompt": "abc", "completion": "defg"});
    let with = |strategy: &str| Setup {
        sequence_len: 5,
        ..Setup::default().settings(json!({"excess_length_strategy": strategy}))
    };
    assert_eq!(Setup { sequence_len: 5, ..Setup::default() }.dropped(row()), DropReason::TooLong);
    assert_eq!(with("drop").dropped(row()), DropReason::TooLong);
    let cut = with("truncate").row(row());
    assert!(cut.truncated);
    assert_eq!(marked(&cut), "abc[de]");
    let refused = with("raise").refused(row());
    assert_eq!((&refused, refused.exit()), (&ChatError::TooLong { tokens: 8, limit: 5 }, Exit::Data));
}

/// A cut that removes the answer leaves nothing to learn.
#[test]
fn a_row_without_trained_tokens_is_dropped() {
    let setup =
        Setup { sequence_len: 3, ..Setup::default().settings(json!({"excess_length_strategy": "truncate"})) };
    assert_eq!(setup.dropped(json!({"prompt": "abc", "completion": "d"})), DropReason::NoTrainedTokens);
    let mut setup = Setup::default();
    setup.settings.add_eos = false;
    assert_eq!(
        setup.dropped(json!({"text": "a"})),
        DropReason::NoTrainedTokens,
        "the first token is no target"
    );
    assert_eq!(setup.dropped(json!({"text": ""})), DropReason::NoTrainedTokens);
}

#[test]
fn a_row_without_an_answer_is_dropped() {
    assert_eq!(Setup::default().dropped(chat(&["a"])), DropReason::NoAssistantTurn);
    assert_eq!(Setup::default().dropped(json!({"messages": []})), DropReason::NoAssistantTurn);
    let mut row = chat(&["a", "b"]);
    row["messages"][1]["train"] = false.into();
    assert_eq!(Setup::of(TAGGED).dropped(row), DropReason::NoAssistantTurn);
}

#[test]
fn a_token_beyond_the_embeddings_is_refused() {
    let refused = Setup { vocab: 258, ..Setup::default() }.refused(chat(&["a", "b"]));
    assert_eq!(refused, ChatError::BeyondVocabulary { id: 258, token: "<|im_start|>".into(), vocab: 258 });
    assert_eq!(refused.exit(), Exit::Checkpoint);
}

#[test]
fn tokens_that_are_cut_off_need_no_embedding() {
    let settings = json!({"excess_length_strategy": "truncate"});
    let setup = Setup { vocab: 256, sequence_len: 3, ..Setup::default().settings(settings) };
    assert_eq!(setup.marked(json!({"text": "abc</s>"})), "a[bc]");
}

#[test]
fn a_beginning_becomes_the_same_tokens_again() {
    let text = "a\u{1f600}\u{1f600}b";
    for (post_processor, before) in [(Value::Null, 0), (enclosed("<s>", ""), 1)] {
        let setup = Setup { post_processor, ..Setup::default() };
        let encoder = setup.build().expect("it is sound");
        let row = setup.row(json!({"text": text}));
        // One token a byte, four of which are an emoji.
        for (most, end) in [(1, 1), (4, 1), (5, 5), (6, 5), (8, 5), (9, 9), (10, 10)] {
            let (prompt, ids) = encoder.beginning(&row, most + before).expect("it is tokenised");
            assert_eq!((prompt.as_str(), &ids[..]), (&text[..end], &row.input_ids[..end + before]), "{most}");
        }
        let (prompt, ids) = encoder.beginning(&row, 256).expect("it is tokenised");
        assert_eq!((prompt, ids), (row.text.clone(), row.input_ids.clone()));
    }
}

/// Its turns are not looked for, so that it is dropped even where that would fail.
#[test]
fn a_conversation_that_is_too_long_is_dropped_before_its_turns_are_told() {
    let setup = Setup { sequence_len: 8, ..Setup::of("{{ messages[1].content|upper }}<|im_end|>") };
    assert_eq!(setup.dropped(chat(&["a", "more than eight tokens"])), DropReason::TooLong);
    assert!(matches!(setup.refused(chat(&["a", "few"])), ChatError::NotVerbatim { .. }));
}

/// The places of tokens hold their white space, whatever the post-processor says of offsets.
#[test]
fn white_space_between_words_is_trained() {
    let setup = Setup {
        post_processor: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        ..Setup::default()
    };
    assert!(setup.marked(chat(&["a", "b c  d"])).ends_with("[b c  d<|im_end|>]\n"));
}
