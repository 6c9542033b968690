//! `headstart status`: a run at a glance, once.

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use headstart::client::{Client, Fault, RunStatus, State, WorkerStatus};

use super::error::CliError;
use super::train::probe_line;
use super::{console, format};

/// Characters of a line of text.
const WIDTH: usize = 80;
/// Faults that are shown; JSON has more.
const MOST_FAULTS: usize = 5;

/// How to ask.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The coordinator's address.
    #[arg(long, env = "HEADSTART_COORDINATOR", default_value = "http://127.0.0.1:7070")]
    coordinator: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks once and prints the answer.
pub(super) async fn run(arguments: &Arguments) -> Result<(), CliError> {
    let status = Client::connect(&arguments.coordinator).await?.status().await?;
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&status).expect("a status is plain data"),
        false => console::printable(&describe(&status)),
    };
    console::out(&text);
    Ok(())
}

fn describe(status: &RunStatus) -> String {
    let mut lines = vec![
        format!("run {}: {}", status.run_id, activity(status)),
        format!(
            "step {} of {} (epoch {:.2}), loss {}, {}",
            status.step,
            status.total_steps,
            status.epoch,
            format::loss(status.loss),
            format::speed(status)
        ),
    ];
    if !status.eval.is_empty() {
        let metrics = format::metrics(&status.eval);
        lines.push(format!("last evaluation, after step {}: {metrics}", status.eval_step));
    }
    if let Some(probe) = &status.probe {
        lines.push(format::wrapped(&probe_line(probe), WIDTH));
    }
    lines.extend(status.holdup.iter().map(ToString::to_string));
    lines.push(format!("output_dir: {}", status.output_dir));
    match status.workers.is_empty() {
        true => lines.push("no workers".to_owned()),
        false => lines.push(table(&status.workers).to_string()),
    }
    let faults = &status.faults[status.faults.len().saturating_sub(MOST_FAULTS)..];
    if !faults.is_empty() {
        lines.push("last faults:".to_owned());
        let said = |fault: &Fault| format::wrapped(&format!("step {}: {}", fault.step, fault.text), WIDTH);
        lines.extend(faults.iter().map(said));
    }
    let resting = status.workers.iter().filter(|worker| worker.rests().is_some());
    // In full, because the cure is at its end.
    lines.extend(resting.map(|worker| format::wrapped(&worker.activity, WIDTH)));
    lines.join("\n")
}

fn activity(status: &RunStatus) -> String {
    let (word, detail) = match status.state {
        State::Waiting => ("waiting for workers", status.detail.clone()),
        State::Training => ("training", status.detail.clone()),
        State::Evaluating => ("evaluating", format!("{} of {} shards", status.eval_done, status.eval_total)),
        State::Probing => {
            ("probing what the weights know", format!("{} of {} rows", status.eval_done, status.eval_total))
        }
        State::Saving => ("saving", status.detail.clone()),
        State::Finished => ("finished", status.detail.clone()),
        State::Failed => ("failed", status.detail.clone()),
        State::Stopped => ("stopped", status.detail.clone()),
        State::Unknown => ("in a state this version does not know", status.detail.clone()),
    };
    if detail.is_empty() { word.to_owned() } else { format!("{word}, {detail}") }
}

fn table(workers: &[WorkerStatus]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH as u16);
    table.set_header(["worker", "name", "device", "ready", "shards", "s/shard", "doing"]);
    for worker in workers {
        let WorkerStatus { worker_id, name, device, shards, ready, activity, shard_seconds, loading, .. } =
            worker;
        let seconds =
            if shard_seconds.is_finite() { format!("{shard_seconds:.3}") } else { "–".to_owned() };
        let answer = if *ready { "yes" } else { "no" };
        table.add_row([
            &worker_id.to_string(),
            &console::printable(name),
            &console::printable(device),
            answer,
            &shards.to_string(),
            &seconds,
            &match worker.rests() {
                Some(_) => "rests".to_owned(),
                None if !ready && loading.is_underway() => {
                    format!("loading {} of {}", format::bytes(loading.done), format::bytes(loading.total))
                }
                None => console::printable(activity),
            },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use headstart::checkpoint::Loading;
    use headstart::client::{Cause, Holdup, ProbeSummary};

    use super::*;

    fn worker(worker_id: u64, activity: &str) -> WorkerStatus {
        let (name, device) = (format!("host-{worker_id}"), "cpu".to_owned());
        let activity = activity.to_owned();
        WorkerStatus {
            worker_id,
            name,
            device,
            shards: 4,
            ready: true,
            activity,
            shard_seconds: 0.5,
            compute_seconds: 4.0,
            transfer_seconds: 1.0,
            wait_seconds: 0.0,
            loading: Loading::default(),
        }
    }

    #[test]
    fn a_worker_that_rests_is_explained_below_the_table_within_80_columns() {
        let reason = "worker 2 idles: its link would make a step 7.3 s, the others take 0.4 s; wire: int8 or LoRA \
                      would change that";
        let workers = vec![worker(1, "step 3: shards 0..8"), worker(2, reason), worker(3, "catching up")];
        let status = RunStatus { workers, ..crate::cli::train::status(State::Training, 3) };
        let said = describe(&status);
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
        assert!(said.replace('\n', " ").ends_with(reason), "{said}");
        for shown in ["┆ rests", "┆ catching up"] {
            assert!(said.contains(shown), "{said}");
        }
        let json = serde_json::to_string(&status).expect("plain data");
        assert!(json.contains(reason), "{json}");
    }

    #[test]
    fn verdict_holdup_faults_and_loading_are_shown_within_80_columns() {
        let text = "none: this checkpoint knows no more of this task than random weights; the tasks are too far apart: \
                    train from random weights or choose another (score 0.031, beside 0.029)";
        let probe = ProbeSummary { verdict: "none".to_owned(), text: text.to_owned() };
        let holdup = Holdup { worker_id: 1, share: 0.4, cause: Cause::ShardSeconds(0.5) };
        let fault = |number: u64| {
            Fault {
            number,
            event: "leave".to_owned(),
            step: number,
            worker_id: 9,
            text: "worker 9 (a-host-with-a-long-name.of.a.cluster 71) has left: its session broke: h2 protocol error".to_owned(),
        }
        };
        let mut loads = worker(2, "loading");
        (loads.ready, loads.loading) = (false, Loading { done: 1_000_000, total: 90_900_000 });
        let status = RunStatus {
            workers: vec![worker(1, "step 3: shards 0..8"), loads],
            probe: Some(probe),
            holdup: Some(holdup),
            faults: (1..=7).map(fault).collect(),
            ..crate::cli::train::status(State::Training, 3)
        };
        let said = describe(&status);
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
        for shown in [
            "probe: none: this checkpoint",
            "waiting 40 % for worker 1: 0.50 s a shard",
            "step 7: worker 9",
            "loading 1.0 MB of",
        ] {
            assert!(said.contains(shown), "{shown}: {said}");
        }
        assert!(!said.contains("step 2: worker 9"), "the last five: {said}");
    }
}
