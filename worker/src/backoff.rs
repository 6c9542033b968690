//! When to try again: soon at first, then ever more rarely, and not for ever.

use std::time::Duration;

use headstart::draw;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// How long a worker retries without a session before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// About the first pause; each is twice the one before.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses between tries. Those of workers with different names differ, so that not all of them come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: u64,
    /// Failed attempts since the last session.
    tries: u32,
    /// When there was a session last.
    since: Instant,
}

impl Backoff {
    /// The pauses of the worker of this name.
    pub(crate) fn new(name: &str, now: Instant) -> Backoff {
        Backoff { seed: xxh3_64(name.as_bytes()), tries: 0, since: now }
    }

    /// The pause before the next try; `None` when patience has run out. `began`: the session that has ended, if it got so
    /// far as to be one. It counts if it lasted, or else a coordinator that always breaks them would be asked for ever.
    pub(crate) fn next(&mut self, began: Option<Instant>, now: Instant) -> Option<Duration> {
        if began.is_some_and(|began| now.duration_since(began) > LONGEST) {
            (self.tries, self.since) = (0, now);
        }
        let left = PATIENCE.checked_sub(now.duration_since(self.since)).filter(|left| !left.is_zero())?;
        let pause = SHORTEST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        let jitter = draw::unit(self.seed, "backoff", self.tries.into());
        self.tries += 1;
        Some(pause.mul_f64(0.5 + jitter / 2.0).min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses until patience runs out, when every try fails at once.
    fn pauses(name: &str) -> Vec<Duration> {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(name, now);
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.next(None, now) {
            pauses.push(pause);
            now += pause;
        }
        pauses
    }

    #[test]
    fn pauses_grow_to_a_limit_and_end() {
        let pauses = pauses("a");
        assert_eq!(pauses.iter().sum::<Duration>(), PATIENCE);
        for (tried, pause) in pauses.iter().enumerate().take(pauses.len() - 1) {
            let most = SHORTEST.saturating_mul(1 << tried.min(16)).min(LONGEST);
            assert!((most / 2..=most).contains(pause), "pause {tried} is {pause:?}, of at most {most:?}");
        }
    }

    #[test]
    fn every_name_has_its_own() {
        assert_eq!(pauses("a"), pauses("a"));
        assert_ne!(pauses("a")[..3], pauses("b")[..3]);
    }

    #[test]
    fn only_a_session_that_lasted_counts() {
        let began = Instant::now();
        let mut backoff = Backoff::new("a", began);
        let first = backoff.next(None, began).expect("it has hardly begun");
        let later = began + PATIENCE - Duration::from_secs(1);
        assert!(backoff.next(Some(later - LONGEST), later).is_some_and(|pause| pause > first), "the second");
        let lasted = later - LONGEST - Duration::from_secs(1);
        assert_eq!(backoff.next(Some(lasted), later), Some(first), "all begins anew");
        assert_eq!(backoff.next(None, later + PATIENCE), None);
    }
}
