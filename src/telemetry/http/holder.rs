//! Which process listens on a port, as far as this user may see: the first question where it is taken.
//!
//! Linux tells the socket's inode in `/proc/net/tcp`, and whose descriptor it is in `/proc/PID/fd`. That
//! folder is closed to other users, and where the process isn't dumpable, as ours aren't, to its own user
//! too; then nobody is named.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pid: u32,
    program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.program)
    }
}

/// The process that listens on a TCP port; `None` where that can't be seen.
pub(super) fn of(port: u16) -> Option<Holder> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = |link: std::path::PathBuf| links.iter().any(|known| link == Path::new(known));
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors.any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(holds)).then_some(())?;
        let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(Holder { pid, program: program.trim().to_owned() })
    })
}

/// The inodes of the sockets that listen on a port, from a table of the kernel's.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTEN;
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = of(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert!(!found.program.is_empty() && found.to_string().starts_with("process "), "{found}");
    }

    #[test]
    fn only_sockets_that_listen_on_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:24F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71 1 0\n\
             1: 0100007F:24F8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 72 1 0\n\
             2: 0100007F:24F9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 73 1 0\n";
        assert_eq!(listening(table, 9464), ["71"]);
        assert!(listening(table, 80).is_empty() && listening("", 80).is_empty());
    }
}
