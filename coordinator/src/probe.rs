//! The probe of a new run: whether it has one, and what its rows show of the first weights.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::job::Job;
use headstart::message::ProbedRow;
use headstart::probe::language::{Text, TrainedToken, Unigram, language};
use headstart::probe::report;
use headstart::probe::sample::Sample;
use headstart::probe::{Classified, Name, ProbeError, Probed, Verdict, classification};
use headstart::run_file::{self, InitFrom, Task};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::machine::Probing;

/// A probe whose rows are not in yet.
#[derive(Debug)]
pub struct Probe {
    name: Name,
    task: Task,
    seed: u64,
    /// Class of each probed row.
    classes: Vec<u32>,
    /// Tokens that the network has scores for; 0 of classifiers.
    vocabulary: usize,
    /// Takes the result, if that is all that is wanted.
    into: Option<PathBuf>,
    began: Duration,
    clock: Clock,
}

/// A run from pretrained weights whose probe would tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no probe of the checkpoint: 2 % of this run are {rows} rows, and {needed} are needed to tell; `headstart probe` takes as \
     many as it needs"
)]
pub struct TooFew {
    rows: usize,
    needed: usize,
}

/// A probe that was all that was wanted has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("this cannot be probed: {0}")]
    NotJudged(String),
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

impl Failed {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        Exit::Internal
    }
}

impl Probe {
    /// The probe that a run begins with, if it does: a new run (`begins`) from pretrained weights, or one that is nothing but its
    /// probe, which `into` is to take.
    pub fn of(job: &Job, begins: bool, into: Option<PathBuf>, clock: Clock) -> Result<Option<Probe>, TooFew> {
        let Job { spec, plan, network, .. } = job;
        let rows = plan.probed();
        if into.is_none() && !(begins && is_wanted(job)?) {
            return Ok(None);
        }
        let classes = rows.iter().filter_map(|&row| job.train.labels().get(row as usize).copied());
        let adapter = spec.adapter.as_ref().and_then(|adapter| adapter.lora_model_dir.clone());
        Ok(Some(Probe {
            name: Name { checkpoint: spec.base_model.clone(), adapter },
            task: spec.task,
            seed: spec.seed,
            classes: classes.collect(),
            vocabulary: network.blueprint.text().map_or(0, |text| text.tokens.rows as usize),
            into,
            began: clock.elapsed(),
            clock,
        }))
    }

    /// What the run's machine begins with.
    pub fn probing(&self) -> Probing {
        if self.into.is_some() { Probing::Only } else { Probing::First }
    }

    /// Says what the rows show: those of the first weights, then as many of those that they are compared with. Takes seconds.
    pub fn judge(&self, rows: Result<Vec<ProbedRow>, String>) -> Result<Result<Probed, String>, Failed> {
        let judged = rows.and_then(|rows| self.probed(&rows).map_err(|error| error.to_string()));
        match (&self.into, &judged) {
            (Some(path), Ok(probed)) => {
                let text = serde_json::to_string(probed).expect("a result is plain data");
                std::fs::write(path, text).map_err(|error| Failed::Write { path: path.clone(), error })?;
            }
            (Some(_), Err(reason)) => return Err(Failed::NotJudged(reason.clone())),
            (None, Ok(probed)) => say(probed),
            (None, Err(reason)) => {
                warn!(reason, "no probe: what the checkpoint knows of this task is not known");
            }
        }
        Ok(judged)
    }

    fn probed(&self, rows: &[ProbedRow]) -> Result<Probed, ProbeError> {
        let (own, zero) = rows.split_at(rows.len() / 2);
        match self.task {
            Task::SequenceClassification | Task::ImageClassification => {
                let (own, zero) = (self.classified(own)?, self.classified(zero)?);
                self.compared().of_classifier(&own, &zero)
            }
            Task::CausalLm => {
                let unigram = Unigram::of(own.iter().map(|row| &row.token_ids[..]), self.vocabulary)?;
                let tokens: Vec<(&[u32], u64)> =
                    own.iter().map(|row| (&row.token_ids[..], row.bytes)).collect();
                let unigram = unigram.judge(&tokens, true)?;
                let (own, zero) = (language(&texts(own))?, language(&texts(zero))?);
                self.compared().of_language_model(&own, &zero, &unigram)
            }
        }
    }

    fn compared(&self) -> report::Probing {
        let seconds = self.clock.elapsed().saturating_sub(self.began).as_secs_f64();
        report::Probing { name: self.name.clone(), seed: self.seed, seconds }
    }

    fn classified(&self, rows: &[ProbedRow]) -> Result<Classified, ProbeError> {
        let features: Vec<f32> = rows.iter().flat_map(|row| row.values.iter().copied()).collect();
        let width = rows.first().map_or(0, |row| row.values.len());
        classification(&Sample::new(&features, width, &self.classes)?, self.seed)
    }
}

/// The trained texts of a language model's rows.
fn texts(rows: &[ProbedRow]) -> Vec<Text> {
    let text = |row: &ProbedRow| {
        let tokens = row.values.iter().zip(&row.before);
        Text {
            tokens: tokens.map(|(&nats, &before)| TrainedToken { nats, before }).collect(),
            bytes: row.bytes,
        }
    };
    rows.iter().map(text).collect()
}

/// Whether the run begins with a probe. Fails where the user might expect one.
fn is_wanted(job: &Job) -> Result<bool, TooFew> {
    if job.begins_with_probe() {
        return Ok(true);
    }
    if job.spec.probe == run_file::Probe::Share && job.spec.init == InitFrom::Pretrained {
        let too_few = TooFew { rows: job.plan.probed().len(), needed: job.fewest_probed() };
        info!("{too_few}");
        return Err(too_few);
    }
    Ok(false)
}

/// One line: a warning, where the checkpoint is no help.
fn say(probed: &Probed) {
    let (rows, url, line) = (probed.rows, &probed.name.checkpoint, probed.line());
    match probed.verdict {
        Verdict::None => warn!(rows, "head start of {url}: {line}"),
        Verdict::Small | Verdict::HeadStart => info!(rows, "head start of {url}: {line}"),
    }
}
