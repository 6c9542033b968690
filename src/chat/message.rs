//! One message of a conversation, under the names that templates use.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ChatError, RowFormat};

/// Names of a message's thoughts. The first that is there counts.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The key of OpenAI's format that says whether a message is trained. It counts where the entry's own key says nothing.
const WEIGHT: &str = "weight";

/// A message as the template gets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// Its role, which `fields` holds too.
    pub role: String,
    /// All its keys.
    pub fields: Map<String, Value>,
    /// Whether it is trained, where the data says so.
    pub train: Option<bool>,
    /// It belongs to a prompt, whose roles do not matter.
    pub in_prompt: bool,
}

/// The names that an entry's messages have.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// From the data's key to the template's.
    keys: Vec<(String, String)>,
    /// From the data's role to the template's.
    roles: BTreeMap<String, String>,
    /// The key that says whether a message is trained.
    train: String,
}

impl Names {
    pub(super) fn new(format: &RowFormat) -> Names {
        let mappings = &format.message_property_mappings;
        let mut keys: Vec<_> = mappings.iter().map(|(to, from)| (from.clone(), to.clone())).collect();
        for (from, to) in [("from", "role"), ("value", "content")] {
            if !mappings.contains_key(to) {
                keys.push((from.into(), to.into()));
            }
        }
        let roles = match &format.roles {
            Some(roles) => {
                let pair = |(to, all): (&String, &Vec<String>)| {
                    all.iter().map(|from| (from.clone(), to.clone())).collect::<Vec<_>>()
                };
                roles.iter().flat_map(pair).collect()
            }
            None => {
                let usual = [("human", "user"), ("gpt", "assistant")];
                usual.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
            }
        };
        let train = format.message_field_training.clone().unwrap_or_else(|| "train".into());
        Names { keys, roles, train }
    }

    /// The template's name of a role.
    pub(super) fn role<'a>(&'a self, role: &'a str) -> &'a str {
        self.roles.get(role).map_or(role, String::as_str)
    }
}

impl Message {
    /// Reads a message. `place` names it in errors.
    pub(super) fn read(json: &Value, names: &Names, place: &str) -> Result<Message, ChatError> {
        let wrong = |key: &str, reason: String| ChatError::Value { place: join(place, key), reason };
        let Value::Object(pairs) = json else {
            return Err(wrong("", format!("must be a message with role and content, not {}", kind(json))));
        };
        let mut fields = Map::new();
        let mut train = None;
        let mut weight = None;
        for (key, value) in pairs {
            if *key == names.train {
                train = flag(value).ok_or_else(|| wrong(key, "must be true or false".into()))?;
                continue;
            }
            if key == WEIGHT && !names.keys.iter().any(|(from, _)| from == key) {
                weight = match value {
                    Value::Null | Value::Number(_) => flag(value),
                    _ => None,
                }
                .ok_or_else(|| {
                    wrong(key, "must be 0 or 1, for a message that is not trained or is".into())
                })?;
                continue;
            }
            // A key of the template's own name is not overridden by another name for it.
            let renamed =
                names.keys.iter().find(|(from, to)| from == key && (from == to || !pairs.contains_key(to)));
            let key = renamed.map_or(key, |(_, to)| to);
            // transformers drops these too: templates handle an absent key, and many print None.
            if !value.is_null() {
                fields.insert(key.clone(), value.clone());
            }
        }
        let role = match fields.get_mut("role") {
            Some(Value::String(role)) => {
                *role = names.role(role).to_owned();
                role.clone()
            }
            Some(other) => return Err(not_a_text(&join(place, "role"), other)),
            None => {
                let found: Vec<_> = pairs.keys().collect();
                let reason = format!(
                    "the message has no role, only the keys {found:?}; name them in message_property_mappings"
                );
                return Err(wrong("", reason));
            }
        };
        if let Some(content) = fields.get("content") {
            check_content(content, &join(place, "content"))?;
        }
        if let Some(calls) = fields.get_mut("tool_calls") {
            tool_calls(calls, &join(place, "tool_calls"))?;
        }
        name_reasoning(&mut fields);
        Ok(Message { role, fields, train: train.or(weight), in_prompt: false })
    }

    /// The texts that its content consists of.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self.fields.get("content") {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(parts)) => parts.iter().filter_map(part_text).collect(),
            _ => Vec::new(),
        }
    }
}

