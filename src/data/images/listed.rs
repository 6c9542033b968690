//! Images that a `metadata.jsonl` names, as Hugging Face's `imagefolder` defines it.

use std::collections::BTreeSet;

use super::folder::{Folder, METADATA};
use super::{kind, label_column, push, row};
use crate::data::collected::Collected;
use crate::data::columns::Column;
use crate::data::{DataError, FilePosition, RowProblem, jsonl};
use crate::store::{Location, Meta};

/// The column of the list that names the image.
const FILE_NAME: Column<'static> = Column { name: "file_name", key: "" };

impl Folder {
    /// The images that the list names, in its order. An image that it does not name is refused, as a slip.
    pub(super) fn by_metadata(
        self,
        lines: &[u8],
        label: &str,
        mut collected: Collected,
    ) -> Result<Collected, DataError> {
        let list = format!("{}/{METADATA}", self.url.trim_end_matches('/'));
        let mut unnamed: BTreeSet<&str> = self.images.keys().map(String::as_str).collect();
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            let refuse = |problem| row(&list, FilePosition::Line(number), problem);
            let (name, class) = jsonl::text_and_cell(line, FILE_NAME, label_column(label)).map_err(refuse)?;
            let file = self.image(&name).map_err(refuse)?;
            let class = collected.labels.of_cell(class, label).map_err(refuse)?;
            unnamed.remove(name.as_str());
            push(file, class, &mut collected)?;
        }
        match unnamed.first().and_then(|name| self.images.get(*name)) {
            Some(file) => {
                Err(kind(file.0.url(), "metadata.jsonl does not name this image: name it, or remove it"))
            }
            None => {
                self.note_others(&mut collected);
                Ok(collected)
            }
        }
    }

    fn image(&self, name: &str) -> Result<&(Location, Meta), RowProblem> {
        self.images.get(name).ok_or_else(|| {
            let leaves =
                name.starts_with('/') || name.contains('\\') || name.split('/').any(|part| part == "..");
            let reason = match leaves {
                true => "leads out of the directory",
                false if self.others.iter().any(|other| other == name) => "is no image, by its first bytes",
                false => "is not an image file of the directory",
            };
            RowProblem::FileName { name: name.to_owned(), reason }
        })
    }
}
