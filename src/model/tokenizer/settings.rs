//! `tokenizer_config.json` and the older files beside it: switches, special tokens, added tokens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::TokenizerError;
use super::added::{AddedToken, Ids, Special};
use super::class::Row;
use super::files::{ADDED, CONFIG, SPECIAL, Stored, TOKENIZER, TokenizerFiles};

/// An end of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}

const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Above this, `model_max_length` means that there is no limit.
const NO_LIMIT: f64 = 1e20;

/// What the files say, with a class's defaults.
pub(super) struct Settings {
    keys: Map<String, Value>,
    /// Special tokens by key: the seven of transformers in its order, then those of the model.
    named: Vec<(String, Special)>,
    /// Special tokens without a key.
    extra: Vec<Special>,
    /// Added tokens, by the ids that the files give them.
    listed: Vec<AddedToken>,
    /// Texts of `tokenizer.json`'s own added tokens.
    stored: Vec<String>,
}

impl Settings {
    pub(super) fn read(
        files: &TokenizerFiles,
        stored: Option<&Stored<'_>>,
        row: &Row,
    ) -> Result<Settings, TokenizerError> {
        let mut keys = files.object(CONFIG)?.unwrap_or_default();
        refuse(&keys)?;
        if stored.is_some() {
            // The post-processor of tokenizer.json decides.
            keys.shift_remove("add_bos_token");
            keys.shift_remove("add_eos_token");
        }
        if !keys.get("extra_special_tokens").is_some_and(truthy)
            && let Some(tokens) = keys.shift_remove("additional_special_tokens")
        {
            keys.insert("extra_special_tokens".into(), tokens);
        }
        let mut of_model = model_tokens(&mut keys, Value::is_string);
        let of_file = stored.map(Stored::added).transpose()?.unwrap_or_default();
        let stored_texts = of_file.iter().map(|(_, token)| token.content.clone()).collect();
        let listed = match keys.get("added_tokens_decoder") {
            Some(listed) => decoder(listed)?,
            None => {
                merge_special_map(files, &mut keys)?;
                let of_file = of_file.into_iter().map(|(number, token)| (i64::from(number), token));
                legacy(files, &keys)?.into_iter().chain(of_file).collect()
            }
        };
        if !keys.contains_key("extra_special_tokens")
            && let Some(tokens) = keys.shift_remove("additional_special_tokens")
        {
            keys.insert("extra_special_tokens".into(), tokens);
        }
        let mut in_config =
            model_tokens(&mut keys, |value| value.is_string() || value.get("__type").is_some());
        in_config.append(&mut of_model);
        let mut settings =
            Settings { keys, named: Vec::new(), extra: Vec::new(), listed: Vec::new(), stored: stored_texts };
        settings.name_tokens(row, stored, in_config, &listed)?;
        // In the order of numbers; of those with the same number, the last counts.
        settings.listed = listed.into_iter().collect::<BTreeMap<_, _>>().into_values().collect();
        Ok(settings)
    }

    fn name_tokens(
        &mut self,
        row: &Row,
        stored: Option<&Stored<'_>>,
        of_model: Map<String, Value>,
        listed: &[(i64, AddedToken)],
    ) -> Result<(), TokenizerError> {
        let padding = stored.and_then(|stored| stored.parts.padding.get("pad_token")).and_then(Value::as_str);
        for key in NAMED {
            let default = row.special.iter().find(|(name, _)| *name == key).map(|(_, text)| *text);
            let default = if key == "pad_token" { default.or(padding) } else { default };
            let found = match self.keys.get(key) {
                None => default.filter(|text| !text.is_empty()).map(|text| Special::Text(text.to_owned())),
                Some(value) => Special::from_json(CONFIG, key, value)?.map(|special| {
                    let same = listed.iter().rev().find(|(_, token)| token.content == special.text());
                    same.map_or(special, |(_, token)| Special::Token(token.clone()))
                }),
            };
            self.named.extend(found.map(|special| (key.to_owned(), special)));
        }
        for (key, value) in of_model {
            if let Some(special) = Special::from_json(CONFIG, &key, &value)? {
                self.named.retain(|(before, _)| *before != key);
                self.named.push((key, special));
            }
        }
        for value in self.keys.get("extra_special_tokens").and_then(Value::as_array).into_iter().flatten() {
            self.extra.extend(Special::from_json(CONFIG, "extra_special_tokens", value)?);
        }
        Ok(())
    }

