//! Predicts the duration of a step for each number of workers, and recommends one.

use headstart::run_file::Wire;
use headstart::tree::Tree;

use super::traffic::Traffic;

/// Seconds of an update per trainable parameter, estimated: seven floats read or written at 14 GB/s.
const UPDATE: f64 = 2e-9;
/// Minimum fraction of a worker's time spent computing, below which adding it is not recommended.
const WORTH_HAVING: f64 = 0.5;
/// Part of a worker's last shard during which its gradient can leave, estimated: the backward pass is two thirds of it, and the
/// tables of the input become final at its end.
const LEAVING: f64 = 0.5;
/// Part of a gradient that can leave so.
const EARLY: f64 = 0.5;
/// Part of the way down that is hidden behind the way up, estimated: sums are sent as they become whole.
const STAGED: f64 = 0.5;
/// The link dominates a step from this part of it on.
const DOMINATES: f64 = 0.3;

/// What a step's time depends on.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Samples a second that one worker computes.
    pub(super) samples_per_second: f64,
    /// Samples of a step.
    pub(super) batch: u32,
    /// Its shards.
    pub(super) shards: u32,
    /// What travels.
    pub(super) traffic: Traffic,
    /// Whether an adapter is trained.
    pub(super) adapter: bool,
    /// Bytes a second of a worker's link, each way.
    pub(super) worker_link: f64,
    /// Of the coordinator's.
    pub(super) coordinator_link: f64,
}

/// The prediction for one number of workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) workers: u32,
    /// Partials that are pushed.
    pub(super) partials: u32,
    /// Bytes of them.
    pub(super) bytes_up: u64,
    /// Bytes of sums or weights that come down.
    pub(super) bytes_down: u64,
    /// Seconds.
    pub(super) seconds: f64,
    /// Those of them in which only the link is at work.
    pub(super) moving: f64,
    /// Part of the workers' time that they compute.
    pub(super) utilisation: f64,
}

impl Pace {
    /// A step with `workers` equal workers.
    pub(super) fn step(&self, workers: u32) -> Step {
        let nodes = nodes(self.shards, workers);
        let (partials, most) = (nodes.len() as u32, nodes.iter().copied().max().unwrap_or(1));
        let busy = self.shards.min(workers);
        // A worker that computes a second node pushes both.
        let pushes = partials.div_ceil(busy);
        let bytes_of = |node: u32| self.traffic.gradient(f64::from(node) / f64::from(self.shards));
        let (largest, up) = (bytes_of(most), nodes.iter().map(|&node| bytes_of(node)).sum::<f64>());
        let down = f64::from(workers) * self.traffic.down();
        let shard = f64::from(self.batch) / f64::from(self.shards) / self.samples_per_second;
        let longest = most.max(self.shards.div_ceil(busy));
        let moved =
            |by_worker: f64, by_all: f64| (by_worker / self.worker_link).max(by_all / self.coordinator_link);
        let computing = f64::from(longest) * shard;
        let moving =
            self.exposed(moved(f64::from(pushes) * largest, up), moved(down / f64::from(workers), down));
        let seconds = computing + moving + UPDATE * self.traffic.trainable as f64;
        Step {
            workers,
            partials,
            bytes_up: up as u64,
            bytes_down: down as u64,
            seconds,
            moving,
            utilisation: f64::from(self.shards) * shard / f64::from(workers) / seconds,
        }
    }

    /// Seconds of the way up and the way down that neither computing nor each other hides. Weights cannot leave before they are
    /// updated, sums can.
    fn exposed(&self, up: f64, down: f64) -> f64 {
        let shard = f64::from(self.batch) / f64::from(self.shards) / self.samples_per_second;
        let left = up - (EARLY * up).min(LEAVING * shard);
        let hidden = if self.traffic.replicas { (STAGED * down).min(left) } else { 0.0 };
        left + down - hidden
    }

    /// The largest number of workers at which each one still makes steps shorter and computes for at least half of its
    /// time.
    pub(super) fn recommended(&self, most: u32) -> u32 {
        let mut best = self.step(1);
        for workers in 2..=most.min(self.shards) {
            let step = self.step(workers);
            if step.utilisation >= WORTH_HAVING && step.seconds < best.seconds {
                best = step;
            }
        }
        best.workers
    }

    /// Why no number of workers is much faster than one, when that is so.
    pub(super) fn cannot_win(&self, most: u32) -> Option<String> {
        let one = self.step(1);
        let fastest = (2..=most.min(self.shards)).map(|workers| self.step(workers).seconds);
        let fastest = fastest.fold(f64::INFINITY, f64::min);
        let gain = one.seconds / fastest;
        (fastest.is_finite() && gain < 1.2).then(|| {
            format!(
                "more workers do not make this run faster: each moves up to {:.0} MB up and {:.0} MB down in every step, for \
                 {:.2} s of computing on one worker. {}Train fewer parameters (freeze), use a larger global_batch_size or a \
                 faster network; for full training of large networks, tools with all-reduce between GPUs are the better choice",
                1e-6 * self.traffic.gradient(1.0),
                1e-6 * self.traffic.down(),
                f64::from(self.batch) / self.samples_per_second,
                self.cures().map(|cures| format!("Use {cures} (which changes the result's bits). ")).unwrap_or_default()
            )
        })
    }

