//! Places for streams: a few, and whoever comes last has one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Streams that are open at most; a new one evicts the oldest.
pub const SEATS: usize = 8;

/// All places.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<VecDeque<CancellationToken>>,
    /// How many streams there are, evicted ones included, until they have ended.
    present: watch::Sender<usize>,
    /// Cancelled when all are to end.
    closing: CancellationToken,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    evicted: CancellationToken,
    present: watch::Sender<usize>,
    closing: CancellationToken,
}

impl Default for Seats {
    fn default() -> Seats {
        Seats { taken: Mutex::default(), present: watch::Sender::new(0), closing: CancellationToken::new() }
    }
}

impl Seats {
    /// A place for a new stream; the one that has had its place longest loses it, if all are taken.
    pub(super) fn take(&self) -> Seat {
        let evicted = CancellationToken::new();
        let seat = Seat { evicted, present: self.present.clone(), closing: self.closing.clone() };
        self.present.send_modify(|present| *present += 1);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are cancelled too.
        taken.retain(|seat| !seat.is_cancelled());
        while taken.len() >= SEATS
            && let Some(oldest) = taken.pop_front()
        {
            oldest.cancel();
        }
        taken.push_back(seat.evicted.clone());
        seat
    }

    /// Asks all streams to end; resolves when none is left.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        // The sender is held here, so there is no error.
        let _ = self.present.subscribe().wait_for(|present| *present == 0).await;
    }
}

impl Seat {
    /// Cancelled when another stream has this place.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// Cancelled when all streams are to end.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.evicted.cancel();
        self.present.send_modify(|present| *present -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_new_stream_evicts_the_oldest_that_is_still_there() {
        let seats = Seats::default();
        let mut taken: Vec<Seat> = (0..SEATS).map(|_| seats.take()).collect();
        assert!(taken.iter().all(|seat| !seat.evicted().is_cancelled()));
        // One leaves by itself: then nobody has to.
        taken.remove(0);
        let newcomer = seats.take();
        assert!(taken.iter().all(|seat| !seat.evicted().is_cancelled()));
        let last = seats.take();
        assert!(taken[0].evicted().is_cancelled(), "the oldest");
        assert!(taken[1..].iter().chain([&newcomer, &last]).all(|seat| !seat.evicted().is_cancelled()));
        assert!(!last.closing().is_cancelled());
        assert!(seats.close().now_or_never().is_none());
        assert!(last.closing().is_cancelled());
        drop((taken, newcomer, last));
        assert!(seats.close().now_or_never().is_some());
    }
}
