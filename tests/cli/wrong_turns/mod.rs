//! What a newcomer meets who takes a wrong turn: command line and files → exit code and messages, as
//! snapshots to read. Each message says what was being done, to what, and what to do next.
//!
//! A turn runs in a folder of its own, so that files have their short names. What differs from run to run is
//! written in capitals.

mod configuration;
mod environment;
mod files;
mod goals;
mod http;
mod records;
mod servers;
mod targets;
mod usage;

use std::path::Path;
use std::process::Command;

use super::{stderr, stdout};

/// A configuration that is complete, with servers that nobody reaches.
pub(super) const GOOD: &str = "\
pipeline: orders
kafka:
  bootstrap.servers: 127.0.0.1:1
postgres:
  url: postgres://app:geheim@127.0.0.1:1/app
timeouts: {connect: 1s}
routes:
  - topic: orders
    table: public.orders
    key: [id]
";

/// One wrong turn.
#[derive(Clone, Default)]
pub(super) struct Turn {
    title: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    environment: Vec<(&'static str, &'static str)>,
    call: &'static str,
    /// Texts of this run, each with what stands for it.
    stand_ins: Vec<(String, &'static str)>,
}

impl Turn {
    /// The arguments are separated by blanks.
    pub(super) fn new(title: &'static str, call: &'static str) -> Self {
        Self { title, call, ..Self::default() }
    }

    pub(super) fn file(mut self, name: &'static str, text: impl AsRef<[u8]>) -> Self {
        self.files.push((name, text.as_ref().to_vec()));
        self
    }

    pub(super) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    pub(super) fn stand_in(mut self, text: impl Into<String>, word: &'static str) -> Self {
        self.stand_ins.push((text.into(), word));
        self
    }

    /// Takes the turn, and tells what came of it.
    fn told(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(self.call.split_whitespace()).current_dir(folder.path());
        command.env_clear().envs(self.environment.iter().copied());
        let output = command.output().unwrap();
        let variables: String =
            self.environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
        let mut told = format!("$ {variables}tidegate {}\n", self.call);
        for part in [stdout(&output), stderr(&output)] {
            assert!(!part.contains("geheim"), "{}\n{part}", self.title);
            told += &part;
        }
        told += &format!("→ exit code {}\n", output.status.code().unwrap());
        self.without_chance(&told, folder.path())
    }

    fn without_chance(&self, told: &str, folder: &Path) -> String {
        let told = told.replace(folder.to_str().unwrap(), "FOLDER");
        let stand = |told: String, (text, word): &(String, &'static str)| told.replace(text.as_str(), word);
        self.stand_ins.iter().fold(told, stand)
    }
}

/// All turns of one group in one snapshot, each under its title. No message holds the password of [`GOOD`].
pub(super) fn snapshot(name: &str, turns: &[Turn]) {
    let mut text = String::new();
    for turn in turns {
        text += &format!("=== {}\n{}\n", turn.title, turn.told());
    }
    written(name, text);
}

/// Compares a text with its snapshot.
pub(super) fn written(name: &str, text: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
