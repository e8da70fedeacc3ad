//! What a worker's log tells of its tries.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A line of the log in its JSON form, as far as it is about a failure or what follows.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    timestamp: jiff::Timestamp,
    level: String,
    message: String,
    class: Option<String>,
    sqlstate: Option<String>,
    code: Option<String>,
    wait_ms: Option<u64>,
}

/// What was told since a place in the log.
#[derive(Debug, Clone)]
pub(super) struct Told {
    lines: Vec<Line>,
}

/// A try that failed, in milliseconds since the first one, and the wait that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) at_ms: u64,
    pub(super) wait_ms: u64,
}

/// How long a log is.
pub(super) fn length(log: &Path) -> Result<u64> {
    Ok(std::fs::metadata(log).with_context(|| format!("looking at {}", log.display()))?.len())
}

impl Told {
    /// Reads what was written behind `from`; a line that isn't finished is left for the next time.
    pub(super) fn since(log: &Path, from: u64) -> Result<Told> {
        let mut file = File::open(log).with_context(|| format!("opening {}", log.display()))?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Told::of(&String::from_utf8_lossy(&bytes)))
    }

    fn of(text: &str) -> Told {
        Told { lines: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect() }
    }

    /// The tries of this class.
    pub(super) fn tries(&self, class: &str) -> Vec<Try> {
        let tries: Vec<(&Line, u64)> = self
            .lines
            .iter()
            .filter(|line| line.class.as_deref() == Some(class))
            .filter_map(|line| Some((line, line.wait_ms?)))
            .collect();
        let Some((first, _)) = tries.first() else { return Vec::new() };
        let since = |line: &Line| line.timestamp.as_millisecond() - first.timestamp.as_millisecond();
        let of = |(line, wait_ms): &(&Line, u64)| Try {
            at_ms: u64::try_from(since(line)).unwrap_or_default(),
            wait_ms: *wait_ms,
        };
        tries.iter().map(of).collect()
    }

    /// The first failure of this class in words.
    pub(super) fn error(&self, class: &str) -> Option<String> {
        let failed = self.lines.iter().find(|line| {
            line.class.as_deref() == Some(class) && line.wait_ms.is_none() && line.level == "WARN"
        })?;
        let words = failed.message.trim_start_matches("a transaction failed: ");
        Some(match &failed.sqlstate {
            Some(code) => format!("{code}: {words}"),
            None => words.to_owned(),
        })
    }

    /// The code and the words of the first halt.
    pub(super) fn halt(&self) -> Option<(String, String)> {
        let halted = self.lines.iter().find(|line| line.message.starts_with("halted: "))?;
        Some((halted.code.clone()?, halted.message.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_errors_and_halts_are_read_from_a_log() {
        let at = |second: &str, rest: &str| {
            format!(r#"{{"timestamp":"2026-11-30T10:00:{second}Z","target":"t",{rest}}}"#) + "\n"
        };
        let tried = r#""level":"DEBUG","class":"conflict","message":"the transaction is tried again""#;
        let failed = r#""level":"WARN","class":"conflict","message":"a transaction failed: a lock is held""#;
        let halted = r#""level":"ERROR","code":"TG-305","message":"halted: TG-305: given up""#;
        let log = [
            at("00.000000", &format!(r#"{failed},"sqlstate":"55P03""#)),
            at("00.010000", &format!(r#"{tried},"wait_ms":80,"tries":1"#)),
            at("00.510000", &format!(r#"{tried},"wait_ms":120,"tries":2"#)),
            at("01.000000", halted),
            "not a line of JSON\n".to_owned(),
        ]
        .concat();
        let told = Told::of(&log);
        let expected = [Try { at_ms: 0, wait_ms: 80 }, Try { at_ms: 500, wait_ms: 120 }];
        assert_eq!(told.tries("conflict"), expected);
        assert_eq!(told.error("conflict").as_deref(), Some("55P03: a lock is held"));
        assert_eq!(told.halt().map(|halt| halt.0).as_deref(), Some("TG-305"));
        assert_eq!((told.tries("resources").len(), told.error("resources")), (0, None));
    }
}
