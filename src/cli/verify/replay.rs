//! A step computed again: the run from its first step on, with one worker, against the ledger.

use std::process::ExitCode;

use headstart::exit::Exit;
use headstart::hash;
use headstart::job::{self, Job};
use headstart::message::NumericClass;
use headstart::verify::{FileFact, Ledger, Line, RunFacts};

use super::super::console;
use super::super::error::CliError;
use super::super::train::first::{First, first_steps};
use super::super::worker_check::{self, CheckError};

/// Why a step cannot be recomputed, or differs from the ledger.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ReplayError {
    /// Not a step of this run.
    #[error("--replay {step}: the run has the steps 0 to {last}; 0 is what it began with")]
    NoSuchStep {
        /// As asked.
        step: u64,
        /// The run's last.
        last: u64,
    },
    /// The ledger is not written yet.
    #[error("--replay: the run in {url} is not finished, and only a finished one can be computed again")]
    NotFinished {
        /// The run's output_dir.
        url: String,
    },
    /// Other arithmetic.
    #[error(
        "this machine's arithmetic is not the run's, so its bits say nothing about the run: {}{}",
        differing(.run, .here), cure(.run, .here)
    )]
    NumericClass {
        /// The run's.
        run: Box<NumericClass>,
        /// This machine's.
        here: Box<NumericClass>,
    },
    /// No such device here.
    #[error("the run was computed on {device}, which this machine does not have: {reason}")]
    NoDevice {
        /// The run's.
        device: String,
        /// What the worker says.
        reason: String,
    },
    /// The record does not say which arithmetic.
    #[error("run.json names no numeric class, so no machine can be known to compute as the run did")]
    NoClass,
    /// The data changed.
    #[error("the data is no longer what the run was trained on{}", .file.as_ref().map(|file| format!(": {file}")).unwrap_or_default())]
    Data {
        /// The first file that differs, where one is known.
        file: Option<String>,
    },
    /// The checkpoint changed.
    #[error("base_model {url} is no longer what the run began with: its {what} differs")]
    Base {
        /// The checkpoint.
        url: String,
        /// What of it.
        what: &'static str,
    },
    /// Something else came out.
    #[error("step {step} is the first that differs: its {field} is {here} here, and {run} in the ledger")]
    Differs {
        step: u64,
        /// The first field.
        field: String,
        /// The run's value.
        run: String,
        /// This machine's.
        here: String,
    },
    /// The repetition ended too early.
    #[error("the repeated run ended before step {step}")]
    Short {
        step: u64,
        /// The exit code it ended with.
        exit: Exit,
    },
}

impl ReplayError {
    /// The exit code of a process that fails with this.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            ReplayError::NoSuchStep { .. } | ReplayError::NotFinished { .. } => Exit::Usage,
            ReplayError::NumericClass { .. } | ReplayError::NoDevice { .. } | ReplayError::NoClass => {
                Exit::NumericClass
            }
            ReplayError::Data { .. } => Exit::Data,
            ReplayError::Base { .. } | ReplayError::Differs { .. } => Exit::Checkpoint,
            ReplayError::Short { exit, .. } => *exit,
        }
    }
}

/// Computes everything up to `step` again and compares each line of the ledger on the way.
pub(super) async fn replay(run: &RunFacts, ledger: &Ledger, step: u64) -> Result<ExitCode, CliError> {
    if step > run.steps {
        return Err(ReplayError::NoSuchStep { step, last: run.steps }.into());
    }
    let class = run.numeric_class.as_ref().ok_or(ReplayError::NoClass)?;
    let device = if class.device == "cpu" { "cpu" } else { "cuda" };
    let here = match worker_check::ask(device, run.spec.threads_per_worker).await {
        Ok(probed) => probed.class,
        Err(CheckError::Failed { reason, exit: Exit::Usage }) => {
            return Err(ReplayError::NoDevice { device: class.device.clone(), reason }.into());
        }
        Err(error) => return Err(error.into()),
    };
    if here != *class {
        return Err(ReplayError::NumericClass { run: Box::new(class.clone()), here: Box::new(here) }.into());
    }
    start_is_the_same(run, ledger).await?;
    if step > 0 {
        console::err(&format!("computing {step} of {} steps again, with one worker", run.total_steps));
        let First { ledger: again, exit, .. } = first_steps(&run.spec, step, device).await?;
        let again = again.map(|bytes| Ledger::parse(&bytes)).and_then(Result::ok);
        let Some(again) = again.filter(|again| again.of_step(step).is_some()) else {
            return Err(ReplayError::Short { step, exit }.into());
        };
        compare(ledger, &again, step)?;
    }
    console::out(&format!("replayed: every line of the ledger up to step {step} is the same"));
    Ok(Exit::Ok.into())
}

/// Whether data and checkpoint are those that the run began with.
async fn start_is_the_same(run: &RunFacts, ledger: &Ledger) -> Result<(), CliError> {
    let job = job::read(&run.spec).await?;
    let first = ledger.first();
    if first.text_of("data") != Some(&job.data_hash()) || job.labels != run.labels {
        return Err(ReplayError::Data { file: changed_file(run, &job) }.into());
    }
    let base = |what| ReplayError::Base { url: job.network.directory().url().to_owned(), what };
    if first.text_of("parameters") != Some(&job.network.parameters) {
        return Err(base("table of parameters").into());
    }
    let weights = format!("{:032x}", hash::vector(&job.network.initial_vector().await?));
    match first.text_of("weights") == Some(&weights) {
        true => Ok(()),
        false => Err(base("weights").into()),
    }
}

