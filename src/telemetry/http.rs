//! The HTTP endpoints: `/livez`, `/readyz`, `/metrics` and `/status`.
//!
//! They read the [`Board`] and the [`Metrics`], never a database or a broker, so that a scrape costs the
//! same whatever state the world is in. A client gets one request per connection, few headers and little
//! time; slow ones can't pile up, since the number of connections is limited and each has a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Conditions, Pulse, State as BoardState};
use super::metrics::Metrics;

/// Connections served at a time; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// Time for the request's head.
const HEAD: Duration = Duration::from_secs(5);
/// Time for the whole exchange.
const EXCHANGE: Duration = Duration::from_secs(15);
/// Size of the request's head, in bytes, and the number of its headers.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// The endpoints, bound to an address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the endpoints can't be served.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on http.listen {address}: {source}; choose another address or stop what uses it")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

#[derive(Clone)]
struct Shared {
    board: Board,
    metrics: Metrics,
}

impl Server {
    /// Binds `http.listen`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the address is in use, not of this machine, or not allowed.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bound.await.map_err(|source| BindError { address, source })
    }

    /// The address bound, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, board: Board, metrics: Metrics, stop: CancellationToken) {
        let service = TowerToHyperService::new(router(board, metrics));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "an HTTP connection can't be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let service = service.clone();
            tokio::spawn(async move {
                exchange(stream, service).await;
                drop(place);
            });
        }
    }
}

async fn exchange(stream: TcpStream, service: TowerToHyperService<Router>) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or is too slow is its own trouble.
    let _ = tokio::time::timeout(EXCHANGE, connection).await;
}

fn router(board: Board, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(page))
        .route("/status", get(status))
        .fallback(async || (StatusCode::NOT_FOUND, "one of /livez, /readyz, /metrics, /status\n"))
        .with_state(Shared { board, metrics })
}

#[derive(Deserialize)]
struct Flags {
    verbose: Option<String>,
}

impl Flags {
    fn verbose(&self) -> bool {
        self.verbose.as_deref().is_some_and(|value| !matches!(value, "0" | "false"))
    }
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn livez(State(shared): State<Shared>, Query(flags): Query<Flags>) -> Response {
    let pulses = shared.board.pulses();
    let stuck: Vec<&Pulse> = pulses.iter().filter(|pulse| pulse.stuck).collect();
    let status = code(stuck.is_empty());
    if flags.verbose() {
        return (status, Json(&pulses)).into_response();
    }
    let text = match stuck.is_empty() {
        true => "ok\n".to_owned(),
        false => stuck
            .iter()
            .map(|pulse| format!("{}: no beat for {:.0} s\n", pulse.name, pulse.age_seconds))
            .collect(),
    };
    (status, text).into_response()
}

/// A partition that stands still, in `/readyz?verbose`.
#[derive(Serialize)]
struct HaltRow<'a> {
    topic: &'a str,
    partition: i32,
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    draining: bool,
    conditions: &'a Conditions,
    halts: Vec<HaltRow<'a>>,
}

async fn readyz(State(shared): State<Shared>, Query(flags): Query<Flags>) -> Response {
    shared.board.read(|board| {
        let reasons = board.unready();
        let status = code(reasons.is_empty());
        if flags.verbose() {
            let readiness = Readiness {
                ready: reasons.is_empty(),
                draining: board.draining,
                conditions: &board.conditions,
                halts: halts(board),
            };
            return (status, Json(readiness)).into_response();
        }
        let text = if reasons.is_empty() { "ok\n".to_owned() } else { reasons.join("\n") + "\n" };
        (status, text).into_response()
    })
}

fn halts(board: &BoardState) -> Vec<HaltRow<'_>> {
    board
        .partitions
        .iter()
        .filter_map(|(name, state)| {
            let halt = state.halt.as_ref()?;
            let (topic, partition) = (&*name.topic, name.partition);
            Some(HaltRow { topic, partition, code: &halt.code, message: &halt.message })
        })
        .collect()
}

async fn page(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], shared.metrics.page()).into_response()
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    uptime_seconds: f64,
    loops: Vec<Pulse>,
    #[serde(flatten)]
    board: &'a BoardState,
}

async fn status(State(shared): State<Shared>) -> Response {
    let loops = shared.board.pulses();
    let uptime_seconds = shared.board.uptime().as_secs_f64();
    shared.board.read(|board| {
        let version = env!("CARGO_PKG_VERSION");
        Json(Status { version, uptime_seconds, loops, board }).into_response()
    })
}
