//! Real servers on this machine, object stores and MLflow's, started by a test and ended with it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headstart::store::{Environment, Stores};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The bucket that each server has.
pub const BUCKET: &str = "headstart-test";
/// Longest start of a server.
const PATIENCE: Duration = Duration::from_secs(60);
/// An account of Azurite's, and its key in base 64.
const ACCOUNT: &str = "headstart";
const KEY: &str = "dGhpcyBpcyBubyBzZWNyZXQsIGJ1dCBhIHRlc3Q=";
/// Makes a bucket in moto: a PUT without a signature.
const MOTO: &str = "
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + '/' + sys.argv[2], method='PUT')).read()
";
/// Makes a container in Azurite: a PUT signed with the account's key.
const AZURITE: &str = "
import base64, email.utils, hashlib, hmac, sys, urllib.request
endpoint, box, account, key = sys.argv[1:]
headers = {'x-ms-date': email.utils.formatdate(usegmt=True), 'x-ms-version': '2021-08-06'}
text = 'PUT' + 12 * '\\n' + ''.join(f'{name}:{value}\\n' for name, value in headers.items())
text += f'/{account}/{account}/{box}\\nrestype:container'
mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
headers['Authorization'] = f'SharedKey {account}:{base64.b64encode(mac).decode()}'
url = f'{endpoint}/{box}?restype=container'
urllib.request.urlopen(urllib.request.Request(url, method='PUT', headers=headers)).read()
";

/// A server with one empty bucket.
pub struct Server {
    process: Child,
    address: String,
    kind: Kind,
    _files: TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Azure,
    Mlflow,
}

impl Server {
    /// moto's S3.
    pub fn moto() -> Server {
        let server = Server::start("HEADSTART_MOTO", Kind::S3, |command, [host, port], _| {
            command.args(["-H", host, "-p", port]);
        });
        python(MOTO, &[&format!("http://{}", server.address), BUCKET]);
        server
    }

    /// S3 as s3s-fs has it, over a directory.
    pub fn s3s_fs() -> Server {
        Server::start("HEADSTART_S3S_FS", Kind::S3, |command, [host, port], files| {
            std::fs::create_dir(files.join(BUCKET)).expect("the directory is writable");
            command.args(["--host", host, "--port", port, "--access-key", "test", "--secret-key", "test"]);
            command.arg(files);
        })
    }

    /// Azurite's blob storage.
    pub fn azurite() -> Server {
        let server = Server::start("HEADSTART_AZURITE", Kind::Azure, |command, [host, port], files| {
            command.args(["--blobHost", host, "--blobPort", port, "--loose", "--skipApiVersionCheck"]);
            command.args(["--silent", "--disableTelemetry", "--location"]).arg(files);
            command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
        });
        python(AZURITE, &[&format!("http://{}/{ACCOUNT}", server.address), BUCKET, ACCOUNT, KEY]);
        server
    }

    /// MLflow's tracking server, over a database in a file.
    pub fn mlflow() -> Server {
        let server = Server::start("HEADSTART_TRACKERS", Kind::Mlflow, |command, [host, port], files| {
            command.args(["-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1"]);
            command.args(["--backend-store-uri", &format!("sqlite:///{}/mlflow.db", files.display())]);
            command.arg("--default-artifact-root").arg(files).current_dir(files);
            // It would import packages that are not installed.
            command.env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
        });
        let began = Instant::now();
        while !server.is_healthy() {
            assert!(began.elapsed() < PATIENCE, "MLflow's server does not become healthy");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Whether `/health` is answered with 200.
    fn is_healthy(&self) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The environment that leads clients to this server.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let variables = match self.kind {
            Kind::S3 => vec![
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ACCESS_KEY_ID", "test".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
            Kind::Azure => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("{endpoint}/{ACCOUNT}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ],
            Kind::Mlflow => vec![("MLFLOW_TRACKING_URI", endpoint)],
        };
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Its bucket, as a URL; of MLflow, its address.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::S3 => format!("s3://{BUCKET}"),
            Kind::Azure => format!("az://{BUCKET}"),
            Kind::Mlflow => format!("http://{}", self.address),
        }
    }

    /// Stores that lead to this server.
    pub fn stores(&self) -> Stores {
        Stores::new(Environment::new(self.environment()), Duration::from_secs(10))
    }

    /// Starts the program that an environment variable names, and waits until it takes connections.
    fn start(variable: &str, kind: Kind, set: impl FnOnce(&mut Command, [&str; 2], &Path)) -> Server {
        let program = std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} names a server's program: run `make test`"));
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let (host, port) = address.split_once(':').expect("host and port");
        let files = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program);
        set(&mut command, [host, port], files.path());
        // Some start processes of their own, which must end with them.
        command.process_group(0);
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{variable}: {error}"));
        let server = Server { process, address, kind, _files: files };
        let began = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            assert!(began.elapsed() < PATIENCE, "{variable}: the server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// Runs a few lines of Python.
fn python(script: &str, arguments: &[&str]) {
    let done =
        Command::new("python3").arg("-c").arg(script).args(arguments).status().expect("python3 starts");
    assert!(done.success(), "{script}");
}
