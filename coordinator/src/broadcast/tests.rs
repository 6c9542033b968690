//! What followers receive, in which order, and what becomes of those who are late.

use futures::FutureExt;
use headstart::optimizer::OptimizerConfig;

use super::*;

/// Elements of each of two segments.
const LEN: usize = 100;
/// Bytes of a packed segment in f32.
const PACKED: usize = LEN * 4 + 1;

/// A broadcast, and the version that workers see.
struct Run {
    broadcast: Arc<Broadcast>,
    version: watch::Sender<Version>,
}

fn update(step: u64) -> Update {
    let rule = OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 };
    Update { rule, number: step + 1, learning_rate: 0.1, divisor: 8, factor: 1.0 }
}

/// A segment's sum, other ones for each attempt at a step.
fn sum(step: u64, attempt: u32, segment: u32) -> Vec<f32> {
    (0..LEN)
        .map(|element| (1 + step * 100 + u64::from(attempt * 10 + segment)) as f32 + element as f32)
        .collect()
}

impl Run {
    fn new(most: usize) -> Run {
        Run { broadcast: Arc::new(Broadcast::new(Wire::F32, most)), version: watch::Sender::new(Version(0)) }
    }

    fn follow(&self, known: Option<u64>) -> Result<Follower, Unfollowable> {
        self.broadcast.follow(known.map(Version), &self.version.subscribe())
    }

    fn open(&self, step: u64) -> u32 {
        self.broadcast.open(Step(step), 2)
    }

    fn stage(&self, step: u64, attempt: u32, segment: u32) {
        self.broadcast.stage(Step(step), attempt, Segment(segment), &sum(step, attempt, segment));
    }

    /// The word to apply; the coordinator has not made the update yet.
    fn apply(&self, step: u64, attempt: u32) {
        let sums = [0, 1].map(|segment| Whole::new(sum(step, attempt, segment)));
        self.broadcast.apply(Step(step), &sums, update(step));
    }

    /// A whole step.
    fn step(&self, step: u64) {
        let attempt = self.open(step);
        self.stage(step, attempt, 1);
        self.stage(step, attempt, 0);
        self.apply(step, attempt);
        self.version.send_replace(Version(step + 1));
    }
}

/// What has come for a follower, in words; its sums must be those that were staged.
fn received(follower: &mut Follower) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(next) = follower.next().now_or_never() {
        match next {
            Ok(Item::Sum { step, attempt, segment, packed }) => {
                let mut values = vec![0.0; LEN];
                payload::decode(Wire::F32, &packed[0], &mut values).expect("it was packed");
                assert_eq!(values, sum(step.0, attempt, segment.0));
                all.push(format!("{}.{attempt} sum {}", step.0, segment.0));
            }
            Ok(Item::Apply { step, attempt, update }) => {
                assert_eq!(update.number, step.0 + 1);
                all.push(format!("{}.{attempt} apply", step.0));
            }
            Err(lost) => {
                all.push(lost.to_string());
                break;
            }
        }
    }
    all
}

#[test]
fn sums_come_before_the_word_and_steps_in_their_order() {
    let run = Run::new(1 << 20);
    let mut follower = run.follow(None).expect("nothing is being updated");
    run.step(0);
    run.open(1);
    run.stage(1, 1, 1);
    assert_eq!(received(&mut follower), ["0.1 sum 0", "0.1 sum 1", "0.1 apply", "1.1 sum 1"]);
    run.stage(1, 1, 0);
    assert_eq!(received(&mut follower), ["1.1 sum 0"], "no word yet");
    run.apply(1, 1);
    assert_eq!(received(&mut follower), ["1.1 apply"]);
}

#[test]
fn a_step_that_begins_anew_voids_what_was_staged() {
    let run = Run::new(1 << 20);
    let mut follower = run.follow(None).expect("nothing is being updated");
    let mut late = run.follow(None).expect("nothing is being updated");
    assert_eq!(run.open(0), 1);
    run.stage(0, 1, 0);
    assert_eq!(received(&mut follower), ["0.1 sum 0"]);
    assert_eq!(run.open(0), 2);
    // A push that still adds to the first attempt.
    run.stage(0, 1, 1);
    assert_eq!(received(&mut follower), Vec::<String>::new());
    run.stage(0, 2, 1);
    run.stage(0, 2, 0);
    run.apply(0, 2);
    let second = ["0.2 sum 0", "0.2 sum 1", "0.2 apply"];
    assert_eq!(received(&mut follower), second);
    assert_eq!(received(&mut late), second, "who has taken nothing of the first attempt gets nothing of it");
    run.version.send_replace(Version(1));
    assert_eq!(run.open(1), 1);
}