    /// A switch.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, TokenizerError> {
        match self.keys.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(TokenizerError::new(CONFIG, format!("{key} must be true or false"))),
        }
    }

    /// A switch that may be null.
    pub(super) fn flag_or_null(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.keys.get(key) {
            Some(Value::Null) => Ok(None),
            None => Ok(None),
            Some(_) => self.flag(key, false).map(Some),
        }
    }

    /// A switch whose truth counts, whatever its type.
    pub(super) fn truth_or(&self, key: &str, default: bool) -> bool {
        self.keys.get(key).map_or(default, truthy)
    }

    /// The text of a named special token.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.named.iter().find(|(name, _)| name == key).map(|(_, special)| special.text())
    }

    /// The text of one that the class cannot do without.
    pub(super) fn needed(&self, key: &str) -> Result<&str, TokenizerError> {
        self.text(key).ok_or_else(|| {
            TokenizerError::new(CONFIG, format!("{key} must not be null for this tokenizer_class"))
        })
    }

    /// The named special tokens, by key.
    pub(super) fn named(&self) -> Vec<(String, String)> {
        self.named.iter().map(|(key, special)| (key.clone(), special.text().to_owned())).collect()
    }

    /// Whether a text is a named special token.
    pub(super) fn names(&self, text: &str) -> bool {
        self.named.iter().any(|(_, special)| special.text() == text)
    }

    /// All special tokens, each once.
    pub(super) fn special(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let all = self.named.iter().map(|(_, special)| special).chain(&self.extra).map(Special::text);
        all.filter(|text| seen.insert(*text)).collect()
    }

    /// The texts of all tokens that are looked up.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        let special = self.special().into_iter().map(str::to_owned);
        let listed = self.listed.iter().map(|token| token.content.clone());
        special.chain(listed).chain(self.stored.iter().cloned())
    }

    /// The tokens that transformers adds: the listed ones, then the special ones that are not among them.
    pub(super) fn tokens_to_add(&self, ids: &Ids) -> Vec<AddedToken> {
        let known = |text: &str| ids.has(text) || self.listed.iter().any(|token| token.content == text);
        let mut wanted: Vec<Special> = self.listed.iter().cloned().map(Special::Token).collect();
        for special in self.named.iter().map(|(_, special)| special).chain(&self.extra) {
            if !known(special.text()) && !wanted.contains(special) {
                wanted.push(special.clone());
            }
        }
        let made = wanted.into_iter().map(|special| match special {
            Special::Text(text) => AddedToken::special(&text),
            Special::Token(token) => {
                AddedToken { special: token.special || self.names(&token.content), ..token }
            }
        });
        made.collect()
    }

    /// Whether the network gets this input.
    pub(super) fn gives(&self, input: &str, default: bool) -> Result<bool, TokenizerError> {
        match self.keys.get("model_input_names") {
            None => Ok(default),
            Some(Value::Array(names)) => Ok(names.iter().any(|name| name == input)),
            Some(_) => Err(TokenizerError::new(CONFIG, "model_input_names must be a list")),
        }
    }

    pub(super) fn max_length(&self) -> Result<Option<i64>, TokenizerError> {
        let (key, value) = match (self.keys.get("model_max_length"), self.keys.get("max_len")) {
            (Some(value), _) => ("model_max_length", value),
            (None, Some(value)) => ("max_len", value),
            (None, None) => return Ok(None),
        };
        match (value, value.as_i64(), value.as_f64()) {
            (Value::Null, ..) => Ok(None),
            (_, Some(length), _) => Ok(Some(length)),
            (_, _, Some(length)) if length > NO_LIMIT => Ok(None),
            (_, _, Some(length)) if length.fract() == 0.0 => Ok(Some(length as i64)),
            _ => Err(TokenizerError::new(CONFIG, format!("{key} must be a whole number"))),
        }
    }

    pub(super) fn padding(&self, stored: Option<&Stored<'_>>, default: Side) -> Result<Side, TokenizerError> {
        self.side("padding_side", stored.map(|stored| &stored.parts.padding), default)
    }

    pub(super) fn truncation(&self, stored: Option<&Stored<'_>>) -> Result<Side, TokenizerError> {
        self.side("truncation_side", stored.map(|stored| &stored.parts.truncation), Side::Right)
    }

    fn side(&self, key: &str, stored: Option<&Value>, default: Side) -> Result<Side, TokenizerError> {
        let stored = stored.filter(|stored| stored.is_object()).map(|stored| match &stored["direction"] {
            Value::String(side) if side == "Left" => Side::Left,
            _ => Side::Right,
        });
        match self.keys.get(key) {
            None => Ok(stored.unwrap_or(default)),
            Some(Value::String(side)) if side == "left" => Ok(Side::Left),
            Some(Value::String(side)) if side == "right" => Ok(Side::Right),
            Some(_) => Err(TokenizerError::new(CONFIG, format!("{key} must be left or right"))),
        }
    }
}

