//! Listings and patterns.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use globset::{GlobBuilder, GlobMatcher};

use super::walk::{Limits, Walk, walk};
use super::{Kind, Location, Meta, StoreError, Stores, odd_keys};

/// Files whose metadata is read at once, where a listing does not give it.
const HEADS_IN_FLIGHT: usize = 16;
/// Entries of a listing; more are refused rather than held in memory.
const LONGEST_LISTING: usize = 10_000_000;
/// Directories that may be reached through links.
const MOST_LINKED: usize = 100_000;
/// What makes a pattern of a path.
const SPECIAL: [char; 4] = ['*', '?', '[', '{'];

/// A file of a listing, with its metadata where the listing has it.
type Listed = (Location, Option<Meta>);

/// What is below a directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every file, sorted by URL.
    pub files: Vec<(Location, Meta)>,
    /// Names, relative to the directory, under which nothing can be read, and why: dead links, and objects whose names are no
    /// paths. Whether they matter depends on what is looked for.
    pub unreadable: Vec<(String, StoreError)>,
}

impl Location {
    /// Every file below this directory, sorted by URL. An absent directory is an empty one.
    ///
    /// Links on this machine's disk are followed, also those to directories; cycles are skipped.
    pub async fn list(&self) -> Result<Vec<(Location, Meta)>, StoreError> {
        Ok(self.listing().await?.files)
    }

    /// As [`Location::list`], with what is there but cannot be read.
    pub async fn listing(&self) -> Result<Listing, StoreError> {
        self.listing_to(usize::MAX).await
    }

