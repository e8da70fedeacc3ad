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
    /// Somewhere in the section that stands here in the file: a key that it lacks.
    Within {
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

impl Place {
    /// The same for what isn't there.
    pub(super) fn within(self) -> Self {
        match self {
            Self::File { line, column } => Self::Within { line, column },
            other => other,
        }
    }
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
    /// The line of the file with the place marked and without secrets; none where there is none to show.
    pub excerpt: Option<Box<str>>,
}

impl Problem {
    pub(super) fn new(
        key: impl Into<String>,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (key, message, help) = (key.into(), message.into(), help.into());
        Self { key, place, message, help, excerpt: None }
    }
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
    /// The file isn't text as it has to be.
    #[error("the configuration file {} isn't UTF-8\n    {hint}", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// What it looks like, and what to do.
        hint: &'static str,
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

/// Whether a place says which key it is.
fn names(place: &Place, key: &str) -> bool {
    let plain = |path: &str| path.replace('[', ".").replace(']', "");
    matches!(place, Place::Set(set) if plain(set) == plain(key))
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
                Place::File { line, column } | Place::Within { line, column } => {
                    write!(f, "{}:{line}:{column}: ", self.file.display())?;
                }
                Place::Environment(name) => write!(f, "environment variable {name}: ")?,
                Place::Set(key) => write!(f, "--set {key}: ")?,
                Place::Absent => write!(f, "{}: ", self.file.display())?,
            }
            if !problem.key.is_empty() && !names(&problem.place, &problem.key) {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
            for line in problem.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
                write!(f, "\n{line}")?;
            }
            for line in problem.help.lines() {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}
