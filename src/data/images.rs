//! A directory with one folder per class.

use super::labels::Labels;
use super::{DataError, DataFile, Format, Place, RowIndex, RowProblem};
use crate::spec::Dataset;
use crate::store::{Location, Meta, Stores};

/// Bytes of the largest image file.
const LARGEST_IMAGE: u64 = 64 << 20;
/// Image kinds that are not read; ignoring them silently would shrink the data.
const UNREAD: [&str; 9] = ["webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "svg", "ppm"];

/// Adds every PNG and JPEG file of the directory; other files (notes, licences) are passed over.
pub(super) async fn add(
    stores: &Stores,
    dataset: &Dataset,
    labels: &mut Labels,
    index: &mut RowIndex,
) -> Result<(), DataError> {
    if dataset.path.contains(['*', '?']) {
        return Err(kind(
            &dataset.path,
            "image data is a directory with one folder per class, not a pattern",
        ));
    }
    let root = stores.locate(&dataset.path)?;
    for file in root.list().await? {
        add_file(&root, file, labels, index)?;
    }
    Ok(())
}

fn add_file(
    root: &Location,
    (file, meta): (Location, Meta),
    labels: &mut Labels,
    index: &mut RowIndex,
) -> Result<(), DataError> {
    let name = file.url().strip_prefix(root.url()).unwrap_or(file.url()).trim_start_matches('/');
    let hidden = name.split('/').any(|part| part.starts_with('.'));
    let extension =
        name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    if hidden {
        return Ok(());
    }
    if UNREAD.contains(&extension.as_str()) {
        let reason =
            format!(".{extension} images are not supported by this version; convert them to PNG or JPEG");
        return Err(kind(file.url(), &reason));
    }
    if !matches!(extension.as_str(), "png" | "jpg" | "jpeg") {
        return Ok(());
    }
    let Some((class, _)) = name.split_once('/') else {
        return Err(kind(
            file.url(),
            "an image outside of the class folders; its folder's name would be its label",
        ));
    };
    let refuse = |problem| DataError::Row { url: file.url().to_owned(), place: Place::File, problem };
    if meta.size == 0 {
        return Err(refuse(RowProblem::EmptyFile));
    }
    if meta.size > LARGEST_IMAGE {
        return Err(refuse(RowProblem::TooLong { limit: LARGEST_IMAGE, csv: false }));
    }
    let label = labels.number(class, "folder").map_err(refuse)?;
    index.push_row(0, meta.size as u32, label);
    index.push_file(DataFile {
        url: file.url().to_owned(),
        format: Format::Image,
        size: meta.size,
        etag: meta.etag,
        sha256: None,
        columns: Vec::new(),
        text_column: String::new(),
    });
    Ok(())
}

fn kind(url: &str, reason: &str) -> DataError {
    DataError::Kind { url: url.to_owned(), reason: reason.to_owned() }
}
