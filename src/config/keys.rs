//! Every key of the configuration, section by section.
//!
//! The reader refuses what isn't listed here; the test of `config/tidegate.yaml` holds the documentation
//! against the same lists.

/// The root.
pub(super) const ROOT: &[&str] = &[
    "pipeline",
    "kafka",
    "postgres",
    "start",
    "routes",
    "workers",
    "limits",
    "bad_records",
    "retry",
    "timeouts",
    "http",
    "log",
];
/// `postgres`
pub(super) const POSTGRES: &[&str] = &["url", "ledger"];
/// An element of `routes`.
pub(super) const ROUTE: &[&str] = &[
    "topic",
    "table",
    "format",
    "key",
    "write",
    "columns",
    "unknown_fields",
    "on_tombstone",
    "on_bad_record",
    "on_missing_parent",
];
/// `routes[].on_missing_parent`
pub(super) const MISSING_PARENT: &[&str] = &["wait", "then"];
/// A column written as a section.
pub(super) const COLUMN: &[&str] = &["from", "unit", "parse"];
/// `limits`
pub(super) const LIMITS: &[&str] = &["batch_rows", "batch_bytes", "linger", "memory", "record_bytes"];
/// `bad_records`
pub(super) const BAD_RECORDS: &[&str] = &["halt_above", "over", "at_least"];
/// `retry`
pub(super) const RETRY: &[&str] = &["transient", "ambiguous"];
/// `retry.transient`
pub(super) const TRANSIENT: &[&str] = &["strategy", "first", "max"];
/// `retry.ambiguous`
pub(super) const AMBIGUOUS: &[&str] = &["strategy", "first", "attempts"];
/// `timeouts`
pub(super) const TIMEOUTS: &[&str] =
    &["connect", "statement", "lock", "idle_in_transaction", "takeover", "drain"];
/// `http`
pub(super) const HTTP: &[&str] = &["listen", "probes", "hosts"];
/// `log`
pub(super) const LOG: &[&str] = &["format", "level", "server_messages"];

/// Sections below the root and their keys, for the documentation's test.
pub const SECTIONS: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("postgres", POSTGRES),
    ("routes[]", ROUTE),
    ("routes[].columns{}", COLUMN),
    ("routes[].on_missing_parent", MISSING_PARENT),
    ("limits", LIMITS),
    ("bad_records", BAD_RECORDS),
    ("retry", RETRY),
    ("retry.transient", TRANSIENT),
    ("retry.ambiguous", AMBIGUOUS),
    ("timeouts", TIMEOUTS),
    ("http", HTTP),
    ("log", LOG),
];

/// The known name that an unknown one was probably meant to be, if one is near enough.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = |name: &str| name.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let wanted = normal(unknown);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &normal(name)), name))
        .filter(|(distance, name)| *distance <= (name.len().max(wanted.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
