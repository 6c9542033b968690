//! The one loop that owns the child processes: it hears of everything, and every phase has a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::client::{Client, ClientError, RunStatus, State};
use headstart::exit::Exit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::StartError;
use super::dashboard::Port;
use super::follow::follow;
use super::phase::{Event, Phase, STOP_PATIENCE, Setting};
use super::process::{self, Ended, Handle, Order, Who};
use super::progress::Progress;
use crate::cli::console::{Console, printable};
use crate::cli::format;

/// Events that may wait for the loop.
const INBOX: usize = 256;

/// Time for an answer that is on its way when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Owner of the child processes.
pub(super) struct Supervisor {
    setting: Setting,
    progress: Progress,
    console: Console,
    events: mpsc::Sender<Event>,
    children: BTreeMap<Who, Handle>,
    phase: Phase,
    deadline: Instant,
    url: Option<String>,
    status: Option<RunStatus>,
    exit: Option<u8>,
    /// A request to stop has not been answered yet.
    asked: bool,
    /// Exit code of the worker that was lost last.
    lost: Option<u8>,
    at_work: Option<RunStatus>,
}

/// A run that is over.
pub(super) struct Ran {
    pub(super) code: u8,
    /// The display.
    pub(super) progress: Progress,
    /// The last status in which a worker had computed something.
    pub(super) at_work: Option<RunStatus>,
}

impl Supervisor {
    /// Starts the coordinator; on failure the display comes back with the reason.
    #[allow(clippy::result_large_err, reason = "once a run, and the caller goes on with both")]
    pub(super) fn start(
        setting: Setting,
        progress: Progress,
        console: Console,
    ) -> Result<(Supervisor, mpsc::Receiver<Event>), (StartError, Progress)> {
        let (events, inbox) = mpsc::channel(INBOX);
        let started = listen_for_signals(&events).and_then(|()| {
            let mut arguments =
                vec![setting.run_file.to_string_lossy().into_owned(), "--exit-with-parent".into()];
            arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
            arguments.extend(setting.port.iter().flat_map(Port::arguments));
            let into = setting.probe_into.iter();
            arguments.extend(into.map(|path| format!("--probe-into={}", path.display())));
            arguments.extend(setting.sets.iter().map(|set| format!("--set={set}")));
            process::start(Who::Coordinator, &setting.coordinator, &arguments, &console, &events)
        });
        let coordinator = match started {
            Ok(coordinator) => coordinator,
            Err(error) => return Err((error, progress)),
        };
        let supervisor = Supervisor {
            setting,
            progress,
            console,
            events,
            children: BTreeMap::from([(Who::Coordinator, coordinator)]),
            phase: Phase::Preparing,
            deadline: Instant::now() + Phase::Preparing.limit(),
            url: None,
            status: None,
            exit: None,
            asked: false,
            lost: None,
            at_work: None,
        };
        Ok((supervisor, inbox))
    }

