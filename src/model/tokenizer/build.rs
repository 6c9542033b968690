//! The parts of a `tokenizer.json` as each class makes them.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::added::{AddedToken, Ids};
use super::class::{Build, Row};
use super::files::{CONFIG, MERGES, Stored, TOKENIZER, TokenizerFiles, VOCAB_JSON, VOCAB_TXT};
use super::settings::Settings;
use super::{Token, TokenizerError, vocabulary};

/// The pattern of `ByteLevelSplit`: contractions, words with one sign before, single digits, signs with
/// the line ends behind them, line ends, blanks.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How deep post-processors nest, at most.
const DEEPEST: usize = 8;

/// What a tokenizer is built from.
pub(super) struct Recipe<'a> {
    row: &'static Row,
    settings: &'a Settings,
    stored: Option<&'a Stored<'a>>,
    /// The whole of `tokenizer.json`.
    json: &'a [u8],
    vocab: Cow<'a, str>,
    merges: Cow<'a, str>,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(
        row: &'static Row,
        files: &'a TokenizerFiles,
        stored: Option<&'a Stored<'a>>,
        settings: &'a Settings,
    ) -> Result<Recipe<'a>, TokenizerError> {
        let json = files.get(TOKENIZER).map_or(&[][..], AsRef::as_ref);
        let (vocab, merges) = match stored {
            Some(stored) => of_stored(row, stored)?,
            None => of_files(row, files)?,
        };
        Ok(Recipe { row, settings, stored, json, vocab, merges })
    }

    /// Its vocabulary, as JSON.
    pub(super) fn vocabulary(&self) -> &str {
        &self.vocab
    }

    /// What encloses texts in special tokens.
    pub(super) fn post_processor(&self, ids: &Ids) -> Result<Value, TokenizerError> {
        let named = |key: &str| {
            let text = self.settings.needed(key)?;
            let id = ids
                .get(text)
                .ok_or_else(|| TokenizerError::new(CONFIG, format!("{key} {text:?} has no id")))?;
            Ok::<_, TokenizerError>((text, id))
        };
        let settings = self.settings;
        match self.row.build {
            Build::WordPiece => {
                let [cls, sep] = [named("cls_token")?, named("sep_token")?];
                let single = [special(cls, 0), text("A", 0), special(sep, 0)];
                let pair = [text("B", 1), special(sep, 1)];
                Ok(template(single.to_vec(), [&single[..], &pair].concat(), &[cls, sep]))
            }
            Build::ByteLevelEnclosed => Ok(json!({
                "type": "RobertaProcessing",
                "sep": named("sep_token")?,
                "cls": named("cls_token")?,
                "trim_offsets": settings.flag("trim_offsets", true)?,
                "add_prefix_space": settings.flag("add_prefix_space", false)?,
            })),
            Build::Unigram => {
                let [bos, eos] = [named("bos_token")?, named("eos_token")?];
                let single = [special(bos, 0), text("A", 0), special(eos, 0)];
                let pair = [special(eos, 0), text("B", 0), special(eos, 0)];
                Ok(template(single.to_vec(), [&single[..], &pair].concat(), &[bos, eos]))
            }
            Build::Stored | Build::ByteLevel | Build::ByteLevelSplit | Build::Metaspace | Build::Blanks => {
                match self.stored.map(|stored| &stored.parts.post_processor) {
                    Some(Value::Null) | None => Ok(self.ends(ids)),
                    Some(stored) => Ok(stored.clone()),
                }
            }
        }
    }

    /// Begin and end tokens as `add_bos_token` and `add_eos_token` ask for them.
    fn ends(&self, ids: &Ids) -> Value {
        let wanted = |switch: &str, key: &str| {
            let text = self.settings.text(key).filter(|_| self.settings.truth_or(switch, false))?;
            Some((text, ids.get(text)?))
        };
        let bos = wanted("add_bos_token", "bos_token");
        let eos = wanted("add_eos_token", "eos_token");
        let around = |sequence: &str, kind: u8| {
            let bos = bos.map(|token| special(token, kind));
            let eos = eos.map(|token| special(token, kind));
            bos.into_iter().chain([text(sequence, kind)]).chain(eos).collect::<Vec<Value>>()
        };
        let used: Vec<(&str, u64)> = bos.into_iter().chain(eos).collect();
        template(around("A", 0), [around("A", 0), around("B", 1)].concat(), &used)
    }

    /// The whole `tokenizer.json`, but for its post-processor.
    pub(super) fn json(&self) -> Result<Vec<u8>, TokenizerError> {
        if self.row.build.is_stored() {
            return Ok(self.json.to_vec());
        }
        let [normalizer, pre_tokenizer] = self.cut()?;
        let model = self.model()?;
        let head = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"decoder":null"#;
        Ok(format!(
            r#"{head},"normalizer":{normalizer},"pre_tokenizer":{pre_tokenizer},"post_processor":null,"model":{model}}}"#
        )
        .into_bytes())
    }

    /// Normalizer and pre-tokenizer.
    fn cut(&self) -> Result<[Value; 2], TokenizerError> {
        let settings = self.settings;
        let level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex});
        let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
        let prefix_or = |default: bool| {
            Ok::<_, TokenizerError>(settings.flag_or_null("add_prefix_space")?.unwrap_or(default))
        };
        Ok(match self.row.build {
            Build::Stored => [Value::Null, Value::Null],
            Build::WordPiece => [
                json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
                    "strip_accents": settings.flag_or_null("strip_accents")?,
                    "lowercase": settings.flag("do_lower_case", true)?,
                }),
                json!({"type": "BertPreTokenizer"}),
            ],
            Build::ByteLevelEnclosed | Build::ByteLevel => {
                [Value::Null, level(settings.flag("add_prefix_space", false)?, true)]
            }
            Build::ByteLevelSplit => {
                let split = json!({"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false});
                let parts =
                    json!({"type": "Sequence", "pretokenizers": [split, level(prefix_or(false)?, false)]});
                [json!({"type": "NFC"}), parts]
            }
            Build::Unigram => {
                let scheme = if settings.truth_or("add_prefix_space", true) { "always" } else { "never" };
                let words = json!({"type": "WhitespaceSplit"});
                let parts = json!({"type": "Sequence", "pretokenizers": [words, metaspace(scheme, true)]});
                [self.stored.map_or(Value::Null, |stored| charsmap(&stored.parts.normalizer)), parts]
            }
            Build::Metaspace => {
                let scheme = match (prefix_or(true)?, settings.truth_or("legacy", false)) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                [Value::Null, metaspace(scheme, false)]
            }
            Build::Blanks => {
                let blank = json!({"String": " "});
                let behavior = "MergedWithPrevious";
                [
                    json!({"type": "Replace", "pattern": blank, "content": "▁"}),
                    json!({"type": "Split", "pattern": blank, "behavior": behavior, "invert": false}),
                ]
            }
        })
    }

    fn model(&self) -> Result<String, TokenizerError> {
        let (vocab, merges) = (&self.vocab, &self.merges);
        let bpe = |unk: Value, affix: Value, fuse_unk: bool, byte_fallback: bool| {
            format!(
                r#"{{"type":"BPE","dropout":null,"unk_token":{unk},"continuing_subword_prefix":{affix},"end_of_word_suffix":{affix},"fuse_unk":{fuse_unk},"byte_fallback":{byte_fallback},"ignore_merges":false,"vocab":{vocab},"merges":{merges}}}"#
            )
        };
        let unk = || self.settings.needed("unk_token").map(|text| json!(text));
        Ok(match self.row.build {
            Build::Stored => String::new(),
            Build::WordPiece => format!(
                r###"{{"type":"WordPiece","unk_token":{},"continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{vocab}}}"###,
                unk()?
            ),
            Build::Unigram => {
                format!(r#"{{"type":"Unigram","unk_id":3,"byte_fallback":false,"vocab":{vocab}}}"#)
            }
            Build::ByteLevelEnclosed | Build::ByteLevel | Build::ByteLevelSplit => {
                bpe(Value::Null, json!(""), false, false)
            }
            Build::Metaspace => bpe(Value::Null, Value::Null, true, true),
            Build::Blanks => bpe(unk()?, Value::Null, true, true),
        })
    }
}

