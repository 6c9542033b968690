//! The control plane: what a worker and the coordinator say on a session.

use std::time::Duration;

use super::{PROTOCOL, WireError, clip, micros, missing, pb};
use crate::checkpoint::Loading;
use crate::id::{CoordinatorEpoch, LeaseId, Version, WorkerId};
use crate::message::{
    Failure, FromWorker, Join, NumericClass, Ready, StopReason, TimeBreakdown, ToWorker, Welcome,
};

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
            FromWorker::Ready(Ready { class, canary, base, parameters, follows }) => {
                Event::Ready(pb::Ready {
                    follows,
                    numeric_class: Some(class.into()),
                    canary: canary.to_be_bytes().to_vec().into(),
                    base: base.map(|base| base.to_be_bytes().to_vec()).unwrap_or_default().into(),
                    parameters,
                })
            }
            FromWorker::Heartbeat(TimeBreakdown { compute, transfer, wait }, Loading { done, total }) => {
                Event::Heartbeat(pb::Heartbeat {
                    compute_micros: micros(compute),
                    transfer_micros: micros(transfer),
                    wait_micros: micros(wait),
                    loaded_bytes: done,
                    total_bytes: total,
                })
            }
            FromWorker::LeaseFailed { lease, failure } => {
                Event::LeaseFailed(pb::LeaseFailed { lease_id: lease.0, reason: Some(failure.into()) })
            }
            FromWorker::Computed(lease) => Event::Computed(pb::Computed { lease_id: lease.0 }),
            FromWorker::Current(version) => Event::Current(pb::Current { weights_version: version.0 }),
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
            Event::Ready(pb::Ready { numeric_class, canary, parameters, base, follows }) => {
                let number = |field, bytes: &[u8]| match bytes.try_into() {
                    Ok(bytes) => Ok(u128::from_be_bytes(bytes)),
                    Err(_) => {
                        let found = format!("{} bytes long, not 16", bytes.len());
                        Err(WireError::Invalid { message: "Ready", field, found })
                    }
                };
                let some = Some(&base).filter(|base| !base.is_empty());
                FromWorker::Ready(Ready {
                    class: numeric_class.ok_or(missing("Ready", "numeric_class"))?.into(),
                    canary: number("canary", &canary)?,
                    base: some.map(|base| number("base", base)).transpose()?,
                    parameters,
                    follows,
                })
            }
            Event::Heartbeat(heartbeat) => {
                let pb::Heartbeat { compute_micros, transfer_micros, wait_micros, loaded_bytes, total_bytes } =
                    heartbeat;
                let spent = TimeBreakdown {
                    compute: Duration::from_micros(compute_micros),
                    transfer: Duration::from_micros(transfer_micros),
                    wait: Duration::from_micros(wait_micros),
                };
                FromWorker::Heartbeat(spent, Loading { done: loaded_bytes, total: total_bytes })
            }
            Event::LeaseFailed(pb::LeaseFailed { lease_id, reason }) => FromWorker::LeaseFailed {
                lease: LeaseId(lease_id),
                failure: reason.ok_or(missing("LeaseFailed", "reason"))?.into(),
            },
            Event::Computed(pb::Computed { lease_id }) => FromWorker::Computed(LeaseId(lease_id)),
            Event::Current(pb::Current { weights_version }) => FromWorker::Current(Version(weights_version)),
            Event::Leaving(pb::Leaving { reason }) => FromWorker::Leaving { reason },
        })
    }
}

impl From<Failure> for pb::lease_failed::Reason {
    fn from(failure: Failure) -> Self {
        use pb::lease_failed::Reason;
        match failure {
            Failure::Error(text) => Reason::Error(clip(&text)),
            Failure::NotFinite { shard } => Reason::NotFinite(pb::NotFinite { shard }),
            Failure::Data(text) => Reason::Data(clip(&text)),
            Failure::Storage(text) => Reason::Storage(clip(&text)),
            Failure::SumNotFinite => Reason::SumNotFinite(pb::SumNotFinite {}),
        }
    }
}

impl From<pb::lease_failed::Reason> for Failure {
    fn from(reason: pb::lease_failed::Reason) -> Self {
        use pb::lease_failed::Reason;
        match reason {
            Reason::Error(text) => Failure::Error(text),
            Reason::NotFinite(pb::NotFinite { shard }) => Failure::NotFinite { shard },
            Reason::Data(text) => Failure::Data(text),
            Reason::Storage(text) => Failure::Storage(text),
            Reason::SumNotFinite(pb::SumNotFinite {}) => Failure::SumNotFinite,
        }
    }
}

impl From<ToWorker> for pb::Command {
    fn from(message: ToWorker) -> Self {
        use pb::command::Command;
        let command = match message {
            ToWorker::Welcome(welcome) => Command::Welcome(welcome.into()),
            ToWorker::Lease { lease, work, skipped, traceparent } => Command::Lease(pb::Lease {
                skipped,
                lease_id: lease.0,
                work: Some(work.into()),
                traceparent: traceparent.unwrap_or_default(),
            }),
            ToWorker::Revoke { lease, reason } => {
                Command::Revoke(pb::Revoke { lease_id: lease.0, reason: clip(&reason) })
            }
            ToWorker::Publish(version) => Command::Publish(pb::Publish { weights_version: version.0 }),
            ToWorker::Follow { anew } => Command::Follow(pb::Follow { anew }),
            ToWorker::Rest { reason } => Command::Rest(pb::Rest { reason: clip(&reason) }),
            ToWorker::Stop { reason, detail } => Command::Stop(pb::Stop {
                reason: match reason {
                    StopReason::Finished => pb::stop::Reason::Finished,
                    StopReason::Stopped => pb::stop::Reason::Stopped,
                    StopReason::Failed => pb::stop::Reason::Failed,
                    StopReason::Refused => pb::stop::Reason::Refused,
                    StopReason::NumericClass => pb::stop::Reason::NumericClass,
                    StopReason::OtherBase => pb::stop::Reason::OtherBase,
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
            Command::Lease(pb::Lease { lease_id, work, traceparent, skipped }) => ToWorker::Lease {
                skipped,
                lease: LeaseId(lease_id),
                work: work.ok_or(missing("Lease", "work"))?.try_into()?,
                traceparent: Some(traceparent).filter(|text| !text.is_empty()),
            },
            Command::Revoke(pb::Revoke { lease_id, reason }) => {
                ToWorker::Revoke { lease: LeaseId(lease_id), reason }
            }
            Command::Publish(pb::Publish { weights_version }) => ToWorker::Publish(Version(weights_version)),
            Command::Follow(pb::Follow { anew }) => ToWorker::Follow { anew },
            Command::Rest(pb::Rest { reason }) => ToWorker::Rest { reason },
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
        Ok(Reason::OtherBase) => Ok(StopReason::OtherBase),
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
            heartbeat,
            train_rows,
            eval_rows,
            memory,
        } = welcome;
        pb::Welcome {
            run_id,
            coordinator_epoch: epoch.0,
            worker_id: worker.0,
            spec_json,
            labels,
            parameters,
            heartbeat_millis: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            train_rows,
            eval_rows,
            memory: memory.map(Into::into),
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
            heartbeat_millis,
            train_rows,
            eval_rows,
            memory,
        } = welcome;
        Welcome {
            run_id,
            epoch: CoordinatorEpoch(coordinator_epoch),
            worker: WorkerId(worker_id),
            spec_json,
            labels,
            parameters,
            heartbeat: Duration::from_millis(heartbeat_millis.max(1)),
            train_rows,
            eval_rows,
            memory: memory.map(Into::into),
        }
    }
}
