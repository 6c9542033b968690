//! Which format a row has, and what it says.

use std::fmt;

use serde_json::{Map, Value, json};

use super::message::{self, Message, Names};
use super::{ChatError, RowFormat, RowType};

/// A row of a dataset: a JSON object.
pub(super) type Row = Map<String, Value>;

/// The format of a row. It is printed, so that a wrong guess is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// A text.
    Text,
    /// Two texts.
    PromptCompletion,
    /// Two lists of messages.
    PromptCompletionMessages,
    /// A list of messages with role and content.
    Messages,
    /// A list of messages in `conversations`.
    Conversations,
    /// Instruction, input and output.
    Alpaca,
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowKind::Text => "text",
            RowKind::PromptCompletion => "prompt and completion",
            RowKind::PromptCompletionMessages => "prompt and completion (messages)",
            RowKind::Messages => "messages",
            RowKind::Conversations => "conversations",
            RowKind::Alpaca => "instruction and output (alpaca)",
        })
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Example {
    Text(String),
    Completion { prompt: String, completion: String },
    Chat(Conversation),
}

/// Messages, and what else a template is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conversation {
    pub messages: Vec<Message>,
    pub tools: Option<Value>,
    /// The row's own variables for the template.
    pub kwargs: Row,
}

/// The columns of an entry, by what they hold.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    format: &'a RowFormat,
}

impl<'a> Columns<'a> {
    pub(super) fn new(format: &'a RowFormat) -> Columns<'a> {
        Columns { format }
    }

    fn text(&self) -> &'a str {
        self.format.text_column.as_deref().unwrap_or("text")
    }

    fn prompt(&self) -> [&'a str; 2] {
        let format = self.format;
        [
            format.field_prompt.as_deref().unwrap_or("prompt"),
            format.field_completion.as_deref().unwrap_or("completion"),
        ]
    }

    fn messages(&self) -> Vec<&'a str> {
        match &self.format.field_messages {
            Some(column) => vec![column],
            None => vec!["messages", "conversations"],
        }
    }

    fn alpaca(&self) -> [&'a str; 3] {
        let format = self.format;
        [
            format.field_instruction.as_deref().unwrap_or("instruction"),
            format.field_output.as_deref().unwrap_or("output"),
            format.field_input.as_deref().unwrap_or("input"),
        ]
    }

    fn system(&self) -> &'a str {
        self.format.field_system.as_deref().unwrap_or("system")
    }

    fn tools(&self) -> &'a str {
        self.format.field_tools.as_deref().unwrap_or("tools")
    }

    /// The format: the one that was asked for, or the first whose columns are there. Where the entry names columns of a
    /// format, a row is never read as another one.
    pub(super) fn kind(&self, has: impl Fn(&str) -> bool) -> Option<RowType> {
        let [instruction, output, _] = self.alpaca();
        let named = self.named();
        self.format.kind.or_else(|| {
            let known = [
                (RowType::Messages, self.messages().into_iter().any(&has)),
                (RowType::PromptCompletion, self.prompt().into_iter().all(&has)),
                (RowType::Alpaca, has(instruction) && has(output)),
                (RowType::Text, has(self.text())),
            ];
            let mut known = known.into_iter().filter(|(kind, _)| named.is_empty() || named.contains(kind));
            known.find(|(_, there)| *there).map(|(kind, _)| kind).or(named.first().copied())
        })
    }

    /// The formats whose own columns the entry names.
    fn named(&self) -> Vec<RowType> {
        let format = self.format;
        let given = [
            (RowType::Messages, [&format.field_messages, &None, &None]),
            (RowType::PromptCompletion, [&format.field_prompt, &format.field_completion, &None]),
            (RowType::Alpaca, [&format.field_instruction, &format.field_output, &format.field_input]),
        ];
        let named = given.into_iter().filter(|(_, columns)| columns.iter().any(|column| column.is_some()));
        named.map(|(kind, _)| kind).collect()
    }

    /// Every column that a row of this format can use. Where the format is not known, those of all.
    pub(super) fn of(&self, kind: Option<RowType>) -> Vec<&'a str> {
        let chat = [self.system(), self.tools(), KWARGS];
        match kind {
            Some(RowType::Text) => vec![self.text()],
            Some(RowType::PromptCompletion) => self.prompt().into_iter().chain(chat).collect(),
            Some(RowType::Messages) => self.messages().into_iter().chain(chat).collect(),
            Some(RowType::Alpaca) => self.alpaca().into_iter().chain(chat).collect(),
            None => {
                let all = [RowType::Text, RowType::PromptCompletion, RowType::Messages, RowType::Alpaca];
                all.into_iter().flat_map(|kind| self.of(Some(kind))).collect()
            }
        }
    }
}

/// Every column that rows of a dataset entry can use: readers of columns need no others.
pub fn columns(format: &RowFormat) -> Vec<String> {
    Columns::new(format).of(format.kind).into_iter().map(str::to_owned).collect()
}

const KWARGS: &str = "chat_template_kwargs";

