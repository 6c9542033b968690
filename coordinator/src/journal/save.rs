//! Committing a state: its parts first, the manifest that names them last.

use std::sync::Arc;

use headstart::manifest::{BestParts, RunState, State};
use serde_json::{Map, Value};

use super::parts::{self, Texts};
use super::{Journal, JournalError};
use crate::master::Held;

/// A state to be committed.
#[derive(Debug)]
pub struct Commit {
    pub standing: RunState,
    /// Hash of the frozen weights, where it is known.
    pub base: Option<u128>,
    pub held: Held,
    /// The best evaluated weights so far, where they may be written at the end.
    pub best: Option<Arc<Best>>,
    pub texts: Texts,
}

/// The best evaluated weights, and their evaluation.
#[derive(Debug)]
pub struct Best {
    /// Updates they have seen.
    pub version: u64,
    /// Segment by segment.
    pub weights: Vec<Vec<f32>>,
    /// The evaluation, as the ledger has it.
    pub eval: Map<String, Value>,
}

/// Which directories `checkpoint-<step>/` there are to be.
#[derive(Clone, Copy, Debug)]
pub struct Exports {
    /// Whether this commit is followed by one.
    pub add: bool,
    /// The most that are kept; `None`: all.
    pub limit: Option<u32>,
}

impl Journal {
    /// Commits a state. Returns its weights, segment by segment; none at version 0, which is made from the checkpoint.
    pub async fn save(&mut self, commit: Commit, exports: Exports) -> Result<Vec<Vec<f32>>, JournalError> {
        let Commit { standing, base, held, best, texts } = commit;
        let version = standing.version;
        let (output, name) = (self.output().clone(), self.part_name(version));
        let mut state = State { standing, ..self.state().clone() };
        let mut weights = Vec::new();
        if version > 0 {
            let directory = format!("parts/{name}");
            let (parts, written) = parts::write_state(&output, directory, &held).await?;
            (state.vectors, weights) = (Some(parts), written);
        }
        drop(held);
        if let Some(best) = best {
            // Anew with each commit: two states share nothing that damage could take from both.
            let directory = format!("parts/{name}-best");
            let parts = parts::write_weights(&output, directory, &best.weights).await?;
            state.best = Some(BestParts { version: best.version, eval: best.eval.clone(), parts });
        }
        state.texts = Some(parts::write_texts(&output, format!("parts/{name}-texts"), texts).await?);
        let unwanted = if version > 0 { exports.apply(&mut state.exports, version) } else { Vec::new() };
        if let Some(base) = base {
            self.pin_base(format!("{base:032x}"));
        }
        self.commit(state, unwanted).await?;
        Ok(weights)
    }
}

impl Exports {
    /// Takes note of one more directory; returns those that are too many.
    fn apply(self, steps: &mut Vec<u64>, version: u64) -> Vec<String> {
        if self.add {
            steps.retain(|&step| step != version);
            steps.push(version);
        }
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let surplus = steps.len().saturating_sub(limit);
        steps.drain(..surplus).map(|step| format!("checkpoint-{step}")).collect()
    }
}
