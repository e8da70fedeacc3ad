//! `http`: where the endpoints listen, and for which hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::config::key::{Keys, shown};
use crate::config::reader::{Field, Report, Section};

const LISTEN: &str = "listen";
const PROBES: &str = "probes";
const HOSTS: &str = "hosts";
pub(super) const KEYS: Keys = ("http", &[LISTEN, PROBES, HOSTS]);

/// Loopback, so that nothing is exposed unasked.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The word for no listener.
const OFF: &str = "off";

/// The HTTP endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address and port to listen on; none where it is `off`.
    pub listen: Option<SocketAddr>,
    /// Address and port of probes alone, beside `listen` or in its place.
    pub probes: Option<SocketAddr>,
    /// Hosts that requests may be for: names, `*.` and a name for all below it, or `*`.
    pub hosts: Vec<String>,
}

impl HttpSettings {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        let listen = section.take(LISTEN).and_then(|field| {
            let help = "an IP address and a port: 127.0.0.1:9464 for this machine only, 0.0.0.0:9464 or \
                [::]:9464 for all;\nport 0 takes any free one, off listens nowhere";
            address(&field, help, report)
        });
        let listen = listen.unwrap_or(Some(DEFAULT_LISTEN));
        let probes = section.take(PROBES).and_then(|field| probes(&field, listen, report));
        let items = section.take(HOSTS).and_then(|field| field.items("a list of hosts", report));
        let hosts = items.unwrap_or_default().iter().filter_map(|field| host(field, report)).collect();
        Self { listen, probes, hosts }
    }

    pub(super) fn show(&self) -> Value {
        shown([
            (LISTEN, json!(self.listen.map_or(OFF.to_owned(), |address| address.to_string()))),
            (PROBES, json!(self.probes.map(|address| address.to_string()))),
            (HOSTS, json!(self.hosts)),
        ])
    }
}

fn host(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a host's name", report)?;
    let name = scalar.text.strip_prefix("*.").unwrap_or(&scalar.text);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    if scalar.text == "*" || (name.len() <= 253 && name.split('.').all(is_label)) {
        return Some(scalar.text.clone());
    }
    let help = "a name without scheme, port and path: metrics.example.com, '*.example.com' for all below it, \
        '*' for any;\naddresses, localhost and names without a dot need no entry";
    report.add(field, format!("{} isn't a host's name", scalar.shown()), help);
    None
}

/// The address of a listener, `Some(None)` for `off`; nothing where it can't be read.
fn address(field: &Field, help: &str, report: &mut Report) -> Option<Option<SocketAddr>> {
    let scalar = field.scalar("an address", report)?;
    if scalar.text == OFF {
        return Some(None);
    }
    let address = scalar.text.parse().ok();
    if address.is_none() {
        report.add(field, format!("{} isn't an address to listen on", scalar.shown()), help);
    }
    address.map(Some)
}

fn probes(field: &Field, listen: Option<SocketAddr>, report: &mut Report) -> Option<SocketAddr> {
    let help = "an IP address and a port, such as 0.0.0.0:9465; without it http.listen answers probes";
    let probes = address(field, help, report)??;
    // Port 0 is another one each time.
    if Some(probes) == listen && probes.port() != 0 {
        report.add(field, "it is the address of http.listen", "give it a port of its own, or leave it out");
    }
    Some(probes)
}
