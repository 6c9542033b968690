//! Rows become tokens, each of which is trained or not.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::choose::{Sources, Templates};
use super::date::Date;
use super::message::Names;
use super::plain::PlainTexts;
use super::row::{self, Columns, Conversation, Example};
use super::spans::{self, Policy, Rendered};
use super::template::{self, Context};
use super::{ChatError, ChatSettings, DropReason, ExcessLength, RowFormat, RowKind, RowRefusal, RowWarning};
use crate::model::tokenizer::{TokenizerError, TokenizerSpec};
use crate::tokenizer::TextTokenizer;

const GENERATION: &str = "generation_config.json";

/// What an encoder is made of. The caller has read it all.
#[derive(Clone, Debug)]
pub struct EncoderParts<'a> {
    /// The checkpoint's tokenizer.
    pub tokenizer: &'a TokenizerSpec,
    /// The text of `tokenizer_config.json`, if there is one.
    pub tokenizer_config: Option<String>,
    /// The text of `chat_template.jinja`, if there is one.
    pub chat_template: Option<String>,
    /// The text of the file that `chat_template_path` names, if it is set.
    pub template: Option<String>,
    /// The text of `generation_config.json`, if there is one.
    pub generation_config: Option<String>,
    /// Longest row, in tokens.
    pub sequence_len: u32,
    /// Rows of the network's embedding table.
    pub vocab: u64,
    /// The run's settings.
    pub settings: &'a ChatSettings,
    /// The dataset entries, in order.
    pub entries: &'a [RowFormat],
}

/// Turns rows into tokens. One serves a whole run, on any number of threads.
pub struct RowEncoder {
    pub(super) tokenizer: TextTokenizer,
    templates: Templates,
    context: Context,
    entries: Vec<Entry>,
    pub(super) plain: PlainTexts,
    limit: u32,
    vocab: u64,
    excess: ExcessLength,
}

impl fmt::Debug for RowEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowEncoder").field("limit", &self.limit).finish_non_exhaustive()
    }
}

struct Entry {
    format: RowFormat,
    names: Names,
    policy: Policy,
}

/// A row's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRow {
    /// The text that was tokenised, all of it.
    pub text: String,
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// For each token, the bytes of the text up to its end.
    pub ends: Vec<usize>,
    /// For each token, whether the model learns to write it. Never the first.
    pub trained: Vec<bool>,
    /// The format that the row has.
    pub format: RowKind,
    /// Whether tokens were cut off at the end.
    pub truncated: bool,
    /// What the user should know.
    pub warnings: Vec<RowWarning>,
}

impl RowEncoder {
    /// Builds the tokenizer and compiles the templates.
    pub fn new(parts: EncoderParts<'_>) -> Result<RowEncoder, ChatError> {
        let settings = parts.settings;
        let tokenizer = TextTokenizer::new(parts.tokenizer, parts.sequence_len)?;
        let today = settings.chat_template_date.as_deref().map(Date::parse).transpose()?;
        let mut variables: BTreeMap<_, _> =
            parts.tokenizer.special.iter().cloned().map(text_variable).collect();
        variables.extend(settings.chat_template_kwargs.iter().map(variable));
        let context = Context::new(variables);
        let sources = Sources {
            config: parts.tokenizer_config.as_deref(),
            jinja: parts.chat_template.as_deref(),
            path: parts.template.as_deref(),
        };
        let templates = Templates::choose(settings, &sources, &context, today)?;
        let special = |key: &str| {
            let found = parts.tokenizer.special.iter().find(|(name, _)| name == key);
            found.map(|(_, text)| text.clone())
        };
        let mut ends =
            end_tokens(settings, &tokenizer, special("eos_token"), parts.generation_config.as_deref())?;
        ends.extend(templates.end_of_turn(&context, &tokenizer.special()).filter(|end| !ends.contains(end)));
        let plain =
            PlainTexts::new(&tokenizer, special("bos_token"), special("eos_token"), settings.add_eos)?;
        let entry = |format: &RowFormat| {
            let names = Names::new(format);
            let roles = format.roles_to_train.as_ref().unwrap_or(&settings.roles_to_train);
            let policy = Policy {
                train_on_inputs: settings.train_on_inputs,
                roles: roles.iter().map(|role| names.role(role).to_owned()).collect(),
                eos: format.train_on_eos.unwrap_or(settings.train_on_eos),
                ends: ends.clone(),
            };
            Entry { format: format.clone(), names, policy }
        };
        Ok(RowEncoder {
            templates,
            context,
            entries: parts.entries.iter().map(entry).collect(),
            plain,
            limit: parts.sequence_len,
            vocab: parts.vocab,
            excess: settings.excess_length_strategy,
            tokenizer,
        })
    }

