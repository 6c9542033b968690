//! The reduction: partials of nodes become the gradient sum of a step, segment by segment, along the canonical tree.
//!
//! What goes in is one segment (1 Mi elements) of one node's gradient; what comes out, once every shard is in, is one [`Whole`] a
//! segment: the sum over the step, its hash and its sum of squares. A sum of floats has other bits in another order, so a value
//! waits until its sibling in the tree has come, and the two are added left to right, whichever came first. The sum's bits then
//! depend on the shards alone, never on which worker was fast. Adding in the order of arrival would be simpler and would break
//! that.
//!
//! Segments are independent of each other: each has a lock of its own, and pushes of several workers add to different segments
//! at the same time, on the compute pool. What waits takes memory, so a segment holds at most `log2(shards) + 2` values; one more
//! is taken only if it is the next in order or can be merged at once, which always is enough to go on. Check and addition happen
//! under one lock, so that two copies of a node cannot both be added.

use std::sync::PoisonError;

use headstart::id::{Segment, Step};
use headstart::optimizer;
use headstart::rounding::Rounding;
use headstart::run_file::Wire;
use headstart::trainable::SEGMENT;
use headstart::tree::{Fold, Node, Tree, Unfoldable};
use tokio::sync::Notify;

use crate::broadcast::Broadcast;
use crate::pool::Pool;
use crate::sync::{Arc, Mutex, MutexGuard};

/// Sums the partials of one step at a time.
#[derive(Debug)]
pub struct Reducer {
    segments: usize,
    rounding: Rounding,
    /// Where whole sums go at once.
    broadcast: std::sync::Arc<Broadcast>,
    open: Mutex<Option<Arc<OpenStep>>>,
    spare: Arc<Spare>,
    pool: Pool,
}

/// The sums of one step under construction.
#[derive(Debug)]
pub struct OpenStep {
    step: Step,
    attempt: u32,
    rounding: Rounding,
    broadcast: std::sync::Arc<Broadcast>,
    /// Values of a segment that may wait for their siblings: `log2(shards) + 2`.
    limit: usize,
    segments: Vec<Mutex<Sum>>,
    merged: Notify,
    spare: Arc<Spare>,
    pool: Pool,
}

/// A segment's sum under construction.
#[derive(Debug)]
struct Sum {
    fold: Fold<Vec<f32>>,
    /// Once every shard is in it.
    whole: Option<Whole>,
    /// The sum was taken: what still comes is of no use.
    closed: bool,
}

/// A segment of a step's gradient, summed over all shards.
#[derive(Debug)]
pub struct Whole {
    /// The sum.
    pub values: Vec<f32>,
    /// Its hash (XXH3-128).
    pub hash: u128,
    /// Its sum of squares (f64).
    pub squares: f64,
}

impl Whole {
    /// Takes a sum, and what an update needs to know of it.
    pub fn new(values: Vec<f32>) -> Whole {
        let (hash, squares) = optimizer::hash_and_squares(&values);
        Whole { values, hash, squares }
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is part of the sum.
    Added,
    /// An equal copy was there already.
    Duplicate,
}

/// Why a segment was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its step is not being reduced.
    #[error("{0} is not being reduced")]
    WrongStep(Step),
    /// Not part of the canonical tree.
    #[error("{0} is no node of this step's tree")]
    NotANode(Node),
    /// The trainable vector has no such segment.
    #[error("{0} does not exist")]
    NoSegment(Segment),
    /// Unmerged values fill the memory budget, and this one cannot be merged yet.
    #[error("too many partials of {0} wait for their siblings")]
    Crowded(Segment),
}

/// What came of an attempt to add a segment.
#[derive(Debug)]
pub enum Attempt {
    /// It was taken or refused.
    Done(Result<Inserted, Refused>),
    /// There is no place for it now. Here it is again.
    Full(Vec<f32>),
}

/// Longest wait for a place among the unmerged values.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

impl Reducer {
    /// A reducer for vectors of `segments` segments, which adds on `pool`, rounds each sum, and stages those of whole steps.
    pub fn new(
        segments: usize,
        pool: Pool,
        rounding: Rounding,
        broadcast: std::sync::Arc<Broadcast>,
    ) -> Reducer {
        let spare = Arc::new(Spare::new(2 * segments));
        Reducer { segments, rounding, broadcast, open: Mutex::new(None), spare, pool }
    }

    /// Where whole sums are staged.
    pub fn broadcast(&self) -> &std::sync::Arc<Broadcast> {
        &self.broadcast
    }

    /// The numbers in which partials travel.
    pub fn wire(&self) -> Wire {
        self.rounding.wire()
    }

    /// Where sums are computed.
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// Begins a step; what an unfinished earlier one held is dropped.
    pub fn open(&self, step: Step, tree: Tree) {
        let limit = tree.shards().ilog2() as usize + 2;
        let sum = |_| Mutex::new(Sum { fold: Fold::new(tree), whole: None, closed: false });
        let segments = (0..self.segments).map(sum).collect();
        let (merged, spare) = (Notify::new(), self.spare.clone());
        let (rounding, broadcast) = (self.rounding, self.broadcast.clone());
        let attempt = broadcast.open(step, self.segments);
        let pool = self.pool;
        let open = OpenStep { step, attempt, rounding, broadcast, limit, segments, merged, spare, pool };
        *lock(&self.open) = Some(Arc::new(open));
    }

