//! A line between workers and their coordinator, which tests can cut.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A line to a coordinator that can be cut.
pub struct Line {
    url: String,
    far: Arc<Mutex<String>>,
    cut: Arc<Notify>,
}

impl Line {
    /// A line to the coordinator at this URL.
    pub async fn to(coordinator: &str) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (far, cut) = (Arc::default(), Arc::new(Notify::new()));
        let line = Line { url, far, cut };
        line.lead_to(coordinator);
        tokio::spawn(Line::carry(listener, line.far.clone(), line.cut.clone()));
        line
    }

    async fn carry(listener: TcpListener, far: Arc<Mutex<String>>, cut: Arc<Notify>) {
        loop {
            let (mut near, _) = listener.accept().await.expect("it listens");
            let (far, cut) = (far.lock().expect("nobody panics with it").clone(), cut.clone());
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(far).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = cut.notified() => {}
                }
            });
        }
    }

    /// Where workers find this end of it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where new connections end.
    pub fn lead_to(&self, coordinator: &str) {
        let address = coordinator.trim_start_matches("http://").to_owned();
        *self.far.lock().expect("nobody panics with it") = address;
    }

    /// Breaks every connection; new ones can be made at once.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}
