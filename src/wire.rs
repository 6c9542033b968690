//! Protobuf types of `proto/headstart/v1` and their translation: the only place that knows both sides.
//!
//! Every message is destructured in full, so that a new field breaks the build here and nowhere else.

pub mod channel;
pub mod payload;
mod session;

use std::time::Duration;

use crate::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use crate::message::{GoldenRow, PartialId, Pass, ProbedRow, Totals, Work};
use crate::shared_memory::Address;
use crate::tree::Node;

/// Generated code.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pb {
    tonic::include_proto!("headstart.v1");

    /// The compiled protocol, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/headstart.v1.descriptor.bin"));
}

/// The protocol's name; a worker and a coordinator that differ in it do not work together.
pub const PROTOCOL: &str = "headstart.v1";

/// Payload of a message of bytes: a row index.
pub const CHUNK: usize = 1 << 20;

/// Longest text that travels in a status or stop message, in bytes: HTTP/2 headers have to hold it.
pub const TEXT_LIMIT: usize = 4 << 10;

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WireError {
    /// A required part is missing.
    #[error("{message} has no {field}")]
    Missing {
        message: &'static str,
        /// The part.
        field: &'static str,
    },
    /// A value outside its domain.
    #[error("{field} of {message} is {found}")]
    Invalid {
        message: &'static str,
        field: &'static str,
        /// What it was.
        found: String,
    },
    /// The other side speaks another protocol.
    #[error("the worker speaks {found:?}, this coordinator {PROTOCOL:?}: use the same version on both sides")]
    Protocol {
        /// What it said.
        found: String,
    },
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        tonic::Status::invalid_argument(clip(&error.to_string()))
    }
}

/// Cuts a text to what may travel in a status message.
pub fn clip(text: &str) -> String {
    match text.char_indices().find(|(at, character)| at + character.len_utf8() > TEXT_LIMIT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The hash of the weights that a partial was computed with; none if the worker keeps no replica.
pub fn weights_hash(bytes: &[u8]) -> Result<Option<u128>, WireError> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(Some(u128::from_be_bytes(bytes))),
        Err(_) if bytes.is_empty() => Ok(None),
        Err(_) => {
            let found = format!("{} bytes long, not 16", bytes.len());
            Err(WireError::Invalid { message: "SegmentChunk", field: "weights", found })
        }
    }
}

fn missing(message: &'static str, field: &'static str) -> WireError {
    WireError::Missing { message, field }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<Pass> for pb::Pass {
    fn from(pass: Pass) -> Self {
        match pass {
            Pass::Train => pb::Pass::Train,
            Pass::Eval => pb::Pass::Eval,
            Pass::Golden => pb::Pass::Golden,
            Pass::Probe => pb::Pass::Probe,
        }
    }
}

/// Reads a pass from its number.
pub fn pass(number: i32) -> Result<Pass, WireError> {
    match pb::Pass::try_from(number) {
        Ok(pb::Pass::Train) => Ok(Pass::Train),
        Ok(pb::Pass::Eval) => Ok(Pass::Eval),
        Ok(pb::Pass::Golden) => Ok(Pass::Golden),
        Ok(pb::Pass::Probe) => Ok(Pass::Probe),
        Ok(pb::Pass::Unspecified) | Err(_) => {
            Err(WireError::Invalid { message: "Work", field: "pass", found: number.to_string() })
        }
    }
}

impl From<Work> for pb::Work {
    fn from(Work { pass, step, node, version }: Work) -> Self {
        pb::Work {
            pass: pb::Pass::from(pass).into(),
            step: step.0,
            first_shard: node.first,
            shards: node.shards,
            weights_version: version.0,
        }
    }
}

impl TryFrom<pb::Work> for Work {
    type Error = WireError;

    fn try_from(work: pb::Work) -> Result<Self, WireError> {
        let pb::Work { pass: number, step, first_shard, shards, weights_version } = work;
        if shards == 0 || first_shard.checked_add(shards).is_none() {
            let found = format!("{first_shard} + {shards}");
            return Err(WireError::Invalid { message: "Work", field: "shards", found });
        }
        Ok(Work {
            pass: pass(number)?,
            step: Step(step),
            node: Node { first: first_shard, shards },
            version: Version(weights_version),
        })
    }
}

impl From<Totals> for pb::Totals {
    fn from(totals: Totals) -> Self {
        let Totals { samples, divisor, loss, counts, measures, tokens, golden, probed, compute } = totals;
        let golden = golden.into_iter().map(|GoldenRow { prompt, token_ids, logprobs }| pb::GoldenRow {
            prompt,
            token_ids,
            logprobs,
        });
        pb::Totals {
            samples,
            divisor,
            loss,
            counts,
            measures,
            tokens,
            golden: golden.collect(),
            probed: probed.into_iter().map(Into::into).collect(),
            compute_micros: micros(compute),
        }
    }
}

impl From<pb::Totals> for Totals {
    fn from(totals: pb::Totals) -> Self {
        let pb::Totals { samples, divisor, loss, counts, measures, tokens, golden, probed, compute_micros } =
            totals;
        let golden = golden.into_iter().map(|pb::GoldenRow { prompt, token_ids, logprobs }| GoldenRow {
            prompt,
            token_ids,
            logprobs,
        });
        let compute = Duration::from_micros(compute_micros);
        let (golden, probed) = (golden.collect(), probed.into_iter().map(Into::into).collect());
        Totals { samples, divisor, loss, counts, measures, tokens, golden, probed, compute }
    }
}

impl From<ProbedRow> for pb::ProbedRow {
    fn from(ProbedRow { values, token_ids, before, bytes }: ProbedRow) -> Self {
        pb::ProbedRow { values, token_ids, before, bytes }
    }
}

impl From<pb::ProbedRow> for ProbedRow {
    fn from(pb::ProbedRow { values, token_ids, before, bytes }: pb::ProbedRow) -> Self {
        ProbedRow { values, token_ids, before, bytes }
    }
}

impl From<Address> for pb::Memory {
    fn from(Address { pid, file, name }: Address) -> Self {
        pb::Memory { process: pid, file, name }
    }
}

impl From<pb::Memory> for Address {
    fn from(pb::Memory { process, file, name }: pb::Memory) -> Self {
        Address { pid: process, file, name }
    }
}

impl From<PartialId> for pb::PartialId {
    fn from(PartialId { run_id, epoch, worker, lease, work }: PartialId) -> Self {
        pb::PartialId {
            run_id,
            coordinator_epoch: epoch.0,
            worker_id: worker.0,
            lease_id: lease.0,
            work: Some(work.into()),
        }
    }
}

impl TryFrom<pb::PartialId> for PartialId {
    type Error = WireError;

    fn try_from(partial: pb::PartialId) -> Result<Self, WireError> {
        let pb::PartialId { run_id, coordinator_epoch, worker_id, lease_id, work } = partial;
        Ok(PartialId {
            run_id,
            epoch: CoordinatorEpoch(coordinator_epoch),
            worker: WorkerId(worker_id),
            lease: LeaseId(lease_id),
            work: work.ok_or(missing("PartialId", "work"))?.try_into()?,
        })
    }
}
