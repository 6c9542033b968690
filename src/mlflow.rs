//! A server of MLflow: where it is, as MLflow's own variables say, and how it is asked: JSON over HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, ReqwestConnector};
use serde_json::Value;
use tonic::codegen::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use tonic::codegen::http::{Method, Request, Uri};

const URI: &str = "MLFLOW_TRACKING_URI";
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the largest answer: a run with its latest metrics and its parameters.
const LARGEST: usize = 16 << 20;
/// Characters of a server's words that are repeated.
const LONGEST_TEXT: usize = 300;

/// The environment variables of MLflow.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Variables {
        let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Variables::new(all.filter_map(|(name, value)| Some((name, value.into_string().ok()?))))
    }

    /// These and no others. Empty ones count as absent.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Variables {
        let ours = variables.into_iter().filter(|(name, _)| name.starts_with("MLFLOW_"));
        let trimmed = ours.map(|(name, value)| (name, value.trim().to_owned()));
        Variables(trimmed.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Variables {
    /// Without the values: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why no server is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// Nothing is set.
    #[error(
        "MLFLOW_TRACKING_URI is not set; it is the address of an MLflow server, such as http://mlflow:5000"
    )]
    Unset,
    /// It names a path or a database.
    #[error(
        "MLFLOW_TRACKING_URI has to begin with http:// or https://: other stores of MLflow are not supported"
    )]
    NotHttp,
    /// It has no host, or a character that no URL has.
    #[error("MLFLOW_TRACKING_URI is not a URL of a server")]
    NotAUrl,
    /// The value of this variable has a character that no header has.
    #[error("{0} cannot be sent in a header")]
    NotAHeader(&'static str),
}

/// Why a server was not told.
#[derive(Debug, thiserror::Error)]
pub enum MlflowError {
    /// No answer came.
    #[error("{host}: {reason}")]
    Unreachable { host: String, reason: String },
    /// It answers with an error.
    #[error("{host} answers {status} to {path}: {message}")]
    Refused { host: String, path: &'static str, status: u16, code: String, message: String },
    /// It answers, but not as MLflow does.
    #[error("{host} answers {path} with {what}: is it an MLflow server?")]
    Answer { host: String, path: &'static str, what: &'static str },
}

impl MlflowError {
    /// Whether the server says that something is not there, or is there already.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, MlflowError::Refused { code, .. } if code == wanted)
    }
}

/// An experiment, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Experiment {
    Name(String),
    Id(String),
}

/// Where a server is, and what it wants to know of those who ask.
#[derive(Clone)]
pub struct Server {
    /// Without user, password and query, and without a slash at its end.
    base: String,
    /// For messages.
    host: String,
    authorization: Option<HeaderValue>,
    /// Where runs are to be.
    pub experiment: Experiment,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl Server {
    /// The one that the environment names.
    pub fn named_by(variables: &Variables) -> Result<Server, Unnamed> {
        let uri = variables.get(URI).ok_or(Unnamed::Unset)?;
        let (scheme, rest) = uri.split_once("://").ok_or(Unnamed::NotHttp)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(Unnamed::NotHttp);
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let base = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
        if host.is_empty() || base.parse::<Uri>().is_err() {
            return Err(Unnamed::NotAUrl);
        }
        let authorization = authorization(variables, user)?;
        let experiment =
            match (variables.get("MLFLOW_EXPERIMENT_ID"), variables.get("MLFLOW_EXPERIMENT_NAME")) {
                (_, Some(name)) => Experiment::Name(name.to_owned()),
                (Some(id), None) => Experiment::Id(id.to_owned()),
                // MLflow's own default.
                (None, None) => Experiment::Name("Default".to_owned()),
            };
        Ok(Server { base, host: host.to_owned(), authorization, experiment })
    }

    /// Without user, password and query.
    pub fn url(&self) -> &str {
        &self.base
    }

    fn odd(&self, path: &'static str, what: &'static str) -> MlflowError {
        MlflowError::Answer { host: self.host.clone(), path, what }
    }

    /// The innermost reason, which names no URL.
    fn unreachable(&self, error: &dyn std::error::Error) -> MlflowError {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        MlflowError::Unreachable { host: self.host.clone(), reason: plain(&innermost.to_string()) }
    }
}

/// Asks a server.
#[derive(Clone, Debug)]
pub struct Client {
    server: Server,
    http: HttpClient,
}

impl Client {
    /// TLS is that of storage.
    pub fn new(server: Server) -> Result<Client, MlflowError> {
        let options = ClientOptions::new()
            .with_timeout(TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(server.base.starts_with("http://"));
        match ReqwestConnector::default().connect(&options) {
            Ok(http) => Ok(Client { server, http }),
            Err(error) => Err(server.unreachable(&error)),
        }
    }

    /// Asks for something; `query` holds names and their values.
    pub async fn get(&self, path: &'static str, query: &[(&str, &str)]) -> Result<Value, MlflowError> {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.ask(Method::GET, path, &pairs.join("&"), String::new()).await
    }

    /// Tells something.
    pub async fn post(&self, path: &'static str, body: &Value) -> Result<Value, MlflowError> {
        self.ask(Method::POST, path, "", body.to_string()).await
    }

    /// The error of an answer that MLflow would not give.
    pub fn odd(&self, path: &'static str, what: &'static str) -> MlflowError {
        self.server.odd(path, what)
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
        query: &str,
        body: String,
    ) -> Result<Value, MlflowError> {
        let (server, mark) = (&self.server, if query.is_empty() { "" } else { "?" });
        let uri = format!("{}/api/2.0/mlflow/{path}{mark}{query}", server.base);
        let mut request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &server.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Bytes::from(body).into()).map_err(|error| server.unreachable(&error))?;
        let answer = self.http.execute(request).await.map_err(|error| server.unreachable(&error))?;
        let status = answer.status();
        let mut pieces = answer.into_body().bytes_stream();
        let mut text = BytesMut::new();
        while let Some(piece) =
            pieces.try_next().await.map_err(|error: HttpError| server.unreachable(&error))?
        {
            if text.len() + piece.len() > LARGEST {
                return Err(self.odd(path, "too many bytes"));
            }
            text.extend_from_slice(&piece);
        }
        let value = serde_json::from_slice::<Value>(&text).ok().filter(Value::is_object);
        if status.is_success() {
            return value.ok_or_else(|| self.odd(path, "something else than JSON"));
        }
        let said =
            |key: &str| value.as_ref().and_then(|value| value[key].as_str()).unwrap_or_default().to_owned();
        let (host, code, message) = (server.host.clone(), said("error_code"), plain(&said("message")));
        Err(MlflowError::Refused { host, path, status: status.as_u16(), code, message })
    }
}

/// A text as a value in a URL's query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(letter).collect()
}

