//! Where the run writes and what it begins from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headstart::checkpoint::Checkpoint;
use headstart::exit::Exit;
use headstart::job::{self, JobError};
use headstart::run_file::RunSpec;
use headstart::store::{Location, StoreError};

use super::Check;

/// Difference of clocks that is worth a warning: storage refuses requests at a quarter of an hour.
const SKEW: Duration = Duration::from_secs(10);
const TEXT: &[u8] = b"written by headstart doctor\n";

/// Reads, writes, creates and deletes a file below `output_dir`; remote storage tells the time as well.
pub(super) async fn output(spec: &RunSpec) -> Vec<Check> {
    let stores = spec.cluster.stores();
    let directory = match stores.locate(&spec.output_dir) {
        Ok(directory) => directory,
        Err(error) => return vec![failed(&error)],
    };
    let made = directory.local_path().filter(|path| !path.exists());
    let outcome = exercise(&directory).await;
    if let Some(path) = made {
        // It was not there before, and goes again if it is empty.
        let _ = std::fs::remove_dir(path);
    }
    let mut checks = match outcome {
        Ok(checks) => checks,
        Err(error) => return vec![failed(&error)],
    };
    match job::free_output(&stores, spec).await {
        Err(JobError::Store(error)) => checks.push(failed(&error)),
        Err(error) => checks.push(Check::warn("output_dir", error.to_string())),
        Ok(_) => {}
    }
    checks
}

fn failed(error: &StoreError) -> Check {
    Check::fail(
        "output_dir",
        error.exit(),
        format!("{error}; look at the URL, the credentials and their rights"),
    )
}

async fn exercise(directory: &Location) -> Result<Vec<Check>, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = directory.join(&format!("doctor-{}-{}", std::process::id(), now.as_nanos()))?;
    let checks = write(&file, now).await;
    // Removes the file, whether or not the check succeeded.
    let deleted = file.delete().await;
    let checks = checks?;
    deleted?;
    Ok(checks)
}

async fn write(file: &Location, now: Duration) -> Result<Vec<Check>, StoreError> {
    file.create(Bytes::from_static(TEXT)).await?;
    let mut checks = Vec::new();
    if file.local_path().is_none() {
        checks.push(clock(now, file.modified().await?));
    }
    let url = file.url();
    let refused = file.create(Bytes::from_static(TEXT)).await;
    if !matches!(refused, Err(StoreError::AlreadyExists { .. })) {
        let text = format!(
            "{url} was created twice: this storage ignores If-None-Match, so two coordinators could own one run"
        );
        return Ok(vec![Check::fail("output_dir", Exit::Storage, text)]);
    }
    file.write(Bytes::from_static(TEXT)).await?;
    if file.read(TEXT.len() as u64).await? != TEXT {
        let text = format!("{url}: read-back differs from what was written");
        return Ok(vec![Check::fail("output_dir", Exit::Storage, text)]);
    }
    checks.insert(0, Check::ok("output_dir", "read, write, conditional create, delete"));
    Ok(checks)
}

/// This machine's clock against the storage's, which has whole seconds.
fn clock(here: Duration, there: Duration) -> Check {
    let skew = here.abs_diff(there);
    match skew > SKEW {
        true => Check::warn(
            "clock",
            format!("{} s off the storage's: synchronise it (NTP), or requests are refused", skew.as_secs()),
        ),
        false => Check::ok("clock", "agrees with the storage's"),
    }
}

/// Whether the checkpoint's files are there and whole enough to begin with.
pub(super) async fn base_model(spec: &RunSpec) -> Check {
    match Checkpoint::of_run(&spec.cluster.stores(), spec).await {
        Ok(checkpoint) if checkpoint.files.is_empty() => {
            Check::ok("base_model", format!("{}/config.json", checkpoint.directory))
        }
        Ok(checkpoint) => {
            let (directory, tensors) = (&checkpoint.directory, checkpoint.tensors.len());
            Check::ok("base_model", format!("{directory}: {tensors} tensors"))
        }
        Err(error) => {
            let cure = "give a directory that transformers saved, as a path or URL";
            Check::fail("base_model", error.exit(), format!("{error}; {cure}"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn storage_is_exercised_and_left_as_it_was() {
        let directory = Location::memory("doctor");
        let checks = exercise(&directory).await.unwrap();
        let said: Vec<String> = checks.iter().map(ToString::to_string).collect();
        assert!(said[0].starts_with("ok    output_dir"), "{said:?}");
        assert!(said[1].starts_with("ok    clock"), "{said:?}");
        assert!(directory.list().await.unwrap().is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn a_directory_that_a_run_would_refuse_is_a_warning_and_a_run_to_go_on_with_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let warned = async |key: &str| {
            let text = format!(
                "base_model: m\ntask: sequence-classification\ndatasets: [{{path: d}}]\noutput_dir: {:?}\n{key}",
                directory.path()
            );
            let spec = headstart::run_file::parse("run.yaml", &text, &[]).unwrap();
            output(&spec).await.iter().any(|check| check.to_string().contains("is not empty"))
        };
        assert!(!warned("").await);
        std::fs::create_dir(directory.path().join("manifests")).unwrap();
        std::fs::write(directory.path().join("manifests/00000000000000000000.json"), "{}").unwrap();
        assert!(warned("").await);
        assert!(!warned("resume_from_checkpoint: auto").await);
        std::fs::remove_dir_all(directory.path().join("manifests")).unwrap();
        std::fs::write(directory.path().join("notes"), "mine").unwrap();
        assert!(warned("resume_from_checkpoint: auto").await);
    }

    #[test]
    fn a_clock_that_is_off_is_a_warning() {
        let now = Duration::from_secs(1_800_000_000);
        assert!(clock(now, now + Duration::from_secs(2)).to_string().starts_with("ok "));
        let said = clock(now, now - Duration::from_secs(300)).to_string();
        assert!(said.starts_with("warn ") && said.contains("300 s"), "{said}");
    }
}