/// Reads a row.
pub(super) fn read(row: &Row, format: &RowFormat, names: &Names) -> Result<(RowKind, Example), ChatError> {
    let columns = Columns::new(format);
    let has = |column: &str| row.get(column).is_some_and(|value| !value.is_null());
    let Some(kind) = columns.kind(has) else {
        let found =
            row.iter().filter(|(_, value)| !value.is_null()).map(|(column, _)| column.clone()).collect();
        return Err(ChatError::UnknownFormat { found });
    };
    match kind {
        RowType::Text => {
            let text = text(row, columns.text(), "text")?;
            Ok((RowKind::Text, Example::Text(text.to_owned())))
        }
        RowType::PromptCompletion => prompt_completion(row, &columns, names),
        RowType::Messages => {
            let candidates = columns.messages();
            let Some(column) = candidates.iter().find(|column| has(column)) else {
                let column = candidates.join(" or ");
                return Err(ChatError::Missing { column, format: "messages" });
            };
            let messages = messages(row, column, names)?;
            let kind = match *column {
                "conversations" => RowKind::Conversations,
                _ => RowKind::Messages,
            };
            Ok((kind, Example::Chat(conversation(row, &columns, messages)?)))
        }
        RowType::Alpaca => {
            let [instruction, output, input] = columns.alpaca();
            let format = "alpaca";
            let mut question = text(row, instruction, format)?.to_owned();
            if has(input) {
                let input = text(row, input, format)?;
                if !input.trim().is_empty() {
                    question.push('\n');
                    question.push_str(input);
                }
            }
            let messages =
                vec![Message::new("user", &question), Message::new("assistant", text(row, output, format)?)];
            Ok((RowKind::Alpaca, Example::Chat(conversation(row, &columns, messages)?)))
        }
    }
}

fn prompt_completion(
    row: &Row,
    columns: &Columns<'_>,
    names: &Names,
) -> Result<(RowKind, Example), ChatError> {
    let [prompt, completion] = columns.prompt();
    let format = "prompt_completion";
    if let (Some(Value::String(question)), Some(Value::String(answer))) =
        (row.get(prompt), row.get(completion))
        && !(message::holds_list(question) && message::holds_list(answer))
    {
        let example = Example::Completion { prompt: question.clone(), completion: answer.clone() };
        return Ok((RowKind::PromptCompletion, example));
    }
    for column in [prompt, completion] {
        if row.get(column).is_none_or(Value::is_null) {
            return Err(ChatError::Missing { column: column.to_owned(), format });
        }
    }
    let mut all = messages(row, prompt, names)?;
    for message in &mut all {
        message.in_prompt = true;
    }
    all.extend(messages(row, completion, names)?);
    Ok((RowKind::PromptCompletionMessages, Example::Chat(conversation(row, columns, all)?)))
}

/// The messages of a column, which may hold them as JSON text.
fn messages(row: &Row, column: &str, names: &Names) -> Result<Vec<Message>, ChatError> {
    let parsed = message::parsed(row.get(column).unwrap_or(&Value::Null), column)?;
    let Value::Array(list) = parsed.as_ref() else {
        let reason = format!("must be a list of messages, not {}", message::kind(&parsed));
        return Err(ChatError::Value { place: column.to_owned(), reason });
    };
    let read = |(index, message)| Message::read(message, names, &format!("{column}[{index}]"));
    list.iter().enumerate().map(read).collect()
}

fn conversation(
    row: &Row,
    columns: &Columns<'_>,
    mut messages: Vec<Message>,
) -> Result<Conversation, ChatError> {
    let system = columns.system();
    if let Some(prompt) = optional(row, system)
        && messages.first().is_none_or(|first| first.role != "system")
    {
        let prompt = prompt.as_str().ok_or_else(|| message::not_a_text(system, prompt))?;
        let mut first = Message::new("system", prompt);
        first.in_prompt = messages.first().is_some_and(|first| first.in_prompt);
        messages.insert(0, first);
    }
    let tools =
        optional(row, columns.tools()).map(|tools| message::tools(tools, columns.tools())).transpose()?;
    let kwargs = match optional(row, KWARGS) {
        None => Map::new(),
        Some(kwargs) => match message::parsed(kwargs, KWARGS)?.into_owned() {
            Value::Object(kwargs) => kwargs,
            other => {
                let reason = format!("must be an object of variables, not {}", message::kind(&other));
                return Err(ChatError::Value { place: KWARGS.into(), reason });
            }
        },
    };
    Ok(Conversation { messages, tools, kwargs })
}

/// A value that a row may lack: datasets hold null or a blank text where a row has none.
fn optional<'a>(row: &'a Row, column: &str) -> Option<&'a Value> {
    row.get(column).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    })
}

fn text<'a>(row: &'a Row, column: &str, format: &'static str) -> Result<&'a str, ChatError> {
    match row.get(column) {
        None | Some(Value::Null) => Err(ChatError::Missing { column: column.to_owned(), format }),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(message::not_a_text(column, other)),
    }
}

/// Removes nulls from objects inside a value. Parquet has no absent keys, so that its readers see nulls instead.
pub fn drop_nested_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nested_nulls),
        Value::Object(pairs) => {
            pairs.retain(|_, value| !value.is_null());
            pairs.values_mut().for_each(drop_nested_nulls);
        }
        _ => {}
    }
}

impl Message {
    /// A message of a role that is only text.
    pub(super) fn new(role: &str, content: &str) -> Message {
        let fields = json!({"role": role, "content": content});
        let fields = fields.as_object().cloned().unwrap_or_default();
        Message { role: role.to_owned(), fields, train: None, in_prompt: false }
    }
}
