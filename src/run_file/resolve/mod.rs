//! From typed keys to a run: defaults, limits of numbers, and what keys demand of each other.

mod adapter;
mod batch;
mod chat;
mod check;
mod evaluation;
mod saving;
mod transfer;
mod update;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{Problem, Source};
use super::findings::Findings;
use super::keys::{DatasetBlock, RunFile};
use super::read::{self, Located, Sources};
use super::{Cluster, DATA_CACHE, Dataset, InitFrom, NonFinite, Precision, Probe, RunSpec, Wire};
use crate::store::DEFAULT_RETRY_SECONDS;
use check::{Check, Constraint, FROM_0_TO_1, MOST_STEPS, first_counts, given_together, place, value_or};

/// Most tokens of one sample.
const LONGEST_SEQUENCE: u32 = 1 << 20;
/// Bytes of the smallest data cache.
const SMALLEST_CACHE: u64 = 1_000_000;
/// Most workers of one run.
const MOST_WORKERS: u32 = 10_000;

/// Longest time for which failed storage requests are retried, in seconds.
const LONGEST_RETRY: u32 = 3600;

/// Fills every default in. `None` exactly when problems were found, here or before.
pub(super) fn resolve(file: RunFile, source: &Arc<Source>, findings: &mut Findings) -> Option<RunSpec> {
    let mut check = Check { source, findings };
    let batch = check.batch(&file);
    check.findings.step_has(batch.global_batch_size);
    let (num_train_epochs, max_steps) = check.length(&file);
    let evaluation = check.evaluation(&file);
    let update = check.update(&file);
    let saving = check.saving(&file);
    let adapter = check.adapter(&file);
    let transfer = check.transfer(&file);
    let audit = check.number("audit", &file.audit, 0.0, FROM_0_TO_1);
    let datasets = check.sources(&file, file.datasets.as_ref());
    let eval_datasets = check.sources(&file, file.eval_datasets.as_ref());
    let labels = check.labels(&file);
    let chat = check.chat(&file);
    let data_cache = check.data_cache(&file);
    let sequence_len = check.count("sequence_len", &file.sequence_len, 1, LONGEST_SEQUENCE);
    let threads_per_worker = check.count("threads_per_worker", &file.threads_per_worker, 1, 1024);
    let cluster = check.cluster(&file);
    check.output(&file);
    check.everything_required(&file);
    if !check.findings.problems().is_empty() {
        return None;
    }
    Some(RunSpec {
        base_model: file.base_model?.value,
        task: file.task?.value.0,
        init: file.init.map_or(InitFrom::Pretrained, |found| found.value.0),
        init_missing: value_or(&file.init_missing, false),
        datasets,
        eval_datasets,
        labels,
        shuffle: file.shuffle.map(|found| found.value.0),
        data_cache,
        output_dir: file.output_dir?.value,
        sequence_len: file.sequence_len.map(|_| sequence_len),
        chat,
        batch,
        num_train_epochs,
        max_steps,
        update,
        seed: value_or(&file.seed, 42),
        evaluation,
        saving,
        report_to: file.report_to.map(|found| found.value.0).unwrap_or_default(),
        nonfinite_shards: file.nonfinite_shards.map_or(NonFinite::Fail, |found| found.value.0),
        audit,
        freeze: file.freeze.map(|found| found.value).unwrap_or_default(),
        transfer,
        adapter,
        precision: value_or(&file.bf16, Precision::default()),
        gradient_checkpointing: value_or(&file.gradient_checkpointing, false),
        wire: file.wire.map_or(Wire::default(), |found| found.value.0),
        probe: value_or(&file.probe, Probe::default()),
        model_overrides: file.model_overrides.map(|found| found.value.0).unwrap_or_default(),
        threads_per_worker,
        cluster,
    })
}

