//! Where a turn stands in a rendered conversation, for templates that do not say: its content is replaced by two different
//! placeholders, and what the renderings share bounds it. Prefixes of conversations are never rendered for that: templates
//! rewrite earlier turns.

use std::ops::Range;

use minijinja::Value;
use serde_json::json;

use super::ChatError;
use super::choose::probe;
use super::message::Message;
use super::template::{Context, Template, object};

/// They share neither the first nor the last letter, and templates trim nothing from them.
const PLACEHOLDERS: [&str; 2] = ["Kqzplaceholderone1vX", "Wjzplaceholdertwo2bY"];

/// A conversation and its rendering.
pub(super) struct Turns<'a> {
    pub template: &'a Template,
    pub context: &'a Context,
    pub messages: &'a [Message],
    /// The messages as the template gets them.
    pub values: &'a [Value],
    /// The rendered conversation.
    pub text: &'a str,
}

impl Turns<'_> {
    /// A turn in bytes of the text: from what the model writes first (the end of the generation prompt, where the text
    /// has it) to the end of its content.
    pub(super) fn locate(&self, turn: usize) -> Result<Range<usize>, ChatError> {
        let lost = |reason| self.lost(turn, reason);
        if PLACEHOLDERS.iter().any(|placeholder| self.text.contains(placeholder)) {
            return Err(lost("the conversation holds the words that locate turns"));
        }
        let [one, two] = [self.with(turn, PLACEHOLDERS[0])?, self.with(turn, PLACEHOLDERS[1])?];
        let front = common_prefix(&one, &two);
        let back = common_suffix(&one[front..], &two[front..]);
        let shown = &one[front..one.len() - back];
        let prompt = self.generation_prompt(turn);
        let texts = self.messages[turn].texts();
        let answers: Vec<&str> = texts.iter().map(|text| answer(text)).collect();
        if shown.is_empty() {
            // A call of a tool may be shown without its content.
            return match prompt {
                Some(prompt)
                    if answers.iter().all(|answer| answer.is_empty()) && self.text.starts_with(&prompt) =>
                {
                    Ok(prompt.len()..prompt.len())
                }
                _ => Err(lost("the template leaves it out")),
            };
        }
        if shown != PLACEHOLDERS[0] || two[front..two.len() - back] != *PLACEHOLDERS[1] {
            return Err(lost("the template shows it more than once, or changes it"));
        }
        let rest = &one[one.len() - back..];
        let rest = if self.text.ends_with(rest) { rest } else { rest.trim_start() };
        if !self.text.ends_with(rest) {
            return Err(lost("the template renders the rest of the conversation differently without it"));
        }
        let end = self.text.len() - rest.len();
        let front = self.text.starts_with(&one[..front]).then_some(front).filter(|front| *front <= end);
        let start = match prompt {
            Some(prompt) => self.after_prompt(turn, &prompt, end).or(front),
            None => self.after_usual_prompt(turn, end).or(front),
        };
        let start =
            start.ok_or_else(|| lost("the template renders what precedes it differently without it"))?;
        let end = end.max(start);
        let region = &self.text[start..end];
        if answers.iter().any(|answer| !region.contains(answer)) {
            return Err(lost("the template changes it"));
        }
        let has_calls = self.messages[turn].fields.contains_key("tool_calls");
        if has_calls && self.content_start(turn + 1).is_some_and(|next| (start..end).contains(&next)) {
            return Err(lost("the template shows the next message inside it"));
        }
        Ok(start..end)
    }

    /// Where the content of a turn begins, if that can be told.
    pub(super) fn content_start(&self, turn: usize) -> Option<usize> {
        self.messages.get(turn)?;
        let rendered = self.with(turn, PLACEHOLDERS[0]).ok()?;
        let at = rendered.find(PLACEHOLDERS[0])?;
        self.text.starts_with(&rendered[..at]).then_some(at)
    }

    /// The conversation with another content of one turn.
    fn with(&self, turn: usize, content: &str) -> Result<String, ChatError> {
        let mut fields = self.messages[turn].fields.clone();
        let part = json!([{"type": "text", "text": content}]);
        let is_list = fields.get("content").is_some_and(serde_json::Value::is_array);
        fields.insert("content".into(), if is_list { part } else { content.into() });
        let mut values = self.values.to_vec();
        values[turn] = object(&fields);
        let rendered = self.template.render(self.context, &values, false, false);
        rendered.map_err(|error| match error {
            ChatError::Fuel => ChatError::Fuel,
            _ => self.lost(turn, "the template refuses the conversation with another text in its place"),
        })
    }

    /// All before a turn of the assistant, through its generation prompt.
    fn generation_prompt(&self, turn: usize) -> Option<String> {
        if self.messages[turn].role != "assistant" || !self.template.prompts {
            return None;
        }
        let mut prompt = self.template.render(self.context, &self.values[..turn], true, false).ok()?;
        prompt.truncate(before_thoughts(&prompt).len());
        Some(prompt)
    }

    /// The end of a turn's generation prompt in the text, before `end`.
    fn after_prompt(&self, turn: usize, prompt: &str, end: usize) -> Option<usize> {
        // A turn without content may end with the prompt's own white space.
        let space = self.text.get(end..prompt.len()).unwrap_or_default();
        if self.text.starts_with(prompt) && space.trim().is_empty() {
            return Some(prompt.len());
        }
        // The template renders earlier turns differently here. The prompt alone must then follow the turn before.
        let before = self.template.render(self.context, &self.values[..turn], false, false).ok()?;
        let alone = prompt.strip_prefix(before.as_str())?;
        let from = turn.checked_sub(1).and_then(|before| self.content_start(before)).unwrap_or_default();
        self.after(alone, from..end)
    }

    /// The same for a turn that begins the conversation, where the template renders no prompt without messages.
    fn after_usual_prompt(&self, turn: usize, end: usize) -> Option<usize> {
        if turn > 0 || self.messages[turn].role != "assistant" || !self.template.prompts {
            return None;
        }
        let question = probe(&[("user", PLACEHOLDERS[0])]);
        let [before, prompt] =
            [false, true].map(|prompt| self.template.render(self.context, &question, prompt, false));
        let (before, prompt) = (before.ok()?, prompt.ok()?);
        self.after(before_thoughts(&prompt).strip_prefix(before.as_str())?, 0..end)
    }

    /// The end of the first occurrence of a prompt in a part of the text.
    fn after(&self, prompt: &str, region: Range<usize>) -> Option<usize> {
        let from = region.start;
        let found = self.text.get(region).filter(|_| !prompt.trim().is_empty())?.find(prompt)?;
        Some(from + found + prompt.len())
    }

    fn lost(&self, turn: usize, reason: &'static str) -> ChatError {
        ChatError::NotVerbatim { message: turn, role: self.messages[turn].role.clone(), reason }
    }
}

/// A content without the thoughts before it, and without white space around it: what a template shows in any case.
fn answer(content: &str) -> &str {
    content.rsplit_once("</think>").map_or(content, |(_, answer)| answer).trim()
}

/// A generation prompt without the thoughts that it begins, or closes at once: those are written by the model.
fn before_thoughts(prompt: &str) -> &str {
    let trimmed = prompt.trim_end();
    let open = trimmed.strip_suffix("</think>").map_or(trimmed, str::trim_end);
    open.strip_suffix("<think>").unwrap_or(prompt)
}

/// Length in bytes, at a border of characters.
fn common_prefix(one: &str, two: &str) -> usize {
    let length = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
    (0..=length).rev().find(|at| one.is_char_boundary(*at)).unwrap_or_default()
}

/// Length in bytes, at a border of characters.
fn common_suffix(one: &str, two: &str) -> usize {
    let length = one.bytes().rev().zip(two.bytes().rev()).take_while(|(one, two)| one == two).count();
    (0..=length).rev().find(|back| one.is_char_boundary(one.len() - back)).unwrap_or_default()
}