    /// Whether this attempt at a step is the one being reduced.
    pub fn is_current(&self, open: &Arc<OpenStep>) -> bool {
        lock(&self.open).as_ref().is_some_and(|current| Arc::ptr_eq(current, open))
    }

    /// The step being reduced, if it is this one.
    pub fn current(&self, step: Step) -> Result<Arc<OpenStep>, Refused> {
        lock(&self.open).as_ref().filter(|open| open.step == step).cloned().ok_or(Refused::WrongStep(step))
    }

    /// Ends a step: its gradient sums, one per segment. `None` when a node is missing.
    pub fn take(&self, step: Step) -> Option<Vec<Whole>> {
        let open = self.current(step).ok()?;
        *lock(&self.open) = None;
        let take = |sum: &Mutex<Sum>| {
            let mut sum = lock(sum);
            sum.closed = true;
            sum.whole.take()
        };
        open.segments.iter().map(take).collect()
    }

    /// A buffer of `len` elements of unspecified value, reused where possible.
    pub fn buffer(&self, len: usize) -> Vec<f32> {
        self.spare.take(len)
    }

    /// Gives a buffer back.
    pub fn recycle(&self, buffer: Vec<f32>) {
        self.spare.put(buffer);
    }
}

impl OpenStep {
    /// Adds one segment of a node's partial. The first copy of a node wins; a later one is equal and is dropped.
    ///
    /// Waits while the segment already holds its limit of unmerged values and this one would not free any.
    pub async fn insert(
        self: &Arc<Self>,
        node: Node,
        segment: Segment,
        values: Vec<f32>,
    ) -> Result<Inserted, Refused> {
        if segment.0 as usize >= self.segments.len() {
            return Err(Refused::NoSegment(segment));
        }
        let mut values = values;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut merged = std::pin::pin!(self.merged.notified());
            merged.as_mut().enable();
            let open = self.clone();
            values = match self.pool.run(move || open.attempt(node, segment, values)).await {
                Attempt::Done(outcome) => return outcome,
                Attempt::Full(values) => values,
            };
            if tokio::time::timeout_at(deadline, merged).await.is_err() {
                return Err(Refused::Crowded(segment));
            }
        }
    }

    /// As [`OpenStep::insert`], at once and on this thread. `segment` must exist.
    pub fn attempt(&self, node: Node, segment: Segment, values: Vec<f32>) -> Attempt {
        let mut sum = lock(&self.segments[segment.0 as usize]);
        let Sum { fold, whole, closed } = &mut *sum;
        if *closed {
            self.spare.put(values);
            return Attempt::Done(Err(Refused::WrongStep(self.step)));
        }
        match fold.check(node) {
            Err(Unfoldable::NotANode(node)) => return Attempt::Done(Err(Refused::NotANode(node))),
            Ok(()) if whole.is_none() => {}
            Ok(()) | Err(Unfoldable::Duplicate(_)) => {
                self.spare.put(values);
                return Attempt::Done(Ok(Inserted::Duplicate));
            }
        }
        let welcome = fold.unmerged() < self.limit
            || fold.first_missing() == Some(node.first)
            || fold.has_sibling_of(node);
        if !welcome {
            return Attempt::Full(values);
        }
        let inserted = fold.insert(node, values, |parent, mut sum, right| {
            headstart::tree::add(&mut sum, &right);
            self.spare.put(right);
            // A sum that is not finite stays as it is: the norm of the step's gradient will tell.
            let _ = self.rounding.round(self.step, parent, segment.0 as usize * SEGMENT, &mut sum);
            sum
        });
        debug_assert!(inserted.is_ok(), "checked above under the same lock");
        if let Some(values) = fold.take_root() {
            let sum = whole.insert(Whole::new(values));
            // A sum that is not finite will never be applied.
            if sum.squares.is_finite() {
                self.broadcast.stage(self.step, self.attempt, segment, &sum.values);
            }
        }
        drop(sum);
        self.merged.notify_waiters();
        Attempt::Done(Ok(Inserted::Added))
    }
}

/// Buffers between two uses.
#[derive(Debug)]
struct Spare {
    kept: Mutex<Vec<Vec<f32>>>,
    most: usize,
}

impl Spare {
    fn new(most: usize) -> Spare {
        Spare { kept: Mutex::new(Vec::new()), most }
    }

    fn take(&self, len: usize) -> Vec<f32> {
        let mut buffer = lock(&self.kept).pop().unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }

    fn put(&self, buffer: Vec<f32>) {
        let mut kept = lock(&self.kept);
        if kept.len() < self.most {
            kept.push(buffer);
        }
    }
}

/// A lock whose holder panicked protects plain numbers that the panic left whole; the run ends on the panic anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
