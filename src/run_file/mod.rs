//! The run file: what the user wants, parsed once, validated, and passed down with every default filled in.

mod choice;
mod error;
mod findings;
mod foreign;
mod keys;
mod lora;
mod lora_values;
mod node;
mod probe;
mod read;
mod report_to;
mod resolve;
mod schema;
mod set;
mod shown;
mod spec;
mod suggest;
#[cfg(test)]
mod tests;
mod transfer;
mod values;
mod write;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

pub use error::{Problem, SpecError};
use findings::Findings;
pub use findings::IgnoredKeys;
pub use lora::{ALL_LINEAR, Lora, Precision};
pub use probe::Probe;
pub use report_to::Tracker;
pub use schema::schema;
pub use shown::hide_secrets;
pub use spec::{
    Batch, Cluster, Dataset, Evaluation, InitFrom, Metric, NonFinite, Optimizer, RunSpec, Saving, Scheduler,
    Shuffle, Strategy, Task, Update, Wire,
};
pub(crate) use suggest::suggestion;
pub use transfer::{Transfer, Unfreezing};

/// Largest run file, in bytes.
pub const LARGEST_FILE: usize = 1 << 20;
/// Steps between two commits, unless the run file says otherwise.
const DEFAULT_SAVE_STEPS: f64 = 500.0;
/// Steps between two evaluations, unless the run file says otherwise.
const DEFAULT_EVAL_STEPS: f64 = 500.0;
/// Bytes of data that a worker keeps on its disk, unless the run file says otherwise.
pub const DATA_CACHE: u64 = 20_000_000_000;

/// Parses a run file; `sets` are `--set key=value` overrides, later ones win. `source_name` is shown in messages.
///
/// Every problem that can be found is reported at once.
pub fn parse(source_name: &str, text: &str, sets: &[String]) -> Result<RunSpec, SpecError> {
    parse_noting(source_name, text, sets).map(|(spec, _)| spec)
}

/// As [`parse`], and returns which keys have no effect: worth a warning where a person started the run.
pub fn parse_noting(
    source_name: &str,
    text: &str,
    sets: &[String],
) -> Result<(RunSpec, IgnoredKeys), SpecError> {
    let mut findings = Findings::default();
    let source =
        Arc::new(error::Source { name: source_name.to_owned(), argument: false, text: text.to_owned() });
    let spec = if text.len() > LARGEST_FILE {
        let problem = Problem::whole(&source, format!("a run file holds at most {LARGEST_FILE} bytes"));
        findings.push(problem.help("is this a data file? List data under `datasets`"));
        None
    } else {
        parse_source(&source, sets, &mut findings)
    };
    let ignored = findings.end(source_name)?;
    Ok((spec.expect("a run file without problems resolves"), ignored))
}

/// Reads and parses the run file at `path`; see [`parse`].
pub fn load(path: &Path, sets: &[String]) -> Result<RunSpec, SpecError> {
    load_noting(path, sets).map(|(spec, _)| spec)
}

/// Reads and parses the run file at `path`; see [`parse_noting`].
pub fn load_noting(path: &Path, sets: &[String]) -> Result<(RunSpec, IgnoredKeys), SpecError> {
    let name = path.display().to_string();
    let refuse = |message: String| {
        let source = Arc::new(error::Source { name: name.clone(), argument: false, text: String::new() });
        SpecError::from(Problem::whole(&source, message).help("give the path of a run file, in YAML"))
    };
    let mut bytes = Vec::new();
    // One byte more than is allowed: enough to know.
    let limit = LARGEST_FILE as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // Cut at the limit, perhaps within a character: its size is what is wrong with it.
        Err(error) if error.as_bytes().len() > LARGEST_FILE => {
            String::from_utf8_lossy(error.as_bytes()).into()
        }
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            return Err(refuse(format!("line {line} is not text in UTF-8")));
        }
    };
    parse_noting(&name, &text, sets)
}

fn parse_source(source: &Arc<error::Source>, sets: &[String], findings: &mut Findings) -> Option<RunSpec> {
    let mut root = node::parse(source, 0).map_err(|problem| findings.push(problem)).ok()?;
    for argument in sets {
        if let Err(problem) = set::graft(&mut root, argument) {
            findings.push(problem);
        }
    }
    let file = read::read_block(&root, "", findings)?;
    resolve::resolve(file, source, findings)
}