    /// The columns of `available` that rows of an entry can use: readers of columns need no others.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn columns(&self, entry: usize, available: &[String]) -> Vec<String> {
        let columns = Columns::new(&self.entries[entry].format);
        let wanted = columns.of(self.entries[entry].format.kind);
        available.iter().filter(|column| wanted.contains(&column.as_str())).cloned().collect()
    }

    /// One row of a dataset entry. The row's number is the caller's to name.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn encode(&self, row: &Map<String, Value>, entry: usize) -> Result<EncodedRow, RowRefusal> {
        let Entry { format, names, policy } = &self.entries[entry];
        let (kind, example) = row::read(row, format, names)?;
        match example {
            Example::Text(text) => self.plain(kind, text, 0, policy),
            Example::Completion { prompt, completion } => {
                self.plain(kind, prompt.clone() + &completion, prompt.len(), policy)
            }
            Example::Chat(conversation) => {
                let (rendered, located) = self.conversation(&conversation, format, policy, |text| {
                    let located = self.tokenizer.locate(text).map_err(tokenizer_failed)?;
                    // To tell its turns costs many renderings, which a row that leaves the data is not worth.
                    match self.excess == ExcessLength::Drop && located.ids.len() > self.limit as usize {
                        true => Err(RowRefusal::Dropped(DropReason::TooLong)),
                        false => Ok(located),
                    }
                })?;
                let trained = in_spans(&located.bytes, &rendered.spans);
                let ends = located.bytes.iter().map(|(_, end)| *end).collect();
                let row = EncodedRow {
                    ends,
                    text: rendered.text,
                    input_ids: located.ids,
                    trained,
                    format: kind,
                    truncated: false,
                    warnings: rendered.warnings,
                };
                self.finished(row)
            }
        }
    }

    /// The text of a conversation and its trained spans, before it is tokenised. `None`: no template renders this row.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn render(&self, row: &Map<String, Value>, entry: usize) -> Result<Option<Rendered>, RowRefusal> {
        let Entry { format, names, policy } = &self.entries[entry];
        match row::read(row, format, names)?.1 {
            Example::Chat(conversation) => {
                let (rendered, ()) = self.conversation(&conversation, format, policy, |_| Ok(()))?;
                Ok(Some(rendered))
            }
            Example::Text(_) | Example::Completion { .. } => Ok(None),
        }
    }

    /// The beginning of a row, of at most `most` tokens: a text, and its tokens. The text becomes exactly these tokens again,
    /// behind those that the tokenizer puts before a text: it never ends within a character or a word, where other tokens
    /// would come out. Where no beginning does, it is cut after `most` tokens.
    pub fn beginning(&self, row: &EncodedRow, most: usize) -> Result<(String, Vec<u32>), RowRefusal> {
        let most = most.min(row.input_ids.len());
        let cut = |tokens: usize| {
            let end = tokens.checked_sub(1).and_then(|last| row.ends.get(last)).copied().unwrap_or_default();
            (0..=end.min(row.text.len()))
                .rev()
                .find(|&end| row.text.is_char_boundary(end))
                .unwrap_or_default()
        };
        let before = row.ends.iter().take_while(|end| **end == 0).count();
        for tokens in (before + 1..=most).rev() {
            let text = &row.text[..cut(tokens)];
            let found = self.tokenizer.locate(text).map_err(tokenizer_failed)?.ids;
            if found == row.input_ids[before..tokens] {
                return Ok((text.to_owned(), row.input_ids[..tokens].to_vec()));
            }
        }
        Ok((row.text[..cut(most)].to_owned(), row.input_ids[..most].to_vec()))
    }

    /// Whether a token stands for text: special tokens do not, such as those that most families end rows and turns with.
    pub fn is_text(&self, id: u32) -> bool {
        !self.tokenizer.is_special(id)
    }

    /// Bytes of UTF-8 text that these tokens are; those that stand for none count as none.
    pub fn bytes(&self, ids: &[u32]) -> u64 {
        self.tokenizer.text(ids).len() as u64
    }

    /// What each token adds to the text before it, for people. Tokens that are parts of a character give U+FFFD.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        // How much of the past a token's text can depend on: white space is decoded by the token before.
        const PAST: usize = 4;
        let piece = |place: usize| {
            let from = place.saturating_sub(PAST);
            let (before, with) =
                (self.tokenizer.decode(&ids[from..place]), self.tokenizer.decode(&ids[from..=place]));
            match with.strip_prefix(&before) {
                Some(piece) => piece.to_owned(),
                None => self.tokenizer.decode(&ids[place..=place]),
            }
        };
        (0..ids.len()).map(piece).collect()
    }

    /// Renders a conversation. Its text goes to `accept` before its spans are found.
    fn conversation<T>(
        &self,
        conversation: &Conversation,
        format: &RowFormat,
        policy: &Policy,
        accept: impl FnOnce(&str) -> Result<T, RowRefusal>,
    ) -> Result<(Rendered, T), RowRefusal> {
        let template = self.templates.get(conversation.tools.is_some())?;
        let mut context = self.context.for_row();
        if let Some(tools) = &conversation.tools {
            context.tools = template::value(tools);
        }
        if !(format.chat_template_kwargs.is_empty() && conversation.kwargs.is_empty()) {
            // Of equal keys, the last counts.
            let variables = format.chat_template_kwargs.iter().chain(&conversation.kwargs);
            context.row = Arc::new(variables.map(variable).collect());
        }
        spans::render(conversation, template, &context, policy, accept)
    }

    /// Bounds of length and ids.
    pub(super) fn finished(&self, mut row: EncodedRow) -> Result<EncodedRow, RowRefusal> {
        let limit = self.limit as usize;
        if row.input_ids.len() > limit {
            match self.excess {
                ExcessLength::Drop => return Err(RowRefusal::Dropped(DropReason::TooLong)),
                ExcessLength::Raise => {
                    let tokens = row.input_ids.len();
                    return Err(ChatError::TooLong { tokens, limit: self.limit }.into());
                }
                ExcessLength::Truncate => {
                    row.input_ids.truncate(limit);
                    row.ends.truncate(limit);
                    row.trained.truncate(limit);
                    row.truncated = true;
                }
            }
        }
        if let Some(&id) = row.input_ids.iter().find(|id| u64::from(**id) >= self.vocab) {
            let token = self.tokenizer.token(id).unwrap_or_default();
            return Err(ChatError::BeyondVocabulary { id, token, vocab: self.vocab }.into());
        }
        if let Some(first) = row.trained.first_mut() {
            *first = false;
        }
        if row.trained.contains(&true) {
            Ok(row)
        } else {
            Err(RowRefusal::Dropped(DropReason::NoTrainedTokens))
        }
    }
}

