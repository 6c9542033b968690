//! URLs become object stores and paths; one client per bucket or server.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::cloud::Bucket;
use super::transport::Connector;
use super::{Environment, Kind, Location, Outages, StoreError, escapes, home, web};

/// Where the local store is kept among the open ones: no URL begins like this.
const LOCAL: &str = "local";
/// How long a failing request is repeated, unless a run file says otherwise.
pub const DEFAULT_RETRY_SECONDS: u32 = 30;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest time for which credentials are asked for that the environment does not name.
const LONGEST_FOR_CREDENTIALS: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request is repeated while a store fails, and who is told.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    limit: Duration,
    outages: Outages,
}

impl Patience {
    pub(super) fn retry(&self) -> RetryConfig {
        retry_for(self.limit)
    }

    /// How long to retry requests for credentials. If the environment names none, only a machine in a cloud can obtain
    /// some, and not always at once; on any other machine the wait is wasted.
    pub(super) fn retry_for_credentials(&self, named: bool) -> RetryConfig {
        let unnamed = (self.limit / 3).min(LONGEST_FOR_CREDENTIALS);
        if named { self.retry() } else { retry_for(unnamed) }
    }

    /// What makes a store's clients; `region` is where its bucket is looked for.
    pub(super) fn connector(&self, region: &str) -> Connector {
        Connector { patience: self.limit, region: region.to_owned(), outages: self.outages.clone() }
    }

    /// A client of a server: encrypted, unless its address says otherwise.
    pub(super) fn client(&self, endpoint: Option<&str>) -> ClientOptions {
        ClientOptions::new()
            // One attempt can carry ten megabytes over a slow line.
            .with_timeout(4 * self.limit)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
    }
}

fn retry_for(limit: Duration) -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
    // Time alone is the limit: names and routes of a machine that has just started take a while.
    RetryConfig { max_retries: usize::MAX, retry_timeout: limit, backoff }
}

/// The stores opened so far, so that locations in one bucket share one client. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    open: Arc<Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>>,
    environment: Arc<Environment>,
    patience: Patience,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(open.keys()).finish()
    }
}

impl Default for Stores {
    fn default() -> Self {
        Stores::new(Environment::of_process(), Duration::from_secs(DEFAULT_RETRY_SECONDS.into()))
    }
}

impl Stores {
    /// No store opened yet. A request that fails is repeated for `patience`; no attempt lasts longer than four times that.
    pub fn new(environment: Environment, patience: Duration) -> Stores {
        let open = Arc::default();
        let patience = Patience { limit: patience, outages: Outages::default() };
        Stores { open, environment: Arc::new(environment), patience }
    }

    /// Outages of all servers that these stores speak to.
    pub fn outages(&self) -> Outages {
        self.patience.outages.clone()
    }

    /// Resolves a plain path (`~` is the home directory), a URL of a bucket or web server, or one below a mounted prefix.
    pub fn locate(&self, url: &str) -> Result<Location, StoreError> {
        if url.is_empty() || url.contains('\0') {
            return Err(bad(url, "not a path or URL"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return self.local(url, &home::expanded(url, &self.environment));
        };
        let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
        match scheme {
            "file" if name.is_empty() || name == "localhost" => {
                let path = url::Url::parse(url).ok().and_then(|parsed| parsed.to_file_path().ok());
                self.local(url, &path.ok_or_else(|| bad(url, "not a file URL: write file:///absolute/path"))?)
            }
            "file" => Err(bad(url, "a file URL has three slashes: file:///absolute/path")),
            "http" | "https" => self.web(url),
            scheme => {
                let root = format!("{scheme}://{name}");
                let environment = &self.environment;
                let bucket = Bucket { name, url, environment, patience: self.patience.clone() };
                in_bucket(self.opened(&root, || bucket.open(scheme))?, &root, key, url)
            }
        }
    }

    /// Makes every URL that begins with `root` (such as `memory://name`) live in `store`.
    pub fn mount(&self, root: &str, store: Arc<dyn ObjectStore>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned(), store);
    }

    fn opened(
        &self,
        root: &str,
        open: impl FnOnce() -> Result<Arc<dyn ObjectStore>, StoreError>,
    ) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(root).cloned();
        match known {
            Some(store) => Ok(store),
            None => open().inspect(|store| self.mount(root, store.clone())),
        }
    }

    fn local(&self, url: &str, path: &FilePath) -> Result<Location, StoreError> {
        let path = absolute(path).map_err(|error| bad(url, &error.to_string()))?;
        let Some(shown) = path.to_str() else {
            return Err(bad(url, "the path is not valid UTF-8"));
        };
        let key = Path::from_absolute_path(&path).map_err(|error| bad(url, &error.to_string()))?;
        // Without fsync a manifest could outlive the parts it names in a power cut.
        let store = self.opened(LOCAL, || Ok(Arc::new(LocalFileSystem::new().with_fsync(true))))?;
        Ok(Location { store, key, url: shown.into(), kind: Kind::Local })
    }

    fn web(&self, url: &str) -> Result<Location, StoreError> {
        let (root, key) = web::parse(url)?;
        let store = self.opened(root.as_str(), || web::open(&root, &self.environment, &self.patience))?;
        let url = web::url(&root, &key).into();
        Ok(Location { store, key, url, kind: Kind::Web })
    }
}

impl Location {
    /// Resolves one URL; see [`Stores::locate`]. Use one [`Stores`] where several are resolved.
    pub fn parse(url: &str) -> Result<Location, StoreError> {
        Stores::default().locate(url)
    }

    /// An empty directory in a store of its own, in memory.
    pub fn memory(name: &str) -> Location {
        let root = format!("memory://{name}");
        Location {
            store: Arc::new(InMemory::new()),
            key: Path::default(),
            url: root.into(),
            kind: Kind::Bucket,
        }
    }
}

fn in_bucket(store: Arc<dyn ObjectStore>, root: &str, key: &str, url: &str) -> Result<Location, StoreError> {
    let path = Path::parse(key).map_err(|error| bad(url, &error.to_string()))?;
    if !path.as_ref().is_empty() && escapes(path.as_ref()) {
        return Err(bad(url, "the parts of its path must not be dots, encoded or not"));
    }
    let shown = if path.as_ref().is_empty() { root.to_owned() } else { format!("{root}/{path}") };
    Ok(Location { store, key: path, url: shown.into(), kind: Kind::Bucket })
}

/// Makes a path absolute. `..` is resolved the way the operating system does: through symbolic links.
fn absolute(path: &FilePath) -> std::io::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            Component::ParentDir => {
                resolved = std::fs::canonicalize(&resolved).unwrap_or(resolved);
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    Ok(resolved)
}

fn bad(url: &str, reason: &str) -> StoreError {
    StoreError::BadUrl { url: url.to_owned(), reason: reason.to_owned() }
}
