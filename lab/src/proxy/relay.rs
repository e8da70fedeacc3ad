//! One connection through the proxy: two pumps, and what the armed fault does to them.

use super::frames::{self, Opening, Transaction};
use super::{CommitAction, Link, Protocol, Shared};
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// One side closed; the other is closed too.
    Closed,
    /// The client sees a reset.
    Reset,
}

/// What awaits the answer to a COMMIT that was forwarded.
mod answer {
    pub(super) const PASSES: u8 = 0;
    pub(super) const DROPPED: u8 = 1;
    pub(super) const HELD: u8 = 2;
}

/// Relays until an end, then closes or resets.
pub(super) async fn run(client: TcpStream, shared: Arc<Shared>) {
    shared.counters.send_modify(|counters| {
        counters.connections += 1;
        counters.live += 1;
    });
    let end = connect_and_pump(client, &shared).await;
    shared.counters.send_modify(|counters| counters.live -= 1);
    if let Ok((client, End::Reset)) = end {
        // Closing with unsent data thrown away is what makes the kernel send a reset.
        let _ = client.set_zero_linger();
    }
}

async fn connect_and_pump(client: TcpStream, shared: &Shared) -> io::Result<(TcpStream, End)> {
    let mut cut = shared.cut.subscribe();
    let Ok(server) = TcpStream::connect(shared.upstream).await else {
        return Ok((client, End::Reset));
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let end = tokio::select! {
        _ = cut.changed() => End::Reset,
        end = pumps(&mut client_read, &mut client_write, &mut server_read, &mut server_write, shared) => {
            end.unwrap_or(End::Closed)
        }
    };
    let client = client_read.reunite(client_write).map_err(io::Error::other)?;
    Ok((client, end))
}

async fn pumps(
    client_read: &mut OwnedReadHalf,
    client_write: &mut OwnedWriteHalf,
    server_read: &mut OwnedReadHalf,
    server_write: &mut OwnedWriteHalf,
    shared: &Shared,
) -> io::Result<End> {
    let mut wire = Wire { link: shared.link.subscribe() };
    let mut buffer = BytesMut::new();
    if shared.protocol == Protocol::Postgres
        && !open(client_read, client_write, server_write, &mut buffer, &mut wire).await?
    {
        // After a cancel request only the end of the connection follows.
        let mut rest = Vec::new();
        server_read.read_to_end(&mut rest).await?;
        return Ok(End::Closed);
    }
    let fate = AtomicU8::new(answer::PASSES);
    tokio::select! {
        end = upward(client_read, server_write, buffer, shared, &fate, wire.clone()) => end,
        end = downward(server_read, client_write, shared, &fate, wire.clone()) => end,
    }
}

/// Relays the opening; false after a cancel request.
async fn open(
    client_read: &mut OwnedReadHalf,
    client_write: &mut OwnedWriteHalf,
    server_write: &mut OwnedWriteHalf,
    buffer: &mut BytesMut,
    wire: &mut Wire,
) -> io::Result<bool> {
    loop {
        match frames::opening(buffer) {
            Some(Opening::Encryption) => client_write.write_all(b"N").await?,
            Some(Opening::Cancel(bytes)) => {
                wire.send(server_write, &bytes).await?;
                return Ok(false);
            }
            Some(Opening::Start(bytes)) => {
                wire.send(server_write, &bytes).await?;
                return Ok(true);
            }
            None => {
                if client_read.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// From the client to the server.
async fn upward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut buffer: BytesMut,
    shared: &Shared,
    fate: &AtomicU8,
    mut wire: Wire,
) -> io::Result<End> {
    let mut transaction = Transaction::default();
    loop {
        if shared.protocol == Protocol::Tcp {
            let piece = buffer.split();
            wire.send(to, &piece).await?;
        } else {
            let mut ready = BytesMut::new();
            while let Some(frame) = frames::next(&mut buffer) {
                let action = transaction.observe(&frame).and_then(|commit| shared.judge(&commit));
                match action {
                    None => {}
                    Some(CommitAction::SwallowThenReset) => {
                        wire.send(to, &ready).await?;
                        shared.fired();
                        return Ok(End::Reset);
                    }
                    // The other pump must know before the server can answer.
                    Some(CommitAction::ForwardThenDrop) => fate.store(answer::DROPPED, Ordering::SeqCst),
                    Some(CommitAction::HoldReply) => fate.store(answer::HELD, Ordering::SeqCst),
                }
                ready.extend_from_slice(&frame.bytes);
            }
            wire.send(to, &ready).await?;
        }
        if from.read_buf(&mut buffer).await? == 0 {
            wire.passable().await;
            return Ok(End::Closed);
        }
    }
}

/// From the server to the client.
async fn downward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    fate: &AtomicU8,
    mut wire: Wire,
) -> io::Result<End> {
    let mut buffer = BytesMut::new();
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            wire.passable().await;
            return Ok(End::Closed);
        }
        if shared.protocol == Protocol::Tcp {
            let piece = buffer.split();
            wire.send(to, &piece).await?;
            continue;
        }
        let mut ready = BytesMut::new();
        while let Some(frame) = frames::next(&mut buffer) {
            let awaited = fate.load(Ordering::SeqCst);
            if awaited != answer::PASSES && frame.answers_commit() {
                wire.send(to, &ready.split()).await?;
                let mut release = shared.release.subscribe();
                shared.fired();
                if awaited == answer::DROPPED {
                    return Ok(End::Reset);
                }
                // The sender outlives every connection, so this ends with a release.
                let _ = release.changed().await;
                fate.store(answer::PASSES, Ordering::SeqCst);
            }
            ready.extend_from_slice(&frame.bytes);
        }
        wire.send(to, &ready).await?;
    }
}

/// The wire, as it behaves at the moment.
#[derive(Debug, Clone)]
struct Wire {
    link: watch::Receiver<Link>,
}

impl Wire {
    async fn send(&mut self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let delay = self.link.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.passable().await;
        to.write_all(bytes).await
    }

    /// Waits out a blackhole; the end of a connection doesn't pass one either.
    async fn passable(&mut self) {
        // The sender lives as long as the proxy; without it the wire behaves well.
        let _ = self.link.wait_for(|link| !link.blackhole).await;
    }
}
