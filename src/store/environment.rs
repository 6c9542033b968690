//! The variables that say how stores are reached: endpoints, regions, credentials.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::StoreError;
use super::variables::{self, trimmed};

/// Where each cloud's storage answers unless a variable says otherwise.
const GOOGLE: &str = "storage.googleapis.com";
const AZURE: &str = "blob.core.windows.net";
const AZURE_FABRIC: &str = "blob.fabric.microsoft.com";
const AZURE_EMULATOR: &str = "http://127.0.0.1:10000";
const AMAZON_REGION: &str = "us-east-1";

/// A snapshot of the environment variables. Empty ones count as absent.
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Environment {
        let text = std::env::vars_os().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value)));
        Environment::new(text.filter_map(|(name, value)| Some((name, value.to_str()?.to_owned()))))
    }

    /// These and no others.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        Environment(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable, without the line break that a file has put at its end.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| trimmed(name, value)).filter(|value| !value.is_empty())
    }

    /// The unchanged value of a variable, as a library that reads the environment itself sees it.
    pub(super) fn untrimmed(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of these variables that is set.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.get(name).is_some())
    }

    /// The variables whose names begin with `prefix`.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let names = self.0.keys().filter(move |name| name.starts_with(prefix));
        names.filter_map(|name| Some((&**name, self.get(name)?)))
    }

    /// Refuses values of these variables that no client can use, for what `url` names.
    pub(super) fn check<'a>(
        &self,
        url: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        names.into_iter().try_for_each(|name| match self.get(name) {
            Some(value) => usable(url, name, value).map(drop),
            None => Ok(()),
        })
    }

    /// The value of the first of these variables that is set.
    fn either<const N: usize>(&self, names: [&str; N]) -> Option<&str> {
        names.into_iter().find_map(|name| self.get(name))
    }

    /// The URL of the S3 server, where it is not Amazon's.
    pub(super) fn s3_endpoint(&self) -> Option<&str> {
        self.either(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
    }

    /// Where S3 buckets are looked for.
    pub(super) fn s3_region(&self) -> &str {
        self.either(["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or(AMAZON_REGION)
    }

    /// The URL of the Google Cloud Storage server, where it is not Google's.
    pub(super) fn google_endpoint(&self) -> Option<&str> {
        self.get("GOOGLE_BASE_URL")
    }

    /// The URL of the Azure server, where it is not Microsoft's.
    pub(super) fn azure_endpoint(&self) -> Option<&str> {
        self.either(["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"])
    }

    /// The Azure account that blobs belong to.
    pub(super) fn azure_account(&self) -> Option<&str> {
        self.either(["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"])
    }

    /// The name of the server that is asked for what `url` names; `None` for local files, and where the server's name
    /// depends on something that is not set.
    pub fn host(&self, url: &str) -> Option<String> {
        let (scheme, _) = url.split_once("://")?;
        match scheme {
            "http" | "https" => host_of(url),
            "s3" => match self.s3_endpoint() {
                Some(endpoint) => host_of(endpoint),
                None => Some(format!("s3.{}.amazonaws.com", self.s3_region())),
            },
            "gs" => self.google_endpoint().map_or_else(|| Some(GOOGLE.to_owned()), host_of),
            "az" if self.says_yes("AZURE_STORAGE_USE_EMULATOR") => {
                host_of(self.get("AZURITE_BLOB_STORAGE_URL").unwrap_or(AZURE_EMULATOR))
            }
            "az" => match self.azure_endpoint() {
                Some(endpoint) => host_of(endpoint),
                None => {
                    let fabric = self.says_yes("AZURE_USE_FABRIC_ENDPOINT");
                    let domain = if fabric { AZURE_FABRIC } else { AZURE };
                    Some(format!("{}.{domain}", self.azure_account()?))
                }
            },
            _ => None,
        }
    }

    /// Whether a variable is set to one of the words that object_store takes for true.
    fn says_yes(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default().to_ascii_lowercase();
        ["1", "true", "on", "yes", "y"].contains(&value.as_str())
    }
}

/// A variable's value as clients can use it.
pub(super) fn usable(url: &str, name: &str, value: &str) -> Result<String, StoreError> {
    variables::check(name, value).map_err(|reason| {
        let (url, name) = (url.to_owned(), name.to_owned());
        StoreError::Variable { url, name, reason }
    })
}

fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Names only: values can be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_has_the_host_that_its_client_would_ask() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
        let cases: [Case; 16] = [
            ("runs/here", &[], None),
            ("file:///runs/here", &[], None),
            ("https://Host:8443/a", &[], Some("host")),
            ("s3://b/x", &[], Some("s3.us-east-1.amazonaws.com")),
            ("s3://b/x", &[("AWS_DEFAULT_REGION", "eu-north-1")], Some("s3.eu-north-1.amazonaws.com")),
            ("s3://b/x", &[("AWS_ENDPOINT_URL", "http://minio:9000")], Some("minio")),
            ("s3://b/x", &[("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_S3", "http://b")], Some("b")),
            ("gs://b/x", &[], Some("storage.googleapis.com")),
            ("gs://b/x", &[("GOOGLE_BASE_URL", "http://fake:4443")], Some("fake")),
            ("az://b/x", &[], None),
            ("az://b/x", &[("AZURE_STORAGE_ACCOUNT", "acc")], Some("acc.blob.core.windows.net")),
            (
                "az://b/x",
                &[("AZURE_STORAGE_ACCOUNT_NAME", "acc"), ("AZURE_USE_FABRIC_ENDPOINT", "true")],
                Some("acc.blob.fabric.microsoft.com"),
            ),
            (
                "az://b/x",
                &[("AZURE_STORAGE_ENDPOINT", "https://blobs.example.com/acc")],
                Some("blobs.example.com"),
            ),
            ("az://b/x", &[("AZURE_STORAGE_USE_EMULATOR", "true")], Some("127.0.0.1")),
            ("az://b/x", &[("AZURE_STORAGE_USE_EMULATOR", "false")], None),
            ("memory://b/x", &[], None),
        ];
        for (url, variables, expected) in cases {
            let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(Environment::new(owned).host(url).as_deref(), expected, "{url} {variables:?}");
        }
    }
}
