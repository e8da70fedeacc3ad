//! The librdkafka properties of each client: the user's own, what Tidegate needs whatever the user
//! says, and better defaults where the user says nothing.

use std::collections::BTreeMap;

use super::brokers;
use super::error::Error;
use super::identity::DEBUG_CONTEXT;
use super::unpacking;

/// What exactly-once reading rests on; another value is refused.
const OWNED: [(&str, &str); 8] = [
    // Progress is in PostgreSQL; the group's offsets are sent after it, as a hint.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Every partition is assigned at an explicit offset; an offset that isn't there is an error,
    // never a jump to either end (librdkafka's default is the end).
    ("auto.offset.reset", "error"),
    // The end of a partition comes in order with its records: how progress passes trailing markers.
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    // A flipped bit is noticed before it is stored.
    ("check.crcs", "true"),
    // A misspelt topic must not come into being.
    ("allow.auto.create.topics", "false"),
    // Log lines go straight to the log, also while nobody polls.
    ("log.queue", "false"),
];

/// The property by which brokers know a program.
const CLIENT_ID: &str = "client.id";

/// The property that bounds an answer of a broker, and what a batch of zstd may unpack to.
const RECEIVE_BYTES: &str = "receive.message.max.bytes";

/// Better than librdkafka's defaults; the user's value goes first.
const DEFAULTS: [(&str, &str); 5] = [
    (CLIENT_ID, "tidegate"),
    ("group.protocol", "classic"),
    ("socket.keepalive.enable", "true"),
    // A full queue is looked at again soon; librdkafka's default of one second stalls bursts.
    ("fetch.queue.backoff.ms", "10"),
    // Where connections are made on demand, each call for a broker that is away also ends the wait before
    // the next try to reach it: a look-up or a group without its coordinator then tries without a pause, or
    // after half of the first wait, for as long as the outage lasts. With a lasting connection to each
    // broker, tries are paced by the two waits for reconnecting alone.
    ("enable.sparse.connections", "false"),
];

/// Longest wait between tries to reach a broker, in milliseconds: brokers that come back are met within two
/// seconds. librdkafka's default is ten.
const RECONNECT_MAX_MS: u64 = 2000;

/// How often topics' metadata are asked for, in milliseconds: added partitions are noticed within half a
/// minute. librdkafka's default is five.
const REFRESH_MS: u64 = 30_000;

/// How often a member of a classic group tells that it lives, in milliseconds. The answer is also how it
/// learns that another member died: librdkafka's default of three seconds would be added to every take-over.
const HEARTBEAT_MS: &str = "500";

/// librdkafka's default of `session.timeout.ms`.
const SESSION_MS_DEFAULT: u64 = 45_000;

/// How often a member asks for its topics' metadata, and how long an answer counts: see [`lapse_ms`].
const REFRESH: &str = "topic.metadata.refresh.interval.ms";
const METADATA_AGE: &str = "metadata.max.age.ms";

/// The property that bounds how long the group waits for a silent member.
const SESSION: &str = "session.timeout.ms";

/// Properties that only a member of a group has.
const MEMBERSHIP: [&str; 8] = [
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
];

/// librdkafka's smallest and largest `queued.max.messages.kbytes` that make sense here.
const QUEUE_KIB: (u64, u64) = (1024, 2_097_151);

/// Parts of the client's memory that make one of its queue: what counts there is the bytes of records, and a
/// short one takes as much again for its place in the queue. Answers of brokers come on top.
const QUEUE_PARTS: u64 = 4;

/// Bytes of a record below which the queue is bounded by their number.
const SHORT_RECORD_BYTES: u64 = 128;

/// librdkafka's own `queued.min.messages`, and what it needs to work without stalls.
const QUEUE_RECORDS: (u64, u64) = (1000, 100_000);

/// librdkafka's own `fetch.max.bytes`.
const FETCH_BYTES_DEFAULT: u64 = 52_428_800;

/// librdkafka's `message.max.bytes`, below which `fetch.max.bytes` may not lie.
const MESSAGE_BYTES_DEFAULT: u64 = 1_000_000;

/// The smallest `message.max.bytes` that librdkafka takes.
const MESSAGE_BYTES_MIN: u64 = 1000;

/// What a member does about batches that can't be unpacked. librdkafka unpacks zstd into at most
/// `receive.message.max.bytes`; where a batch doesn't tell its size, it tries thrice the room each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unpacking {
    /// Reports them.
    Usual,
    /// Tells those that are too large from those that are damaged, and takes batches of up to so many bytes
    /// unless the user says how many.
    Weighed {
        /// See [`receive_bound`].
        bytes: u64,
    },
}