/// Thoughts, under all the names that templates read, as transformers gives them.
fn name_reasoning(fields: &mut Map<String, Value>) {
    let Some(thoughts) = REASONING.iter().find_map(|key| fields.get(*key)).cloned() else { return };
    if !fields.contains_key("thinking") {
        fields.shift_insert(0, "thinking".into(), thoughts.clone());
    }
    fields.insert(REASONING[0].into(), thoughts);
}

fn part_text(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        part => part.get("text")?.as_str(),
    }
}

/// Outer option: whether it is a flag. Inner: what it says; null says nothing.
fn flag(value: &Value) -> Option<Option<bool>> {
    match value {
        Value::Null => Some(None),
        Value::Bool(flag) => Some(Some(*flag)),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(Some(false)),
            Some(1.0) => Some(Some(true)),
            _ => None,
        },
        _ => None,
    }
}

/// Content is a text, null, or a list of text parts.
fn check_content(content: &Value, place: &str) -> Result<(), ChatError> {
    let wrong = |index: usize, reason: &str| {
        Err(ChatError::Value { place: format!("{place}[{index}]"), reason: reason.to_owned() })
    };
    match content {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                if part_text(part).is_none() {
                    return wrong(
                        index,
                        "only parts of text are supported: {\"type\": \"text\", \"text\": …}",
                    );
                }
                if part.get("train").or(part.get("weight")).is_some_and(|flag| !flag.is_null()) {
                    return wrong(index, "training only parts of a message is not supported yet");
                }
            }
            Ok(())
        }
        other => Err(not_a_text(place, other)),
    }
}

/// Calls of tools: arguments that are text are parsed.
fn tool_calls(calls: &mut Value, place: &str) -> Result<(), ChatError> {
    parse_in_place(calls, place)?;
    let Value::Array(calls) = calls else {
        let reason = format!("must be a list of calls, not {}", kind(calls));
        return Err(ChatError::Value { place: place.to_owned(), reason });
    };
    for (index, call) in calls.iter_mut().enumerate() {
        for (path, arguments) in [("/function/arguments", "function.arguments"), ("/arguments", "arguments")]
        {
            if let Some(found) = call.pointer_mut(path) {
                parse_in_place(found, &format!("{place}[{index}].{arguments}"))?;
            }
        }
    }
    Ok(())
}

/// A row's tools: a list, whose parameters may be text.
pub(super) fn tools(value: &Value, place: &str) -> Result<Value, ChatError> {
    let mut tools = parsed(value, place)?.into_owned();
    let Value::Array(list) = &mut tools else {
        let reason = format!("must be a list of tools, not {}", kind(&tools));
        return Err(ChatError::Value { place: place.to_owned(), reason });
    };
    for (index, tool) in list.iter_mut().enumerate() {
        parse_in_place(tool, &format!("{place}[{index}]"))?;
        if let Some(parameters) = tool.pointer_mut("/function/parameters") {
            parse_in_place(parameters, &format!("{place}[{index}].function.parameters"))?;
        }
    }
    Ok(tools)
}

/// A value, or what its text holds as JSON.
pub(super) fn parsed<'a>(value: &'a Value, place: &str) -> Result<Cow<'a, Value>, ChatError> {
    let Value::String(text) = value else { return Ok(Cow::Borrowed(value)) };
    let failed =
        |error: serde_json::Error| ChatError::Json { place: place.to_owned(), reason: error.to_string() };
    serde_json::from_str(text).map(Cow::Owned).map_err(failed)
}

fn parse_in_place(value: &mut Value, place: &str) -> Result<(), ChatError> {
    if let Cow::Owned(parsed) = parsed(value, place)? {
        *value = parsed;
    }
    Ok(())
}

/// Whether a text is JSON for a list of objects, as messages are.
pub(super) fn holds_list(text: &str) -> bool {
    text.trim_start().starts_with('[')
        && serde_json::from_str::<Vec<Map<String, Value>>>(text).is_ok_and(|list| !list.is_empty())
}

pub(super) fn not_a_text(place: &str, value: &Value) -> ChatError {
    ChatError::Value { place: place.to_owned(), reason: format!("must be a text, not {}", kind(value)) }
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn join(place: &str, key: &str) -> String {
    if key.is_empty() { place.to_owned() } else { format!("{place}.{key}") }
}
