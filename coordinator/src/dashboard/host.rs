//! Under which names the dashboard may be asked for.
//!
//! A page of a stranger can make a browser ask any address, if the stranger's name resolves to it (DNS rebinding). Then the
//! browser takes the answer for the stranger's own. But it says in `Host` which name it was given, and a stranger has no name
//! that is the loopback interface's, and no address is a name.

use std::net::{IpAddr, Ipv6Addr};

/// The names and addresses of one server.
#[derive(Debug)]
pub(super) struct Hosts {
    bound: IpAddr,
    /// In small letters.
    names: Vec<String>,
}

impl Hosts {
    /// Those of a server on the address `bound`, with names that [`headstart::host::parse_name`] has accepted.
    pub(super) fn new(bound: IpAddr, names: Vec<String>) -> Hosts {
        Hosts { bound, names }
    }

    /// Whether a request with this `Host` may be answered. The port is not looked at: it differs behind a tunnel.
    pub(super) fn admit(&self, host: Option<&str>) -> bool {
        let Some(host) = host.and_then(without_port) else { return false };
        match address(host) {
            Some(address) => {
                // A server on every interface has all addresses of its machine.
                address.is_loopback() || address == self.bound || self.bound.is_unspecified()
            }
            None => {
                let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                name == "localhost" || self.names.contains(&name)
            }
        }
    }
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (_, after) = rest.split_once(']')?;
            host.split_at(host.len() - after.len())
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.chars().all(|digit| digit.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use headstart::host::parse_name;
    use proptest::prelude::*;

    use super::*;

    fn hosts(bound: &str, names: &[&str]) -> Hosts {
        let names = names.iter().map(|name| parse_name(name).expect("a name")).collect();
        Hosts::new(bound.parse().expect("an address"), names)
    }

    #[test]
    fn loopback_names_the_address_and_given_names_are_admitted() {
        let local = hosts("127.0.0.1", &[]);
        for host in
            ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:1", "127.0.0.2", "[::1]:9090", "[::1]"]
        {
            assert!(local.admit(Some(host)), "{host}");
        }
        let other = hosts("10.1.2.3", &["Train.example.com."]);
        for host in
            ["10.1.2.3:9090", "train.example.com", "TRAIN.example.com:80", "train.example.com.", "localhost"]
        {
            assert!(other.admit(Some(host)), "{host}");
        }
    }

    #[test]
    fn a_strangers_name_is_not_admitted_whatever_it_resolves_to() {
        let local = hosts("127.0.0.1", &["mine"]);
        let strangers = [
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "mine.evil.example",
            "10.1.2.3",
            "",
            ":9090",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "localhost:9090:1",
            "localhost:x",
            "user@localhost",
            "0x7f.1",
            "local host",
        ];
        for host in strangers {
            assert!(!local.admit(Some(host)), "{host}");
        }
        assert!(!local.admit(None));
    }

    #[test]
    fn a_server_on_every_interface_is_asked_by_any_address_but_not_by_any_name() {
        let everywhere = hosts("0.0.0.0", &[]);
        assert!(everywhere.admit(Some("192.168.7.7:9090")) && everywhere.admit(Some("[fe80::1]")));
        assert!(!everywhere.admit(Some("evil.example:9090")));
    }

    proptest! {
        #[test]
        fn any_host_is_judged(host in "\\PC{0,40}") {
            let _ = hosts("127.0.0.1", &[]).admit(Some(&host));
        }
    }
}