/// librdkafka's own `receive.message.max.bytes`.
const RECEIVE_BYTES_DEFAULT: u64 = 100_000_000;

/// What librdkafka adds to `fetch.max.bytes` for `receive.message.max.bytes` at the least.
const RECEIVE_FRAME_BYTES: u64 = 512;

/// The most that `receive.message.max.bytes` is raised to: above that lie the sizes that another protocol's
/// first bytes look like.
const RECEIVE_BYTES_MAX: u64 = 1 << 30;

/// The user's `receive.message.max.bytes`.
pub fn receive_bytes(user: &[(String, String)]) -> Option<u64> {
    user.iter().find(|(name, _)| name == RECEIVE_BYTES).and_then(|(_, value)| value.parse().ok())
}

/// The bytes that a batch of zstd may unpack to, where the user doesn't say: as they are at first.
pub const fn receive_default() -> u64 {
    RECEIVE_BYTES_DEFAULT
}

/// As [`receive_default`], after a batch needed more, for a process that may take `memory_bytes` for its
/// records: a batch of as many bytes is read even if its size has to be guessed.
pub fn receive_bound(memory_bytes: u64) -> u64 {
    memory_bytes.max(RECEIVE_BYTES_DEFAULT).saturating_mul(3).min(RECEIVE_BYTES_MAX)
}

/// The session of a member of a classic group, in milliseconds; `None` where brokers decide it (KIP-848).
pub fn session_ms(user: &[(String, String)]) -> Option<u64> {
    let value = |wanted: &str| user.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
    if value("group.protocol").is_some_and(|protocol| !protocol.eq_ignore_ascii_case("classic")) {
        return None;
    }
    Some(value(SESSION).and_then(|ms| ms.parse().ok()).unwrap_or(SESSION_MS_DEFAULT))
}

/// After so many milliseconds without an answer a member counts as not knowing its topics: well within its
/// session, so that [`super::Consumer::outlast`] finds it so.
pub fn lapse_ms(session_ms: u64) -> u64 {
    (session_ms / 2).max(1)
}

/// The client id of a process that is given these properties.
pub fn client_id(user: &[(String, String)]) -> &str {
    let ours = DEFAULTS.iter().find(|(name, _)| *name == CLIENT_ID).map_or("", |(_, value)| value);
    user.iter().find(|(name, _)| name == CLIENT_ID).map_or(ours, |(_, value)| value)
}

/// The addresses of the brokers that the user names, each with its port. Empty where connections are made on
/// demand only.
pub(super) fn brokers(user: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| user.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    if value("enable.sparse.connections").is_some_and(|value| value != "false") {
        return Vec::new();
    }
    let lists = ["bootstrap.servers", "metadata.broker.list"].into_iter().filter_map(value);
    let entries = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
    let addresses = entries.map(|entry| {
        let address = entry.split_once("://").map_or(entry, |(_, address)| address);
        match address.rsplit_once(':') {
            // The colons of an IPv6 address are in brackets.
            Some((_, port)) if !port.contains(']') => address.to_owned(),
            _ => format!("{address}:{PORT}"),
        }
    });
    addresses.collect()
}

/// The port of a broker that is named without one.
const PORT: u16 = 9092;

/// The properties that Tidegate sets by itself, whatever the configuration says.
#[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
pub fn owned() -> impl Iterator<Item = &'static str> {
    OWNED.iter().map(|(name, _)| *name)
}

