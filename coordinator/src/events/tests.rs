//! Stories of a run, told by its events.

use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{CoordinatorEpoch, LeaseId, Version};
use headstart::manifest::RunState;
use headstart::message::{Join, PartialId, Pass, Totals, Welcome, Work};
use headstart::tree::Tree;

use super::*;
use crate::master::Applied;

/// A coordinator's events, at a second each.
struct Story {
    log: Arc<EventLog>,
    events: Events,
    now: f64,
}

impl Story {
    fn new() -> Story {
        let log = Arc::new(EventLog::default());
        Story { events: Events::new(log.clone(), 1, 0, 0.0), log, now: 0.0 }
    }

    /// Something happens, and the machine wants these.
    fn tell(&mut self, event: Event, effects: Vec<Effect>) {
        self.now += 1.0;
        self.events.event(&event, self.now);
        effects.iter().for_each(|effect| self.events.effect(effect, self.now));
    }

    fn join(&mut self, number: u64, answer: ToWorker) {
        let join = Join { name: format!("w{number}"), device: "cpu".into(), memory: 1 };
        let worker = WorkerId(number);
        let refused = matches!(answer, ToWorker::Stop { .. });
        let mut effects = vec![Effect::Send(worker, answer)];
        effects.extend(refused.then_some(Effect::Close(worker)));
        self.tell(Event::Joined(worker, join), effects);
    }

    /// The names of all events, and the workers that they are about.
    fn told(&self) -> Vec<(String, Option<u64>)> {
        let lines = self.lines();
        lines
            .iter()
            .map(|line| (line["event"].as_str().unwrap_or_default().to_owned(), line["worker"].as_u64()))
            .collect()
    }

