//! Clients of S3, Google Cloud Storage and Azure Blob Storage, set up by the usual environment variables.

use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ObjectStore, RetryConfig};

use super::error::brief;
use super::open::Patience;
use super::{Environment, StoreError};

/// How long credentials are asked for: where nobody hands them out, this is waited in vain.
const CREDENTIALS: RetryConfig = RetryConfig {
    max_retries: 5,
    retry_timeout: Duration::from_secs(10),
    backoff: object_store::BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    },
};
/// Variables that give S3 credentials.
const S3_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];
/// Where gcloud leaves a user's credentials, below the home directory.
const GCLOUD: &str = ".config/gcloud/application_default_credentials.json";
/// Bytes of the largest credentials file.
const LARGEST_CREDENTIALS: u64 = 1 << 20;

/// What a client of one bucket is made from.
pub(super) struct Bucket<'a> {
    /// Its name.
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
        let options = self.patience.client(environment.s3_endpoint());
        let builder = AmazonS3Builder::new().with_client_options(options);
        let mut builder = configured(builder, environment.beginning("AWS_"), |builder, key, value| {
            builder.with_config(key, value)
        })
        .with_bucket_name(self.name);
        if let (None, Some(region)) = (environment.get("AWS_REGION"), environment.get("AWS_DEFAULT_REGION")) {
            builder = builder.with_region(region);
        }
        let asking = self.built(builder.clone().with_retry(CREDENTIALS).build())?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build())?))
    }

    fn google(&self) -> Opened {
        let options = self.patience.client(self.environment.google_endpoint());
        let builder = GoogleCloudStorageBuilder::new().with_client_options(options);
        let builder = configured(builder, self.environment.beginning("GOOGLE_"), |builder, key, value| {
            builder.with_config(key, value)
        })
        .with_bucket_name(self.name);
        self.check_google_file(&builder)?;
        let asking = self.built(builder.clone().with_retry(CREDENTIALS).build())?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build())?))
    }

    /// Refuses a credentials file of a type that is not supported, which the client would call unreadable.
    fn check_google_file(&self, builder: &GoogleCloudStorageBuilder) -> Result<(), StoreError> {
        use GoogleConfigKey::{ApplicationCredentials, BearerToken, ServiceAccount, ServiceAccountKey};
        let given = |key| builder.get_config_value(&key);
        if given(BearerToken).is_some() || given(ServiceAccountKey).is_some() {
            return Ok(());
        }
        let named = given(ServiceAccount).or(given(ApplicationCredentials)).map(PathBuf::from);
        let usual = || Some(PathBuf::from(self.environment.get("HOME")?).join(GCLOUD));
        let Some(path) = named.clone().or_else(|| usual().filter(|path| path.exists())) else {
            return Ok(());
        };
        let failed = |reason: &str| self.refused(format!("credentials file {}: {reason}", path.display()));
        let mut text = String::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(LARGEST_CREDENTIALS).read_to_string(&mut text))
            .map_err(|error| failed(&error.to_string()))?;
        let file: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| failed(&error.to_string()))?;
        match file.get("type").and_then(serde_json::Value::as_str) {
            None | Some("service_account" | "authorized_user") => Ok(()),
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
        let options = self.patience.client(environment.azure_endpoint());
        let mut builder = MicrosoftAzureBuilder::new().with_client_options(options);
        // The names that Azure's own command line uses.
        builder = account.into_iter().fold(builder, MicrosoftAzureBuilder::with_account);
        builder = environment
            .get("AZURE_STORAGE_KEY")
            .into_iter()
            .fold(builder, |builder, key| builder.with_access_key(key));
        builder = configured(builder, environment.beginning("AZURE_"), |builder, key, value| {
            builder.with_config(key, value)
        })
        .with_container_name(self.name);
        let asking = self.built(builder.clone().with_retry(CREDENTIALS).build())?;
        let builder = builder.with_credentials(asking.credentials().clone());
        Ok(Arc::new(self.built(builder.with_retry(self.patience.retry()).build())?))
    }

    fn built<T>(&self, built: object_store::Result<T>) -> Result<T, StoreError> {
        built.map_err(|error| self.refused(brief(&error)))
    }

    fn refused(&self, reason: String) -> StoreError {
        StoreError::Credentials { url: self.url.to_owned(), reason }
    }

    fn bad(&self, reason: String) -> StoreError {
        StoreError::BadUrl { url: self.url.to_owned(), reason }
    }
}

/// Gives a builder every variable whose name it knows.
fn configured<'a, B, K: FromStr>(
    builder: B,
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    with: impl Fn(B, K, &'a str) -> B,
) -> B {
    variables.fold(builder, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
        Ok(key) => with(builder, key, value),
        Err(_) => builder,
    })
}
