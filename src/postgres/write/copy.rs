//! COPY FROM STDIN, into a table or its stage: framing of rows that are already encoded.
//!
//! A row's bytes in the arena are the tuple body of binary COPY; here they only get their column count
//! in front, an `ord` column where they go to a stage, and are sent in large chunks. In text encoding the
//! same fields are written out with COPY's escapes, so that each type's own input reads them.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, CopyInSink, Error, Statement};

use super::failpoint::Failpoint;
use super::stop::Stop;
use super::target::{Destination, SetStatements, Target};
use super::timings::Stage;
use super::work::Work;
use crate::engine::batch::{Entry, TableBatch};
use crate::engine::row::{self, Encoding};
use crate::engine::shape::Table;
use crate::postgres::classify;

/// Bytes that are collected before they are handed to the connection.
const CHUNK_BYTES: usize = 256 * 1024;

/// The signature, flags and header extension length of binary COPY (PostgreSQL, COPY, "Binary Format").
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The end of binary COPY: a tuple of -1 columns.
const BINARY_TRAILER: &[u8] = &[0xff, 0xff];

/// Rows of one column set on their way into a table or a stage.
struct Rows<'a> {
    /// The batch that holds their bytes.
    table: &'a TableBatch,
    /// Which of its entries, in the order of sending.
    entries: &'a [usize],
    /// Columns of each row.
    width: usize,
    /// The `ord` of the first row; the others count on. `None`: the target has no such column.
    first_ord: Option<i32>,
}

/// Whether a session whose COPY failed, or was dropped, still gets each answer to its own question.
///
/// tokio-postgres sends a Sync when it asks for a COPY and another one behind the rows. PostgreSQL skips the
/// first only once it reads rows; where it refuses before that, it answers both, and every later question
/// is given the answer to the one before, COMMIT included. In an aborted transaction the right answer to any
/// question is known: it fails with SQLSTATE 25P02.
pub(super) async fn is_in_step(client: &Client) -> bool {
    let answer = client.batch_execute("SELECT 1").await;
    answer.is_err_and(|error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
}

/// Sends rows of one column set by COPY; all of them must arrive.
pub(super) async fn send(
    work: &mut Work<'_>,
    target: &Target,
    set: &SetStatements,
    rows: &TableBatch,
    entries: &[usize],
    to: Destination,
) -> Result<(), Stop> {
    let table = &target.table;
    let first = entries.first().map(|&first| &rows.entries[first]);
    let width = first.map_or(0, |entry| entry.columns.len());
    let first_ord = match to {
        Destination::Target => None,
        Destination::Stage => {
            let first = work.next_ord;
            work.next_ord += entries.len() as i32;
            Some(first)
        }
    };
    let statement =
        set.copy(work.client, to, rows.encoding).await.map_err(|error| stop_at(to, error, table, None))?;
    let sent = Rows { table: rows, entries, width, first_ord };
    let taken = match sent.send(work.client, statement).await {
        Ok(taken) => taken,
        Err(error) => {
            let line = classify::copy_line(&error).map(|(line, _)| line as usize);
            let at = line.and_then(|line| entries.get(line.checked_sub(1)?));
            let suspect = at.map(|&entry| rows.entries[entry].arrival);
            let stop = stop_at(to, error, table, suspect);
            return Err(if is_in_step(work.client).await { stop } else { stop.out_of_step() });
        }
    };
    if taken != entries.len() as u64 {
        let message = format!("COPY into {table} took {taken} of {} rows without an error", entries.len());
        return Err(Stop::defect(Some(table), message));
    }
    work.lap(Stage::Copy);
    Ok(())
}

fn stop_at(to: Destination, error: Error, table: &Arc<Table>, suspect: Option<u32>) -> Stop {
    match to {
        Destination::Target => Stop::rows(error, table, suspect),
        Destination::Stage => Stop::staging(error, table, suspect),
    }
}

impl Rows<'_> {
    /// Sends the rows and returns how many rows the server says it took.
    ///
    /// # Errors
    /// What the server or the connection answered; the transaction is then aborted.
    async fn send(&self, client: &Client, copy: &Statement) -> Result<u64, Error> {
        let sink: CopyInSink<Bytes> = client.copy_in(copy).await?;
        let mut sink = pin!(sink);
        let binary = self.table.encoding == Encoding::Binary;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + 4096);
        if binary {
            chunk.extend_from_slice(BINARY_HEADER);
        }
        for (index, &entry) in self.entries.iter().enumerate() {
            if Failpoint::ENABLED && index == self.entries.len() / 2 {
                sink.send(Bytes::from(std::mem::take(&mut chunk))).await?;
                Failpoint::MidCopy.reach();
            }
            let ord = self.first_ord.map(|first| first + index as i32);
            let entry = &self.table.entries[entry];
            if binary {
                self.push_binary(&mut chunk, entry, ord);
            } else {
                self.push_text(&mut chunk, entry, ord);
            }
            if chunk.len() >= CHUNK_BYTES {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES + 4096));
                sink.feed(Bytes::from(full)).await?;
            }
        }
        if binary {
            chunk.extend_from_slice(BINARY_TRAILER);
        }
        sink.feed(Bytes::from(chunk)).await?;
        sink.finish().await
    }

    fn push_binary(&self, chunk: &mut Vec<u8>, entry: &Entry, ord: Option<i32>) {
        let columns = self.width + usize::from(ord.is_some());
        chunk.extend_from_slice(&(columns as i16).to_be_bytes());
        if let Some(ord) = ord {
            row::push_field(chunk, Some(&ord.to_be_bytes()));
        }
        chunk.extend_from_slice(self.table.row(entry));
    }

    fn push_text(&self, chunk: &mut Vec<u8>, entry: &Entry, ord: Option<i32>) {
        let mut separated = false;
        if let Some(ord) = ord {
            chunk.extend_from_slice(ord.to_string().as_bytes());
            separated = true;
        }
        for field in row::fields(self.table.row(entry)) {
            if separated {
                chunk.push(b'\t');
            }
            separated = true;
            match field {
                None => chunk.extend_from_slice(b"\\N"),
                Some(text) => escape_into(chunk, text),
            }
        }
        chunk.push(b'\n');
    }
}

/// Writes a value in COPY's text format: backslash, tab and line ends are escaped, which also keeps a
/// value from being read as NULL (`\N`) or as the end of data (`\.`).
fn escape_into(chunk: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        chunk.extend_from_slice(&rest[..at]);
        chunk.push(b'\\');
        chunk.push(match rest[at] {
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    chunk.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_so_that_copy_reads_it_back() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"plain", b"plain"),
            (b"", b""),
            (b"a\tb\nc\rd", b"a\\tb\\nc\\rd"),
            (b"\\N", b"\\\\N"),
            (b"\\.", b"\\\\."),
            ("é\u{2028}\u{8}".as_bytes(), "é\u{2028}\u{8}".as_bytes()),
        ];
        for (plain, escaped) in cases {
            let mut out = Vec::new();
            escape_into(&mut out, plain);
            assert_eq!(out, escaped, "{plain:?}");
        }
    }
}
