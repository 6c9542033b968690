//! Files on web servers: named one by one, and only read.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use url::Url;

use super::open::Patience;
use super::variables::PROXIES;
use super::{Environment, StoreError};

/// The server and the file that a URL names.
pub(super) fn parse(url: &str) -> Result<(Url, Path), StoreError> {
    let bad = |url: &str, reason: &str| StoreError::BadUrl { url: url.to_owned(), reason: reason.to_owned() };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (server, name) = rest.split_once('/').unwrap_or((rest, ""));
    if server.contains('@') {
        // Not as the user wrote it: there is a secret in it.
        return Err(bad(&format!("{scheme}://…"), "a URL with a password would end up in logs; remove it"));
    }
    let (name, secret) = name.split_once(['?', '#']).unwrap_or((name, ""));
    if !secret.is_empty() || server.contains(['?', '#']) {
        let shown = format!("{scheme}://{server}/{name}?…");
        return Err(bad(
            &shown,
            "a file on a web server is named without a pattern and without a query, which could be a secret",
        ));
    }
    let name = name.trim_end_matches('/');
    if !name.is_empty() && super::escapes(name) {
        return Err(bad(url, "its path must have no empty parts and no dots"));
    }
    let root = Url::parse(&format!("{scheme}://{server}/")).map_err(|error| bad(url, &error.to_string()))?;
    let key = Path::from_url_path(name).map_err(|error| bad(url, &error.to_string()))?;
    Ok((root, key))
}

/// The URL of a file: the inverse of [`parse`].
pub(super) fn url(root: &Url, key: &Path) -> String {
    let mut url = root.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(key.parts());
    }
    url.into()
}

/// A client of one server. It follows at most ten redirects, from https to https only, and sends no credentials.
pub(super) fn open(
    root: &Url,
    environment: &Environment,
    patience: &Patience,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    environment.check(root.as_str(), PROXIES)?;
    let store = HttpBuilder::new()
        .with_url(root.as_str())
        .with_client_options(patience.client(Some(root.as_str())))
        .with_retry(patience.retry())
        .with_http_connector(patience.connector(""))
        .build()
        .map_err(|error| StoreError::BadUrl { url: root.to_string(), reason: error.to_string() })?;
    Ok(Arc::new(store))
}
