//! Taking a run over: the newest state that is whole, and the claim to go on from it.

use headstart::manifest::{self, Manifest, Pins, RunState, State, Unreadable};
use headstart::store::{Location, StoreError};
use tracing::{info, warn};

use super::owner::Dial;
use super::parts::{self, Damage, Layout, Texts};
use super::{Journal, JournalError, differences, remove_dropped};
use crate::master::Vectors;

/// What a run writes last.
const FINAL: &str = "final/SHA256SUMS";

/// The log of an `output_dir` that has one.
#[derive(Debug)]
pub struct ExistingLog {
    output: Location,
    /// Numbers that are taken, newest first, whether or not the manifests can be read.
    numbers: Vec<u64>,
    /// The newest manifest that can be read.
    newest: Manifest,
}

/// Who asks for a run.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Name of the run, if it is a new one.
    pub run_id: String,
    /// Tells this process from all others.
    pub nonce: String,
    /// Where it answers.
    pub owner: String,
    /// What its run is a function of.
    pub pins: Pins,
}

/// A state read back.
#[derive(Debug, Default)]
pub struct Restored {
    pub standing: RunState,
    /// Weights and moments; none at version 0.
    pub vectors: Option<Vec<Vectors>>,
    /// The best evaluated weights.
    pub best: Option<Vec<Vec<f32>>>,
    pub texts: Texts,
}

/// Looks for a log in `output`.
pub async fn find(output: &Location) -> Result<Option<ExistingLog>, JournalError> {
    let mut numbers = Vec::new();
    for (file, _) in output.join("manifests")?.list().await? {
        numbers.extend(file.url().rsplit('/').next().and_then(Manifest::number_of));
    }
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    let mut broken = None;
    for &number in &numbers {
        match read(output, number).await? {
            Ok((newest, _)) => return Ok(Some(ExistingLog { output: output.clone(), numbers, newest })),
            Err(unreadable) => {
                warn!(number, %unreadable, "skipping an unreadable manifest");
                broken.get_or_insert_with(|| unreadable.to_string());
            }
        }
    }
    match broken {
        None => Ok(None),
        Some(newest) => Err(JournalError::NoManifest { output: output.url().to_owned(), newest }),
    }
}

/// Whether the final weights are in `output`, whole.
pub async fn is_sealed(output: &Location) -> Result<bool, StoreError> {
    output.join(FINAL)?.exists().await
}

async fn read(output: &Location, number: u64) -> Result<Result<(Manifest, String), Unreadable>, StoreError> {
    let file = output.join(&format!("manifests/{}", Manifest::file_name(number)))?;
    let bytes = file.read(manifest::LARGEST).await?;
    Ok(Manifest::open(number, &bytes))
}

impl Journal {
    /// Begins the log of a new run.
    pub async fn begin(output: &Location, claim: Claim) -> Result<Journal, JournalError> {
        let Claim { run_id, nonce, owner, pins } = claim;
        let state = State {
            standing: RunState::default(),
            vectors: None,
            best: None,
            texts: None,
            exports: Vec::new(),
        };
        let (number, previous, epoch) = (0, String::new(), 1);
        let head = Manifest { number, previous, run_id, epoch, nonce, owner, pins, state, drops: Vec::new() };
        Journal::claim(output.clone(), head, Vec::new()).await
    }

    /// Name of the run.
    pub fn run_id(&self) -> &str {
        &self.head.run_id
    }

    /// This process's term.
    pub fn epoch(&self) -> u64 {
        self.head.epoch
    }
}

impl ExistingLog {
    /// Name of the run.
    pub fn run_id(&self) -> &str {
        &self.newest.run_id
    }

    /// Whether the run is over and nothing but its result is left of it. Refuses another run, as [`ExistingLog::take_over`] does.
    pub fn is_closed(&self, pins: &Pins) -> Result<bool, JournalError> {
        self.check_pins(pins)?;
        Ok(self.newest.state.is_closed())
    }

    /// Removes obsolete directories: the coordinator that closed the run may have died before it could.
    pub async fn tidy(&self) {
        remove_dropped(&self.output, &self.newest).await;
    }

