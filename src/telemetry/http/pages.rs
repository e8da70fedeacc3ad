//! What the endpoints answer.
//!
//! Probes are answered at once. A page that grows with the number of partitions is made aside, one at a
//! time, so that however many ask for it, a probe waits for none.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::telemetry::board::{Board, Conditions, Pause, Pulse, Retry, State as BoardState, Wait};
use crate::telemetry::metrics::Metrics;

#[derive(Clone)]
struct Shared {
    board: Board,
    metrics: Metrics,
    /// One page is made at a time.
    turn: Arc<Semaphore>,
}

impl Shared {
    /// Makes a page in a thread where that may take its time. Whoever asked may go away meanwhile; the turn
    /// is given on only when the page is made.
    async fn aside(&self, make: impl FnOnce(&Self) -> Response + Send + 'static) -> Response {
        let turn = Arc::clone(&self.turn).acquire_owned().await.expect("the semaphore is never closed");
        let shared = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let page = make(&shared);
            drop(turn);
            page
        });
        made.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// All endpoints.
pub(super) fn all(board: Board, metrics: Metrics) -> Router {
    let shared = Shared { board: board.clone(), metrics, turn: Arc::new(Semaphore::new(1)) };
    let pages = Router::new().route("/metrics", get(page)).route("/status", get(status));
    let names = "one of /livez, /readyz, /metrics, /status\n";
    pages.with_state(shared).merge(probe_pages(board)).fallback(async move || (StatusCode::NOT_FOUND, names))
}

/// `/livez` and `/readyz`.
pub(super) fn probes(board: Board) -> Router {
    let names = "one of /livez, /readyz; the other pages are at http.listen\n";
    probe_pages(board).fallback(async move || (StatusCode::NOT_FOUND, names))
}

/// Says of each answer, refusals too, that it is of this moment and of the type that it says: nothing on the
/// way keeps it, and no browser makes a page of it.
pub(super) fn of_this_moment(pages: Router) -> Router {
    pages.layer(map_response(async |mut response: Response| {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }))
}

fn probe_pages(board: Board) -> Router {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(board)
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

async fn livez(State(board): State<Board>, Query(flags): Query<Flags>) -> Response {
    let pulses = board.pulses();
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
    pauses: Vec<PauseRow<'a>>,
    /// Those that don't hold.
    waits: Vec<&'a Wait>,
}

/// A partition that people made stand still, in `/readyz?verbose`.
#[derive(Serialize)]
struct PauseRow<'a> {
    topic: &'a str,
    partition: i32,
    #[serde(flatten)]
    pause: &'a Pause,
}

async fn readyz(State(board): State<Board>, Query(flags): Query<Flags>) -> Response {
    board.read(|board| {
        let reasons = board.unready();
        let status = code(reasons.is_empty());
        if flags.verbose() {
            let readiness = Readiness {
                ready: reasons.is_empty(),
                draining: board.draining,
                conditions: &board.conditions,
                halts: halts(board),
                pauses: pauses(board),
                waits: board.waits.iter().filter(|wait| !wait.holds()).collect(),
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

fn pauses(board: &BoardState) -> Vec<PauseRow<'_>> {
    let paused = board.partitions.iter().filter_map(|(name, state)| {
        let pause = state.paused.as_ref()?;
        Some(PauseRow { topic: &name.topic, partition: name.partition, pause })
    });
    paused.collect()
}

async fn page(State(shared): State<Shared>) -> Response {
    let make = |shared: &Shared| {
        ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], shared.metrics.page()).into_response()
    };
    shared.aside(make).await
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_seconds: f64,
    loops: Vec<Pulse>,
    retries: Vec<Retry>,
    #[serde(flatten)]
    board: BoardState,
}

async fn status(State(shared): State<Shared>) -> Response {
    let make = |shared: &Shared| {
        Json(Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: shared.board.uptime().as_secs_f64(),
            loops: shared.board.pulses(),
            retries: shared.board.retries(),
            // A copy: who writes to the board waits for no page.
            board: shared.board.read(Clone::clone),
        })
        .into_response()
    };
    shared.aside(make).await
}
