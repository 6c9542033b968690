//! The only place of this crate that reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Time since the run began, and the time of day. It is the runtime's time, which a simulation can set.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_unix: f64,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), began_unix: unix.as_secs_f64() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Seconds since 1970, from the start's reading on monotonic.
    pub fn unix(&self) -> f64 {
        self.began_unix + self.elapsed().as_secs_f64()
    }

    /// Seconds since 1970 at the start.
    pub fn started_unix(&self) -> f64 {
        self.began_unix
    }
}
