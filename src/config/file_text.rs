//! Texts that are made of files, which may be written anew while they are in use: secrets that rotate.

use std::fmt;
use std::path::Path;

use secrecy::SecretString;

/// A text that is made of files.
#[derive(Clone)]
pub struct FileText(Vec<Part>);

/// A part of such a text.
#[derive(Clone)]
pub(super) enum Part {
    /// It stands in the configuration.
    Text(String),
    /// It is what this file holds.
    File(String),
}

impl FileText {
    /// A text of these parts.
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self(parts)
    }

    /// The text as its files say it now.
    ///
    /// # Errors
    /// A sentence that names the file which can't be read; it holds no secret.
    pub fn read(&self) -> Result<SecretString, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::File(path) => text.push_str(&read(path)?),
            }
        }
        Ok(text.into())
    }
}

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileText(***)")
    }
}

/// What a file holds, without the end of its last line.
pub(super) fn read(path: &str) -> Result<String, String> {
    match std::fs::read_to_string(Path::new(path)) {
        Ok(mut text) => {
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            Ok(text)
        }
        Err(error) => Err(format!("can't read the file {path}: {error}")),
    }
}
