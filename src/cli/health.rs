//! `tidegate health`: asks a running process whether its loops beat, for container health checks.
//!
//! One GET over a plain socket, so that an image needs no other program for its health check.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::context::ConfigArgs;
use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate health -c orders.yaml              exit code 0: the process is alive
  tidegate health -c orders.yaml --timeout 1  for a check that must be quick

In a Dockerfile:
  HEALTHCHECK CMD [\"tidegate\", \"health\"]

";

/// Ask a running process on http.probes or http.listen whether it is alive
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct HealthArgs {
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value = "3",
          value_parser = clap::value_parser!(u16).range(1..=300))]
    timeout: u16,
}

pub(super) fn run(args: &HealthArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load()?;
    let Some(listen) = settings.http.probes.or(settings.http.listen) else {
        let text = "http.listen is off and http.probes names no address, so that no process of this \
            configuration answers;\n    give one of the two an address, or take the health check away";
        return Err(Failure::usage(anyhow!(text)));
    };
    let address = reachable(listen);
    let deadline = Instant::now() + Duration::from_secs(args.timeout.into());
    let answer = ask(address, deadline).map_err(|error| {
        let run = config.command("run");
        Failure::failed(anyhow!("no answer from http://{address}/livez: {error}; is `{run}` up?"))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let healthy = head.split(' ').nth(1) == Some("200");
    let body = body.trim_end();
    match healthy {
        true => writeln!(io::stdout(), "{body}")?,
        false => return Err(Failure::failed(anyhow!("http://{address}/livez says: {body}"))),
    }
    Ok(Exit::Done)
}

/// Where a process that listens on this address is reached from the same machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, deadline: Instant) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) if answer.len() < 64 * 1024 => answer.extend_from_slice(&piece[..length]),
            Ok(_) => return Err(io::Error::other("the answer has no end")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(answer).map_err(io::Error::other)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_asked_on_the_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