impl Check<'_> {
    fn everything_required(&mut self, file: &RunFile) {
        self.required("base_model", file.base_model.is_some(), "the HF directory to start from");
        self.required(
            "task",
            file.task.is_some(),
            "sequence-classification, image-classification or causal-lm",
        );
        self.required("datasets", file.datasets.is_some(), "the training data, as a list of `- path: FILE`");
        self.required("output_dir", file.output_dir.is_some(), "where results are written");
        if let Some(none) = file.datasets.as_ref().filter(|found| found.value.0.is_empty()) {
            self.refuse(&none.at, "this list of data is empty".to_owned(), "add an item `- path: FILE`");
        }
    }

    fn output(&mut self, file: &RunFile) {
        let Some(found) = &file.output_dir else { return };
        if found.value.starts_with("http://") || found.value.starts_with("https://") {
            let message = "`output_dir` is on a web server, where files can only be read".to_owned();
            self.refuse(&found.at, message, "write to a path, s3://, gs:// or az://");
        }
    }

    fn length(&mut self, file: &RunFile) -> (f64, Option<u64>) {
        // Below 1, usually -1, is how transformers says "not given".
        let steps = file.max_steps.as_ref().filter(|found| found.value >= 1);
        let places = (steps.map(|found| &found.key), place(&file.num_train_epochs));
        let by_steps = first_counts(places.0, places.1);
        if by_steps && given_together(places.0, places.1) {
            self.findings.ignore("num_train_epochs", "max_steps says how long the run is");
        }
        let rule =
            Constraint { holds: |number| number > 0.0 && number <= 1e9, must: "above 0, and at most 1e9" };
        let epochs = if by_steps { &None } else { &file.num_train_epochs };
        let epochs = self.number("num_train_epochs", epochs, 3.0, rule);
        let steps = steps.filter(|_| by_steps);
        if let Some(found) = steps.filter(|found| found.value > MOST_STEPS) {
            let message = format!("`max_steps` must be at most {MOST_STEPS}, found {}", found.value);
            self.findings.push(Problem::at(&found.at, message));
        }
        (epochs, steps.and_then(|found| u64::try_from(found.value).ok()))
    }

    fn sources(&mut self, file: &RunFile, sources: Option<&Located<Sources>>) -> Vec<Dataset> {
        let Some(sources) = sources else { return Vec::new() };
        let mut datasets = Vec::new();
        for read::Source(block, at) in &sources.value.0 {
            let rows = self.row_format(block);
            let DatasetBlock { path, text_column, text_pair_column, image_column, label_column, .. } = block;
            let Some(path) = path else {
                self.refuse(at, "this item has no `path`".to_owned(), "add `path: FILE`");
                continue;
            };
            let column = |own: &Option<Located<String>>, shared: &Option<Located<String>>| {
                own.as_ref().or(shared.as_ref()).map(|found| found.value.clone())
            };
            let named =
                |own, shared, default: &str| column(own, shared).unwrap_or_else(|| default.to_owned());
            datasets.extend(path.value.0.iter().map(|path| Dataset {
                path: path.clone(),
                text_column: named(text_column, &file.text_column, "text"),
                text_pair_column: column(text_pair_column, &file.text_pair_column),
                image_column: named(image_column, &file.image_column, "image"),
                label_column: Some(named(label_column, &file.label_column, "label")),
                rows: rows.clone(),
            }));
        }
        datasets
    }

    fn labels(&mut self, file: &RunFile) -> Option<Vec<String>> {
        let found = file.labels.as_ref()?;
        let labels: Vec<String> = found.value.iter().map(|label| label.0.clone()).collect();
        let mut names = BTreeSet::new();
        if let Some(label) = labels.iter().find(|label| !names.insert(*label)) {
            self.refuse(&found.at, format!("`labels` names {label:?} twice"), "remove one of them");
        }
        if labels.len() < 2 {
            self.refuse(&found.at, "a classifier needs at least two `labels`".to_owned(), "add the others");
        }
        Some(labels)
    }

    fn data_cache(&mut self, file: &RunFile) -> u64 {
        let Some(found) = &file.data_cache else { return DATA_CACHE };
        if found.value.0 < SMALLEST_CACHE {
            let message = format!("`data_cache` must be at least 1MB, found {} bytes", found.value.0);
            self.refuse(&found.at, message, "write it with a unit, such as 20GB");
        }
        found.value.0
    }

    fn cluster(&mut self, file: &RunFile) -> Cluster {
        let Some(found) = &file.cluster else {
            return Cluster {
                min_workers: 1,
                max_workers: 32,
                shared_memory: true,
                replicas: true,
                store_retry_seconds: DEFAULT_RETRY_SECONDS,
            };
        };
        let block = &found.value;
        let min_workers = self.count("cluster.min_workers", &block.min_workers, 1, MOST_WORKERS);
        let most = min_workers.max(32);
        let max_workers = self.count("cluster.max_workers", &block.max_workers, most, MOST_WORKERS);
        if min_workers > max_workers {
            let place = block.max_workers.as_ref().or(block.min_workers.as_ref());
            let at = place.map_or(&found.at, |found| &found.at).clone();
            let message = format!("`cluster.min_workers` {min_workers} is above max_workers {max_workers}");
            self.refuse(&at, message, "training would never begin: raise max_workers");
        }
        let shared_memory = block.shared_memory.as_ref().is_none_or(|found| found.value);
        let replicas = block.replicas.as_ref().is_none_or(|found| found.value);
        let (key, found) = ("cluster.store_retry_seconds", &block.store_retry_seconds);
        let store_retry_seconds = self.count(key, found, DEFAULT_RETRY_SECONDS, LONGEST_RETRY);
        Cluster { min_workers, max_workers, shared_memory, replicas, store_retry_seconds }
    }
}
