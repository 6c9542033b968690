//! One stream of server-sent events: the state of the run, at most twice a second, and what is new of its metrics and events.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream as Frames;
use futures::stream::unfold;
use headstart::run_file::hide_secrets;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Loaded;
use super::seats::Seat;
use super::status;
use super::window::Window;
use crate::actor::Status;
use crate::serve::Serving;

/// Time between two messages. A worker's death is seen within two seconds; a run makes hundreds of events a second.
const PERIOD: Duration = Duration::from_millis(500);
/// After this time without news the state is sent again, so that neither the page nor whoever is between takes the connection for lost.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Time until a page tries again when the stream ends, in milliseconds.
const RETRY: u32 = 1000;

/// One reader's stream.
pub(super) struct Stream {
    loaded: Loaded,
    seat: Seat,
    run: Option<Run>,
    /// Whether the reader knows that the run is being loaded.
    greeted: bool,
    over: bool,
}

/// What a reader knows of the run.
struct Run {
    serving: Serving,
    status: watch::Receiver<Status>,
    /// The next line of the metrics, and of the events.
    metrics: u64,
    events: u64,
    window: Window,
    /// Whether the last message was sent.
    ended: bool,
}

impl Stream {
    /// A stream for the reader who has taken this place; the token is cancelled when he loses it.
    pub(super) fn new(loaded: Loaded, seat: Seat) -> (Stream, CancellationToken) {
        let evicted = seat.evicted().clone();
        (Stream { loaded, seat, run: None, greeted: false, over: false }, evicted)
    }

    /// The stream as a body. Each message is made when there is room for it, so that a slow reader gets fewer.
    pub(super) fn frames(self) -> impl Frames<Item = Result<Frame<Bytes>, Infallible>> {
        unfold(self, |mut stream| async {
            let message = stream.next().await?;
            Some((Ok(Frame::data(message.into())), stream))
        })
    }

    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let evicted = self.seat.evicted().clone();
        let message = tokio::select! {
            () = evicted.cancelled() => None,
            message = self.news() => message,
        };
        if message.is_none() {
            self.over = true;
            // The page is not to come back by itself, or it would evict another one that does the same.
            return evicted.is_cancelled().then(|| event("evicted", "{}"));
        }
        message
    }

    /// What is new; `None` after the end of the run.
    async fn news(&mut self) -> Option<String> {
        let closing = self.seat.closing();
        if let Some(run) = &mut self.run {
            return run.news(closing).await;
        }
        if !self.greeted && self.loaded.get().is_none() {
            self.greeted = true;
            return Some(format!("retry: {RETRY}\n{}", loading()));
        }
        let waited = timeout(HEARTBEAT, async {
            while self.loaded.get().is_none() && !closing.is_cancelled() {
                sleep_unless(closing, PERIOD).await;
            }
        });
        let waited = waited.await;
        // A run may be loaded and end between two looks.
        let Some(serving) = self.loaded.get() else { return waited.is_err().then(loading) };
        let mut run = Run::new(serving.clone());
        let hello = run.hello();
        self.run = Some(run);
        Some(hello)
    }
}

impl Run {
    fn new(serving: Serving) -> Run {
        let (status, metrics) = (serving.handle.status(), serving.handle.history().next());
        Run { serving, status, metrics, events: 0, window: Window::default(), ended: false }
    }

    /// What a page begins with. It then asks for the metrics so far; those from now on follow here.
    fn hello(&mut self) -> String {
        let term = format!("{}-{}", self.serving.facts.epoch.0, self.serving.clock.started_unix());
        let hello = serde_json::json!({"coordinator": term});
        format!("retry: {RETRY}\n{}{}", event("hello", &hello.to_string()), self.message())
    }

    async fn news(&mut self, closing: &CancellationToken) -> Option<String> {
        if self.ended {
            return None;
        }
        // The status changes with every event: whoever waited for that would wake as often.
        sleep_unless(closing, PERIOD).await;
        if self.status.has_changed().is_ok_and(|changed| !changed) {
            tokio::select! {
                _ = self.status.changed() => {}
                () = sleep_unless(closing, HEARTBEAT) => {}
            }
        }
        self.ended = closing.is_cancelled() || self.status.borrow().ended.is_some();
        Some(self.message())
    }