/// A token, or a user with a password: of the variables or, in this order, of the address.
fn authorization(variables: &Variables, user: Option<&str>) -> Result<Option<HeaderValue>, Unnamed> {
    let named = variables.get("MLFLOW_TRACKING_USERNAME");
    let password = || variables.get("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
    let (text, source) = match (named, variables.get("MLFLOW_TRACKING_TOKEN"), user) {
        (Some(user), _, _) => (basic(format!("{user}:{}", password())), "MLFLOW_TRACKING_USERNAME"),
        (None, Some(token), _) => (format!("Bearer {token}"), "MLFLOW_TRACKING_TOKEN"),
        (None, None, Some(user)) => (basic(decoded(user)), URI),
        (None, None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| Unnamed::NotAHeader(source))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn basic(credentials: String) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

/// The text of a part of a URL.
fn decoded(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut text = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| part.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                text.push(byte);
                at += 3;
            }
            None => {
                text.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Text of a server for a line of a log.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(set: &[(&str, &str)]) -> Result<Server, Unnamed> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Server::named_by(&Variables::new(set))
    }

    fn header(set: &[(&str, &str)]) -> Option<String> {
        let server = server(set).expect("it is named");
        server.authorization.map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn the_variables_of_mlflow_name_a_server() {
        assert_eq!(server(&[]).expect_err("unset"), Unnamed::Unset);
        assert_eq!(server(&[(URI, "./mlruns")]).expect_err("a path"), Unnamed::NotHttp);
        assert_eq!(server(&[(URI, "sqlite:///db")]).expect_err("a database"), Unnamed::NotHttp);
        assert_eq!(server(&[(URI, "http:///x")]).expect_err("no host"), Unnamed::NotAUrl);
        let found = server(&[(URI, "HTTPS://me:secret@host:5000/prefix/?key=secret")]).expect("it is named");
        assert_eq!(found.base, "https://host:5000/prefix");
        assert_eq!(found.experiment, Experiment::Name("Default".to_owned()));
        assert!(!format!("{found:?}").contains("secret"));
        let named = server(&[(URI, "http://host"), ("MLFLOW_EXPERIMENT_ID", "7")]).expect("it is named");
        assert_eq!(named.experiment, Experiment::Id("7".to_owned()));
    }

    #[test]
    fn names_of_experiments_are_encoded() {
        assert_eq!(encoded("a b/ü&c"), "a%20b%2F%C3%BC%26c");
    }

    #[test]
    fn credentials_are_those_of_the_variables_or_of_the_address() {
        let uri = (URI, "http://me%40work:sec%2fret@host");
        assert_eq!(header(&[(URI, "http://host")]), None);
        assert_eq!(header(&[uri]).as_deref(), Some("Basic bWVAd29yazpzZWMvcmV0"));
        assert_eq!(header(&[uri, ("MLFLOW_TRACKING_TOKEN", "t")]).as_deref(), Some("Bearer t"));
        let user = [("MLFLOW_TRACKING_USERNAME", "me"), ("MLFLOW_TRACKING_PASSWORD", "secret")];
        assert_eq!(header(&[uri, user[0], user[1]]).as_deref(), Some("Basic bWU6c2VjcmV0"));
    }
}
