//! The state of a run in Prometheus's text format. Each scrape is rendered from the status alone, so that no samples of
//! a worker remain after it has left. `docs/metrics.md` lists every metric.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headstart::message::TimeBreakdown;
use prometheus::core::Collector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, TextEncoder};

use crate::actor::Status;
use crate::machine::{Counts, Snapshot, WorkerLine};
use crate::serve::Serving;
use crate::status;

/// All metrics in the text format, version 0.0.4. Before the run is loaded there is nothing but its state.
pub(super) fn render(serving: Option<&Serving>) -> Result<String, Error> {
    let mut families = Families::default();
    match serving {
        None => families.state("loading"),
        Some(serving) => {
            let status = serving.handle.status().borrow().clone();
            families.run(serving, &status);
            families.progress(&status);
            families.traffic(serving);
            families.counts(&status.snapshot.counts, serving);
            families.workers(&status.snapshot.workers, serving.clock.elapsed());
            families.durations(serving);
        }
    }
    TextEncoder::new().encode_to_string(&families.0)
}

/// Every state a run can be in, with `loading` before a client can ask for it.
const STATES: [&str; 9] =
    ["loading", "waiting", "probing", "training", "evaluating", "saving", "finished", "stopped", "failed"];

#[derive(Default)]
struct Families(Vec<MetricFamily>);

/// One sample: labels and value.
type Sample<'a> = (&'a [(&'a str, &'a str)], f64);

