//! Writing batches into real tables.

mod commit;
mod crashes;
mod distance;
mod fences;
mod guesses;
mod limits;
mod order;
mod outcomes;
mod property;
mod races;
mod refusals;
mod reshape;
mod retries;
mod settings;
mod shapes;
mod small;
mod step;
mod stageless;
mod streams;
mod triggers;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use lab::fixture::Fresh;
use tidegate::engine::arena::Arena;
use tidegate::engine::batch::{
    Batch, BatchParts, Entry, MoveIndex, Op, PartitionMove, Pending, QuarantineRecord, TableBatch,
};
use tidegate::engine::claim::Claim;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use tidegate::engine::progress::ProgressDelta;
use tidegate::engine::route::{
    Format, OnBadRecord, OnMissingParent, OnTombstone, Route, UnknownFields, WriteMode,
};
use tidegate::engine::row::{Encoding, Reject, RejectCode, push_field};
use tidegate::engine::shape::{ColumnSet, Table};
use tidegate::postgres::catalogue;
use tidegate::postgres::ledger::Ledger;
use tidegate::postgres::session::Session;
use tidegate::postgres::write::{Paths, Writer};
use tidegate::store::Store;
use uuid::Uuid;

use super::{TIMEOUTS, connector_to, session};

/// The incarnation of every test's topic.
const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(0x7064));

/// A way to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Path {
    /// Whatever the writer chooses.
    Fastest,
    /// Whatever the writer chooses of the ways of large batches.
    Large,
    /// COPY of what the filter doesn't know.
    Guessed,
    /// Probe and COPY into the table.
    Direct,
    /// Binary rows through the stage.
    StagedBinary,
    /// Text rows through the stage.
    StagedText,
}

impl Path {
    const ALL: [Self; 5] = [Self::Fastest, Self::Guessed, Self::Direct, Self::StagedBinary, Self::StagedText];

    fn encoding(self) -> Encoding {
        match self {
            Self::Fastest | Self::Large | Self::Guessed | Self::Direct | Self::StagedBinary => {
                Encoding::Binary
            }
            Self::StagedText => Encoding::Text,
        }
    }

    fn paths(self) -> Paths {
        match self {
            Self::Fastest => Paths::Fastest,
            Self::Large => Paths::Large,
            Self::Guessed => Paths::Guessed,
            Self::Direct => Paths::Probed,
            Self::StagedBinary | Self::StagedText => Paths::Staged,
        }
    }
}

