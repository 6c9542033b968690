//! What run, ledger and weights say of each other.

use super::{Difference, LARGEST, LEDGER, Ledger, RUN, RunFacts, VerifyError};
use crate::checkpoint::{self, Checkpoint, WrittenFile};
use crate::hash;
use crate::network::{Network, NetworkError};
use crate::run_file::InitFrom;
use crate::store::Location;

/// Reads `run.json` and the ledger of a directory whose files have the right hashes.
pub(super) async fn read(
    directory: &Location,
) -> Result<Result<(RunFacts, Ledger), Vec<Difference>>, VerifyError> {
    let ledger = Ledger::parse(&directory.join(LEDGER)?.read(LARGEST).await?);
    let run: Result<RunFacts, _> = serde_json::from_slice(&directory.join(RUN)?.read(LARGEST).await?);
    let run = run.map_err(|error| Difference::File { file: RUN.to_owned(), reason: error.to_string() });
    Ok(match (run, ledger) {
        (Ok(run), Ok(ledger)) => Ok((run, ledger)),
        (run, ledger) => Err(run.err().into_iter().chain(ledger.err()).collect()),
    })
}

/// Compares facts that two files record.
pub(super) async fn check(
    directory: &Location,
    files: &[WrittenFile],
    run: &RunFacts,
    ledger: &Ledger,
) -> Result<Vec<Difference>, VerifyError> {
    let mut differences = numbers(run, ledger);
    let hash_of = |name: &str| files.iter().find(|file| file.name == name).map(|file| &file.sha256);
    if let Some(found) = hash_of(LEDGER).filter(|found| **found != run.ledger_sha256) {
        let (expected, found) = (run.ledger_sha256.clone(), found.clone());
        differences.push(Difference::Hash { file: LEDGER.to_owned(), by: RUN, expected, found });
    }
    let weights = files.iter().filter(|file| file.name.ends_with(".safetensors"));
    let names: Vec<&str> = weights.map(|file| file.name.as_str()).collect();
    let found = checkpoint::weights_hash(files);
    if found != run.weights_sha256 {
        let expected = run.weights_sha256.clone();
        differences.push(Difference::Hash { file: names.join(", "), by: RUN, expected, found });
    }
    if differences.is_empty() {
        differences.extend(vector(directory, run, ledger).await?);
    }
    Ok(differences)
}

/// Counts and names that both hold.
fn numbers(run: &RunFacts, ledger: &Ledger) -> Vec<Difference> {
    let first = ledger.first();
    let total = first.facts.get("total_steps").and_then(serde_json::Value::as_u64);
    let stops_early = run.spec.evaluation.early_stopping_patience.is_some();
    let checks = [
        (total == Some(run.total_steps), "total_steps is not the ledger's"),
        (first.text_of("parameters") == Some(&run.parameters), "parameters is not the ledger's"),
        (
            first.text_of("base").is_none_or(|base| run.base.as_deref() == Some(base)),
            "base is not the ledger's",
        ),
        (ledger.steps() == run.steps, "steps is not the number of updates in the ledger"),
        (
            run.steps == run.total_steps || (stops_early && run.steps < run.total_steps),
            "steps is not total_steps, and nothing was to stop the run early",
        ),
        (run.weights_version <= run.steps, "weights_version is above steps"),
    ];
    let wrong = checks.into_iter().filter(|(holds, _)| !holds);
    wrong.map(|(_, reason)| Difference::File { file: RUN.to_owned(), reason: reason.to_owned() }).collect()
}

/// The trainable vector in the weights' files, against the line of the ledger that made it.
async fn vector(
    directory: &Location,
    run: &RunFacts,
    ledger: &Ledger,
) -> Result<Option<Difference>, VerifyError> {
    let (file, found) = match run.adapter_order.is_empty() {
        true => match model(directory, run).await? {
            Ok(Some(values)) => ("model.safetensors", values),
            Ok(None) => return Ok(None),
            Err(difference) => return Ok(Some(difference)),
        },
        false => match adapter(directory, run).await? {
            Ok(values) => ("adapter_model.safetensors", values),
            Err(difference) => return Ok(Some(difference)),
        },
    };
    let found = format!("{:032x}", hash::vector(&found));
    let line = ledger.of_step(run.weights_version);
    let expected = line.and_then(|line| line.text_of("weights")).unwrap_or_default().to_owned();
    Ok((found != expected).then(|| Difference::File {
        file: file.to_owned(),
        reason: format!(
            "its trainable vector hashes to {found}, but after step {} the ledger has {expected}",
            run.weights_version
        ),
    }))
}

/// The trainable vector in an adapter's file.
async fn adapter(directory: &Location, run: &RunFacts) -> Result<Result<Vec<f32>, Difference>, VerifyError> {
    let opened = Checkpoint::adapter(directory).await?;
    let refuse = |reason: String| Difference::File { file: RUN.to_owned(), reason };
    let mut vector = Vec::new();
    for name in &run.adapter_order {
        let Some(values) = opened.read_tensor(name).await? else {
            return Ok(Err(refuse(format!(
                "it names a tensor {name:?}, which adapter_model.safetensors lacks"
            ))));
        };
        vector.extend(values.into_f32());
    }
    Ok(Ok(vector))
}

/// The trainable vector in a model's files; `None` where they hold it rounded to 16 bits.
async fn model(
    directory: &Location,
    run: &RunFacts,
) -> Result<Result<Option<Vec<f32>>, Difference>, VerifyError> {
    let mut spec = run.spec.clone();
    // The weights as a start: `config.json` holds the overrides already.
    spec.base_model = directory.url().to_owned();
    spec.init = InitFrom::Pretrained;
    spec.model_overrides.clear();
    let file = |reason: String| Difference::File { file: "config.json".to_owned(), reason };
    let network = match Network::open_without_files(&spec.cluster.stores(), &spec, &run.labels).await {
        Ok(network) => network,
        Err(NetworkError::Checkpoint(error)) => return Err(error.into()),
        Err(error) => return Ok(Err(file(error.to_string()))),
    };
    if network.parameters != run.parameters || !network.resolution.is_exact() {
        return Ok(Err(file("it does not describe the network of run.json".to_owned())));
    }
    Ok(Ok(match network.is_rounded() {
        true => None,
        false => Some(network.initial_vector().await?),
    }))
}
