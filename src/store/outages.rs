//! Servers that do not answer, for those who tell people of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reports that wait to be taken; of more, the last ones.
const MOST: usize = 64;

/// A server's silence begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Outage {
    /// Requests are repeated from now on.
    Began { host: String, why: String },
    /// It answers again.
    Ended { host: String, after: Duration },
}

/// Reports of all clients of some stores. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outages(Arc<Mutex<VecDeque<Outage>>>);

impl Outages {
    /// What has been reported since the last call, in order.
    pub fn take(&self) -> Vec<Outage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(super) fn report(&self, outage: Outage) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push_back(outage);
        if reports.len() > MOST {
            reports.pop_front();
        }
    }
}
