//! The Headstart coordinator: owns plan, leases, reduction, optimizer and weights. It never links libtorch.
//!
//! Data moves one way: [`rpc`] turns a message into an [`event::Event`], the pure [`machine::Machine`] answers with
//! [`event::Effect`]s, and the [`actor`] performs them. Segments of gradients and weights bypass the machine: [`rpc`]
//! (and `push`) hands them to the [`reduce::Reducer`] and takes them from the [`master::Master`]. What must outlive this
//! process goes through [`commit`] to the [`journal`].

pub mod actor;
pub mod admin;
pub mod broadcast;
pub mod card;
pub mod clock;
pub mod commit;
pub mod config;
pub mod dashboard;
pub mod evaluation;
pub mod event;
pub mod events;
pub mod finish;
mod follow;
pub mod history;
pub mod holdup;
pub mod journal;
pub mod lease;
pub mod listen;
pub mod machine;
pub mod master;
pub mod membership;
pub mod memory_check;
pub mod meter;
pub mod objective;
pub mod pool;
pub mod probe;
mod push;
pub mod record;
pub mod reduce;
pub mod rpc;
pub mod schedule;
pub mod serve;
pub mod services;
pub mod shares;
pub mod spans;
pub mod status;
mod sync;
pub mod tracking;
