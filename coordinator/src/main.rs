//! The `headstart-coordinator` program.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use headstart::checkpoint::{Loading, Progress};
use headstart::exit::Exit;
use headstart::mlflow::Variables;
use headstart::run_file::{InitFrom, Metric, RunSpec, Strategy};
use headstart::{host, job, run_file, telemetry};
use headstart_coordinator::admin::Admin;
use headstart_coordinator::config::Config;
use headstart_coordinator::dashboard;
use headstart_coordinator::journal;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::serve::{Identity, Platform, Serving, serve};
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// Time between two lines about loading.
const LOADING_EVERY: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let config = Config::parse();
    let telemetry = telemetry::start("headstart-coordinator", config.log_format, telemetry::USUAL);
    if config.exit_with_parent {
        std::thread::spawn(exit_with_parent);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error.to_string()),
    };
    let code = match runtime.block_on(run(config)) {
        Ok((Exit::Ok, detail)) => {
            info!(detail, "ended");
            Exit::Ok.into()
        }
        Ok((exit, detail)) | Err((exit, detail)) => fail(exit, &detail),
    };
    telemetry.end();
    runtime.shutdown_background();
    code
}

async fn run(config: Config) -> Result<(Exit, String), (Exit, String)> {
    let (spec, ignored) =
        run_file::load_noting(&config.run_file, &config.sets).map_err(|e| (Exit::Usage, e.to_string()))?;
    match (ignored.is_empty(), config.exit_with_parent) {
        (true, _) => {}
        // `headstart train`, which started this program, has told its user.
        (false, true) => info!("{ignored}"),
        (false, false) => warn!("{ignored}"),
    }
    let socket =
        bind(config.listen).map_err(|e| (Exit::Usage, format!("--listen {}: {e}", config.listen)))?;
    let dashboard = dashboard(&config, &spec).await?;
    let admin = config.admin.map(|address| answer_on(address, config.listen, dashboard)).transpose()?;
    // From here on, because the first process of a container ignores a signal that it has no handler for.
    let mut stop = Box::pin(stop_signal());
    let prepared = async {
        let job = job::prepare(&spec).await.map_err(|e| (e.exit(), e.to_string()))?;
        job.check_output().await.map_err(|e| (e.exit(), e.to_string()))?;
        Ok(job)
    };
    let job = tokio::select! {
        job = prepared => job?,
        (why, exit) = &mut stop => return Err((exit, format!("{why} before the run began"))),
    };
    let resolution = &job.network.resolution;
    match spec.init {
        // Worth a look: a head is expected to be new, a layer is not.
        InitFrom::Pretrained if !resolution.is_exact() => warn!("{resolution}"),
        InitFrom::Pretrained | InitFrom::Random => info!("{resolution}"),
    }
    for warning in &job.network.warnings {
        warn!("{warning}");
    }
    let progress = job.network.progress();
    let loading = config.exit_with_parent.then(|| tokio::spawn(announce_loading(progress.clone())));
    let ready = |serving: Serving| {
        if let Some(loading) = loading {
            loading.abort();
            announce_loaded(progress_of(&progress));
        }
        let address = serving.address;
        if let Some(admin) = &admin {
            admin.serving(serving);
        }
        announce(&format!("listening on http://{address}"));
    };
    let identity = identity(&config.advertise, &socket)
        .map_err(|e| (Exit::Internal, format!("--listen {}: {e}", config.listen)))?;
    let variables = Variables::of_process();
    let platform = Platform { listen: socket, pool: Pool::Threads, variables };
    let served = serve(platform, job, identity, config.probe_into, ready, stop).await;
    if let Some(admin) = &admin {
        admin.farewell().await;
    }
    served.map_err(|e| (e.exit(), e.to_string()))
}

/// Takes the address, before anything that takes long.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The URL under which other coordinators on the same `output_dir` find this one.
fn identity(advertise: &Option<String>, socket: &TcpSocket) -> std::io::Result<Identity> {
    let address = socket.local_addr()?;
    let owner = match advertise {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => format!("http://{}:{}", host::name(), address.port()),
        None => format!("http://{address}"),
    };
    let random = RandomState::new();
    let nonce = format!("{:016x}{:08x}", random.hash_one(address), random.hash_one(std::process::id()) >> 32);
    Ok(Identity { owner, nonce, dial: journal::owner::dial() })
}