/// Properties of a member of the group that may take `memory_bytes` for records not yet polled.
///
/// # Errors
/// When the user's properties change one that Tidegate owns, name no group, or ask for an assignor
/// that takes every partition away at each rebalance.
pub(super) fn member(
    user: &[(String, String)],
    memory_bytes: u64,
    unpacking: Unpacking,
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = given(user)?;
    if all.get("group.id").is_none_or(String::is_empty) {
        return Err(refused("group.id", "it must name the consumer group"));
    }
    defaults(&mut all, memory_bytes);
    // The member hears of a topic's new id from the log only. Lines that the user didn't ask for are debug
    // lines, which aren't shown unless the log's own filter wants them.
    let mut contexts = vec![DEBUG_CONTEXT, brokers::DEBUG_CONTEXT];
    if let Unpacking::Weighed { bytes } = unpacking {
        contexts.push(unpacking::DEBUG_CONTEXT);
        let fetch_bytes: Option<u64> = all["fetch.max.bytes"].parse().ok();
        let least = fetch_bytes.unwrap_or(FETCH_BYTES_DEFAULT).saturating_add(RECEIVE_FRAME_BYTES);
        all.entry(RECEIVE_BYTES.to_owned()).or_insert_with(|| bytes.max(least).to_string());
    }
    listen(&mut all, &contexts);
    let strategy = "partition.assignment.strategy";
    if all["group.protocol"] == "classic" {
        let chosen = all.entry(strategy.to_owned()).or_insert_with(|| "cooperative-sticky".to_owned());
        if chosen.trim() != "cooperative-sticky" {
            let reason = "only cooperative-sticky can be used, for every member of the group: the others take \
                          all partitions away at each rebalance";
            return Err(refused(strategy, reason));
        }
        all.entry("heartbeat.interval.ms".to_owned()).or_insert_with(|| HEARTBEAT_MS.to_owned());
        // Metadata that lapse sooner than they are asked for would be missing in calm times: where the user
        // says how often they are, librdkafka's own age holds, which is three times that.
        if !user.iter().any(|(name, _)| name == REFRESH) {
            let lapse_ms = session_ms(user).map_or(SESSION_MS_DEFAULT, lapse_ms);
            all.entry(METADATA_AGE.to_owned()).or_insert_with(|| lapse_ms.to_string());
            // Two tries before they lapse.
            all.insert(REFRESH.to_owned(), REFRESH_MS.min(lapse_ms / 2).max(1).to_string());
        }
    }
    Ok(all)
}

/// Properties of a client that looks things up and belongs to no group.
pub(super) fn inspector(user: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let mut all = given(user)?;
    defaults(&mut all, 0);
    all.retain(|name, _| !MEMBERSHIP.contains(&name.as_str()));
    listen(&mut all, &[brokers::DEBUG_CONTEXT]);
    Ok(all)
}

/// Properties of a client that writes records, each once into its partition, in order, and acknowledged by
/// all replicas that are in step.
pub(super) fn producer(user: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let mut all = inspector(user)?;
    for reads in OWNED_TO_READ {
        all.remove(reads);
    }
    all.insert("enable.idempotence".to_owned(), "true".to_owned());
    all.insert("message.timeout.ms".to_owned(), DELIVERY_MS.to_owned());
    all.entry("message.max.bytes".to_owned()).or_insert_with(|| MESSAGE_BYTES_MAX.to_owned());
    all.remove("debug");
    Ok(all)
}

/// The largest value of `message.max.bytes`: how large a record may be is the topic's to say.
const MESSAGE_BYTES_MAX: &str = "1000000000";

/// How long a record may take to be acknowledged, in milliseconds.
const DELIVERY_MS: &str = "8000";

/// Properties of reading, of which a client that writes warns.
const OWNED_TO_READ: [&str; 9] = [
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "isolation.level",
    "check.crcs",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "fetch.max.bytes",
];

/// Adds contexts to those of the log that the user asks for.
fn listen(all: &mut BTreeMap<String, String>, contexts: &[&str]) {
    let own = all.remove("debug").filter(|own| !own.trim().is_empty());
    let contexts: Vec<&str> = own.as_deref().into_iter().chain(contexts.iter().copied()).collect();
    all.insert("debug".to_owned(), contexts.join(","));
}

/// Properties of a client that reads a few records outside of any group. librdkafka wants a group's
/// name for it, and the user's is the one that the broker's access rules allow; it is never joined.
pub(super) fn reader(user: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let group = user.iter().find(|(name, _)| name == "group.id").map_or("tidegate", |(_, value)| value);
    let mut all = inspector(user)?;
    all.insert("group.id".to_owned(), group.to_owned());
    all.entry(RECEIVE_BYTES.to_owned()).or_insert_with(|| receive_bound(0).to_string());
    Ok(all)
}

fn given(user: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    for (name, value) in user {
        let owned = OWNED.iter().find(|(owned, _)| owned == name);
        if let Some((_, ours)) = owned.filter(|(_, ours)| !value.eq_ignore_ascii_case(ours)) {
            return Err(refused(name, &format!("it must be {ours}; leave it out")));
        }
    }
    Ok(user.iter().cloned().collect())
}

