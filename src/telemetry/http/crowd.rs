//! Who may stay connected, and who gives way.
//!
//! There is one rule, for each of two crowds: a newcomer always gets in. Where a crowd is at its bound, it is
//! the oldest connection of the peer with the most connections that gives way, so that a single address
//! can't put out the others. Connections that wait for a request and those whose request is being answered
//! are crowds of their own: however many connect and say nothing, an answer under way is left alone.
//!
//! Pure: it knows numbers and addresses, no sockets and no time. What it hands out is to be closed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many connections of a listener may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Those that wait for a request.
    pub(super) waiting: usize,
    /// Those whose request is being answered. Each may hold a page that its client doesn't read.
    pub(super) answering: usize,
}

impl Bounds {
    /// The bounds for a process that may have so many descriptors: a third of them at most for two listeners,
    /// since Kafka and PostgreSQL need some too.
    pub(super) fn of(descriptors: u64) -> Self {
        let share = |part: u64, least: usize, most: usize| {
            usize::try_from(descriptors / part).unwrap_or(most).clamp(least, most)
        };
        Self { waiting: share(8, 16, 1024), answering: share(64, 8, 16) }
    }
}

/// Who connects. In IPv6 whoever has one address has all that share its first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Peer(IpAddr);

impl Peer {
    fn of(address: IpAddr) -> Self {
        const NETWORK: u128 = u128::MAX << 64;
        match address.to_canonical() {
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & NETWORK).into()),
            ip @ IpAddr::V4(_) => Self(ip),
        }
    }
}

/// A connection's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    peer: Peer,
    /// Counts arrivals.
    number: u64,
}

/// The places of a listener's connections. `T` is what closes a connection.
#[derive(Debug)]
pub(super) struct Places<T> {
    waiting: Crowd<T>,
    answering: Crowd<T>,
    arrivals: u64,
}

impl<T> Places<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { waiting: Crowd::new(bounds.waiting), answering: Crowd::new(bounds.answering), arrivals: 0 }
    }

    /// Somebody connects. With the place comes who gives way for it.
    pub(super) fn arrive(&mut self, address: IpAddr, connection: T) -> (Ticket, Option<T>) {
        self.arrivals += 1;
        let ticket = Ticket { peer: Peer::of(address), number: self.arrivals };
        (ticket, self.waiting.enter(ticket, connection))
    }

    /// The whole head of a request is there. Returns whose answer gives way for it.
    pub(super) fn ask(&mut self, ticket: Ticket) -> Option<T> {
        let connection = self.waiting.leave(ticket)?;
        self.answering.enter(ticket, connection)
    }

    /// The connection is closed, by whomever.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.leave(ticket);
        self.answering.leave(ticket);
    }

    /// No more descriptors: who gives way, if anybody waits.
    pub(super) fn make_room(&mut self) -> Option<T> {
        self.waiting.give_way()
    }
}

#[derive(Debug)]
struct Crowd<T> {
    bound: usize,
    count: usize,
    /// Each peer's connections by the number of their arrival; no peer is without.
    peers: BTreeMap<Peer, BTreeMap<u64, T>>,
}

impl<T> Crowd<T> {
    fn new(bound: usize) -> Self {
        Self { bound, count: 0, peers: BTreeMap::new() }
    }

    fn enter(&mut self, ticket: Ticket, connection: T) -> Option<T> {
        let leaves = if self.count < self.bound { None } else { self.give_way() };
        self.peers.entry(ticket.peer).or_default().insert(ticket.number, connection);
        self.count += 1;
        leaves
    }

    fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let peer = self.peers.get_mut(&ticket.peer)?;
        let connection = peer.remove(&ticket.number)?;
        if peer.is_empty() {
            self.peers.remove(&ticket.peer);
        }
        self.count -= 1;
        Some(connection)
    }

    fn give_way(&mut self) -> Option<T> {
        let oldest = |(peer, connections): (&Peer, &BTreeMap<u64, T>)| {
            let (number, _) = connections.first_key_value()?;
            Some((connections.len(), Reverse(*number), *peer))
        };
        let (_, Reverse(number), peer) = self.peers.iter().filter_map(oldest).max()?;
        self.leave(Ticket { peer, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn places(waiting: usize, answering: usize) -> Places<&'static str> {
        Places::new(Bounds { waiting, answering })
    }

    #[test]
    fn a_newcomer_gets_in_and_the_oldest_that_waits_gives_way() {
        let mut places = places(2, 2);
        let peer = address("10.0.0.1");
        assert_eq!(places.arrive(peer, "a").1, None);
        assert_eq!(places.arrive(peer, "b").1, None);
        assert_eq!(places.arrive(peer, "c").1, Some("a"));
        assert_eq!(places.arrive(peer, "d").1, Some("b"));
    }

    #[test]
    fn who_has_left_gives_way_to_nobody() {
        let mut places = places(2, 2);
        let peer = address("10.0.0.1");
        let (a, _) = places.arrive(peer, "a");
        places.arrive(peer, "b");
        places.leave(a);
        places.leave(a);
        assert_eq!(places.arrive(peer, "c").1, None);
        assert_eq!(places.arrive(peer, "d").1, Some("b"));
    }

    #[test]
    fn an_answer_under_way_never_gives_way_to_those_that_wait() {
        let mut places = places(2, 1);
        let peer = address("10.0.0.1");
        let (scrape, _) = places.arrive(peer, "scrape");
        assert_eq!(places.ask(scrape), None);
        let idle = ["a", "b", "c", "d"];
        let left: Vec<_> = idle.iter().filter_map(|name| places.arrive(peer, name).1).collect();
        assert_eq!(left, ["a", "b"]);
        assert_eq!((places.make_room(), places.make_room()), (Some("c"), Some("d")));
        assert_eq!(places.make_room(), None);
        let (next, _) = places.arrive(peer, "next");
        assert_eq!(places.ask(next), Some("scrape"));
    }

    #[test]
    fn a_connection_that_gave_way_asks_for_nothing() {
        let mut places = places(1, 1);
        let peer = address("10.0.0.1");
        let (a, _) = places.arrive(peer, "a");
        assert_eq!(places.arrive(peer, "b").1, Some("a"));
        assert_eq!(places.ask(a), None);
        places.leave(a);
        assert_eq!(places.arrive(peer, "c").1, Some("b"));
    }

    #[test]
    fn the_peer_with_the_most_gives_way() {
        let mut places = places(4, 4);
        let (flood, prometheus) = (address("10.0.0.1"), address("10.0.0.2"));
        assert_eq!(places.arrive(prometheus, "prometheus").1, None);
        let names = ["1", "2", "3", "4", "5"];
        let left: Vec<_> = names.iter().filter_map(|name| places.arrive(flood, name).1).collect();
        assert_eq!(left, ["1", "2"]);
        assert_eq!(places.arrive(address("10.0.0.3"), "kubelet").1, Some("3"));
    }

    #[test]
    fn peers_are_told_apart_by_what_one_owner_has() {
        assert_eq!(Peer::of(address("2001:db8::1")), Peer::of(address("2001:db8::ffff:1")));
        assert_ne!(Peer::of(address("2001:db8::1")), Peer::of(address("2001:db8:0:1::1")));
        assert_eq!(Peer::of(address("::ffff:10.0.0.1")), Peer::of(address("10.0.0.1")));
        assert_ne!(Peer::of(address("10.0.0.1")), Peer::of(address("10.0.0.2")));
    }

    #[test]
    fn the_bounds_leave_most_descriptors_to_others() {
        for descriptors in [256, 1024, 4096, 65_536, u64::MAX] {
            let bounds = Bounds::of(descriptors);
            let both = 2 * (bounds.waiting + bounds.answering) as u64;
            assert!(both <= descriptors / 3, "{descriptors}: {bounds:?}");
        }
        assert_eq!(Bounds::of(u64::MAX), Bounds { waiting: 1024, answering: 16 });
        assert_eq!(Bounds::of(0), Bounds { waiting: 16, answering: 8 });
    }
}
