//! A crowd at the HTTP port of a running process: probes are answered, and records go on.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::process::{Tidegate, get};
use lab::sql;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::servers::Place;
use super::service::{SOON, TABLE, start, sum};

/// Sockets that connect and say nothing, as far as the limit on descriptors allows so many.
const SILENT: usize = 10_000;
/// Connections that send a request's head byte by byte.
const SLOW: usize = 400;
/// Descriptors of this process that other tests use.
const OTHERS: u64 = 1_000;

/// Allows this process as many descriptors as it may have; how many of them are for silent sockets.
fn silent_sockets() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let free = hard.unwrap_or(u64::MAX).saturating_sub(OTHERS + SLOW as u64);
    usize::try_from(free).unwrap_or(usize::MAX).min(SILENT)
}

/// Connects and says nothing; when all sockets are open, the oldest are opened anew, for ever.
fn be_silent(address: &str, sockets: usize, open: &AtomicBool, stop: &AtomicBool) {
    let mut silent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..50 {
            let Ok(socket) = TcpStream::connect(address) else { continue };
            silent.push(socket);
        }
        if silent.len() >= sockets {
            open.store(true, Ordering::Relaxed);
            silent.drain(..50);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Sends heads byte by byte, on a new connection for each that is closed.
fn be_slow(address: &str, stop: &AtomicBool) {
    let connect = || TcpStream::connect(address).ok();
    let mut slow: Vec<_> = (0..SLOW).map(|_| connect()).collect();
    while !stop.load(Ordering::Relaxed) {
        for place in &mut slow {
            let sent = place.as_mut().is_some_and(|socket| socket.write_all(b"G").is_ok());
            if !sent {
                *place = connect();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The page, as a kubelet asks for it: three failures in a row, of a few seconds each, are one too many.
fn ask(address: &str, path: &str) -> String {
    let mut answers = Vec::new();
    while answers.len() < 3 {
        match get(address, path) {
            Ok((200, page)) => return page,
            answer => answers.push(answer),
        }
    }
    panic!("{address}{path}: {answers:?}")
}

#[test]
fn probes_are_answered_and_records_go_on_in_a_crowd_of_silent_and_slow_clients() {
    let place = Place::new("cli_crowd");
    place.sql(TABLE);
    let probes = lab::process::free_address();
    // TIDEGATE_BIN names a release build to measure; else it is the one of these tests.
    let program = std::env::var_os("TIDEGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into());
    let config = std::fs::read_to_string(place.config()).unwrap();
    let program = Tidegate::new(Path::new(&program), &config).unwrap();
    let running = program.start(&format!("run --set http.probes={probes}")).unwrap();
    running.await_http(&probes, "/readyz", SOON).unwrap();
    let both = format!("http={} probes={probes}", place.listen);
    assert!(running.errors().contains(&both), "the start tells both listeners:\n{}", running.errors());
    let (sockets, open, stop) = (silent_sockets(), AtomicBool::new(false), AtomicBool::new(false));
    let mut times = [(&place.listen, Vec::new()), (&probes, Vec::new())];
    std::thread::scope(|scope| {
        scope.spawn(|| be_silent(&place.listen, sockets, &open, &stop));
        scope.spawn(|| be_slow(&place.listen, &stop));
        // Whatever fails below, the threads end.
        let stop = StopAtEnd(&stop);
        let mut asked_in_full_crowd = 0;
        let deadline = Instant::now() + SOON;
        while asked_in_full_crowd < 300 {
            assert!(Instant::now() < deadline, "{sockets} sockets were never open");
            asked_in_full_crowd += usize::from(open.load(Ordering::Relaxed));
            for (address, times) in &mut times {
                let begin = Instant::now();
                ask(address, "/livez");
                times.push(begin.elapsed());
            }
        }
        place.expect("health --timeout 30", 0);
        place.expect(&format!("health --timeout 30 --set http.probes={probes}"), 0);
        let page = ask(&place.listen, "/metrics");
        assert!(sum(&page, "process_open_fds") < 2_000.0, "the crowd is bounded:\n{page}");
        place.put(0, &[r#"{"id":1,"amount":1}"#]);
        let rows = || sql::number(&place.fresh.url, "SELECT count(*) FROM public.events").unwrap();
        running.await_condition("the record in the table", SOON, |_| rows() == 1).unwrap();
        drop(stop);
    });
    for ((_, mut times), key) in times.into_iter().zip(["http.listen", "http.probes"]) {
        times.sort();
        let (count, median, worst) = (times.len(), times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{sockets} silent and {SLOW} slow clients of http.listen, /livez of {key} asked {count} times: \
             median {median:?}, worst {worst:?}"
        );
    }
    running.terminate().unwrap();
    assert_eq!(running.wait(SOON).unwrap().code, Some(0));
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_process_that_runs_out_of_descriptors_closes_silent_connections_and_answers() {
    let place = Place::new("cli_descriptors");
    place.sql(TABLE);
    let running = start(&place, "run");
    running.await_http(&place.listen, "/readyz", SOON).unwrap();
    let connect = || TcpStream::connect(&place.listen).unwrap();
    let mut silent: Vec<_> = (0..20).map(|_| connect()).collect();
    let (_, page) = get(&place.listen, "/metrics").unwrap();
    let limit = sum(&page, "process_open_fds") as u64;
    let pid = Pid::from_raw(running.id().cast_signed());
    let hard = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum: hard }).unwrap();
    let told = || running.errors().contains("are closed to accept others");
    let deadline = Instant::now() + SOON;
    while !told() {
        assert!(Instant::now() < deadline, "the limit was never reached:\n{}", running.errors());
        silent.extend((0..20).map(|_| connect()));
        let answer = get(&place.listen, "/livez");
        assert!(matches!(answer, Ok((200, _))), "{answer:?}");
    }
    place.expect("health", 0);
    running.terminate().unwrap();
    assert_eq!(running.wait(SOON).unwrap().code, Some(0));
}
