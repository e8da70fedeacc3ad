//! Records that can't be written, kept with their bytes in the transaction that passes them.
//!
//! The primary key names the record's place in the log. It is free on every first passage, since progress
//! moves over each offset once; it is taken only where an operator set progress back and the same record
//! fails again. The row is then opened again with the new reason, so that nothing is hidden and the
//! number of rows affected is always the number of records sent.
//!
//! A reason may repeat a field's name in any script: what the database's encoding lacks is spelt in ASCII.
//! The other texts are names of the catalogue, topics and words of ours, which any encoding has.

use std::fmt::Write as _;

use tokio_postgres::{Client, Error, Statement};

use super::super::Ledger;
use super::super::moves::{Timestamp, unnested};
use crate::engine::batch::{PartitionMove, QuarantineRecord};
use crate::postgres::repertoire::Repertoire;

/// Most records that one statement takes.
const ROWS_MAX: usize = 1000;
/// Bytes of keys, values and headers after which a statement is sent; a single record may be larger.
const BYTES_MAX: usize = 1 << 20;

/// The insert, prepared for one session.
pub(in crate::postgres) struct QuarantineInsert {
    pipeline: String,
    statement: Statement,
    /// What the database can hold.
    repertoire: Repertoire,
}

/// What is left of a batch's quarantine to be written.
pub(in crate::postgres) struct Rest<'b> {
    records: &'b [QuarantineRecord],
    moves: &'b [PartitionMove],
    written: u64,
}

impl QuarantineInsert {
    /// Prepares the statement.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn prepare(
        client: &Client,
        ledger: &Ledger,
        pipeline: &str,
        repertoire: Repertoire,
    ) -> Result<Self, Error> {
        let statement = client.prepare(&ledger.sql(&insert())).await?;
        Ok(Self { pipeline: pipeline.to_owned(), statement, repertoire })
    }

    /// Writes records that these moves pass, but for those that the last statement takes.
    ///
    /// # Errors
    /// The first refusal; the transaction is then aborted.
    pub(in crate::postgres) async fn write_most<'b>(
        &self,
        client: &Client,
        records: &'b [QuarantineRecord],
        moves: &'b [PartitionMove],
    ) -> Result<Rest<'b>, Error> {
        let mut rest = Rest { records, moves, written: 0 };
        loop {
            let (records, tail) = rest.records.split_at(chunk(rest.records));
            if tail.is_empty() {
                return Ok(rest);
            }
            rest.written += self.insert_all(client, records, moves).await?;
            rest.records = tail;
        }
    }

    /// Writes the rest in one statement, which is sent when this is first polled; returns how many rows were
    /// written in all.
    ///
    /// # Errors
    /// A refusal; the transaction is then aborted.
    pub(in crate::postgres) async fn write_rest(
        &self,
        client: &Client,
        rest: Rest<'_>,
    ) -> Result<u64, Error> {
        let Rest { records, moves, written } = rest;
        if records.is_empty() {
            return Ok(written);
        }
        Ok(written + self.insert_all(client, records, moves).await?)
    }

    async fn insert_all(
        &self,
        client: &Client,
        records: &[QuarantineRecord],
        moves: &[PartitionMove],
    ) -> Result<u64, Error> {
        fn each<'r, T>(records: &'r [QuarantineRecord], of: impl Fn(&'r QuarantineRecord) -> T) -> Vec<T> {
            records.iter().map(of).collect()
        }
        let place = |record: &QuarantineRecord| -> &PartitionMove { &moves[record.move_index.get()] };
        client
            .execute(
                &self.statement,
                &[
                    &self.pipeline,
                    &each(records, |record| &*place(record).partition.topic),
                    &each(records, |record| place(record).topic_id.0),
                    &each(records, |record| place(record).partition.partition),
                    &each(records, |record| record.offset.value()),
                    &each(records, |record| record.key.as_deref()),
                    &each(records, |record| record.value.as_deref()),
                    &each(records, |record| literal(record.headers.iter().map(|(name, _)| Some(&name[..])))),
                    &each(records, |record| {
                        literal(record.headers.iter().map(|(_, value)| value.as_deref()))
                    }),
                    &each(records, |record| record.timestamp_ms.map(Timestamp)),
                    &each(records, |record| record.target.as_str()),
                    &each(records, |record| record.truncated.is_some()),
                    &each(records, |record| record.truncated.as_ref().map(|hash| hash.as_slice())),
                    &each(records, |record| record.reject.code.name()),
                    &each(records, |record| record.reject.sqlstate.as_deref()),
                    &each(records, |record| record.reject.column.as_deref()),
                    &each(records, |record| self.repertoire.storable(&record.reject.reason)),
                ],
            )
            .await
    }
}

