//! Whole clusters in simulated time. One number, the seed, decides who takes part and what goes wrong; whatever it is, the
//! weights and the ledger must be those of one worker that nothing happens to.
//!
//! Coordinator and workers are the real ones, down to gRPC and HTTP/2. Replaced are the trainer ([`headstart_worker::fake`]),
//! the sockets ([`network`], over turmoil) and the store ([`store`], in memory, with faults). Everything runs on one thread
//! and every draw comes from the seed ([`dice`]), so a seed that fails fails again.
//!
//! [`scenario`] says what a seed decides, [`chaos`] makes it happen, [`cluster`] runs it to the end.

pub mod chaos;
pub mod cluster;
pub mod dice;
pub mod fixture;
pub mod network;
pub mod scenario;
pub mod store;
