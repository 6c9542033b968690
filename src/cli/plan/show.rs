//! A plan for people.

use std::time::Duration;

use comfy_table::{Table, presets};
use headstart::job::Job;

use super::{Known, Planned, Tokens};
use crate::cli::format::{self, count};

const MIB: f64 = (1 << 20) as f64;

/// The whole plan as text.
pub(super) fn text(planned: &Planned) -> String {
    let Planned { job, workers, tokens, samples, memory, speed, link, coordinator_link, .. } = planned;
    let (plan, spec) = (&job.plan, &job.spec);
    let tokens = tokens.map(|Tokens { total, longest, counted }| {
        let (about, source) = if counted { ("", "counted") } else { ("about ", "estimated") };
        format!(", {about}{} tokens, at most {} in a row ({source})", count(total), count(longest))
    });
    let mut lines = vec![
        format!(
            "steps:       {}, {} to an epoch: {:.2} epochs",
            count(plan.steps()),
            count(plan.steps_per_epoch()),
            plan.epoch_after(plan.steps())
        ),
        format!("samples:     {}{}", count(*samples), tokens.unwrap_or_default()),
        format!(
            "batch:       {} samples in {} shards",
            spec.batch.global_batch_size, spec.batch.shards_per_step
        ),
        format!("trains:      {} parameters", count(job.network.trainable.len() as u64)),
        format!(
            "memory:      a worker {:.0} MiB, the coordinator {:.0} MiB, with {} (predicted)",
            memory.worker / MIB,
            memory.coordinator / MIB,
            format::workers(*workers as usize)
        ),
        format!(
            "             if workers are on other machines: a worker {:.0} MiB, the coordinator {:.0} MiB",
            memory.worker_across / MIB,
            memory.coordinator_across / MIB
        ),
        format!("wire:        {}{}", spec.wire.name(), sparse(planned)),
        format!("speed:       {:.1} samples/s a worker ({})", speed.value, speed.source),
        format!("bandwidth:   {}", bandwidth(link)),
    ];
    let at = 1 + lines.iter().position(|line| line.starts_with("trains:")).unwrap_or_default();
    lines.splice(at..at, treatment(job));
    if coordinator_link != link {
        lines.push(format!("coordinator: {}", bandwidth(coordinator_link)));
    }
    lines.push(table(planned).to_string());
    lines.push(format!("recommended: {}", format::workers(planned.recommended as usize)));
    lines.join("\n")
}

/// How parameters are treated apart from each other, if they are; a line for each key that says so.
fn treatment(job: &Job) -> Vec<String> {
    let (transfer, trainable) = (&job.spec.transfer, &job.network.trainable);
    let mut lines = Vec::new();
    if transfer.layer_decay != 1.0 {
        let rates = trainable.slots().iter().map(|slot| slot.treatment.rate);
        let (least, most) =
            rates.fold((1.0f64, 0.0f64), |(least, most), rate| (least.min(rate), most.max(rate)));
        lines.push(format!(
            "layer decay: {}: from learning rate × {least:.2e} to × {most:.3}",
            transfer.layer_decay
        ));
    }
    if !transfer.unfreeze.is_empty() {
        let steps = trainable.unfrozen().into_iter();
        let steps = steps.map(|(step, elements)| format!("{} from step {step}", count(elements as u64)));
        lines.push(format!("unfreezes:   {}", steps.collect::<Vec<_>>().join(", ")));
    }
    if transfer.l2_sp > 0.0 {
        let pulled = trainable.slots().iter().filter(|slot| slot.treatment.pull > 0.0);
        let elements: usize = pulled.map(|slot| slot.range.len()).sum();
        let strength = transfer.l2_sp;
        lines.push(format!(
            "l2_sp:       {strength}: pulls {} parameters to where they began",
            count(elements as u64)
        ));
    }
    lines
}

/// How much less travels because of tables of which few rows are looked up.
fn sparse(planned: &Planned) -> String {
    match planned.traffic.tables.is_empty() {
        true => String::new(),
        false => {
            let [sent, dense] =
                [&planned.traffic, &planned.traffic.dense()].map(|traffic| 1e-6 * traffic.gradient(1.0));
            format!(
                ", at most {sent:.2} MB a step's gradient ({dense:.2} if it looked up every row of its tables)"
            )
        }
    }
}

fn bandwidth(link: &Known) -> String {
    format!("{:.2} Gbit/s ({})", 8e-9 * link.value, link.source)
}

fn table(planned: &Planned) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["workers", "MB up/step", "MB down/step", "s/step", "samples/s", "run", "computing"]);
    let steps = planned.job.plan.steps() as f64;
    for step in &planned.steps {
        let run = Duration::try_from_secs_f64(step.seconds * steps).unwrap_or(Duration::MAX);
        table.add_row([
            step.workers.to_string(),
            format!("{:.2}", 1e-6 * step.bytes_up as f64),
            format!("{:.2}", 1e-6 * step.bytes_down as f64),
            format!("{:.3}", step.seconds),
            format!("{:.1}", f64::from(planned.job.spec.batch.global_batch_size) / step.seconds),
            format::duration(run),
            format!("{:.0} %", 100.0 * step.utilisation),
        ]);
    }
    table
}
