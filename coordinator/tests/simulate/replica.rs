//! A worker's replica: the state of one moment, and the sums since.

use std::collections::BTreeMap;

use futures::FutureExt;
use headstart::hash;
use headstart::id::{Segment, Step, Version};
use headstart::optimizer::SegmentTreatment;
use headstart::run_file::Wire;
use headstart::wire::payload;
use headstart_coordinator::broadcast::{Follower, Item, Unfollowable};

use crate::coordinator::Coordinator;

pub struct Replica {
    pub version: Version,
    pub weights: Vec<f32>,
    moments: Vec<Vec<f32>>,
    staged: BTreeMap<(Step, u32), Vec<f32>>,
    follower: Follower,
    wire: Wire,
    treatment: SegmentTreatment,
}

impl Replica {
    /// The state as it is.
    pub fn begin(coordinator: &Coordinator, wire: Wire) -> Replica {
        let follower = coordinator.reducer.broadcast().follow(None, &coordinator.master.watch());
        let follower = follower.expect("updates are made at once");
        let (version, vectors) = coordinator.master.state(Segment(0));
        let mut vectors = vectors.into_iter();
        let weights = vectors.next().expect("weights come first");
        let (moments, staged) = (vectors.collect(), BTreeMap::new());
        let treatment = coordinator.treatment.clone();
        Replica { version, weights, moments, staged, follower, wire, treatment }
    }

    /// Takes in what has been sent.
    pub fn catch_up(&mut self, coordinator: &Coordinator) {
        while let Some(item) = self.follower.next().now_or_never() {
            match item {
                Ok(Item::Sum { step, attempt, segment, packed }) => {
                    assert_eq!(segment, Segment(0));
                    let mut sum = vec![f32::NAN; self.weights.len()];
                    payload::decode(self.wire, &packed[0], &mut sum).expect("it was packed");
                    self.staged.retain(|&(staged, _), _| staged != step);
                    self.staged.insert((step, attempt), sum);
                }
                Ok(Item::Apply { step, attempt, update }) => {
                    let sum = self.staged.remove(&(step, attempt)).expect("sums come before the word");
                    assert_eq!((step.0, update.number), (self.version.0, self.version.0 + 1));
                    update.apply(&self.treatment, &mut [(0, &mut self.weights)], &sum, &mut self.moments);
                    self.version = Version(update.number);
                }
                Err(Unfollowable::Gone(_)) => *self = Replica::begin(coordinator, self.wire),
                Err(updating) => panic!("{updating}"),
            }
        }
    }

    pub fn hash(&self) -> u128 {
        hash::vector(&self.weights)
    }
}
