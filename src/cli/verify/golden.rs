//! `headstart verify --golden`: whether a language model still gives the log probabilities that its run recorded.

use headstart::exit::Exit;
use headstart::message::GoldenRow;
use headstart::predict::prepare_golden;
use headstart::run_file::Precision;
use headstart::store::Location;
use headstart::verify::GOLDEN;

use super::super::console;
use super::super::error::CliError;
use super::super::predict;

/// Bytes of the largest file of golden rows.
const LARGEST: u64 = 64 << 20;

/// Why golden rows cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum GoldenError {
    /// The run is no language model's, or older than golden rows.
    #[error("{directory} has no {GOLDEN}: only runs with `task: causal-lm` write it")]
    Missing { directory: String },
    /// Nothing to compare.
    #[error("{url} has no row, so it proves nothing: a run writes at least one")]
    Empty { url: String },
    /// Not what a run writes.
    #[error("{url}, line {line}: {reason}")]
    Line { url: String, line: usize, reason: String },
    /// The worker said something else than numbers.
    #[error("the worker's answer to row {row} has {found} log probabilities, not {expected}")]
    Answer { row: usize, found: usize, expected: usize },
}

impl GoldenError {
    /// The exit code of a process that fails with this.
    pub(in super::super) fn exit(&self) -> Exit {
        match self {
            GoldenError::Missing { .. } => Exit::Usage,
            GoldenError::Empty { .. } | GoldenError::Line { .. } => Exit::Checkpoint,
            GoldenError::Answer { .. } => Exit::Internal,
        }
    }
}

/// Computes the rows again on this machine and reports the largest difference; a larger one than `tolerance` ends with the exit
/// code of a damaged checkpoint.
pub(super) async fn golden(
    directory: &Location,
    base: Option<String>,
    tolerance: f32,
) -> Result<Exit, CliError> {
    let rows = read(directory).await?;
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1024) as u32);
    let tokens = rows.iter().map(|row| row.token_ids.clone()).collect();
    let work = prepare_golden(directory, base, threads, tokens).await?;
    let answers = match predict::ask(&work, "auto").await? {
        Ok(lines) => lines,
        Err(exit) => return Ok(exit),
    };
    // The worker's first line says what it computed in.
    let (here, answers) = answers.split_first().map_or(("", &[][..]), |(here, rest)| (here.as_str(), rest));
    let precision = match (work.spec.precision, here) {
        (Precision::Bf16, "\"f32\"") => " (the run computed in bf16, this device in f32)",
        _ => "",
    };
    let (off, row, token) = largest_difference(&rows, answers)?;
    let count: usize = rows.iter().map(|row| row.logprobs.len()).sum();
    let what = format!(
        "{} rows, {count} log probabilities; the largest difference is {off:.1e}{precision}",
        rows.len()
    );
    if off <= tolerance {
        console::out(&console::printable(&format!("golden: {what}")));
        return Ok(Exit::Ok);
    }
    console::err(&console::printable(&format!(
        "error: {directory}/{GOLDEN}: {what}, at token {token} of row {row}, more than {tolerance:e} (--tolerance): these \
         weights, or the base that the adapter names, are not those of the run"
    )));
    Ok(Exit::Checkpoint)
}

/// The largest difference of a log probability, and its row and token; `answers` has a line for each row.
fn largest_difference(rows: &[GoldenRow], answers: &[String]) -> Result<(f32, usize, usize), GoldenError> {
    let mut worst = (0.0f32, 0, 0);
    for (number, row) in rows.iter().enumerate() {
        let found: Vec<f32> =
            answers.get(number).and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let expected = row.logprobs.len();
        if found.len() != expected {
            return Err(GoldenError::Answer { row: number, found: found.len(), expected });
        }
        for (token, (one, other)) in found.iter().zip(&row.logprobs).enumerate() {
            // What is no number differs.
            let off = Some((one - other).abs()).filter(|off| off.is_finite()).unwrap_or(f32::INFINITY);
            if off > worst.0 {
                worst = (off, number, token + 1);
            }
        }
    }
    Ok(worst)
}

async fn read(directory: &Location) -> Result<Vec<GoldenRow>, CliError> {
    let file = directory.join(GOLDEN)?;
    if !file.exists().await? {
        return Err(GoldenError::Missing { directory: directory.url().to_owned() }.into());
    }
    let bytes = file.read(LARGEST).await?;
    let rows = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let row = |(index, line): (usize, &[u8])| {
        let wrong =
            |reason: String| GoldenError::Line { url: file.url().to_owned(), line: index + 1, reason };
        let row: GoldenRow = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        match row.token_ids.len() == row.logprobs.len() + 1 && !row.logprobs.is_empty() {
            true => Ok(row),
            false => Err(wrong("token_ids and logprobs do not fit each other".to_owned())),
        }
    };
    let rows = rows.map(row).collect::<Result<Vec<GoldenRow>, GoldenError>>()?;
    match rows.is_empty() {
        true => Err(GoldenError::Empty { url: file.url().to_owned() }.into()),
        false => Ok(rows),
    }
}
