//! What a text costs a language model, in bits per UTF-8 byte: a measure that tokenizers do not change.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use super::ProbeError;
use super::verdict::Costs;

/// Numbers of tokens before a token from which on [`Language::context`] counts it.
pub const CONTEXTS: [u32; 3] = [1, 8, 64];

/// What a network says of one trained token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainedToken {
    /// Negative log likelihood, in nats.
    pub nats: f32,
    /// Tokens of the row that stand before it, trained or not.
    pub before: u32,
}

/// The trained text of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// Its tokens, in order. Those that stand for no text, such as the one that ends a row, are not among them.
    pub tokens: Vec<TrainedToken>,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
}

/// What the probed rows cost a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Language {
    /// Bits of all tokens over bytes of all text; smaller is better.
    pub bits_per_byte: f64,
    /// Bits per trained token, of tokens with at least so many tokens before them ([`CONTEXTS`]). Without such tokens
    /// there is no entry.
    pub context: BTreeMap<u32, f64>,
    /// Bits and bytes of each row.
    pub costs: Costs,
}

impl Language {
    /// The score by which checkpoints are ranked, larger is better: minus the bits per byte.
    pub fn score(&self) -> f64 {
        -self.bits_per_byte
    }
}

/// Adds up rows, in their order. Fails where a loss is not finite, and where there is no trained text.
pub fn language(rows: &[Text]) -> Result<Language, ProbeError> {
    let mut nats = Vec::with_capacity(rows.len());
    let mut contexts: BTreeMap<u32, (f64, u64)> = BTreeMap::new();
    for (row, text) in rows.iter().enumerate() {
        let mut sum = 0.0;
        for (token, trained) in text.tokens.iter().enumerate() {
            if !trained.nats.is_finite() {
                return Err(ProbeError::LossNotFinite { row, token });
            }
            sum += f64::from(trained.nats);
            for least in CONTEXTS.into_iter().filter(|&least| trained.before >= least) {
                let (nats, tokens) = contexts.entry(least).or_default();
                *nats += f64::from(trained.nats);
                *tokens += 1;
            }
        }
        nats.push(sum);
    }
    let context =
        contexts.into_iter().map(|(least, (nats, tokens))| (least, nats / LN_2 / tokens as f64)).collect();
    of(&nats, rows.iter().map(|text| text.bytes), context)
}

fn of(
    nats: &[f64],
    bytes: impl ExactSizeIterator<Item = u64>,
    context: BTreeMap<u32, f64>,
) -> Result<Language, ProbeError> {
    let rows = nats.len();
    let costs =
        Costs::new(nats.iter().map(|nats| nats / LN_2).zip(bytes.map(|bytes| bytes as f64)).collect());
    let bits_per_byte = costs.mean().ok_or(ProbeError::NoText { rows })?;
    Ok(Language { bits_per_byte, context, costs })
}

/// A model that knows how often each token occurs in the training rows, and nothing else.
///
/// Smoothing is additive: each token of the vocabulary is counted α times more than it occurs. Together these are as
/// many as tokens that occur exactly once (at least one): by Good and Turing's estimate that is the share of tokens
/// not seen yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unigram {
    /// Occurrences, by token id.
    counts: Vec<u64>,
    /// Occurrences of all tokens.
    total: u64,
    /// Added to each count.
    alpha: f64,
}

