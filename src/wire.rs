//! Protobuf types of `proto/headstart/v1` and their translation: the only place that knows both sides.
//!
//! Every message is destructured in full, so that a new field breaks the build here and nowhere else.

use std::time::Duration;

use bytes::Bytes;

use crate::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use crate::memory::Address;
use crate::message::{
    Failure, FromWorker, Join, NumericClass, PartialId, Pass, Ready, Spent, StopReason, ToWorker, Totals,
    Welcome, Work,
};
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

/// HTTP/2 windows on both ends, in bytes: a few segments in flight.
pub const WINDOW: u32 = 32 << 20;

/// HTTP/2 frames a receiver accepts, in bytes.
pub const FRAME: u32 = 1 << 20;

/// Payload of a bulk message in bytes.
pub const CHUNK: usize = 1 << 20;

/// Largest message either side decodes, in bytes: a chunk and its envelope, or a welcome with many labels.
pub const MESSAGE_LIMIT: usize = 8 << 20;

/// Longest text that travels in a status or stop message, in bytes: HTTP/2 headers have to hold it.
pub const TEXT_LIMIT: usize = 4 << 10;

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WireError {
    /// A required part is missing.
    #[error("{message} has no {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The part.
        field: &'static str,
    },
    /// A value outside its domain.
    #[error("{field} of {message} is {found}")]
    Invalid {
        /// The message.
        message: &'static str,
        /// The field.
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

/// Numbers as little-endian bytes, the payload of a bulk message.
pub fn payload(values: &[f32]) -> Bytes {
    const { assert!(cfg!(target_endian = "little"), "big-endian machines need a conversion here") };
    Bytes::copy_from_slice(bytemuck::cast_slice(values))
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
        }
    }
}

