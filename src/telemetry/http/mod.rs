//! The HTTP endpoints: `/livez`, `/readyz`, `/metrics` and `/status`.
//!
//! They read the [`Board`] and the [`Metrics`], never a database or a broker, so that a scrape costs the
//! same whatever state the world is in. They have a thread of their own: lanes that are busy don't delay an
//! answer, and a crowd of clients doesn't delay lanes. Whoever connects is let in; [`crowd`] decides who
//! gives way for it, so that no number of idle or slow clients keeps a probe waiting.

mod connections;
mod crowd;
mod holder;
mod hosts;
mod pages;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::metrics::Metrics;

use crowd::Bounds;
use hosts::Hosts;

/// Connections that the kernel holds until they are accepted. When there are more it drops a client's SYN,
/// which is sent again after a second; a busy machine gets behind by more than the 128 of the standard
/// library.
const BACKLOG: i32 = 4096;

/// Where the endpoints are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// `http.listen`: all endpoints. Port 0 takes any free one; none where it is off.
    pub listen: Option<SocketAddr>,
    /// `http.probes`: `/livez` and `/readyz` alone. They are at `listen` as well.
    pub probes: Option<SocketAddr>,
}

/// The endpoints, bound to their addresses.
#[derive(Debug)]
pub struct Server {
    all: Option<TcpListener>,
    probes: Option<TcpListener>,
    addresses: Addresses,
    hosts: Hosts,
    bounds: Bounds,
}

/// Why the endpoints can't be served.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {key} {address}: {source}\n    {hint}")]
pub struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
    hint: String,
}

impl Server {
    /// Binds the addresses. `hosts` are names that requests may be for (`http.hosts`: a name, `*.` before the
    /// names below one, `*` for any), beside those that can only be ours. `descriptors` is how many files and
    /// sockets the process may have open (`RLIMIT_NOFILE`): connections get a part of them.
    ///
    /// # Errors
    /// When an address is in use, not of this machine, or not allowed.
    pub fn bind(addresses: Addresses, hosts: &[String], descriptors: u64) -> Result<Self, BindError> {
        let all = addresses.listen.map(|address| bound("http.listen", address)).transpose()?;
        let probes = addresses.probes.map(|address| bound("http.probes", address)).transpose()?;
        let ((all, listen), (probes, probes_address)) = (all.unzip(), probes.unzip());
        let addresses = Addresses { listen, probes: probes_address };
        Ok(Self { all, probes, addresses, hosts: Hosts::new(hosts), bounds: Bounds::of(descriptors) })
    }

    /// The addresses bound, with the ports that were taken.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `stop` is cancelled, in a thread of its own; without any listener there is nothing to do.
    ///
    /// # Errors
    /// When the operating system refuses a thread or what its runtime needs.
    pub fn start(
        self,
        board: Board,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> io::Result<Option<JoinHandle<()>>> {
        let Self { all, probes, hosts, bounds, .. } = self;
        if all.is_none() && probes.is_none() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        {
            let _inside = runtime.enter();
            let serve = |listener, router| {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let router = pages::of_this_moment(hosts.guard(router));
                tokio::spawn(connections::serve(listener, bounds, router));
                io::Result::Ok(())
            };
            if let Some(probes) = probes {
                serve(probes, pages::probes(board.clone()))?;
            }
            if let Some(all) = all {
                serve(all, pages::all(board, metrics))?;
            }
        }
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(stop.cancelled());
            // A page that is still being made has nobody left to read it.
            runtime.shutdown_background();
        });
        thread.map(Some)
    }
}

/// Listens on the address of a key; with the address that it came to be.
fn bound(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|source| BindError { key, address, hint: hint(key, address, &source), source })
}

/// What to do where an address can't be listened on.
fn hint(key: &str, address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let others = format!(
        "--set {key}=IP:PORT names another; port 0 takes any free one, which the log tells, and `off` listens \
         nowhere"
    );
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let held = match holder::of(port) {
                Some(holder) => format!("{holder} has it"),
                None => format!("another process has it (as root, `ss -ltnp sport = :{port}` tells which)"),
            };
            format!("{held}; two on one host need two addresses\n    {others}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has it; 0.0.0.0:{port} or [::]:{port} is all of them")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need a capability (CAP_NET_BIND_SERVICE)\n    {others}")
        }
        _ => others,
    }
}
