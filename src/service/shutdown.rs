//! Signals: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second signal, as shells have it for an interrupted program.
const INTERRUPTED: i32 = 130;

/// SIGTERM, SIGINT and SIGHUP, which all mean the same.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Nothing where SIGHUP was ignored at the start: `nohup` asks for that.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals from now on.
    ///
    /// # Errors
    /// When the process may not install signal handlers.
    pub(super) fn install() -> std::io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup })
    }

    /// Waits for the next one, and gives its name.
    pub(super) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }

    /// Ends the process with [`INTERRUPTED`] at the last of so many further signals: that is safe at any
    /// moment, since all state is in PostgreSQL.
    pub(super) fn end_at_last_of(mut self, signals: u32) {
        tokio::spawn(async move {
            for _ in 0..signals {
                self.next().await;
            }
            tracing::warn!(
                "ended at once by a further signal; what isn't committed is read again at the next start"
            );
            std::process::exit(INTERRUPTED);
        });
    }
}

/// Whether whoever started this process had it ignore SIGHUP. Unknown counts as no.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored(&status, SignalKind::hangup().as_raw_value())
}

/// Reads the mask of ignored signals in a `/proc/PID/status`.
fn is_ignored(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = |mask: &str| format!("Name:\ttidegate\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
        for (mask, hangup) in [("0000000000000001", true), ("0000000000001000", false), ("", false)] {
            assert_eq!(is_ignored(&status(mask), 1), hangup, "{mask}");
        }
        assert!(is_ignored(&status("0000000000001000"), 13) && !is_ignored("", 1));
    }
}
