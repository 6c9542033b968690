//! Sums of gradients on their way to the replicas that workers keep.
//!
//! What goes in, step by step: the root of each segment as soon as it is complete, then the word to apply them. What comes out is
//! one stream a follower, in the same order of steps. A sum is packed once, whoever receives it. A step that begins anew has a
//! higher attempt, and what was staged of the one before is dropped.
//!
//! Packed sums of the last steps wait in a ring for followers that are slow, or that have just received the state. The ring
//! keeps what a follower still needs, two steps at least, and never more bytes than the state has: who needs more asks for the
//! state again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use headstart::id::{Segment, Step, Version};
use headstart::optimizer::Update;
use headstart::run_file::Wire;
use headstart::wire::payload;
use tokio::sync::watch;

use crate::reduce::Whole;

#[cfg(test)]
mod tests;

/// Steps that are kept whatever their size, for a worker whose connection broke for a moment.
const KEPT: usize = 2;

/// Where sums are staged.
#[derive(Debug)]
pub struct Broadcast {
    wire: Wire,
    /// Most bytes of the ring.
    most: usize,
    ring: Mutex<Ring>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The step that each follower needs next.
    followers: BTreeMap<u64, Step>,
    /// Followers so far.
    named: u64,
    entries: VecDeque<Entry>,
}

/// A step's sums.
#[derive(Debug)]
struct Entry {
    step: Step,
    attempt: u32,
    segments: Vec<Option<Packed>>,
    apply: Option<Update>,
}

/// A segment in chunks.
pub type Packed = Arc<[Bytes]>;

/// What a follower receives next.
#[derive(Clone, Debug)]
pub enum Item {
    /// A segment's sum, to be staged.
    Sum { step: Step, attempt: u32, segment: Segment, packed: Packed },
    /// What was staged is to be applied.
    Apply { step: Step, attempt: u32, update: Update },
}

/// Why nobody can follow from a version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowable {
    /// The ring has lost, or never had, what follows.
    #[error("the sums after {0} are gone")]
    Gone(Version),
    /// The update after it is being made: the state is neither this version nor the next.
    #[error("{0} is being updated")]
    Updating(Version),
}

/// One follower's place in the stream.
#[derive(Debug)]
pub struct Follower {
    broadcast: Arc<Broadcast>,
    name: u64,
    step: Step,
    attempt: u32,
    /// Segments of this attempt that were taken.
    taken: Vec<bool>,
    changed: watch::Receiver<()>,
}

