//! Connections, from accept to the last byte of the answer.
//!
//! A connection costs little until its first byte comes: a socket and a task that holds no buffer. It has
//! one request, few headers and little time. Who is closed for whom is up to [`Places`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::crowd::{Bounds, Places, Ticket};

/// Time for a request's first byte, and from there for the rest of its head.
const HEAD: Duration = Duration::from_secs(3);
/// Time from the first byte to the end of the answer.
const EXCHANGE: Duration = Duration::from_secs(15);
/// Size of the request's head, in bytes, and the number of its headers.
const HEAD_BYTES: usize = 8 * 1024;
const HEADERS: usize = 64;
/// Between tries to accept while the operating system refuses.
const REFUSED: Duration = Duration::from_millis(100);

/// Between log lines about a crowd: a line for each connection would make accepting them slower.
const TELL: Duration = Duration::from_secs(10);

/// Closes a connection when it is dropped.
type Closer = oneshot::Sender<Infallible>;
type Closed = oneshot::Receiver<Infallible>;

/// What all connections of a listener know.
struct Room {
    places: Mutex<Places<Closer>>,
    /// When the log last had a line about a crowd.
    told: Mutex<Option<Instant>>,
}

/// Accepts connections for ever and answers their requests.
pub(super) async fn serve(listener: TcpListener, bounds: Bounds, pages: Router) -> Infallible {
    let room = Arc::new(Room { places: Mutex::new(Places::new(bounds)), told: Mutex::new(None) });
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let (visit, closed) = Visit::begin(&room, address);
                tokio::spawn(attend(stream, visit, closed, pages.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => room.refused(&error).await,
        }
        // The tasks run before the next connection comes in: a request that is there already is read before
        // many newcomers can take its place, and what gave way has closed its socket.
        tokio::task::yield_now().await;
    }
}

impl Room {
    fn places(&self) -> MutexGuard<'_, Places<Closer>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection that can't be accepted; where nobody waits, time has to.
    async fn refused(&self, error: &io::Error) {
        let scarce = Errno::from_io_error(error)
            .is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno));
        let left = if scarce { self.places().make_room() } else { None };
        if left.is_some() {
            self.tell(|| {
                tracing::warn!(%error, "HTTP connections without a request are closed to accept others");
            });
        } else {
            tracing::warn!(%error, "an HTTP connection can't be accepted");
            tokio::time::sleep(REFUSED).await;
        }
    }

    /// Writes a log line about a crowd, unless there was one a moment ago.
    fn tell(&self, line: impl FnOnce()) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            *told = Some(Instant::now());
            line();
        }
    }
}

/// A connection's place, given back when it is dropped.
struct Visit {
    room: Arc<Room>,
    ticket: Ticket,
}

impl Visit {
    fn begin(room: &Arc<Room>, address: SocketAddr) -> (Self, Closed) {
        let (closer, closed) = oneshot::channel();
        let (ticket, left) = room.places().arrive(address.ip(), closer);
        if left.is_some() {
            room.tell(|| {
                let peer = address.ip();
                tracing::warn!(%peer, "too many HTTP connections without a request: the oldest give way");
            });
        }
        (Self { room: Arc::clone(room), ticket }, closed)
    }

    /// The whole head is there.
    fn asked(&self) {
        let left = self.room.places().ask(self.ticket);
        if left.is_some() {
            self.room.tell(|| tracing::warn!("too many HTTP requests at a time: the oldest give way"));
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.room.places().leave(self.ticket);
    }
}

async fn attend(stream: TcpStream, visit: Visit, closed: Closed, pages: Router) {
    let exchange = async move {
        if let Ok(Ok(())) = timeout(HEAD, stream.readable()).await {
            // Boxed, so that what an exchange needs isn't part of a task that waits for the first byte.
            Box::pin(exchange(stream, visit, pages)).await;
        }
    };
    tokio::select! {
        _ = closed => {}
        () = exchange => {}
    }
}

async fn exchange(stream: TcpStream, visit: Visit, pages: Router) {
    let pages = TowerToHyperService::new(pages);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        visit.asked();
        pages.call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or is too slow is its own trouble.
    let _ = timeout(EXCHANGE, connection).await;
}
