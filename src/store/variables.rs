//! Whether the value of an environment variable can be used, before a client is made of it: several end in a panic there.

use url::Url;

/// Variables that every client reads itself.
pub(super) const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A URL without user and query.
    Endpoint,
    /// Where a proxy listens; its scheme may be missing.
    Proxy,
    /// Part of a server's name.
    Label,
    /// The path of a URL, from its slash on.
    UrlPath,
    /// Part of the path of a URL.
    Segment,
    /// What can be sent as a header: signs of ASCII.
    Header,
    /// A secret that is never sent: anything on one line.
    Line,
    /// A path or a document.
    Free,
}

fn form(name: &str) -> Form {
    let name = name.to_ascii_uppercase();
    match name.as_str() {
        "AZURITE_BLOB_STORAGE_URL"
        | "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        | "GOOGLE_BASE_URL"
        | "AZURE_FABRIC_TOKEN_SERVICE_URL"
        | "AZURE_STORAGE_AUTHORITY_HOST"
        | "AZURE_AUTHORITY_HOST" => Form::Endpoint,
        "AWS_REGION" | "AWS_DEFAULT_REGION" | "AZURE_STORAGE_ACCOUNT" | "AZURE_STORAGE_ACCOUNT_NAME" => {
            Form::Label
        }
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Form::UrlPath,
        "AWS_SECRET_ACCESS_KEY" => Form::Line,
        "GOOGLE_SERVICE_ACCOUNT" | "GOOGLE_SERVICE_ACCOUNT_KEY" | "GOOGLE_APPLICATION_CREDENTIALS" => {
            Form::Free
        }
        _ if name.contains("TENANT_ID") || name.contains("AUTHORITY_ID") => Form::Segment,
        _ if name.ends_with("_FILE") || name.ends_with("_PATH") || name.ends_with("_CA_CERTIFICATE") => {
            Form::Free
        }
        _ if name.ends_with("_PROXY") || name.ends_with("_PROXY_URL") => Form::Proxy,
        _ if name.contains("ENDPOINT") && !name.contains("USE_FABRIC") => Form::Endpoint,
        _ => Form::Header,
    }
}

/// Whether a value is a secret: it must not be printed, and blanks around it are removed.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let holds = ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word));
    (holds || name == "IDENTITY_HEADER") && form(&name) != Form::Free && form(&name) != Form::Endpoint
}

/// The value to use: removes a line break at the end, and blanks around secrets, because they come from the file that
/// the value was read from.
pub(super) fn trimmed<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { value.trim() } else { value.trim_end_matches(['\n', '\r']) }
}

