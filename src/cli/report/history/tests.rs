//! What events become.

use super::*;

#[test]
fn faults_are_told_in_words_and_time_is_the_last_that_was_known() {
    let events = r#"{"time":100.0,"step":0,"event":"start","epoch":1}
{"time":101.0,"step":0,"event":"join","worker":1,"name":"host 7","device":"cpu"}
{"time":102.0,"step":0,"event":"join","worker":2,"name":"host 8","device":"cuda:0"}
{"time":110.0,"step":5,"event":"worker_time","worker":1,"name":"host 7","compute":5.0,"transfer":1.0,"wait":2.0}
{"time":110.5,"step":5,"event":"commit","version":5,"audits":3}
{"time":112.0,"step":6,"event":"leave","worker":1,"name":"host 7","reason":"its session broke","compute":6.0,"transfer":1.5,"wait":2.5}
{"time":113.0,"step":6,"event":"lease_failed","worker":2,"name":"host 8","lease":4,"reason":"https://me:secret@host/x?sig=secret: 403"}
{"time":114.0,"step":6,"event":"shard_skipped","shard":3,"rows":[17,18],"rows_total":40}
{"event":"left_out","count":12}
{"time":115.0,"step":6,"event":"audit_disputed","work":"shards 0 to 3 of step 6","workers":["host 7","host 8"]}
not JSON
{"time":116.0,"step":6,"event":"sent_away","worker":2,"name":"host 8","reason":"it hangs"}
{"time":116.0,"step":6,"event":"leave","worker":2,"name":"host 8","reason":"it hangs","expected":true}
{"time":120.0,"step":5,"event":"start","epoch":2}
{"time":121.0,"step":5,"event":"join","worker":1,"name":"host 9","device":"cpu"}
{"time":121.5,"step":5,"event":"something new"}
{"time":122.0,"step":9,"event":"commit","version":9,"audits":2}
"#;
    let mut history = History::of(events);
    history.add_workers(
        r#"{"train_runtime": 42.5, "workers": [{"worker_id": 1, "name": "host 9", "shards": 64}]}"#,
    );
    assert_eq!((history.joins, history.commits, history.audits, history.disputes), (3, 2, 5, 1));
    assert_eq!(history.left_out, 13, "twelve that were not kept, and one that is no event");
    let told: Vec<(f64, Option<u64>, &str)> = history
        .faults
        .iter()
        .map(|fault| (fault.after, fault.worker.as_ref().map(|worker| worker.0), fault.what.as_str()))
        .collect();
    let expected = [
        (12.0, Some(1), "it left: its session broke"),
        (13.0, Some(2), "it could not compute a lease: https://host/x: 403"),
        (14.0, None, "shard 3 was left out of the step: 40 rows, the first 17"),
        (15.0, None, "host 7 and host 8 computed different gradients of shards 0 to 3 of step 6"),
        (16.0, Some(2), "it was sent away: it hangs"),
        (20.0, None, "another coordinator, number 2, took the run over"),
    ];
    assert_eq!(told, expected);
    assert_eq!(history.workers[&(1, 1)].spent, Some([6.0, 1.5, 2.5]));
    let last = &history.workers[&(2, 1)];
    assert_eq!((last.name.as_str(), last.shards, last.spent), ("host 9", Some(64), None));
}

#[test]
fn what_is_damaged_is_counted_and_never_in_the_way() {
    let history =
        History::of("[]\n5\n{\"event\":5}\n{\"event\":\"join\"}\n{\"event\":\"probe\",\"score\":1}\n{");
    assert_eq!((history.left_out, history.joins, history.probed), (1, 1, None));
    let mut history = History::default();
    history.add_workers("{\"workers\": 5, \"train_runtime\": \"x\"}");
    history.add_workers("not JSON");
    assert_eq!(history, History::default());
}

#[test]
fn a_probe_is_read_as_it_was_printed() {
    let probe = r#"{"time":1.0,"step":0,"event":"probe","checkpoint":"m","score":0.4,"accuracy":0.71,"random":{"score":-0.3,"accuracy":0.3},"verdict":"head start","rows":200,"seconds":1.5}"#;
    let probed = History::of(probe).probed.expect("a probe");
    assert_eq!((probed.rows, probed.verdict.short()), (200, "a head start"));
    let left_out = History::of(r#"{"time":1.0,"step":0,"event":"probe_left_out","reason":"too few rows"}"#);
    assert_eq!(left_out.not_probed.as_deref(), Some("too few rows"));
}
