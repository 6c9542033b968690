//! The Headstart worker.
pub mod trainer;
