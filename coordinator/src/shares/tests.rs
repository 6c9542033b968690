//! Plans against an oracle, against noise, and in words.

mod annealing;
mod oracle;
mod plans;
mod simulation;
mod words;

use headstart::id::WorkerId;
use headstart::tree::Tree;

use super::{Pace, Paces, Shares, choose};

fn near(shard: f64) -> Pace {
    Pace { shard: Some(shard), fixed: Some(0.0), partial: Some(0.0), remote: false, longest: u32::MAX }
}

fn far(shard: f64, partial: f64) -> Pace {
    Pace { partial: Some(partial), remote: true, ..near(shard) }
}

fn paces(each: &[Pace]) -> Paces {
    Paces { workers: (0..).map(WorkerId).zip(each.iter().copied()).collect(), shared: None }
}

fn plan(paces: &Paces, shards: u32) -> Shares {
    choose(paces, Tree::new(shards), None).expect("there are workers")
}
