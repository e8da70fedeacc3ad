//! The HTTP endpoints over a real socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate::engine::position::TopicPartition;
use tidegate::telemetry::board::{Board, ConditionName, Halt};
use tidegate::telemetry::http::{Addresses, Server};
use tidegate::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Running {
    address: SocketAddr,
    probes: SocketAddr,
    board: Board,
    metrics: Metrics,
    _stop: DropGuard,
}

/// Descriptors for which at most 32 connections wait and 8 are answered.
const DESCRIPTORS: u64 = 256;

/// Partitions that make a page larger than the buffers of sockets, with topics' names of this length.
const MANY: i32 = 8_000;
const TOPIC_BYTES: usize = 1_000;

fn running() -> Running {
    let hosts = ["metrics.example.com".to_owned()];
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server =
        Server::bind(Addresses { listen: Some(any), probes: Some(any) }, &hosts, DESCRIPTORS).unwrap();
    let (addresses, stop) = (server.addresses(), CancellationToken::new());
    let (board, metrics) = (Board::new("orders", "test"), Metrics::new("orders", "2.12.1", &["TG-101"]));
    server.start(board.clone(), metrics.clone(), stop.clone()).unwrap();
    let (address, probes) = (addresses.listen.unwrap(), addresses.probes.unwrap());
    Running { address, probes, board, metrics, _stop: stop.drop_guard() }
}

impl Running {
    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
    }

    async fn probe(&self, path: &str) -> (u16, String) {
        exchange(self.probes, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
    }

    async fn send(&self, request: &str) -> (u16, String) {
        exchange(self.address, request).await
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    /// Makes `/status` larger than what the sockets on its way hold.
    fn grow(&self) {
        let topic = "t".repeat(TOPIC_BYTES);
        for partition in 0..MANY {
            self.board.partition(&TopicPartition::new(&*topic, partition), |_| {});
        }
    }

    /// Asks for `/status` and reads its first byte alone.
    async fn begin_status(&self) -> (TcpStream, Vec<u8>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let mut answer = vec![0];
        stream.read_exact(&mut answer).await.unwrap();
        (stream, answer)
    }

    fn all_well(&self) {
        for name in [ConditionName::Ledger, ConditionName::Group, ConditionName::Database] {
            self.board.condition(name, Ok(()));
        }
    }
}

/// Sends a request on a connection of its own; head and body of the answer.
async fn raw(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    read.await.expect("the server closes each connection").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("the head has an end");
    (head.to_owned(), body.to_owned())
}

/// The same; status and body.
async fn exchange(address: SocketAddr, request: &str) -> (u16, String) {
    let (head, body) = raw(address, request).await;
    (status(&head), body)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &'a str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find_map(named).map(|(_, value)| value)
}

#[tokio::test]
async fn livez_follows_the_loops_and_not_the_dependencies() {
    let server = running();
    server.board.condition(ConditionName::Database, Err("no answer".to_owned()));
    let poll = server.board.heartbeat("poll", Duration::from_secs(600));
    assert_eq!(server.get("/livez").await, (200, "ok\n".to_owned()));
    let lane = server.board.heartbeat("lane-0", Duration::ZERO);
    let mut answer = server.get("/livez").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while answer.0 == 200 && Instant::now() < deadline {
        answer = server.get("/livez").await;
    }
    let (status, body) = answer;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("lane-0") && !body.contains("poll"), "{body}");
    lane.retire();
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.json("/livez?verbose").await[0]["name"], "poll");
    poll.beat();
}

#[tokio::test]
async fn readyz_waits_for_each_condition_and_tells_halts_without_failing_for_them() {
    let server = running();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    for name in ["ledger", "group", "database"] {
        assert!(body.contains(name), "{body}");
    }
    server.all_well();
    server.board.partition(&TopicPartition::new("events", 3), |state| {
        state.halt = Some(Halt { code: "TG-101".to_owned(), message: "the topic was recreated".to_owned() });
    });
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    let verbose = server.json("/readyz?verbose").await;
    assert_eq!(verbose["ready"], true);
    assert_eq!(verbose["halts"][0]["code"], "TG-101");
    assert_eq!(verbose["halts"][0]["partition"], 3);
    server.board.drain();
    let (status, body) = server.get("/readyz?verbose=true").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"draining\":true"), "{body}");
}

#[tokio::test]
async fn metrics_and_status_show_what_was_told() {
    let server = running();
    server.metrics.topic("events").consumed(7);
    server.board.partition(&TopicPartition::new("events", 0), |state| {
        (state.next_offset, state.log_end_offset) = (Some(40), Some(42));
    });
    let (status, page) = server.get("/metrics").await;
    assert_eq!(status, 200);
    let line = "tidegate_records_consumed_total{topic=\"events\",pipeline=\"orders\"} 7";
    assert!(page.lines().any(|found| found == line), "{page}");
    assert!(page.contains("process_resident_memory_bytes"), "{page}");
    let status = server.json("/status").await;
    assert_eq!(status["pipeline"], "orders");
    assert_eq!(status["partitions"][0]["lag_records"], 2);
    assert_eq!(status["conditions"]["database"]["ok"], false);
}

