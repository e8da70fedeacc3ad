//! The events of the lab: each is a function of a seed, a number and a revision, so that nothing needs to be
//! remembered to know what a table must hold.

use std::fmt::Write;
use uuid::Uuid;

/// The columns of a table that takes events, in order.
pub const COLUMNS: [&str; 7] = ["event_id", "user_id", "kind", "amount", "created_at", "active", "payload"];

/// The SQL that creates a table for events.
pub fn table_sql(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (event_id uuid PRIMARY KEY, user_id bigint NOT NULL, kind text NOT NULL, \
         amount numeric NOT NULL, created_at timestamptz NOT NULL, active boolean NOT NULL, \
         payload jsonb NOT NULL)"
    )
}

/// 2026-01-01T00:00:00Z in microseconds since 1970.
const EPOCH_US: i64 = 1_767_225_600_000_000;
const KINDS: [&str; 6] = ["view", "search", "cart", "checkout", "refund", "signup"];

/// How the keys of events are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Keys {
    /// uuid v4: at random all over the index.
    #[default]
    Random,
    /// uuid v7: ordered by time, one millisecond for each number and about 50 days for each seed, the rest at
    /// random.
    Ordered,
}

/// The milliseconds since 1970 from which ordered keys begin, that of 2026: older rows have smaller keys.
pub const FIRST_KEY_MS: u64 = 1_767_225_600_000;

impl Keys {
    fn key(self, seed: u64, number: u64, random: u128) -> Uuid {
        let bytes = random.to_be_bytes();
        match self {
            Keys::Random => uuid::Builder::from_random_bytes(bytes).into_uuid(),
            Keys::Ordered => {
                let mut rest = [0; 10];
                rest.copy_from_slice(&bytes[6..]);
                uuid::Builder::from_unix_timestamp_millis(
                    FIRST_KEY_MS + ((seed % 10_000) << 32) + number,
                    &rest,
                )
                .into_uuid()
            }
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its key: the same in every revision.
    pub event_id: Uuid,
    /// A number up to 2^53.
    pub user_id: i64,
    /// One of a few words.
    pub kind: &'static str,
    /// In hundredths.
    pub cents: i64,
    /// Microseconds since 1970.
    pub created_us: i64,
    /// A truth.
    pub active: bool,
    /// A JSON object, as it stands in the record.
    pub payload: String,
}

impl Event {
    /// The event of this number in this revision, under a random key.
    pub fn nth(seed: u64, number: u64, revision: u32) -> Event {
        Event::keyed(Keys::Random, seed, number, revision)
    }

    /// The event of this number in this revision.
    pub fn keyed(keys: Keys, seed: u64, number: u64, revision: u32) -> Event {
        let mut fixed = fastrand::Rng::with_seed(mix(seed, number, 0));
        let event_id = keys.key(seed, number, fixed.u128(..));
        let user_id = fixed.i64(0..1 << 53);
        let created_us = EPOCH_US + fixed.i64(0..86_400_000_000);
        let mut varying = fastrand::Rng::with_seed(mix(seed, number, 1 + u64::from(revision)));
        let (session, page) = (varying.u64(..), varying.u16(..));
        let payload = format!(
            "{{\"session\":\"{session:016x}\",\"revision\":{revision},\"path\":\"/p/{page}\",\"tags\":[\"a\",\"b\"]}}"
        );
        Event {
            event_id,
            user_id,
            kind: KINDS[varying.usize(..KINDS.len())],
            cents: varying.i64(0..10_000_000),
            created_us,
            active: varying.bool(),
            payload,
        }
    }

    /// The amount as a decimal number.
    pub fn amount(&self) -> String {
        format!("{}.{:02}", self.cents / 100, self.cents % 100)
    }

    /// The time in RFC 3339.
    pub fn created_at(&self) -> String {
        let time = jiff::Timestamp::from_microsecond(self.created_us).expect("a day of 2026 is in range");
        format!("{time:.6}")
    }

    /// Its JSON text, about 250 bytes.
    pub fn json(&self) -> String {
        self.json_with(&self.user_id.to_string(), if self.active { "true" } else { "false" }, self.kind)
    }

    /// Its JSON text with other literals in three fields, for records that don't fit.
    pub(crate) fn json_with(&self, user_id: &str, active: &str, kind: &str) -> String {
        let mut text = String::with_capacity(256);
        write!(
            text,
            "{{\"event_id\":\"{}\",\"user_id\":{user_id},\"kind\":\"{kind}\",\"amount\":{},\
             \"created_at\":\"{}\",\"active\":{active},\"payload\":{}}}",
            self.event_id,
            self.amount(),
            self.created_at(),
            self.payload
        )
        .expect("writing into a String doesn't fail");
        text
    }

    /// A line of COPY's text format, columns as in [`COLUMNS`].
    pub fn copy_line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            self.event_id,
            self.user_id,
            self.kind,
            self.amount(),
            self.created_at(),
            self.active,
            self.payload
        )
    }
}

