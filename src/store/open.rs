//! URLs become object stores and paths; one client per bucket.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{Location, StoreError};

/// Where the local store is kept among the open ones: no URL begins like this.
const LOCAL: &str = "local";
const RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The stores opened so far, so that locations in one bucket share one client. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stores {
    open: Arc<Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(open.keys()).finish()
    }
}

impl Stores {
    /// Resolves a plain path, a `file://` or an `s3://` URL, or a URL below a mounted prefix.
    pub fn locate(&self, url: &str) -> Result<Location, StoreError> {
        if url.is_empty() || url.contains('\0') {
            return Err(bad(url, "not a path or URL"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return self.local(url, FilePath::new(url));
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let root = format!("{scheme}://{bucket}");
        if let Some(store) = self.opened(&root) {
            return remote(store, &root, key, url);
        }
        match scheme {
            "file" if bucket.is_empty() || bucket == "localhost" => {
                let path = url::Url::parse(url).ok().and_then(|parsed| parsed.to_file_path().ok());
                self.local(url, &path.ok_or_else(|| bad(url, "not a file URL: write file:///absolute/path"))?)
            }
            "file" => Err(bad(url, "a file URL has three slashes: file:///absolute/path")),
            "s3" => remote(self.s3(&root, bucket, url)?, &root, key, url),
            other => Err(bad(
                url,
                &format!("{other}:// is not supported by this version; use s3://, file:// or a path"),
            )),
        }
    }

    /// Makes every URL that begins with `root` (such as `memory://name`) live in `store`.
    pub fn mount(&self, root: &str, store: Arc<dyn ObjectStore>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned(), store);
    }

    fn opened(&self, root: &str) -> Option<Arc<dyn ObjectStore>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(root).cloned()
    }

    fn local(&self, url: &str, path: &FilePath) -> Result<Location, StoreError> {
        let path = absolute(path).map_err(|error| bad(url, &error.to_string()))?;
        let Some(shown) = path.to_str() else {
            return Err(bad(url, "the path is not valid UTF-8"));
        };
        let key = Path::from_absolute_path(&path).map_err(|error| bad(url, &error.to_string()))?;
        let store = self.opened(LOCAL).unwrap_or_else(|| {
            // Without fsync a manifest could outlive the parts it names in a power cut.
            let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new().with_fsync(true));
            self.mount(LOCAL, store.clone());
            store
        });
        Ok(Location { store, key, url: shown.into(), local: true })
    }

    fn s3(&self, root: &str, bucket: &str, url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
        if bucket.is_empty() {
            return Err(bad(url, "the bucket is missing: write s3://bucket/path"));
        }
        if bucket.contains(['@', ':', '?', '#']) {
            return Err(bad(root, "write s3://bucket/path; credentials come from the environment"));
        }
        let mut client =
            ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            client = client.with_allow_http(true);
        }
        let retry =
            RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry);
        if let (None, Some(region)) = (variable("AWS_REGION"), variable("AWS_DEFAULT_REGION")) {
            builder = builder.with_region(region);
        }
        let store: Arc<dyn ObjectStore> =
            Arc::new(builder.build().map_err(|error| bad(url, &error.to_string()))?);
        self.mount(root, store.clone());
        Ok(store)
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
        Location { store: Arc::new(InMemory::new()), key: Path::default(), url: root.into(), local: false }
    }
}

fn remote(store: Arc<dyn ObjectStore>, root: &str, key: &str, url: &str) -> Result<Location, StoreError> {
    let key = Path::parse(key).map_err(|error| bad(url, &error.to_string()))?;
    let shown = if key.as_ref().is_empty() { root.to_owned() } else { format!("{root}/{key}") };
    Ok(Location { store, key, url: shown.into(), local: false })
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
