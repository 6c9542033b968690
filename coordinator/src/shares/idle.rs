//! Why a worker idles, for people.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use headstart::id::WorkerId;
use headstart::message::IDLES;

use super::{MARGIN, Pace, Shares};

/// What in the run file decides how much travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic<'a> {
    /// The format of gradients on the wire, as the run file names it.
    pub wire: &'a str,
    /// Whether an adapter is trained.
    pub adapter: bool,
}

/// Why a worker idles. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Its partial takes too long to travel, or the step's sums on their way down to it.
    Link {
        /// Time of a step with it.
        with: f64,
        /// Time of a step without it.
        without: f64,
    },
    /// A shard takes it too long.
    Processor {
        /// Time of one shard.
        shard: f64,
        /// Time of a step without it.
        without: f64,
    },
    /// The others have all the shards, and would not be faster with it.
    Shards {
        /// Shards of a step.
        shards: u32,
        /// Workers that have them.
        members: usize,
    },
    /// It has not been measured yet.
    Unknown,
}

/// A reason with its worker and cure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle<'a> {
    pub worker: WorkerId,
    pub reason: Reason,
    pub traffic: Traffic<'a>,
}

/// Why a worker is not a member of `shares`; `None` if it is one, or is no worker of that plan.
pub fn reason(shares: &Shares, worker: WorkerId, pace: &Pace) -> Option<Reason> {
    let &with = shares.idle.get(&worker)?;
    let without = shares.time;
    if with <= without * (1.0 + MARGIN) {
        return Some(Reason::Shards { shards: shares.tree.shards(), members: shares.members.len() });
    }
    let Some(shard) = pace.shard else { return Some(Reason::Unknown) };
    Some(if with - shard >= shard {
        Reason::Link { with, without }
    } else {
        Reason::Processor { shard, without }
    })
}

/// One line: `worker 2 idles: its link would make a step 7.3 s, the others take 0.4 s; wire: int8 or LoRA would change that`.
impl fmt::Display for Idle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Idle { worker, reason, traffic } = self;
        write!(f, "{worker}{IDLES}")?;
        match *reason {
            Reason::Link { with, without } => {
                let (with, without, cure) = (Seconds(with), Seconds(without), traffic.cure());
                write!(
                    f,
                    "its link would make a step {with}, the others take {without}; {cure} would change that"
                )
            }
            Reason::Processor { shard, without } => {
                let (shard, without) = (Seconds(shard), Seconds(without));
                let cure = "a larger shards_per_step would change that";
                write!(f, "a shard takes it {shard}, a step takes the others {without}; {cure}")
            }
            Reason::Shards { shards, members } => {
                let workers = if members == 1 { "worker computes" } else { "workers compute" };
                let each = if shards == 1 { "shard" } else { "shards" };
                write!(f, "{members} {workers} the step's {shards} {each} as fast without it; ")?;
                write!(f, "a larger shards_per_step would change that")
            }
            Reason::Unknown => write!(f, "no shard of it has been timed yet"),
        }
    }
}

impl Traffic<'_> {
    /// What would shorten the way of a partial and is not in force yet.
    fn cure(&self) -> &'static str {
        match (self.wire == "int8", self.adapter) {
            (false, false) => "wire: int8 or LoRA",
            (false, true) => "wire: int8",
            (true, false) => "LoRA",
            (true, true) => "a faster link",
        }
    }
}

/// A time for people: `0.4 s`, `73 s`, and `0.004 s` below a tenth.
struct Seconds(f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 0.1 => write!(f, "{seconds:.3} s"),
            seconds if seconds < 10.0 => write!(f, "{seconds:.1} s"),
            seconds => write!(f, "{seconds:.0} s"),
        }
    }
}
