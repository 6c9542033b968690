//! `headstart status`: a run at a glance, once.

use clap::Args;
use comfy_table::{Table, presets};
use headstart::client::{Client, RunStatus, State, WorkerStatus};

use super::error::CliError;
use super::{console, format};

/// Characters of a line of text.
const WIDTH: usize = 80;

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
    lines.push(format!("output_dir: {}", status.output_dir));
    match status.workers.is_empty() {
        true => lines.push("no workers".to_owned()),
        false => lines.push(table(&status.workers).to_string()),
    }
    // In full, because the cure is at its end.
    let resting = status.workers.iter().filter(|worker| worker.rests().is_some());
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
    table.set_header(["worker", "name", "device", "ready", "shards", "s/shard", "doing"]);
    for worker in workers {
        let WorkerStatus { worker_id, name, device, shards, ready, activity, shard_seconds } = worker;
        let seconds =
            if shard_seconds.is_finite() { format!("{shard_seconds:.3}") } else { "–".to_owned() };
        let ready = if *ready { "yes" } else { "no" };
        table.add_row([
            &worker_id.to_string(),
            &console::printable(name),
            &console::printable(device),
            ready,
            &shards.to_string(),
            &seconds,
            &if worker.rests().is_some() { "rests".to_owned() } else { console::printable(activity) },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(worker_id: u64, activity: &str) -> WorkerStatus {
        let (name, device) = (format!("host-{worker_id}"), "cpu".to_owned());
        let activity = activity.to_owned();
        WorkerStatus { worker_id, name, device, shards: 4, ready: true, activity, shard_seconds: 0.5 }
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
}