/// A value as clients can use it, or what is wrong with it and how to cure that.
pub(super) fn check(name: &str, value: &str) -> Result<String, String> {
    let form = form(name);
    if form == Form::Free {
        return Ok(value.to_owned());
    }
    if value.starts_with(['"', '\'']) {
        return Err(
            "begins with a quotation mark, which is a part of the value here: remove the quotation marks"
                .to_owned(),
        );
    }
    if value.trim() != value {
        return Err("has blanks around it: remove them".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err(
            "has a line break or another control character in it: set it to the value alone".to_owned()
        );
    }
    match form {
        Form::Endpoint => endpoint(value),
        Form::Proxy => proxy(name, value).map(|()| value.to_owned()),
        Form::Label => label(name, value).map(|()| value.to_owned()),
        Form::UrlPath if !value.starts_with('/') || value.contains(|sign| !is_of_url(sign)) => {
            Err("must be the path of a URL and begin with a slash".to_owned())
        }
        Form::Segment if value.contains(|sign: char| !sign.is_ascii_alphanumeric() && !"._-".contains(sign)) => {
            Err(format!("is {value:?}, but may hold letters, digits, dots and hyphens only"))
        }
        Form::Header if !value.is_ascii() => {
            Err("has a sign in it that is not ASCII: was it copied from a text that changes hyphens or quotation marks?".to_owned())
        }
        _ => Ok(value.to_owned()),
    }
}

/// The URL, as it is written in full.
fn endpoint(value: &str) -> Result<String, String> {
    if value.contains('@') {
        return Err("has an @ in it: a URL with a password would end up in logs; credentials have variables of their own".to_owned());
    }
    if !value.starts_with("http://") && !value.starts_with("https://") {
        let bare = value.rsplit("://").next().unwrap_or(value).trim_start_matches('/');
        return Err(format!("is {value:?}, which is not a URL: write http://{bare} or https://{bare}"));
    }
    let url = Url::parse(value).map_err(|error| format!("is {value:?}, which is not a URL: {error}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query: write the URL of the server alone, such as https://host:port".to_owned());
    }
    let written = url.as_str().trim_end_matches('/');
    match written.chars().all(is_of_url) {
        true => Ok(written.to_owned()),
        false => Err(format!("is {value:?}: write the URL of the server alone, such as https://host:port")),
    }
}

/// Whether a sign may stand in a URL as it is (RFC 3986, 2).
fn is_of_url(sign: char) -> bool {
    sign.is_ascii_graphic() && !r#""<>\^`{|}"#.contains(sign)
}

fn proxy(name: &str, value: &str) -> Result<(), String> {
    let schemes: &[&str] = match PROXIES.contains(&name) {
        true => &["http", "https", "socks4", "socks4a", "socks5", "socks5h"],
        false => &["http", "https"],
    };
    let full = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    // Not shown: proxies are where a password belongs into the URL.
    match Url::parse(&full) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() && full.chars().all(is_of_url) => Ok(()),
        _ => Err("is not the address of a proxy: write http://host:port".to_owned()),
    }
}

fn label(name: &str, value: &str) -> Result<(), String> {
    let named = value.chars().all(|sign| sign.is_ascii_alphanumeric() || "_-".contains(sign));
    if named && is_label(value) {
        return Ok(());
    }
    let example = match name.contains("REGION") {
        true => "a region such as us-east-1",
        false => "an account's name alone: NAME of https://NAME.blob.core.windows.net",
    };
    Err(format!("is {value:?}, which is not {example}"))
}