/// Opens the admin port, which says from here on how far the run is.
fn answer_on(
    address: SocketAddr,
    listen: SocketAddr,
    dashboard: Option<dashboard::Settings>,
) -> Result<Admin, (Exit, String)> {
    let refused = |why: String| (Exit::Usage, format!("--admin {address}: {why}"));
    let same_host =
        address.ip() == listen.ip() || address.ip().is_unspecified() || listen.ip().is_unspecified();
    // The system would see this only when both listen, after everything was loaded.
    if address.port() != 0 && address.port() == listen.port() && same_host {
        return Err(refused(format!("--listen has the same port: {listen}")));
    }
    let shown = dashboard.is_some();
    let admin = Admin::start(address, dashboard).map_err(|error| refused(error.to_string()))?;
    announce(&format!("admin on http://{}", admin.address()));
    if shown {
        announce(&format!("dashboard on http://{}/", admin.address()));
    }
    Ok(admin)
}

/// How long a run beside this one may take to be read.
const READ_COMPARED: Duration = Duration::from_secs(10);

/// What the dashboard says from the start on, if it is wanted. A run beside this one is read here, and never again.
async fn dashboard(config: &Config, spec: &RunSpec) -> Result<Option<dashboard::Settings>, (Exit, String)> {
    if !config.dashboard {
        return Ok(None);
    }
    let compared = match &config.compare {
        Some(place) => {
            let read = tokio::time::timeout(READ_COMPARED, dashboard::read_compared(place)).await;
            let failed = match read {
                Ok(Ok(compared)) => return settings(config, spec, Some(compared)),
                Ok(Err(error)) => (error.exit(), format!("--compare: {error}")),
                Err(_) => (Exit::Storage, format!("--compare: {place} was not read in {READ_COMPARED:?}")),
            };
            // A person who starts a run is told; a run that is started again goes on without.
            if config.exit_with_parent {
                return Err(failed);
            }
            warn!("{}", failed.1);
            None
        }
        None => None,
    };
    settings(config, spec, compared)
}

/// What a dashboard says of a run from its start on.
fn settings(
    config: &Config,
    spec: &RunSpec,
    compared: Option<dashboard::Compared>,
) -> Result<Option<dashboard::Settings>, (Exit, String)> {
    let evaluates = !spec.eval_datasets.is_empty()
        && (spec.evaluation.eval_strategy != Strategy::No || spec.evaluation.eval_on_start);
    let metrics = if evaluates { Metric::of(spec.task) } else { &[] };
    Ok(Some(dashboard::Settings {
        run_file: spec.shown(),
        metrics: metrics.iter().map(|metric| metric.name()).collect(),
        names: config.dashboard_hosts.clone(),
        compared,
    }))
}

/// Waits for a signal that ends the run.
async fn stop_signal() -> (String, Exit) {
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be handled on this system");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be handled on this system");
    tokio::select! {
        _ = interrupt.recv() => ("interrupted".to_owned(), Exit::Interrupted),
        _ = terminate.recv() => ("terminated".to_owned(), Exit::Terminated),
    }
}

/// Prints, for the parent process, how many bytes of the checkpoint have been read, and how many there are.
async fn announce_loading(progress: Vec<Progress>) {
    let mut said = Loading::default();
    let mut ticks = tokio::time::interval(LOADING_EVERY);
    loop {
        ticks.tick().await;
        let now = progress_of(&progress);
        if now != said {
            announce_loaded(now);
            said = now;
        }
    }
}

fn progress_of(progress: &[Progress]) -> Loading {
    progress.iter().map(Progress::now).fold(Loading::default(), Loading::plus)
}

/// Says nothing of a run from random weights, which reads none.
fn announce_loaded(loading: Loading) {
    if loading.total == 0 {
        return;
    }
    announce(&format!("loading {} {}", loading.done, loading.total));
}

/// Prints an address on standard output, for the parent process.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed standard output is the reader's choice.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn exit_with_parent() {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
    std::process::exit(Exit::Terminated as i32);
}

fn fail(exit: Exit, detail: &str) -> ExitCode {
    error!("{detail}");
    exit.into()
}