    /// State, metrics and events as they are now.
    fn message(&mut self) -> String {
        let status = self.status.borrow_and_update().clone();
        self.window.note(self.serving.clock.elapsed(), &status.snapshot.workers);
        let mut message = String::new();
        let (next, lines) = self.serving.handle.history().since(self.metrics);
        self.metrics = next;
        message.push_str(&list("metrics", lines.iter().map(AsRef::as_ref)));
        let (next, lines) = self.serving.handle.events().since(self.events);
        self.events = next;
        let lines: Vec<String> = lines.iter().map(|line| shown(line)).collect();
        message.push_str(&list("events", lines.iter().map(String::as_str)));
        let state = status::describe(&self.serving, &status, &self.window);
        message.push_str(&event("status", &state.to_string()));
        message
    }
}

async fn sleep_unless(closing: &CancellationToken, time: Duration) {
    // Both ends are the same here.
    let _ = timeout(time, closing.cancelled()).await;
}

/// A message of a stream. The data are one line of JSON.
fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A message with lines of JSON as a list; nothing for none.
fn list<'a>(name: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let mut data = String::new();
    for line in lines {
        let separator = if data.is_empty() { '[' } else { ',' };
        write!(data, "{separator}{line}").expect("a String takes everything");
    }
    if data.is_empty() { data } else { event(name, &format!("{data}]")) }
}

/// An event without what URLs in it hold beside their places.
fn shown(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(mut event) if line.contains("://") => {
            hide_secrets(&mut event);
            event.to_string()
        }
        // Lines of an earlier coordinator come from a store; a line that is no JSON would spoil the message.
        Err(_) => "null".to_owned(),
        Ok(_) => line.to_owned(),
    }
}

fn loading() -> String {
    event("status", &status::loading().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::seats::{SEATS, Seats};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn before_the_run_is_loaded_a_stream_says_so_and_stays_alive() {
        let seats = Seats::default();
        let (mut stream, _) = Stream::new(Loaded::default(), seats.take());
        let first = stream.next().await.expect("a message");
        assert_eq!(first, "retry: 1000\nevent: status\ndata: {\"state\":\"loading\"}\n\n");
        let again = "event: status\ndata: {\"state\":\"loading\"}\n\n";
        assert_eq!(stream.next().await.as_deref(), Some(again), "after a while");
    }

    #[tokio::test(start_paused = true)]
    async fn an_evicted_stream_says_so_and_ends() {
        let seats = Seats::default();
        let (mut stream, evicted) = Stream::new(Loaded::default(), seats.take());
        stream.next().await.expect("a message");
        let others: Vec<Seat> = (0..SEATS).map(|_| seats.take()).collect();
        assert!(evicted.is_cancelled());
        assert_eq!(stream.next().await.as_deref(), Some("event: evicted\ndata: {}\n\n"));
        assert_eq!(stream.next().await, None);
        drop(others);
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_run_is_loaded_a_stream_ends_when_the_process_does() {
        let seats = Seats::default();
        let (mut stream, _) = Stream::new(Loaded::default(), seats.take());
        stream.next().await.expect("a message");
        let (next, ()) = tokio::join!(stream.next(), async {
            let _ = timeout(PERIOD / 2, seats.close()).await;
        });
        assert_eq!(next, None);
    }

    #[test]
    fn lines_become_one_message() {
        assert_eq!(
            list("metrics", ["{\"step\":1}", "{\"step\":2}"].into_iter()),
            event("metrics", "[{\"step\":1},{\"step\":2}]")
        );
        assert_eq!(list("metrics", std::iter::empty()), "");
        assert_eq!(
            shown("{\"reason\":\"https://me:secret@host/a?sig=secret\"}"),
            "{\"reason\":\"https://host/a\"}"
        );
        assert_eq!(shown("no JSON"), "null");
    }
}
