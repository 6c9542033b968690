//! The commit log: manifests under `output_dir`, each created only if its number is free, so that no two coordinators
//! ever commit to one run. What a manifest names was written before it.

mod create_if_absent;
mod open;
pub mod owner;
pub mod parts;
pub mod save;

use headstart::checkpoint::CheckpointError;
use headstart::exit::Exit;
use headstart::manifest::{self, Manifest, Pins, State};
use headstart::store::{Location, StoreError};
use tracing::warn;

use create_if_absent::{create, taken};
pub use open::{Claim, ExistingLog, Restored, find, is_sealed};

/// The log of a run that this process owns.
#[derive(Debug)]
pub struct Journal {
    output: Location,
    /// The last manifest, which this process wrote.
    head: Manifest,
    /// Its hash.
    hash: String,
    /// Directories of the state before the head's, kept in case a part of the head's turns out to be damaged.
    before: Vec<String>,
}

/// Why the log could not be read or continued.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another coordinator answers for the run.
    #[error(
        "run {run_id} in {output} belongs to the coordinator at {owner} (epoch {epoch}): stop it, or let it finish"
    )]
    Owned {
        /// Name of the run.
        run_id: String,
        /// Where it is written.
        output: String,
        /// Where its owner answers.
        owner: String,
        /// Its term.
        epoch: u64,
    },
    /// The run there is a function of something else.
    #[error("the run in {output} is another one, so it cannot be resumed: {}; choose another output_dir, or restore the run file, data and checkpoint", .differences.join("; "))]
    OtherRun {
        /// Where it is written.
        output: String,
        /// In words.
        differences: Vec<String>,
    },
    /// The result of a finished run has been removed, and with it the last copy of its weights.
    #[error(
        "the run in {output} is complete, but its final/ is not there any more: choose another output_dir"
    )]
    Gone {
        /// Where it was written.
        output: String,
    },
    /// No manifest can be read.
    #[error(
        "no manifest in {output}/manifests can be read, so the run there cannot be resumed; the newest: {newest}"
    )]
    NoManifest {
        /// Where they are.
        output: String,
        /// What is wrong with the newest.
        newest: String,
    },
    /// Nothing can be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Parts could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl JournalError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            JournalError::Owned { .. } => Exit::Owned,
            JournalError::OtherRun { .. } => Exit::Usage,
            JournalError::Gone { .. } | JournalError::NoManifest { .. } => Exit::Checkpoint,
            JournalError::Store(error) => error.exit(),
            JournalError::Checkpoint(error) => error.exit(),
        }
    }
}

impl Journal {
    /// Begins or continues a log with the manifest `head`.
    async fn claim(output: Location, head: Manifest, before: Vec<String>) -> Result<Journal, JournalError> {
        let hash = create(&output, &head).await?;
        remove_dropped(&output, &head).await;
        Ok(Journal { output, head, hash, before })
    }

    /// The state that was committed last.
    pub fn state(&self) -> &State {
        &self.head.state
    }

    /// Where everything is written.
    pub fn output(&self) -> &Location {
        &self.output
    }

    /// Goes on writing elsewhere, to a copy of what is there: for tests that want to see what a commit would write.
    #[doc(hidden)]
    pub fn move_to(&mut self, output: Location) {
        self.output = output;
    }

    /// Hash of the frozen weights that a commit has pinned.
    pub fn base(&self) -> Option<u128> {
        u128::from_str_radix(self.head.pins.base.as_deref()?, 16).ok()
    }

    /// The next commit pins the frozen weights.
    fn pin_base(&mut self, base: String) {
        self.head.pins.base = Some(base);
    }

    /// A name for parts of the next commit, which no other coordinator uses.
    pub fn part_name(&self, version: u64) -> String {
        format!("{version:012}-{}-{}", self.head.number + 1, self.head.nonce)
    }

    /// Makes `state` the one to resume from; all its parts must be written already. `unwanted` lists directories that
    /// are obsolete, besides those of earlier states.
    pub async fn commit(&mut self, state: State, unwanted: Vec<String>) -> Result<(), JournalError> {
        let now: Vec<String> = self.head.state.directories().map(str::to_owned).collect();
        let needed = |directory: &String| state.directories().any(|needed| needed == directory);
        let mut drops = unwanted;
        drops.extend(self.before.drain(..).filter(|old| !now.contains(old) && !needed(old)));
        let head = Manifest {
            number: self.head.number + 1,
            previous: self.hash.clone(),
            state,
            drops,
            ..self.head.clone()
        };
        self.hash = create(&self.output, &head).await?;
        self.head = head;
        self.before = now;
        remove_dropped(&self.output, &self.head).await;
        Ok(())
    }

    /// Drops the vectors of a run whose final weights are written.
    pub async fn close(&mut self) -> Result<(), JournalError> {
        let state = State { vectors: None, best: None, ..self.head.state.clone() };
        let mut unwanted: Vec<String> = self.head.state.directories().map(str::to_owned).collect();
        unwanted.append(&mut self.before);
        unwanted.retain(|directory| !state.directories().any(|needed| needed == directory));
        self.commit(state, unwanted).await
    }

    /// Fails if another coordinator has taken the run over.
    pub async fn check_newest(&self) -> Result<(), JournalError> {
        let number = self.head.number + 1;
        let file = self.output.join(&format!("manifests/{}", Manifest::file_name(number)))?;
        match file.read(manifest::LARGEST).await {
            Ok(found) => Err(taken(&self.output, &Manifest { number, ..self.head.clone() }, &found)),
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removes the directories that a manifest lists as obsolete. A failure costs disk space only, so it is logged and
/// ignored.
async fn remove_dropped(output: &Location, manifest: &Manifest) {
    for directory in &manifest.drops {
        let removed = match output.join(directory) {
            Ok(directory) => directory.remove_all().await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            warn!(directory, %error, "could not be removed");
        }
    }
}

/// How two runs differ, in words; empty when they are functions of the same things.
fn differences(ours: &Pins, theirs: &Pins) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let names: std::collections::BTreeSet<&String> = ours.keys.keys().chain(theirs.keys.keys()).collect();
    for name in names {
        let show = |pins: &Pins| pins.keys.get(name).map_or("nothing".to_owned(), ToString::to_string);
        if ours.keys.get(name) != theirs.keys.get(name) {
            found.push(format!("{name} is {}, the run has {}", show(ours), show(theirs)));
        }
    }
    let rest = [
        (ours.parameters != theirs.parameters, "the network has other parameters"),
        (ours.data != theirs.data, "the data is not what it was"),
        (ours.weights != theirs.weights, "the checkpoint's weights are not what they were"),
    ];
    found.extend(rest.iter().filter(|(differ, _)| *differ).map(|(_, text)| (*text).to_owned()));
    found
}
