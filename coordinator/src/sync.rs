//! What the reducer's threads share its state with. One module, so that `tests/threads.rs` can compile the reducer with
//! locks whose every interleaving it decides.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
