//! Which hosts the endpoints answer for.
//!
//! A page in somebody's browser can make a name of its own lead to an address inside of that person's network
//! or machine, and then read what answers there (DNS rebinding). The browser still says that name as the
//! host, so a request for a name that can't be ours is refused. What nobody outside can have a name of is
//! answered without being configured: addresses, names without a dot, those that only private networks
//! resolve, and the machine's own.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// Ends of names that no public name server resolves: those reserved for one machine (RFC 6761) and for
/// private networks, and those of Kubernetes.
const PRIVATE: [&str; 4] = [".localhost", ".internal", ".svc", ".cluster.local"];

/// The names of `http.hosts`.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<[Name]>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Name {
    /// `*`
    Any,
    /// `*.example.com`, as `.example.com`.
    Below(String),
    Exactly(String),
}

/// Why a request isn't answered.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Refusal {
    /// There are two hosts, or one that can't be read.
    Unclear,
    /// The host isn't ours.
    Stranger(String),
}

impl Hosts {
    pub(super) fn new(names: &[String]) -> Self {
        let name = |name: &String| {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix('*') {
                Some("") => Name::Any,
                Some(end) => Name::Below(end.to_owned()),
                None => Name::Exactly(name),
            }
        };
        Self(names.iter().map(name).collect())
    }

    /// The pages, for requests to our hosts alone.
    pub(super) fn guard(&self, pages: Router) -> Router {
        pages.layer(from_fn_with_state(self.clone(), check))
    }

    /// Whether requests for the host are answered. `own` gives the machine's own names and is asked last.
    fn admit(&self, host: &str, own: impl FnOnce() -> Vec<String>) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let configured = self.0.iter().any(|name| match name {
            Name::Any => true,
            Name::Below(end) => host.ends_with(end.as_str()),
            Name::Exactly(name) => *name == host,
        });
        configured || is_address(&host) || is_private(&host) || own().contains(&host)
    }

    /// The request's host, where it has one, has to be ours: the target's, where it is written in full, and
    /// the header's. A client that names none is no browser.
    fn check(&self, request: &Request, own: impl Fn() -> Vec<String>) -> Result<(), Refusal> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (header, second) = (headers.next(), headers.next());
        if second.is_some() {
            return Err(Refusal::Unclear);
        }
        let named = header.filter(|header| !header.is_empty()).map(authority).transpose()?;
        for authority in request.uri().authority().into_iter().chain(named.as_ref()) {
            if !self.admit(authority.host(), &own) {
                return Err(Refusal::Stranger(authority.host().to_owned()));
            }
        }
        Ok(())
    }
}

fn authority(header: &HeaderValue) -> Result<Authority, Refusal> {
    Authority::try_from(header.as_bytes()).map_err(|_| Refusal::Unclear)
}

fn is_address(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

/// A name that nobody outside can have: a machine, a pod, a container, a service.
fn is_private(host: &str) -> bool {
    !host.contains('.') || PRIVATE.iter().any(|end| host.ends_with(end))
}

/// The machine's name, alone and below its search domains. Read for each request that nothing else admits:
/// both files may change while the process runs.
fn own_names() -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    names_of(host.trim(), &resolver)
}

/// The names of a host under the domains that a resolver's configuration searches (resolv.conf(5)).
fn names_of(host: &str, resolver: &str) -> Vec<String> {
    if host.is_empty() {
        return Vec::new();
    }
    let words = resolver.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let domains = words.filter_map(|words| match words.split_first() {
        Some((&("search" | "domain"), domains)) => Some(domains.to_vec()),
        _ => None,
    });
    let below =
        domains.flatten().chain(["local"]).map(|domain| format!("{host}.{}", domain.trim_matches('.')));
    below.chain([host.to_owned()]).map(|name| name.to_ascii_lowercase()).collect()
}

/// Refuses requests for other hosts than ours.
async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request, own_names) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Unclear) => {
            (StatusCode::BAD_REQUEST, "the request has no host that can be read\n").into_response()
        }
        Err(Refusal::Stranger(host)) => {
            // Hosts that strangers make up don't belong in a log; whoever asked is told.
            tracing::warn!("an HTTP request for a host that isn't in http.hosts was refused");
            let text = format!(
                "{host} isn't a host that this process answers for: add it to http.hosts, or use an IP address\n"
            );
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        Hosts::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn own() -> Vec<String> {
        names_of("Db1", "# made by hand\nnameserver 10.0.0.1\nsearch prod.example.com corp.example.\n")
    }

    #[test]
    fn hosts_that_strangers_can_t_have_are_ours() {
        for (host, ours) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("[::1]", true),
            ("[2001:db8::1]", true),
            ("localhost", true),
            ("LOCALHOST.", true),
            ("app.localhost", true),
            ("tidegate", true),
            ("tidegate-7d9f4b8c6-x2x7p", true),
            ("tidegate.orders.svc", true),
            ("tidegate-0.tidegate.orders.svc.cluster.local", true),
            ("10-1-2-3.orders.pod.cluster.local", true),
            ("host.docker.internal", true),
            ("db1", true),
            ("db1.prod.example.com", true),
            ("DB1.Corp.Example", true),
            ("db1.local", true),
            ("db2.prod.example.com", false),
            ("db1.evil.example", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("notlocalhost.evil", false),
            ("evilsvc.example", false),
            ("[::1].evil.example", false),
        ] {
            assert_eq!(hosts(&[]).admit(host, own), ours, "{host}");
        }
    }

    #[test]
    fn configured_hosts_are_ours_too() {
        let hosts = hosts(&["Metrics.example.com", "*.corp.example"]);
        for (host, ours) in [
            ("metrics.example.com", true),
            ("METRICS.EXAMPLE.COM.", true),
            ("a.metrics.example.com", false),
            ("a.corp.example", true),
            ("a.b.corp.example", true),
            ("corp.example", false),
            ("evilcorp.example", false),
        ] {
            assert_eq!(hosts.admit(host, Vec::new), ours, "{host}");
        }
        assert!(super::tests::hosts(&["*"]).admit("evil.example", Vec::new));
    }

    #[test]
    fn a_machine_without_name_has_no_names() {
        assert_eq!(names_of("", "search example.com"), Vec::<String>::new());
        assert_eq!(names_of("db1.example.com", ""), ["db1.example.com.local", "db1.example.com"]);
    }

    #[test]
    fn every_host_that_a_request_names_counts() {
        let request = |target: &str, headers: &[&str]| {
            let mut request = Request::builder().uri(target);
            for header in headers {
                request = request.header(HOST, *header);
            }
            request.body(Body::empty()).unwrap()
        };
        let stranger = || Err(Refusal::Stranger("evil.example".to_owned()));
        for (target, headers, expected) in [
            ("/status", &["tidegate:9464"][..], Ok(())),
            ("/status", &["[::1]:9464"], Ok(())),
            ("/status", &[], Ok(())),
            ("/status", &[""], Ok(())),
            ("/status", &["evil.example:9464"], stranger()),
            ("http://evil.example/status", &["tidegate"], stranger()),
            ("http://tidegate/status", &["evil.example"], stranger()),
            ("http://tidegate/status", &["tidegate"], Ok(())),
            ("/status", &["tidegate", "evil.example"], Err(Refusal::Unclear)),
            ("/status", &["a b"], Err(Refusal::Unclear)),
            ("/status", &["user@evil.example"], stranger()),
        ] {
            let checked = hosts(&[]).check(&request(target, headers), Vec::new);
            assert_eq!(checked, expected, "{target} {headers:?}");
        }
    }
}
