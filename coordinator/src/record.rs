//! The ledger and the metrics of a run.
//!
//! The ledger holds facts that depend on run file, checkpoint and data alone, each line chained to the one before by
//! its SHA-256: two runs' ledgers compare byte for byte. Whatever depends on time or on the number of workers goes to
//! the metrics.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

pub use headstart::hash::hex;
use headstart::message::Totals;
use headstart::plan::Plan;
use serde_json::{Map, Value, json};

use crate::event::Record;

/// The lines written so far.
#[derive(Debug, Default)]
pub struct Records {
    ledger: String,
    previous: String,
    metrics: String,
    last_step_at: Option<Duration>,
    eval: Map<String, Value>,
    /// Language models: tokens of all rows trained on.
    tokens: u64,
    /// The first line of a run that has not begun.
    first: Option<Value>,
}

/// What the clock and the network saw when a record was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// Seconds since 1970.
    pub unix: f64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Bytes of partials received since the record before.
    pub bytes_up: u64,
    /// Bytes of weights sent since the record before.
    pub bytes_down: u64,
}

/// How fast a step was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    /// Samples a second.
    pub samples: f64,
    /// Of language models, tokens a second; else 0.
    pub tokens: f64,
}

impl Records {
    /// A ledger that will begin with what version 0 is made of, which [`Records::begin`] completes.
    pub fn new(parameters: &str, weights: u128, data: &str, plan: &Plan) -> Records {
        let first = json!({
            "step": 0,
            "parameters": parameters,
            "weights": format!("{weights:032x}"),
            "data": data,
            "total_steps": plan.steps(),
        });
        Records { first: Some(first), ..Records::default() }
    }

    /// Writes the first line, if it is not there. Workers have read the frozen weights, if there are any: `base` is the
    /// hash of these.
    pub fn begin(&mut self, base: Option<u128>) {
        let Some(first) = self.first.take() else { return };
        self.write_ledger(match base {
            Some(base) => with(first, "base", format!("{base:032x}")),
            None => first,
        });
    }

    /// Goes on from lines of an earlier coordinator.
    pub fn resume(ledger: String, metrics: String) -> Records {
        let eval = ledger.lines().rev().find(|line| line.contains("\"eval_samples\":"));
        let eval = eval.and_then(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
        let line = metrics.lines().rev().find(|line| line.contains("\"num_tokens\":"));
        let line = line.and_then(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
        Records {
            tokens: line.and_then(|line| line.get("num_tokens")?.as_u64()).unwrap_or_default(),
            previous: ledger
                .lines()
                .last()
                .map(|line| headstart::hash::sha256(line.as_bytes()))
                .unwrap_or_default(),
            eval: eval.map(without_chain).unwrap_or_default(),
            last_step_at: None,
            first: None,
            ledger,
            metrics,
        }
    }

    /// Takes note of a record; returns the training speed, when it is one of a step.
    pub fn add(&mut self, record: &Record, plan: &Plan, observed: Observed) -> Option<Speed> {
        match record {
            Record::Step { step, totals, metrics, learning_rate, applied, skipped, workers } => {
                let number = step.0 + 1;
                let facts = json!({
                    "step": number,
                    "epoch": plan.epoch_after(number),
                    "loss": totals.mean_loss(),
                    "grad_norm": applied.norm,
                    "learning_rate": learning_rate,
                });
                let mut line = with(facts.clone(), "samples", totals.samples);
                line = with(line, "gradient", format!("{:032x}", applied.gradient));
                line = with(line, "weights", format!("{:032x}", applied.weights));
                if !metrics.is_empty() {
                    line = with(line, "trained_tokens", totals.divisor);
                }
                if !skipped.is_empty() {
                    let shard = |(shard, rows): (&u32, &Vec<u64>)| json!({"shard": shard, "rows": rows});
                    line = with(line, "skipped", skipped.iter().map(shard).collect::<Vec<_>>());
                }
                self.write_ledger(line);
                let mut facts = facts;
                for (name, value) in metrics {
                    facts = with(facts, name, *value);
                }
                if !metrics.is_empty() {
                    self.tokens += totals.tokens;
                    facts = with(facts, "num_tokens", self.tokens);
                }
                self.step_metrics(facts, totals, *workers, observed)
            }
            Record::Eval { version, metrics, samples } => {
                let mut line = Map::new();
                line.insert("step".into(), version.0.into());
                line.insert("epoch".into(), plan.epoch_after(version.0).into());
                for (name, value) in metrics {
                    line.insert(format!("eval_{name}"), (*value).into());
                }
                line.insert("eval_samples".into(), (*samples).into());
                self.eval = line.clone();
                self.write_ledger(Value::Object(line.clone()));
                line.insert("time".into(), observed.unix.into());
                self.metrics.push_str(&format!("{}\n", Value::Object(line)));
                self.last_step_at = Some(observed.elapsed);
                None
            }
        }
    }

    fn step_metrics(
        &mut self,
        facts: Value,
        totals: &Totals,
        workers: usize,
        seen: Observed,
    ) -> Option<Speed> {
        let by_tokens = facts.get("num_tokens").is_some();
        let mut line = with(facts, "time", seen.unix);
        let took = self.last_step_at.replace(seen.elapsed).map(|before| seen.elapsed.saturating_sub(before));
        let mut speed = None;
        if let Some(took) = took.map(|took| took.as_secs_f64()).filter(|took| *took > 0.0) {
            let tokens = if by_tokens { totals.tokens as f64 / took } else { 0.0 };
            speed = Some(Speed { samples: totals.samples as f64 / took, tokens });
            line = with(line, "step_time", took);
            line = with(line, "samples_per_second", totals.samples as f64 / took);
            line = with(line, "tokens_per_second", totals.tokens as f64 / took);
        }
        line = with(line, "bytes_up", seen.bytes_up);
        line = with(line, "bytes_down", seen.bytes_down);
        line = with(line, "workers", workers);
        self.metrics.push_str(&format!("{line}\n"));
        speed
    }

    fn write_ledger(&mut self, facts: Value) {
        let line = with(facts, "previous", self.previous.clone()).to_string();
        self.previous = headstart::hash::sha256(line.as_bytes());
        self.ledger.push_str(&line);
        self.ledger.push('\n');
    }

    /// The ledger, one JSON object a line.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// The metrics, one JSON object a line.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// The last evaluation's line, empty before the first.
    pub fn last_eval(&self) -> &Map<String, Value> {
        &self.eval
    }
}

/// The line as it was before it was chained.
fn without_chain(mut line: Map<String, Value>) -> Map<String, Value> {
    line.shift_remove("previous");
    line
}

fn with(mut object: Value, key: &str, value: impl Into<Value>) -> Value {
    object[key] = value.into();
    object
}
