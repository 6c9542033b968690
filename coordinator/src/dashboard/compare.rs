//! A second run beside this one: its metrics, read once, when the program starts.

use headstart::exit::Exit;
use headstart::store::{Location, StoreError};
use serde_json::{Map, Value};

use crate::history::History;

/// Largest metrics file that is read, in bytes: half a million steps.
const LARGEST: u64 = 256 << 20;
/// Numbers that a line may hold, and the longest name of one.
const MOST_NUMBERS: usize = 64;
const LONGEST_NAME: usize = 64;

/// The metrics of another run.
#[derive(Debug)]
pub struct Compared {
    name: String,
    history: History,
}

/// Why there is no second run.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing of a finished run.
    #[error("{url} is neither the output_dir of a finished run nor a metrics.jsonl")]
    NotARun { url: String },
    #[error("{url}:{line}: {reason}")]
    Damaged { url: String, line: usize, reason: String },
}

impl CompareError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            CompareError::Store(error) => error.exit(),
            CompareError::NotARun { .. } | CompareError::Damaged { .. } => Exit::Usage,
        }
    }
}

impl Compared {
    /// The last part of its place.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its lines, thinned out where they are many.
    pub(super) fn text(&self) -> String {
        self.history.text()
    }
}

/// Reads the metrics at `place`: an output_dir, the `final/` in it, or a file whose name ends with `.jsonl`.
pub async fn read(place: &str) -> Result<Compared, CompareError> {
    let given = Location::parse(place.trim_end_matches('/'))?;
    let candidates = match place.ends_with(".jsonl") {
        true => vec![given.clone()],
        false => vec![given.join("final/metrics.jsonl")?, given.join("metrics.jsonl")?],
    };
    for file in candidates {
        match file.read(LARGEST).await {
            Ok(bytes) => {
                let history = parse(&String::from_utf8_lossy(&bytes), file.url())?;
                return Ok(Compared { name: name_of(file.url()), history });
            }
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CompareError::NotARun { url: given.url().to_owned() })
}

/// The numbers of each line, and nothing else of what somebody may have written.
fn parse(text: &str, url: &str) -> Result<History, CompareError> {
    let history = History::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let damaged =
            |reason: String| CompareError::Damaged { url: url.to_owned(), line: number + 1, reason };
        let line: Map<String, Value> = match serde_json::from_str(line) {
            Ok(line) => line,
            // The last line of a run that was killed while it wrote.
            Err(error) if error.is_eof() && !text.ends_with('\n') && text.ends_with(line) => break,
            Err(error) => return Err(damaged(error.to_string())),
        };
        let numbers: Map<String, Value> = line
            .into_iter()
            .filter(|(name, value)| value.is_number() && name.len() <= LONGEST_NAME)
            .take(MOST_NUMBERS)
            .collect();
        if numbers.get("step").and_then(Value::as_u64).is_none() {
            return Err(damaged("there is no step".to_owned()));
        }
        history.extend(&Value::Object(numbers).to_string());
    }
    Ok(history)
}

fn name_of(url: &str) -> String {
    let url = url.strip_suffix("/metrics.jsonl").unwrap_or(url);
    let url = url.strip_suffix("/final").unwrap_or(url);
    url.rsplit('/').next().unwrap_or(url).chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METRICS: &str =
        "{\"step\":0,\"eval_loss\":2.3,\"eval_samples\":9}\n\n{\"step\":1,\"loss\":2.0,\"note\":\"<b>\"}\n";

    #[tokio::test]
    async fn a_run_is_found_by_its_directory_its_final_or_its_metrics() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("pets");
        let at = |path: &str| place.join(path).to_string_lossy().into_owned();
        let error = read(&at("")).await.expect_err("there is nothing");
        assert_eq!(error.exit(), Exit::Usage, "{error}");
        std::fs::create_dir_all(place.join("final")).expect("it is writable");
        std::fs::write(place.join("final/metrics.jsonl"), METRICS).expect("it is writable");
        for path in ["", "final", "final/", "final/metrics.jsonl"] {
            let found = read(&at(path)).await.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(found.name(), "pets", "{path}");
            assert_eq!(
                found.text(),
                "{\"step\":0,\"eval_loss\":2.3,\"eval_samples\":9}\n{\"step\":1,\"loss\":2.0}\n"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let said = |text| parse(text, "m.jsonl").expect_err("it is refused").to_string();
        assert_eq!(said("{\"step\":1}\n{\"loss\":1.0}\n"), "m.jsonl:2: there is no step");
        let cut = parse("{\"step\":1}\n{\"step\":2,\"lo", "m.jsonl").expect("a last line may be cut off");
        assert_eq!(cut.text(), "{\"step\":1}\n");
        assert!(said("{\"step\":1}\n\n[1]\n").starts_with("m.jsonl:3: "));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(
            lines in prop::collection::vec(prop_oneof!["\\PC{0,20}", Just("{\"step\":1}".to_owned())], 0..6),
        ) {
            if let Ok(history) = parse(&lines.join("\n"), "m.jsonl") {
                let is_line = |line: &str| line.starts_with("{\"step\":");
                prop_assert!(history.text().lines().all(is_line));
            }
        }
    }
}
