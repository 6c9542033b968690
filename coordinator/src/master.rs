//! The master weights, the optimizer's state, and what workers see of them.
//!
//! Everything is held per segment. An update locks one segment at a time, so a pull that is under way reads either
//! the old or the new weights of a segment, knows which, and gives up when its version has been overtaken.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headstart::hash;
use headstart::id::{Segment, Version};
use headstart::optimizer::{self, OptimizerConfig, SegmentTreatment, Update};
use headstart::shared_memory::{self, Address, Region, Values};
use headstart::trainable::Trainable;
use rayon::prelude::*;
use tokio::sync::watch;

use crate::reduce::Whole;

/// The trainable vector with its optimizer state.
#[derive(Debug)]
pub struct Master {
    rule: OptimizerConfig,
    max_norm: f64,
    segments: Vec<RwLock<State>>,
    treatments: Vec<SegmentTreatment>,
    version: watch::Sender<Version>,
    /// Where workers on this machine read the weights.
    region: Option<Region>,
}

#[derive(Debug)]
struct State {
    version: Version,
    weights: Values,
    moments: Vec<Vec<f32>>,
    held: Hold,
}

/// A segment's vectors: its weights, then its moments.
pub type Vectors = Vec<Vec<f32>>;

/// Whether the next update must copy a segment before it overwrites it.
#[derive(Debug)]
enum Hold {
    No,
    /// A copy was requested, but no update has come yet.
    Asked,
    /// The content before the update that has come since.
    Copy(Vectors),
}

/// All vectors as they were at one moment, whatever updates follow. Only what an update overwrites is copied.
#[derive(Debug)]
pub struct Held {
    master: Arc<Master>,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// Euclidean norm of the mean gradient, before clipping.
    pub norm: f64,
    /// Hash of the gradient sum.
    pub gradient: u128,
    /// Hash of the weights after the update.
    pub weights: u128,
}

/// An update that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    /// Euclidean norm of the mean gradient, before clipping.
    pub norm: f64,
    pub update: Update,
}

/// The gradient's norm is NaN or infinite; the weights are as before.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the gradient's norm is {norm}")]
pub struct NotFinite {
    pub norm: f64,
}

/// The version asked for has been replaced by a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} was replaced by {current}")]
pub struct Overtaken {
    /// What was asked for.
    pub asked: Version,
    /// What there is.
    pub current: Version,
}

impl Master {
    /// Takes over the trainable vector of version 0, of which it keeps a copy where parameters are pulled towards it. Fails when
    /// there is no memory for it.
    pub fn new(
        rule: OptimizerConfig,
        max_norm: f64,
        layout: &Trainable,
        initial: &[f32],
    ) -> std::io::Result<Master> {
        assert_eq!(initial.len(), layout.len(), "the initial weights fill the layout");
        let places: Vec<_> = (0..layout.segments()).map(|index| layout.segment(index)).collect();
        let lens: Vec<usize> = places.iter().map(Range::len).collect();
        let (region, values) = shared_memory::create(&lens)?;
        let treatment = |(index, place): (usize, &Range<usize>)| {
            let mut treatment = SegmentTreatment::of(layout, index);
            treatment.begin_from(&initial[place.clone()]);
            treatment
        };
        let treatments = places.iter().enumerate().map(treatment).collect();
        let state = |(place, mut weights): (Range<usize>, Values)| {
            let moments = vec![vec![0.0; place.len()]; rule.moments()];
            weights.copy_from_slice(&initial[place]);
            RwLock::new(State { version: Version(0), weights, moments, held: Hold::No })
        };
        Ok(Master {
            rule,
            max_norm,
            segments: places.into_iter().zip(values).map(state).collect(),
            treatments,
            version: watch::Sender::new(Version(0)),
            region,
        })
    }

