//! A partial that leaves while it is computed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, stream};
use headstart::id::Segment;
use headstart::message::{PartialId, Totals};
use headstart::run_file::Wire;
use headstart::wire::{payload, pb};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Messages of a partial, packed as its segments become final. They stay until the coordinator has all of them: it may ask for
/// them again.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: PartialId,
    weights: Option<u128>,
    wire: Wire,
    messages: Mutex<Messages>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Messages {
    /// The first names the partial.
    packed: Vec<pb::SegmentChunk>,
    /// How long it was computed, once that is known: nothing follows.
    computed: Option<Duration>,
}

impl Outgoing {
    /// Nothing of a partial yet. `weights`: hash of those it is computed with, if it is known.
    pub fn new(id: PartialId, weights: Option<u128>, wire: Wire) -> Outgoing {
        let (messages, changed) = (Mutex::default(), watch::Sender::new(()));
        Outgoing(Arc::new(Shared { id, weights, wire, messages, changed }))
    }

    /// Packs a segment of the sum. The first one takes the sums beside it along.
    pub fn send(&self, totals: impl FnOnce() -> Totals, segment: Segment, values: &[f32]) {
        let begins = self.lock().packed.is_empty();
        let header = begins.then(|| header(&self.0.id, totals(), self.0.weights, true));
        let chunks = payload::chunks(self.0.wire, values).map(|(offset, payload)| pb::SegmentChunk {
            segment: segment.0,
            offset: offset as u32,
            crc32: crc32fast::hash(&payload),
            payload,
            ..Default::default()
        });
        let packed: Vec<pb::SegmentChunk> = header.into_iter().chain(chunks).collect();
        self.lock().packed.extend(packed);
        self.0.changed.send_replace(());
    }

    /// Everything was sent, after so long a time of computing.
    pub fn end(&self, computed: Duration) {
        self.lock().computed = Some(computed);
        self.0.changed.send_replace(());
    }

    /// Waits until there is something to send.
    pub async fn has_begun(&self) {
        let mut changed = self.0.changed.subscribe();
        while self.lock().packed.is_empty() {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    /// All messages, those that there are and those that follow.
    pub fn messages(&self) -> impl Stream<Item = pb::SegmentChunk> + Send + 'static {
        let changed = self.0.changed.subscribe();
        let outgoing = self.clone();
        stream::unfold((outgoing, changed, 0), |(outgoing, mut changed, sent)| async move {
            loop {
                changed.borrow_and_update();
                if let Some(message) = outgoing.message(sent)? {
                    return Some((message, (outgoing, changed, sent + 1)));
                }
                let _ = changed.changed().await;
            }
        })
    }

    /// A message by number: `Some(None)` if it is not there yet, `None` if there is none.
    fn message(&self, number: usize) -> Option<Option<pb::SegmentChunk>> {
        let messages = self.lock();
        if let Some(message) = messages.packed.get(number) {
            return Some(Some(message.clone()));
        }
        let Some(computed) = messages.computed else { return Some(None) };
        let last = pb::SegmentChunk { compute_micros: micros(computed), ..Default::default() };
        (number == messages.packed.len()).then_some(Some(last))
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first message of a push. `computing`: its partial is still computed.
pub fn header(id: &PartialId, totals: Totals, weights: Option<u128>, computing: bool) -> pb::SegmentChunk {
    pb::SegmentChunk {
        partial: Some(id.clone().into()),
        totals: Some(totals.into()),
        weights: weights.map(|hash| hash.to_be_bytes().to_vec()).unwrap_or_default().into(),
        computing,
        ..Default::default()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
