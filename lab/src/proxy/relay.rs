//! One connection through the proxy: two pumps, and what the armed fault does to them.

use super::frames::{self, Opening, Transaction};
use super::line::{End, Line};
use super::{CommitAction, Protocol, Shared};
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

/// Most bytes that are read at once.
const READ: usize = 64 * 1024;

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
    // To connect takes a round trip, though the kernel has answered for the proxy at once.
    let made_at = Instant::now() + shared.link.borrow().delay * 2;
    let mut up = Line::new(shared.link.subscribe(), made_at);
    let mut down = Line::new(shared.link.subscribe(), made_at);
    let mut buffer = BytesMut::new();
    if shared.protocol == Protocol::Postgres
        && !open(client_read, client_write, &mut buffer, &mut up, shared).await?
    {
        // After a cancel request only the end of the connection follows.
        up.drain(server_write).await?;
        let mut rest = Vec::new();
        server_read.read_to_end(&mut rest).await?;
        down.end(End::Closed);
        down.drain(client_write).await?;
        return Ok(End::Closed);
    }
    let state = State::default();
    tokio::select! {
        end = upward(client_read, server_write, buffer, shared, &state, up) => end,
        end = downward(server_read, client_write, shared, &state, down) => end,
    }
}

/// What both directions of a connection know.
#[derive(Default)]
struct State {
    /// What becomes of the answer to a COMMIT.
    fate: AtomicU8,
    /// The client was told something since it last sent anything.
    answered: AtomicBool,
}

/// Takes the opening, and sends it on; false after a cancel request.
async fn open(
    client_read: &mut OwnedReadHalf,
    client_write: &mut OwnedWriteHalf,
    buffer: &mut BytesMut,
    up: &mut Line,
    shared: &Shared,
) -> io::Result<bool> {
    loop {
        match frames::opening(buffer) {
            Some(Opening::Encryption) => {
                // Declined by the proxy, in the time that the server would take.
                let mut there_and_back = Line::new(shared.link.subscribe(), up.made_at());
                there_and_back.send_back("N".into());
                there_and_back.drain(client_write).await?;
                shared.turned();
            }
            Some(Opening::Cancel(bytes)) => {
                up.send(bytes);
                return Ok(false);
            }
            Some(Opening::Start(bytes)) => {
                up.send(bytes);
                shared.turned();
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
    state: &State,
    mut line: Line,
) -> io::Result<End> {
    let mut transaction = Transaction::default();
    loop {
        // What came with the opening is there before anything is read.
        if !buffer.is_empty() {
            if state.answered.swap(false, Ordering::SeqCst) {
                shared.turned();
            }
            send_up(&mut buffer, &mut line, &mut transaction, shared, state);
        }
        if let Some(end) = next(from, to, &mut buffer, &mut line).await? {
            return Ok(end);
        }
    }
}

fn send_up(
    buffer: &mut BytesMut,
    line: &mut Line,
    transaction: &mut Transaction,
    shared: &Shared,
    state: &State,
) {
    if shared.protocol == Protocol::Tcp {
        return line.send(buffer.split().freeze());
    }
    let mut ready = BytesMut::new();
    while let Some(frame) = frames::next(buffer) {
        match transaction.observe(&frame).and_then(|commit| shared.judge(&commit)) {
            None => {}
            Some(CommitAction::SwallowThenReset) => {
                line.send(ready.freeze());
                shared.fired();
                return line.end(End::Reset);
            }
            // The other pump must know before the server can answer.
            Some(CommitAction::ForwardThenDrop) => state.fate.store(answer::DROPPED, Ordering::SeqCst),
            Some(CommitAction::HoldReply) => state.fate.store(answer::HELD, Ordering::SeqCst),
        }
        ready.extend_from_slice(&frame.bytes);
    }
    line.send(ready.freeze());
}

/// From the server to the client.
async fn downward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    state: &State,
    mut line: Line,
) -> io::Result<End> {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(end) = next(from, to, &mut buffer, &mut line).await? {
            return Ok(end);
        }
        if shared.protocol == Protocol::Tcp {
            line.send(buffer.split().freeze());
            continue;
        }
        let mut ready = BytesMut::new();
        while let Some(frame) = frames::next(&mut buffer) {
            let awaited = state.fate.load(Ordering::SeqCst);
            if awaited != answer::PASSES && frame.answers_commit() {
                line.send(ready.split().freeze());
                let mut release = shared.release.subscribe();
                shared.fired();
                if awaited == answer::DROPPED {
                    line.end(End::Reset);
                    break;
                }
                line.drain(to).await?;
                // The sender outlives every connection, so this ends with a release.
                let _ = release.changed().await;
                state.fate.store(answer::PASSES, Ordering::SeqCst);
            }
            // Notices and parameters come unasked.
            if !matches!(frame.tag(), b'N' | b'S' | b'A') {
                state.answered.store(true, Ordering::SeqCst);
            }
            ready.extend_from_slice(&frame.bytes);
        }
        line.send(ready.freeze());
    }
}

/// Hands over what is due until more was read, or the line has come to its end.
async fn next(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    buffer: &mut BytesMut,
    line: &mut Line,
) -> io::Result<Option<End>> {
    buffer.reserve(READ);
    loop {
        let has_room = line.has_room();
        tokio::select! {
            carried = line.carry(to) => if let Some(end) = carried? {
                return Ok(Some(end));
            },
            read = from.read_buf(buffer), if has_room => {
                if read? > 0 {
                    return Ok(None);
                }
                line.end(End::Closed);
            }
        }
    }
}
