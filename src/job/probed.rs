//! Whether a run begins with a probe of its checkpoint.

use super::Job;
use crate::run_file::{Probe, Task};

/// Fewest rows that tell something, in a probe whose size the run decides.
const FEWEST_PROBED: usize = 256;
/// Fewest of each class, on average.
const FEWEST_PROBED_OF_A_CLASS: usize = 10;

impl Job {
    /// Fewest rows of a probe that tell something of this task, where the run decides how many it takes.
    pub fn fewest_probed(&self) -> usize {
        match self.spec.task {
            Task::SequenceClassification | Task::ImageClassification => {
                FEWEST_PROBED.max(FEWEST_PROBED_OF_A_CLASS * self.labels.len())
            }
            Task::CausalLm => FEWEST_PROBED,
        }
    }

    /// Whether a new run begins with a probe: the run file asks for one, or a small share of its compute buys rows enough.
    pub fn begins_with_probe(&self) -> bool {
        match self.spec.probe {
            Probe::Off => false,
            Probe::Rows(_) => true,
            Probe::Share => self.plan.probed().len() >= self.fewest_probed(),
        }
    }
}