/// Reads a pass from its number.
pub fn pass(number: i32) -> Result<Pass, WireError> {
    match pb::Pass::try_from(number) {
        Ok(pb::Pass::Train) => Ok(Pass::Train),
        Ok(pb::Pass::Eval) => Ok(Pass::Eval),
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
    fn from(Totals { samples, loss, counts, tokens, compute }: Totals) -> Self {
        pb::Totals { samples, loss, counts, tokens, compute_micros: micros(compute) }
    }
}

impl From<pb::Totals> for Totals {
    fn from(pb::Totals { samples, loss, counts, tokens, compute_micros }: pb::Totals) -> Self {
        Totals { samples, loss, counts, tokens, compute: Duration::from_micros(compute_micros) }
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

impl From<NumericClass> for pb::NumericClass {
    fn from(class: NumericClass) -> Self {
        let NumericClass { headstart, libtorch, device, instructions, threads, precision } = class;
        pb::NumericClass { headstart, libtorch, device, instructions, threads, precision }
    }
}

impl From<pb::NumericClass> for NumericClass {
    fn from(class: pb::NumericClass) -> Self {
        let pb::NumericClass { headstart, libtorch, device, instructions, threads, precision } = class;
        NumericClass { headstart, libtorch, device, instructions, threads, precision }
    }
}

impl From<FromWorker> for pb::WorkerEvent {
    fn from(message: FromWorker) -> Self {
        use pb::worker_event::Event;
        let event = match message {
            FromWorker::Join(Join { name, device, memory }) => Event::Join(pb::Join {
                protocol: PROTOCOL.into(),
                worker_name: name,
                device,
                memory_bytes: memory,
            }),
            FromWorker::Ready(Ready { class, canary, parameters }) => Event::Ready(pb::Ready {
                numeric_class: Some(class.into()),
                canary: canary.to_be_bytes().to_vec().into(),
                parameters,
            }),
            FromWorker::Heartbeat(Spent { compute, transfer, wait }) => Event::Heartbeat(pb::Heartbeat {
                compute_micros: micros(compute),
                transfer_micros: micros(transfer),
                wait_micros: micros(wait),
            }),
            FromWorker::LeaseFailed { lease, failure } => {
                Event::LeaseFailed(pb::LeaseFailed { lease_id: lease.0, reason: Some(failure.into()) })
            }
            FromWorker::Leaving { reason } => Event::Leaving(pb::Leaving { reason: clip(&reason) }),
        };
        pb::WorkerEvent { event: Some(event) }
    }
}

impl TryFrom<pb::WorkerEvent> for FromWorker {
    type Error = WireError;

    fn try_from(pb::WorkerEvent { event }: pb::WorkerEvent) -> Result<Self, WireError> {
        use pb::worker_event::Event;
        Ok(match event.ok_or(missing("WorkerEvent", "event"))? {
            Event::Join(pb::Join { protocol, worker_name, device, memory_bytes }) => {
                if protocol != PROTOCOL {
                    return Err(WireError::Protocol { found: clip(&protocol) });
                }
                FromWorker::Join(Join { name: worker_name, device, memory: memory_bytes })
            }
            Event::Ready(pb::Ready { numeric_class, canary, parameters }) => {
                let bytes: [u8; 16] = canary.as_ref().try_into().map_err(|_| WireError::Invalid {
                    message: "Ready",
                    field: "canary",
                    found: format!("{} bytes long, not 16", canary.len()),
                })?;
                FromWorker::Ready(Ready {
                    class: numeric_class.ok_or(missing("Ready", "numeric_class"))?.into(),
                    canary: u128::from_be_bytes(bytes),
                    parameters,
                })
            }
            Event::Heartbeat(pb::Heartbeat { compute_micros, transfer_micros, wait_micros }) => {
                FromWorker::Heartbeat(Spent {
                    compute: Duration::from_micros(compute_micros),
                    transfer: Duration::from_micros(transfer_micros),
                    wait: Duration::from_micros(wait_micros),
                })
            }
            Event::LeaseFailed(pb::LeaseFailed { lease_id, reason }) => FromWorker::LeaseFailed {
                lease: LeaseId(lease_id),
                failure: reason.ok_or(missing("LeaseFailed", "reason"))?.into(),
            },
            Event::Leaving(pb::Leaving { reason }) => FromWorker::Leaving { reason },
        })
    }
}

impl From<Failure> for pb::lease_failed::Reason {
    fn from(failure: Failure) -> Self {
        use pb::lease_failed::Reason;
        match failure {
            Failure::Error(text) => Reason::Error(clip(&text)),
            Failure::NotFinite { shard, rows } => Reason::NotFinite(pb::NotFinite { shard, rows }),
            Failure::Data(text) => Reason::Data(clip(&text)),
            Failure::Storage(text) => Reason::Storage(clip(&text)),
        }
    }
}

impl From<pb::lease_failed::Reason> for Failure {
    fn from(reason: pb::lease_failed::Reason) -> Self {
        use pb::lease_failed::Reason;
        match reason {
            Reason::Error(text) => Failure::Error(text),
            Reason::NotFinite(pb::NotFinite { shard, rows }) => Failure::NotFinite { shard, rows },
            Reason::Data(text) => Failure::Data(text),
            Reason::Storage(text) => Failure::Storage(text),
        }
    }
}

impl From<ToWorker> for pb::Command {
    fn from(message: ToWorker) -> Self {
        use pb::command::Command;
        let command = match message {
            ToWorker::Welcome(welcome) => Command::Welcome(welcome.into()),
            ToWorker::Lease { lease, work, expires, traceparent } => Command::Lease(pb::Lease {
                lease_id: lease.0,
                work: Some(work.into()),
                expires_millis: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
                traceparent: traceparent.unwrap_or_default(),
            }),
            ToWorker::Revoke { lease, reason } => {
                Command::Revoke(pb::Revoke { lease_id: lease.0, reason: clip(&reason) })
            }
            ToWorker::Publish(version) => Command::Publish(pb::Publish { weights_version: version.0 }),
            ToWorker::Stop { reason, detail } => Command::Stop(pb::Stop {
                reason: match reason {
                    StopReason::Finished => pb::stop::Reason::Finished,
                    StopReason::Stopped => pb::stop::Reason::Stopped,
                    StopReason::Failed => pb::stop::Reason::Failed,
                    StopReason::Refused => pb::stop::Reason::Refused,
                    StopReason::NumericClass => pb::stop::Reason::NumericClass,
                }
                .into(),
                detail: clip(&detail),
            }),
        };
        pb::Command { command: Some(command) }
    }
}

impl TryFrom<pb::Command> for ToWorker {
    type Error = WireError;

    fn try_from(pb::Command { command }: pb::Command) -> Result<Self, WireError> {
        use pb::command::Command;
        Ok(match command.ok_or(missing("Command", "command"))? {
            Command::Welcome(welcome) => ToWorker::Welcome(welcome.into()),
            Command::Lease(pb::Lease { lease_id, work, expires_millis, traceparent }) => ToWorker::Lease {
                lease: LeaseId(lease_id),
                work: work.ok_or(missing("Lease", "work"))?.try_into()?,
                expires: Duration::from_millis(expires_millis),
                traceparent: Some(traceparent).filter(|text| !text.is_empty()),
            },
            Command::Revoke(pb::Revoke { lease_id, reason }) => {
                ToWorker::Revoke { lease: LeaseId(lease_id), reason }
            }
            Command::Publish(pb::Publish { weights_version }) => ToWorker::Publish(Version(weights_version)),
            Command::Stop(pb::Stop { reason, detail }) => {
                ToWorker::Stop { reason: stop_reason(reason)?, detail }
            }
        })
    }
}

fn stop_reason(number: i32) -> Result<StopReason, WireError> {
    use pb::stop::Reason;
    match Reason::try_from(number) {
        Ok(Reason::Finished) => Ok(StopReason::Finished),
        Ok(Reason::Stopped) => Ok(StopReason::Stopped),
        Ok(Reason::Failed) => Ok(StopReason::Failed),
        Ok(Reason::Refused) => Ok(StopReason::Refused),
        Ok(Reason::NumericClass) => Ok(StopReason::NumericClass),
        Ok(Reason::Unspecified) | Err(_) => {
            Err(WireError::Invalid { message: "Stop", field: "reason", found: number.to_string() })
        }
    }
}

impl From<Welcome> for pb::Welcome {
    fn from(welcome: Welcome) -> Self {
        let Welcome {
            run_id,
            epoch,
            worker,
            spec_json,
            labels,
            parameters,
            version,
            heartbeat,
            train_rows,
            eval_rows,
        } = welcome;
        pb::Welcome {
            run_id,
            coordinator_epoch: epoch.0,
            worker_id: worker.0,
            spec_json,
            labels,
            parameters,
            weights_version: version.0,
            heartbeat_millis: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            train_rows,
            eval_rows,
        }
    }
}

impl From<pb::Welcome> for Welcome {
    fn from(welcome: pb::Welcome) -> Self {
        let pb::Welcome {
            run_id,
            coordinator_epoch,
            worker_id,
            spec_json,
            labels,
            parameters,
            weights_version,
            heartbeat_millis,
            train_rows,
            eval_rows,
        } = welcome;
        Welcome {
            run_id,
            epoch: CoordinatorEpoch(coordinator_epoch),
            worker: WorkerId(worker_id),
            spec_json,
            labels,
            parameters,
            version: Version(weights_version),
            heartbeat: Duration::from_millis(heartbeat_millis.max(1)),
            train_rows,
            eval_rows,
        }
    }
}