/// A value in both encodings.
#[derive(Clone, PartialEq, Debug)]
enum V {
    Null,
    /// `integer`
    I(i32),
    /// `text`, `varchar`, `json`, `bpchar`, an enum
    T(&'static str),
    /// The same, made at run time.
    S(String),
    /// A small whole number as `numeric`, with this many trailing zeros behind the point.
    N(u16, u16),
    /// What the server sent, in binary only.
    B(Option<Vec<u8>>),
}

impl V {
    fn bytes(&self, encoding: Encoding) -> Option<Vec<u8>> {
        match (self, encoding) {
            (Self::Null, _) => None,
            (Self::I(number), Encoding::Binary) => Some(number.to_be_bytes().to_vec()),
            (Self::I(number), Encoding::Text) => Some(number.to_string().into_bytes()),
            (Self::T(text), _) => Some(text.as_bytes().to_vec()),
            (Self::S(text), _) => Some(text.as_bytes().to_vec()),
            (Self::B(bytes), _) => bytes.clone(),
            (Self::N(number, scale), Encoding::Binary) => {
                // numeric_recv: digits, weight, sign, scale, base 10000 digits.
                Some([1u16, 0, 0, *scale, *number].iter().flat_map(|part| part.to_be_bytes()).collect())
            }
            (Self::N(number, 0), Encoding::Text) => Some(number.to_string().into_bytes()),
            (Self::N(number, scale), Encoding::Text) => {
                Some(format!("{number}.{}", "0".repeat(usize::from(*scale))).into_bytes())
            }
        }
    }
}

/// One record of a batch.
#[derive(Clone, Debug)]
struct Record {
    op: Op,
    partition: u32,
    values: Vec<(&'static str, V)>,
    lacks: Option<&'static str>,
}

/// A record that inserts or updates.
fn put(values: &[(&'static str, V)]) -> Record {
    Record { op: Op::Merge, partition: 0, values: values.to_vec(), lacks: None }
}

/// A record that deletes; the values are the key's.
fn delete(values: &[(&'static str, V)]) -> Record {
    Record { op: Op::Delete, ..put(values) }
}

/// A whole new row.
fn replace(values: &[(&'static str, V)]) -> Record {
    Record { op: Op::Replace, ..put(values) }
}

impl Record {
    /// The same record in the second partition.
    fn second(self) -> Self {
        Self { partition: 1, ..self }
    }

    /// The same record, which lacks a required column.
    fn lacking(self, column: &'static str) -> Self {
        Self { lacks: Some(column), ..self }
    }
}

/// A writer with its table, its route and where its two partitions stand.
struct Bench {
    fresh: Fresh,
    session: Session,
    writer: Writer,
    cut: Cut,
}

/// What batches are cut from.
struct Cut {
    route: Arc<Route>,
    next: [i64; 2],
    epoch: i64,
}

impl Deref for Bench {
    type Target = Cut;

    fn deref(&self) -> &Cut {
        &self.cut
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Cut {
        &mut self.cut
    }
}

impl Bench {
    /// Creates the ledger and the table `target`.
    async fn new(ddl: &str, key: &[&str], mode: WriteMode) -> Self {
        Self::with(Fresh::new("write"), ddl, "target", key, mode).await
    }

    async fn with(fresh: Fresh, ddl: &str, table: &str, key: &[&str], mode: WriteMode) -> Self {
        let ledger = Ledger::new("tidegate").unwrap();
        let mut session = session(&fresh).await;
        ledger.ensure(&mut session).await.unwrap();
        session.client().batch_execute(ddl).await.unwrap();
        let insert = "INSERT INTO tidegate.progress \
                      (pipeline, topic, partition, topic_id, epoch, start_offset, next_offset) \
                      SELECT $1, 't', n, $2, 1, 0, 0 FROM generate_series(0, 1) AS n";
        session.client().execute(insert, &[&fresh.pipeline, &TOPIC_ID.0]).await.unwrap();
        let connector = connector_to(&fresh.url, &fresh.pipeline, TIMEOUTS);
        let writer = Writer::new(connector, ledger, &fresh.pipeline);
        let route = route_to(&session, table, key, mode).await;
        Self { fresh, session, writer, cut: Cut { route, next: [0, 0], epoch: 1 } }
    }
}

impl Cut {
    /// A batch of these records from where the partitions stand; without any, the first one moves.
    fn batch(&self, path: Path, records: &[Record]) -> Batch {
        Batch::seal(self.parts(path, records)).expect("a batch moves a partition")
    }

    /// The same, for a test to change before it is sealed.
    fn parts(&self, path: Path, records: &[Record]) -> BatchParts {
        let has = |number: u32| records.iter().any(|record| record.partition == number);
        let moved: Vec<u32> =
            (0..2).filter(|&number| has(number) || (records.is_empty() && number == 0)).collect();
        let moves = moved
            .iter()
            .map(|&number| {
                let count = records.iter().filter(|record| record.partition == number).count() as i64;
                self.move_of(number, count.max(1))
            })
            .collect();
        let rows = self.rows_of(path, records, &moved);
        let shapes = vec![Arc::clone(&self.route.table)];
        BatchParts { moves, tables: vec![rows], quarantine: Vec::new(), failures: Vec::new(), shapes }
    }

    /// The move of a partition over this many offsets.
    fn move_of(&self, number: u32, offsets: i64) -> PartitionMove {
        let from = self.next[number as usize];
        let partition = TopicPartition::new("t", number as i32);
        let claim = Claim::granted(partition, TOPIC_ID, Epoch::new(self.epoch), NextOffset::new(from));
        let to = NextOffset::new(from + offsets);
        claim.holding(None).moves(to, offsets as u64, Tally::default(), None, None).unwrap()
    }

    fn rows_of(&self, path: Path, records: &[Record], moved: &[u32]) -> TableBatch {
        let route = Arc::clone(&self.route);
        let encoding = path.encoding();
        let mut arena = Arena::default();
        let mut entries = Vec::new();
        let mut offsets = self.next;
        for (arrival, record) in records.iter().enumerate() {
            let offset = offsets[record.partition as usize];
            offsets[record.partition as usize] += 1;
            let place = moved.iter().position(|number| *number == record.partition).unwrap();
            let index = MoveIndex::new(place);
            let entry = entry_of(&route, encoding, &mut arena, record, index, offset, arrival as u32);
            entries.push(entry);
        }
        let mut rows = TableBatch { route, encoding, arena, entries };
        if !rows.route.key.is_empty() {
            let mut entries = std::mem::take(&mut rows.entries);
            entries.sort_by(|a, b| rows.key(a).cmp(rows.key(b)));
            let keys: std::collections::BTreeSet<_> = entries.iter().map(|entry| rows.key(entry)).collect();
            assert_eq!(keys.len(), entries.len(), "the test gives a key twice");
            rows.entries = entries;
        }
        rows
    }
}

impl Bench {
    /// Reads the target's shape again, as the service does when it is told that the batch's is gone.
    async fn reshape(&mut self) {
        let old = Arc::clone(&self.route);
        let key: Vec<String> = old.key.iter().map(|place| old.table.columns[*place].name.clone()).collect();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        self.route = route_to(&self.session, &old.table.name, &key, old.mode).await;
    }

    /// A batch of these records from where the partitions stand; from now on, rows take this path.
    fn batch(&mut self, path: Path, records: &[Record]) -> Batch {
        self.writer.restrict(path.paths());
        self.cut.batch(path, records)
    }

    /// Writes a batch and remembers where the partitions stand.
    async fn write(&mut self, batch: &Batch) -> CommitOutcome {
        let outcome = self.writer.write(batch, || {}).await;
        if matches!(outcome, CommitOutcome::Committed(_)) {
            for one in batch.moves() {
                self.next[one.partition.partition as usize] = one.delta.to().value();
            }
        }
        outcome
    }

    /// Writes records that must be committed, and tells their outcomes, partition by partition.
    async fn put(&mut self, path: Path, records: &[Record]) -> String {
        let batch = self.batch(path, records);
        match self.write(&batch).await {
            CommitOutcome::Committed(tallies) => tallies.iter().map(told).collect::<Vec<_>>().join(" | "),
            other => panic!("{path:?}: {other:?} for {:?}", records.iter().take(12).collect::<Vec<_>>()),
        }
    }

    /// The rows of the target as text, sorted.
    async fn rows(&self) -> Vec<String> {
        self.texts("SELECT t::text FROM target AS t ORDER BY 1").await
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.session.client().query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".into())).collect()
    }

    async fn run(&self, sql: &str) {
        self.session.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Position, and the counters of the ledger as [`told`] tells them.
    async fn ledger(&self, partition: i32) -> (i64, String) {
        let columns = Outcome::ALL.map(Outcome::name).join(", ");
        let sql = format!(
            "SELECT next_offset, next_offset - start_offset - gaps, {columns} FROM tidegate.progress \
             WHERE pipeline = $1 AND topic = 't' AND partition = $2"
        );
        let row = self.session.client().query_one(&sql, &[&self.fresh.pipeline, &partition]).await.unwrap();
        let mut tally = Tally::default();
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            tally.add(outcome, row.get::<_, i64>(index + 2) as u64);
        }
        assert_eq!(tally.total() as i64, row.get::<_, i64>(1), "the ledger's accounts");
        (row.get(0), told(&tally))
    }

    /// Nothing of a batch may be left where it wasn't committed.
    async fn assert_at(&self, next: i64) {
        assert_eq!(self.ledger(0).await.0, next);
    }
}

/// A tally in words: the outcomes that occur.
fn told(tally: &Tally) -> String {
    let parts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|outcome| tally.get(*outcome) > 0)
        .map(|outcome| format!("{} {outcome}", tally.get(outcome)))
        .collect();
    parts.join(", ")
}

async fn route_to(session: &Session, table: &str, key: &[&str], mode: WriteMode) -> Arc<Route> {
    let names: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    let table: Table = catalogue::load_table(session, "public", table, &names).await.unwrap();
    let key = key.iter().map(|name| table.column(name).unwrap().0).collect();
    Arc::new(Route {
        topic: "t".into(),
        format: Format::Json,
        table: Arc::new(table),
        key,
        mode,
        mappings: Vec::new(),
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Delete,
        on_bad_record: OnBadRecord::Quarantine,
        on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Quarantine },
        record_bytes_max: 1 << 24,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
    })
}

fn entry_of(
    route: &Route,
    encoding: Encoding,
    arena: &mut Arena,
    record: &Record,
    move_index: MoveIndex,
    offset: i64,
    arrival: u32,
) -> Entry {
    let place = |name: &str| route.table.column(name).unwrap_or_else(|| panic!("no column {name}")).0;
    let values: BTreeMap<usize, &V> =
        record.values.iter().map(|(name, value)| (place(name), value)).collect();
    let put = |arena: &mut Arena, values: Vec<&V>| {
        let row = |chunk: &mut Vec<u8>| {
            for value in values {
                push_field(chunk, value.bytes(encoding).as_deref());
            }
        };
        arena.put(0, row).1
    };
    let fields = put(arena, values.values().copied().collect());
    let key = put(arena, route.key.iter().map(|column| values[column]).collect());
    let lacks = record.lacks.map(|name| Pending {
        move_index,
        offset: Offset::new(offset),
        column: place(name) as u32,
    });
    let fingerprint = tidegate::engine::hash::fingerprint(arena.bytes(&key));
    Entry {
        move_index,
        offset: Offset::new(offset),
        arrival,
        op: record.op,
        columns: ColumnSet::new(route.table.columns.len(), values.into_keys()),
        fields,
        key,
        fingerprint,
        needs_existing: lacks.into_iter().collect(),
    }
}

/// The batch with one record more, which goes to the quarantine.
fn with_a_bad_record(batch: Batch) -> Batch {
    let BatchParts { mut moves, tables, failures, quarantine: _, shapes } = batch.into_parts();
    let (from, to) = (moves[0].delta.from(), moves[0].delta.to().value());
    moves[0].delta = ProgressDelta::new(from, NextOffset::new(to + 1)).unwrap();
    moves[0].settled.add(Outcome::Quarantined, 1);
    let quarantine = vec![QuarantineRecord {
        move_index: MoveIndex::new(0),
        is_skipped: false,
        offset: Offset::new(to),
        timestamp_ms: None,
        key: None,
        value: None,
        headers: Vec::new(),
        target: "public.target".into(),
        truncated: None,
        reject: Reject { code: RejectCode::BadJson, column: None, sqlstate: None, reason: "bad".into() },
    }];
    Batch::seal(BatchParts { moves, tables, quarantine, failures, shapes }).unwrap()
}
