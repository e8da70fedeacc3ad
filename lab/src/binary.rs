//! Events in COPY's binary form, encoded ahead of time: the fastest way for rows to enter PostgreSQL, and so
//! the limit that the measurement holds Tidegate against.

use crate::event::Event;
use bytes::{BufMut, Bytes, BytesMut};

/// "PGCOPY\n\377\r\n\0", no flags, no extension (PostgreSQL documentation, COPY, "Binary Format").
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// 2000-01-01 in microseconds since 1970: PostgreSQL counts from there.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
const CHUNK: usize = 64 * 1024;

/// A stream in the making: rows of fields, in pieces of about 64 KiB.
#[derive(Debug)]
pub struct Stream {
    pieces: Vec<Bytes>,
    piece: BytesMut,
}

impl Default for Stream {
    fn default() -> Stream {
        let mut piece = BytesMut::with_capacity(CHUNK + 1024);
        piece.put_slice(HEADER);
        Stream { pieces: Vec::new(), piece }
    }
}

impl Stream {
    /// Begins a row of this many fields.
    pub fn row(&mut self, fields: i16) {
        if self.piece.len() >= CHUNK {
            let next = BytesMut::with_capacity(CHUNK + 1024);
            self.pieces.push(std::mem::replace(&mut self.piece, next).freeze());
        }
        self.piece.put_i16(fields);
    }

    /// The next field, in the binary form of its type.
    pub fn field(&mut self, value: &[u8]) {
        self.piece.put_i32(length(value.len()));
        self.piece.put_slice(value);
    }

    /// The next field, of type jsonb, from its JSON text.
    pub fn jsonb(&mut self, text: &str) {
        self.piece.put_i32(length(text.len() + 1));
        // The version of jsonb's binary form.
        self.piece.put_u8(1);
        self.piece.put_slice(text.as_bytes());
    }

    /// A row of the table of events.
    pub fn event(&mut self, event: &Event) {
        self.row(7);
        self.field(event.event_id.as_bytes());
        self.field(&event.user_id.to_be_bytes());
        self.field(event.kind.as_bytes());
        self.field(&numeric(event.cents));
        self.field(&(event.created_us - POSTGRES_EPOCH_US).to_be_bytes());
        self.field(&[u8::from(event.active)]);
        self.jsonb(&event.payload);
    }

    /// The whole stream, header and trailer included.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.piece.put_i16(-1);
        self.pieces.push(self.piece.freeze());
        self.pieces
    }
}

/// The whole stream for these events.
pub fn copy_stream(events: impl Iterator<Item = Event>) -> Vec<Bytes> {
    let mut stream = Stream::default();
    for event in events {
        stream.event(&event);
    }
    stream.finish()
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a field is far below 2 GiB")
}

/// An amount in hundredths as numeric: groups of four decimal digits, the weight of the first, sign, scale.
fn numeric(cents: i64) -> BytesMut {
    let group = |value: i64| i16::try_from(value).expect("a group has four digits");
    let (whole, fraction) = (cents / 100, cents % 100);
    let mut digits = vec![group(whole / 10_000), group(whole % 10_000), group(fraction * 100)];
    let mut weight = 1_i16;
    while digits.first() == Some(&0) {
        digits.remove(0);
        weight -= 1;
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let mut out = BytesMut::with_capacity(14);
    out.put_i16(group(i64::try_from(digits.len()).expect("at most three groups")));
    out.put_i16(if digits.is_empty() { 0 } else { weight });
    out.put_i16(0);
    out.put_i16(2);
    for digit in digits {
        out.put_i16(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::table_sql;
    use crate::fixture::Fresh;
    use crate::sql::{self, block_on};
    use futures_util::SinkExt;

    #[test]
    fn postgresql_reads_the_binary_form_as_it_reads_the_text() {
        let fresh = Fresh::new("binary");
        let edges = [0, 1, 99, 100, 123_400, 999_999, 1_000_000, 1_000_001, 9_999_999_999];
        let mut events: Vec<Event> = (0..500).map(|number| Event::nth(11, number, 0)).collect();
        for (event, cents) in events.iter_mut().zip(edges) {
            event.cents = cents;
        }
        block_on(async {
            let client = sql::connect(&fresh.url).await?;
            client.batch_execute(&format!("{}; {}", table_sql("b"), table_sql("t"))).await?;
            let mut sink = std::pin::pin!(client.copy_in("COPY b FROM STDIN BINARY").await?);
            for piece in copy_stream(events.iter().cloned()) {
                sink.send(piece).await?;
            }
            sink.finish().await?;
            let mut sink = std::pin::pin!(client.copy_in("COPY t FROM STDIN").await?);
            let text: String = events.iter().map(Event::copy_line).collect();
            sink.send(Bytes::from(text)).await?;
            sink.finish().await?;
            Ok(())
        })
        .unwrap();
        let same = "SELECT count(*) FROM b JOIN t ON b.event_id = t.event_id AND b.amount::text = t.amount::text \
                    AND (b.*)::text = (t.*)::text";
        assert_eq!(sql::number(&fresh.url, same).unwrap(), 500);
    }
}
