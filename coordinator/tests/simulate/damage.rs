//! Damaged checkpoints: one byte changed, or the end cut off, in any object of an interrupted run.

use std::sync::Arc;

use headstart_coordinator::journal::JournalError;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::coordinator::now;
use crate::draws::Draws;
use crate::run;
use crate::schedule::{Outcome, Schedule, keys};

/// Steps after which the run is interrupted.
const INTERRUPTED: u64 = 7;

/// A run that was interrupted after some commits.
pub struct Interrupted {
    shape: u64,
    store: InMemory,
    expected: Outcome,
    /// Updates of the state before the last that was committed.
    previous: u64,
}

impl Interrupted {
    pub fn new(shape: u64) -> Interrupted {
        let expected = Schedule::undisturbed(shape).play();
        let store = Schedule::undisturbed(shape).play_until(INTERRUPTED).fork();
        let mut versions: Vec<u64> = keys(&store).iter().filter_map(|key| version(&store, key)).collect();
        versions.sort_unstable();
        versions.dedup();
        let previous = versions.iter().rev().nth(1).copied().unwrap_or_default();
        Interrupted { shape, store, expected, previous }
    }

    /// Damages one object, resumes, and compares what comes out with the undisturbed run. Returns the object, and whether
    /// nothing was left to resume from.
    pub fn damage(&self, seed: u64) -> (Path, bool) {
        let mut draws = Draws::new(seed);
        let store = Arc::new(self.store.fork());
        let objects: Vec<Path> = keys(&store);
        let object = objects[draws.below(objects.len() as u64) as usize].clone();
        let mut bytes = now(async { store.get(&object).await?.bytes().await }).expect("it is there").to_vec();
        let at = draws.below(bytes.len() as u64) as usize;
        match draws.once_in(4) {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << draws.below(8),
        }
        now(store.put(&object, bytes.into())).expect("memory");
        match Schedule::resumed(self.shape, store) {
            Ok(resumed) => {
                let (step, previous) = (resumed.step(), self.previous);
                assert!(step >= previous, "seed {seed}, {object}: resumed at {step}, not at {previous}");
                let outcome = resumed.play();
                assert_eq!(outcome.ledger, self.expected.ledger, "seed {seed}, {object}");
                assert_eq!(outcome.weights, self.expected.weights, "seed {seed}, {object}");
                (object, false)
            }
            // The only manifest is damaged: nobody knows whose run it was.
            Err(JournalError::NoManifest { .. }) if manifests(&objects) == 1 => (object, true),
            Err(error) => panic!("seed {seed}, {object}: {error}"),
        }
    }
}

/// The updates of the state that a manifest names, if the object is one.
fn version(store: &InMemory, key: &Path) -> Option<u64> {
    if !key.as_ref().contains("/manifests/") {
        return None;
    }
    let bytes = now(async { store.get(key).await?.bytes().await }).expect("it is there");
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    manifest["manifest"]["state"]["standing"]["version"].as_u64()
}

fn manifests(objects: &[Path]) -> usize {
    objects.iter().filter(|object| object.as_ref().contains("manifests/")).count()
}

/// What kind of object it is: a manifest, or the file of a part.
pub fn kind(object: &Path) -> &str {
    match object.as_ref().contains("/manifests/") {
        true => "manifest",
        false => object.filename().unwrap_or_default(),
    }
}

/// All shapes of runs.
pub fn all() -> Vec<Interrupted> {
    (0..run::SHAPES).map(Interrupted::new).collect()
}
