//! A seeded schedule: who moves next, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::WorkerId;
use headstart::run_file::RunSpec;
use headstart::store::{Location, Stores};
use headstart_coordinator::event::Event;
use headstart_coordinator::journal::JournalError;
use headstart_coordinator::journal::save::Exports;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::coordinator::{Coordinator, now};
use crate::draws::Draws;
use crate::run;
use crate::worker::{self, Moved, Worker};

/// A run that has not ended after this number of moves never will.
const MOST_MOVES: u64 = 200_000;

/// What went wrong, and how often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Faults that hit a lease in flight.
    pub in_flight: u64,
    deaths: u64,
    silences: u64,
    repeats: u64,
    hangs: u64,
    coordinator_deaths: u64,
    torn_commits: u64,
    rivals: u64,
}

/// What a run left behind.
pub struct Outcome {
    pub ledger: String,
    pub weights: Vec<Vec<u32>>,
    pub faults: Faults,
}

/// One run under one seed.
pub struct Schedule {
    spec: RunSpec,
    shape: u64,
    disturbed: bool,
    most_workers: u64,
    draws: Draws,
    store: Arc<InMemory>,
    now: Duration,
    coordinator: Coordinator,
    workers: BTreeMap<WorkerId, Worker>,
    lives: u64,
    joined: u64,
    faults: Faults,
}

impl Faults {
    pub fn add(&mut self, other: &Faults) {
        let Faults { in_flight, deaths, silences, repeats, hangs, coordinator_deaths, torn_commits, rivals } =
            other;
        self.in_flight += in_flight;
        self.deaths += deaths;
        self.silences += silences;
        self.repeats += repeats;
        self.hangs += hangs;
        self.coordinator_deaths += coordinator_deaths;
        self.torn_commits += torn_commits;
        self.rivals += rivals;
    }

    pub fn all_kinds(&self) -> bool {
        let Faults { in_flight, deaths, silences, repeats, hangs, coordinator_deaths, torn_commits, rivals } =
            *self;
        [in_flight, deaths, silences, repeats, hangs, coordinator_deaths, torn_commits, rivals]
            .iter()
            .all(|&n| n > 0)
    }
}

impl Schedule {
    /// One worker, and nothing goes wrong.
    pub fn undisturbed(shape: u64) -> Schedule {
        Schedule::new(shape, 0, false)
    }

    /// Up to 32 workers, and what the seed says.
    pub fn disturbed(shape: u64, seed: u64) -> Schedule {
        Schedule::new(shape, seed, true)
    }

    fn new(shape: u64, seed: u64, disturbed: bool) -> Schedule {
        let mut schedule =
            Schedule::resumed(shape, Arc::new(InMemory::new())).expect("the directory is empty");
        schedule.draws = Draws::new(seed);
        schedule.disturbed = disturbed;
        if disturbed {
            schedule.most_workers = schedule.draws.pick(&[1, 2, 3, 5, 8, 32]);
        }
        schedule
    }

    /// One worker goes on with the run in a store, and nothing goes wrong.
    pub fn resumed(shape: u64, store: Arc<InMemory>) -> Result<Schedule, JournalError> {
        let spec = run::spec(shape);
        let coordinator = Coordinator::start(&spec, &output(&store), 1000)?;
        Ok(Schedule {
            spec,
            shape,
            disturbed: false,
            most_workers: 1,
            draws: Draws::new(0),
            store,
            now: Duration::ZERO,
            coordinator,
            workers: BTreeMap::new(),
            lives: 1,
            joined: 0,
            faults: Faults::default(),
        })
    }

    /// Updates made so far.
    pub fn step(&self) -> u64 {
        self.coordinator.machine.snapshot().step
    }

    /// Plays it until the update of `step` has been made and no commit is in flight; returns the content of the store.
    pub fn play_until(mut self, step: u64) -> Arc<InMemory> {
        while self.coordinator.machine.snapshot().step < step || self.coordinator.commit.is_some() {
            self.now += Duration::from_millis(1);
            self.advance();
        }
        self.store
    }

