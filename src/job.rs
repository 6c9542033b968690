//! Everything that can be known before a worker starts: the data's rows and labels, the network, the plan.

mod probed;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::chat;
use crate::data::{self, DataError, DataRequest, Estimate, Indexed, Note, RowIndex, RowsOf};
use crate::exit::Exit;
use crate::hash::hex;
use crate::manifest;
use crate::network::{self, Network, NetworkError};
use crate::plan::{Plan, PlanError};
use crate::run_file::{RunSpec, Shuffle, Task};
use crate::store::{Location, Outages, StoreError, Stores};
use crate::tokenising::{RowsError, Tokenising, tokenise};

/// A run that is ready to begin.
#[derive(Debug)]
pub struct Job {
    pub spec: RunSpec,
    /// The names of the classes, by class id.
    pub labels: Vec<String>,
    /// What people should know of the data.
    pub notes: Vec<Note>,
    /// Training rows.
    pub train: RowIndex,
    /// Evaluation rows.
    pub eval: RowIndex,
    pub network: Network,
    pub plan: Plan,
    /// Where everything is written.
    pub output: Location,
    /// Servers that did not answer while the run reads and writes.
    pub outages: Outages,
}

impl Job {
    /// One hash over files, rows, labels and tokens of the data: what the ledger begins with.
    pub fn data_hash(&self) -> String {
        let mut hash = Sha256::new();
        for index in [&self.train, &self.eval] {
            hash.update(index.len().to_le_bytes());
            for file in index.files() {
                hash.update(file.size.to_le_bytes());
                hash.update(file.sha256.or(file.flat.map(|flat| flat.sha256)).unwrap_or_default());
            }
            let numbers = index.labels().iter().chain(index.tokens()).chain(index.trained());
            for number in numbers {
                hash.update(number.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The rows cannot be trained on.
    #[error(transparent)]
    Rows(Box<RowsError>),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The steps cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something where the run would write.
    #[error("output_dir {url} is not empty ({first}): choose another, or remove it{}", if *.run { "; to resume the run in it, set resume_from_checkpoint: auto" } else { "" })]
    OutputNotEmpty {
        url: String,
        /// An object in it.
        first: String,
        /// Whether it holds a run that can be resumed.
        run: bool,
    },
}

/// Rows of a language model that are tokenised by those who do not mean to train.
const SURVEYED_ROWS: u64 = 1_000;
/// Written into `output_dir`, and removed, to see whether it can be.
const WRITE_CHECK: &str = "write-check";

impl Job {
    /// Tries whether `output_dir` can be written, before hours are spent on what belongs there.
    pub async fn check_output(&self) -> Result<(), StoreError> {
        let file = self.output.join(WRITE_CHECK)?;
        file.write(Bytes::from_static(b"Whether results can be written here.\n")).await?;
        file.delete().await
    }
}

impl From<RowsError> for JobError {
    fn from(error: RowsError) -> Self {
        JobError::Rows(Box::new(error))
    }
}

impl JobError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            JobError::Data(error) => error.exit(),
            JobError::Rows(error) => error.exit(),
            JobError::Network(error) => error.exit(),
            JobError::Store(error) => error.exit(),
            JobError::Plan(_) | JobError::OutputNotEmpty { .. } => Exit::Usage,
        }
    }
}

/// Where only some rows of large data were looked at: about what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// Training rows.
    pub train: Option<Estimate>,
    /// Evaluation rows.
    pub eval: Option<Estimate>,
}

/// Everything a run needs to begin: what [`read`] reads, and an `output_dir` that is free, or holds a run to be
/// resumed.
pub async fn prepare(spec: &RunSpec) -> Result<Job, JobError> {
    let stores = spec.cluster.stores();
    let output = free_output(&stores, spec).await?;
    let mut spec = spec.clone();
    if spec.task == Task::CausalLm && spec.chat.chat_template_date.is_none() {
        spec.chat.chat_template_date = recorded_date(&spec, &output).await?;
    }
    index(&stores, &spec, output).await
}

