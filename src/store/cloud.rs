//! Clients of S3, Google Cloud Storage and Azure Blob Storage, set up by the usual environment variables.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::environment::usable;
use super::error::brief;
use super::open::Patience;
use super::variables::{self, PROXIES};
use super::{Environment, StoreError};

/// Signs of bucket names beyond letters and digits; Azure has containers that begin with a dollar.
const IN_BUCKETS: &str = "._-$";
/// Variables that give S3 credentials.
const S3_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];
/// Variables that give Azure credentials.
const AZURE_CREDENTIALS: [&str; 8] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_STORAGE_TOKEN",
];
/// Where gcloud leaves a user's credentials, below the home directory.
const GCLOUD: &str = ".config/gcloud/application_default_credentials.json";
/// Bytes of the largest credentials file.
const LARGEST_CREDENTIALS: u64 = 1 << 20;

/// What a client of one bucket is made from.
pub(super) struct Bucket<'a> {
    pub(super) name: &'a str,
    /// As the user wrote it, for messages.
    pub(super) url: &'a str,
    pub(super) environment: &'a Environment,
    pub(super) patience: Patience,
}

type Opened = Result<Arc<dyn ObjectStore>, StoreError>;

impl Bucket<'_> {
    /// A client for the scheme of the URL; nothing is asked of the server yet.
    pub(super) fn open(&self, scheme: &str) -> Opened {
        let open = match scheme {
            "s3" => Bucket::s3,
            "gs" => Bucket::google,
            "az" => Bucket::azure,
            other => {
                let known = "use s3://, gs://, az://, https://, file:// or a path";
                return Err(self.bad(format!("{other}:// is not supported by this version; {known}")));
            }
        };
        if self.name.is_empty() {
            return Err(self.bad(format!("the bucket is missing: write {scheme}://bucket/path")));
        }
        if self.name.contains(['@', ':', '?', '#']) {
            // Not as the user wrote it: there can be a secret in it.
            let url = format!("{scheme}://…");
            let reason = format!("write {scheme}://bucket/path; credentials come from the environment");
            return Err(StoreError::BadUrl { url, reason });
        }
        let in_order = |sign: char| sign.is_ascii_alphanumeric() || IN_BUCKETS.contains(sign);
        if !self.name.chars().all(in_order) || !variables::is_label(self.name) {
            return Err(self.bad(format!("{:?} is not the name of a bucket", self.name)));
        }
        self.environment.check(self.url, PROXIES)?;
        open(self)
    }

    fn s3(&self) -> Opened {
        let environment = self.environment;
        let profile = environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
        if let (Some(profile), None) = (profile, environment.first(&S3_CREDENTIALS)) {
            let instead = "run eval \"$(aws configure export-credentials --format env)\" first, \
                           or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            return Err(self.refused(format!("{profile} is set, but profiles are not read: {instead}")));
        }
        self.check_token_file()?;
        let region = environment.s3_region();
        let builder = AmazonS3Builder::new()
            .with_client_options(self.patience.client(environment.s3_endpoint()))
            .with_http_connector(self.patience.connector(region));
        let builder = self.configured(builder, "AWS_", AmazonS3Builder::with_config)?;
        let builder = builder.with_bucket_name(self.name).with_region(region);
        let named = environment.first(&S3_CREDENTIALS).is_some();
        let asking = builder.clone().with_retry(self.patience.retry_for_credentials(named)).build();
        let asking = self.built(asking, "AWS_")?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build(), "AWS_")?))
    }

    /// Refuses a file with a token that cannot be sent.
    fn check_token_file(&self) -> Result<(), StoreError> {
        const NAME: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
        let Some(path) = self.environment.get(NAME) else { return Ok(()) };
        // A file that cannot be read is reported when the token is needed.
        let Ok(token) = small_file(Path::new(path)) else { return Ok(()) };
        match token.chars().all(|sign| sign.is_ascii_graphic()) {
            true => Ok(()),
            false => {
                let reason = format!(
                    "names {path}, which does not hold a token alone: it has blanks, line breaks or other signs in it"
                );
                Err(StoreError::Variable { url: self.url.to_owned(), name: NAME.to_owned(), reason })
            }
        }
    }

    fn google(&self) -> Opened {
        let builder = GoogleCloudStorageBuilder::new()
            .with_client_options(self.patience.client(self.environment.google_endpoint()))
            .with_http_connector(self.patience.connector(""));
        let builder = self.configured(builder, "GOOGLE_", GoogleCloudStorageBuilder::with_config)?;
        let builder = builder.with_bucket_name(self.name);
        let named = self.check_google_file(&builder)?;
        let asking = builder.clone().with_retry(self.patience.retry_for_credentials(named)).build();
        let asking = self.built(asking, "GOOGLE_")?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build(), "GOOGLE_")?))
    }

    /// Refuses a credentials file of a type that is not supported, which the client would call unreadable. Whether there are
    /// any credentials but those of the machine.
    fn check_google_file(&self, builder: &GoogleCloudStorageBuilder) -> Result<bool, StoreError> {
        use GoogleConfigKey::{ApplicationCredentials, BearerToken, ServiceAccount, ServiceAccountKey};
        let given = |key| builder.get_config_value(&key);
        if given(BearerToken).is_some() || given(ServiceAccountKey).is_some() {
            return Ok(true);
        }
        let named = given(ServiceAccount).or(given(ApplicationCredentials)).map(PathBuf::from);
        let usual = || Some(PathBuf::from(self.environment.get("HOME")?).join(GCLOUD));
        let Some(path) = named.clone().or_else(|| usual().filter(|path| path.exists())) else {
            return Ok(false);
        };
        let failed = |reason: &str| self.refused(format!("credentials file {}: {reason}", path.display()));
        let text = small_file(&path).map_err(|error| failed(&error.to_string()))?;
        let file: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| failed(&error.to_string()))?;
        let server = file.get("gcs_base_url").and_then(serde_json::Value::as_str);
        if let Some(Err(reason)) = server.map(|url| variables::check("GOOGLE_BASE_URL", url)) {
            return Err(failed(&format!("gcs_base_url {reason}")));
        }
        match file.get("type").and_then(serde_json::Value::as_str) {
            None | Some("service_account" | "authorized_user") => Ok(true),
            Some(other) => Err(failed(&format!(
                "type {other} is not supported; use a service account's key file, a machine whose metadata \
                 server gives credentials, or, for less than an hour, \
                 GOOGLE_BEARER_TOKEN=\"$(gcloud auth print-access-token)\""
            ))),
        }
    }

    fn azure(&self) -> Opened {
        let environment = self.environment;
        let account = environment.azure_account();
        let emulator = environment.get("AZURE_STORAGE_USE_EMULATOR");
        if account.is_none() && emulator.is_none() {
            let string = environment.first(&["AZURE_STORAGE_CONNECTION_STRING"]);
            let unread = string.map(|name| format!("{name} is not read: ")).unwrap_or_default();
            let instead =
                "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN";
            return Err(self.refused(format!("{unread}{instead}")));
        }
        environment
            .check(self.url, ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURITE_BLOB_STORAGE_URL"])?;
        // The client reads this one itself.
        if let Some(header) = environment.untrimmed("IDENTITY_HEADER") {
            usable(self.url, "IDENTITY_HEADER", header)?;
        }
        let mut builder = MicrosoftAzureBuilder::new()
            .with_client_options(self.patience.client(environment.azure_endpoint()))
            .with_http_connector(self.patience.connector(""));
        // The names that Azure's own command line uses.
        builder = account.into_iter().fold(builder, MicrosoftAzureBuilder::with_account);
        builder = environment
            .get("AZURE_STORAGE_KEY")
            .into_iter()
            .fold(builder, |builder, key| builder.with_access_key(key));
        let builder = self.configured(builder, "AZURE_", MicrosoftAzureBuilder::with_config)?;
        let builder = builder.with_container_name(self.name);
        let named = environment.first(&AZURE_CREDENTIALS).is_some();
        let asking = builder.clone().with_retry(self.patience.retry_for_credentials(named)).build();
        let asking = self.built(asking, "AZURE_")?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build(), "AZURE_")?))
    }

    /// Gives a builder every variable that begins with `prefix` and whose name it knows.
    fn configured<B, K: FromStr>(
        &self,
        mut builder: B,
        prefix: &str,
        with: impl Fn(B, K, String) -> B,
    ) -> Result<B, StoreError> {
        for (name, value) in self.environment.beginning(prefix) {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = with(builder, key, usable(self.url, name, value)?);
            }
        }
        Ok(builder)
    }

    /// A client that was made, or which variable it could not be made of.
    fn built<T>(&self, built: object_store::Result<T>, prefix: &str) -> Result<T, StoreError> {
        built.map_err(|error| {
            let text = brief(&error);
            let object_store::Error::Generic { store: "Config", .. } = error else {
                return self.refused(text);
            };
            // Switches, durations and numbers: the text quotes the value, but does not say whose it is.
            let named =
                self.environment.beginning(prefix).find(|(_, value)| text.contains(&format!("\"{value}\"")));
            let name = named
                .map_or_else(|| format!("a variable that begins with {prefix}"), |(name, _)| name.to_owned());
            StoreError::Variable { url: self.url.to_owned(), name, reason: format!("cannot be used: {text}") }
        })
    }

    fn refused(&self, reason: String) -> StoreError {
        StoreError::Credentials { url: self.url.to_owned(), reason }
    }

    fn bad(&self, reason: String) -> StoreError {
        StoreError::BadUrl { url: self.url.to_owned(), reason }
    }
}

/// A file of credentials, up to the length that any has.
fn small_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST_CREDENTIALS).read_to_string(&mut text)?;
    Ok(text)
}