    /// Plays it to the end of the run.
    pub fn play(mut self) -> Outcome {
        for _ in 0..MOST_MOVES {
            if let Some((exit, detail)) = &self.coordinator.ended {
                assert_eq!(*exit, Exit::Ok, "{detail}");
                let (ledger, weights) =
                    self.coordinator.left.take().expect("a run that ends well leaves weights");
                let bits = |segment: Vec<f32>| segment.into_iter().map(f32::to_bits).collect();
                return Outcome {
                    ledger,
                    weights: weights.into_iter().map(bits).collect(),
                    faults: self.faults,
                };
            }
            self.now += Duration::from_millis(1 + self.draws.below(20));
            if self.disturbed && self.draws.once_in(12 * (self.most_workers + 2)) {
                self.disturb();
            } else {
                self.advance();
            }
        }
        let stages: Vec<String> = self.workers.values().map(Worker::describe).collect();
        panic!("the run does not end: {:?}\n{}", self.coordinator.machine.snapshot(), stages.join("\n"));
    }

    /// Something goes on as it should.
    fn advance(&mut self) {
        let living: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| !worker.silent).map(|(&id, _)| id).collect();
        let most = if self.disturbed { self.most_workers } else { 1 };
        if living.is_empty() || (living.len() < most as usize && self.draws.once_in(8)) {
            return self.join();
        }
        if self.draws.once_in(20) {
            self.coordinator.tell(self.now, Event::Tick);
        }
        if self.coordinator.commit.is_some() && self.draws.once_in(6) {
            self.coordinator.finish_commit(self.now);
        }
        let id = self.draws.pick(&living);
        let worker = self.workers.get_mut(&id).expect("it lives");
        if let Some(outbox) = self.coordinator.outboxes.get_mut(&id) {
            worker.inbox.extend(outbox.drain(..));
        }
        worker.heed_revocations();
        match worker.task {
            Some(_) => self.work(id),
            None => worker.receive(&mut self.coordinator, self.now),
        }
        if self.workers.get(&id).is_some_and(|worker| worker.stopped) {
            self.leave(id);
        }
    }

    fn join(&mut self) {
        self.joined += 1;
        let id = WorkerId(self.joined);
        self.workers.insert(id, Worker::join(&mut self.coordinator, self.now, id));
    }

    fn leave(&mut self, id: WorkerId) {
        self.workers.remove(&id);
        self.coordinator.outboxes.remove(&id);
        self.coordinator.tell(self.now, Event::Left(id, "gone".into()));
    }

    fn work(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).expect("it lives");
        let (lease, work) = worker.task.as_ref().map(|task| (task.lease, task.work)).expect("it has a task");
        let released = self.coordinator.machine.snapshot().counts.leases_released;
        let moved = worker.work(&mut self.coordinator, &self.spec, self.shape, self.now);
        if moved == Moved::Delivered {
            self.faults.rivals += self.coordinator.machine.snapshot().counts.leases_released - released;
            if self.disturbed && self.draws.once_in(10) && self.coordinator.ended.is_none() {
                self.faults.repeats += 1;
                worker::send_again(&mut self.coordinator, self.now, id, lease, work);
            }
        }
    }

    /// Something goes wrong.
    fn disturb(&mut self) {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let id = self.draws.pick(&all);
        let busy = self.workers.values().filter(|worker| worker.task.is_some()).count() as u64;
        let hit = u64::from(self.workers[&id].task.is_some());
        match self.draws.below(10) {
            0..=2 => {
                self.faults.deaths += 1;
                self.faults.in_flight += hit;
                self.leave(id);
            }
            3..=4 => {
                self.faults.silences += 1;
                self.faults.in_flight += hit;
                self.workers.get_mut(&id).expect("picked").silent = true;
            }
            5..=7 => self.hang(),
            8 => {
                self.faults.coordinator_deaths += 1;
                self.faults.in_flight += busy;
                self.restart();
            }
            _ => self.coordinator.finish_commit(self.now),
        }
    }

    /// Time passes in which only heartbeats come; silent workers are found out.
    fn hang(&mut self) {
        self.faults.hangs += 1;
        self.now +=
            self.draws.pick(&[Duration::from_secs(3), Duration::from_secs(29), Duration::from_secs(700)]);
        for (&id, _) in self.workers.iter().filter(|(_, worker)| !worker.silent) {
            self.coordinator.tell(self.now, Event::Heard(id, Default::default()));
        }
        let expired = self.workers.values().filter(|worker| worker.task.is_some()).count() as u64;
        let before = self.coordinator.machine.snapshot().counts.leases_released;
        self.coordinator.tell(self.now, Event::Tick);
        let after = self.coordinator.machine.snapshot().counts.leases_released;
        self.faults.in_flight += (after - before).min(expired);
        let here: Vec<WorkerId> =
            self.coordinator.machine.snapshot().workers.iter().map(|line| line.worker).collect();
        self.workers.retain(|id, worker| !worker.silent || here.contains(id));
    }

    /// The coordinator dies, perhaps in the middle of a commit, and another takes over. Or it lives on, cut off.
    fn restart(&mut self) {
        let mut lives_on = None;
        if let Some(commit) = self.coordinator.commit.take() {
            match self.draws.once_in(3) {
                true => lives_on = Some(commit),
                false => self.tear(commit),
            }
        }
        let output = output(&self.store);
        let next = Coordinator::start(&self.spec, &output, self.lives).expect("the log can be continued");
        self.lives += 1;
        let terms = [self.coordinator.journal.epoch(), next.journal.epoch()];
        assert!(terms[0] < terms[1], "whoever takes over has a later term: {terms:?}");
        let mut old = std::mem::replace(&mut self.coordinator, next);
        if let Some(commit) = lives_on {
            let outcome = now(old.journal.save(commit, Exports { add: true, limit: Some(2) }));
            assert!(
                matches!(outcome, Err(JournalError::Owned { .. })),
                "two coordinators commit: {outcome:?}"
            );
        }
        // Their sessions are gone. Workers that are not silent come back with new numbers.
        let living = self.workers.values().filter(|worker| !worker.silent).count();
        self.workers.clear();
        for _ in 0..living {
            self.join();
        }
    }

    /// Writes what a commit writes, in its order, but for the last objects.
    fn tear(&mut self, commit: headstart_coordinator::journal::save::Commit) {
        self.faults.torn_commits += 1;
        let fork = Arc::new(self.store.fork());
        let writes = {
            // What the dying coordinator would have written shows in a copy of the store.
            let journal = &mut self.coordinator.journal;
            journal.move_to(output(&fork));
            now(journal.save(commit, Exports { add: true, limit: Some(2) })).expect("nothing else is wrong");
            let mut writes: Vec<Path> =
                keys(&fork).into_iter().filter(|key| !keys(&self.store).contains(key)).collect();
            writes.sort_by_key(|key| {
                ["parts/", "manifests/"].iter().position(|kind| key.as_ref().contains(kind))
            });
            writes
        };
        let written = self.draws.below(writes.len() as u64 + 1) as usize;
        for key in &writes[..written] {
            let bytes = now(async { fork.get(key).await?.bytes().await }).expect("it was just written");
            now(self.store.put(key, bytes.into())).expect("memory");
        }
    }
}

/// `output_dir` in a store.
fn output(store: &Arc<InMemory>) -> Location {
    let stores = Stores::default();
    stores.mount("memory://run", store.clone());
    stores.locate("memory://run/out").expect("a good URL")
}

/// Every object.
pub fn keys(store: &InMemory) -> Vec<Path> {
    use futures::TryStreamExt;
    let all: Vec<_> = now(store.list(None).try_collect()).expect("memory");
    all.into_iter().map(|meta: object_store::ObjectMeta| meta.location).collect()
}
