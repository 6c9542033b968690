//! One entry of a run's commit log: who owns the run, how far it is, and which objects hold its state.

mod run_state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::checkpoint::WrittenFile;
use crate::hash;

pub use run_state::{Number, RunState};

/// Bytes of the largest manifest that is read.
pub const LARGEST: u64 = 64 << 20;

/// An entry of the commit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its place in the log, from 0; its file is named after it.
    pub number: u64,
    /// Hash of the manifest whose state this one continues; empty in the first.
    pub previous: String,
    /// Name of the run.
    pub run_id: String,
    /// The owner's term: one more than the one it took over from.
    pub epoch: u64,
    /// Tells two manifests with one number apart.
    pub nonce: String,
    /// Where the owner answers.
    pub owner: String,
    /// What the run is a function of.
    pub pins: Pins,
    /// How far the run is.
    pub state: State,
    /// Directories under `output_dir` that no later manifest needs, removed once this one is written.
    pub drops: Vec<String>,
}

/// What the result is a function of. Equal pins, equal bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The result keys of the run file.
    pub keys: BTreeMap<String, Value>,
    /// Hash of the parameter table.
    pub parameters: String,
    /// Hash of the data: files, rows and labels.
    pub data: String,
    /// Hash of weights version 0.
    pub weights: String,
    /// Hash of the frozen weights, in hexadecimal: none while no worker has read them, or where everything trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// A state from which the run can go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub standing: RunState,
    /// Weights and moments; none at version 0, which is made from the checkpoint.
    pub vectors: Option<Parts>,
    /// The best evaluated weights, where they may be written at the end.
    pub best: Option<BestParts>,
    /// Ledger and metrics; none before the first commit.
    pub texts: Option<Parts>,
    /// Steps whose `checkpoint-<step>/` was or is being written.
    pub exports: Vec<u64>,
}

/// Files of one directory that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Below `output_dir`.
    pub directory: String,
    /// Its files.
    pub files: Vec<Piece>,
}

/// The best evaluated weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestParts {
    /// Updates they have seen.
    pub version: u64,
    /// Their evaluation, as the ledger has it.
    pub eval: serde_json::Map<String, Value>,
    /// Where they are.
    pub parts: Parts,
}

/// An object and what identifies its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Below its directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

impl From<WrittenFile> for Piece {
    fn from(file: WrittenFile) -> Piece {
        let WrittenFile { name, size, sha256 } = file;
        Piece { name, size, sha256 }
    }
}

/// What a manifest's file holds: the manifest, as text, and its hash, so that any change of the file shows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    #[serde(borrow)]
    manifest: &'a RawValue,
    sha256: String,
}

impl Sealed<'_> {
    /// The file's content.
    fn text(&self) -> String {
        serde_json::to_string(self).expect("a manifest is plain data") + "\n"
    }
}

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or not of this shape.
    #[error("it is damaged, or of another version: {0}")]
    Shape(#[from] serde_json::Error),
    /// The text is not what was written.
    #[error("it is damaged: its hash is {found}, it says {says}")]
    Hash {
        /// Of the text.
        found: String,
        /// What the file says.
        says: String,
    },
    /// The manifest is whole, what surrounds it is not.
    #[error("it is damaged, outside the manifest that it holds")]
    Around,
    /// It belongs elsewhere in the log.
    #[error("it says that it is number {0}")]
    Number(u64),
}

impl Manifest {
    /// The file's content, and the hash that the next manifest names.
    pub fn seal(&self) -> (String, String) {
        let text = serde_json::to_string(self).expect("a manifest is plain data");
        let sha256 = hash::sha256(text.as_bytes());
        let manifest = RawValue::from_string(text).expect("JSON was just written");
        (Sealed { manifest: &manifest, sha256: sha256.clone() }.text(), sha256)
    }

    /// Reads the file with this number; also returns its hash.
    pub fn open(number: u64, file: &[u8]) -> Result<(Manifest, String), Unreadable> {
        let sealed: Sealed<'_> = serde_json::from_slice(file)?;
        let found = hash::sha256(sealed.manifest.get().as_bytes());
        if found != sealed.sha256 {
            return Err(Unreadable::Hash { found, says: sealed.sha256 });
        }
        if sealed.text().as_bytes() != file {
            return Err(Unreadable::Around);
        }
        let manifest: Manifest = serde_json::from_str(sealed.manifest.get())?;
        match manifest.number == number {
            true => Ok((manifest, found)),
            false => Err(Unreadable::Number(manifest.number)),
        }
    }

    /// The name of the file with this number. Names sort as numbers do.
    pub fn file_name(number: u64) -> String {
        format!("{number:020}.json")
    }

    /// The number in a file's name.
    pub fn number_of(file_name: &str) -> Option<u64> {
        let digits = file_name.strip_suffix(".json")?;
        let written = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
        // There is room for numbers after it.
        written.then(|| digits.parse().ok()).flatten().filter(|number| *number <= u64::MAX / 2)
    }
}

impl Pins {
    /// Whether those of a later manifest of the run may be `later`: the frozen weights are pinned by the first commit.
    pub fn precede(&self, later: &Pins) -> bool {
        let base = self.base.is_none() || self.base == later.base;
        base && *self == Pins { base: self.base.clone(), ..later.clone() }
    }
}

impl State {
    /// Whether the run is over and nothing but its result is left of it.
    pub fn is_closed(&self) -> bool {
        self.standing.finished && self.standing.version > 0 && self.vectors.is_none()
    }

    /// All files that hold it, by directory.
    pub fn parts(&self) -> impl Iterator<Item = &Parts> {
        self.vectors.iter().chain(&self.texts).chain(self.best.iter().map(|best| &best.parts))
    }

    /// The directories of those.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.parts().map(|parts| parts.directory.as_str())
    }
}