/// The date that chat templates saw when the run to be resumed was planned.
async fn recorded_date(spec: &RunSpec, output: &Location) -> Result<Option<String>, StoreError> {
    if !spec.saving.resume_from_checkpoint {
        return Ok(None);
    }
    let mut files = output.join("manifests")?.list().await?;
    // Their names are numbers of one length.
    files.sort_by(|(one, _), (other, _)| one.url().cmp(other.url()));
    for (file, _) in files.iter().rev() {
        // What is damaged is judged by those who resume.
        let bytes = file.read(manifest::LARGEST).await?;
        if let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&bytes) {
            let date = manifest.pointer("/pins/keys/chat_template_date");
            return Ok(date.and_then(|date| Some(date.as_str()?.to_owned())));
        }
    }
    Ok(None)
}

/// The day on which a run is planned, for chat templates that show a date.
#[allow(clippy::disallowed_methods, reason = "the day is recorded, and a resumed run takes what is recorded")]
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    chat::utc_day(since.map_or(0, |since| since.as_secs()))
}

/// As [`prepare`], for those who do not mean to begin: of data above 1 GiB only some rows are looked at, of a language
/// model's rows the first 1,000, and only these are in the job.
pub async fn survey(spec: &RunSpec) -> Result<(Job, Estimates), JobError> {
    let stores = spec.cluster.stores();
    let output = free_output(&stores, spec).await?;
    let kept = data::kept_directory();
    let wanted = wanted(spec, kept.as_deref());
    let train = data::survey(&stores, wanted).await?;
    // Labels of some rows are not all labels.
    let known = if train.estimate.is_none() { Some(train.labels.as_slice()) } else { wanted.labels };
    let eval = match spec.eval_datasets.as_slice() {
        [] => None,
        datasets => Some(data::survey(&stores, DataRequest { datasets, labels: known, ..wanted }).await?),
    };
    let (eval, eval_notes, eval_rows) =
        eval.map(|eval| (eval.index, eval.notes, eval.estimate)).unwrap_or_default();
    let estimates = Estimates { train: train.estimate, eval: eval_rows };
    let notes = notes(spec, [train.notes, eval_notes]);
    let found = DataFound { labels: train.labels, notes, rows: [train.index, eval] };
    job(&stores, spec, output, found, Looked::AtSome(estimates)).await
}

/// The rows of a language model as they are before any is dropped, and its network: what it takes to look at the first
/// `rows` of them.
pub async fn rows(spec: &RunSpec, rows: u64) -> Result<(Stores, RowIndex, Network), JobError> {
    let stores = spec.cluster.stores();
    let kept = data::kept_directory();
    let wanted = wanted(spec, kept.as_deref());
    let index = match rows {
        0..=data::FIRST_ROWS => data::survey(&stores, wanted).await?.index,
        _ => data::index(&stores, wanted).await?.index,
    };
    let mut spec = spec.clone();
    spec.chat.chat_template_date.get_or_insert_with(today);
    let network = Network::open(&stores, &spec, &[]).await?;
    Ok((stores, index, network))
}

/// Reads what a run file names, short of the weights themselves. What `output_dir` holds does not matter.
pub async fn read(spec: &RunSpec) -> Result<Job, JobError> {
    read_in(&spec.cluster.stores(), spec).await
}

/// As [`read`], from stores that the caller chooses.
pub async fn read_in(stores: &Stores, spec: &RunSpec) -> Result<Job, JobError> {
    let output = stores.locate(&spec.output_dir)?;
    index(stores, spec, output).await
}