    /// What to do where `workers` workers across a network wait for it for a large part of each step.
    pub(super) fn link_dominates(&self, workers: u32) -> Option<String> {
        let step = self.step(workers);
        let cures = self.cures()?;
        let narrow = Pace { traffic: self.traffic.with(Wire::Int8), ..self.clone() }.step(workers);
        let with = match self.traffic.wire {
            Wire::Int8 => String::new(),
            Wire::F32 | Wire::Bf16 => format!("; with wire: int8 a step would take {:.2} s", narrow.seconds),
        };
        (step.moving > DOMINATES * step.seconds).then(|| {
            format!(
                "if the workers are on other machines, the link takes {:.2} s of a step of {:.2} s{with}. Use {cures} (which \
                 changes the result's bits)",
                step.moving, step.seconds
            )
        })
    }

    /// What makes less travel and is not in force yet.
    fn cures(&self) -> Option<&'static str> {
        match (self.traffic.wire == Wire::Int8, self.adapter) {
            (false, false) => Some("wire: int8 or an adapter (LoRA)"),
            (false, true) => Some("wire: int8"),
            (true, false) => Some("an adapter (LoRA)"),
            (true, true) => None,
        }
    }
}

/// Shards of the nodes that are leased when equal workers take the lowest in turn, as the coordinator shares them out.
pub(super) fn nodes(shards: u32, workers: u32) -> Vec<u32> {
    let tree = Tree::new(shards);
    let (mut first, mut nodes) = (0, Vec::new());
    while first < shards {
        let unserved = workers - (nodes.len() as u32 % workers);
        let share = ((f64::from(shards - first) / f64::from(unserved) + 0.5) as u32).max(1);
        let node = tree.largest_at(first, share);
        nodes.push(node.shards);
        first = node.end();
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(trainable: u64, wire: Wire) -> Pace {
        Pace {
            samples_per_second: 20.0,
            batch: 32,
            shards: 8,
            traffic: Traffic { wire, trainable, tables: Vec::new(), replicas: true },
            adapter: false,
            worker_link: 1e9,
            coordinator_link: 1e9,
        }
    }

    #[test]
    fn equal_workers_share_the_shards() {
        assert_eq!(nodes(8, 1), [8]);
        assert_eq!(nodes(8, 2), [4, 4]);
        assert_eq!(nodes(8, 8), [1; 8]);
        assert_eq!(nodes(8, 3).iter().sum::<u32>(), 8);
        assert_eq!(nodes(1, 5), [1]);
    }

    #[test]
    fn a_step_is_computing_and_what_of_moving_nothing_hides() {
        let wide = pace(25_000_000, Wire::F32);
        let step = wide.step(2);
        // Two times 25 million elements and their bits, each way.
        assert_eq!((step.bytes_up, step.bytes_down), (200_097_656, 200_097_656));
        // Half of 0.2 s up leave early, and half of 0.2 s down are staged meanwhile.
        assert!((step.moving - 0.2001).abs() < 1e-4, "{step:?}");
        // 0.8 s of computing and 0.05 s of update beside.
        assert!((step.seconds - 1.0501).abs() < 1e-4, "{step:?}");
        assert!((step.utilisation - 0.8 / step.seconds).abs() < 1e-9, "{step:?}");
        let slower = Pace { worker_link: 0.25e9, ..wide.clone() }.step(2);
        assert!(slower.moving > step.moving, "the worker's own link counts: {slower:?}");
        let weights = Pace { traffic: Traffic { replicas: false, ..wide.traffic.clone() }, ..wide.clone() };
        assert!(weights.step(2).moving > 1.4 * step.moving, "weights wait for the update");
        let narrow = pace(25_000_000, Wire::Int8).step(2);
        assert!(narrow.bytes_up * 39 < step.bytes_up * 10, "{narrow:?}");
        assert!(narrow.seconds < step.seconds, "{narrow:?}");
    }

    #[test]
    fn workers_are_recommended_while_they_compute_half_of_their_time() {
        let (wide, small) = (pace(25_000_000, Wire::F32), pace(1000, Wire::F32));
        assert_eq!(wide.recommended(32), 2);
        assert_eq!(pace(25_000_000, Wire::Int8).recommended(32), 4, "a narrow wire is room for more");
        assert_eq!(small.recommended(32), 8, "a step has 8 shards");
        assert_eq!(small.recommended(3), 2, "3 take as long as 2 with 8 shards");
        assert_eq!(wide.cannot_win(32), None);
        let large = Pace { worker_link: 3e9, coordinator_link: 3e9, ..pace(1_000_000_000, Wire::F32) };
        assert_eq!(large.recommended(32), 1);
        assert!(
            large.cannot_win(32).is_some_and(|said| said.contains("4002 MB") && said.contains("wire: int8"))
        );
    }

    #[test]
    fn where_the_link_dominates_the_cure_is_named_with_its_gain() {
        let slow = Pace { worker_link: 0.1e9, coordinator_link: 0.1e9, ..pace(25_000_000, Wire::F32) };
        let said = slow.link_dominates(2).unwrap_or_default();
        assert!(said.contains("with wire: int8 a step would take") && said.contains("LoRA"), "{said}");
        let narrow = Pace { traffic: slow.traffic.with(Wire::Int8), worker_link: 1e7, ..slow.clone() };
        let said = narrow.link_dominates(2).unwrap_or_default();
        assert!(!said.contains("int8") && said.contains("LoRA"), "{said}");
        assert_eq!(Pace { adapter: true, ..narrow }.link_dominates(2), None, "nothing is left to do");
        assert_eq!(pace(1000, Wire::F32).link_dominates(2), None);
    }
}
