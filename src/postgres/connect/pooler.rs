//! Recognises a connection pooler that hands out server connections for each transaction.
//!
//! Such a pooler separates a session from its settings, prepared statements, advisory locks and cancel
//! requests. PostgreSQL's own key for cancel requests names the backend, a pooler's names the pooler's
//! client: the two process ids are equal only without a pooler. With one, a second connection opens a
//! transaction; a pooler in transaction mode gives it the server connection that the first one just left,
//! or gives the first one another connection, which lacks a setting that it made.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Error, SimpleQueryMessage};

use crate::postgres::session::{Link, Session};

/// What was seen over two connections to the same address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// The backend of the first connection when it was set up.
    pub before: i32,
    /// The backend of the first connection while the second has a transaction open.
    pub after: i32,
    /// The backend of the second connection's transaction.
    pub other: i32,
    /// A setting of the first connection was still there.
    pub setting_kept: bool,
}

/// Whether sessions don't keep a server connection of their own.
pub fn is_transaction_mode(seen: Observation) -> bool {
    seen.after != seen.before || seen.other == seen.before || !seen.setting_kept
}

/// Whether something between here and the server answers in its name.
pub(super) async fn is_between(session: &Session) -> bool {
    key_process_id(session.cancel_token()).await.is_some_and(|pid| pid != session.backend_pid())
}

/// Whether two sessions share server connections, seen by a second connection.
pub(super) async fn shares_transactions(session: &Session, other: &Link) -> Result<bool, Error> {
    let marker = format!("{:016x}", fastrand::u64(..));
    session
        .client()
        .simple_query(&format!("SELECT pg_catalog.set_config('tidegate.session', '{marker}', false)"))
        .await?;
    let opened = match other.client.simple_query("BEGIN; SELECT pg_catalog.pg_backend_pid()").await {
        Ok(opened) => opened,
        // A pooler in statement mode takes no transaction at all.
        Err(error) if error.as_db_error().is_some() => return Ok(true),
        Err(error) => return Err(error),
    };
    let number = |messages: &[SimpleQueryMessage]| field(messages, 0).and_then(|text| text.parse().ok());
    let other = number(&opened).unwrap_or_default();
    if other == session.backend_pid() {
        // A pool of one has no server connection left for the first one to ask with.
        return Ok(true);
    }
    let again = session
        .client()
        .simple_query(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('tidegate.session', true)",
        )
        .await?;
    Ok(is_transaction_mode(Observation {
        before: session.backend_pid(),
        after: number(&again).unwrap_or_default(),
        other,
        setting_kept: field(&again, 1).as_deref() == Some(marker.as_str()),
    }))
}

fn field(messages: &[SimpleQueryMessage], column: usize) -> Option<String> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(column).map(str::to_owned),
        _ => None,
    })
}

/// The process id in the key for cancel requests, which the client doesn't show: read from a cancel request
/// that goes nowhere.
async fn key_process_id(token: &CancelToken) -> Option<i32> {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let send = token.cancel_query_raw(ours, PlainTls);
    let receive = async {
        loop {
            let length = theirs.read_i32().await.ok()?;
            let code = theirs.read_i32().await.ok()?;
            // SSLRequest is 8 bytes long, CancelRequest 16 (PostgreSQL's "Message Formats").
            match (length, code) {
                (8, 80_877_103) => theirs.write_all(b"S").await.ok()?,
                (16, 80_877_102) => {
                    let pid = theirs.read_i32().await.ok()?;
                    let _secret = theirs.read_i32().await.ok()?;
                    drop(theirs);
                    return Some(pid);
                }
                _ => return None,
            }
        }
    };
    let (_, pid) = tokio::join!(send, receive);
    pid
}

/// Stands in for TLS on a pipe inside the process.
struct PlainTls;

struct Plain(DuplexStream);

impl TlsConnect<DuplexStream> for PlainTls {
    type Stream = Plain;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Plain>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        std::future::ready(Ok(Plain(stream)))
    }
}

impl TlsStream for Plain {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_that_keeps_its_backend_and_settings_is_one() {
        let own = Observation { before: 10, after: 10, other: 11, setting_kept: true };
        assert!(!is_transaction_mode(own));
        let cases = [
            (
                "the second connection got the first one's backend",
                Observation { other: 10, after: 12, ..own },
            ),
            ("the same, with a pool of one", Observation { other: 10, ..own }),
            ("the first connection moved", Observation { after: 12, ..own }),
            ("the setting vanished", Observation { setting_kept: false, ..own }),
        ];
        for (what, seen) in cases {
            assert!(is_transaction_mode(seen), "{what}");
        }
    }
}