async fn index(stores: &Stores, spec: &RunSpec, output: Location) -> Result<Job, JobError> {
    let kept = data::kept_directory();
    let wanted = wanted(spec, kept.as_deref());
    let Indexed { index: train, labels, notes: train_notes } = data::index(stores, wanted).await?;
    let (eval, eval_notes) = match spec.eval_datasets.as_slice() {
        [] => Default::default(),
        datasets => {
            let wanted = DataRequest { datasets, labels: Some(&labels), ..wanted };
            let Indexed { index, notes, .. } = data::index(stores, wanted).await?;
            (index, notes)
        }
    };
    let notes = notes(spec, [train_notes, eval_notes]);
    let before = notes.len();
    tell(&notes);
    let found = DataFound { labels, notes, rows: [train, eval] };
    let (job, _) = job(stores, spec, output, found, Looked::AtAll).await?;
    tell(&job.notes[before..]);
    Ok(job)
}

fn tell(notes: &[Note]) {
    for note in notes {
        match note.is_warning() {
            true => tracing::warn!("{note}"),
            false => tracing::info!("{note}"),
        }
    }
}

/// Which rows were looked at.
#[derive(Clone, Copy, Debug)]
enum Looked {
    /// All.
    AtAll,
    /// Some, of data that is large enough.
    AtSome(Estimates),
}

/// What was found in the data of a run.
struct DataFound {
    labels: Vec<String>,
    notes: Vec<Note>,
    /// Training and evaluation rows.
    rows: [RowIndex; 2],
}

/// What people should know of the data, each thing once.
fn notes(spec: &RunSpec, [train, eval]: [Vec<Note>; 2]) -> Vec<Note> {
    // Evaluation takes its labels from training.
    let eval = eval.into_iter().filter(|note| !note.is_about_labels());
    let mut notes: Vec<Note> = train.into_iter().chain(eval).collect();
    let mut pairs =
        spec.datasets.iter().chain(&spec.eval_datasets).map(|data| data.text_pair_column.is_some());
    let first = pairs.next();
    if pairs.any(|pair| Some(pair) != first) {
        notes.push(Note::SomePairs);
    }
    let mut met = BTreeSet::new();
    notes.retain(|note| met.insert(note.to_string()));
    notes
}

/// The output directory; it must be empty, or hold a run to be resumed.
pub async fn free_output(stores: &Stores, spec: &RunSpec) -> Result<Location, JobError> {
    let output = stores.locate(&spec.output_dir)?;
    let mut files = output.list().await?;
    // A coordinator that was killed while it tried leaves this behind.
    files.retain(|(file, _)| !file.url().ends_with(&format!("/{WRITE_CHECK}")));
    let Some((first, _)) = files.first() else { return Ok(output) };
    let manifests = format!("{}/manifests/", output.url().trim_end_matches('/'));
    let run = files.iter().any(|(file, _)| file.url().starts_with(&manifests));
    if run && spec.saving.resume_from_checkpoint {
        return Ok(output);
    }
    Err(JobError::OutputNotEmpty { url: output.url().to_owned(), first: first.url().to_owned(), run })
}

/// The training rows of a run file.
fn wanted<'a>(spec: &'a RunSpec, kept: Option<&'a Path>) -> DataRequest<'a> {
    let labels = spec.labels.as_deref();
    DataRequest { datasets: &spec.datasets, task: spec.task, labels, data_cache: spec.data_cache, kept }
}

