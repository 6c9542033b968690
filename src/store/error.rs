//! What can go wrong with storage, and what to do about it.

use std::io;

use super::refusal::Refusal;
use crate::exit::Exit;

/// Why bytes could not be read or written. Every variant names the URL.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum StoreError {
    /// Not a URL this version can use.
    #[error("{url}: {reason}")]
    BadUrl {
        /// As the user wrote it.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that would leave its directory, or that no object can have.
    #[error("{url}: {name:?} is not a usable file name: it must be relative and stay inside the directory")]
    BadName {
        url: String,
        /// The refused name.
        name: String,
    },
    /// A name that cannot be asked for.
    #[error(
        "{url}: names with empty parts, dots for parts, backslashes or control characters, or that end in # and a number, are not supported yet; rename it"
    )]
    OddName {
        /// The object or file.
        url: String,
    },
    /// A link to nothing.
    #[error("{url}: a link to {target}, which is not there")]
    DeadLink {
        url: String,
        /// What it names.
        target: String,
    },
    /// An environment variable that no client can be made of.
    #[error("{url}: {name} {reason}")]
    Variable {
        /// What was to be read with it.
        url: String,
        name: String,
        /// What is wrong with its value, and the cure.
        reason: String,
    },
    /// A listing or a pattern where only single files can be read.
    #[error("{url}: a web server cannot list files, so a directory or pattern finds none; name each file")]
    Unlisted {
        /// The directory or pattern.
        url: String,
    },
    /// Something to be written where files can only be read.
    #[error("{url}: files on a web server can only be read; write to a path or a bucket")]
    ReadOnly { url: String },
    /// Nothing there.
    #[error("{url}: not found")]
    NotFound { url: String },
    /// Credentials are missing or do not suffice.
    #[error("{url}: permission denied; check the credentials and their rights ({detail})")]
    Permission {
        url: String,
        /// What the store said.
        detail: String,
    },
    /// Credentials are missing, or of a kind that is not supported.
    #[error("{url}: {reason}")]
    Credentials {
        /// The object or bucket.
        url: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// The object is not the one seen first.
    #[error("{url}: the object changed while it was in use; files of a run must stay as they are")]
    Changed { url: String },
    /// A conditional create lost.
    #[error("{url}: already exists")]
    AlreadyExists { url: String },
    /// Larger than anything that belongs there.
    #[error("{url}: {size} bytes, more than the {limit} allowed here")]
    TooLarge { url: String, size: u64, limit: u64 },
    /// The answer ended early.
    #[error("{url}: the answer ended after {found} of {expected} bytes")]
    Short {
        url: String,
        /// Bytes asked for.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// The disk is full.
    #[error("{url}: no space left on the device")]
    NoSpace { url: String },
    /// Storage does not answer, or answers with a failure that retries did not cure.
    #[error("{url}: storage failed: {detail}")]
    Unavailable {
        url: String,
        /// What the store said.
        detail: String,
    },
}

impl StoreError {
    /// The exit code of a process that ends for this reason.
    pub fn exit(&self) -> Exit {
        match self {
            StoreError::BadUrl { .. }
            | StoreError::BadName { .. }
            | StoreError::Variable { .. }
            | StoreError::Unlisted { .. }
            | StoreError::ReadOnly { .. } => Exit::Usage,
            StoreError::Permission { .. } | StoreError::Credentials { .. } => Exit::Permission,
            StoreError::NotFound { .. }
            | StoreError::OddName { .. }
            | StoreError::DeadLink { .. }
            | StoreError::Changed { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Short { .. }
            | StoreError::NoSpace { .. }
            | StoreError::Unavailable { .. } => Exit::Storage,
        }
    }

    /// Whether a server has refused the request.
    pub(super) fn is_refusal(error: &object_store::Error) -> bool {
        beneath::<Refusal>(error).is_some()
    }

    /// Whether a server has refused the request without a reason.
    pub(super) fn is_unexplained(error: &object_store::Error) -> bool {
        beneath::<Refusal>(error).is_some_and(Refusal::is_unexplained)
    }

    pub(crate) fn from_object(url: &str, error: object_store::Error) -> StoreError {
        use object_store::Error;
        let url = url.to_owned();
        if let Some(refusal) = beneath::<Refusal>(&error) {
            return refusal.error(url);
        }
        match error {
            Error::NotFound { .. } => StoreError::NotFound { url },
            Error::AlreadyExists { .. } => StoreError::AlreadyExists { url },
            Error::Precondition { .. } => StoreError::Changed { url },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                StoreError::Permission { url, detail: brief(&error) }
            }
            Error::NotSupported { .. } => {
                let detail =
                    "the server does not answer for parts of a file; copy the files to a disk or bucket";
                StoreError::Unavailable { url, detail: detail.to_owned() }
            }
            Error::InvalidPath { .. } => StoreError::BadUrl { url, reason: brief(&error) },
            other => match beneath::<io::Error>(&other).map(|cause| StoreError::from_io(&url, cause)) {
                // The whole chain says more than the innermost error.
                None | Some(StoreError::Unavailable { .. }) => StoreError::from_answer(url, brief(&other)),
                Some(known) => known,
            },
        }
    }

    /// Listings and credential look-ups report refusals as generic errors; only the text identifies them.
    fn from_answer(url: String, detail: String) -> StoreError {
        // The addresses where cloud machines ask for credentials: asked only when the environment has none.
        if detail.contains("http://169.254.") || detail.contains("http://metadata.google.internal") {
            let set = match url.split_once("://") {
                Some(("gs", _)) => "GOOGLE_APPLICATION_CREDENTIALS",
                Some(("az", _)) => "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
                _ => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (files below ~/.aws are not read)",
            };
            return StoreError::Credentials { url, reason: format!("no credentials: set {set}") };
        }
        if detail.contains("status code: 401") || detail.contains("status code: 403") {
            return StoreError::Permission { url, detail };
        }
        if detail.contains("status code: 404") {
            return StoreError::NotFound { url };
        }
        StoreError::Unavailable { url, detail }
    }

    pub(crate) fn from_io(url: &str, error: &io::Error) -> StoreError {
        let url = url.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::NotFound { url },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::Permission { url, detail: error.to_string() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace { url },
            _ => StoreError::Unavailable { url, detail: error.to_string() },
        }
    }
}

/// The error of a kind beneath a store's error, when there is one.
fn beneath<E: std::error::Error + 'static>(error: &object_store::Error) -> Option<&E> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// A store's message on one line, cut to a readable length: servers answer with whole XML pages.
pub(super) fn brief(error: &object_store::Error) -> String {
    const LONGEST: usize = 600;
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    // Retries end by time; the number that they cannot reach says nothing.
    let text = text.replace(&format!(", max_retries: {}", usize::MAX), "");
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
