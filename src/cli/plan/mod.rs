//! `headstart plan`: predicts steps, traffic, memory and time of a run, and recommends a number of workers.

mod memory;
mod show;
mod time;

use std::borrow::Cow;

use clap::{Args, ValueEnum};
use headstart::client::RunStatus;
use headstart::id::Step;
use headstart::job::{self, Job};
use headstart::message::Pass;
use headstart::run_file::{Dataset, Strategy, Task};
use serde_json::json;

use super::error::CliError;
use super::train::first::{First, first_steps};
use super::train::{StartError, idle_workers};
use super::{RunFile, bandwidth, console};
use memory::{Memory, Sizes};
use time::Pace;

/// Steps of the measurement: the first warms up, and the worker's speed is smoothed over the others.
const MEASURED_STEPS: u64 = 4;
/// Bytes of a text that make a token, estimated from English.
const BYTES_OF_TOKEN: u64 = 5;
/// Bytes of a row besides text and column names: quotes, colons, braces, a short label.
const PUNCTUATION: u64 = 18;
/// Bytes that a second text adds to these: its quotes, a colon, a comma.
const PAIR_PUNCTUATION: u64 = 6;
/// Tokens around a text; one more separates two.
const SPECIAL_TOKENS: u64 = 2;
/// Rows of a run that are looked up one by one; a longer run is taken to meet every row.
const LOOKED_UP_ROWS: u64 = 1_000_000;

/// What to plan.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: RunFile,
    /// Number of workers to plan for. Default: the recommended number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// Bandwidth of a worker's link in bits per second, such as 25G. Default: measured over loopback.
    #[arg(long, value_name = "BITS_PER_S", value_parser = bits)]
    bandwidth: Option<f64>,
    /// Bandwidth of the coordinator's link in bits per second. Default: that of a worker.
    #[arg(long, value_name = "BITS_PER_S", value_parser = bits)]
    coordinator_bandwidth: Option<f64>,
    /// Speed of one worker in samples per second. Default: measured with a few steps on this machine.
    #[arg(long, value_name = "N", value_parser = positive)]
    samples_per_second: Option<f64>,
    /// Device of the measurement: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// A number and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    value: f64,
    source: &'static str,
}

/// Everything known about a run before it starts.
struct Planned {
    job: Job,
    workers: u32,
    tokens: Option<u64>,
    samples: u64,
    memory: Memory,
    speed: Known,
    link: Known,
    coordinator_link: Known,
    steps: Vec<time::Step>,
    recommended: u32,
    warnings: Vec<String>,
}

/// Reads what the run file names, measures what is not given, and prints the plan.
pub(super) async fn run(arguments: Arguments) -> Result<(), CliError> {
    let Arguments { file, workers, bandwidth, coordinator_bandwidth, samples_per_second, device, format } =
        arguments;
    let spec = file.load_interactive()?;
    let job = job::read(&spec).await?;
    let link = match bandwidth {
        Some(bits) => Known { value: bits / 8.0, source: "given" },
        None => Known { value: bandwidth::loopback().await?, source: "measured over loopback" },
    };
    let coordinator_link = match coordinator_bandwidth {
        Some(bits) => Known { value: bits / 8.0, source: "given" },
        None => link,
    };
    let speed = match samples_per_second {
        Some(value) => Known { value, source: "given" },
        None => measured_speed(&job, &device).await?,
    };
    let pace = Pace {
        samples_per_second: speed.value,
        batch: spec.batch.global_batch_size,
        shards: spec.batch.shards_per_step,
        trainable: job.network.trainable.len() as u64,
        worker_link: link.value,
        coordinator_link: coordinator_link.value,
    };
    let planned = plan(job, workers, pace, [speed, link, coordinator_link]);
    match format {
        Format::Json => console::out(&format!("{:#}", as_json(&planned))),
        Format::Text => console::out(&console::printable(&show::text(&planned))),
    }
    for warning in &planned.warnings {
        console::err(&console::printable(&format!("warning: {warning}")));
    }
    Ok(())
}

