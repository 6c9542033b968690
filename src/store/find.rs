//! Listings and patterns.

use std::path::{Path as FilePath, PathBuf};

use futures::{StreamExt, TryStreamExt};
use globset::GlobBuilder;

use super::{Kind, Location, Meta, StoreError, Stores};

/// Files whose metadata is read at once, where a listing does not give it.
const HEADS_IN_FLIGHT: usize = 16;
/// Entries of a listing; more are refused rather than held in memory.
const LONGEST_LISTING: usize = 10_000_000;

/// A file of a listing, with its metadata where the listing has it.
type Listed = (Location, Option<Meta>);

impl Location {
    /// Every file below this directory, sorted by URL. An absent directory is an empty one.
    ///
    /// In local directories, links to files inside the directory are followed, and links that leave it are refused.
    pub async fn list(&self) -> Result<Vec<(Location, Meta)>, StoreError> {
        let found = match (self.kind, self.local_path()) {
            (_, Some(path)) => self.list_local(path).await?,
            (Kind::Web, _) => return Err(StoreError::Unlisted { url: self.url.to_string() }),
            (Kind::Local | Kind::Bucket, None) => self.list_remote().await?,
        };
        let mut files: Vec<(Location, Meta)> = futures::stream::iter(found)
            .map(|(file, meta)| async move {
                let meta = match meta {
                    Some(meta) => Ok(meta),
                    None => file.head().await,
                };
                match meta {
                    Ok(meta) => Ok(Some((file, meta))),
                    // Gone since the directory was read, or a link to nothing.
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(HEADS_IN_FLIGHT)
            .try_filter_map(|file| async move { Ok(file) })
            .try_collect()
            .await?;
        files.sort_by(|a, b| a.0.url().cmp(b.0.url()));
        Ok(files)
    }

    /// Names of the directories right below this one. An absent directory has none.
    ///
    /// In a local one they may hold nothing but what a write that was cut off left behind, which [`Location::list`] does not
    /// show.
    pub async fn directories(&self) -> Result<Vec<String>, StoreError> {
        let found = self.store.list_with_delimiter(Some(&self.key)).await.map_err(|error| self.error(error));
        match found {
            Ok(found) => {
                let names = found.common_prefixes.iter().filter_map(|path| path.filename());
                Ok(names.map(str::to_owned).collect())
            }
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn list_remote(&self) -> Result<Vec<Listed>, StoreError> {
        let root = self.url.trim_end_matches(self.key.as_ref()).trim_end_matches('/').to_owned();
        // Azure's listings leave out the quotation marks that its other answers put around an object's etag.
        let azure = root.starts_with("az://");
        let mut files = Vec::new();
        let mut listing = self.store.list(Some(&self.key));
        while let Some(mut entry) = listing.try_next().await.map_err(|error| self.error(error))? {
            self.bounded(files.len())?;
            if let Some(bare) = entry.e_tag.take_if(|etag| azure && !etag.starts_with('"')) {
                entry.e_tag = Some(format!("\"{bare}\""));
            }
            // Some servers list no marks, which every later read would take for a change.
            let meta = entry.e_tag.is_some().then(|| Meta::of(&entry));
            let url = format!("{root}/{}", entry.location).into();
            let file = Location { store: self.store.clone(), key: entry.location, url, kind: self.kind };
            files.push((file, meta));
        }
        Ok(files)
    }

    async fn list_local(&self, path: PathBuf) -> Result<Vec<Listed>, StoreError> {
        let directory = self.clone();
        let walk = tokio::task::spawn_blocking(move || directory.walk(&path));
        let names = walk.await.expect("a directory walk does not panic")?;
        names.iter().map(|name| Ok((self.join(name)?, None))).collect()
    }

    /// Names of the files below `root`, relative to it.
    fn walk(&self, root: &FilePath) -> Result<Vec<String>, StoreError> {
        let failed = |path: &FilePath, error: std::io::Error| {
            StoreError::from_io(path.to_str().unwrap_or(&self.url), &error)
        };
        let real_root = match std::fs::canonicalize(root) {
            Ok(path) => path,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(root, error)),
        };
        let mut names = Vec::new();
        let mut pending = vec![real_root.clone()];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(&directory).map_err(|error| failed(&directory, error))? {
                let path = entry.map_err(|error| failed(&directory, error))?.path();
                let kind =
                    std::fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?.file_type();
                if kind.is_dir() {
                    pending.push(path);
                } else if kind.is_file() || (kind.is_symlink() && is_file_inside(&path, &real_root)?) {
                    self.bounded(names.len())?;
                    names.extend(listed_name(&path, &real_root));
                }
            }
        }
        Ok(names)
    }

    fn bounded(&self, found: usize) -> Result<(), StoreError> {
        if found < LONGEST_LISTING {
            return Ok(());
        }
        let detail = format!("the listing has more than {LONGEST_LISTING} files");
        Err(StoreError::Unavailable { url: self.url.to_string(), detail })
    }
}

impl Stores {
    /// The files a URL or a pattern names, sorted. `*` and `?` stay within one path segment, `**` does not;
    /// `{a,b}` and `[ab]` work as in a shell. A pattern that matches nothing is [`StoreError::NotFound`].
    pub async fn glob(&self, pattern: &str) -> Result<Vec<(Location, Meta)>, StoreError> {
        let web = pattern.starts_with("http://") || pattern.starts_with("https://");
        let Some(special) = pattern.find(['*', '?', '[', '{']).filter(|_| !web) else {
            let file = self.locate(pattern)?;
            if web && file.url().contains('*') {
                return Err(StoreError::Unlisted { url: pattern.to_owned() });
            }
            let meta = file.head().await?;
            return Ok(vec![(file, meta)]);
        };
        let bad = |reason: String| StoreError::BadUrl { url: pattern.to_owned(), reason };
        let cut = pattern[..special].rfind('/').map_or(0, |slash| slash + 1);
        let (directory, tail) = pattern.split_at(cut);
        if directory.ends_with("://") {
            return Err(bad("the bucket's name cannot be a pattern".to_owned()));
        }
        let matcher = GlobBuilder::new(tail)
            .literal_separator(true)
            .build()
            .map_err(|error| bad(error.kind().to_string()))?
            .compile_matcher();
        let directory = self.locate(if directory.is_empty() { "." } else { directory })?;
        let prefix = format!("{}/", directory.url().trim_end_matches('/'));
        let mut files = directory.list().await?;
        files.retain(|(file, _)| file.url().strip_prefix(&prefix).is_some_and(|name| matcher.is_match(name)));
        if files.is_empty() {
            return Err(StoreError::NotFound { url: pattern.to_owned() });
        }
        Ok(files)
    }
}

/// Whether a link leads to a file, which must be inside `root`. Links to nothing and to directories inside are passed over.
fn is_file_inside(link: &FilePath, root: &FilePath) -> Result<bool, StoreError> {
    match std::fs::canonicalize(link) {
        Ok(target) if target.starts_with(root) => Ok(target.is_file()),
        Ok(_) => Err(StoreError::Link { url: link.display().to_string() }),
        Err(_) => Ok(false),
    }
}

/// A file's name relative to the root; `None` for names outside UTF-8 and for uploads in progress (`name#1`).
fn listed_name(path: &FilePath, root: &FilePath) -> Option<String> {
    let name = path.strip_prefix(root).ok()?.to_str()?;
    let in_progress = name
        .rsplit_once('#')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    (!in_progress && !name.contains('\\')).then(|| name.to_owned())
}