    /// Runs until no child is left.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Ran {
        while !self.children.is_empty() && self.phase != Phase::GivenUp {
            let event = tokio::select! {
                event = inbox.recv() => Some(event.expect("the supervisor holds a sender itself")),
                () = sleep_until(self.deadline) => None,
            };
            match event {
                Some(event) => self.hear(event),
                None => self.late(),
            }
        }
        while self.asked {
            match timeout(LAST_WORDS, inbox.recv()).await {
                Ok(Some(event)) => self.hear(event),
                Ok(None) | Err(_) => break,
            }
        }
        self.progress.close();
        let code = self.exit.unwrap_or(Exit::Internal as u8);
        Ran { code, progress: self.progress, at_work: self.at_work }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Admin(url) if self.setting.port.as_ref().is_some_and(|port| port.asked) => {
                self.console.err(&format!("admin on {url}"));
            }
            Event::Admin(_) => {}
            Event::Dashboard(url) => self.console.err(&format!("dashboard on {url}")),
            Event::Listening(url) => self.listening(url),
            Event::Loading(loading) if self.phase == Phase::Preparing => {
                self.progress.loading(loading, std::time::Instant::now());
            }
            // The coordinator is a child: its end is heard of.
            Event::Loading(_) | Event::Silent(_) => {}
            Event::Status(status) => self.note(*status),
            Event::Signal(exit) => self.signalled(exit),
            Event::Stopped(answer) => self.stopped(answer),
            Event::Ended(who, ended) => {
                let Some(child) = self.children.remove(&who) else { return };
                match who {
                    Who::Coordinator => self.coordinator_ended(child.process, &ended),
                    Who::Worker(_) => self.worker_ended(who, child.process, &ended),
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        let order = match phase {
            Phase::Terminating => Order::Terminate,
            Phase::Killing => Order::Kill,
            _ => Order::Live,
        };
        for child in self.children.values() {
            child.order(order);
        }
        self.phase = phase;
        self.deadline = Instant::now() + phase.limit();
    }

    /// A phase has lasted too long.
    fn late(&mut self) {
        let limit = format::duration(self.phase.limit());
        match self.phase {
            Phase::Preparing => {
                self.fail(Exit::Internal, &format!("the coordinator is not ready after {limit}"));
            }
            Phase::Running => {
                self.fail(Exit::Unreachable, &format!("the coordinator has been silent for {limit}"));
            }
            Phase::Stopping => self.fail(Exit::Internal, &format!("the run has not ended within {limit}")),
            Phase::Parting => self.enter(Phase::Terminating),
            Phase::Terminating => self.enter(Phase::Killing),
            Phase::Killing | Phase::GivenUp => {
                for (who, child) in &self.children {
                    self.console.err(&format!("error: {who} (process {}) cannot be ended", child.process));
                }
                self.phase = Phase::GivenUp;
            }
        }
    }

    fn fail(&mut self, exit: Exit, reason: &str) {
        self.console.err(&format!("error: {reason}: ending everything"));
        self.exit.get_or_insert(exit as u8);
        self.enter(Phase::Terminating);
    }

    fn listening(&mut self, url: String) {
        if self.phase != Phase::Preparing {
            return;
        }
        tokio::spawn(follow(url.clone(), self.events.clone()));
        let mut arguments = vec!["--coordinator".into(), url.clone(), "--exit-with-parent".into()];
        arguments.extend(["--device".into(), self.setting.device.clone()]);
        for who in (1..=self.setting.workers).map(Who::Worker) {
            match process::start(who, &self.setting.worker, &arguments, &self.console, &self.events) {
                Ok(child) => self.children.insert(who, child),
                Err(error) => return self.fail(error.exit(), &error.to_string()),
            };
        }
        self.url = Some(url);
        self.enter(Phase::Running);
    }

    fn note(&mut self, status: RunStatus) {
        if matches!(self.phase, Phase::Terminating | Phase::Killing) {
            return;
        }
        if self.status.is_none() {
            self.progress.begin(&status, self.setting.workers, self.url.as_deref().unwrap_or_default());
        }
        self.progress.update(&status, std::time::Instant::now());
        if status.workers.iter().any(|worker| worker.shard_seconds.is_finite()) {
            self.at_work = Some(status.clone());
        }
        let enough = self.setting.stop_after.is_some_and(|steps| status.step >= steps) && !status.ended();
        self.status = Some(status);
        if self.phase == Phase::Running {
            self.enter(Phase::Running);
            match enough {
                true => self.ask_to_stop("enough steps are made"),
                false => self.check_enough(),
            }
        }
    }

    fn signalled(&mut self, exit: Exit) {
        match self.phase {
            Phase::Running if self.status.is_some() => {
                self.exit = Some(exit as u8);
                self.console.err("stopping after the step in flight; Ctrl-C again ends everything at once");
                let reason = if exit == Exit::Interrupted { "interrupted" } else { "terminated" };
                self.ask_to_stop(reason);
            }
            Phase::Preparing | Phase::Running => {
                self.exit = Some(exit as u8);
                self.console.err("ended before the first step: nothing is kept");
                self.enter(Phase::Terminating);
            }
            // What the run came to is known already.
            Phase::Parting => self.enter(Phase::Terminating),
            Phase::Stopping | Phase::Terminating => {
                self.exit.get_or_insert(exit as u8);
                self.enter(Phase::Killing);
            }
            Phase::Killing | Phase::GivenUp => {}
        }
    }

    /// The coordinator repeats the reason as its last error; the user knows it already.
    fn ask_to_stop(&mut self, reason: &'static str) {
        self.console.is_news(reason);
        self.enter(Phase::Stopping);
        let (url, events) = (self.url.clone().unwrap_or_default(), self.events.clone());
        self.asked = true;
        tokio::spawn(async move {
            let answer = match Client::connect(&url).await {
                Ok(client) => client.stop(reason, STOP_PATIENCE).await,
                Err(error) => Err(error),
            };
            // Nobody listens any more when everything is over.
            let _ = events.send(Event::Stopped(answer)).await;
        });
    }

    fn stopped(&mut self, answer: Result<String, ClientError>) {
        self.asked = false;
        match answer {
            Ok(kept) => self.progress.kept(&kept),
            // The coordinator is gone, or will be in a moment.
            Err(_) if self.phase != Phase::Stopping => {}
            Err(error) => {
                self.console.err(&format!("error: {}", printable(&error.to_string())));
                self.enter(Phase::Terminating);
            }
        }
    }

    fn coordinator_ended(&mut self, process: u32, ended: &Ended) {
        let deliberate = matches!(self.phase, Phase::Terminating | Phase::Killing);
        let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
        if code != Some(0) && !deliberate {
            let said = self.status.as_ref().filter(|status| status.ended()).map(|status| &status.detail);
            match ended.error.as_ref().or(said) {
                Some(error) if self.console.is_news(error) => {
                    self.console.err(&format!("coordinator: {}", printable(error)));
                }
                Some(_) => {}
                None => {
                    self.console.err(&format!("error: the coordinator (process {process}) {}", ended.how()))
                }
            }
        }
        self.exit.get_or_insert(code.unwrap_or(Exit::Internal as u8));
        if !deliberate {
            self.enter(Phase::Parting);
        }
    }

    fn worker_ended(&mut self, who: Who, process: u32, ended: &Ended) {
        let left = self.workers_left();
        if ended.status.success() {
            // A worker ends well only when it is told to: then so does the coordinator, within a moment.
            if left == 0 && self.phase == Phase::Running {
                self.enter(Phase::Stopping);
            }
            return;
        }
        let code = ended.status.code();
        let follows_coordinator = code.is_none_or(|code| code == Exit::Unreachable as i32);
        match self.phase {
            Phase::Terminating | Phase::Killing => return,
            // Its session broke when the coordinator went away.
            Phase::Parting if follows_coordinator => return,
            _ => self.show_error(who, ended),
        }
        let over = self.status.as_ref().is_some_and(RunStatus::ended);
        if over || self.phase != Phase::Running {
            return;
        }
        self.lost = Some(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Internal as u8));
        let follows = match left {
            0 => "no worker is left, so the run is stopped".to_owned(),
            left => format!("the run goes on with {}", format::workers(left)),
        };
        self.console.err(&format!("{who} (process {process}) {}; {follows}", ended.how()));
        match left {
            0 => self.stop_without_workers(),
            _ => self.check_enough(),
        }
    }

