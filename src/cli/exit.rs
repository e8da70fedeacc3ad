//! How a command ends: exit codes, and errors that carry one.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit codes; scripts are written against them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// Done.
    Done,
    /// Failed while running.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// `check` or `verify` found something, or `run --fail-on-quarantine` something that it can't write.
    Found,
    /// Kafka or PostgreSQL can't be reached; never from `run`.
    Unreachable,
    /// A partition halted; from `run` only where it has a goal.
    Halted,
    /// A signal ended the command.
    Interrupted,
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Found => 3,
            Self::Unreachable => 4,
            Self::Halted => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed, and the code with which it ends.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    pub(super) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Failed, error)
    }

    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Usage, error)
    }

    pub(super) fn context(self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { exit: self.exit, error: self.error.context(doing) }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether the reader of standard output went away.
    pub(super) fn is_broken_pipe(&self) -> bool {
        self.error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
            && self.exit == Exit::Failed
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        for cause in self.error.chain() {
            let cause = cause.to_string();
            // Some errors say their cause within their own sentence; it isn't said twice.
            if told.contains(&cause) {
                continue;
            }
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&cause);
        }
        f.write_str(&told)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::other("no such file");
        let within = ConfigError::Unreadable { path: "a.yaml".into(), source: cause(), hint: "named".into() };
        let cases = [
            (Failure::from(within), "can't read the configuration file a.yaml: no such file\n    named"),
            (Failure::from(cause()).context("writing"), "writing: no such file"),
        ];
        for (failure, text) in cases {
            assert_eq!(failure.to_string(), text);
        }
    }

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Found, 3),
            (Exit::Unreachable, 4),
            (Exit::Halted, 5),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn only_a_write_to_a_reader_that_left_counts_as_a_broken_pipe() {
        let error = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(error()).context("can't print").is_broken_pipe());
        assert!(!Failure::new(Exit::Unreachable, error()).is_broken_pipe());
        assert!(!Failure::from(io::Error::other("x")).is_broken_pipe());
    }
}
