//! The HTTP endpoints: `/livez`, `/readyz`, `/metrics` and `/status`.
//!
//! They read the [`Board`] and the [`Metrics`], never a database or a broker, so that a scrape costs the
//! same whatever state the world is in. They have a thread of their own: lanes that are busy don't delay an
//! answer, and a crowd of clients doesn't delay lanes. Whoever connects is let in; [`crowd`] decides who
//! gives way for it, so that no number of idle or slow clients keeps a probe waiting.

mod connections;
mod crowd;
mod pages;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::metrics::Metrics;

use crowd::Bounds;

/// Connections that the kernel holds until they are accepted. When there are more it drops a client's SYN,
/// which is sent again after a second; a busy machine gets behind by more than the 128 of the standard
/// library.
const BACKLOG: i32 = 4096;

/// The endpoints, bound to an address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
}

/// Why the endpoints can't be served.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on http.listen {address}: {source}; choose another address or stop what uses it")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Binds `http.listen`; port 0 takes any free one. `descriptors` is how many files and sockets the
    /// process may have open (`RLIMIT_NOFILE`): connections get a part of them.
    ///
    /// # Errors
    /// When the address is in use, not of this machine, or not allowed.
    pub fn bind(address: SocketAddr, descriptors: u64) -> Result<Self, BindError> {
        let bound = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            rustix::net::listen(&listener, BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address, bounds: Bounds::of(descriptors) })
        };
        bound().map_err(|source| BindError { address, source })
    }

    /// The address bound, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, in a thread of its own.
    ///
    /// # Errors
    /// When the operating system refuses a thread or what its runtime needs.
    pub fn start(
        self,
        board: Board,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let pages = pages::router(board, metrics);
        std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    never = connections::serve(listener, self.bounds, pages) => match never {},
                }
            });
            // A page that is still being made has nobody left to read it.
            runtime.shutdown_background();
        })
    }
}
