//! What each file of a folder of images is: by its first bytes, and by its name only where a look costs a request.

use std::io::Read;

use futures::{StreamExt, TryStreamExt};

use super::row;
use crate::data::image_header::{self, HEAD, Sniffed};
use crate::data::{DataError, FilePosition, RowProblem};
use crate::store::{Location, Meta, StoreError};

/// Files of a bucket that are looked at at once.
const LOOKS_IN_FLIGHT: usize = 16;
/// Bytes of a file in a bucket that are read for a look: enough to tell what it is.
const GLANCE: u64 = 512;
/// Ends of names that promise an image.
const IMAGE_NAMES: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "apng"];
/// Ends of names that promise an image of a kind that is not decoded.
const OTHER_IMAGE_NAMES: [&str; 13] =
    ["tif", "tiff", "avif", "heic", "heif", "svg", "jxl", "jp2", "ppm", "pgm", "pbm", "psd", "ico"];
/// Ends of names of what often lies beside images; in a bucket it is not looked at.
const COMPANION_NAMES: [&str; 13] =
    ["txt", "md", "rst", "json", "csv", "tsv", "xml", "yaml", "yml", "html", "pdf", "py", "log"];
/// Names that operating systems leave behind.
const SYSTEM_FILES: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"];
/// Folders that operating systems and programs leave behind.
const SYSTEM_FOLDERS: [&str; 5] = ["__macosx", "@eadir", "$recycle.bin", "lost+found", "__pycache__"];

/// What a file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// An image that can be decoded, as far as its first bytes or, in a bucket, its name say.
    Image,
    /// Something else.
    Other,
}

/// Whether a name is one that people do not see, or that a system left behind.
pub(super) fn is_hidden(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit('/').next().unwrap_or(&lower);
    SYSTEM_FILES.contains(&last)
        || lower.split('/').any(|part| part.starts_with('.') || SYSTEM_FOLDERS.contains(&part))
}

/// Whether a name leaves open that the file is an image, or the list of labels.
pub(super) fn may_be_image(name: &str) -> bool {
    name.ends_with(super::folder::METADATA) || !ends(name, &COMPANION_NAMES)
}

/// Looks at files, and refuses images that cannot be decoded and what only claims to be one.
pub(super) async fn look(files: Vec<(String, (Location, Meta))>) -> Result<Vec<Looked>, DataError> {
    let local = files.first().is_some_and(|(_, (file, _))| file.local_path().is_some());
    if local {
        let looking = tokio::task::spawn_blocking(move || files.into_iter().map(Looked::here).collect());
        return looking.await.expect("looking at files does not panic");
    }
    futures::stream::iter(files).map(Looked::there).buffered(LOOKS_IN_FLIGHT).try_collect().await
}

/// A file that was looked at, under its name in the directory.
pub(super) struct Looked {
    pub(super) name: String,
    pub(super) file: (Location, Meta),
    pub(super) seen: Seen,
}

impl Looked {
    fn here((name, file): (String, (Location, Meta))) -> Result<Looked, DataError> {
        let mut head = Vec::new();
        if let Some(path) = file.0.local_path() {
            let reading =
                std::fs::File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
            reading.map_err(|error| StoreError::from_io(file.0.url(), &error))?;
        }
        let seen = judge(&name, &head).map_err(|problem| row(file.0.url(), FilePosition::File, problem))?;
        Ok(Looked { name, file, seen })
    }

    /// Every look costs a request, so a name that promises an image is believed until a worker reads the file.
    async fn there((name, file): (String, (Location, Meta))) -> Result<Looked, DataError> {
        let seen = if ends(&name, &IMAGE_NAMES) {
            Seen::Image
        } else if ends(&name, &COMPANION_NAMES) {
            Seen::Other
        } else {
            let head = file.0.read_range(&file.1, 0..file.1.size.min(GLANCE)).await?;
            judge(&name, &head).map_err(|problem| row(file.0.url(), FilePosition::File, problem))?
        };
        Ok(Looked { name, file, seen })
    }
}

fn judge(name: &str, head: &[u8]) -> Result<Seen, RowProblem> {
    match image_header::sniff(head) {
        Sniffed::Image(size) => size.map_or(Ok(()), image_header::fits).map(|()| Seen::Image),
        Sniffed::Other if head.is_empty() && ends(name, &IMAGE_NAMES) => Err(RowProblem::EmptyFile),
        Sniffed::Other if !ends(name, &IMAGE_NAMES) && !ends(name, &OTHER_IMAGE_NAMES) => Ok(Seen::Other),
        Sniffed::Other | Sniffed::Unsupported(_) => image_header::check(head).map(|()| Seen::Image),
    }
}

fn ends(name: &str, extensions: &[&str]) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once('.')
        .is_some_and(|(_, end)| extensions.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_a_broken_promise_is_refused() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x08\0\0\0\x08";
        for name in ["a/IMG_0", "a/x.jpg", "a/x.jpeg_large", "a/x.txt", "a/x.tiff", "a/x.JFIF"] {
            assert_eq!(judge(name, png), Ok(Seen::Image), "{name}");
        }
        for name in ["a/notes.txt", "a/README", "a/clip.mp4", "a/labels.json"] {
            assert_eq!(judge(name, b"some text"), Ok(Seen::Other), "{name}");
        }
        for name in ["a/x.png", "a/x.JPG", "a/x.webp", "a/x.tif"] {
            assert!(judge(name, b"<html>not found</html>").is_err(), "{name}");
        }
        assert_eq!(judge("a/x.png", b""), Err(RowProblem::EmptyFile));
        let problem = judge("a/x", b"II*\0").unwrap_err().to_string();
        assert!(problem.contains("TIFF images are not supported yet"), "{problem}");
    }

    #[test]
    fn what_systems_leave_behind_is_hidden() {
        for name in [
            ".DS_Store",
            "a/._x.png",
            "a/Thumbs.db",
            "desktop.ini",
            "__MACOSX/a/x.png",
            ".git/x",
            "a/.cache/x.png",
        ] {
            assert!(is_hidden(name), "{name}");
        }
        assert!(!is_hidden("a/x.y.png") && !is_hidden("a/thumbs.db.png"));
    }
}
