//! Predicts the duration of a step for each number of workers, and recommends one.

use headstart::tree::Tree;

/// Seconds of an update per trainable parameter, estimated: seven floats read or written at 14 GB/s.
const UPDATE: f64 = 2e-9;
/// Minimum fraction of a worker's time spent computing, below which adding it is not recommended.
const WORTH_HAVING: f64 = 0.5;

/// What a step's time depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Samples a second that one worker computes.
    pub(super) samples_per_second: f64,
    /// Samples of a step.
    pub(super) batch: u32,
    /// Its shards.
    pub(super) shards: u32,
    /// Elements that train.
    pub(super) trainable: u64,
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
    /// Bytes of weights pulled.
    pub(super) bytes_down: u64,
    /// Seconds.
    pub(super) seconds: f64,
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
        let bytes = 4.0 * self.trainable as f64;
        let shard = f64::from(self.batch) / f64::from(self.shards) / self.samples_per_second;
        let longest = most.max(self.shards.div_ceil(busy));
        let moved = |by_worker: u32, by_all: u32| {
            (bytes * f64::from(by_worker) / self.worker_link)
                .max(bytes * f64::from(by_all) / self.coordinator_link)
        };
        let computing = f64::from(longest) * shard;
        let seconds =
            computing + moved(pushes, partials) + UPDATE * self.trainable as f64 + moved(1, workers);
        Step {
            workers,
            partials,
            bytes_up: u64::from(partials) * 4 * self.trainable,
            bytes_down: u64::from(workers) * 4 * self.trainable,
            seconds,
            utilisation: f64::from(self.shards) * shard / f64::from(workers) / seconds,
        }
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
                "more workers do not make this run faster: each moves {:.0} MB each way in every step, for {:.2} s of \
                 computing on one worker. Train fewer parameters (freeze), use a larger global_batch_size or a faster \
                 network; for full training of large networks, tools with all-reduce between GPUs are the better choice",
                4e-6 * self.trainable as f64,
                f64::from(self.batch) / self.samples_per_second
            )
        })
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

    const PACE: Pace = Pace {
        samples_per_second: 20.0,
        batch: 32,
        shards: 8,
        trainable: 25_000_000,
        worker_link: 1e9,
        coordinator_link: 1e9,
    };

    #[test]
    fn equal_workers_share_the_shards() {
        assert_eq!(nodes(8, 1), [8]);
        assert_eq!(nodes(8, 2), [4, 4]);
        assert_eq!(nodes(8, 8), [1; 8]);
        assert_eq!(nodes(8, 3).iter().sum::<u32>(), 8);
        assert_eq!(nodes(1, 5), [1]);
    }

    #[test]
    fn a_step_is_computing_and_moving() {
        let step = PACE.step(2);
        assert_eq!((step.bytes_up, step.bytes_down), (200_000_000, 200_000_000));
        // 0.8 s of computing, 0.2 s up, 0.05 s of update, 0.2 s down.
        assert!((step.seconds - 1.25).abs() < 1e-9, "{step:?}");
        assert!((step.utilisation - 0.64).abs() < 1e-9, "{step:?}");
        let slower = Pace { worker_link: 0.25e9, ..PACE }.step(2);
        assert!((slower.seconds - 1.65).abs() < 1e-9, "the worker's own link counts: {slower:?}");
    }

    #[test]
    fn workers_are_recommended_while_they_compute_half_of_their_time() {
        assert_eq!(PACE.recommended(32), 2);
        assert_eq!(Pace { trainable: 1000, ..PACE }.recommended(32), 8, "a step has 8 shards");
        assert_eq!(Pace { trainable: 1000, ..PACE }.recommended(3), 2, "3 take as long as 2 with 8 shards");
        assert_eq!(PACE.cannot_win(32), None);
        let large = Pace { trainable: 1_000_000_000, worker_link: 3e9, coordinator_link: 3e9, ..PACE };
        assert_eq!(large.recommended(32), 1);
        assert!(large.cannot_win(32).is_some_and(|said| said.contains("4000 MB")));
    }
}