/// The first file of the data that is not as `run.json` has it.
fn changed_file(run: &RunFacts, job: &Job) -> Option<String> {
    let pairs = [(&run.data.train.files, &job.train), (&run.data.eval.files, &job.eval)];
    pairs.into_iter().find_map(|(before, now)| {
        let mut now = now.files().iter();
        before.iter().find_map(|FileFact { url, size, sha256 }| {
            let same = now.next().is_some_and(|file| {
                file.size == *size && file.sha256.map(|hash| hash::hex(&hash)) == *sha256
            });
            (!same).then(|| url.clone())
        })
    })
}

/// Compares line by line up to the line of `step`.
fn compare(run: &Ledger, here: &Ledger, step: u64) -> Result<(), ReplayError> {
    for (index, line) in run.lines().iter().enumerate() {
        let number = line.step().unwrap_or_default();
        let again =
            here.lines().get(index).ok_or(ReplayError::Short { step: number, exit: Exit::Internal })?;
        if line.text != again.text {
            return Err(first_field(number, line, again));
        }
        if line.is_update() && number == step {
            break;
        }
    }
    Ok(())
}

/// The first field of a line that differs, in the ledger's order.
fn first_field(step: u64, run: &Line, here: &Line) -> ReplayError {
    let value = |line: &Line, key: &str| match (key, line.facts.get(key)) {
        ("text", None) => line.text.clone(),
        (_, value) => value.map_or("absent".to_owned(), ToString::to_string),
    };
    let mut keys = run.facts.keys().chain(here.facts.keys());
    let field = keys.find(|key| run.facts.get(*key) != here.facts.get(*key)).cloned();
    // The same facts written otherwise: numbers that are one step apart can read alike.
    let field = field.unwrap_or_else(|| "text".to_owned());
    ReplayError::Differs { step, run: value(run, &field), here: value(here, &field), field }
}

/// The parts of two classes that differ.
fn differing(run: &NumericClass, here: &NumericClass) -> String {
    let parts = |class: &NumericClass| {
        let NumericClass { headstart, libtorch, device, instructions, threads, precision } = class.clone();
        [
            ("headstart", headstart),
            ("libtorch", libtorch),
            ("device", device),
            ("instructions", instructions),
            ("threads", threads.to_string()),
            ("precision", precision),
        ]
    };
    let pairs = parts(run).into_iter().zip(parts(here)).filter(|(run, here)| run != here);
    let texts = pairs.map(|((name, run), (_, here))| format!("{name} is {here} here and was {run}"));
    texts.collect::<Vec<_>>().join(", ")
}

/// What can be done when only the instruction set differs.
fn cure(run: &NumericClass, here: &NumericClass) -> String {
    let same = NumericClass { instructions: run.instructions.clone(), ..here.clone() };
    match same == *run {
        true => format!(
            "; set ATEN_CPU_CAPABILITY={} to compute as that machine did, if this one can",
            run.instructions.to_ascii_lowercase()
        ),
        false => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ledger(facts: &[&str]) -> Ledger {
        let mut text = String::new();
        let mut previous = String::new();
        for facts in facts {
            let line = format!("{{{facts},\"previous\":\"{previous}\"}}");
            previous = hash::sha256(line.as_bytes());
            text.push_str(&format!("{line}\n"));
        }
        Ledger::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_first_differing_step_and_its_field_are_named() {
        let start = "\"step\":0,\"weights\":\"aa\"";
        let one = "\"step\":1,\"loss\":0.5,\"gradient\":\"bb\",\"weights\":\"cc\"";
        let two = "\"step\":2,\"loss\":0.4,\"gradient\":\"dd\",\"weights\":\"ee\"";
        let run = ledger(&[start, one, two]);
        compare(&run, &run, 2).unwrap();
        compare(&run, &ledger(&[start, one, &two.replace("dd", "d0")]), 1).unwrap();
        let differs = |here: &[&str]| compare(&run, &ledger(here), 2).unwrap_err().to_string();
        let said = differs(&[start, one, &two.replace("dd", "d0").replace("ee", "e0")]);
        assert!(said.starts_with("step 2 ") && said.contains("gradient is \"d0\" here"), "{said}");
        let said = differs(&[start, &one.replace("cc", "c0"), two]);
        assert!(said.starts_with("step 1 ") && said.contains("weights is \"c0\" here"), "{said}");
        assert_eq!(compare(&run, &ledger(&[start, one]), 2).unwrap_err().exit(), Exit::Internal);
    }

    #[test]
    fn another_instruction_set_is_named_with_what_can_be_done() {
        let class = NumericClass {
            headstart: "1".into(),
            libtorch: "2".into(),
            device: "cpu".into(),
            instructions: "AVX2".into(),
            threads: 1,
            precision: "f32".into(),
        };
        let other = NumericClass { instructions: "AVX512".into(), ..class.clone() };
        let error = ReplayError::NumericClass { run: Box::new(class.clone()), here: Box::new(other.clone()) };
        let said = error.to_string();
        assert!(said.contains("instructions is AVX512 here and was AVX2"), "{said}");
        assert!(said.contains("ATEN_CPU_CAPABILITY=avx2"), "{said}");
        assert_eq!(error.exit(), Exit::NumericClass);
        let other = NumericClass { libtorch: "3".into(), ..other };
        assert!(
            !ReplayError::NumericClass { run: Box::new(class), here: Box::new(other) }
                .to_string()
                .contains("ATEN")
        );
    }
}
