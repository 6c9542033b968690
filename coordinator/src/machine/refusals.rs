//! What those are told who may not take part, or come too late.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::id::WorkerId;
use headstart::message::{StopReason, ToWorker};

use crate::event::{Effect, Event, Refused};
use crate::membership::Rejected;

/// Ends the session of a worker that may not take part.
pub(super) fn turn_away(worker: WorkerId, rejected: Rejected, effects: &mut Vec<Effect>) {
    let reason = match rejected {
        Rejected::OtherClass(_) | Rejected::OtherCanary => StopReason::NumericClass,
        Rejected::OtherBase { .. } => StopReason::OtherBase,
        Rejected::Full(_) | Rejected::Banned(_) | Rejected::OtherParameters { .. } => StopReason::Refused,
    };
    effects.push(Effect::Send(worker, ToWorker::Stop { reason, detail: rejected.to_string() }));
    effects.push(Effect::Close(worker));
}

/// After the end, refuses pushes and tells joining workers why.
pub(super) fn refuse_after_end(reason: Option<StopReason>, event: &Event) -> Vec<Effect> {
    match event {
        Event::PushBegun(partial, ..) | Event::PushEnded(partial, ..) => {
            let refused = Refused::NotLeased { lease: partial.lease, worker: partial.worker };
            vec![Effect::Answer(Err(refused))]
        }
        Event::Joined(worker, _) => {
            let stop = reason.map(|reason| ToWorker::Stop { reason, detail: "the run is over".into() });
            let told = stop.map(|stop| Effect::Send(*worker, stop));
            told.into_iter().chain([Effect::Close(*worker)]).collect()
        }
        _ => Vec::new(),
    }
}