/// How many of the records go together: at least one, where there is any.
fn chunk(records: &[QuarantineRecord]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&QuarantineRecord| {
        let fits = bytes < BYTES_MAX;
        bytes += weight(record);
        fits
    };
    records.iter().take(ROWS_MAX).take_while(fits).count().max(1).min(records.len())
}

fn weight(record: &QuarantineRecord) -> usize {
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers = record.headers.iter().map(|(name, value)| name.len() + length(value));
    length(&record.key) + length(&record.value) + headers.sum::<usize>()
}

/// Headers come as array literals, since an array can't hold arrays of different lengths.
fn insert() -> String {
    const ARRAYS: [(&str, &str, &str); 16] = [
        ("topic", "text", ""),
        ("topic_id", "uuid", ""),
        ("partition", "int4", ""),
        ("record_offset", "int8", ""),
        ("record_key", "bytea", ""),
        ("record_value", "bytea", ""),
        ("header_names", "text", "::pg_catalog.bytea[]"),
        ("header_values", "text", "::pg_catalog.bytea[]"),
        ("record_at", "timestamptz", ""),
        ("target", "text", ""),
        ("truncated", "bool", ""),
        ("record_sha256", "bytea", ""),
        ("code", "text", ""),
        ("sqlstate", "text", ""),
        ("column_name", "text", ""),
        ("reason", "text", ""),
    ];
    let (arrays, names) = unnested(ARRAYS.into_iter().map(|(name, type_, _)| (name, type_)));
    let values: Vec<String> =
        ARRAYS.into_iter().map(|(name, _, cast)| format!("s.\"{name}\"{cast}")).collect();
    let values = values.join(", ");
    format!(
        "INSERT INTO {{ledger}}.quarantine AS q (pipeline, {names}, span) \
         SELECT $1, {values}, p.span FROM ROWS FROM ({arrays}) AS s({names}) \
         JOIN {{ledger}}.progress AS p ON p.pipeline OPERATOR(pg_catalog.=) $1 \
         AND p.topic OPERATOR(pg_catalog.=) s.topic AND p.partition OPERATOR(pg_catalog.=) s.partition \
         ON CONFLICT (pipeline, topic, topic_id, partition, record_offset, span, backfill) DO UPDATE SET \
         target = excluded.target, code = excluded.code, sqlstate = excluded.sqlstate, \
         column_name = excluded.column_name, reason = excluded.reason, \
         attempts = q.attempts OPERATOR(pg_catalog.+) 1, resolved_at = NULL, resolution = NULL"
    )
}

/// A literal of `bytea[]`, in hexadecimal, which needs no escapes but that of its own backslash.
fn literal<'v>(values: impl Iterator<Item = Option<&'v [u8]>>) -> String {
    let mut text = String::from("{");
    for (index, value) in values.enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value {
            None => text.push_str("NULL"),
            Some(bytes) => {
                text.push_str("\"\\\\x");
                for byte in bytes {
                    let _ = write!(text, "{byte:02x}");
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::batch::MoveIndex;
    use crate::engine::position::Offset;
    use crate::engine::row::{Reject, RejectCode};

    fn record(bytes: usize) -> QuarantineRecord {
        QuarantineRecord {
            move_index: MoveIndex::new(0),
            is_skipped: false,
            offset: Offset::new(0),
            timestamp_ms: None,
            key: None,
            value: Some(vec![0; bytes]),
            headers: Vec::new(),
            target: String::new(),
            truncated: None,
            reject: Reject { code: RejectCode::BadJson, column: None, sqlstate: None, reason: String::new() },
        }
    }

    #[test]
    fn statements_are_bounded_by_rows_and_bytes() {
        let records = |sizes: &[usize]| sizes.iter().map(|&bytes| record(bytes)).collect::<Vec<_>>();
        for (sizes, expected) in [
            (vec![5 << 20], 1),
            (vec![10, 5 << 20, 10], 2),
            (vec![BYTES_MAX / 2; 4], 2),
            (vec![1; ROWS_MAX + 7], ROWS_MAX),
        ] {
            assert_eq!(chunk(&records(&sizes)), expected);
        }
    }

    #[test]
    fn headers_are_spelt_as_an_array_of_bytes() {
        let values: [Option<&[u8]>; 4] = [Some(b"a\"\\"), None, Some(b""), Some(&[0, 255])];
        assert_eq!(literal(values.into_iter()), r#"{"\\x61225c",NULL,"\\x","\\x00ff"}"#);
        assert_eq!(literal(std::iter::empty()), "{}");
    }
}