async fn job(
    stores: &Stores,
    spec: &RunSpec,
    output: Location,
    DataFound { mut labels, mut notes, rows: [mut train, mut eval] }: DataFound,
    looked: Looked,
) -> Result<(Job, Estimates), JobError> {
    let mut spec = spec.clone();
    let mut estimates = match looked {
        Looked::AtAll => Estimates::default(),
        Looked::AtSome(estimates) => estimates,
    };
    let ordered = spec.labels.is_some()
        || spec.task == Task::CausalLm
        || notes.iter().any(|note| matches!(note, Note::DeclaredLabels { .. }));
    let mut expected = None;
    if !ordered && estimates.train.is_some() {
        // A sample may lack labels, and each index has an order of its own.
        expected = Some(network::likely_labels(stores, &spec, &labels).await?);
    } else if !ordered && let Some(ids) = network::checkpoint_order(stores, &spec, &mut labels).await? {
        train.relabel(&ids);
        eval.relabel(&ids);
    }
    let bytes = estimates.train.map_or(train.content_size(), |estimate| estimate.bytes);
    let fits = bytes <= spec.data_cache;
    spec.shuffle.get_or_insert(if fits { Shuffle::Global } else { Shuffle::Blocks });
    if spec.task == Task::CausalLm {
        spec.chat.chat_template_date.get_or_insert_with(today);
    }
    let network = Network::open(stores, &spec, expected.as_deref().unwrap_or(&labels)).await?;
    network.check_tied().await?;
    if let Some(assumed) = network.assumed_image_processor().await? {
        let url = network.directory();
        tracing::warn!("{url} has no preprocessor_config.json: images are {assumed}");
    }
    if let Some(rows) = &network.rows {
        eval.shift_entries(spec.datasets.len());
        let kept = data::kept_directory();
        let most = matches!(looked, Looked::AtSome(_)).then_some(SURVEYED_ROWS);
        let (encoder, entries) = (rows.encoder.clone(), rows.entries.as_slice());
        let with = Tokenising { encoder, hash: rows.hash, entries, kept: kept.as_deref(), most };
        let passes = [
            (RowsOf::Training, &mut train, &mut estimates.train),
            (RowsOf::Evaluation, &mut eval, &mut estimates.eval),
        ];
        for (pass, index, estimate) in passes.into_iter().filter(|(_, index, _)| !index.is_empty()) {
            let (before, bytes) = (index.len(), index.content_size());
            notes.extend(tokenise(stores, index, pass, &with).await?);
            if most.is_some_and(|most| before > most) {
                // The others are taken to be dropped as often.
                let all = estimate.unwrap_or(Estimate { rows: before, bytes });
                let left = index.len() as f64 / before.min(SURVEYED_ROWS) as f64;
                notes.push(Note::FirstRows { pass, rows: SURVEYED_ROWS });
                *estimate = Some(Estimate { rows: (all.rows as f64 * left).round() as u64, ..all });
            }
        }
    }
    let rows =
        |index: &RowIndex, estimate: Option<Estimate>| estimate.map_or(index.len(), |found| found.rows);
    let plan = Plan::new(&spec, rows(&train, estimates.train), rows(&eval, estimates.eval))?.over(&train);
    let outages = stores.outages();
    Ok((Job { spec, labels, notes, train, eval, network, plan, output, outages }, estimates))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::run_file;

    #[tokio::test]
    async fn a_resumed_run_keeps_the_date_that_it_began_with() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out").display().to_string();
        let file = format!("{{base_model: m, task: causal-lm, datasets: d, output_dir: {output:?}}}");
        let spec = |resume: &str| {
            run_file::parse("run.yaml", &file, &[format!("resume_from_checkpoint={resume}")]).unwrap()
        };
        let location = Stores::default().locate(&output).unwrap();
        assert_eq!(recorded_date(&spec("auto"), &location).await.unwrap(), None);
        let dates = [(0, r#"{"pins": {"keys": {"chat_template_date": "2026-01-02"}}}"#), (1, "cut sho")];
        for (number, content) in dates {
            let file = location.join(&format!("manifests/{number:020}.json")).unwrap();
            file.write(Bytes::from_static(content.as_bytes())).await.unwrap();
        }
        assert_eq!(recorded_date(&spec("auto"), &location).await.unwrap().as_deref(), Some("2026-01-02"));
        assert_eq!(recorded_date(&spec("no"), &location).await.unwrap(), None);
        assert_eq!(today().len(), "2026-01-02".len());
    }
}
