//! `headstart plan`: predicts steps, traffic, memory and time of a run, and recommends a number of workers.

mod memory;
mod rows;
mod show;
mod time;
mod traffic;

use clap::{Args, ValueEnum};
use headstart::client::RunStatus;
use headstart::job::{self, Job};
use headstart::run_file::Strategy;
use serde_json::json;

use super::error::CliError;
use super::train::first::{First, first_steps};
use super::train::{StartError, idle_workers};
use super::{RunFile, bandwidth, console};
use memory::{Memory, Sizes, Weights};
use rows::RowLengths;
use time::Pace;
use traffic::{Sparse, Traffic};

/// Steps of the measurement: the first warms up, and the worker's speed is smoothed over the others.
const MEASURED_STEPS: u64 = 4;
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
    /// `None` for images.
    tokens: Option<Tokens>,
    samples: u64,
    memory: Memory,
    traffic: Traffic,
    speed: Known,
    link: Known,
    coordinator_link: Known,
    steps: Vec<time::Step>,
    recommended: u32,
    warnings: Vec<String>,
}

/// Tokens of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tokens {
    /// Of all steps.
    total: u64,
    /// Of the longest row.
    longest: u64,
    /// Whether planning counted them; else they are estimated from bytes.
    counted: bool,
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
        traffic: traffic(&job),
        adapter: spec.adapter.is_some(),
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

/// What a gradient of the run is on the wire.
fn traffic(job: &Job) -> Traffic {
    let Job { spec, network, .. } = job;
    let (samples, lengths) = (samples_of(job), RowLengths::of(job));
    let mean = lengths.total(samples).unwrap_or_default() as f64 / samples.max(1) as f64;
    let tokens = mean * f64::from(spec.batch.global_batch_size);
    let longest = lengths.longest().unwrap_or_default();
    Traffic {
        wire: spec.wire,
        trainable: network.trainable.len() as u64,
        tables: Sparse::of(&network.blueprint, &Weights::of(network), tokens, longest),
        replicas: spec.cluster.replicas,
    }
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
    warnings.extend(pace.cannot_win(most).or_else(|| pace.link_dominates(workers)));
    let samples = samples_of(&job);
    let lengths = RowLengths::of(&job);
    let tokens = lengths.total(samples).zip(lengths.longest()).map(|(total, longest)| Tokens {
        total,
        longest,
        counted: lengths.are_counted(),
    });
    let memory = memory(&job, &lengths, workers, &pace.traffic);
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
        traffic: pace.traffic,
        speed,
        link,
        coordinator_link,
        steps,
        recommended,
        warnings,
    }
}

fn memory(job: &Job, lengths: &RowLengths<'_>, workers: u32, traffic: &Traffic) -> Memory {
    let Job { spec, network, .. } = job;
    // Of a language model, the canary takes the longest row that there is.
    let longest = lengths.longest().filter(|_| lengths.are_counted());
    let evaluates = spec.evaluation.eval_strategy != Strategy::No || spec.evaluation.eval_on_start;
    let evaluations = lengths.largest_evaluations();
    Sizes {
        spec,
        blueprint: &network.blueprint,
        weights: Weights::of(network),
        vocabulary: network.vocabulary,
        rows: job.train.len() + job.eval.len(),
        longest: longest.unwrap_or(u64::from(network.sequence_len)),
        training: &lengths.largest_micro_batches(),
        evaluation: if evaluates { &evaluations } else { &[] },
        workers,
        commits: commits_on_the_way(job),
        packed: traffic.gradient(1.0),
        probed: job.begins_with_probe(),
    }
    .memory()
}

/// Samples of all steps: whole epochs, then full steps of the last one.
fn samples_of(job: &Job) -> u64 {
    let (rows, batch) = (job.train.len(), u64::from(job.spec.batch.global_batch_size));
    let (steps, per_epoch) = (job.plan.steps(), job.plan.steps_per_epoch());
    (steps / per_epoch).saturating_mul(rows).saturating_add((steps % per_epoch) * batch)
}

/// A few real steps with one worker; its time for a shard is what counts.
async fn measured_speed(job: &Job, device: &str) -> Result<Known, CliError> {
    let mut spec = job.spec.without_evaluation();
    // Most steps of a run train everything, and take the longest.
    spec.transfer.unfreeze.clear();
    console::err("measuring: the first steps of the run, with one worker on this machine");
    let First { at_work, exit, .. } = first_steps(&spec, MEASURED_STEPS, device).await?;
    let shard = at_work.as_ref().and_then(shard_seconds).ok_or(StartError::NotMeasured(exit))?;
    let samples = f64::from(spec.batch.global_batch_size) / f64::from(spec.batch.shards_per_step);
    let lengths = RowLengths::of(job);
    let value = samples / shard * lengths.share_of_tokens(MEASURED_STEPS, samples_of(job));
    Ok(Known { value, source: "measured with one worker on this machine" })
}

fn shard_seconds(status: &RunStatus) -> Option<f64> {
    status.workers.iter().map(|worker| worker.shard_seconds).find(|seconds| *seconds > 0.0)
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
                "link_seconds": step.moving,
                "samples_per_second": f64::from(job.spec.batch.global_batch_size) / step.seconds,
                "run_seconds": step.seconds * steps as f64,
                "utilisation": step.utilisation,
            })
        })
        .collect();
    let unfrozen = job.network.trainable.unfrozen().into_iter();
    let unfrozen: Vec<_> =
        unfrozen.map(|(step, elements)| json!({"step": step, "parameters": elements})).collect();
    let known = |known: &Known, factor: f64| json!({"value": factor * known.value, "source": known.source});
    json!({
        "steps": steps,
        "steps_per_epoch": job.plan.steps_per_epoch(),
        "epochs": job.plan.epoch_after(steps),
        "samples": samples,
        "tokens": tokens.map(|tokens| json!({
            "total": tokens.total,
            "longest_row": tokens.longest,
            "counted": tokens.counted,
        })),
        "shards_per_step": job.spec.batch.shards_per_step,
        "trainable_parameters": job.network.trainable.len(),
        "trainable_by_first_step": unfrozen,
        "workers": workers,
        "recommended_workers": planned.recommended,
        "memory": {
            "worker_bytes": memory.worker as u64,
            "coordinator_bytes": memory.coordinator as u64,
            "worker_across_network_bytes": memory.worker_across as u64,
            "coordinator_across_network_bytes": memory.coordinator_across as u64,
        },
        "wire": job.spec.wire.name(),
        "replicas": job.spec.cluster.replicas,
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
