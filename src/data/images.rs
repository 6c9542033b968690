//! Images: a directory with one folder per class, a directory with a `metadata.jsonl`, or Parquet files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::format::{MAGIC, packing};
use super::scan::{Collected, planned};
use super::{DataError, FilePosition, Format, Packing, RowProblem, image_header, jsonl, table};
use crate::run_file::Dataset;
use crate::store::{Listing, Location, Meta, StoreError, Stores, is_pattern, stand_in};

/// Bytes of the largest image.
pub(super) const LARGEST_IMAGE: u64 = 64 << 20;
/// Bytes of the largest list of labels.
const LARGEST_METADATA: u64 = 256 << 20;
/// Image kinds that are not read; ignoring them silently would shrink the data.
const UNREAD: [&str; 9] = ["webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "svg", "ppm"];
/// The list of labels, as Hugging Face's `imagefolder` defines it.
const METADATA: &str = "metadata.jsonl";
/// Its other forms, which are not read.
const OTHER_METADATA: [&str; 2] = ["metadata.csv", "metadata.parquet"];
/// The column of the list that names the image.
const FILE_NAME: &str = "file_name";

/// Adds every image of a dataset.
pub(super) async fn add(
    stores: &Stores,
    dataset: &Dataset,
    collected: Collected,
) -> Result<Collected, DataError> {
    let root = stores.locate(&dataset.path)?;
    if are_tables(&root, &dataset.path).await? {
        return add_tables(stores, dataset, collected).await;
    }
    let files = Folder::list(&root).await?;
    let metadata = match &files.metadata {
        Some((file, _)) => Some(file.read(LARGEST_METADATA).await?),
        None => None,
    };
    if let (Some((file, _)), Some(found)) = (&files.metadata, metadata.as_deref().and_then(stand_in)) {
        return Err(kind(file.url(), found));
    }
    let column = dataset.label_column.clone();
    let adding = tokio::task::spawn_blocking(move || match metadata {
        None => files.by_folder(collected),
        Some(lines) => files.by_metadata(&lines, &column, collected),
    });
    adding.await.expect("looking at images does not panic")
}

/// Whether a dataset's path names Parquet files rather than a directory, whose name can have brackets in it.
pub(super) async fn are_tables(root: &Location, path: &str) -> Result<bool, StoreError> {
    if path.to_ascii_lowercase().ends_with(".parquet") {
        return Ok(true);
    }
    match root.local_path() {
        Some(local) => Ok(local.is_file() || (is_pattern(path) && !local.is_dir())),
        None => Ok(is_pattern(path) && !root.is_directory().await?),
    }
}

async fn add_tables(
    stores: &Stores,
    dataset: &Dataset,
    mut collected: Collected,
) -> Result<Collected, DataError> {
    for file in stores.glob(&dataset.path).await? {
        let first = file.0.read_range(&file.1, 0..file.1.size.min(MAGIC)).await?;
        if packing(&first) != Packing::Parquet {
            let reason = "not a Parquet file; image data is Parquet files, or a directory with one folder per class or \
                          a metadata.jsonl";
            return Err(kind(file.0.url(), stand_in(&first).unwrap_or(reason)));
        }
        let planned = planned(&file, (Format::Image, Packing::Parquet), &dataset.image_column);
        (collected, _) = table::add(&file, planned, dataset.label_column.clone(), collected, None).await?;
    }
    Ok(collected)
}

/// The images of a directory, by their name in it.
struct Folder {
    url: String,
    images: BTreeMap<String, (Location, Meta)>,
    metadata: Option<(Location, Meta)>,
}

impl Folder {
    /// Lists a directory. Files that are no images (notes, licences) are passed over.
    async fn list(root: &Location) -> Result<Folder, DataError> {
        let mut folder = Folder { url: root.url().to_owned(), images: BTreeMap::new(), metadata: None };
        let Listing { files, unreadable } = root.listing().await?;
        if let Some((_, error)) = unreadable.into_iter().find(|(name, _)| may_matter(name)) {
            return Err(error.into());
        }
        // A listing cannot tell an absent directory from an empty one, which a bucket does not have.
        if files.is_empty() && !root.local_path().is_some_and(|path| path.is_dir()) {
            return Err(StoreError::NotFound { url: root.url().to_owned() }.into());
        }
        for file in files {
            let url = file.0.url();
            let name = url.strip_prefix(root.url()).unwrap_or(url).trim_start_matches('/').to_owned();
            folder.sort_in(name, file)?;
        }
        Ok(folder)
    }

    fn sort_in(&mut self, name: String, file: (Location, Meta)) -> Result<(), DataError> {
        if name.split('/').any(|part| part.starts_with('.')) {
            return Ok(());
        }
        let last = name.rsplit('/').next().unwrap_or(&name);
        let extension = last.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            _ if name == METADATA => self.metadata = Some(file),
            _ if last == METADATA => {
                return Err(kind(
                    file.0.url(),
                    "a list of labels below the directory; list this folder as data",
                ));
            }
            _ if OTHER_METADATA.contains(&last) => {
                return Err(kind(file.0.url(), "labels are read from metadata.jsonl; convert it"));
            }
            Some("parquet") => {
                return Err(kind(
                    file.0.url(),
                    "a Parquet file; name such files with a pattern, as DIRECTORY/*.parquet",
                ));
            }
            Some("png" | "jpg" | "jpeg") => {
                self.images.insert(name, file);
            }
            Some(unread) if UNREAD.contains(&unread) => {
                let reason = format!(
                    ".{unread} images are not supported by this version; convert them to PNG or JPEG"
                );
                return Err(kind(file.0.url(), &reason));
            }
            _ => {}
        }
        Ok(())
    }

    /// Every image, labelled by its folder.
    fn by_folder(self, mut collected: Collected) -> Result<Collected, DataError> {
        for (name, file) in self.images {
            let Some((class, _)) = name.split_once('/') else {
                let reason = "an image outside of the class folders, without a metadata.jsonl; its folder's name would \
                              be its label";
                return Err(kind(file.0.url(), reason));
            };
            let refuse = |problem| row(file.0.url(), FilePosition::File, problem);
            let label = collected.labels.number(class, "folder").map_err(refuse)?;
            push(&file, label, &mut collected)?;
        }
        Ok(collected)
    }

    /// The images that the list names, in its order. An image that it does not name is refused, as a slip.
    fn by_metadata(
        self,
        lines: &[u8],
        label_column: &str,
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
            let (name, label) = jsonl::text_and_label(line, FILE_NAME, label_column).map_err(refuse)?;
            let file = self.image(&name).map_err(refuse)?;
            let label = collected.labels.number(&label, label_column).map_err(refuse)?;
            unnamed.remove(name.as_str());
            push(file, label, &mut collected)?;
        }
        match unnamed.first().and_then(|name| self.images.get(*name)) {
            Some(file) => {
                Err(kind(file.0.url(), "metadata.jsonl does not name this image: name it, or remove it"))
            }
            None => Ok(collected),
        }
    }

    fn image(&self, name: &str) -> Result<&(Location, Meta), RowProblem> {
        self.images.get(name).ok_or_else(|| {
            let leaves =
                name.starts_with('/') || name.contains('\\') || name.split('/').any(|part| part == "..");
            let reason = match leaves {
                true => "leads out of the directory",
                false => "is not a PNG or JPEG file of the directory",
            };
            RowProblem::FileName { name: name.to_owned(), reason }
        })
    }
}

