//! A replica of the coordinator's weights and optimizer state, kept up to date with the sums of each step's gradient.
//!
//! The weights are the trainer's own; moments and sums are held here, per segment. Sums are staged as they arrive, and applied
//! only when the coordinator says so, with the scalars that it names and with its own code ([`headstart::optimizer`]): so a replica
//! has the coordinator's bits, and its hash shows it. A step that begins anew has a higher attempt, which voids what was staged.
//!
//! What a replica holds belongs to one term of a coordinator: after the coordinator was started again, steps may be computed
//! otherwise, with a shard skipped or not. Then it is dropped, and the state asked for.

use std::sync::Arc;

use headstart::hash;
use headstart::id::{CoordinatorEpoch, Step, Version};
use headstart::network::Network;
use headstart::optimizer::{OptimizerConfig, Piece, SegmentTreatment, Update};
use headstart::run_file::{RunSpec, Wire};
use headstart::trainable::SEGMENT;
use headstart::wire::{payload, pb};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3Default;

use crate::exchange::ExchangeError;
use crate::trainer::{TrainError, Trainer};

#[cfg(test)]
mod tests;

/// Weights of the trainer, and everything that an update needs beside them.
pub struct Replica {
    network: Arc<Network>,
    rule: OptimizerConfig,
    wire: Wire,
    /// Whose updates it has made; `None` while it has made none.
    epoch: Option<CoordinatorEpoch>,
    segments: Vec<SegmentState>,
    staged: Staged,
    /// Buffers of sums between two steps.
    spare: Vec<Vec<f32>>,
}

/// What is known of a segment.
struct SegmentState {
    /// Updates made; `None` before the state has arrived.
    version: Option<Version>,
    /// Weights of the state that have arrived.
    arrived: usize,
    /// As long as the segment each; none before the first update.
    moments: Vec<Vec<f32>>,
    /// Hash of the weights of this version, once an update or the state has told.
    hash: Option<u128>,
    treatment: SegmentTreatment,
}

/// The sums of one attempt at a step.
#[derive(Default)]
struct Staged {
    step: Step,
    attempt: u32,
    /// Per segment: its sum, and the number of elements that have arrived.
    sums: Vec<(Vec<f32>, usize)>,
}

impl Replica {
    /// A replica of version 0, which the trainer begins with; its moments are zero.
    pub fn new(network: Arc<Network>, spec: &RunSpec) -> Replica {
        let treatment = |index| SegmentTreatment::of(&network.trainable, index);
        let state = |index| SegmentState {
            version: Some(Version(0)),
            arrived: 0,
            moments: Vec::new(),
            hash: None,
            treatment: treatment(index),
        };
        let segments = (0..network.trainable.segments()).map(state).collect();
        let (rule, wire) = (OptimizerConfig::new(spec), spec.wire);
        let (staged, spare) = (Staged::default(), Vec::new());
        Replica { network, rule, wire, epoch: None, segments, staged, spare }
    }

    /// Its version under a coordinator, if it is whole.
    pub fn version(&self, epoch: CoordinatorEpoch) -> Option<Version> {
        let known = self.epoch.is_none_or(|ours| ours == epoch);
        let first = self.segments.first()?.version.filter(|_| known)?;
        self.segments.iter().all(|segment| segment.version == Some(first)).then_some(first)
    }

    /// Hash of its weights, if it is known.
    pub fn hash(&self) -> Option<u128> {
        let hashes: Option<Vec<u128>> = self.segments.iter().map(|segment| segment.hash).collect();
        hashes.map(|hashes| hash::of_segments(&hashes))
    }

    /// Drops everything: the trainer's weights are, or will be, other ones.
    pub fn forget(&mut self) {
        for segment in &mut self.segments {
            (segment.version, segment.hash, segment.arrived) = (None, None, 0);
            segment.moments = Vec::new();
        }
        self.staged = Staged::default();
    }

    /// Whether its updates need the trainable vector of version 0, which it has not got.
    pub fn lacks_first_values(&self) -> bool {
        self.segments.iter().any(|segment| segment.treatment.lacks_first_values())
    }

    /// Takes the trainable vector of version 0 along: some parameters are pulled towards it, whatever version they begin with here.
    pub fn begin_from(&mut self, first_values: &[f32]) {
        for (index, segment) in self.segments.iter_mut().enumerate() {
            segment.treatment.begin_from(&first_values[self.network.trainable.segment(index)]);
        }
    }