    /// Where another process of this machine finds the vector. It may find any version there, and parts of two while an
    /// update runs: what it computes from one that was replaced meanwhile is refused.
    pub fn address(&self) -> Option<Address> {
        self.region.as_ref().map(Region::address)
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Size of the vector.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|state| size_of_val(&read(state).weights[..])).sum()
    }

    /// Elements of a segment, or `None` when there is no such segment.
    pub fn segment_len(&self, segment: Segment) -> Option<usize> {
        self.segments.get(segment.0 as usize).map(|state| read(state).weights.len())
    }

    /// The version now whole and visible.
    pub fn version(&self) -> Version {
        *self.version.borrow()
    }

    /// Follows the version.
    pub fn watch(&self) -> watch::Receiver<Version> {
        self.version.subscribe()
    }

    /// The next update, by sums of which one per segment is given: divided by `divisor`, and clipped.
    pub fn prepare(&self, sums: &[Whole], divisor: u64, learning_rate: f64) -> Result<Prepared, NotFinite> {
        // In segment order: a sum's bits depend on its order.
        let squares = sums.iter().map(|sum| sum.squares).sum::<f64>();
        let norm = if divisor == 0 { 0.0 } else { squares.sqrt() / divisor as f64 };
        if !norm.is_finite() {
            return Err(NotFinite { norm });
        }
        let number = self.version().0 + 1;
        let factor = optimizer::clip_factor(norm, self.max_norm);
        Ok(Prepared { norm, update: Update { rule: self.rule, number, learning_rate, divisor, factor } })
    }

    /// Makes an update and publishes it. Runs on the compute pool.
    pub fn apply(&self, Prepared { norm, update }: Prepared, sums: &[Whole]) -> Applied {
        let next = Version(update.number);
        let hashes: Vec<u128> = (&self.segments, &self.treatments, sums)
            .into_par_iter()
            .map(|(state, treatment, sum)| {
                let mut state = write(state);
                state.save_held();
                let State { version, weights, moments, held: _ } = &mut *state;
                *version = next;
                update.apply(treatment, &mut [(0, weights)], &sum.values, moments)
            })
            .collect();
        self.version.send_replace(next);
        let gradients: Vec<u128> = sums.iter().map(|sum| sum.hash).collect();
        Applied { norm, gradient: hash::of_segments(&gradients), weights: hash::of_segments(&hashes) }
    }

    /// Replaces the weights, segment by segment, under a version of their own. The moments stay: nothing is trained any more.
    pub fn publish(&self, version: Version, weights: &[Vec<f32>]) {
        for (state, weights) in self.segments.iter().zip(weights) {
            let mut state = write(state);
            state.save_held();
            state.weights.copy_from_slice(weights);
            state.version = version;
        }
        self.version.send_replace(version);
    }

    /// Hands part of a segment to `take`, provided it still is of the asked version.
    pub fn read<T>(
        &self,
        asked: Version,
        segment: Segment,
        range: Range<usize>,
        take: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, Overtaken> {
        let state = read(&self.segments[segment.0 as usize]);
        if state.version != asked {
            return Err(Overtaken { asked, current: state.version });
        }
        Ok(take(&state.weights[range]))
    }

    /// A copy of the whole vector, segment by segment.
    pub fn copy(&self) -> Vec<Vec<f32>> {
        self.segments.iter().map(|state| read(state).weights.to_vec()).collect()
    }

    /// Takes over weights and moments of a version, segment by segment, as [`Held::take`] gave them.
    pub fn restore(&self, version: Version, vectors: Vec<Vectors>) {
        assert_eq!(vectors.len(), self.segments.len(), "the vectors have this layout");
        for (state, vectors) in self.segments.iter().zip(vectors) {
            let mut state = write(state);
            let mut vectors = vectors.into_iter();
            state.weights.copy_from_slice(&vectors.next().expect("weights come first"));
            state.moments = vectors.collect();
            assert_eq!(state.moments.len(), self.rule.moments(), "the vectors have this layout");
            state.version = version;
        }
        self.version.send_replace(version);
    }

    /// A segment's vectors as they are, and their version.
    pub fn state(&self, segment: Segment) -> (Version, Vectors) {
        let state = read(&self.segments[segment.0 as usize]);
        (state.version, state.vectors())
    }

    /// Freezes the current content of all vectors. Only one hold may exist.
    pub fn hold(self: &Arc<Self>) -> Held {
        for state in &self.segments {
            let mut state = write(state);
            debug_assert!(matches!(state.held, Hold::No), "one is held at a time");
            state.held = Hold::Asked;
        }
        Held { master: self.clone() }
    }

    /// Elements of each segment.
    pub fn segment_lens(&self) -> Vec<usize> {
        self.segments.iter().map(|state| read(state).weights.len()).collect()
    }

    /// Number of state vectors as long as the weights.
    pub fn moments(&self) -> usize {
        self.rule.moments()
    }

    /// Hash of the weights as they are.
    pub fn hash(&self) -> u128 {
        let hashes: Vec<u128> =
            self.segments.iter().map(|state| hash::segment(&read(state).weights)).collect();
        hash::of_segments(&hashes)
    }
}

impl State {
    fn vectors(&self) -> Vectors {
        std::iter::once(self.weights.to_vec()).chain(self.moments.iter().cloned()).collect()
    }

    /// Called before the segment is overwritten.
    fn save_held(&mut self) {
        if matches!(self.held, Hold::Asked) {
            self.held = Hold::Copy(self.vectors());
        }
    }
}

impl Held {
    /// Whose vectors these are.
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// A segment's vectors. May be asked for once.
    pub fn take(&self, segment: usize) -> Vectors {
        let mut state = write(&self.master.segments[segment]);
        match std::mem::replace(&mut state.held, Hold::No) {
            Hold::Copy(vectors) => vectors,
            Hold::Asked => state.vectors(),
            Hold::No => unreachable!("a segment is taken once"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for state in &self.master.segments {
            write(state).held = Hold::No;
        }
    }
}

fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}