impl Families {
    fn add(&mut self, kind: MetricType, name: &str, help: &str, samples: Vec<Metric>) {
        // A family without samples has no place in the format.
        if !samples.is_empty() {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(samples);
            self.0.push(family);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(MetricType::GAUGE, name, help, vec![gauge((&[], value))]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add(MetricType::COUNTER, name, help, vec![counter((&[], value as f64))]);
    }

    fn state(&mut self, now: &str) {
        let is = |state: &str| f64::from(u8::from(state == now));
        let samples = STATES.iter().map(|state| gauge((&[("state", state)], is(state)))).collect();
        self.add(
            MetricType::GAUGE,
            "headstart_state",
            "1 for the state the run is in, 0 for the others.",
            samples,
        );
    }

    fn run(&mut self, serving: &Serving, status: &Status) {
        self.state(status::name(status));
        let labels = [("run_id", serving.run_id.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
        let help = "The run, and the version of the coordinator.";
        self.add(MetricType::GAUGE, "headstart_info", help, vec![gauge((&labels, 1.0))]);
        self.gauge(
            "headstart_run_seconds",
            "Time since the run began.",
            serving.clock.elapsed().as_secs_f64(),
        );
    }

    fn progress(&mut self, status: &Status) {
        let Snapshot { step, total_steps, epoch, loss, grad_norm, learning_rate, eval, .. } =
            &status.snapshot;
        self.gauge("headstart_step", "Updates applied.", *step as f64);
        self.gauge("headstart_total_steps", "Updates to apply.", *total_steps as f64);
        self.gauge("headstart_weights_version", "Version of the master weights.", *step as f64);
        self.gauge("headstart_epoch", "Passes over the training data.", *epoch);
        self.gauge("headstart_loss", "Mean loss of the last step.", *loss);
        let help = "Norm of the mean gradient of the last step, before clipping.";
        self.gauge("headstart_grad_norm", help, *grad_norm);
        self.gauge("headstart_learning_rate", "Learning rate of the step in flight.", *learning_rate);
        let help = "Training speed of the last step.";
        self.gauge("headstart_samples_per_second", help, status.speed.samples);
        let help =
            "Tokens of all rows that the last step trained on, per second; 0 unless a language model trains.";
        self.gauge("headstart_tokens_per_second", help, status.speed.tokens);
        let samples = eval.1.iter().map(|(metric, value)| gauge((&[("metric", metric)], *value))).collect();
        self.add(MetricType::GAUGE, "headstart_eval", "Metrics of the last evaluation.", samples);
    }

    fn traffic(&mut self, serving: &Serving) {
        let traffic = serving.handle.traffic();
        let (up, down) = (traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed));
        self.counter("headstart_bytes_up_total", "Bytes of partials received.", up);
        self.counter("headstart_bytes_down_total", "Bytes of sums and weights sent.", down);
        let (followers, staged) = serving.broadcast.load();
        let help = "Workers that keep a replica of weights and optimizer state.";
        self.gauge("headstart_replicas", help, followers as f64);
        let help = "Bytes of packed sums that are kept for replicas.";
        self.gauge("headstart_staged_bytes", help, staged as f64);
        let meter = serving.handle.meter();
        let queues = [
            ("inbox", serving.handle.queued() as u64),
            ("pushes", meter.pushes.get()),
            ("pulls", meter.pulls.get()),
        ];
        let samples = queues.map(|(queue, depth)| gauge((&[("queue", queue)], depth as f64))).to_vec();
        let help = "Events that wait for the coordinator's loop, and transfers in flight.";
        self.add(MetricType::GAUGE, "headstart_queue_depth", help, samples);
    }

    fn counts(&mut self, counts: &Counts, serving: &Serving) {
        let Counts {
            leases_granted,
            leases_released,
            partials,
            shards,
            compute,
            refused,
            not_finite,
            commits,
        } = *counts;
        self.counter("headstart_leases_granted_total", "Leases granted.", leases_granted);
        let help = "Leases that ended without a partial; their nodes were leased again.";
        self.counter("headstart_leases_released_total", help, leases_released);
        let both = |[train, eval]: [u64; 2]| {
            let samples = [("train", train), ("eval", eval)];
            samples.map(|(pass, value)| counter((&[("pass", pass)], value as f64))).to_vec()
        };
        let help = "Partials that became part of a sum.";
        self.add(MetricType::COUNTER, "headstart_partials_accepted_total", help, both(partials));
        let help = "Shards of the partials accepted.";
        self.add(MetricType::COUNTER, "headstart_shards_accepted_total", help, both(shards));
        let help = "Time that workers computed for the partials accepted.";
        let samples = vec![counter((&[], compute.as_secs_f64()))];
        self.add(MetricType::COUNTER, "headstart_compute_accepted_seconds_total", help, samples);
        let help = "States of the run committed by this coordinator, not counting the last.";
        self.counter("headstart_commits_total", help, commits);
        let help = "Partials that no lease asked for, or whose sums cannot be right.";
        self.counter("headstart_partials_refused_total", help, refused);
        let arrived = serving.handle.meter().not_finite.load(Ordering::Relaxed);
        let help = "Partials with a non-finite value, by the program that found it.";
        let samples = [("worker", not_finite), ("coordinator", arrived)];
        let samples = samples.map(|(by, value)| counter((&[("found_by", by)], value as f64))).to_vec();
        self.add(MetricType::COUNTER, "headstart_partials_not_finite_total", help, samples);
    }

    fn workers(&mut self, workers: &[WorkerLine], now: Duration) {
        let ready = workers.iter().filter(|line| line.ready).count();
        self.gauge("headstart_workers", "Workers that have joined.", workers.len() as f64);
        self.gauge("headstart_workers_ready", "Workers that can compute.", ready as f64);
        let ids: Vec<String> = workers.iter().map(|line| line.worker.0.to_string()).collect();
        let each = || ids.iter().map(String::as_str).zip(workers);
        let samples = each().map(|(id, line)| {
            gauge((&[("worker", id), ("name", &line.name), ("device", &line.device)], 1.0))
        });
        let help = "Name and device of each worker. Workers that have left have no samples here or below.";
        self.add(MetricType::GAUGE, "headstart_worker_info", help, samples.collect());
        let samples = each().map(|(id, line)| gauge((&[("worker", id)], f64::from(u8::from(line.ready)))));
        self.add(
            MetricType::GAUGE,
            "headstart_worker_ready",
            "1 for workers that can compute.",
            samples.collect(),
        );
        let samples = each().map(|(id, line)| counter((&[("worker", id)], line.shards as f64)));
        let help = "Shards a worker computed that became part of a sum.";
        self.add(MetricType::COUNTER, "headstart_worker_shards_total", help, samples.collect());
        let samples = each().flat_map(|(id, line)| {
            let TimeBreakdown { compute, transfer, wait } = line.spent;
            let activities = [("compute", compute), ("transfer", transfer), ("wait", wait)];
            activities.map(|(activity, time)| {
                counter((&[("worker", id), ("activity", activity)], time.as_secs_f64()))
            })
        });
        let help = "Where a worker's time has gone since it was ready, by its last heartbeat.";
        self.add(MetricType::COUNTER, "headstart_worker_seconds_total", help, samples.collect());
        let samples = each().filter_map(|(id, line)| {
            let age = now.saturating_sub(line.leased_since?);
            Some(gauge((&[("worker", id)], age.as_secs_f64())))
        });
        let help = "Age of the oldest lease a worker holds; none without a lease.";
        self.add(MetricType::GAUGE, "headstart_worker_lease_age_seconds", help, samples.collect());
    }

    fn durations(&mut self, serving: &Serving) {
        let meter = serving.handle.meter();
        self.0.extend(meter.step.collect());
        let mut parts = meter.parts.iter().flat_map(|(_, part)| part.collect());
        // One family, whose samples differ in their label.
        if let Some(mut family) = parts.next() {
            let rest = parts.flat_map(|mut other| other.take_metric());
            let samples = family.take_metric().into_iter().chain(rest).collect();
            family.set_metric(samples);
            self.0.push(family);
        }
    }
}

fn gauge((labels, value): Sample<'_>) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut sample = labelled(labels);
    sample.set_gauge(gauge);
    sample
}

fn counter((labels, value): Sample<'_>) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut sample = labelled(labels);
    sample.set_counter(counter);
    sample
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut sample = Metric::default();
    sample.set_label(labels.iter().map(pair).collect());
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_run_is_loaded_its_state_is_all_there_is() {
        let text = render(None).expect("it can be written");
        assert!(text.starts_with("# HELP headstart_state "), "{text}");
        assert!(text.contains("headstart_state{state=\"loading\"} 1\n"), "{text}");
        assert!(text.contains("headstart_state{state=\"training\"} 0\n"), "{text}");
        assert_eq!(text.lines().count(), 2 + STATES.len(), "{text}");
    }

    #[test]
    fn what_a_worker_says_of_itself_cannot_break_a_line() {
        let mut families = Families::default();
        let samples = vec![gauge((&[("name", "a\"b\\c\nd")], 1.0))];
        families.add(MetricType::GAUGE, "headstart_worker_info", "Help.", samples);
        let text = TextEncoder::new().encode_to_string(&families.0).expect("it can be written");
        assert!(text.ends_with("headstart_worker_info{name=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
    }
}
