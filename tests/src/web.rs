//! A web server inside the test: it serves a directory, and fails as a test says. S3 clients can read from it too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpSocket;

/// A date for every file.
const MODIFIED: &str = "Tue, 24 Nov 2026 12:00:00 GMT";
/// Time between the bytes of an answer that trickles.
const DRIP: Duration = Duration::from_millis(100);

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// Headers, their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// How many requests with this method and path came before.
    pub before: usize,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Beyond the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What goes wrong while the body is sent.
    pub fault: Option<Fault>,
}

/// What goes wrong while a body is sent.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection ends after half of it.
    Cut,
    /// It comes byte by byte, and takes longer than anybody waits.
    Trickle,
}

/// An address where nobody listens yet, and nobody else can.
pub struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

/// The server; its threads end with the test.
pub struct Web {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Default for Reserved {
    fn default() -> Reserved {
        let socket = TcpSocket::new_v4().expect("sockets can be made");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        Reserved { address: socket.local_addr().expect("it is bound"), socket }
    }
}

impl Reserved {
    /// `http://` and where it will listen.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins to serve what `answer` says.
    pub fn start(self, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Web {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _entered = runtime.enter();
        let listener =
            self.socket.listen(128).and_then(tokio::net::TcpListener::into_std).expect("it is bound");
        listener.set_nonblocking(false).expect("a listener can block");
        Web::on(listener, answer)
    }
}

impl Answer {
    /// An answer with a body.
    pub fn with(status: u16, body: &str) -> Answer {
        Answer { body: body.into(), ..Answer::status(status) }
    }

    /// The same with a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// An answer without a body to speak of.
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: b"<Error/>".to_vec(), fault: None }
    }

    /// A redirection.
    pub fn redirect(to: String) -> Answer {
        Answer { headers: vec![("Location", to)], ..Answer::status(302) }
    }

    /// The same with another etag of its content.
    pub fn etag(mut self, etag: &str) -> Answer {
        self.headers.retain(|(name, _)| *name != "ETag");
        self.headers.push(("ETag", etag.to_owned()));
        self
    }

    /// The same, going wrong.
    pub fn fault(self, fault: Fault) -> Answer {
        Answer { fault: Some(fault), ..self }
    }
}

/// The file below `root` that a request names, or the part of it, as web servers and S3 answer.
pub fn file(root: &Path, request: &Request) -> Answer {
    let path = root.join(request.path.split('?').next().unwrap_or("").trim_start_matches('/'));
    let Ok(content) = std::fs::read(&path) else { return Answer::status(404) };
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::status(405);
    }
    let size = content.len();
    let mut headers = vec![
        ("ETag", format!("\"{size}\"")),
        ("Last-Modified", MODIFIED.to_owned()),
        ("Accept-Ranges", "bytes".into()),
    ];
    let Some(range) = request.headers.get("range") else {
        return Answer { status: 200, headers, body: content, fault: None };
    };
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').expect("one range");
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let last = last.min(size - 1);
    headers.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
    Answer { status: 206, headers, body: content[first..=last].to_vec(), fault: None }
}

impl Web {
    /// Serves what `answer` says, each connection on a thread of its own.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Web {
        Web::on(TcpListener::bind("127.0.0.1:0").expect("a port is free"), answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Web {
        let web = Web { address: listener.local_addr().expect("it is bound"), requests: Arc::default() };
        let (requests, answer) = (web.requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (requests, answer) = (requests.clone(), answer.clone());
                std::thread::spawn(move || serve(connection, &requests, &*answer));
            }
        });
        web
    }

    /// Serves a directory.
    pub fn directory(root: &Path) -> Web {
        let root: PathBuf = root.to_owned();
        Web::start(move |request| file(&root, request))
    }

    /// `http://` and where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request and hangs up.
fn serve(
    connection: TcpStream,
    requests: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Answer,
) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    let request = {
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        let before = requests.iter().filter(|one| one.method == method && one.path == path).count();
        requests.push(Request { method, path, headers, before });
        requests.last()?.clone()
    };
    send(connection, &answer(&request), request.method == "HEAD")
}

fn send(mut connection: TcpStream, answer: &Answer, head: bool) -> Option<()> {
    let Answer { status, headers, body, fault } = answer;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status} Said\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    if head {
        return Some(());
    }
    match fault {
        None => connection.write_all(body).ok(),
        Some(Fault::Cut) => connection.write_all(&body[..length / 2]).ok(),
        Some(Fault::Trickle) => {
            connection.set_read_timeout(Some(DRIP)).ok()?;
            for byte in body {
                connection.write_all(&[*byte]).ok()?;
                // Nothing comes: this waits for the client to hang up, or for the next byte's turn.
                if let Ok(0) = connection.read(&mut [0]) {
                    break;
                }
            }
            Some(())
        }
    }
}