/// Whether a file that cannot be read may be an image or say what the images are.
fn may_matter(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let hidden = name.split('/').any(|part| part.starts_with('.') && !matches!(part, "." | ".."));
    let extension = last.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let image = match extension.as_deref() {
        None => true,
        Some(extension) => ["png", "jpg", "jpeg"].contains(&extension) || UNREAD.contains(&extension),
    };
    !hidden && (image || last == METADATA || OTHER_METADATA.contains(&last))
}

fn push(file: &(Location, Meta), label: u32, collected: &mut Collected) -> Result<(), DataError> {
    let (location, meta) = file;
    let refuse = |problem| row(location.url(), FilePosition::File, problem);
    if meta.size == 0 {
        return Err(refuse(RowProblem::EmptyFile));
    }
    if meta.size > LARGEST_IMAGE {
        return Err(refuse(RowProblem::TooLong { limit: LARGEST_IMAGE, csv: false }));
    }
    look_at(location)?;
    collected.index.push_row(0, meta.size as u32, label);
    collected.index.push_file(planned(file, (Format::Image, Packing::Plain), ""));
    Ok(())
}

/// Checks kind and size of an image on this machine. Others cost a request each, which is left to the workers.
fn look_at(location: &Location) -> Result<(), DataError> {
    let Some(path) = location.local_path() else { return Ok(()) };
    let mut head = Vec::new();
    let reading = std::fs::File::open(path)
        .and_then(|file| file.take(image_header::HEAD as u64).read_to_end(&mut head));
    reading.map_err(|error| StoreError::from_io(location.url(), &error))?;
    image_header::check(&head).map_err(|problem| row(location.url(), FilePosition::File, problem))
}

fn row(url: &str, place: FilePosition, problem: RowProblem) -> DataError {
    DataError::Row { url: url.to_owned(), place, problem }
}

fn kind(url: &str, reason: &str) -> DataError {
    DataError::Kind { url: url.to_owned(), reason: reason.to_owned() }
}