#[test]
fn nothing_is_packed_while_nobody_follows() {
    let run = Run::new(1 << 20);
    run.step(0);
    assert_eq!(run.broadcast.load(), (0, 0));
    drop(run.follow(None).expect("nothing is being updated"));
    run.step(1);
    assert_eq!(run.broadcast.load(), (0, 0), "the only follower has gone");
    assert_eq!(run.follow(Some(0)).err(), Some(Unfollowable::Gone(Version(0))));
    assert_eq!(run.follow(Some(1)).err(), Some(Unfollowable::Gone(Version(1))), "its sums were never packed");
}

#[test]
fn who_registers_in_the_middle_of_a_step_gets_all_of_it() {
    for known in [None, Some(0)] {
        let run = Run::new(1 << 20);
        let attempt = run.open(0);
        run.stage(0, attempt, 1);
        let mut follower = run.follow(known).expect("nothing is being updated");
        run.stage(0, attempt, 0);
        assert_eq!(received(&mut follower), ["0.1 sum 0"]);
        run.apply(0, attempt);
        assert_eq!(received(&mut follower), ["0.1 sum 1", "0.1 apply"], "known: {known:?}");
    }
}

#[test]
fn who_knows_the_current_version_needs_no_state() {
    let run = Run::new(1 << 20);
    run.version.send_replace(Version(7));
    let mut follower = run.follow(Some(7)).expect("its sums are still to come");
    assert_eq!(run.follow(Some(6)).err(), Some(Unfollowable::Gone(Version(6))));
    assert_eq!(
        run.follow(Some(8)).err(),
        Some(Unfollowable::Gone(Version(8))),
        "that is no version of this run"
    );
    run.step(7);
    assert_eq!(received(&mut follower).len(), 3);
}

#[test]
fn nobody_begins_while_an_update_is_being_made() {
    let run = Run::new(1 << 20);
    let attempt = run.open(0);
    run.apply(0, attempt);
    // Segments of the state may be of either version.
    assert_eq!(run.follow(None).err(), Some(Unfollowable::Updating(Version(0))));
    run.version.send_replace(Version(1));
    let mut follower = run.follow(None).expect("it has been made");
    run.step(1);
    assert_eq!(received(&mut follower)[0], "1.1 sum 0", "the state has step 0");
}

#[test]
fn the_ring_is_bounded_and_who_is_too_slow_is_told() {
    let run = Run::new(6 * PACKED);
    let mut slow = run.follow(None).expect("nothing is being updated");
    let mut fast = run.follow(None).expect("nothing is being updated");
    for step in 0..3 {
        run.step(step);
        received(&mut fast);
    }
    assert_eq!(run.broadcast.load(), (2, 6 * PACKED), "three steps fit");
    run.step(3);
    assert!(run.broadcast.load().1 <= 6 * PACKED);
    assert_eq!(received(&mut fast), ["3.1 sum 0", "3.1 sum 1", "3.1 apply"]);
    assert_eq!(received(&mut slow), ["the sums after version 0 are gone"]);
    drop(slow);
    let mut again = run.follow(Some(2)).expect("the last two steps are kept");
    assert_eq!(received(&mut again).len(), 6);
}

#[test]
fn two_steps_are_kept_whatever_their_size_and_no_more_than_is_needed() {
    let run = Run::new(0);
    let mut follower = run.follow(None).expect("nothing is being updated");
    for step in 0..5 {
        run.step(step);
        assert_eq!(received(&mut follower).len(), 3);
        assert!(run.broadcast.load().1 <= 4 * PACKED, "{:?}", run.broadcast.load());
    }
    let mut back = run.follow(Some(3)).expect("its connection was broken for a moment");
    assert_eq!(received(&mut back).len(), 6);

    let run = Run::new(1 << 20);
    let mut follower = run.follow(None).expect("nothing is being updated");
    for step in 0..5 {
        run.step(step);
        received(&mut follower);
    }
    assert_eq!(run.broadcast.load(), (1, 4 * PACKED), "nobody needs the others");
}

#[tokio::test]
async fn who_waits_is_woken() {
    let run = Run::new(1 << 20);
    let mut follower = run.follow(None).expect("nothing is being updated");
    let waiting = tokio::spawn(async move { follower.next().await });
    tokio::task::yield_now().await;
    run.step(0);
    assert!(matches!(waiting.await.expect("it does not panic"), Ok(Item::Sum { step: Step(0), .. })));
}
