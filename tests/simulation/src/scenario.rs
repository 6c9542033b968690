//! What a seed decides.

use std::time::Duration;

use headstart::run_file::Wire;

use crate::dice::Dice;
use crate::fixture::Shape;
use crate::store::Weather;

/// Longest time until a worker comes for the first time.
const LATEST: Duration = Duration::from_secs(8);
/// Longest time that a worker computes a shard, or a message travels.
const SLOWEST: Duration = Duration::from_millis(200);

/// What sums may be rounded to.
pub const WIRES: [Wire; 3] = [Wire::F32, Wire::Bf16, Wire::Int8];

/// Who takes part, on what network and store, and how much goes wrong.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The network that is trained.
    pub shape: Shape,
    /// The numbers that sums are rounded to.
    pub wire: Wire,
    /// Whether workers keep weights, rather than take them with each step.
    pub replicas: bool,
    /// Rows that are probed before the first step; 0: none.
    pub probed: u32,
    /// The workers.
    pub workers: Vec<Part>,
    /// The store.
    pub weather: Weather,
    /// Failures of the store that workers see.
    pub seen: u64,
    /// Longest time that a message travels.
    pub latency: Duration,
    /// Faults of processes and lines.
    pub faults: u64,
    /// Longest time between two.
    pub gap: Duration,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Part {
    /// When it comes.
    pub joins: Duration,
    /// How long it computes a shard.
    pub job: Duration,
    /// Gradients that its memory holds.
    pub gradients: u64,
}

impl Scenario {
    /// One worker without a replica, and nothing happens to it.
    pub fn calm(shape: Shape, wire: Wire) -> Scenario {
        Scenario {
            seed: 0,
            shape,
            wire,
            replicas: false,
            probed: 0,
            workers: vec![Part { joins: Duration::ZERO, job: Duration::from_millis(1), gradients: 16 }],
            weather: Weather::default(),
            seen: 0,
            latency: Duration::from_millis(1),
            faults: 0,
            gap: Duration::ZERO,
        }
    }

    /// The scenario of a seed.
    pub fn of(seed: u64) -> Scenario {
        let dice = Dice::new(seed, "scenario");
        let shape = match dice.happens(150) {
            true => Shape::Wide,
            false if seed.is_multiple_of(4) => Shape::Treated,
            false => Shape::Narrow,
        };
        // From 1 to 32, and of a wide network from 1 to 4: every magnitude is as likely as another.
        let magnitudes = if shape == Shape::Wide { 3 } else { 6 };
        let count = 1 + dice.below(1 << dice.below(magnitudes));
        let part =
            |_| Part { joins: dice.time(LATEST), job: dice.time(SLOWEST), gradients: 1 + dice.below(6) };
        Scenario {
            seed,
            shape,
            wire: *dice.choose(&WIRES).expect("there are some"),
            replicas: dice.happens(800),
            probed: dice.below(24) as u32,
            workers: (0..count).map(part).collect(),
            weather: Weather {
                slowest: dice.time(SLOWEST),
                failing: dice.below(200),
                lasting: dice.below(20),
            },
            seen: dice.below(3),
            latency: dice.time(SLOWEST),
            faults: 1 + dice.below(8),
            gap: dice.time(Duration::from_secs(8)),
        }
    }
}
