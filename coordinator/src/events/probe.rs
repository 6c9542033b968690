//! What people are told of a run's probe.

use headstart::client::ProbeSummary;
use headstart::probe::Probed;
use serde_json::Value;

/// The verdict in one line.
pub(super) fn summary(probed: &Probed) -> ProbeSummary {
    let verdict = serde_json::to_value(probed.verdict).expect("a verdict is plain data");
    ProbeSummary { verdict: verdict.as_str().unwrap_or_default().to_owned(), text: probed.line() }
}

/// There is no verdict, for this reason.
pub(super) fn left_out(reason: &str) -> ProbeSummary {
    ProbeSummary { verdict: String::new(), text: reason.to_owned() }
}

/// What the run's event lines say of a probe before this coordinator's term.
pub(super) fn remembered(events: &str) -> Option<ProbeSummary> {
    let line = events.lines().rev().find(|line| line.contains("\"event\":\"probe"))?;
    let line: Value = serde_json::from_str(line).ok()?;
    match line["event"].as_str()? {
        "probe" => serde_json::from_value(line).ok().map(|probed| summary(&probed)),
        "probe_left_out" => line["reason"].as_str().map(left_out),
        _ => None,
    }
}
