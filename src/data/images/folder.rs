//! The files of a directory of images, and its folders as classes.

use std::collections::{BTreeMap, BTreeSet};

use super::look::{Looked, Seen, is_hidden, look, may_be_image};
use super::{kind, push, row, splits};
use crate::data::collected::Collected;
use crate::data::{DataError, FilePosition, Note};
use crate::store::{Listing, Location, Meta, StoreError};

/// The list of labels, as Hugging Face's `imagefolder` defines it.
pub(super) const METADATA: &str = "metadata.jsonl";
/// Its other forms, which are not read.
const OTHER_METADATA: [&str; 2] = ["metadata.csv", "metadata.parquet"];
/// Maximum names of skipped files to show.
const FIRST: usize = 5;

/// The files of a directory, by their names in it.
pub(super) struct Folder {
    /// As the run file names it.
    path: String,
    pub(super) url: String,
    pub(super) images: BTreeMap<String, (Location, Meta)>,
    pub(super) metadata: Option<(Location, Meta)>,
    /// Files that are no images.
    pub(super) others: Vec<String>,
    /// Files that are hidden, or that a system left behind.
    hidden: Vec<String>,
    /// Folders at the top, those without a file too where storage knows of them.
    folders: BTreeSet<String>,
}

impl Folder {
    /// Lists a directory, and looks what its files are.
    pub(super) async fn open(path: &str, root: &Location) -> Result<Folder, DataError> {
        let mut folder = Folder {
            path: path.trim_end_matches('/').to_owned(),
            url: root.url().trim_end_matches('/').to_owned(),
            images: BTreeMap::new(),
            metadata: None,
            others: Vec::new(),
            hidden: Vec::new(),
            folders: BTreeSet::new(),
        };
        let Listing { files, unreadable } = root.listing().await?;
        // A dangling link may be an image, unless it is hidden or its name has another ending.
        if let Some((_, error)) =
            unreadable.into_iter().find(|(name, _)| !is_hidden(name) && may_be_image(name))
        {
            return Err(error.into());
        }
        // A listing cannot tell an absent directory from an empty one, which a bucket does not have.
        let local = root.local_path().is_some_and(|path| path.is_dir());
        if files.is_empty() && !local {
            return Err(StoreError::NotFound { url: root.url().to_owned() }.into());
        }
        if local {
            folder.folders = root.directories().await?.into_iter().filter(|name| !is_hidden(name)).collect();
        }
        let mut unknown = Vec::new();
        for file in files {
            let url = file.0.url();
            let name = url.strip_prefix(root.url()).unwrap_or(url).trim_start_matches('/').to_owned();
            if is_hidden(&name) {
                folder.hidden.push(name);
            } else if !folder.take_list(&name, &file)? {
                folder.folders.extend(name.split_once('/').map(|(top, _)| top.to_owned()));
                unknown.push((name, file));
            }
        }
        for Looked { name, file, seen } in look(unknown).await? {
            match seen {
                Seen::Image => drop(folder.images.insert(name, file)),
                Seen::Other => folder.others.push(name),
            }
        }
        Ok(folder)
    }

    /// Keeps the list of labels, and refuses what would be another source of labels.
    fn take_list(&mut self, name: &str, file: &(Location, Meta)) -> Result<bool, DataError> {
        let last = name.rsplit('/').next().unwrap_or(name);
        let refuse = |reason| Err(kind(file.0.url(), reason));
        match last {
            METADATA if name == METADATA => {
                self.metadata = Some(file.clone());
                Ok(true)
            }
            METADATA => refuse("a list of labels below the directory; list this folder as data"),
            _ if OTHER_METADATA.contains(&last) => refuse("labels are read from metadata.jsonl; convert it"),
            _ if last.to_ascii_lowercase().ends_with(".parquet") => {
                refuse("a Parquet file; name such files with a pattern, as DIRECTORY/*.parquet")
            }
            _ => Ok(false),
        }
    }

    /// Every image, labelled by its folder.
    pub(super) fn by_folder(self, mut collected: Collected) -> Result<Collected, DataError> {
        if !collected.fixed
            && let Some(folders) = splits::found(self.images.keys().map(String::as_str))
        {
            return Err(DataError::Splits { path: self.path, folders });
        }
        if !collected.fixed {
            self.check_classes()?;
        }
        for (name, file) in &self.images {
            let Some((class, _)) = name.split_once('/') else {
                let reason = "an image outside of the class folders, without a metadata.jsonl; its folder's name would \
                              be its label";
                return Err(kind(file.0.url(), reason));
            };
            let refuse = |problem| row(file.0.url(), FilePosition::File, problem);
            let label = collected.labels.of_name(class, "folder").map_err(refuse)?;
            push(file, label, &mut collected)?;
        }
        if self.images.keys().any(|name| name.matches('/').count() > 1) {
            collected.note(Note::FolderLabels);
        }
        self.note_others(&mut collected);
        Ok(collected)
    }

    /// Every image in the order of the names, whatever folder it lies in; class id 0.
    pub(super) fn unlabelled(self, mut collected: Collected) -> Result<Collected, DataError> {
        for file in self.images.values() {
            push(file, 0, &mut collected)?;
        }
        self.note_others(&mut collected);
        Ok(collected)
    }

    /// Refuses class folders without an image: a class must not vanish because its files are of another kind.
    fn check_classes(&self) -> Result<(), DataError> {
        let top = |name: &str| name.split_once('/').map(|(top, _)| top.to_owned());
        let with_images: BTreeSet<String> = self.images.keys().filter_map(|name| top(name)).collect();
        let folders: Vec<String> = self.folders.difference(&with_images).cloned().collect();
        if folders.is_empty() {
            return Ok(());
        }
        let inside = |name: &&String| top(name).is_some_and(|top| folders.contains(&top));
        let files: Vec<&String> = self.others.iter().chain(&self.hidden).filter(inside).collect();
        let first = files.first().map(|name| (*name).clone());
        Err(DataError::NoImages { url: self.url.clone(), files: files.len(), first, folders })
    }

    /// Adds notes about the files that were skipped.
    pub(super) fn note_others(&self, collected: &mut Collected) {
        let first = |names: &[&String]| names.iter().take(FIRST).map(|name| (*name).clone()).collect();
        let hidden: Vec<&String> = self.hidden.iter().collect();
        if !hidden.is_empty() {
            let first = first(&hidden);
            collected.note(Note::PassedOver { url: self.url.clone(), files: hidden.len(), first });
        }
        // Notes and licences beside the class folders are not data.
        let others: Vec<&String> = self.others.iter().filter(|name| name.contains('/')).collect();
        if !others.is_empty() {
            let first = first(&others);
            collected.note(Note::NotImages { url: self.url.clone(), files: others.len(), first });
        }
    }
}
