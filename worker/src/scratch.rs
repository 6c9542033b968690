//! A worker's temporary directory, which it removes at its end; and the directories that killed workers have left
//! behind.
//!
//! A lock on the directory itself shows that its owner is alive: the kernel releases it however the process ends. A
//! lock file inside would not do, because the cache removes files to make room.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tracing::info;

/// How the names of such directories begin.
const PREFIX: &str = "headstart-scratch-";
/// Directories made at most, until one is kept: another worker may take a new one for abandoned before it is locked.
const ATTEMPTS: usize = 8;

/// A directory that is removed with this value.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    // Declared after the directory, and so released when that is gone. Where the file system knows no locks there is none,
    // and then nobody finds a directory of it abandoned either.
    _alive: Option<File>,
}

impl Scratch {
    /// Creates a directory below `parent`, after removing abandoned ones.
    pub fn new_in(parent: &Path) -> io::Result<Scratch> {
        remove_abandoned(parent);
        for _ in 0..ATTEMPTS {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            match lock(directory.path()) {
                Ok(Some(alive)) => return Ok(Scratch { directory, _alive: Some(alive) }),
                // Another worker is about to remove it, or has.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Scratch { directory, _alive: None });
                }
                Err(error) => return Err(error),
            }
        }
        let said =
            format!("{}: another program removes every directory as soon as it is made", parent.display());
        Err(io::Error::new(io::ErrorKind::ResourceBusy, said))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The locked directory; `None` if another process holds the lock, or has removed the directory meanwhile.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = File::open(directory)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Whoever removed it held the lock until then.
    let here = file.metadata()?;
    match std::fs::symlink_metadata(directory) {
        Ok(there) => Ok(((here.dev(), here.ino()) == (there.dev(), there.ino())).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the directories of dead workers. A directory that cannot be removed stays: it may belong to another user.
fn remove_abandoned(parent: &Path) {
    for directory in directories(parent) {
        if let Ok(Some(_held)) = lock(&directory)
            && std::fs::remove_dir_all(&directory).is_ok()
        {
            info!(directory = %directory.display(), "removed what a killed worker left behind");
        }
    }
}

/// The directories, not links to any, whose names begin as a worker's.
fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        named && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    ours.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn the_directories_of_the_dead_are_removed_and_those_of_the_living_stay() {
        let parent = parent();
        let at = |name: &str| parent.path().join(name);
        let first = Scratch::new_in(parent.path()).expect("it can be made");
        std::fs::write(first.path().join("data"), "rows").expect("it is writable");
        for name in ["headstart-scratch-dead/below", "headstart-coordinator-1", "other"] {
            std::fs::create_dir_all(at(name)).expect("it is writable");
        }
        std::fs::write(at("headstart-scratch-dead/below/data"), "rows").expect("it is writable");
        std::fs::write(at("headstart-scratch-file"), "").expect("it is writable");
        std::os::unix::fs::symlink(at("other"), at("headstart-scratch-link")).expect("it is writable");

        let second = Scratch::new_in(parent.path()).expect("it can be made");
        assert!(!at("headstart-scratch-dead").exists());
        assert_eq!(std::fs::read(first.path().join("data")).expect("it stays"), b"rows");
        for name in ["headstart-coordinator-1", "other", "headstart-scratch-file", "headstart-scratch-link"] {
            assert!(at(name).exists(), "{name}");
        }
        let (one, other) = (first.path().to_owned(), second.path().to_owned());
        drop((first, second));
        assert!(!one.exists() && !other.exists());
    }

    #[test]
    fn a_lock_counts_only_on_the_directory_that_is_there() {
        let parent = parent();
        let path = parent.path().join("headstart-scratch-1");
        std::fs::create_dir(&path).expect("it is writable");
        let held = lock(&path).expect("it is there").expect("nobody holds it");
        assert!(lock(&path).expect("it is there").is_none(), "somebody holds it");
        drop(held);
        assert!(lock(&path).expect("it is there").is_some());
        std::fs::remove_dir(&path).expect("it is ours");
        assert_eq!(lock(&path).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    }
}