    /// A worker's last error, unless it is the coordinator's, or another worker's.
    fn show_error(&self, who: Who, ended: &Ended) {
        let Some(error) = &ended.error else { return };
        let of_the_run = self.status.as_ref().is_some_and(|status| status.ended() && status.detail == *error);
        if !of_the_run && self.console.is_news(error) {
            self.console.err(&format!("{who}: {error}"));
        }
    }

    fn workers_left(&self) -> usize {
        self.children.keys().filter(|who| matches!(who, Who::Worker(_))).count()
    }

    /// Ends a run that waits for workers who will not come.
    fn check_enough(&mut self) {
        let (left, needed) = (self.workers_left(), self.setting.min_workers);
        let waits = self.status.as_ref().is_some_and(|status| status.state == State::Waiting);
        if self.lost.is_some() && waits && left < needed as usize {
            let left = format::workers(left);
            self.console.err(&format!(
                "error: the run waits for {needed} workers (cluster.min_workers), but only {left} can come: it is stopped"
            ));
            self.stop_without_workers();
        }
    }

    fn stop_without_workers(&mut self) {
        self.exit = self.exit.or(self.lost);
        self.ask_to_stop("too few workers are left");
    }
}

fn listen_for_signals(events: &mpsc::Sender<Event>) -> Result<(), StartError> {
    for (kind, exit) in
        [(SignalKind::interrupt(), Exit::Interrupted), (SignalKind::terminate(), Exit::Terminated)]
    {
        tokio::spawn(pass_on(signal(kind)?, exit, events.clone()));
    }
    Ok(())
}

async fn pass_on(mut signal: Signal, exit: Exit, events: mpsc::Sender<Event>) {
    while signal.recv().await.is_some() && events.send(Event::Signal(exit)).await.is_ok() {}
}