/// Whether a text can be part of a server's name.
pub(super) fn is_label(text: &str) -> bool {
    Url::parse(&format!("https://{text}.example.com/")).is_ok_and(|url| url.path() == "/" && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_would_end_in_a_panic_say_what_to_do() {
        let cases = [
            ("AWS_ENDPOINT_URL", "minio:9000", "write http://minio:9000"),
            ("AWS_ENDPOINT_URL_S3", "localhost", "write http://localhost"),
            ("AWS_ENDPOINT_URL", "//minio:9000", "write http://minio:9000"),
            ("AWS_ENDPOINT", "s3://minio", "write http://minio"),
            ("AWS_ENDPOINT_URL", "\"http://minio:9000\"", "quotation mark"),
            ("AWS_ENDPOINT_URL", "'http://minio:9000'", "quotation mark"),
            ("AWS_ENDPOINT_URL", " http://minio:9000", "blanks around"),
            ("AWS_ENDPOINT_URL", "http://minio:9000\t", "blanks around"),
            ("AWS_ENDPOINT_URL", "http://", "not a URL"),
            ("AWS_ENDPOINT_URL", "http://minio:port", "not a URL"),
            ("AWS_ENDPOINT_URL", "http://min io", "not a URL"),
            ("AWS_ENDPOINT_URL", "http://a:secret@minio", "password"),
            ("AWS_ENDPOINT_URL", "http://minio/?x=1", "query"),
            ("AWS_ENDPOINT_URL", "http://minio/a|b", "URL of the server alone"),
            ("AWS_ENDPOINT_URL_STS", "sts.internal", "write http://sts.internal"),
            ("AWS_METADATA_ENDPOINT", "169.254.169.254", "write http://"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x", "not a URL"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "v2/x", "slash"),
            ("GOOGLE_BASE_URL", "localhost:4443", "not a URL"),
            ("AZURE_STORAGE_ENDPOINT", "localhost:10000", "write http://localhost:10000"),
            ("AZURE_ENDPOINT", "localhost:10000/acc", "not a URL"),
            ("AZURITE_BLOB_STORAGE_URL", "127.0.0.1:10000", "not a URL"),
            ("AZURE_STORAGE_AUTHORITY_HOST", "login.microsoftonline.com", "write http"),
            ("AZURE_MSI_ENDPOINT", "x", "not a URL"),
            ("AWS_REGION", "us east", "a region such as us-east-1"),
            ("AWS_REGION", "us-east-1/", "a region"),
            ("AWS_REGION", "xn--a", "a region"),
            ("AWS_DEFAULT_REGION", "\"us-east-1\"", "quotation mark"),
            ("AWS_REGION", "us-east-1 ", "blanks"),
            ("AZURE_STORAGE_ACCOUNT", "https://acc.blob.core.windows.net", "name alone"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "a b", "name alone"),
            ("AZURE_STORAGE_TENANT_ID", "a b", "letters"),
            ("AWS_PROXY_URL", "http://", "proxy"),
            ("AZURE_PROXY_URL", "socks9://x", "proxy"),
            ("HTTPS_PROXY", "http://pro xy", "proxy"),
            ("AWS_ACCESS_KEY_ID", "AKIA\nX", "line break"),
            ("AWS_SESSION_TOKEN", "a\r\nb", "line break"),
            ("AWS_SECRET_ACCESS_KEY", "a\nb", "line break"),
            ("AWS_ACCESS_KEY_ID", "'AKIA'", "quotation mark"),
            ("GOOGLE_BEARER_TOKEN", "ya29–x", "ASCII"),
            ("AWS_DEFAULT_CONTENT_TYPE", "é", "ASCII"),
        ];
        for (name, value, reason) in cases {
            let refused = check(name, trimmed(name, value)).expect_err(name);
            assert!(refused.contains(reason), "{name}={value:?}: {refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn what_works_is_left_alone_but_for_the_ends() {
        let cases = [
            ("AWS_ENDPOINT_URL", "http://minio_server:9000/\n", "http://minio_server:9000"),
            ("AWS_ENDPOINT_URL", "https://[::1]:9000/s3", "https://[::1]:9000/s3"),
            ("AWS_ENDPOINT_URL", "https://münchen.example", "https://xn--mnchen-3ya.example"),
            (
                "AZURE_STORAGE_ENDPOINT",
                "http://127.0.0.1:10000/devstoreaccount1",
                "http://127.0.0.1:10000/devstoreaccount1",
            ),
            ("AWS_REGION", "eu-north-1\r\n", "eu-north-1"),
            ("AWS_REGION", "my_minio", "my_minio"),
            ("AWS_SECRET_ACCESS_KEY", " s/e+c=r\n", "s/e+c=r"),
            ("AWS_SESSION_TOKEN", "t\n", "t"),
            ("AWS_ACCESS_KEY_ID", "\tAKIA \n", "AKIA"),
            ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=a%2B\n", "?sv=1&sig=a%2B"),
            ("GOOGLE_SERVICE_ACCOUNT_KEY", "{\n\"a\": 1}\n", "{\n\"a\": 1}"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/tö ken", "/var/run/tö ken"),
            ("AWS_ALLOW_HTTP", "true", "true"),
            ("HTTPS_PROXY", "proxy:3128", "proxy:3128"),
            ("https_proxy", "http://user:pass@proxy:3128", "http://user:pass@proxy:3128"),
            ("AZURE_STORAGE_USE_EMULATOR", "true", "true"),
            ("AZURE_USE_FABRIC_ENDPOINT", "false", "false"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(check(name, trimmed(name, value)).as_deref(), Ok(expected), "{name}={value:?}");
        }
    }
}
