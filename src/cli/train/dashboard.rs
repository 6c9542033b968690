//! The coordinator's HTTP port, and whether the dashboard is on it.

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Args, ValueEnum};
use headstart::host;

use super::StartError;

/// What the command line says of the port.
#[derive(Debug, Args)]
pub(super) struct PortArguments {
    /// Address of the coordinator's HTTP port for /healthz, /readyz and /metrics.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Whether that port serves the dashboard, a page about the run. auto: if only this machine reaches it. Without --admin, a
    /// free port of the loopback interface is taken.
    #[arg(long, value_enum, default_value = "auto")]
    dashboard: Mode,
    /// Name under which browsers ask for the dashboard, beside localhost and the address of --admin. May be repeated.
    #[arg(long = "dashboard-host", value_name = "NAME", value_parser = host::parse_name)]
    dashboard_hosts: Vec<String>,
    /// A finished run that the dashboard shows beside this one: its output_dir or a metrics.jsonl, a path or URL.
    #[arg(long, value_name = "RUN")]
    compare: Option<String>,
}

/// Whether there is a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Auto,
    On,
    Off,
}

/// The port of a run.
#[derive(Debug, PartialEq)]
pub(super) struct Port {
    address: SocketAddr,
    /// Whether the user has asked for it.
    pub(super) asked: bool,
    /// Names and the second run, where there is a dashboard.
    dashboard: Option<(Vec<String>, Option<String>)>,
}

impl PortArguments {
    /// The port to open, if any.
    pub(super) fn choose(self) -> Result<Option<Port>, StartError> {
        let PortArguments { admin, dashboard, dashboard_hosts, compare } = self;
        let address = admin.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let shown = match dashboard {
            Mode::Auto => address.ip().is_loopback(),
            Mode::On => true,
            Mode::Off => false,
        };
        let needs = [("--compare", compare.is_some()), ("--dashboard-host", !dashboard_hosts.is_empty())];
        if let Some((option, _)) = needs.iter().find(|(_, given)| *given && !shown) {
            return Err(StartError::NoDashboard { option });
        }
        let dashboard = shown.then_some((dashboard_hosts, compare));
        let wanted = admin.is_some() || shown;
        Ok(wanted.then_some(Port { address, asked: admin.is_some(), dashboard }))
    }
}

impl Port {
    /// The coordinator's arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--admin={}", self.address)];
        if let Some((hosts, compare)) = &self.dashboard {
            arguments.push("--dashboard".to_owned());
            arguments.extend(hosts.iter().map(|host| format!("--dashboard-host={host}")));
            arguments.extend(compare.iter().map(|run| format!("--compare={run}")));
        }
        arguments
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn arguments(admin: Option<&str>, dashboard: Mode, compare: Option<&str>) -> PortArguments {
        let admin = admin.map(|address| address.parse().unwrap());
        PortArguments { admin, dashboard, dashboard_hosts: Vec::new(), compare: compare.map(str::to_owned) }
    }

    fn chosen(admin: Option<&str>, dashboard: Mode) -> Option<String> {
        let port = arguments(admin, dashboard, None).choose().unwrap();
        port.map(|port| port.arguments().join(" "))
    }

    #[test]
    fn the_dashboard_is_there_for_this_machine_and_elsewhere_if_asked_for() {
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(chosen(None, Mode::Auto), said("--admin=127.0.0.1:0 --dashboard"));
        assert_eq!(chosen(Some("[::1]:9090"), Mode::Auto), said("--admin=[::1]:9090 --dashboard"));
        assert_eq!(chosen(Some("0.0.0.0:9090"), Mode::Auto), said("--admin=0.0.0.0:9090"));
        assert_eq!(chosen(Some("0.0.0.0:9090"), Mode::On), said("--admin=0.0.0.0:9090 --dashboard"));
        assert_eq!(chosen(Some("127.0.0.1:9090"), Mode::Off), said("--admin=127.0.0.1:9090"));
        assert_eq!(chosen(None, Mode::Off), None);
    }

    #[test]
    fn what_needs_a_dashboard_says_so_where_there_is_none() {
        let refused = arguments(Some("0.0.0.0:9090"), Mode::Auto, Some("runs/before")).choose().unwrap_err();
        assert_eq!(refused.to_string(), "--compare needs the dashboard: use --dashboard on");
        let port = arguments(None, Mode::Auto, Some("runs/before")).choose().unwrap().unwrap();
        assert_eq!(port.arguments(), ["--admin=127.0.0.1:0", "--dashboard", "--compare=runs/before"]);
        assert!(!port.asked);
    }
}