impl Build {
    /// Tokens that a class adds once more, as special ones without flags.
    pub(super) fn added_again(self, settings: &Settings) -> Option<Vec<AddedToken>> {
        let special = || settings.special().into_iter().map(AddedToken::special).collect();
        (self == Build::ByteLevelSplit).then(special)
    }
}

type Parts<'a> = (Cow<'a, str>, Cow<'a, str>);

fn of_stored<'a>(row: &Row, stored: &'a Stored<'a>) -> Result<Parts<'a>, TokenizerError> {
    let vocab = stored.model.vocab.get();
    let is_list = vocab.trim_start().starts_with('[');
    let vocab = match row.build {
        Build::Stored => Cow::Borrowed(vocab),
        Build::Unigram if is_list => Cow::Borrowed(vocab),
        Build::Unigram => {
            let why =
                format!("{} needs a Unigram model, whose vocab is a list of tokens and scores", row.names[0]);
            return Err(TokenizerError::new(TOKENIZER, why));
        }
        _ if is_list => Cow::Owned(vocabulary::numbered(vocab)?),
        _ => Cow::Borrowed(vocab),
    };
    Ok((vocab, stored.model.merges()))
}

fn of_files<'a>(row: &Row, files: &TokenizerFiles) -> Result<Parts<'a>, TokenizerError> {
    let missing = |wanted: &str| {
        let unread = TokenizerFiles::SENTENCEPIECE.iter().find(|name| files.has(name));
        let unread = unread.map_or(String::new(), |name| format!("; {name} without it is not supported yet"));
        let why = format!(
            "there is no such file{wanted}{unread}. Load the tokenizer with AutoTokenizer and save it with \
             save_pretrained, which writes it"
        );
        TokenizerError::new(TOKENIZER, why)
    };
    match row.build {
        Build::WordPiece => match vocabulary::of_lines(files)? {
            Some(vocab) => Ok((Cow::Owned(vocab), Cow::Borrowed("[]"))),
            None => Err(missing(&format!(", nor {VOCAB_TXT}"))),
        },
        Build::ByteLevel | Build::ByteLevelEnclosed | Build::ByteLevelSplit => {
            match vocabulary::of_pair(files)? {
                Some((vocab, merges)) => Ok((Cow::Owned(vocab), Cow::Owned(merges))),
                None => Err(missing(&format!(", nor {VOCAB_JSON} with {MERGES}"))),
            }
        }
        Build::Stored | Build::Unigram | Build::Metaspace | Build::Blanks => Err(missing("")),
    }
}

