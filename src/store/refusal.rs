//! Answers that trying again cannot change: what they mean, and what to do about them.

use object_store::HeaderMap;
use serde_json::Value;

use super::StoreError;

/// Characters of a server's own words that are shown.
const LONGEST: usize = 300;

/// Why a server refuses a request.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the server answers {status} {}{}", code.as_deref().unwrap_or("without a reason"), said(message))]
pub(super) struct Refusal {
    status: u16,
    /// Such as `ExpiredToken`. An answer to a HEAD request has none.
    code: Option<String>,
    message: String,
    /// Where the bucket is, if it isn't where it was looked for.
    region: Option<String>,
}

/// What a code means for the user.
enum Meaning {
    /// Credentials that are old, wrong or none.
    Credentials,
    /// Key and secret do not belong together.
    Secret,
    Clock,
    Region,
    /// Good credentials without the right.
    Rights,
    /// The server waited for the request for too long.
    Slow,
}

impl Refusal {
    /// The refusal that an answer is, if it is one. `region` is where the bucket was looked for.
    pub(super) fn of(status: u16, headers: &HeaderMap, body: &[u8], region: &str) -> Option<Refusal> {
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let text = String::from_utf8_lossy(body);
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let code = header("x-ms-error-code")
            .or_else(|| element(&text, "Code"))
            .or_else(|| json_code(json.as_ref()?));
        let message = element(&text, "Message").or_else(|| json_message(json.as_ref()?)).unwrap_or_default();
        let elsewhere = header("x-amz-bucket-region").or_else(|| element(&text, "Region"));
        let elsewhere = elsewhere.filter(|found| found != region && !found.is_empty());
        let refusal = Refusal { status, code, message: shortened(&message), region: elsewhere };
        let known = refusal.meaning().is_some();
        // Any other 301, 400 or 409 is the client's business. One without a body may be explained by another request.
        (matches!(status, 401 | 403) || known || (matches!(status, 301 | 400) && body.is_empty()))
            .then_some(refusal)
    }

    /// Whether the same request may succeed after all.
    pub(super) fn passes(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::Slow))
    }

    /// Whether nothing says why: a request whose answer has a body would tell.
    pub(super) fn is_unexplained(&self) -> bool {
        self.code.is_none() && self.region.is_none()
    }

    fn meaning(&self) -> Option<Meaning> {
        let by_code = match self.code.as_deref().unwrap_or_default() {
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidIdentityToken"
            | "InvalidSecurity"
            | "NoAuthenticationInformation"
            | "InvalidAuthenticationInfo"
            | "AuthenticationRequired"
            | "UNAUTHENTICATED"
            | "invalid_client"
            | "invalid_grant"
            | "unauthorized_client" => Meaning::Credentials,
            "SignatureDoesNotMatch" | "AuthenticationFailed" if self.message.contains("date header") => {
                Meaning::Clock
            }
            "SignatureDoesNotMatch" | "AuthenticationFailed" | "IncompleteSignature" => Meaning::Secret,
            "RequestTimeTooSkewed" | "RequestExpired" => Meaning::Clock,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException" => Meaning::Region,
            "AccountProblem"
            | "AllAccessDisabled"
            | "AccountIsDisabled"
            | "NotSignedUp"
            | "UserProjectMissing"
            | "PublicAccessNotPermitted"
            | "KeyBasedAuthenticationNotPermitted" => Meaning::Rights,
            "RequestTimeout" => Meaning::Slow,
            _ => return self.region.is_some().then_some(Meaning::Region),
        };
        Some(by_code)
    }

    /// The error to show to the user.
    pub(super) fn error(&self, url: String) -> StoreError {
        let service = Service::of(&url);
        let cure = match self.meaning() {
            Some(Meaning::Credentials) => service.credentials().to_owned(),
            Some(Meaning::Secret) => service.secret().to_owned(),
            Some(Meaning::Clock) => {
                "this machine's clock disagrees with the server's: synchronise it (NTP)".to_owned()
            }
            Some(Meaning::Region) => match &self.region {
                Some(region) => format!("the bucket is in region {region}: set AWS_REGION={region}"),
                None => "the bucket is in another region: set AWS_REGION to its region".to_owned(),
            },
            None if matches!(self.status, 301 | 400) => {
                return StoreError::Unavailable { url, detail: self.to_string() };
            }
            Some(Meaning::Rights | Meaning::Slow) | None => {
                return StoreError::Permission { url, detail: self.to_string() };
            }
        };
        StoreError::Credentials { url, reason: format!("{cure} ({self})") }
    }
}

/// Whose credentials a URL needs.
enum Service {
    S3,
    Google,
    Azure,
    Web,
}

impl Service {
    fn of(url: &str) -> Service {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3") => Service::S3,
            Some("gs") => Service::Google,
            Some("az") => Service::Azure,
            _ => Service::Web,
        }
    }

    fn credentials(&self) -> &'static str {
        match self {
            Service::S3 => {
                "the credentials are not valid or have expired: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for \
                 temporary ones, AWS_SESSION_TOKEN anew"
            }
            Service::Google => {
                "the credentials are not valid or have expired: set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_BEARER_TOKEN anew"
            }
            Service::Azure => {
                "the credentials are not valid or have expired: set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or \
                 the AZURE_CLIENT_… variables anew"
            }
            Service::Web => {
                "the server wants credentials, and none are sent to web servers: use a public file or a bucket"
            }
        }
    }

    fn secret(&self) -> &'static str {
        match self {
            Service::S3 => {
                "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID, or was copied incompletely: set both anew"
            }
            Service::Azure => {
                "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN does not belong to the account, or has expired: set it anew"
            }
            Service::Google | Service::Web => self.credentials(),
        }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// The text of the first XML element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

/// The code in an answer of Google's storage, or of a server that gives tokens (RFC 6749, 5.2).
fn json_code(json: &Value) -> Option<String> {
    let error = json.get("error")?;
    Some(error.as_str().or_else(|| error.get("status")?.as_str())?.to_owned())
}

fn json_message(json: &Value) -> Option<String> {
    let described = json.get("error_description").or_else(|| json.get("error")?.get("message"));
    Some(described?.as_str()?.to_owned())
}

fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