impl Broadcast {
    /// Nothing staged. `state`: bytes of weights and moments.
    pub fn new(wire: Wire, state: usize) -> Broadcast {
        Broadcast { wire, most: state, ring: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Begins a step, or begins it anew; returns the attempt.
    pub fn open(&self, step: Step, segments: usize) -> u32 {
        let mut ring = self.lock();
        let attempt = match ring.entries.back() {
            Some(before) if before.step == step => before.attempt + 1,
            _ => 1,
        };
        ring.entries.retain(|entry| entry.step != step);
        ring.entries.push_back(Entry { step, attempt, segments: vec![None; segments], apply: None });
        ring.trim(self.most);
        drop(ring);
        self.changed.send_replace(());
        attempt
    }

    /// Stages a segment's sum, which must be finite, if anybody follows.
    pub fn stage(&self, step: Step, attempt: u32, segment: Segment, sum: &[f32]) {
        if !self.lock().followers.is_empty() {
            let packed = self.pack(sum);
            self.put(step, attempt, segment, packed);
        }
    }

    /// The sums of the current attempt are to be applied: what is not staged yet, is, if anybody follows.
    pub fn apply(&self, step: Step, sums: &[Whole], update: Update) {
        loop {
            let mut ring = self.lock();
            let anybody = !ring.followers.is_empty();
            let Some(entry) = ring.entries.back_mut().filter(|entry| entry.step == step) else { return };
            let missing = entry.segments.iter().position(Option::is_none).filter(|_| anybody);
            let (Some(missing), attempt) = (missing, entry.attempt) else {
                entry.apply = Some(update);
                break;
            };
            drop(ring);
            let packed = self.pack(&sums[missing].values);
            self.put(step, attempt, Segment(missing as u32), packed);
        }
        self.changed.send_replace(());
    }

    /// Follows from a version on; from the `current` one where none is known, which is then to be sent first.
    pub fn follow(
        self: &Arc<Self>,
        known: Option<Version>,
        current: &watch::Receiver<Version>,
    ) -> Result<Follower, Unfollowable> {
        let mut ring = self.lock();
        // Read under the lock: from here on an update waits for the sums that this follower needs.
        let current = *current.borrow();
        let from = known.unwrap_or(current);
        let (found, last) = (ring.entry(Step(from.0)), ring.entries.back());
        match known {
            None if last.is_some_and(|last| last.step.0 == current.0 && last.apply.is_some()) => {
                return Err(Unfollowable::Updating(current));
            }
            None => {}
            Some(known) => {
                let awaited = known == current && last.is_none_or(|last| last.step.0 < known.0);
                let held = found.is_some_and(|entry| entry.apply.is_none() || entry.is_whole());
                if !awaited && !held {
                    return Err(Unfollowable::Gone(known));
                }
            }
        }
        ring.named += 1;
        let (name, step) = (ring.named, Step(from.0));
        ring.followers.insert(name, step);
        let changed = self.changed.subscribe();
        Ok(Follower { broadcast: self.clone(), name, step, attempt: 0, taken: Vec::new(), changed })
    }

    /// Number of followers, and bytes in the ring.
    pub fn load(&self) -> (usize, usize) {
        let ring = self.lock();
        (ring.followers.len(), ring.bytes())
    }

    fn pack(&self, values: &[f32]) -> Packed {
        payload::chunks(self.wire, values).map(|(_, bytes)| bytes).collect()
    }

    fn put(&self, step: Step, attempt: u32, segment: Segment, packed: Packed) {
        let mut ring = self.lock();
        let entry = ring.entries.back_mut().filter(|entry| (entry.step, entry.attempt) == (step, attempt));
        // Otherwise the step began anew meanwhile.
        let Some(entry) = entry else { return };
        entry.segments[segment.0 as usize].get_or_insert(packed);
        ring.trim(self.most);
        drop(ring);
        self.changed.send_replace(());
    }

    /// A lock whose holder panicked protects plain data that the panic left whole; the run ends on the panic anyway.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn entry(&self, step: Step) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.step == step)
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(Entry::bytes).sum()
    }

    fn trim(&mut self, most: usize) {
        let needed = self.followers.values().min().copied();
        while self.entries.len() > KEPT
            && (needed.is_none_or(|needed| self.entries[0].step < needed) || self.bytes() > most)
        {
            self.entries.pop_front();
        }
    }
}

impl Entry {
    fn is_whole(&self) -> bool {
        self.segments.iter().all(Option::is_some)
    }

    fn bytes(&self) -> usize {
        self.segments.iter().flatten().flat_map(|packed| packed.iter()).map(Bytes::len).sum()
    }
}

impl Follower {
    /// What comes next; waits for it.
    pub async fn next(&mut self) -> Result<Item, Unfollowable> {
        loop {
            self.changed.borrow_and_update();
            if let Some(item) = self.take()? {
                return Ok(item);
            }
            // The sender lives in `broadcast`.
            let _ = self.changed.changed().await;
        }
    }

    /// Whether what it needs next is lost.
    pub fn is_gone(&self) -> bool {
        let ring = self.broadcast.lock();
        ring.entry(self.step).is_none() && ring.entries.back().is_some_and(|last| last.step > self.step)
    }

    fn take(&mut self) -> Result<Option<Item>, Unfollowable> {
        let mut ring = self.broadcast.lock();
        let Some(entry) = ring.entry(self.step) else {
            let gone = ring.entries.back().is_some_and(|last| last.step > self.step);
            return if gone { Err(Unfollowable::Gone(Version(self.step.0))) } else { Ok(None) };
        };
        if entry.attempt != self.attempt {
            (self.attempt, self.taken) = (entry.attempt, vec![false; entry.segments.len()]);
        }
        let (step, attempt) = (self.step, self.attempt);
        let staged = entry.segments.iter().zip(&mut self.taken).enumerate();
        for (segment, (packed, taken)) in staged {
            if let Some(packed) = packed.as_ref().filter(|_| !*taken) {
                *taken = true;
                let segment = Segment(segment as u32);
                return Ok(Some(Item::Sum { step, attempt, segment, packed: packed.clone() }));
            }
        }
        let Some(update) = entry.apply.filter(|_| self.taken.iter().all(|&taken| taken)) else {
            return Ok(None);
        };
        self.step = Step(step.0 + 1);
        self.attempt = 0;
        ring.followers.insert(self.name, self.step);
        Ok(Some(Item::Apply { step, attempt, update }))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.broadcast.lock().followers.remove(&self.name);
    }
}