    /// From here on its updates are those of this coordinator.
    pub fn begin(&mut self, epoch: CoordinatorEpoch) {
        self.epoch = Some(epoch);
        self.staged = Staged::default();
    }

    /// Takes in part of the state. Returns the weights among it, with the number of their first element.
    pub fn receive_state(
        &mut self,
        chunk: pb::StateChunk,
    ) -> Result<Option<(usize, Vec<f32>)>, ExchangeError> {
        let pb::StateChunk { segment, vector, offset, payload, crc32, weights_version } = chunk;
        let (index, offset, vector) = (segment as usize, offset as usize, vector as usize);
        let values = self.unpack((index, offset), &payload, crc32)?;
        let len = self.network.trainable.segment(index).len();
        let count = self.rule.moments();
        let state = &mut self.segments[index];
        if offset == 0 && vector == 0 {
            (state.version, state.hash, state.arrived) = (None, None, 0);
            state.moments = vec![Vec::with_capacity(len); count];
        }
        let at = index * SEGMENT + offset;
        let out_of_order =
            || ExchangeError::Damaged(format!("vector {vector} of segment {index} is out of order"));
        let Some(moment) = vector.checked_sub(1) else {
            if state.arrived != offset {
                return Err(out_of_order());
            }
            state.arrived += values.len();
            return Ok(Some((at, values)));
        };
        let mut before = state.moments.iter().take(moment);
        let whole = state.arrived == len && before.all(|before| before.len() == len);
        let moment = state.moments.get_mut(moment).filter(|moment| whole && moment.len() == offset);
        let moment = moment.ok_or_else(out_of_order)?;
        moment.extend_from_slice(&values);
        if state.moments.iter().all(|moment| moment.len() == len) {
            state.version = Some(Version(weights_version));
        }
        Ok(None)
    }

    /// Stages part of a sum.
    pub fn stage(&mut self, chunk: pb::SumChunk) -> Result<(), ExchangeError> {
        let pb::SumChunk { step, attempt, segment, offset, payload, crc32 } = chunk;
        let (index, offset) = (segment as usize, offset as usize);
        let trainable = &self.network.trainable;
        if index >= trainable.segments() {
            return Err(ExchangeError::Damaged(format!("there is no segment {index}")));
        }
        let len = trainable.segment(index).len();
        if (self.staged.step, self.staged.attempt) != (Step(step), attempt) || self.staged.sums.is_empty() {
            let sums = (0..trainable.segments()).map(|_| (Vec::new(), 0)).collect();
            let before = std::mem::replace(&mut self.staged, Staged { step: Step(step), attempt, sums });
            self.spare.extend(before.sums.into_iter().map(|(sum, _)| sum).filter(|sum| sum.capacity() > 0));
        }
        let (sum, arrived) = &mut self.staged.sums[index];
        if sum.is_empty() {
            *sum = self.spare.pop().unwrap_or_default();
            sum.resize(len, 0.0);
        }
        let damaged =
            |what: &str| ExchangeError::Damaged(format!("sum of segment {index}, element {offset}: {what}"));
        if *arrived != offset || offset >= len {
            return Err(damaged("out of order"));
        }
        if crc32fast::hash(&payload) != crc32 {
            return Err(damaged("wrong checksum"));
        }
        let end = (offset + payload::CHUNK).min(len);
        payload::decode(self.wire, &payload, &mut sum[offset..end])
            .map_err(|error| damaged(&error.to_string()))?;
        *arrived = end;
        Ok(())
    }

    /// Applies what was staged, to the segments that have not made this update yet. Runs on the trainer's thread.
    pub fn apply(&mut self, trainer: &mut dyn Trainer, word: &pb::Apply) -> Result<(), ExchangeError> {
        let pb::Apply { step, attempt, divisor, learning_rate, factor } = *word;
        let staged = std::mem::take(&mut self.staged);
        let damaged =
            |what: String| ExchangeError::Damaged(format!("step {step}, attempt {attempt}: {what}"));
        if (staged.step, staged.attempt) != (Step(step), attempt) {
            return Err(damaged("its sums did not arrive".into()));
        }
        let update = Update { rule: self.rule, number: step + 1, learning_rate, divisor, factor };
        for (index, (sum, arrived)) in staged.sums.iter().enumerate() {
            let behind = self.segments[index].version.is_none_or(|version| version.0 < step);
            if behind || *arrived != self.network.trainable.segment(index).len() || sum.is_empty() {
                return Err(damaged(format!("segment {index} is missing, or behind")));
            }
        }
        let sums: Vec<&[f32]> = staged.sums.iter().map(|(sum, _)| &sum[..]).collect();
        self.update(trainer, &update, &sums)?;
        self.spare.extend(staged.sums.into_iter().map(|(sum, _)| sum));
        Ok(())
    }

