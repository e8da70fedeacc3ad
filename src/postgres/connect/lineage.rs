//! Whether a server that takes writes is the one that was written to, or its heir.
//!
//! A promotion begins a new timeline; the former primary, should it come back beside the new one, still has
//! the old number, and its own ledger agrees with its own tables: only whoever has seen the new primary can
//! tell. A copy of the ledger can't, since the old primary has its old copy. So the process remembers, and
//! a restart forgets.

use std::sync::{Mutex, PoisonError};

use tokio_postgres::{Client, SimpleQueryMessage};

/// What a primary calls itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::postgres) struct Lineage {
    /// `system_identifier` of `pg_control_system()`: made by initdb, and kept by copies.
    pub(super) system: String,
    /// The timeline that it writes, which is one higher after each promotion.
    pub(super) timeline: u32,
}

impl Lineage {
    /// What the database cluster calls itself.
    pub(in crate::postgres) fn system(&self) -> &str {
        &self.system
    }
}

/// The primary that was spoken to last.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<Lineage>>);

/// How a server isn't the one that was written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stray {
    /// It is a former primary.
    Old {
        /// Its timeline.
        timeline: u32,
        /// The one that was seen.
        seen: u32,
    },
    /// It is another database cluster.
    Other {
        /// Its system identifier.
        system: String,
        /// The one that was seen.
        seen: String,
    },
}

impl Memory {
    /// Takes a server that is the one that was spoken to before, or was promoted since, and remembers it.
    pub(super) fn admit(&self, found: &Lineage) -> Result<(), Stray> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*memory {
            Some(seen) if seen.system != found.system => {
                let (system, seen) = (found.system.clone(), seen.system.clone());
                Err(Stray::Other { system, seen })
            }
            Some(seen) if seen.timeline > found.timeline => {
                Err(Stray::Old { timeline: found.timeline, seen: seen.timeline })
            }
            _ => {
                *memory = Some(found.clone());
                Ok(())
            }
        }
    }
}

/// Asks a server that takes writes. `None` of one in recovery, and of one that doesn't tell: Aurora has no
/// such functions, and no second copy of its storage either.
pub(in crate::postgres) async fn read(client: &Client) -> Option<Lineage> {
    match client.simple_query(include_str!("../sql/lineage.sql")).await {
        Ok(messages) => messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let timeline = u32::from_str_radix(row.get(1)?, 16).ok()?;
                Some(Lineage { system: row.get(0)?.to_owned(), timeline })
            }
            _ => None,
        }),
        Err(error) => {
            if let Some(db) = error.as_db_error() {
                let sqlstate = db.code().code();
                tracing::info!(
                    sqlstate,
                    "the server doesn't tell its timeline, so that a former primary in its place isn't noticed"
                );
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(system: &str, timeline: u32) -> Lineage {
        Lineage { system: system.to_owned(), timeline }
    }

    #[test]
    fn promotions_are_followed_and_nothing_else() {
        let memory = Memory::default();
        for timeline in [1, 1, 2, 4] {
            assert_eq!(memory.admit(&lineage("7", timeline)), Ok(()));
        }
        assert_eq!(memory.admit(&lineage("7", 3)), Err(Stray::Old { timeline: 3, seen: 4 }));
        let other = Stray::Other { system: "8".to_owned(), seen: "7".to_owned() };
        assert_eq!(memory.admit(&lineage("8", 9)), Err(other));
        assert_eq!(memory.admit(&lineage("7", 4)), Ok(()));
    }
}