    fn check_pins(&self, pins: &Pins) -> Result<(), JournalError> {
        let differences = differences(pins, &self.newest.pins);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(JournalError::OtherRun { output: self.output.url().to_owned(), differences }),
        }
    }

    /// Refuses while the run's owner answers.
    pub async fn check_owner(&self, dial: &Dial) -> Result<(), JournalError> {
        let Manifest { run_id, epoch, owner, .. } = &self.newest;
        match dial(owner.clone()).await {
            Some(answer) if answer.run_id == *run_id && answer.epoch == *epoch => Err(JournalError::Owned {
                run_id: run_id.clone(),
                output: self.output.url().to_owned(),
                owner: owner.clone(),
                epoch: *epoch,
            }),
            // No answer, or the address now serves another run.
            _ => Ok(()),
        }
    }

    /// Goes on from the newest state that is whole, provided that the run is a function of the same things.
    pub async fn take_over(self, claim: Claim, layout: &Layout) -> Result<(Journal, Restored), JournalError> {
        self.check_pins(&claim.pins)?;
        let (used, hash, restored, older) = self.restore(layout).await?;
        let before = self.fallback(&used, &older).await?;
        let mut drops = self.orphans(&used.state, &before).await?;
        // Whoever wrote it may have died before it removed them.
        drops.extend(used.drops);
        let unreadable = self.numbers[0] - self.newest.number;
        let head = Manifest {
            number: self.numbers[0] + 1,
            previous: hash,
            run_id: used.run_id,
            // Each number that cannot be read may have been another term.
            epoch: self.newest.epoch + unreadable + 1,
            nonce: claim.nonce,
            owner: claim.owner,
            // Only workers read the frozen weights.
            pins: Pins { base: self.newest.pins.base, ..claim.pins },
            state: used.state,
            drops,
        };
        info!(run_id = head.run_id, epoch = head.epoch, step = head.state.standing.version, "taken over");
        Ok((Journal::claim(self.output, head, before).await?, restored))
    }

    /// The newest state that is whole, and the numbers of the manifests before its own.
    async fn restore(&self, layout: &Layout) -> Result<(Manifest, String, Restored, Vec<u64>), JournalError> {
        let mut failed: Option<State> = None;
        let mut reason = String::new();
        for (at, &number) in self.numbers.iter().enumerate() {
            let Ok((manifest, hash)) = read(&self.output, number).await? else { continue };
            // A takeover repeats the state before it.
            if failed.as_ref() == Some(&manifest.state) {
                continue;
            }
            let mut loaded = load(&self.output, &manifest.state, layout).await;
            if let Err(Damage::Content { .. }) = loaded {
                // What was damaged on the way is whole the second time.
                loaded = load(&self.output, &manifest.state, layout).await;
            }
            match loaded {
                Ok(restored) => return Ok((manifest, hash, restored, self.numbers[at + 1..].to_vec())),
                Err(Damage::Store(error)) => return Err(error.into()),
                // The result is there: nothing is computed again, though the manifest that says so is damaged.
                Err(Damage::Content { .. })
                    if manifest.state.standing.finished && is_sealed(&self.output).await? =>
                {
                    let restored =
                        Restored { standing: manifest.state.standing.clone(), ..Restored::default() };
                    return Ok((manifest, hash, restored, self.numbers[at + 1..].to_vec()));
                }
                Err(damage @ Damage::Content { .. }) => {
                    let step = manifest.state.standing.version;
                    warn!(step, %damage, "a checkpoint is damaged; using the one before it");
                    reason = damage.to_string();
                    failed = Some(manifest.state);
                }
            }
        }
        Err(JournalError::NoManifest { output: self.output.url().to_owned(), newest: reason })
    }

    /// What the last state that `used` continues, and that differs from it, needs.
    async fn fallback(&self, used: &Manifest, older: &[u64]) -> Result<Vec<String>, JournalError> {
        let mut previous = used.previous.clone();
        for &number in older {
            match read(&self.output, number).await? {
                Ok((manifest, hash)) if hash == previous => {
                    if manifest.state.vectors != used.state.vectors {
                        return Ok(manifest.state.directories().map(str::to_owned).collect());
                    }
                    previous = manifest.previous;
                }
                _ => {}
            }
        }
        Ok(Vec::new())
    }

    /// Directories of parts that neither state needs: of states after `used`, or never committed.
    async fn orphans(&self, used: &State, before: &[String]) -> Result<Vec<String>, JournalError> {
        let root = self.output.join("parts")?;
        let directories = root.directories().await?.into_iter().map(|name| format!("parts/{name}"));
        let needed = |directory: &String| {
            used.directories().any(|needed| needed == directory) || before.contains(directory)
        };
        Ok(directories.filter(|directory| !needed(directory)).collect())
    }
}

async fn load(output: &Location, state: &State, layout: &Layout) -> Result<Restored, Damage> {
    let vectors = match &state.vectors {
        Some(parts) => Some(parts::read(output, parts, layout).await?),
        None => None,
    };
    let best = match &state.best {
        Some(best) => {
            let segments = parts::read(output, &best.parts, &layout.weights()).await?;
            Some(segments.into_iter().flatten().collect())
        }
        None => None,
    };
    let texts = match &state.texts {
        Some(texts) => parts::read_texts(output, texts).await?,
        None => Texts::default(),
    };
    Ok(Restored { standing: state.standing.clone(), vectors, best, texts })
}
