//! What the board tells of waits, and the ledger of each process.

use serde::{Deserialize, Serialize};

/// Something that must be true before topics are read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// Its name.
    pub wait: String,
    /// The route that it holds back; `None`: the whole pipeline.
    pub route: Option<String>,
    /// What is looked at: `sql`, `http`, `topic` or `pipeline`.
    pub kind: String,
    /// Where it stands: `waiting`, `holds`, `gone_on`, `halted` or `skipped`.
    pub state: String,
    /// Since when.
    pub since: String,
    /// What came of the last look.
    pub last_answer: String,
    /// When that was.
    pub last_answer_at: Option<String>,
    /// When it is looked at next.
    pub next_look_at: Option<String>,
    /// When it will have taken too long.
    pub times_out_at: Option<String>,
    /// All of it in a sentence, with what follows.
    pub message: String,
}

impl Wait {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.state == "holds"
    }
}
