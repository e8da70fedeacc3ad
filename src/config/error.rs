//! What is wrong with a configuration, said so that its writer can repair it.
//!
//! A [`Problem`] names the key, the place, what was found and what is allowed; a [`ConfigError`] carries
//! all problems of one load at once. Neither ever holds a secret: found values are described by
//! [`super::tree::Scalar::shown`], and the values of secret keys are never shown at all.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file; line and column are counted from 1, columns in characters.
    File {
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
    /// In the environment, under this variable's name.
    Environment(String),
    /// On the command line: the key of a `--set`.
    Set(String),
    /// Nowhere: the key is absent from the file.
    Absent,
}

/// One thing to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as a path from the root: `routes[0].table`. Empty for the document as a whole.
    pub key: String,
    /// Where it is written.
    pub place: Place,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do: allowed values, an example, the reason for a refusal. Empty when the message says it
    /// all.
    pub help: String,
}

/// Why a configuration can't be used. The command line ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}: {source}\n    {hint}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
        /// How the file was chosen and how to choose another.
        hint: String,
    },
    /// The file's name doesn't say which format it has.
    #[error(
        "can't tell the format of {} from its name\n    \
         allowed extensions: .yaml or .yml, .toml, .json", .path.display()
    )]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// The file, the environment or the command line holds something that can't be used.
    #[error("{}", Listing::new(.file, .problems))]
    Invalid {
        /// The file, as the user named it.
        file: PathBuf,
        /// Everything that was found, in the order of the sections.
        problems: Vec<Problem>,
    },
}

/// Prints the problems of one load, one paragraph each.
struct Listing<'a> {
    file: &'a Path,
    problems: &'a [Problem],
}

impl<'a> Listing<'a> {
    fn new(file: &'a Path, problems: &'a [Problem]) -> Self {
        Listing { file, problems }
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration can't be used:")?,
            count => write!(f, "the configuration can't be used, {count} problems:")?,
        }
        for problem in self.problems {
            f.write_str("\n\n")?;
            match &problem.place {
                Place::File { line, column } => write!(f, "{}:{line}:{column}: ", self.file.display())?,
                Place::Environment(name) => write!(f, "environment variable {name}: ")?,
                Place::Set(key) => write!(f, "--set {key}: ")?,
                Place::Absent => write!(f, "{}: ", self.file.display())?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
            for line in problem.help.lines() {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}
