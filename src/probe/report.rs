//! What a probe found, one entry a checkpoint, as programs read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::language::Language;
use super::verdict::{self, Costs, Evidence, Verdict};
use super::{Classified, ProbeError};

/// Which weights were probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Path or URL of the checkpoint.
    pub checkpoint: String,
    /// Path or URL of the adapter on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// What is shown beside the score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of held-out rows that the ridge probe classifies rightly.
    Accuracy(f64),
    /// Bits per UTF-8 byte of the trained text; smaller is better.
    BitsPerByte(f64),
}

/// A network's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Share of the classes' variance that is explained in left-out rows, or minus the bits per byte. Larger is better.
    pub score: f64,
    /// What is shown beside it.
    #[serde(flatten)]
    pub measure: Measure,
    /// LogME in nats a row, of classifiers. Larger is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_evidence: Option<f64>,
}

/// One probed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Which weights.
    #[serde(flatten)]
    pub name: Name,
    /// Their numbers.
    #[serde(flatten)]
    pub own: Scored,
    /// Numbers of the same network from random weights, or of an adapter's base without it.
    pub random: Scored,
    /// Bits per byte of a unigram model of the training rows, for language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unigram: Option<f64>,
    /// Bits per token by the least number of tokens before it, for language models.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<u32, f64>,
    /// What it amounts to.
    pub verdict: Verdict,
    /// Probed rows.
    pub rows: u64,
    /// Time spent on the checkpoint and its zero line, in seconds.
    pub seconds: f64,
}

/// What was probed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Probing {
    /// Which weights.
    pub name: Name,
    /// Of the draws that compare them with their zero line.
    pub seed: u64,
    /// Time spent on them and their zero line, in seconds.
    pub seconds: f64,
}

impl Probing {
    /// A classifier's checkpoint beside its zero line, both judged on the same rows.
    pub fn of_classifier(self, own: &Classified, random: &Classified) -> Result<Probed, ProbeError> {
        let Probing { name, seed, seconds } = self;
        let scored = |found: &Classified| Scored {
            score: found.score(),
            measure: Measure::Accuracy(found.ridge.accuracy),
            log_evidence: Some(found.log_evidence),
        };
        let costs = |found: &Classified| Costs::of_rows(&found.left_out);
        let verdict = Evidence::of(&costs(own), &costs(random), seed)?.verdict(&verdict::SQUARED_ERRORS);
        let (own_scored, random) = (scored(own), scored(random));
        let (unigram, context, rows) = (None, BTreeMap::new(), own.left_out.len() as u64);
        Ok(Probed { name, own: own_scored, random, unigram, context, verdict, rows, seconds })
    }

    /// A language model's checkpoint beside its zero line: the better one of `random` and `unigram`.
    pub fn of_language_model(
        self,
        own: &Language,
        random: &Language,
        unigram: &Language,
    ) -> Result<Probed, ProbeError> {
        let Probing { name, seed, seconds } = self;
        let zero = if unigram.bits_per_byte < random.bits_per_byte { unigram } else { random };
        let verdict = Evidence::of(&own.costs, &zero.costs, seed)?.verdict(&verdict::BITS);
        let scored = |found: &Language| Scored {
            score: found.score(),
            measure: Measure::BitsPerByte(found.bits_per_byte),
            log_evidence: None,
        };
        Ok(Probed {
            name,
            own: scored(own),
            random: scored(random),
            unigram: Some(unigram.bits_per_byte),
            context: own.context.clone(),
            verdict,
            rows: own.costs.rows() as u64,
            seconds,
        })
    }
}

impl Probed {
    /// The measure of what the verdict compares with.
    pub fn zero_line(&self) -> Measure {
        match (self.random.measure, self.unigram) {
            (Measure::BitsPerByte(random), Some(unigram)) => Measure::BitsPerByte(random.min(unigram)),
            (measure, _) => measure,
        }
    }

    /// The verdict with the numbers that it rests on, in one line.
    pub fn line(&self) -> String {
        let words = self.verdict.words(self.name.adapter.is_some());
        match (self.own.measure, self.zero_line()) {
            (Measure::BitsPerByte(own), Measure::BitsPerByte(zero)) => {
                format!("{words} ({own:.3} bits per byte, beside {zero:.3})")
            }
            _ => format!("{words} (score {:.3}, beside {:.3})", self.own.score, self.random.score),
        }
    }
}

