//! Loopback ports for servers.
//!
//! They come from below the range out of which the kernel gives ports to outgoing connections, so that a
//! server that restarts finds its port free. Two labs may still choose the same one: a server that can't bind
//! is started again on another.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port of 127.0.0.1 that nobody listens on at this moment.
pub(crate) fn free() -> u16 {
    loop {
        let port = fastrand::u16(RANGE);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens on the port, or `stop` says that it's in vain.
pub(super) fn await_listener(port: u16, deadline: Duration, mut stop: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    while Instant::now() < until && !stop() {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
