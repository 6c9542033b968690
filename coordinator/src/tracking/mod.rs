//! Metrics on their way to trackers, off the path of the steps.
//!
//! What a tracker is sent is what was committed, no more: a run that goes on from a commit repeats nothing that was sent. Each
//! tracker has a task of its own. A commit leaves all metrics so far in one place, in which the next commit replaces them; a task
//! looks there when it is free. So a tracker that is slow or gone holds no queue, delays nothing, and catches up at any later
//! commit. Which lines a tracker has is never remembered here: the tracker itself is asked, once a coordinator and after each
//! failure.

mod lines;
mod mlflow;
mod tensorboard;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::mlflow::{Server, Variables};
use headstart::run_file::{RunSpec, Tracker as Name};
use headstart::store::Location;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::journal::{self, JournalError};
use mlflow::Mlflow;
use tensorboard::TensorBoard;

/// Pause after the first failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of a run waits for a tracker that has answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for one that has not.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// How long all is given that nobody waits for.
const UNHURRIED: Duration = Duration::from_secs(60);
/// Bytes of the largest metrics that are read back.
const LARGEST: u64 = 512 << 20;

/// How a run ended, as trackers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finished,
    /// Stopped; it can be resumed.
    Stopped,
    Failed,
    /// Another coordinator goes on.
    HandedOver,
}

impl From<Exit> for End {
    fn from(exit: Exit) -> End {
        match exit {
            Exit::Ok => End::Finished,
            Exit::Interrupted | Exit::Terminated => End::Stopped,
            Exit::Owned | Exit::Storage => End::HandedOver,
            _ => End::Failed,
        }
    }
}

/// What trackers are to know.
#[derive(Clone, Debug, Default)]
struct News {
    /// All metrics that are committed.
    metrics: Arc<str>,
    /// How the run ended, once it has.
    end: Option<End>,
}

/// A service that shows metrics.
trait Tracker: Send + 'static {
    type Error: std::error::Error + Send;

    /// For messages.
    fn name(&self) -> &'static str;

    /// Sends what the tracker has not, asking it what it has if that is not known. It may be dropped at any await.
    fn report(&mut self, news: &News) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The trackers of a run.
#[derive(Debug)]
pub struct Trackers {
    tasks: JoinSet<()>,
    news: Committed,
}

/// Where commits leave their metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committed(Option<Arc<watch::Sender<News>>>);

impl Committed {
    /// Nobody is interested.
    pub fn unheard() -> Committed {
        Committed(None)
    }

    /// Tells of the metrics of a commit: all of them, from the run's first line.
    pub fn tell(&self, metrics: &str) {
        if let Some(news) = &self.0 {
            let metrics = metrics.into();
            news.send_modify(|news| news.metrics = metrics);
        }
    }
}

/// A run as trackers know it.
#[derive(Clone, Copy, Debug)]
pub struct Tracked<'a> {
    pub spec: &'a RunSpec,
    /// Name of the run.
    pub run_id: &'a str,
    /// Its `output_dir`.
    pub output: &'a Location,
    /// What is committed already.
    pub metrics: &'a str,
    /// When it began, in seconds since 1970, if nothing is committed.
    pub began: f64,
}

impl Trackers {
    /// Starts those that the run file names.
    pub fn start(run: Tracked<'_>, variables: &Variables) -> Trackers {
        Trackers::waiting(run, variables, IMPATIENCE)
    }

    /// The same; `impatience` is how long the end waits for a tracker that has not answered.
    fn waiting(run: Tracked<'_>, variables: &Variables, impatience: Duration) -> Trackers {
        let (news, followed) = watch::channel(News { metrics: run.metrics.into(), end: None });
        let mut tasks = JoinSet::new();
        for name in &run.spec.report_to {
            let followed = followed.clone();
            match name {
                Name::TensorBoard => match TensorBoard::new(run.output, run.run_id) {
                    Ok(tracker) => drop(tasks.spawn(follow(tracker, followed, impatience))),
                    Err(error) => warn!("tensorboard: no metrics are written: {error}"),
                },
                Name::Mlflow => match Server::named_by(variables) {
                    Ok(server) => drop(tasks.spawn(follow(Mlflow::new(server, run), followed, impatience))),
                    Err(why) => warn!("mlflow: no metrics are sent: {why}"),
                },
            }
        }
        let news = Committed((!tasks.is_empty()).then(|| Arc::new(news)));
        Trackers { tasks, news }
    }

    /// Where commits leave their metrics.
    pub fn committed(&self) -> Committed {
        self.news.clone()
    }

    /// Tells how the run ended, and waits for the rest to be sent, for some seconds at most.
    pub async fn end(mut self, end: End) {
        if let Some(news) = &self.news.0 {
            news.send_modify(|news| news.end = Some(end));
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Sends what the trackers of a run lack that was complete already: its coordinator may have been killed before it could.
pub async fn catch_up(spec: &RunSpec, output: &Location, variables: &Variables) {
    if spec.report_to.is_empty() {
        return;
    }
    match result(output).await {
        Ok(Some((run_id, metrics))) => {
            let run = Tracked { spec, run_id: &run_id, output, metrics: &metrics, began: 0.0 };
            Trackers::waiting(run, variables, UNHURRIED).end(End::Finished).await;
        }
        Ok(None) => {}
        Err(error) => warn!("trackers: the metrics of the run cannot be read: {error}"),
    }
}

/// Name and metrics of a complete run.
async fn result(output: &Location) -> Result<Option<(String, String)>, JournalError> {
    let Some(log) = journal::find(output).await? else { return Ok(None) };
    let metrics = output.join("final/metrics.jsonl")?.read(LARGEST).await?;
    Ok(Some((log.run_id().to_owned(), String::from_utf8_lossy(&metrics).into_owned())))
}

/// Keeps one tracker up to date until the run ends.
async fn follow(mut tracker: impl Tracker, mut followed: watch::Receiver<News>, impatience: Duration) {
    let name = tracker.name();
    let (mut answers, mut failing, mut pause) = (false, false, FIRST_PAUSE);
    loop {
        let news = followed.borrow_and_update().clone();
        let ended = news.end.is_some();
        if ended && failing {
            return warn!("{name}: the last metrics were not sent; to send them, start the same run again");
        }
        let patience = if answers { PATIENCE } else { impatience };
        let outcome = tokio::select! {
            outcome = tracker.report(&news) => outcome,
            () = end_and(followed.clone(), patience) => {
                return warn!("{name}: no answer; to send the last metrics, start the same run again");
            }
        };
        match outcome {
            Ok(()) if ended => return,
            Ok(()) => {
                if failing {
                    info!("{name} answers again");
                }
                (answers, failing, pause) = (true, false, FIRST_PAUSE);
                if followed.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !failing {
                    warn!("{name}: metrics could not be sent; trying again until the run ends: {error}");
                }
                failing = true;
                tokio::select! {
                    () = sleep(pause) => {}
                    () = end_and(followed.clone(), Duration::ZERO) => {}
                }
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Returns so long after the run's end.
async fn end_and(mut followed: watch::Receiver<News>, patience: Duration) {
    // Whoever drops the sender has ended too.
    let _ = followed.wait_for(|news| news.end.is_some()).await;
    sleep(patience).await;
}
