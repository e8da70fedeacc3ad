//! Which keys are looked up before records are written.
//!
//! Where nothing but this command writes a table, a key that it didn't write has no row. That is guessed, and
//! a wrong guess changes nothing: the records fail together, and come again with all keys looked up.

use crate::engine::batch::{Op, TableBatch};
use crate::engine::route::OnTombstone;
use crate::engine::row::Encoding;
use crate::postgres::write::Writer;

/// Drafts of which all keys are looked up after a surprise.
const CAUTIOUS: u32 = 8;

/// How far the table is known to hold nobody else's rows.
pub(super) struct Guess {
    /// Drafts of which all keys are still looked up.
    cautious: u32,
}

impl Default for Guess {
    /// The first draft shows what is there.
    fn default() -> Self {
        Self { cautious: 1 }
    }
}

impl Guess {
    /// The entries whose keys are looked up. Where a route deletes, that there is no row decides as well.
    pub(super) fn looked_up(&self, writer: &Writer, rows: &TableBatch, all: bool) -> Vec<usize> {
        let everywhere = 0..rows.entries.len();
        let route = &rows.route;
        let is_certain = rows.encoding == Encoding::Binary && route.table.traits.bytewise_key;
        if all || self.cautious > 0 || !is_certain || route.on_tombstone == OnTombstone::Delete {
            return everywhere.collect();
        }
        let looks = |&entry: &usize| {
            let entry = &rows.entries[entry];
            entry.op != Op::Merge || writer.may_have_written(rows, entry)
        };
        everywhere.filter(looks).collect()
    }

    /// So many keys of a draft had rows that this command didn't write.
    pub(super) fn found(&mut self, surprises: usize) {
        self.cautious = if surprises > 0 { CAUTIOUS } else { self.cautious.saturating_sub(1) };
    }

    /// Records that were to go in together didn't.
    pub(super) fn was_wrong(&mut self) {
        self.cautious = CAUTIOUS;
    }
}