fn defaults(all: &mut BTreeMap<String, String>, memory_bytes: u64) {
    for (name, value) in OWNED {
        all.insert(name.to_owned(), value.to_owned());
    }
    let queue_kib = (memory_bytes / QUEUE_PARTS / 1024).clamp(QUEUE_KIB.0, QUEUE_KIB.1);
    let queue_records = (queue_kib * 1024 / SHORT_RECORD_BYTES).clamp(QUEUE_RECORDS.0, QUEUE_RECORDS.1);
    let number = |name: &str| all.get(name).and_then(|value| value.parse::<u64>().ok());
    let message_bytes = number("message.max.bytes");
    // An answer that is under way when the queue fills comes on top of it, so it is bounded as well.
    let fetch_bytes = (queue_kib * 1024 / 2).min(FETCH_BYTES_DEFAULT);
    let fetch_bytes = fetch_bytes.max(message_bytes.unwrap_or(MESSAGE_BYTES_DEFAULT));
    // The client raises `fetch.max.bytes` to the size of a message, of which a consumer makes no other use.
    let least_fetch = number("fetch.max.bytes").filter(|bytes| *bytes < MESSAGE_BYTES_DEFAULT);
    let message_bytes = least_fetch.map_or(MESSAGE_BYTES_DEFAULT, |bytes| bytes.max(MESSAGE_BYTES_MIN));
    // The client refuses a longest wait that is shorter than the first.
    let reconnect_max_ms = RECONNECT_MAX_MS.max(number("reconnect.backoff.ms").unwrap_or_default());
    let sized = [
        ("queued.max.messages.kbytes", queue_kib.to_string()),
        ("queued.min.messages", queue_records.to_string()),
        ("fetch.max.bytes", fetch_bytes.to_string()),
        ("reconnect.backoff.max.ms", reconnect_max_ms.to_string()),
        (REFRESH, REFRESH_MS.to_string()),
        ("message.max.bytes", message_bytes.to_string()),
    ];
    let fixed = DEFAULTS.map(|(name, value)| (name, value.to_owned()));
    for (name, value) in fixed.into_iter().chain(sized) {
        all.entry(name.to_owned()).or_insert(value);
    }
}