#[tokio::test]
async fn probes_have_an_address_of_their_own() {
    let server = running();
    assert_eq!(server.probe("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(server.probe("/readyz").await.0, 503);
    server.all_well();
    assert_eq!(server.probe("/readyz").await, (200, "ok\n".to_owned()));
    for path in ["/metrics", "/status", "/"] {
        let (status, body) = server.probe(path).await;
        assert!(status == 404 && body.contains("http.listen"), "{path}: {status} {body}");
    }
}

#[tokio::test]
async fn a_name_that_could_be_a_stranger_s_is_refused_on_every_page() {
    let server = running();
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let ask = async |path: &str, host: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        [exchange(server.address, &request).await, exchange(server.probes, &request).await]
    };
    for host in ["10.1.2.3:9464", "[::1]:9464", "localhost", "tidegate:80", own.trim(), "metrics.example.com"]
    {
        for (status, body) in ask("/livez", host).await {
            assert_eq!(status, 200, "{host}: {body}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics", "/status", "/nowhere"] {
        for (status, body) in ask(path, "evil.example:9464").await {
            let told = body.starts_with("evil.example isn't") && body.contains("http.hosts");
            assert!(status == 421 && told, "{path}: {status} {body}");
        }
    }
    assert_eq!(server.send("GET /livez HTTP/1.0\r\n\r\n").await.0, 200);
}

#[tokio::test]
async fn every_answer_is_of_this_moment_and_of_its_type() {
    let server = running();
    let stranger = "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for (request, expected) in [
        ("GET /livez HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        ("GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n", 503),
        ("GET /readyz?verbose HTTP/1.1\r\nHost: test\r\n\r\n", 503),
        ("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        ("GET /status HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        ("GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        ("POST /status HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", 405),
        (stranger, 421),
    ] {
        let (head, _) = raw(server.address, request).await;
        assert_eq!(status(&head), expected, "{request}{head}");
        for (name, value) in
            [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("connection", "close")]
        {
            assert_eq!(header(&head, name), Some(value), "{request}{head}");
        }
    }
    let (head, _) = raw(server.probes, stranger).await;
    assert_eq!(header(&head, "cache-control"), Some("no-store"), "{head}");
}

#[tokio::test]
async fn a_head_request_gets_the_head_of_the_page() {
    let server = running();
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        let ask = async |method: &str| {
            raw(server.address, &format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
        };
        let ((page, text), (head, nothing)) = (ask("GET").await, ask("HEAD").await);
        assert_eq!((status(&head), nothing.as_str()), (status(&page), ""), "{path}");
        assert!(!text.is_empty() && header(&head, "content-length").is_some(), "{path}: {head}");
        assert_eq!(header(&head, "content-type"), header(&page, "content-type"), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let server = running();
    let (status, body) = server.get("/nowhere").await;
    assert_eq!(status, 404);
    assert!(body.contains("/livez"), "{body}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = raw(server.address, &request).await;
        assert_eq!(self::status(&head), 405, "{method}: {head}");
        assert_eq!(header(&head, "allow"), Some("GET,HEAD"), "{method}: {head}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = running();
    let long = "x".repeat(64 * 1024);
    let many = "X-Many: x\r\n".repeat(65);
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: test\r\nX-Long: {long}"),
        format!("GET /livez?{long} HTTP/1.1\r\nHost: test\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost: test\r\n{many}\r\n"),
    ] {
        assert_eq!(server.send(&request).await.0, 431, "{} bytes", request.len());
    }
    assert_eq!(server.get("/livez").await.0, 200);
}

/// Waits until the server has closed the connection.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
    // A reset is a close too.
    let _ = end.await.expect("the connection is closed");
}

#[tokio::test]
async fn clients_that_say_nothing_give_way_to_those_that_ask() {
    let server = running();
    let mut silent = VecDeque::new();
    for _ in 0..500 {
        silent.push_back(TcpStream::connect(server.address).await.unwrap());
    }
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.get("/metrics").await.0, 200);
    let (oldest, newest) = (silent.pop_front().unwrap(), silent.pop_back().unwrap());
    closed(oldest).await;
    // Nobody takes its place, and its time is over all the same.
    closed(newest).await;
}

#[tokio::test]
async fn clients_that_send_a_head_byte_by_byte_are_closed_in_time() {
    let server = running();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while slow.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").await.is_ok() {
        assert!(Instant::now() < deadline, "a head that never ends is read for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_answer_under_way_is_left_alone_however_many_connect() {
    let server = running();
    server.grow();
    let (mut scrape, mut answer) = server.begin_status().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    closed(silent.remove(0)).await;
    assert_eq!(server.get("/livez").await.0, 200);
    scrape.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["partitions"].as_array().map(Vec::len), Some(MANY as usize));
}

#[tokio::test]
async fn clients_that_read_no_answer_give_way_to_those_that_do() {
    let server = running();
    server.grow();
    let mut slow = VecDeque::new();
    for _ in 0..9 {
        slow.push_back(server.begin_status().await);
    }
    assert_eq!(server.json("/status").await["partitions"].as_array().map(Vec::len), Some(MANY as usize));
    let (mut oldest, mut answer) = slow.pop_front().unwrap();
    // Cut off, by an end or by a reset.
    let _ = oldest.read_to_end(&mut answer).await;
    assert!(answer.len() < MANY as usize * TOPIC_BYTES, "{} bytes", answer.len());
}

#[tokio::test]
async fn an_address_in_use_is_told_with_its_key() {
    let server = running();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    for (key, listen, probes) in [("listen", server.address, any), ("probes", any, server.address)] {
        let addresses = Addresses { listen: Some(listen), probes: Some(probes) };
        let message = Server::bind(addresses, &[], DESCRIPTORS).unwrap_err().to_string();
        assert!(message.starts_with(&format!("can't listen on http.{key} {}", server.address)), "{message}");
    }
}