/// Sorts best first: by score, then by name.
pub fn rank(probed: &mut [Probed]) {
    let name = |probed: &Probed| (probed.name.checkpoint.clone(), probed.name.adapter.clone());
    probed.sort_by(|a, b| b.own.score.total_cmp(&a.own.score).then_with(|| name(a).cmp(&name(b))));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::language::{Text, TrainedToken, Unigram, language};
    use crate::probe::ridge::Ridge;

    fn name(checkpoint: &str) -> Name {
        Name { checkpoint: checkpoint.to_owned(), adapter: None }
    }

    fn probing(checkpoint: &str, seconds: f64) -> Probing {
        Probing { name: name(checkpoint), seed: 1, seconds }
    }

    /// A row costs more where the probe is right less often.
    fn classified(log_evidence: f64, right: usize) -> Classified {
        let correct: Vec<bool> = (0..100).map(|row| row < right).collect();
        let ridge =
            Ridge { accuracy: right as f64 / 100.0, penalty: 1.0, held_out: (0..100).collect(), correct };
        // Quarters are exact, so that the score is the share which is right.
        let left_out = (0..200).map(|row| 1.0 - right as f64 / 100.0 + [0.125, -0.125][row % 2]).collect();
        Classified { log_evidence, ridge, left_out, uninformed: 1.0 }
    }

    /// One checkpoint with a verdict of each kind.
    pub(in crate::probe) fn classifiers() -> Vec<Probed> {
        let found = [
            ("s3://models/all-MiniLM-L6-v2", 0.4512, 75),
            ("models/digits/final", 0.1, 33),
            ("a<b> & \"c\"", -0.25, 26),
        ];
        let random = classified(-0.3, 25);
        let probed = |(checkpoint, score, right): (&str, f64, usize)| {
            probing(checkpoint, 12.25).of_classifier(&classified(score, right), &random).expect("an entry")
        };
        found.map(probed).to_vec()
    }

    /// A language model, of `nats` a token.
    pub(in crate::probe) fn language_model(checkpoint: &str, nats: f32) -> Probed {
        let of = |nats: f32| {
            let tokens = (0..70).map(|before| TrainedToken { nats, before }).collect();
            language(&vec![Text { tokens, bytes: 280 }; 40]).expect("numbers")
        };
        let row: Vec<u32> = (0..70).map(|place| place % 7).collect();
        let unigram = Unigram::of([row.as_slice()], 5000).expect("a model");
        let unigram = unigram.judge(&[(row.as_slice(), 280); 40], false).expect("numbers");
        probing(checkpoint, 130.0).of_language_model(&of(nats), &of(8.5), &unigram).expect("an entry")
    }

    #[test]
    fn entries_have_the_documented_keys_in_their_order() {
        let json = serde_json::to_string(&classifiers()[0]).expect("JSON");
        assert_eq!(
            json,
            r#"{"checkpoint":"s3://models/all-MiniLM-L6-v2","score":0.75,"accuracy":0.75,"log_evidence":0.4512,"random":{"score":0.25,"accuracy":0.25,"log_evidence":-0.3},"verdict":"head start","rows":200,"seconds":12.25}"#
        );
        let probed = language_model("m", 1.0);
        let json: serde_json::Value = serde_json::to_value(&probed).expect("JSON");
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "checkpoint",
                "score",
                "bits_per_byte",
                "random",
                "unigram",
                "context",
                "verdict",
                "rows",
                "seconds"
            ]
        );
        assert_eq!(
            json["context"].as_object().expect("an object").keys().collect::<Vec<_>>(),
            ["1", "8", "64"]
        );
        assert_eq!(json["random"]["bits_per_byte"], -json["random"]["score"].as_f64().expect("a number"));
        let adapter = Probed { name: Name { adapter: Some("a".to_owned()), ..name("m") }, ..probed };
        let json = serde_json::to_string(&adapter).expect("JSON");
        assert!(json.starts_with(r#"{"checkpoint":"m","adapter":"a","score":"#), "{json}");
        for probed in classifiers().into_iter().chain([adapter]) {
            let json = serde_json::to_string(&probed).expect("JSON");
            assert_eq!(serde_json::from_str::<Probed>(&json).expect("an entry"), probed, "{json}");
        }
    }

    #[test]
    fn the_zero_line_of_a_language_model_is_the_better_one() {
        // The text has seven tokens, equally often: about log2(7) bits a token, and a quarter of that a byte.
        let knows = language_model("m", 1.0);
        let unigram = knows.unigram.expect("a language model has one");
        assert_eq!(knows.zero_line(), Measure::BitsPerByte(unigram));
        assert_eq!(knows.verdict, Verdict::HeadStart);
        // Better than random weights, and no better than counting tokens.
        let counts = language_model("m", 2.5);
        assert!(counts.own.score > counts.random.score);
        assert_eq!(counts.verdict, Verdict::None);
    }

    #[test]
    fn a_line_has_the_numbers_that_the_verdict_rests_on() {
        let knows = classifiers().swap_remove(0);
        assert_eq!(knows.line(), "a head start (score 0.750, beside 0.250)");
        let text = language_model("m", 1.0);
        let unigram = text.unigram.expect("a language model has one");
        let numbers = format!("({:.3} bits per byte, beside {unigram:.3})", -text.own.score);
        assert_eq!(text.line(), format!("a head start {numbers}"));
    }

    #[test]
    fn the_best_comes_first() {
        let mut probed = classifiers();
        let twin = Probed { name: name("aaa"), ..probed[0].clone() };
        probed.reverse();
        probed.push(twin);
        rank(&mut probed);
        let scores = [0, 1, 2, 3].map(|place: usize| probed[place].own.score);
        assert_eq!(scores.map(|score| (score * 100.0).round()), [75.0, 75.0, 33.0, 26.0]);
        assert_eq!(probed[0].name.checkpoint, "aaa", "equal scores are sorted by name");
    }
}
