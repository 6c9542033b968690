//! Names, the port or the coordinator, and how fast data moves.

use std::collections::BTreeSet;
use std::time::Duration;

use headstart::client::Client;
use headstart::exit::Exit;
use headstart::run_file::{RunSpec, Wire};
use headstart::store::Environment;
use tokio::net::{TcpListener, lookup_host};
use tokio::time::timeout;

use super::{Check, bandwidth};
use crate::cli::bandwidth::{Loopback, Partials};

/// Default port of a coordinator.
const PORT: u16 = 7070;
const PATIENCE: Duration = Duration::from_secs(5);
/// Below this, in bytes a second, moving weights is most of a step for any network worth training.
const SLOW: f64 = 10e6;

/// Looks up every host that is named.
pub(super) async fn names(spec: Option<&RunSpec>, coordinator: Option<&str>) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in hosts(spec, coordinator, &Environment::of_process()) {
        checks.push(match timeout(PATIENCE, lookup_host((host.as_str(), 443))).await {
            Ok(Ok(mut found)) => match found.next() {
                Some(address) => Check::ok("name", format!("{host} is {}", address.ip())),
                None => unknown(&host, "it has no address"),
            },
            Ok(Err(error)) => unknown(&host, &error.to_string()),
            Err(_) => unknown(&host, &format!("no answer within {PATIENCE:?}")),
        });
    }
    checks
}

fn unknown(host: &str, reason: &str) -> Check {
    let cure = "look at the spelling, and at this machine's DNS";
    Check::fail("name", Exit::Unreachable, format!("{host}: {reason}; {cure}"))
}

/// Hosts of the coordinator, and of the storage that the run reads from and writes to.
fn hosts(spec: Option<&RunSpec>, coordinator: Option<&str>, environment: &Environment) -> BTreeSet<String> {
    let mut urls: Vec<&str> = coordinator.into_iter().collect();
    if let Some(spec) = spec {
        urls.extend([spec.base_model.as_str(), spec.output_dir.as_str()]);
        urls.extend(spec.datasets.iter().chain(&spec.eval_datasets).map(|dataset| dataset.path.as_str()));
    }
    urls.into_iter().filter_map(|url| environment.host(url)).collect()
}

/// The coordinator and the way to it; without one, whether its port is free here, and what this machine's cores can move.
/// `wire`: the run's.
pub(super) async fn coordinator(url: Option<&str>, wire: Option<Wire>) -> Vec<Check> {
    let Some(url) = url else {
        let mut checks = vec![port(PORT).await];
        checks.extend(loopback(bandwidth::all().await, wire));
        return checks;
    };
    let status = match Client::connect(url).await {
        Ok(client) => client.status().await,
        Err(error) => Err(error),
    };
    match status {
        Ok(status) => {
            let reached =
                format!("{url} has run {}, step {}/{}", status.run_id, status.step, status.total_steps);
            let measured = bandwidth::from_coordinator(url, &status).await;
            vec![Check::ok("coordinator", reached), speed("from the coordinator", measured)]
        }
        Err(error) => {
            let cure = "start it, or open its port in the firewall";
            vec![Check::fail("coordinator", error.exit(), format!("{error}; {cure}"))]
        }
    }
}

async fn port(port: u16) -> Check {
    match TcpListener::bind(("0.0.0.0", port)).await {
        Ok(_) => Check::ok("port", format!("{port} is free")),
        Err(error) => {
            Check::warn("port", format!("{port}: {error}; give the coordinator another with --listen"))
        }
    }
}

