//! Who runs: each process of a pipeline has a row that it writes again and again, and deletes when it drains.
//!
//! All times are of the database's clock, so that hosts whose clocks differ agree about who is alive. Nothing
//! is decided by it: the fence is the epoch.

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError, Parameter, count};
use crate::engine::instance::Instance;
use crate::postgres::repertoire::Repertoire;
use crate::postgres::session::Session;

/// How long a process may be silent before it counts as dead, in milliseconds: three beats.
pub const DEAD_AFTER_MS: i64 = 30_000;

/// Longest text of an error that is kept, in characters.
const TEXT: usize = 1000;

/// What a process does at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// It hasn't been a member of its group yet.
    Starting,
    /// It works, or waits for work.
    Running,
    /// It finishes what is in flight, and ends.
    Draining,
}

impl Doing {
    /// All of them.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub const ALL: [Self; 3] = [Self::Starting, Self::Running, Self::Draining];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// What a process tells of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Beat<'a> {
    /// Which process.
    pub instance: &'a Instance,
    /// What it does.
    pub doing: Doing,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: i64,
    /// How many lanes it has.
    pub lanes: usize,
    /// How many partitions it holds.
    pub partitions: usize,
    /// Records applied since its start.
    pub applied: u64,
    /// Records applied in each second since its last beat.
    pub records_per_second: f64,
    /// Why it can't work with Kafka.
    pub kafka_away: Option<String>,
    /// What went wrong last.
    pub trouble: Option<Trouble>,
    /// Offsets between the stored positions of its partitions and their logs' ends, where all are known.
    pub behind: Option<i64>,
    /// What must be true before topics are read, as a document; none where nothing is waited for.
    pub waits: Option<Value>,
}

/// What went wrong last in a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// A sentence without secrets.
    pub message: String,
    /// How long ago, in milliseconds.
    pub ago_ms: i64,
    /// When it is tried again, in milliseconds from now; `None` once it worked.
    pub again_in_ms: Option<i64>,
    /// How often in a row it was tried again, the next try included.
    pub tries: u32,
}

/// A process as the ledger knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Process {
    /// Its name.
    pub instance: String,
    /// Its host.
    pub host: String,
    /// Its number there.
    pub pid: i32,
    /// Its version of Tidegate.
    pub version: String,
    /// What it does, in a word of [`Doing`], or one that a newer Tidegate has.
    pub state: String,
    /// When it started, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// When it was last heard of.
    pub beaten_at_ms: i64,
    /// How long ago that is by the database's clock.
    pub beaten_ago_ms: i64,
    /// How many lanes it has.
    pub lanes: i32,
    /// How many partitions it holds.
    pub partitions: i32,
    /// Records applied since its start.
    pub applied: u64,
    /// Records applied in each second before its last beat.
    pub records_per_second: f64,
    /// Why it can't work with Kafka.
    pub kafka_away: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at_ms: Option<i64>,
    /// When it is tried again.
    pub next_try_at_ms: Option<i64>,
    /// How often in a row it was tried again, the next try included; none where an older Tidegate runs.
    pub tries: Option<i32>,
    /// What must be true before topics are read, as a document.
    pub waits: Option<String>,
}

impl Process {
    /// Whether it was heard of lately.
    pub fn is_alive(&self) -> bool {
        self.beaten_ago_ms < DEAD_AFTER_MS
    }
}

const READ: &str = "SELECT instance, host, pid, version, state, \
     CAST(EXTRACT(epoch FROM started_at) * 1000 AS bigint), \
     CAST(EXTRACT(epoch FROM beaten_at) * 1000 AS bigint), \
     CAST(EXTRACT(epoch FROM pg_catalog.now() - beaten_at) * 1000 AS bigint), \
     lanes, partitions, applied, records_per_second, kafka_away, last_error, \
     CAST(EXTRACT(epoch FROM last_error_at) * 1000 AS bigint), \
     CAST(EXTRACT(epoch FROM next_try_at) * 1000 AS bigint), tries, CAST(waits AS text) \
     FROM {ledger}.processes WHERE pipeline = $1 ORDER BY instance COLLATE pg_catalog.\"C\"";

