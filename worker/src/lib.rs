//! The Headstart worker: gradients with libtorch, from weights that it can throw away.
//!
//! [`session`] joins a coordinator, again whenever that breaks; [`prepare`] loads what a run needs, once. `control` takes
//! commands, [`member`] performs them: [`data`] and [`collate`] turn rows into batches, [`compute`] has a lease's shards computed,
//! [`subtree`] folds them along the canonical tree, [`outgoing`] packs the result while it is computed, [`exchange`] moves it up
//! and weights down. Across a network `follow` keeps a [`replica`] of weights and optimizer state instead.
//! [`predict`] asks a model about rows, without a coordinator.
//! What is learned is the [`objective`]. Gradients come from a [`trainer::Trainer`] that lives on one thread of its own, the
//! [`engine`]: [`torch`] in earnest, [`fake`] in tests of everything around it.

mod backoff;
pub mod collate;
pub mod compute;
pub mod config;
mod control;
pub mod data;
pub mod engine;
pub mod error;
pub mod exchange;
pub mod fake;
mod follow;
pub mod gradient;
pub mod image;
pub mod member;
pub mod objective;
pub mod outgoing;
pub mod platform;
#[cfg(feature = "torch")]
pub mod predict;
pub mod prepare;
pub mod replica;
pub mod scratch;
pub mod session;
pub mod settings;
pub mod subtree;
pub mod times;
#[cfg(feature = "torch")]
pub mod torch;
pub mod trainer;

// A file that these tests share with those of the whole system knows this crate by its name.
#[cfg(test)]
extern crate self as headstart_worker;