impl Unigram {
    /// Counts the trained tokens of rows, of a vocabulary of `vocabulary` tokens.
    pub fn of<'a>(
        rows: impl IntoIterator<Item = &'a [u32]>,
        vocabulary: usize,
    ) -> Result<Unigram, ProbeError> {
        let mut counts = vec![0; vocabulary];
        for &token in rows.into_iter().flatten() {
            *counts.get_mut(token as usize).ok_or(ProbeError::UnknownToken { token, vocabulary })? += 1;
        }
        let once = counts.iter().filter(|&&count| count == 1).count();
        let alpha = once.max(1) as f64 / vocabulary.max(1) as f64;
        Ok(Unigram { total: counts.iter().sum(), counts, alpha })
    }

    /// What the probed rows cost, each as its trained tokens and its bytes of text.
    ///
    /// `counted` says that the probed rows are among the counted ones: the tokens of each are then taken out of the counts
    /// before it is judged, for a model knows a row that it was made of.
    pub fn judge(&self, rows: &[(&[u32], u64)], counted: bool) -> Result<Language, ProbeError> {
        let nats: Vec<f64> =
            rows.iter().map(|(tokens, _)| self.nats(tokens, counted)).collect::<Result<_, ProbeError>>()?;
        of(&nats, rows.iter().map(|(_, bytes)| *bytes), BTreeMap::new())
    }

    /// Negative log likelihood of a row's tokens, in nats.
    fn nats(&self, tokens: &[u32], counted: bool) -> Result<f64, ProbeError> {
        let vocabulary = self.counts.len();
        let mut own: BTreeMap<u32, u64> = BTreeMap::new();
        for &token in tokens {
            *own.entry(token).or_default() += 1;
        }
        let without = if counted { tokens.len() as u64 } else { 0 };
        let total = self.total.saturating_sub(without) as f64 + self.alpha * vocabulary as f64;
        let mut sum = 0.0;
        for (&token, &occurs) in &own {
            let count =
                *self.counts.get(token as usize).ok_or(ProbeError::UnknownToken { token, vocabulary })?;
            let count = count.saturating_sub(if counted { occurs } else { 0 });
            sum += occurs as f64 * libm::log(total / (count as f64 + self.alpha));
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference;

    fn text(nats: &[f32], first: u32, bytes: u64) -> Text {
        let tokens = nats.iter().zip(first..).map(|(&nats, before)| TrainedToken { nats, before });
        Text { tokens: tokens.collect(), bytes }
    }

    #[test]
    fn bits_per_byte_and_context_are_numpys() {
        let case = reference::language();
        let rows: Vec<Text> = (case.nats.iter().zip(&case.before).zip(&case.bytes))
            .map(|((nats, before), &bytes)| {
                let tokens = nats.iter().zip(before).map(|(&nats, &before)| TrainedToken { nats, before });
                Text { tokens: tokens.collect(), bytes }
            })
            .collect();
        let found = language(&rows).expect("numbers");
        assert!((found.bits_per_byte - case.bits_per_byte).abs() < 1e-12);
        assert_eq!(found.score(), -found.bits_per_byte);
        assert!(found.context.keys().eq(case.context.keys()));
        for (found, expected) in found.context.values().zip(case.context.values()) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_model_that_does_not_see_far_has_no_number_for_long_contexts() {
        // One bit a token, three tokens of two bytes each.
        let bit = LN_2 as f32;
        let found = language(&[text(&[bit; 3], 0, 6)]).expect("numbers");
        assert!((found.bits_per_byte - 0.5).abs() < 1e-7);
        assert_eq!(found.context.keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn rows_that_cannot_be_judged_say_why() {
        for odd in [f32::NAN, f32::INFINITY] {
            let error = language(&[text(&[1.0], 0, 1), text(&[1.0, odd], 0, 4)]).expect_err("no number");
            assert_eq!(error.to_string(), "the loss of trained token 1 of row 1 of the sample is not finite");
        }
        for rows in [vec![], vec![text(&[], 0, 0)]] {
            assert_eq!(language(&rows), Err(ProbeError::NoText { rows: rows.len() }));
        }
        let error = Unigram::of([[0, 7].as_slice()], 5).expect_err("no such token").to_string();
        assert_eq!(error, "token 7 is outside the vocabulary of 5");
        let unigram = Unigram::of([[0].as_slice()], 5).expect("a model");
        assert!(unigram.judge(&[(&[5], 1)], false).is_err());
    }

    #[test]
    fn a_unigram_model_knows_frequencies_and_keeps_a_share_for_unseen_tokens() {
        // 4, 2 and 1 of 7 tokens, and one that was never seen: one singleton, so α is 1/4.
        let rows: [&[u32]; 2] = [&[0, 0, 1, 2], &[0, 1, 0]];
        let unigram = Unigram::of(rows, 4).expect("a model");
        let bits = |tokens: &[u32]| unigram.judge(&[(tokens, 1)], false).expect("a number").bits_per_byte;
        let expected = |share: f64| -libm::log2(share);
        for (token, count) in [4.0, 2.0, 1.0, 0.0].into_iter().enumerate() {
            assert!((bits(&[token as u32]) - expected((count + 0.25) / 8.0)).abs() < 1e-12, "token {token}");
        }
        assert!((bits(&[0, 0, 3]) - (2.0 * bits(&[0]) + bits(&[3]))).abs() < 1e-12);
        let uniform = Unigram::of([[].as_slice()], 16).expect("a model of nothing");
        assert!((uniform.judge(&[(&[3], 2)], false).expect("a number").bits_per_byte - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_counted_row_is_judged_by_the_other_rows() {
        let rows: [&[u32]; 2] = [&[1, 1, 1, 2], &[1, 1, 3, 3]];
        let bytes = |rows: [&'static [u32]; 2]| rows.map(|tokens| (tokens, 4));
        let both = Unigram::of(rows, 10).expect("a model");
        let others = Unigram { counts: vec![0, 2, 0, 2, 0, 0, 0, 0, 0, 0], total: 4, alpha: both.alpha };
        let found = both.judge(&bytes(rows)[..1], true).expect("a number");
        assert_eq!(found, others.judge(&bytes(rows)[..1], false).expect("a number"));
        let flattered = both.judge(&bytes(rows), false).expect("a number");
        assert!(flattered.bits_per_byte < both.judge(&bytes(rows), true).expect("a number").bits_per_byte);
    }
}