    /// As [`Location::listing`]; on this machine's disk only the first `depth` levels of directories are looked at.
    async fn listing_to(&self, depth: usize) -> Result<Listing, StoreError> {
        let (found, unreadable) = match (self.kind, self.local_path()) {
            (_, Some(path)) => self.list_local(path, depth).await?,
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
                    // Gone since the directory was read.
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(HEADS_IN_FLIGHT)
            .try_filter_map(|file| async move { Ok(file) })
            .try_collect()
            .await?;
        files.sort_by(|a, b| a.0.url().cmp(b.0.url()));
        Ok(Listing { files, unreadable })
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
                Ok(names.filter(|name| odd_keys::original(name).is_none()).map(str::to_owned).collect())
            }
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether this is a directory: of a bucket, whether it has a file.
    pub async fn is_directory(&self) -> Result<bool, StoreError> {
        match (self.kind, self.local_path()) {
            (_, Some(path)) => Ok(path.is_dir()),
            (Kind::Web, _) => Ok(false),
            (Kind::Local | Kind::Bucket, None) => {
                match self.store.list(Some(&self.key)).try_next().await.map_err(|error| self.error(error)) {
                    Ok(first) => Ok(first.is_some()),
                    Err(StoreError::NotFound { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn list_remote(&self) -> Result<(Vec<Listed>, Vec<(String, StoreError)>), StoreError> {
        let root = self.url.trim_end_matches(self.key.as_ref()).trim_end_matches('/').to_owned();
        let prefix = if self.key.as_ref().is_empty() { String::new() } else { format!("{}/", self.key) };
        // Azure's listings leave out the quotation marks that its other answers put around an object's etag.
        let azure = root.starts_with("az://");
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        let mut listing = self.store.list(Some(&self.key));
        while let Some(mut entry) = listing.try_next().await.map_err(|error| self.error(error))? {
            self.bounded(files.len() + unreadable.len())?;
            if let Some(key) = odd_keys::original(entry.location.as_ref()) {
                let name = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
                unreadable.push((name, StoreError::OddName { url: format!("{root}/{key}") }));
                continue;
            }
            if let Some(bare) = entry.e_tag.take_if(|etag| azure && !etag.starts_with('"')) {
                entry.e_tag = Some(format!("\"{bare}\""));
            }
            // Some servers list no marks, which every later read would take for a change.
            let meta = entry.e_tag.is_some().then(|| Meta::of(&entry));
            let url = format!("{root}/{}", entry.location).into();
            let file = Location { store: self.store.clone(), key: entry.location, url, kind: self.kind };
            files.push((file, meta));
        }
        Ok((files, unreadable))
    }

    async fn list_local(
        &self,
        path: PathBuf,
        depth: usize,
    ) -> Result<(Vec<Listed>, Vec<(String, StoreError)>), StoreError> {
        let limits = Limits { depth, files: LONGEST_LISTING, linked: MOST_LINKED };
        let walking = tokio::task::spawn_blocking(move || walk(&path, limits));
        let Walk { files, unreadable, .. } = walking.await.expect("a directory walk does not panic")?;
        let files =
            files.iter().map(|name| Ok((self.join(name)?, None))).collect::<Result<_, StoreError>>()?;
        Ok((files, unreadable))
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
    /// The files a URL or a pattern names, sorted. What exists under the very name comes first: brackets and question marks
    /// can be part of one. Otherwise `*` and `?` stay within one path segment, `**` does not; `{a,b}` and `[ab]` work as in a
    /// shell. A pattern that matches nothing is [`StoreError::NotFound`].
    pub async fn glob(&self, pattern: &str) -> Result<Vec<(Location, Meta)>, StoreError> {
        let web = pattern.starts_with("http://") || pattern.starts_with("https://");
        if web || !is_pattern(pattern) {
            let file = self.locate(pattern)?;
            if web && file.url().contains('*') {
                return Err(StoreError::Unlisted { url: pattern.to_owned() });
            }
            let meta = file.head().await?;
            return Ok(vec![(file, meta)]);
        }
        if let Some(file) = self.named(pattern).await? {
            return Ok(vec![file]);
        }
        let cut = self.literal_part(pattern).await?;
        let (directory, tail) = pattern.split_at(cut);
        let directory = self.locate(if directory.is_empty() { "." } else { directory })?;
        let depth = if tail.contains("**") { usize::MAX } else { tail.split('/').count() };
        let Listing { files, unreadable } = directory.listing_to(depth).await?;
        let prefix = format!("{}/", directory.url().trim_end_matches('/'));
        for matcher in matchers(pattern, tail) {
            let matcher = matcher?;
            if let Some((_, error)) = unreadable.iter().find(|(name, _)| matcher.is_match(name)) {
                return Err(error.clone());
            }
            let matches =
                |file: &Location| file.url().strip_prefix(&prefix).is_some_and(|name| matcher.is_match(name));
            let found: Vec<_> = files.iter().filter(|(file, _)| matches(file)).cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(StoreError::NotFound { url: pattern.to_owned() })
    }

    /// The file that has a pattern's text for a name, if there is one.
    async fn named(&self, pattern: &str) -> Result<Option<(Location, Meta)>, StoreError> {
        let Ok(file) = self.locate(pattern) else { return Ok(None) };
        match file.head().await {
            Ok(meta) => Ok(Some((file, meta))),
            Err(_) if file.kind == Kind::Local => Ok(None),
            // Who may not list a bucket is not told what is absent from it: the listing says so better.
            Err(StoreError::NotFound { .. } | StoreError::Permission { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of a pattern name the directory that it looks in: directories can have brackets in their names.
    async fn literal_part(&self, pattern: &str) -> Result<usize, StoreError> {
        let start = match pattern.split_once("://") {
            None | Some(("file", _)) => 0,
            Some((scheme, rest)) => {
                let bucket = rest.split('/').next().unwrap_or(rest);
                if is_pattern(bucket) {
                    let reason = "the bucket's name cannot be a pattern".to_owned();
                    return Err(StoreError::BadUrl { url: pattern.to_owned(), reason });
                }
                scheme.len() + "://".len() + bucket.len()
            }
        };
        let mut cut = start + usize::from(pattern[start..].starts_with('/'));
        while let Some(length) = pattern[cut..].find('/') {
            let end = cut + length;
            if is_pattern(&pattern[cut..end]) && !self.locate(&pattern[..end])?.is_directory().await? {
                break;
            }
            cut = end + 1;
        }
        Ok(cut)
    }
}

/// Whether a path may be meant as a pattern.
pub fn is_pattern(path: &str) -> bool {
    path.contains(SPECIAL)
}

/// What the last part of a pattern may mean: brackets, braces and question marks stand for themselves first.
fn matchers(pattern: &str, tail: &str) -> Vec<Result<GlobMatcher, StoreError>> {
    let mut literal = String::new();
    for sign in tail.chars() {
        match sign {
            '[' | ']' | '{' | '}' | '?' => literal.extend(['[', sign, ']']),
            other => literal.push(other),
        }
    }
    let compile = |glob: &str| {
        let glob = GlobBuilder::new(glob).literal_separator(true).build();
        glob.map(|glob| glob.compile_matcher())
            .map_err(|error| StoreError::BadUrl { url: pattern.to_owned(), reason: error.kind().to_string() })
    };
    let meant = compile(tail);
    if literal == tail { vec![meant] } else { vec![compile(&literal), meant] }
}