impl Ledger {
    /// Tells that a process of the pipeline runs, and what it does.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn beat(&self, session: &Session, pipeline: &str, beat: &Beat<'_>) -> Result<(), LedgerError> {
        let storable = |text: &str| {
            let text: String = text.chars().take(TEXT).collect();
            session.repertoire().storable(&text).into_owned()
        };
        let (name, host) = (storable(beat.instance.name()), storable(beat.instance.host()));
        let pid = i32::try_from(beat.instance.pid()).unwrap_or_default();
        let [lanes, partitions] =
            [beat.lanes, beat.partitions].map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let applied = i64::try_from(beat.applied).unwrap_or(i64::MAX);
        let kafka_away = beat.kafka_away.as_deref().map(storable);
        let error = beat.trouble.as_ref().map(|trouble| storable(&trouble.message));
        let millis = |ms: i64| ms as f64;
        let ago = beat.trouble.as_ref().map(|trouble| millis(trouble.ago_ms));
        let again = beat.trouble.as_ref().and_then(|trouble| trouble.again_in_ms).map(millis);
        let tries = beat.trouble.as_ref().map(|trouble| i32::try_from(trouble.tries).unwrap_or(i32::MAX));
        let waits =
            beat.waits.clone().map(|waits| storable_document(waits, session.repertoire()).to_string());
        let parameters: [Parameter<'_>; 18] = [
            (&pipeline, Type::TEXT),
            (&name, Type::TEXT),
            (&host, Type::TEXT),
            (&pid, Type::INT4),
            (&env!("CARGO_PKG_VERSION"), Type::TEXT),
            (&beat.doing.word(), Type::TEXT),
            (&millis(beat.uptime_ms), Type::FLOAT8),
            (&lanes, Type::INT4),
            (&partitions, Type::INT4),
            (&applied, Type::INT8),
            (&beat.records_per_second, Type::FLOAT8),
            (&kafka_away, Type::TEXT),
            (&error, Type::TEXT),
            (&ago, Type::FLOAT8),
            (&again, Type::FLOAT8),
            (&tries, Type::INT4),
            (&beat.behind, Type::INT8),
            (&waits, Type::TEXT),
        ];
        let sql = include_str!("../sql/ledger_beat.sql");
        self.read(session, "telling that this process runs", sql, &parameters).await.map(|_| ())
    }

    /// Tells that a process of the pipeline is about to end in good order.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn leave(&self, session: &Session, pipeline: &str, instance: &str) -> Result<(), LedgerError> {
        let sql = "DELETE FROM {ledger}.processes WHERE pipeline = $1 AND instance = $2";
        let parameters: [Parameter<'_>; 2] = [(&pipeline, Type::TEXT), (&instance, Type::TEXT)];
        self.read(session, "telling that this process ends", sql, &parameters).await.map(|_| ())
    }

    /// The processes of a pipeline, by name; those that died at most a day ago among them.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn processes(&self, session: &Session, pipeline: &str) -> Result<Vec<Process>, LedgerError> {
        let rows = self.read(session, "reading who runs", READ, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(read_process).collect())
    }
}

/// A document each of whose texts the database can hold.
fn storable_document(document: Value, repertoire: Repertoire) -> Value {
    match document {
        Value::String(text) => Value::String(repertoire.storable(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| storable_document(item, repertoire)).collect(),
        Value::Object(keys) => {
            let keys = keys.into_iter().map(|(key, value)| (key, storable_document(value, repertoire)));
            Value::Object(keys.collect())
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

fn read_process(row: &Row) -> Process {
    Process {
        instance: row.get(0),
        host: row.get(1),
        pid: row.get(2),
        version: row.get(3),
        state: row.get(4),
        started_at_ms: row.get(5),
        beaten_at_ms: row.get(6),
        beaten_ago_ms: row.get(7),
        lanes: row.get(8),
        partitions: row.get(9),
        applied: count(row, 10),
        records_per_second: row.get(11),
        kafka_away: row.get(12),
        last_error: row.get(13),
        last_error_at_ms: row.get(14),
        next_try_at_ms: row.get(15),
        tries: row.get(16),
        waits: row.get(17),
    }
}
