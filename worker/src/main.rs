//! The `headstart-worker` program.

#![allow(unsafe_code)]

use std::io::{Read, Write};

use clap::Parser;
use headstart::exit::Exit;
use headstart::host;
use headstart::message::StopReason;
use headstart::telemetry;
use headstart_worker::config::{Command, Config};
use headstart_worker::error::WorkerError;
use headstart_worker::platform::Platform;
use headstart_worker::predict::{self, Failed};
use headstart_worker::scratch::Scratch;
use headstart_worker::settings::Settings;
use headstart_worker::{session, torch};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// Bytes for accumulators where the system does not say how much memory is free.
const ACCUMULATORS: u64 = 1 << 30;

fn main() -> ! {
    let config = Config::parse();
    let fixed = torch::fix_environment();
    let telemetry = telemetry::start("headstart-worker", config.log_format, telemetry::USUAL);
    if let Err(error) = fixed {
        warn!(%error, "libtorch's settings could not be fixed; this worker may be refused");
    }
    let exit = run(config);
    telemetry.end();
    // libtorch may still be computing on its thread: destructors must not pull its memory from under it.
    // SAFETY: ends the process at once; nothing of it runs afterwards.
    unsafe { nix::libc::_exit(exit as i32) }
}

fn run(config: Config) -> Exit {
    let device = match torch::choose_device(&config.device) {
        Ok(device) => device,
        Err(error) => return fail(Exit::Usage, &error.to_string()),
    };
    if config.check {
        println!("{}", torch::describe(&device, config.threads.unwrap_or(1)));
        return Exit::Ok;
    }
    if config.command == Some(Command::Predict) {
        return predicted(predict::run(device, std::io::stdin().lock()));
    }
    let cache = match cache_directory(&config) {
        Ok(cache) => cache,
        Err(error) => return fail(Exit::Internal, &format!("cache directory: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error.to_string()),
    };
    let settings = Settings {
        coordinator: config.coordinator,
        name: format!("{} {}", host::name(), std::process::id()),
        device,
        threads: config.threads,
        cache: Some(cache.path().to_owned()),
        memory: host::free_memory().map_or(ACCUMULATORS, |bytes| bytes / 2),
        platform: Platform::default(),
    };
    runtime.block_on(async {
        tokio::select! {
            ended = session::run(settings, torch::make_trainer) => report(ended),
            (exit, why) = told_to_end(config.exit_with_parent) => {
                info!(why, "ended; the lease goes to another worker");
                exit
            }
        }
    })
}

/// Ends a prediction as a command of a person's.
fn predicted(ended: Result<(), Failed>) -> Exit {
    let Err(error) = ended else { return Exit::Ok };
    // Nobody is left who could be told that standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "error: {error}");
    error.exit()
}

fn report(ended: Result<(), WorkerError>) -> Exit {
    match ended {
        Ok(()) => Exit::Ok,
        Err(WorkerError::Stopped { reason: StopReason::Finished | StopReason::Stopped, detail }) => {
            info!(detail, "ended");
            Exit::Ok
        }
        Err(error) => fail(error.exit(), &error.to_string()),
    }
}

/// Waits for a signal, or for the end of the process that started this one.
async fn told_to_end(with_parent: bool) -> (Exit, &'static str) {
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be handled on this system");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be handled on this system");
    tokio::select! {
        _ = interrupt.recv() => (Exit::Interrupted, "SIGINT"),
        _ = terminate.recv() => (Exit::Terminated, "SIGTERM"),
        () = parent_gone(), if with_parent => (Exit::Terminated, "the parent process is gone"),
    }
}

/// Waits for the end of standard input. It reads on a separate thread, because a read cannot be cancelled.
async fn parent_gone() {
    let (gone, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        // Nobody waits any more when the run is over.
        let _ = gone.send(());
    });
    // An error would mean that the thread is gone, which is as final.
    let _ = told.await;
}

/// The cache directory: a given one, which is kept, or a temporary one, which is removed with the worker.
enum Cache {
    Given(std::path::PathBuf),
    Own(Scratch),
}

impl Cache {
    fn path(&self) -> &std::path::Path {
        match self {
            Cache::Given(path) => path,
            Cache::Own(directory) => directory.path(),
        }
    }
}

fn cache_directory(config: &Config) -> std::io::Result<Cache> {
    match &config.cache {
        Some(path) => std::fs::create_dir_all(path).map(|()| Cache::Given(path.clone())),
        None => Scratch::new_in(&std::env::temp_dir()).map(Cache::Own),
    }
}

fn fail(exit: Exit, detail: &str) -> Exit {
    error!("{detail}");
    exit
}