/// Whether a run commits its state before its last step.
fn commits_on_the_way(job: &Job) -> bool {
    let (spec, plan) = (&job.spec, &job.plan);
    match spec.saving.save_strategy {
        Strategy::No => false,
        Strategy::Steps => spec.saving.save_steps < 1.0 || (spec.saving.save_steps as u64) < plan.steps(),
        Strategy::Epoch => plan.steps_per_epoch() < plan.steps(),
    }
}

fn plan(job: Job, asked: Option<u32>, pace: Pace, [speed, link, coordinator_link]: [Known; 3]) -> Planned {
    let (shards, most) = (job.spec.batch.shards_per_step, job.spec.cluster.max_workers);
    let recommended = pace.recommended(most);
    let workers = asked.unwrap_or(recommended);
    let mut warnings: Vec<String> = idle_workers(workers, shards).into_iter().collect();
    if workers > most {
        warnings
            .push(format!("{workers} workers, but cluster.max_workers is {most}: the others are refused"));
    }
    warnings.extend(pace.cannot_win(most));
    let samples = samples(&job);
    let (tokens, longest) = texts(&job, samples);
    let table = &job.network.table;
    let memory = Sizes {
        spec: &job.spec,
        blueprint: &job.network.blueprint,
        parameters: table.iter().map(|parameter| parameter.len() as u64).sum(),
        trainable: pace.trainable,
        largest: table.iter().map(|parameter| parameter.len() as u64).max().unwrap_or_default(),
        rows: job.train.len() + job.eval.len(),
        longest,
        workers,
        commits: commits_on_the_way(&job),
    }
    .memory();
    let powers = std::iter::successors(Some(1u32), |workers| workers.checked_mul(2));
    let mut numbers: Vec<u32> = powers.take_while(|&power| power <= shards.min(most)).collect();
    numbers.extend([workers, recommended]);
    numbers.sort_unstable();
    numbers.dedup();
    let steps = numbers.into_iter().map(|workers| pace.step(workers)).collect();
    Planned {
        job,
        workers,
        tokens,
        samples,
        memory,
        speed,
        link,
        coordinator_link,
        steps,
        recommended,
        warnings,
    }
}

/// Samples of all steps: whole epochs, then full steps of the last one.
fn samples(job: &Job) -> u64 {
    let (rows, batch) = (job.train.len(), u64::from(job.spec.batch.global_batch_size));
    let (steps, per_epoch) = (job.plan.steps(), job.plan.steps_per_epoch());
    (steps / per_epoch).saturating_mul(rows).saturating_add((steps % per_epoch) * batch)
}

/// A few real steps with one worker; its time for a shard is what counts.
async fn measured_speed(job: &Job, device: &str) -> Result<Known, CliError> {
    let spec = job.spec.without_evaluation();
    console::err("measuring: the first steps of the run, with one worker on this machine");
    let First { at_work, exit, .. } = first_steps(&spec, MEASURED_STEPS, device).await?;
    let shard = at_work.as_ref().and_then(shard_seconds).ok_or(StartError::NotMeasured(exit))?;
    let samples = f64::from(spec.batch.global_batch_size) / f64::from(spec.batch.shards_per_step);
    Ok(Known { value: samples / shard, source: "measured with one worker on this machine" })
}

fn shard_seconds(status: &RunStatus) -> Option<f64> {
    status.workers.iter().map(|worker| worker.shard_seconds).find(|seconds| *seconds > 0.0)
}