/// One line for raw TCP, and one for partials in each wire format.
fn loopback(measured: Result<Loopback, headstart::client::ClientError>, wire: Option<Wire>) -> Vec<Check> {
    let Loopback { tcp, partials } = match measured {
        Ok(measured) => measured,
        Err(error) => return vec![speed("over loopback", Err(error))],
    };
    let raw = Check::ok("bandwidth", format!("{:.2} GB/s over loopback, raw TCP", 1e-9 * tcp));
    let formats = partials.into_iter().map(|Partials { wire: format, bytes, elements }| {
        let ratio = match format {
            Wire::F32 => format!(", {:.2} of raw TCP", bytes / tcp),
            Wire::Bf16 | Wire::Int8 => String::new(),
        };
        let mark = match wire {
            Some(wire) if wire == format => " (this run's wire)",
            None if format == Wire::F32 => " (the default)",
            _ => "",
        };
        let text = format!(
            "{:.2} GB/s over loopback, wire: {}, {:.0} million elements/s{ratio}{mark}",
            1e-9 * bytes,
            format.name(),
            1e-6 * elements
        );
        match bytes < SLOW {
            true => Check::warn("bandwidth", format!("{text}: this machine is too busy to move gradients")),
            false => Check::ok("bandwidth", text),
        }
    });
    std::iter::once(raw).chain(formats).collect()
}

fn speed(way: &str, measured: Result<f64, headstart::client::ClientError>) -> Check {
    match measured {
        Ok(bytes) if bytes < SLOW => Check::warn(
            "bandwidth",
            format!("{:.3} Gbit/s {way}: look at headstart plan before you start", 8e-9 * bytes),
        ),
        Ok(bytes) => Check::ok("bandwidth", format!("{:.2} Gbit/s {way}", 8e-9 * bytes)),
        // A run in full flight replaces its weights before they are pulled.
        Err(error) => Check::warn("bandwidth", format!("not measured {way}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec(sets: &[&str]) -> RunSpec {
        let text = "base_model: m\ntask: image-classification\ndatasets: [{path: d}]\noutput_dir: here\n";
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        headstart::run_file::parse("run.yaml", text, &sets).unwrap()
    }

    #[test]
    fn hosts_are_those_of_the_coordinator_and_of_every_url_of_the_run() {
        let found = |sets: &[&str], coordinator| {
            let account = [("AZURE_STORAGE_ACCOUNT".to_owned(), "acc".to_owned())];
            let hosts = hosts(Some(&spec(sets)), coordinator, &Environment::new(account));
            hosts.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found(&[], None), [""; 0]);
        assert_eq!(
            found(&["output_dir=s3://bucket/run"], Some("http://head:7070")),
            ["head", "s3.us-east-1.amazonaws.com"]
        );
        let everywhere = ["base_model=gs://b/m", "output_dir=az://b/run", "datasets.0.path=s3://b/d"];
        assert_eq!(
            found(&everywhere, None),
            ["acc.blob.core.windows.net", "s3.us-east-1.amazonaws.com", "storage.googleapis.com"]
        );
    }

    #[test]
    fn loopback_has_a_line_for_each_format_and_marks_the_run_s() {
        let partials = [(Wire::F32, 2.8e9, 0.7e9), (Wire::Int8, 1e6, 1e6)]
            .map(|(wire, bytes, elements)| Partials { wire, bytes, elements });
        let measured = Loopback { tcp: 4e9, partials: partials.to_vec() };
        let said = |wire| -> Vec<String> {
            loopback(Ok(measured.clone()), wire).iter().map(ToString::to_string).collect()
        };
        let lines = said(Some(Wire::Int8));
        assert_eq!(lines[0], "ok    bandwidth    4.00 GB/s over loopback, raw TCP");
        let f32 =
            "ok    bandwidth    2.80 GB/s over loopback, wire: f32, 700 million elements/s, 0.70 of raw TCP";
        assert_eq!(lines[1], f32);
        assert!(lines[2].starts_with("warn ") && lines[2].contains("(this run's wire)"), "{lines:?}");
        assert_eq!(said(None)[1], format!("{f32} (the default)"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_a_warning() {
        let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let said = port(taken.local_addr().unwrap().port()).await.to_string();
        assert!(said.starts_with("warn ") && said.contains("--listen"), "{said}");
    }
}