/// A seed from three numbers (the finaliser of SplitMix64).
pub(crate) fn mix(seed: u64, number: u64, salt: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The ways in which a record can fail to fit the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poison {
    /// Not JSON at all.
    NotJson,
    /// An object without the key field.
    NoKey,
    /// A NUL character in a text.
    Nul,
    /// A number too large for bigint.
    Overflow,
    /// A text that is no boolean.
    WrongType,
    /// An object where a number belongs.
    Object,
    /// An explicit null in a NOT NULL column.
    Null,
    /// JSON that is cut off.
    Truncated,
}

impl Poison {
    /// All of them, in turn.
    pub const ALL: [Poison; 8] = [
        Poison::NotJson,
        Poison::NoKey,
        Poison::Nul,
        Poison::Overflow,
        Poison::WrongType,
        Poison::Object,
        Poison::Null,
        Poison::Truncated,
    ];

    /// The record's value.
    pub fn json(self, event: &Event) -> String {
        let (user_id, active) = (event.user_id.to_string(), event.active.to_string());
        match self {
            Poison::NotJson => "this is no JSON".to_owned(),
            Poison::NoKey => event.json().replacen("\"event_id\"", "\"other_id\"", 1),
            Poison::Nul => event.json_with(&user_id, &active, "a\\u0000b"),
            Poison::Overflow => event.json_with("9223372036854775808", &active, event.kind),
            Poison::WrongType => event.json_with(&user_id, "\"perhaps\"", event.kind),
            Poison::Object => event.json_with("{\"id\":1}", &active, event.kind),
            Poison::Null => event.json_with("null", &active, event.kind),
            Poison::Truncated => {
                let mut text = event.json();
                text.truncate(text.len() / 2);
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_every_time_and_its_json_is_about_250_bytes() {
        for number in 0..1_000 {
            let event = Event::nth(7, number, 0);
            assert_eq!(event, Event::nth(7, number, 0));
            let json = event.json();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value.as_object().unwrap().len(), COLUMNS.len());
            assert_eq!(value["event_id"], event.event_id.to_string());
            assert!((235..=265).contains(&json.len()), "{} bytes: {json}", json.len());
        }
    }

    #[test]
    fn ordered_keys_rise_with_the_number_and_differ_in_nothing_else() {
        for number in 0..1_000 {
            let ordered = Event::keyed(Keys::Ordered, 7, number, 0);
            assert_eq!(ordered.event_id.get_version_num(), 7);
            assert!(ordered.event_id < Event::keyed(Keys::Ordered, 7, number + 1, 0).event_id);
            assert_ne!(ordered.event_id, Event::keyed(Keys::Ordered, 8, number, 0).event_id);
            let random = Event::nth(7, number, 0);
            assert_eq!(Event { event_id: random.event_id, ..ordered }, random);
        }
    }

    #[test]
    fn a_revision_keeps_the_key_and_changes_the_rest() {
        let (first, second) = (Event::nth(7, 1, 0), Event::nth(7, 1, 1));
        assert_eq!((first.event_id, first.user_id), (second.event_id, second.user_id));
        assert_ne!(first.payload, second.payload);
        assert_ne!(first.event_id, Event::nth(7, 2, 0).event_id);
        assert_ne!(first.event_id, Event::nth(8, 1, 0).event_id);
    }

    #[test]
    fn poison_is_what_its_name_says() {
        let event = Event::nth(7, 1, 0);
        for poison in Poison::ALL {
            let parsed = serde_json::from_str::<serde_json::Value>(&poison.json(&event));
            let broken = matches!(poison, Poison::NotJson | Poison::Truncated);
            assert_eq!(parsed.is_err(), broken, "{poison:?}");
        }
    }
}