/// Tokens of the whole run and of its longest text, estimated from bytes; none for images.
fn texts(job: &Job, samples: u64) -> (Option<u64>, u64) {
    if job.spec.task != Task::SequenceClassification {
        return (None, 0);
    }
    let limit = u64::from(job.network.sequence_len).max(3);
    let around = job.spec.datasets.first().map_or(0, around);
    let pairs = job.spec.datasets.iter().any(|data| data.text_pair_column.is_some());
    let special = SPECIAL_TOKENS + u64::from(pairs);
    let lengths = lengths(job, samples);
    let tokens = || {
        let bytes = lengths.iter().map(|&length| u64::from(length).saturating_sub(around));
        bytes.map(|bytes| (bytes / BYTES_OF_TOKEN + special).min(limit))
    };
    let mean = tokens().sum::<u64>() as f64 / lengths.len().max(1) as f64;
    (Some((mean * samples as f64) as u64), tokens().max().unwrap_or_default())
}

/// Bytes of a row besides its texts.
fn around(data: &Dataset) -> u64 {
    let pair = data.text_pair_column.as_ref().map_or(0, |column| column.len() as u64 + PAIR_PUNCTUATION);
    (data.text_column.len() + data.label_column.as_ref().map_or(0, String::len)) as u64 + pair + PUNCTUATION
}

/// Bytes of the rows that the run trains on.
fn lengths(job: &Job, samples: u64) -> Cow<'_, [u32]> {
    let all = job.train.lengths();
    if samples >= job.train.len() || samples > LOOKED_UP_ROWS {
        return Cow::Borrowed(all);
    }
    let (plan, shards) = (&job.plan, job.spec.batch.shards_per_step);
    let rows = (0..plan.steps())
        .flat_map(|step| (0..shards).flat_map(move |shard| plan.rows(Pass::Train, Step(step), shard)));
    Cow::Owned(rows.map(|row| all[row as usize]).collect())
}

fn as_json(planned: &Planned) -> serde_json::Value {
    let Planned { job, workers, tokens, samples, memory, speed, link, coordinator_link, .. } = planned;
    let steps = job.plan.steps();
    let counts: Vec<_> = planned
        .steps
        .iter()
        .map(|step| {
            json!({
                "workers": step.workers,
                "partials_per_step": step.partials,
                "bytes_up_per_step": step.bytes_up,
                "bytes_down_per_step": step.bytes_down,
                "step_seconds": step.seconds,
                "samples_per_second": f64::from(job.spec.batch.global_batch_size) / step.seconds,
                "run_seconds": step.seconds * steps as f64,
                "utilisation": step.utilisation,
            })
        })
        .collect();
    let known = |known: &Known, factor: f64| json!({"value": factor * known.value, "source": known.source});
    json!({
        "steps": steps,
        "steps_per_epoch": job.plan.steps_per_epoch(),
        "epochs": job.plan.epoch_after(steps),
        "samples": samples,
        "tokens_estimated": tokens,
        "shards_per_step": job.spec.batch.shards_per_step,
        "trainable_parameters": job.network.trainable.len(),
        "workers": workers,
        "recommended_workers": planned.recommended,
        "memory": {"worker_bytes": memory.worker as u64, "coordinator_bytes": memory.coordinator as u64},
        "worker_samples_per_second": known(speed, 1.0),
        "bandwidth_bits_per_second": known(link, 8.0),
        "coordinator_bandwidth_bits_per_second": known(coordinator_link, 8.0),
        "by_workers": counts,
        "warnings": planned.warnings,
    })
}

/// A number of bits a second: `25G`, `300M` or `1e9`.
fn bits(text: &str) -> Result<f64, String> {
    let units = [("k", 1e3), ("M", 1e6), ("G", 1e9)];
    let split = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = split.unwrap_or((text, 1.0));
    positive(number).map(|number| number * factor)
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "a number above 0 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_have_units() {
        assert_eq!(bits("25G"), Ok(25e9));
        assert_eq!(bits("300M"), Ok(300e6));
        assert_eq!(bits("1e9"), Ok(1e9));
        for bad in ["", "G", "fast", "-1", "0", "inf", "25é"] {
            assert!(bits(bad).is_err(), "{bad:?}");
        }
    }
}