    /// Makes an update on the trainer's weights.
    fn update(
        &mut self,
        trainer: &mut dyn Trainer,
        update: &Update,
        sums: &[&[f32]],
    ) -> Result<(), TrainError> {
        let of_segment = |(state, (mut pieces, sum)): (&mut SegmentState, (Vec<Piece<'_>>, &&[f32]))| {
            if state.version == Some(Version(update.number - 1)) {
                let moments = update.rule.moments();
                state.moments.resize_with(moments, || vec![0.0; sum.len()]);
                state.hash = Some(update.apply(&state.treatment, &mut pieces, sum, &mut state.moments));
                state.version = Some(Version(update.number));
            }
        };
        let pool = trainer.pool();
        let pieces = by_segment(trainer.trainable_mut()?, sums.len());
        let segments = &mut self.segments;
        match pool {
            Some(pool) => pool.install(|| {
                segments.par_iter_mut().zip(pieces.into_par_iter().zip(sums)).for_each(of_segment);
            }),
            None => segments.iter_mut().zip(pieces.into_iter().zip(sums)).for_each(of_segment),
        }
        Ok(())
    }

    /// Hashes the weights of segments whose hash is not known. Runs on the trainer's thread.
    pub fn take_hashes(&mut self, trainer: &mut dyn Trainer) -> Result<(), TrainError> {
        let pieces = by_segment(trainer.trainable_mut()?, self.segments.len());
        for (state, pieces) in self.segments.iter_mut().zip(pieces) {
            if state.hash.is_none() {
                let mut hash = Xxh3Default::new();
                pieces.iter().for_each(|(_, piece)| hash.update(bytemuck::cast_slice(piece)));
                state.hash = Some(hash.digest128());
            }
        }
        Ok(())
    }

    /// Whether weights and moments of every segment are there, if not of one version.
    pub fn is_filled(&self) -> bool {
        self.segments.iter().all(|segment| segment.version.is_some())
    }

    /// Part of a segment's state.
    fn unpack(
        &self,
        (index, offset): (usize, usize),
        payload: &[u8],
        crc32: u32,
    ) -> Result<Vec<f32>, ExchangeError> {
        let damaged =
            |what: &str| ExchangeError::Damaged(format!("segment {index}, element {offset}: {what}"));
        if index >= self.network.trainable.segments() {
            return Err(damaged("there is no such segment"));
        }
        let len = self.network.trainable.segment(index).len();
        if offset >= len || !offset.is_multiple_of(payload::CHUNK) {
            return Err(damaged("there is no such element"));
        }
        if crc32fast::hash(payload) != crc32 {
            return Err(damaged("wrong checksum"));
        }
        let mut values = vec![0.0; (len - offset).min(payload::CHUNK)];
        payload::decode(Wire::F32, payload, &mut values).map_err(|error| damaged(&error.to_string()))?;
        Ok(values)
    }
}

/// Cuts pieces of the trainable vector, each with the number of its first element, at the borders of its segments.
fn by_segment(mut pieces: Vec<Piece<'_>>, segments: usize) -> Vec<Vec<Piece<'_>>> {
    pieces.sort_by_key(|(at, _)| *at);
    let mut cut: Vec<Vec<Piece<'_>>> = (0..segments).map(|_| Vec::new()).collect();
    for (mut at, mut piece) in pieces {
        while !piece.is_empty() {
            let room = SEGMENT - at % SEGMENT;
            let (part, rest) = piece.split_at_mut(room.min(piece.len()));
            let taken = part.len();
            cut[at / SEGMENT].push((at % SEGMENT, part));
            (at, piece) = (at + taken, rest);
        }
    }
    cut
}
