//! The files below a directory of this machine's disk. Links are followed: hubs' caches and image folders are made of them.

use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StoreError;

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Levels of directories.
    pub(super) depth: usize,
    /// Files; more are refused.
    pub(super) files: usize,
    /// Directories reached through links; more are refused, for directories full of links to such directories multiply quickly.
    pub(super) linked: usize,
}

/// What is below a directory, by name relative to it.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Files, and links to files.
    pub(super) files: Vec<String>,
    /// Names that no file can be read under, and why.
    pub(super) unreadable: Vec<(String, StoreError)>,
    /// Directories reached through links.
    linked: usize,
}

/// A directory to be read, and device and inode of all those that it was reached through.
struct Pending {
    path: PathBuf,
    through: Vec<(u64, u64)>,
}

/// Walks `root`. An absent directory is an empty one.
///
/// A link to one of its own parent directories is a cycle and is skipped, because its files are already listed.
pub(super) fn walk(root: &Path, limits: Limits) -> Result<Walk, StoreError> {
    let mut walk = Walk::default();
    let identity = match std::fs::metadata(root) {
        Ok(metadata) => (metadata.dev(), metadata.ino()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(walk),
        Err(error) => return Err(failed(root, &error)),
    };
    let mut pending = vec![Pending { path: root.to_owned(), through: vec![identity] }];
    while let Some(directory) = pending.pop() {
        let failed = |error: std::io::Error| failed(&directory.path, &error);
        for entry in std::fs::read_dir(&directory.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = directory.path.join(entry.file_name());
            let Some(kind) = walk.kind(&path, root, entry.file_type().map_err(failed)?) else { continue };
            walk.bounded(root, limits)?;
            if kind.is_dir() && directory.through.len() < limits.depth {
                pending.extend(below(path, &directory.through)?);
            } else if kind.is_file() {
                walk.add(&path, root);
            }
        }
    }
    Ok(walk)
}

impl Walk {
    /// What an entry is, or what it leads to; `None` for a link to nothing, which is noted.
    fn kind(&mut self, path: &Path, root: &Path, kind: FileType) -> Option<FileType> {
        if !kind.is_symlink() {
            return Some(kind);
        }
        match std::fs::metadata(path) {
            Ok(metadata) => {
                self.linked += usize::from(metadata.is_dir());
                Some(metadata.file_type())
            }
            Err(_) => {
                let target = std::fs::read_link(path).unwrap_or_default().display().to_string();
                let error = StoreError::DeadLink { url: path.display().to_string(), target };
                self.unreadable.push((shown(path, root), error));
                None
            }
        }
    }

    fn bounded(&self, root: &Path, limits: Limits) -> Result<(), StoreError> {
        let url = || root.display().to_string();
        if self.files.len() > limits.files {
            let detail = format!("the listing has more than {} files", limits.files);
            return Err(StoreError::Unavailable { url: url(), detail });
        }
        if self.linked > limits.linked {
            let reason =
                format!("more than {} directories are reached through links below it", limits.linked);
            return Err(StoreError::BadUrl { url: url(), reason });
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, root: &Path) {
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let name = name.filter(|_| !path.file_name().is_some_and(is_upload));
        match name.filter(|name| !name.contains(|sign: char| sign == '\\' || sign.is_ascii_control())) {
            Some(name) => self.files.push(name.to_owned()),
            None => {
                let error = StoreError::OddName { url: path.display().to_string() };
                self.unreadable.push((shown(path, root), error));
            }
        }
    }
}

/// A directory to be read, unless a link has led back to one that it lies in.
fn below(path: PathBuf, through: &[(u64, u64)]) -> Result<Option<Pending>, StoreError> {
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        // Gone since its directory was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, &error)),
    };
    let identity = (metadata.dev(), metadata.ino());
    let through = (!through.contains(&identity)).then(|| [through, &[identity]].concat());
    Ok(through.map(|through| Pending { path, through }))
}

/// Whether a file is an upload in progress: `name#1`.
fn is_upload(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::from_io(&path.to_string_lossy(), error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_of_links_to_directories_of_links_come_to_an_end() {
        let directory = tempfile::tempdir().unwrap();
        for level in 0..30 {
            let here = directory.path().join(level.to_string());
            std::fs::create_dir(&here).unwrap();
            for name in ["a", "b"] {
                symlink(format!("../{}", level + 1), here.join(name)).unwrap();
            }
        }
        std::fs::create_dir(directory.path().join("30")).unwrap();
        let limits = Limits { depth: usize::MAX, files: 10, linked: 200 };
        let error = walk(directory.path(), limits).unwrap_err();
        assert!(error.to_string().contains("more than 200 directories are reached through links"), "{error}");
        let found = walk(directory.path(), Limits { depth: 3, ..limits }).unwrap();
        assert_eq!((found.files, found.unreadable), (Vec::new(), Vec::new()));
    }
}
