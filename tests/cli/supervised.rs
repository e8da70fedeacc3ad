//! What systemd hears: a socket in its place.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::process::Tidegate;

use super::servers::Place;
use super::service::{SOON, TABLE};

/// Takes what is told until a line of it holds, and answers it.
fn line_when(socket: &UnixDatagram, what: &str, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + SOON;
    let (mut buffer, mut heard) = (vec![0; 65_536], Vec::new());
    while Instant::now() < deadline {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if let Some(line) = text.lines().find(|line| holds(line)) {
            return line.to_owned();
        }
        heard.push(text);
    }
    panic!("{what} was never told: {heard:?}");
}

#[test]
fn systemd_hears_that_it_is_up_how_far_it_is_and_that_it_drains() {
    let mut place = Place::new("cli_supervised");
    place.sql(TABLE);
    let path = place.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let config = std::fs::read_to_string(place.config()).unwrap();
    // Nobody answers at this address: a start that waits is a start.
    let nowhere = lab::process::free_address();
    let program = Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap();
    let program = program.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "3000000");
    let waiting = program.clone().args(["--set", &format!("kafka.bootstrap.servers={nowhere}")]);
    let waiting = waiting.start("run").unwrap();
    line_when(&socket, "that it is up", |line| line == "READY=1");
    line_when(&socket, "what it waits for", |line| line.starts_with("STATUS=waiting: "));
    line_when(&socket, "that its loops beat", |line| line == "WATCHDOG=1");
    waiting.terminate().unwrap();
    waiting.wait(SOON).unwrap();

    place.listen = lab::process::free_address();
    let running = program.args(["--set", &format!("http.listen={}", place.listen)]).start("run").unwrap();
    line_when(&socket, "how far it is", |line| line == "STATUS=2 partitions, 0 records behind");
    running.terminate().unwrap();
    line_when(&socket, "that it ends", |line| line == "STOPPING=1");
    assert_eq!(running.wait(SOON).unwrap().code, Some(0));
}
