//! The machine, the sums, the weights and the commit log, alone in one thread, under a seeded schedule of everything that
//! can go wrong: workers that die, hang, send twice or come back, coordinators that die in the middle of a commit, or live
//! on after another has taken over. Whatever the schedule, ledger and weights are those of an undisturbed run.
//!
//! `HEADSTART_SEEDS` says how many schedules (2000), `HEADSTART_FLIPS` how many damaged objects (600), and
//! `HEADSTART_FIRST_SEED` which seed is the first (0).

// Modules of one test: nothing outside sees them.
#![allow(unreachable_pub)]

mod coordinator;
mod damage;
mod draws;
mod replica;
mod run;
mod schedule;
mod worker;

use std::collections::BTreeMap;

use schedule::{Faults, Outcome, Schedule};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_schedule_gives_the_bits_of_an_undisturbed_run() {
    let (first, count) = (number("HEADSTART_FIRST_SEED", 0), number("HEADSTART_SEEDS", 2000));
    let mut expected: BTreeMap<u64, Outcome> = BTreeMap::new();
    let mut faults = Faults::default();
    let mut counted = 0;
    let mut seed = first;
    // A schedule without a fault that hit a lease in flight shows nothing, so it is not counted.
    while counted < count {
        let shape = seed % run::SHAPES;
        let undisturbed = expected.entry(shape).or_insert_with(|| Schedule::undisturbed(shape).play());
        let outcome = std::panic::catch_unwind(|| Schedule::disturbed(shape, seed).play());
        let again = format!(
            "again: HEADSTART_FIRST_SEED={seed} HEADSTART_SEEDS=1 cargo test --release --package headstart-coordinator --test simulate"
        );
        let Ok(outcome) = outcome else { panic!("seed {seed} failed; {again}") };
        assert_eq!(outcome.ledger, undisturbed.ledger, "seed {seed}: another ledger; {again}");
        assert_eq!(outcome.weights, undisturbed.weights, "seed {seed}: other weights; {again}");
        counted += u64::from(outcome.faults.in_flight > 0);
        faults.add(&outcome.faults);
        seed += 1;
        assert!(seed < first + 3 * count + 100, "too few schedules disturb a lease: {faults:?}");
    }
    println!("{counted} schedules of {} counted; {faults:?}", seed - first);
    assert!(count < 100 || faults.all_kinds(), "some kind of fault never happened: {faults:?}");
}

#[test]
fn damage_to_any_object_is_seen_and_the_bits_stay() {
    let (first, count) = (number("HEADSTART_FIRST_SEED", 0), number("HEADSTART_FLIPS", 600));
    let runs = damage::all();
    let (mut kinds, mut nothing_left) = (BTreeMap::new(), 0);
    for seed in first..first + count {
        let (object, lost) = runs[(seed % run::SHAPES) as usize].damage(seed);
        *kinds.entry(damage::kind(&object).to_owned()).or_insert(0u64) += 1;
        nothing_left += u64::from(lost);
    }
    println!("{count} objects damaged: {kinds:?}; {nothing_left} times the only manifest");
    assert!(count < 100 || kinds.len() == 5, "some kind of object was never damaged: {kinds:?}");
}