/// The first precompiled normaliser: what a Unigram class takes over.
fn charsmap(normalizer: &Value) -> Value {
    let all = match normalizer.get("normalizers").and_then(Value::as_array) {
        Some(all) => all.as_slice(),
        None => std::slice::from_ref(normalizer),
    };
    all.iter()
        .find(|one| one.get("type").is_some_and(|kind| kind == "Precompiled"))
        .cloned()
        .unwrap_or_default()
}

fn text(sequence: &str, kind: u8) -> Value {
    json!({"Sequence": {"id": sequence, "type_id": kind}})
}

fn special((text, _): (&str, u64), kind: u8) -> Value {
    json!({"SpecialToken": {"id": text, "type_id": kind}})
}

fn template(single: Vec<Value>, pair: Vec<Value>, tokens: &[(&str, u64)]) -> Value {
    let tokens: Map<String, Value> = tokens
        .iter()
        .map(|&(text, id)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
        .collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
}

/// The tokens that a post-processor adds to texts. One that names a token it does not describe, or a second text where
/// there is one, is refused: the library that applies it would panic.
pub(super) fn tokens_of(post_processor: &Value) -> Result<Vec<Token>, TokenizerError> {
    let mut tokens = Vec::new();
    collect(post_processor, &mut tokens, DEEPEST)?;
    Ok(tokens)
}

fn collect(part: &Value, tokens: &mut Vec<Token>, depth: usize) -> Result<(), TokenizerError> {
    let wrong = |why: String| TokenizerError::new(TOKENIZER, format!("post_processor: {why}"));
    let list = |key: &str| part.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for inner in list("processors") {
        match depth.checked_sub(1) {
            Some(depth) => collect(inner, tokens, depth)?,
            None => return Err(wrong("nested too deep".into())),
        }
    }
    for key in ["cls", "sep"] {
        if let [Value::String(text), number] = list(key) {
            tokens.extend(number.as_u64().map(|number| Token { text: text.clone(), number }));
        }
    }
    for (key, texts) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        for piece in list(key) {
            let id = |kind: &str| piece.get(kind).and_then(|kind| kind.get("id")).and_then(Value::as_str);
            if id("Sequence").is_some_and(|id| !texts.contains(&id)) {
                return Err(wrong(format!("{key} holds a second text")));
            }
            let Some(text) = id("SpecialToken") else { continue };
            let ids = part
                .get("special_tokens")
                .and_then(|tokens| tokens.get(text))
                .and_then(|token| token.get("ids"));
            let Some(ids) = ids.and_then(Value::as_array) else {
                return Err(wrong(format!("{text:?} is not among its special_tokens")));
            };
            let numbers = ids.iter().filter_map(Value::as_u64);
            tokens.extend(numbers.map(|number| Token { text: text.to_owned(), number }));
        }
    }
    Ok(())
}
