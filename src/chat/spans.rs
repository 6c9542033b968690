//! Which characters of a rendered conversation are trained.

use std::ops::Range;

use minijinja::Value;

use super::generation::{self, MARKS};
use super::message::{Message, REASONING};
use super::row::Conversation;
use super::template::{Context, Template, object};
use super::turns::Turns;
use super::{ChatError, DropReason, RowRefusal, RowWarning, TrainOnEos};

/// A conversation as a text, and what of it is trained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The trained spans in bytes of the text, in order, apart from each other.
    pub spans: Vec<Range<usize>>,
    /// What the user should know.
    pub warnings: Vec<RowWarning>,
}

/// Which turns are trained, and how they end.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub train_on_inputs: bool,
    pub roles: Vec<String>,
    pub eos: TrainOnEos,
    /// Texts of end tokens.
    pub ends: Vec<String>,
}

impl Policy {
    fn trains(&self, message: &Message) -> bool {
        message.train.unwrap_or(!message.in_prompt && self.roles.contains(&message.role))
    }

    /// The end token that comes first: its place.
    fn end_token(&self, text: &str, from: usize, limit: usize) -> Option<Range<usize>> {
        let found = self.ends.iter().filter_map(|end| {
            let at = from + text[from..].find(end.as_str())?;
            (at < limit).then_some(at..at + end.len())
        });
        // Of those that begin at the same place, the longest.
        found.min_by_key(|place| (place.start, std::cmp::Reverse(place.end)))
    }
}

/// Renders a conversation, gives the text to `accept`, and finds its trained spans.
pub(super) fn render<T>(
    conversation: &Conversation,
    template: &Template,
    context: &Context,
    policy: &Policy,
    accept: impl FnOnce(&str) -> Result<T, RowRefusal>,
) -> Result<(Rendered, T), RowRefusal> {
    let messages = &conversation.messages;
    let values: Vec<Value> = messages.iter().map(|message| object(&message.fields)).collect();
    let text = template.render(context, &values, false, false)?;
    let accepted = accept(&text)?;
    let turns = Turns { template, context, messages, values: &values, text: &text };
    let mut warnings = vanished(messages, &text);
    let spans = if policy.train_on_inputs {
        all_but_excluded(&turns, policy)?
    } else if !messages.iter().any(|message| policy.trains(message)) {
        return Err(RowRefusal::Dropped(DropReason::NoAssistantTurn));
    } else if template.tagged {
        tagged(&turns, policy, &mut warnings)?
    } else {
        let all: Vec<usize> = (0..messages.len()).collect();
        by_turns(&turns, policy, &all)?
    };
    let spans = merged(spans);
    Ok((Rendered { spans, warnings, text }, accepted))
}

/// Everything, but for turns with `train: false` and their end tokens, which `train_on_eos: all` keeps.
fn all_but_excluded(turns: &Turns<'_>, policy: &Policy) -> Result<Vec<Range<usize>>, ChatError> {
    let mut spans = Vec::new();
    let mut from = 0;
    for (turn, message) in turns.messages.iter().enumerate() {
        if message.train == Some(false) {
            let place = turns.locate(turn)?;
            spans.push(from..place.start.max(from));
            let end = end_of_turn(turns, policy, turn, place.end).filter(|_| policy.eos != TrainOnEos::All);
            from = end.map_or(place.end, |end| end.end).max(from);
        }
    }
    spans.push(from..turns.text.len());
    Ok(spans)
}

