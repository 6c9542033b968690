//! `headstart validate`: everything that can be known before a worker starts.

use std::collections::BTreeSet;

use headstart::data::{DataFile, Estimate, Note, RowIndex};
use headstart::job::{self, Estimates, Job};
use headstart::mlflow::{Server, Variables};
use headstart::run_file::{InitFrom, RunSpec, Task, Tracker};

use super::error::CliError;
use super::format::count;
use super::{RunFile, console};

/// Label names shown.
const MOST_LABELS: usize = 20;
/// Characters of a label shown.
const LONGEST_LABEL: usize = 40;

/// Prints a summary of the run, or fails the way the run would.
pub(super) async fn run(file: &RunFile) -> Result<(), CliError> {
    let spec = file.load_interactive()?;
    let (job, estimates) = job::survey(&spec).await?;
    console::out(&console::printable(&summary(&job, estimates)));
    for note in job.notes.iter().filter(|note| note.is_warning()) {
        console::err(&console::printable(&format!("warning: {note}")));
    }
    for warning in &job.network.warnings {
        console::err(&console::printable(&format!("warning: {warning}")));
    }
    for warning in warnings_of_trackers(&spec) {
        console::err(&console::printable(&format!("warning: {warning}")));
    }
    let (shards, needed) = (job.spec.batch.shards_per_step, job.spec.cluster.min_workers);
    if shards < needed {
        console::err(&format!(
            "warning: a step has {shards} shards, so of at least {needed} workers (cluster.min_workers) only \
             {shards} ever work at once; set shards_per_step to {needed} or more"
        ));
    }
    Ok(())
}

/// What the run file asks of trackers that a coordinator with this environment could not do.
fn warnings_of_trackers(spec: &RunSpec) -> Vec<String> {
    let missing = |tracker: &Tracker| match tracker {
        Tracker::TensorBoard => None,
        Tracker::Mlflow => Server::named_by(&Variables::of_process()).err(),
    };
    let missing = spec.report_to.iter().filter_map(missing);
    missing.map(|why| format!("report_to: mlflow sends no metrics from here: {why}")).collect()
}

fn summary(job: &Job, estimates: Estimates) -> String {
    let Job { spec, labels, notes, train, eval, network, plan, output, outages: _ } = job;
    let parameters: usize = network.table.iter().map(|parameter| parameter.len()).sum();
    let trains = network.trainable.len();
    let task = spec.task.name();
    let init = match spec.init {
        InitFrom::Pretrained => "pretrained weights",
        InitFrom::Random => "random weights",
    };
    let origin = match spec.init {
        InitFrom::Pretrained => network.resolution.to_string(),
        InitFrom::Random => format!("all {} tensors begin with fresh draws", network.table.len()),
    };
    // Where labels come from stands below them, other things below the data.
    let (sources, notes): (Vec<&Note>, Vec<&Note>) =
        notes.iter().filter(|note| !note.is_warning()).partition(|note| note.is_about_labels());
    let listed = |notes: Vec<&Note>| -> Vec<(&str, String)> {
        notes.into_iter().map(|note| ("", note.to_string())).collect()
    };
    let mut lines = vec![
        ("task", task.to_owned()),
        ("model", format!("{}, {} layers", network.blueprint.identity.class, network.blueprint.depth())),
        ("", format!("from {} ({init})", network.directory())),
        ("", format!("{} parameters, {} trainable", count(parameters as u64), count(trains as u64))),
        ("", origin),
        ("data", format!("{} to train on", rows(train, estimates.train))),
        (
            "",
            if eval.is_empty() {
                "none to evaluate on".to_owned()
            } else {
                format!("{} to evaluate on", rows(eval, estimates.eval))
            },
        ),
    ];
    lines.extend(listed(notes));
    if spec.task != Task::CausalLm {
        lines.push((
            "labels",
            match estimates.train {
                Some(_) if spec.labels.is_none() => format!("at least {}", named(labels)),
                _ => named(labels),
            },
        ));
    }
    lines.extend(listed(sources));
    lines.extend([
        (
            "steps",
            format!(
                "{}, {} to an epoch: {} epochs",
                count(plan.steps()),
                count(plan.steps_per_epoch()),
                epochs(plan.epoch_after(plan.steps()))
            ),
        ),
        (
            "batch",
            format!(
                "{} samples a step, in {} shards",
                spec.batch.global_batch_size, spec.batch.shards_per_step
            ),
        ),
        ("output_dir", output.to_string()),
    ]);
    lines.iter().map(|(name, text)| line(name, text)).collect::<Vec<_>>().join("\n")
}

/// `name   text`, with further lines of the text below the first.
fn line(name: &str, text: &str) -> String {
    const INDENT: usize = 12;
    let colon = if name.is_empty() { "" } else { ":" };
    let text = text.replace('\n', &format!("\n{:INDENT$}", ""));
    format!("{:<INDENT$}{text}", format!("{name}{colon}"))
}

fn rows(index: &RowIndex, estimate: Option<Estimate>) -> String {
    let urls: BTreeSet<&str> = index.files().iter().map(|file| file.url.as_str()).collect();
    let files = urls.len();
    let rows = if index.len() == 1 { "row" } else { "rows" };
    // What the files were found to be, each kind once.
    let kinds: BTreeSet<String> = index.files().iter().map(DataFile::kind).collect();
    let found = match estimate {
        None => format!("{} {rows}", count(index.len())),
        Some(all) => format!("about {} rows ({} checked)", count(all.rows), count(index.len())),
    };
    format!(
        "{found} in {} file{} ({})",
        count(files as u64),
        if files == 1 { "" } else { "s" },
        kinds.into_iter().collect::<Vec<_>>().join(", ")
    )
}

fn named(labels: &[String]) -> String {
    let mut names: Vec<String> = labels
        .iter()
        .take(MOST_LABELS)
        .map(|label| match label.char_indices().nth(LONGEST_LABEL) {
            Some((cut, _)) => format!("{}…", &label[..cut]),
            None => label.clone(),
        })
        .collect();
    if labels.len() > MOST_LABELS {
        names.push(format!("and {} more", labels.len() - MOST_LABELS));
    }
    format!("{}: {}", labels.len(), names.join(", "))
}

fn epochs(epochs: f64) -> String {
    if epochs.fract() == 0.0 { format!("{epochs:.0}") } else { format!("{epochs:.2}") }
}