    fn lines(&self) -> Vec<Value> {
        self.log.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn named(told: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    told.iter().map(|(name, worker)| ((*name).to_owned(), *worker)).collect()
}

fn welcome(number: u64) -> ToWorker {
    ToWorker::Welcome(Welcome {
        run_id: "r".into(),
        epoch: CoordinatorEpoch(1),
        worker: WorkerId(number),
        spec_json: String::new(),
        labels: Vec::new(),
        parameters: String::new(),
        heartbeat: Duration::from_secs(5),
        train_rows: 1,
        eval_rows: 0,
        memory: None,
    })
}

fn stop(reason: StopReason) -> ToWorker {
    ToWorker::Stop { reason, detail: "because".into() }
}

fn lease(number: u64) -> ToWorker {
    let work = Work { pass: Pass::Train, step: Step(0), node: Tree::new(2).root(), version: Version(0) };
    ToWorker::Lease { lease: LeaseId(number), work, skipped: Vec::new(), traceparent: None }
}

#[test]
fn workers_come_and_go() {
    let mut story = Story::new();
    story.join(1, welcome(1));
    story.join(2, stop(StopReason::NumericClass));
    let spent = TimeBreakdown { compute: Duration::from_millis(1500), ..TimeBreakdown::default() };
    story.tell(Event::Heard(WorkerId(1), spent), vec![]);
    story.tell(Event::Left(WorkerId(1), "its session broke".into()), vec![]);
    story.tell(Event::Left(WorkerId(2), "closed".into()), vec![]);
    story.join(3, welcome(3));
    story.tell(Event::Tick, vec![Effect::Close(WorkerId(3))]);
    story.tell(Event::Left(WorkerId(3), "closed".into()), vec![]);
    let told = [
        ("start", None),
        ("join", Some(1)),
        ("sent_away", Some(2)),
        ("leave", Some(1)),
        ("join", Some(3)),
        ("silent", Some(3)),
        ("leave", Some(3)),
    ];
    assert_eq!(story.told(), named(&told));
    let lines = story.lines();
    let facts = ["time", "step", "worker", "name", "device"].map(|key| lines[1][key].clone());
    assert_eq!(facts, [json!(1.0), json!(0), json!(1), json!("w1"), json!("cpu")]);
    assert_eq!((&lines[3]["reason"], &lines[3]["compute"]), (&json!("its session broke"), &json!(1.5)));
    assert_eq!(lines[6]["reason"], "it was not heard any more");
    assert_eq!((&lines[3]["expected"], &lines[6]["expected"]), (&json!(false), &json!(true)));
    let faults = story.events.faults();
    let faults: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
    let expected = [
        "worker 2 (w2) was sent away: because",
        "worker 1 (w1) has left: its session broke",
        "worker 3 (w3) is not heard any more, and is given up",
    ];
    assert_eq!(faults, expected, "each once");
}

#[test]
fn outages_of_storage_are_told_and_written() {
    let mut story = Story::new();
    let (host, why) = ("store.example:9000".to_owned(), "connection refused".to_owned());
    let after = Duration::from_millis(3250);
    story.events.outages(vec![Outage::Began { host: host.clone(), why }, Outage::Ended { host, after }], 7.0);
    let faults = story.events.faults();
    let faults: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
    let expected = [
        "storage at store.example:9000 does not answer: connection refused",
        "storage at store.example:9000 answers again, after 3.25 s",
    ];
    assert_eq!(faults, expected);
    assert_eq!(story.told()[1..], named(&[("storage_outage", None), ("storage_back", None)]));
}

#[test]
fn a_probe_left_out_is_remembered_by_the_next_coordinator() {
    let mut story = Story::new();
    story.events.probe_left_out("no probe: too few rows", 1.0);
    let said = |events: &Events| events.probe().map(|probe| probe.text.clone());
    assert_eq!(said(&story.events).as_deref(), Some("no probe: too few rows"));
    let log = Arc::new(EventLog::resume(&story.log.text()));
    let next = Events::new(log, 2, 0, 9.0);
    assert_eq!(said(&next).as_deref(), Some("no probe: too few rows"));
    let faults = next.faults();
    assert_eq!(faults.iter().count(), 1, "the restart");
}

#[test]
fn a_worker_that_rests_is_called_back_by_its_next_lease_or_before() {
    let mut story = Story::new();
    story.join(1, welcome(1));
    let rest = || vec![Effect::Send(WorkerId(1), ToWorker::Rest { reason: "slow".into() })];
    story.tell(Event::Tick, rest());
    story.tell(Event::Tick, vec![Effect::Send(WorkerId(1), lease(1)), Effect::Send(WorkerId(1), lease(2))]);
    story.tell(Event::Tick, rest());
    story.tell(Event::Tick, vec![Effect::Send(WorkerId(1), ToWorker::Follow { anew: false })]);
    let one = Some(1);
    let told = [("rest", one), ("called_back", one), ("rest", one), ("called_back", one)];
    assert_eq!(story.told()[2..], named(&told));
}

#[test]
fn steps_fail_begin_anew_and_are_committed() {
    let mut story = Story::new();
    story.join(1, welcome(1));
    let open = || Effect::OpenStep(Step(0), Tree::new(2));
    story.tell(Event::Tick, vec![open()]);
    let failure = Failure::NotFinite { shard: 1 };
    story.tell(Event::LeaseFailed(WorkerId(1), LeaseId(1), failure), vec![open()]);
    let step = Record::Step {
        step: Step(0),
        totals: Box::default(),
        metrics: BTreeMap::new(),
        learning_rate: 0.1,
        applied: Applied { norm: 1.0, gradient: 0, weights: 0 },
        skipped: BTreeMap::from([(1, (0..100).collect())]),
        workers: 1,
    };
    let eval = Record::Eval { version: Version(1), metrics: BTreeMap::from([("loss", 0.5)]), samples: 3 };
    let standing = RunState { version: 1, ..RunState::default() };
    let effects = vec![Effect::Record(step), Effect::Commit(standing), Effect::Record(eval)];
    story.tell(Event::Tick, effects);
    story.tell(
        Event::Committed,
        vec![Effect::OpenStep(Step(1), Tree::new(2)), Effect::End(Exit::Ok, String::new())],
    );
    let told = [
        ("lease_failed", Some(1)),
        ("step_restarted", None),
        ("shard_skipped", None),
        ("worker_time", Some(1)),
        ("evaluation", None),
        ("commit", None),
    ];
    assert_eq!(story.told()[2..], named(&told));
    let lines = story.lines();
    assert_eq!(lines[2]["reason"], "loss or gradient of shard 1 is not finite");
    assert_eq!(lines[4]["rows_total"], 100);
    assert_eq!(lines[4]["rows"].as_array().map(Vec::len), Some(MOST_ROWS));
    assert_eq!((&lines[6]["step"], &lines[6]["eval_loss"]), (&json!(1), &json!(0.5)));
    assert_eq!((&lines[7]["version"], &lines[7]["audits"]), (&json!(1), &json!(0)));
}

#[test]
fn audits_are_counted_and_a_dispute_is_told() {
    let mut story = Story::new();
    let partial = PartialId {
        run_id: "r".into(),
        epoch: CoordinatorEpoch(1),
        worker: WorkerId(1),
        lease: LeaseId(1),
        work: Work { pass: Pass::Train, step: Step(0), node: Tree::new(2).root(), version: Version(0) },
    };
    let work = partial.work;
    let ended = || Event::PushEnded(partial.clone(), Totals::default(), None);
    let begun = Event::PushBegun(partial.clone(), Totals::default(), Default::default());
    let audit = || Effect::Answer(Ok(SegmentUse::Hash));
    story.tell(begun, vec![audit()]);
    story.tell(ended(), vec![audit()]);
    story.tell(ended(), vec![audit(), Effect::Disputed { work, workers: vec!["a".into(), "b".into()] }]);
    story.tell(ended(), vec![Effect::Answer(Ok(SegmentUse::Sum))]);
    story.tell(Event::Committed, vec![]);
    assert_eq!(story.told()[1..], named(&[("audit_disputed", None), ("commit", None)]));
    let lines = story.lines();
    assert_eq!(lines[1]["workers"], json!(["a", "b"]));
    assert_eq!(lines[2]["audits"], 2);
}
