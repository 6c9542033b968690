//! Texts that no template renders: begin and end tokens.

use super::encode::{EncodedRow, RowEncoder, in_spans, tokenizer_failed};
use super::spans::Policy;
use super::{ChatError, RowKind, RowRefusal};
use crate::model::tokenizer::TokenizerError;
use crate::tokenizer::TextTokenizer;

/// How texts are tokenised that no template renders.
pub(super) struct PlainTexts {
    bos: Option<u32>,
    /// The tokenizer's EOS, where texts end with it.
    eos: Option<(String, u32)>,
    add_eos: bool,
    before: Vec<u32>,
    after: Vec<u32>,
}

impl PlainTexts {
    pub(super) fn new(
        tokenizer: &TextTokenizer,
        bos: Option<String>,
        eos: Option<String>,
        add_eos: bool,
    ) -> Result<PlainTexts, ChatError> {
        let [before, after] =
            tokenizer.around().map_err(|reason| TokenizerError { file: "tokenizer.json", reason })?;
        let id = |token: &String| tokenizer.id(token);
        let bos = bos.as_ref().and_then(id);
        let eos = eos.and_then(|eos| id(&eos).map(|id| (eos, id)));
        Ok(PlainTexts { bos, eos, add_eos, before, after })
    }
}

impl RowEncoder {
    /// A text that no template renders, trained from byte `from` on.
    pub(super) fn plain(
        &self,
        kind: RowKind,
        mut text: String,
        from: usize,
        policy: &Policy,
    ) -> Result<EncodedRow, RowRefusal> {
        let plain = &self.plain;
        if plain.add_eos && plain.eos.is_none() {
            return Err(ChatError::NoEos.into());
        }
        let located = self.tokenizer.locate(&text).map_err(tokenizer_failed)?;
        let starts_with_bos = plain.bos.is_some() && located.ids.first().copied() == plain.bos;
        let before = match plain.before.split_last() {
            Some((last, rest)) if starts_with_bos && Some(*last) == plain.bos => rest,
            _ => &plain.before,
        };
        let span = if policy.train_on_inputs { 0 } else { from }..text.len();
        let mut input_ids = before.to_vec();
        let mut trained = vec![policy.train_on_inputs; before.len()];
        trained.extend(in_spans(&located.bytes, &[span]));
        let ends_with_eos = |ids: &[u32], eos: u32| ids.last() == Some(&eos);
        input_ids.extend(&located.ids);
        let mut ends = vec![0; before.len()];
        ends.extend(located.bytes.iter().map(|(_, end)| *end));
        let after = match (&plain.eos, plain.after.split_first()) {
            // The text has its own EOS: the tokenizer adds no second one.
            (Some((_, eos)), Some((first, rest))) if first == eos && ends_with_eos(&located.ids, *eos) => {
                rest
            }
            _ => &plain.after,
        };
        input_ids.extend(after);
        if let Some((end, eos)) =
            plain.eos.as_ref().filter(|(_, eos)| plain.add_eos && !ends_with_eos(&input_ids, *eos))
        {
            input_ids.push(*eos);
            text.push_str(end);
        }
        ends.resize(input_ids.len(), text.len());
        trained.resize(input_ids.len(), true);
        self.finished(EncodedRow {
            ends,
            text,
            input_ids,
            trained,
            format: kind,
            truncated: false,
            warnings: Vec::new(),
        })
    }
}