/// Python's idea of what counts as true.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Keys that would change ids in ways that are not supported yet.
fn refuse(keys: &Map<String, Value>) -> Result<(), TokenizerError> {
    let versions = keys.get("fast_tokenizer_files").and_then(Value::as_array);
    if versions.is_some_and(|files| files.iter().any(|file| file != TOKENIZER)) {
        let why = "fast_tokenizer_files is not supported yet; save the tokenizer again with save_pretrained";
        return Err(TokenizerError::new(CONFIG, why));
    }
    for key in ["init_inputs", "fix_mistral_regex"] {
        if keys.get(key).is_some_and(truthy) {
            return Err(TokenizerError::new(CONFIG, format!("{key} is not supported yet")));
        }
    }
    Ok(())
}

/// Takes special tokens with names of the model's own, such as `image_token`.
fn model_tokens(keys: &mut Map<String, Value>, is_token: fn(&Value) -> bool) -> Map<String, Value> {
    let is_own =
        |key: &str, value: &Value| key.ends_with("_token") && !NAMED.contains(&key) && is_token(value);
    let names: Vec<String> =
        keys.iter().filter(|(key, value)| is_own(key, value)).map(|(key, _)| key.clone()).collect();
    let mut taken: Map<String, Value> =
        names.into_iter().filter_map(|key| keys.shift_remove(&key).map(|value| (key, value))).collect();
    if keys.get("extra_special_tokens").is_some_and(Value::is_object)
        && let Some(Value::Object(named)) = keys.shift_remove("extra_special_tokens")
    {
        taken.extend(named);
    }
    taken
}

fn decoder(listed: &Value) -> Result<Vec<(i64, AddedToken)>, TokenizerError> {
    const KEY: &str = "added_tokens_decoder";
    let wrong = || TokenizerError::new(CONFIG, format!("{KEY} must be an object of tokens by number"));
    let entry = |(number, token): (&String, &Value)| {
        let number = number.trim().parse().map_err(|_| wrong())?;
        Ok((number, AddedToken::from_json(CONFIG, KEY, token)?))
    };
    listed.as_object().ok_or_else(wrong)?.iter().map(entry).collect()
}

/// What `special_tokens_map.json` says overrides, as a token with flags where it has flags.
fn merge_special_map(files: &TokenizerFiles, keys: &mut Map<String, Value>) -> Result<(), TokenizerError> {
    for (key, value) in files.object(SPECIAL)?.unwrap_or_default() {
        let typed = |token: Value| match token {
            Value::Object(mut token) => {
                token.insert("__type".into(), json!("AddedToken"));
                token.insert("special".into(), json!(true));
                Value::Object(token)
            }
            other => other,
        };
        let value = match (key.as_str(), value) {
            ("extra_special_tokens", Value::Array(more)) => {
                let mut all = match keys.shift_remove(&key) {
                    Some(Value::Array(before)) => before,
                    _ => Vec::new(),
                };
                for token in more.into_iter().map(typed) {
                    if !all.contains(&token) {
                        all.push(token);
                    }
                }
                Value::Array(all)
            }
            ("extra_special_tokens", named) => named,
            ("additional_special_tokens", tokens) => {
                let flagged = tokens.as_array().is_some_and(|tokens| tokens.iter().any(Value::is_object));
                if flagged && (keys.contains_key("extra_special_tokens") || keys.contains_key(&key)) {
                    // tokenizer_config.json lists them as well, and is what counts.
                    continue;
                }
                if flagged {
                    let why = "additional_special_tokens with flags is not supported yet; save the tokenizer again with \
                               save_pretrained of transformers 5";
                    return Err(TokenizerError::new(SPECIAL, why));
                }
                tokens
            }
            (_, value) => typed(value),
        };
        keys.insert(key, value);
    }
    Ok(())
}

/// Tokens of `added_tokens.json`: those that are special by name are special.
fn legacy(
    files: &TokenizerFiles,
    keys: &Map<String, Value>,
) -> Result<Vec<(i64, AddedToken)>, TokenizerError> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        token => token.get("content").and_then(Value::as_str).map(str::to_owned),
    };
    let named = NAMED.iter().filter_map(|key| keys.get(*key));
    let extra = keys.get("extra_special_tokens").and_then(Value::as_array).into_iter().flatten();
    let special: BTreeSet<String> = named.chain(extra).filter_map(text).collect();
    let entry = |(text, number): (String, Value)| match number.as_i64() {
        Some(number) => Ok((number, AddedToken::legacy(&text, special.contains(&text)))),
        None => Err(TokenizerError::new(ADDED, format!("the number of {text:?} must be whole"))),
    };
    files.object(ADDED)?.unwrap_or_default().into_iter().map(entry).collect()
}