fn refused(name: &str, message: &str) -> Error {
    Error::Property { name: name.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_tidegate_owns_is_set_and_what_the_user_says_stays() {
        let all = member(&user(&[("group.id", "g"), ("client.id", "mine")]), 64 << 20, Unpacking::Usual)
            .expect("valid");
        for (name, value) in OWNED {
            assert_eq!(all[name], value, "{name}");
        }
        assert_eq!(all["client.id"], "mine");
        assert_eq!(all["partition.assignment.strategy"], "cooperative-sticky");
        assert_eq!(all["heartbeat.interval.ms"], HEARTBEAT_MS);
        assert_eq!(all["queued.max.messages.kbytes"], "16384");
        assert_eq!(all["queued.min.messages"], "100000");
        assert_eq!(all["fetch.max.bytes"], "8388608");
        assert_eq!(all["debug"], "metadata,broker");
        assert_eq!(all["reconnect.backoff.max.ms"], "2000");
        assert_eq!(all["enable.sparse.connections"], "false");
        let slow = user(&[("group.id", "g"), ("reconnect.backoff.ms", "5000")]);
        assert_eq!(member(&slow, 0, Unpacking::Usual).expect("valid")["reconnect.backoff.max.ms"], "5000");
        let all =
            member(&user(&[("group.id", "g"), ("debug", "cgrp,fetch")]), 0, Unpacking::Usual).expect("valid");
        assert_eq!(all["debug"], "cgrp,fetch,metadata,broker");
    }

    #[test]
    fn metadata_lapse_within_the_session_unless_the_user_says_otherwise() {
        let times = |extra: &[(&str, &str)]| {
            let pairs = [&[("group.id", "g")], extra].concat();
            let all = member(&user(&pairs), 0, Unpacking::Usual).expect("valid");
            (all[REFRESH].clone(), all.get(METADATA_AGE).cloned())
        };
        assert_eq!(times(&[]), ("11250".into(), Some("22500".into())));
        assert_eq!(times(&[(SESSION, "12000")]), ("3000".into(), Some("6000".into())));
        assert_eq!(times(&[(SESSION, "1800000")]), ("30000".into(), Some("900000".into())));
        assert_eq!(times(&[(REFRESH, "1000"), (METADATA_AGE, "5000")]), ("1000".into(), Some("5000".into())));
        assert_eq!(times(&[(REFRESH, "300000")]), ("300000".into(), None));
        assert_eq!(times(&[("group.protocol", "consumer")]), ("30000".into(), None));
        assert_eq!(session_ms(&user(&[("group.protocol", "consumer"), (SESSION, "6000")])), None);
    }

    #[test]
    fn the_new_protocol_leaves_assignment_and_sessions_to_the_broker() {
        let all = member(&user(&[("group.id", "g"), ("group.protocol", "consumer")]), 0, Unpacking::Usual)
            .expect("valid");
        for name in ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"] {
            assert!(!all.contains_key(name), "{name}");
        }
    }

    #[test]
    fn properties_that_would_break_the_promise_are_refused_by_name() {
        let cases = [
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_uncommitted"),
            ("enable.auto.commit", "true"),
            ("partition.assignment.strategy", "range"),
            ("partition.assignment.strategy", "cooperative-sticky,range"),
        ];
        for (name, value) in cases {
            let refused = member(&user(&[("group.id", "g"), (name, value)]), 0, Unpacking::Usual);
            assert!(matches!(refused, Err(Error::Property { name: found, .. }) if found == name), "{name}");
        }
        let nameless = member(&user(&[]), 0, Unpacking::Usual);
        assert!(matches!(nameless, Err(Error::Property { name, .. }) if name == "group.id"));
    }

    #[test]
    fn memory_is_bounded_and_a_fetch_can_hold_a_message() {
        let sizes = |memory, extra: &[(&str, &str)]| {
            let pairs = [&[("group.id", "g")], extra].concat();
            let all = member(&user(&pairs), memory, Unpacking::Usual).expect("valid");
            (all["queued.max.messages.kbytes"].clone(), all["fetch.max.bytes"].clone())
        };
        assert_eq!(sizes(0, &[]), ("1024".into(), "1000000".into()));
        assert_eq!(sizes(16 << 20, &[]), ("4096".into(), "2097152".into()));
        assert_eq!(sizes(1 << 20, &[("message.max.bytes", "9000000")]), ("1024".into(), "9000000".into()));
        assert_eq!(sizes(u64::MAX, &[]), ("2097151".into(), "52428800".into()));
        assert_eq!(sizes(0, &[("queued.max.messages.kbytes", "4096")]).0, "4096");
        let least = |fetch: &str| {
            let given = user(&[("group.id", "g"), ("fetch.max.bytes", fetch)]);
            member(&given, 16 << 20, Unpacking::Usual).expect("valid")["message.max.bytes"].clone()
        };
        assert_eq!([least("1"), least("50000"), least("2000000")], ["1000", "50000", "1000000"]);
    }

    #[test]
    fn a_member_that_weighs_takes_larger_batches_unless_the_user_says_how_large() {
        let weighed = Unpacking::Weighed { bytes: receive_bound(128 << 20) };
        let sized = |extra: &[(&str, &str)], unpacking| {
            let pairs = [&[("group.id", "g")], extra].concat();
            let all = member(&user(&pairs), 1 << 20, unpacking).expect("valid");
            (all.get(RECEIVE_BYTES).cloned(), all["debug"].clone())
        };
        assert_eq!(sized(&[], Unpacking::Usual), (None, "metadata,broker".into()));
        assert_eq!(sized(&[], weighed), (Some("402653184".into()), "metadata,broker,msg".into()));
        assert_eq!(sized(&[(RECEIVE_BYTES, "200000000")], weighed).0, Some("200000000".into()));
        let large = [("fetch.max.bytes", "2000000000"), ("message.max.bytes", "1000000000")];
        assert_eq!(sized(&large, weighed).0, Some("2000000512".into()));
        assert_eq!((receive_bound(0), receive_bound(u64::MAX)), (300_000_000, 1 << 30));
        assert_eq!(receive_bytes(&user(&[(RECEIVE_BYTES, "7000")])), Some(7000));
    }

    #[test]
    fn brokers_are_known_by_host_and_port() {
        let named = |list: &str| brokers(&user(&[("bootstrap.servers", list)]));
        assert_eq!(named("a, SSL://b:1,,[::1],[::1]:2"), ["a:9092", "b:1", "[::1]:9092", "[::1]:2"]);
        let sparse = user(&[("bootstrap.servers", "a"), ("enable.sparse.connections", "true")]);
        assert!(brokers(&sparse).is_empty());
    }

    #[test]
    fn a_client_without_a_group_has_nothing_of_one() {
        let given = user(&[("group.id", "g"), ("session.timeout.ms", "6000"), ("security.protocol", "ssl")]);
        let all = inspector(&given).expect("valid");
        assert!(MEMBERSHIP.iter().all(|name| !all.contains_key(*name)), "{all:?}");
        assert_eq!(all["security.protocol"], "ssl");
        assert_eq!(reader(&given).expect("valid")["group.id"], "g");
    }
}