/// The spans of generation blocks, and turns of other roles.
fn tagged(
    turns: &Turns<'_>,
    policy: &Policy,
    warnings: &mut Vec<RowWarning>,
) -> Result<Vec<Range<usize>>, ChatError> {
    if let Some(mark) = turns.text.chars().find(|char| MARKS.contains(char)) {
        return Err(ChatError::Mark(mark.into()));
    }
    let marked = turns.template.render(turns.context, turns.values, false, true)?;
    let (text, marked) = generation::take_marks(&marked)?;
    if text != turns.text {
        return Err(ChatError::Unstable);
    }
    let is_assistant = |message: &&Message| message.role == "assistant";
    let chosen: Vec<bool> =
        turns.messages.iter().filter(is_assistant).map(|message| policy.trains(message)).collect();
    let mut spans = if chosen.iter().all(|chosen| *chosen) {
        marked
    } else if !chosen.contains(&true) {
        Vec::new()
    } else if chosen.len() == marked.len() {
        marked.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(span, _)| span).collect()
    } else {
        return Err(ChatError::Spans { spans: marked.len(), turns: chosen.len() });
    };
    if policy.eos != TrainOnEos::Turn {
        warnings.push(RowWarning::TagsDecide);
    }
    for (index, span) in spans.iter().enumerate() {
        let trimmed = text[span.clone()].trim_end();
        if !trimmed.is_empty() && !policy.ends.iter().any(|end| trimmed.ends_with(end.as_str())) {
            warnings.push(RowWarning::SpanWithoutEnd(index));
        }
    }
    let others = turns.messages.iter().enumerate().filter(|(_, message)| !is_assistant(message));
    let others: Vec<usize> = others.map(|(turn, _)| turn).collect();
    spans.extend(by_turns(turns, policy, &others)?);
    Ok(spans)
}

/// Turns that placeholders locate.
fn by_turns(
    turns: &Turns<'_>,
    policy: &Policy,
    candidates: &[usize],
) -> Result<Vec<Range<usize>>, ChatError> {
    let chosen = |turn: &usize| policy.trains(&turns.messages[*turn]);
    let last = candidates.iter().copied().rfind(chosen);
    let mut spans = Vec::new();
    for &turn in candidates {
        let trained = chosen(&turn);
        if !trained && policy.eos != TrainOnEos::All {
            continue;
        }
        let place = match turns.locate(turn) {
            Ok(place) => place,
            Err(error) if trained => return Err(error),
            // A turn that is not shown, such as a system prompt, has no end token.
            Err(_) => continue,
        };
        let end = end_of_turn(turns, policy, turn, place.end);
        let wanted = match policy.eos {
            TrainOnEos::Turn | TrainOnEos::All => true,
            TrainOnEos::Last => Some(turn) == last,
            TrainOnEos::None => false,
        };
        match (trained, wanted, end) {
            (true, true, Some(end)) => spans.push(place.start..end.end),
            (true, true, None) => {
                let role = turns.messages[turn].role.clone();
                return Err(ChatError::NoEndToken { message: turn, role, wanted: policy.ends.clone() });
            }
            (true, false, end) => spans.push(place.start..end.map_or(place.end, |end| end.start)),
            (false, _, Some(end)) => spans.push(end),
            (false, _, None) => {}
        }
    }
    Ok(spans)
}

/// The end token behind a content, before the next turn's content begins.
fn end_of_turn(turns: &Turns<'_>, policy: &Policy, turn: usize, from: usize) -> Option<Range<usize>> {
    let text = turns.text;
    let end = policy.end_token(text, from, text.len())?;
    if text[from..end.start].trim().is_empty() || turn + 1 == turns.messages.len() {
        return Some(end);
    }
    let next = turns.content_start(turn + 1).filter(|next| *next >= from).or_else(|| {
        // Its words, where the template renders what precedes them differently without them.
        let words =
            turns.messages[turn + 1].texts().into_iter().map(str::trim).find(|words| !words.is_empty())?;
        text[from..].find(words).map(|at| from + at)
    });
    Some(end).filter(|end| next.is_none_or(|next| end.start < next))
}

/// In order, without empty ones; those that touch become one.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Texts of messages that the template leaves out, such as the thoughts of earlier turns.
fn vanished(messages: &[Message], text: &str) -> Vec<RowWarning> {
    let mut warnings = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let mut warn = |key: &str, part: &str| {
            let mut pieces = part.split("<think>").flat_map(|piece| piece.split("</think>")).map(str::trim);
            if !pieces.all(|piece| is_shown(text, piece)) {
                warnings.push(RowWarning::Vanished { message: number, key: key.to_owned() });
            }
        };
        message.texts().into_iter().for_each(|part| warn("content", part));
        if let Some(part) = message.fields.get(REASONING[0]).and_then(serde_json::Value::as_str) {
            warn(REASONING[0], part);
        }
    }
    warnings
}

/// Whether a text holds a piece, as it is or as JSON.
fn is_shown(text: &str, piece: &str) -> bool {
    text.contains(piece) || {
        let quoted = serde_json::Value::from(piece).to_string();
        text.contains(&quoted[1..quoted.len() - 1])
    }
}