/// The end tokens that the run file names, else those of the tokenizer and `generation_config.json`.
fn end_tokens(
    settings: &ChatSettings,
    tokenizer: &TextTokenizer,
    eos: Option<String>,
    generation: Option<&str>,
) -> Result<Vec<String>, ChatError> {
    if let Some(tokens) = &settings.eot_tokens {
        let unknown = tokens.iter().find(|token| token.is_empty() || tokenizer.id(token).is_none());
        return match unknown {
            Some(unknown) => Err(ChatError::UnknownEndToken(unknown.clone())),
            None => Ok(tokens.clone()),
        };
    }
    let mut ends: Vec<String> = eos.into_iter().collect();
    if let Some(generation) = generation {
        let wrong = |reason: String| ChatError::File { file: GENERATION, reason };
        let json: Value = serde_json::from_str(generation).map_err(|error| wrong(error.to_string()))?;
        let ids = match json.get("eos_token_id") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
        };
        for id in ids {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let number = number.ok_or_else(|| wrong(format!("eos_token_id: {id} is no token id")))?;
            ends.extend(tokenizer.token(number).filter(|token| !ends.contains(token)));
        }
    }
    Ok(ends)
}

pub(super) fn tokenizer_failed(reason: String) -> ChatError {
    TokenizerError { file: "tokenizer.json", reason }.into()
}

fn text_variable((key, text): (String, String)) -> (String, minijinja::Value) {
    (key, text.into())
}

fn variable((key, json): (&String, &Value)) -> (String, minijinja::Value) {
    (key.clone(), template::value(json))
}

/// For each token, whether any of its characters lies in a span. Tokens without characters count as the one after them.
pub(super) fn in_spans(tokens: &[(usize, usize)], spans: &[Range<usize>]) -> Vec<bool> {
    let inside = |&(start, end): &(usize, usize)| {
        let next = spans.partition_point(|span| span.end <= start);
        spans.get(next).is_some_and(|span| span.start < end.max(start + 1))
    };
    tokens.iter().map(inside).collect()
}
