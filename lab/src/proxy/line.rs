//! A delay line: what comes in leaves a fixed time later, in order, any amount of it under way.
//!
//! So behaves a long cable. Holding each piece back before the next one is read would be a narrow cable
//! instead: a stream would get one piece through in each delay.

use super::Link;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

/// Most bytes under way in one direction while there is a delay. Beyond that the sender has to wait, so that
/// a line that is cut off doesn't take all memory; it is more than a connection of 1 GB/s holds in 200 ms.
const UNDER_WAY_MAX: usize = 256 * 1024 * 1024;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// One side closed; the other is closed too.
    Closed,
    /// The client sees a reset.
    Reset,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Line {
    link: watch::Receiver<Link>,
    /// Nothing that is sent leaves before this.
    open_at: Instant,
    pieces: VecDeque<(Instant, Bytes)>,
    under_way: usize,
    end: Option<(Instant, End)>,
}

impl Line {
    /// A line whose connection is made at this time.
    pub(super) fn new(link: watch::Receiver<Link>, made_at: Instant) -> Line {
        Line { link, open_at: made_at, pieces: VecDeque::new(), under_way: 0, end: None }
    }

    /// Whether more can be sent. Without a delay a line holds one piece, so that a receiver which is slow
    /// slows the sender down.
    pub(super) fn has_room(&self) -> bool {
        let most = if self.delay().is_zero() { 0 } else { UNDER_WAY_MAX };
        self.end.is_none() && self.under_way <= most
    }

    /// Puts bytes on their way.
    pub(super) fn send(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.under_way += bytes.len();
            let due = self.due();
            self.pieces.push_back((due, bytes));
        }
    }

    /// Puts bytes on their way whose question has yet to arrive at the other side.
    pub(super) fn send_back(&mut self, bytes: Bytes) {
        self.open_at = self.open_at.max(Instant::now()) + self.delay();
        self.send(bytes);
    }

    /// Ends the line behind what is under way.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some((self.due(), end));
    }

    /// Hands over what is due. Comes back after each piece, and with the end once that has arrived; never
    /// while nothing is under way. Loses nothing where it is dropped half-way.
    pub(super) async fn carry(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<Option<End>> {
        let first = self.pieces.front().map(|(due, _)| *due);
        let Some(due) = first.or(self.end.map(|(due, _)| due)) else { return std::future::pending().await };
        tokio::time::sleep_until(due).await;
        // A blackhole lets nothing pass, the end of a connection neither. The sender lives as long as the
        // proxy; without it the wire behaves well.
        let _ = self.link.wait_for(|link| !link.blackhole).await;
        let Some((_, bytes)) = self.pieces.front_mut() else { return Ok(self.end.map(|(_, end)| end)) };
        let written = to.write(bytes).await?;
        bytes.advance(written);
        self.under_way -= written;
        if bytes.is_empty() {
            self.pieces.pop_front();
        }
        Ok(None)
    }

    /// Hands everything over that is under way, and waits for the end where there is one.
    pub(super) async fn drain(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.pieces.is_empty() || self.end.is_some() {
            if self.carry(to).await?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// When the connection is made.
    pub(super) fn made_at(&self) -> Instant {
        self.open_at
    }

    fn delay(&self) -> Duration {
        self.link.borrow().delay
    }

    /// When what is sent now leaves: never before what was sent earlier.
    fn due(&self) -> Instant {
        let due = Instant::now().max(self.open_at) + self.delay();
        self.pieces.back().map_or(due, |(last, _)| due.max(*last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const DELAY: Duration = Duration::from_millis(100);
    const PIECE: usize = 10_000;

    fn line(delay: Duration) -> (Line, watch::Sender<Link>) {
        let link = watch::Sender::new(Link { delay, ..Link::default() });
        (Line::new(link.subscribe(), Instant::now()), link)
    }

    #[tokio::test]
    async fn any_number_of_pieces_are_under_way_and_each_takes_the_delay() {
        const PIECES: u8 = 200;
        let (mut line, _link) = line(DELAY);
        let (mut to, mut from) = tokio::io::duplex(1 << 24);
        let begin = Instant::now();
        for piece in 0..PIECES {
            line.send(Bytes::from(vec![piece; PIECE]));
            assert!(line.has_room(), "piece {piece} fills the line");
        }
        line.end(End::Closed);
        for piece in 0..PIECES {
            let mut got = vec![0; PIECE];
            assert_eq!(line.carry(&mut to).await.unwrap(), None);
            from.read_exact(&mut got).await.unwrap();
            assert_eq!(got, vec![piece; PIECE], "in order");
            assert!(begin.elapsed() >= DELAY, "piece {piece} came early");
        }
        assert_eq!(line.carry(&mut to).await.unwrap(), Some(End::Closed));
        // One after the other they take 20 s.
        let took = begin.elapsed();
        assert!(took < DELAY * u32::from(PIECES) / 2, "{PIECES} pieces took {took:?}");
    }

    #[tokio::test]
    async fn a_shorter_delay_overtakes_nothing() {
        let (mut line, link) = line(DELAY);
        let (mut to, mut from) = tokio::io::duplex(1024);
        line.send(Bytes::from_static(b"slow "));
        link.send_replace(Link { delay: Duration::from_millis(1), ..Link::default() });
        line.send(Bytes::from_static(b"fast"));
        line.end(End::Reset);
        while line.carry(&mut to).await.unwrap().is_none() {}
        drop(to);
        let mut got = String::new();
        from.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "slow fast");
    }

    #[tokio::test]
    async fn the_first_piece_waits_for_the_connection() {
        let link = watch::Sender::new(Link { delay: DELAY, ..Link::default() });
        let begin = Instant::now();
        let mut line = Line::new(link.subscribe(), begin + DELAY * 2);
        let (mut to, _from) = tokio::io::duplex(1024);
        line.send(Bytes::from_static(b"hello"));
        line.drain(&mut to).await.unwrap();
        assert!(begin.elapsed() >= DELAY * 3);
    }

    #[tokio::test]
    async fn without_a_delay_a_slow_receiver_slows_the_sender() {
        let (mut line, _link) = line(Duration::ZERO);
        let (mut to, _from) = tokio::io::duplex(10);
        line.send(Bytes::from_static(b"more than it takes"));
        assert!(!line.has_room());
        assert_eq!(line.carry(&mut to).await.unwrap(), None);
        assert!(!line.has_room(), "a part is still under way");
    }
}
