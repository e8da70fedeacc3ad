//! Tables that change under a lane: whatever is done to them, when and on whichever path, the rows are those
//! that one record per transaction gives, decoded under the shape that the table has then.

mod changes;

use std::sync::Arc;

use tidegate::engine::backoff::{Backoff, Growth};
use tidegate::engine::batch::Batch;
use tidegate::engine::breaker::BreakerLimits;
use tidegate::engine::claim::Claim;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::machine::{Command, Input, LaneLimits, Machine, Tenure};
use tidegate::engine::policy::RetryPolicy;
use tidegate::engine::position::{Assignment, Epoch, Generation, NextOffset, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{Mapping, Route, Source, WriteMode};
use tidegate::postgres::catalogue::load_table;
use tidegate::store::Store;

use super::{Bench, Path, TOPIC_ID};

/// Types with a literal of JSON that each takes.
const TYPES: [(&str, &str); 24] = [
    ("int2", "7"),
    ("int4", "70000"),
    ("int8", "3000000000"),
    ("numeric(12,2)", "12.34"),
    ("float4", "1.5"),
    ("float8", "2.25"),
    ("text", "\"word\""),
    ("varchar(5)", "\"abcde\""),
    ("char(4)", "\"ab\""),
    ("bool", "true"),
    ("uuid", "\"7f1c2a52-6f0e-4d0c-9a3a-0d6f5f1a0001\""),
    ("bytea", "\"\\\\x00ff\""),
    ("jsonb", "{\"a\": 1}"),
    ("date", "\"2026-11-01\""),
    ("time", "\"10:00:00\""),
    ("timestamp", "\"2026-11-01T10:00:00+05:00\""),
    ("timestamptz", "\"2026-11-01T10:00:00+05:00\""),
    ("interval", "\"1 day\""),
    ("inet", "\"10.0.0.1\""),
    ("int4[]", "[1, 2]"),
    ("mood", "\"ok\""),
    ("positive", "5"),
    ("int4range", "\"[1,3)\""),
    ("bit(3)", "\"101\""),
];

const MADE: &str =
    "CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0); ";

const NONE: [String; 0] = [];

/// A small statement, COPY of both kinds: the ways that differ in what they take for granted.
const PATHS: [Path; 3] = [Path::Fastest, Path::Large, Path::StagedText];

/// A lane's machine and writer, and what the service does for them: it reads shapes.
struct Lane {
    bench: Bench,
    path: Path,
    machine: Machine,
    flying: Option<Box<Batch>>,
    /// It is one that looks for what is refused.
    seeks: bool,
    now: u64,
    end: i64,
    reshaped: usize,
    halts: Vec<String>,
}

fn limits() -> LaneLimits {
    let backoff =
        Backoff { growth: Growth::Linear, first_ms: 1, max_ms: 1, attempts: None, deadline_ms: None };
    let retry = RetryPolicy {
        transient: backoff,
        conflict: backoff,
        resources: backoff,
        ambiguous: Backoff { attempts: Some(2), ..backoff },
    };
    LaneLimits {
        batch_rows: 10_000,
        batch_bytes: 1 << 24,
        linger_ms: 0,
        ahead_records: 1,
        breaker: BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: 1_000_000 },
        retry,
    }
}

/// Every column from the field of its name, as the service resolves it.
fn mapped(route: &Route) -> Arc<Route> {
    let columns = route.table.columns.iter().enumerate().filter(|(_, column)| !column.generated);
    let mappings = columns.map(|(column, of)| {
        let source = Source::Field(vec![of.name.clone()]);
        Mapping { column, source, unit: None }
    });
    Arc::new(Route { mappings: mappings.collect(), ..route.clone() })
}

impl Lane {
    async fn new(path: Path, ddl: &str, key: &[&str], mode: WriteMode) -> Self {
        let mut bench = Bench::new(ddl, key, mode).await;
        bench.cut.route = mapped(&bench.route);
        bench.writer.restrict(path.paths());
        let mut machine = Machine::new(limits(), 1);
        let partition = TopicPartition::new("t", 0);
        let claim = Claim::granted(partition.clone(), TOPIC_ID, Epoch::new(1), NextOffset::new(0));
        let tenure = Tenure { claim, generation: Generation(1), route: Arc::clone(&bench.route) };
        let _ = machine.step(0, Input::Assigned(tenure));
        let _ = machine.step(0, Input::Validated(Assignment::new(partition, Generation(1))));
        Self {
            bench,
            path,
            machine,
            flying: None,
            seeks: false,
            now: 0,
            end: 0,
            reshaped: 0,
            halts: Vec::new(),
        }
    }

    /// Hands records over; the first batch of them is cut, and not yet written.
    async fn read(&mut self, values: &[String]) {
        let mut block = RecordBlock::new(TopicPartition::new("t", 0), Generation(1));
        for value in values {
            block.push(Offset::new(self.end), Some(1), None, Some(value.as_bytes()), []);
            self.end += 1;
        }
        self.step(Input::Records(Arc::new(block))).await;
    }

    async fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.now += 10;
            for command in self.machine.step(self.now, input) {
                match command {
                    Command::Write(batch) => (self.flying, self.seeks) = (Some(batch), false),
                    Command::Seek(batch) => (self.flying, self.seeks) = (Some(batch), true),
                    Command::Reshape(_) => {
                        self.reshaped += 1;
                        inputs.push(self.shape().await);
                    }
                    Command::Halt(.., halt) => self.halts.push(halt.to_string()),
                    Command::Advise(..) | Command::Judged(..) | Command::Report(_) => {}
                    other => panic!("{:?}: {other:?}", self.path),
                }
            }
        }
    }

    /// What a duty answers.
    async fn shape(&mut self) -> Input {
        let old = Arc::clone(&self.bench.route);
        let key: Vec<String> = old.key.iter().map(|place| old.table.columns[*place].name.clone()).collect();
        let found = load_table(&self.bench.session, "public", &old.table.name, &key).await;
        match found {
            Ok(table) => {
                let key = key.iter().map(|name| table.column(name).unwrap().0).collect();
                let route = mapped(&Route { table: Arc::new(table), key, ..(*old).clone() });
                self.bench.cut.route = Arc::clone(&route);
                Input::Shaped(route)
            }
            Err(error) => Input::Halted(
                Assignment::new(TopicPartition::new("t", 0), Generation(1)),
                tidegate::engine::halt::Halt::new(
                    tidegate::engine::halt::HaltCode::SchemaMismatch,
                    error.to_string(),
                ),
            ),
        }
    }

    /// Writes the batch that was cut; tells how it ended.
    async fn write(&mut self) -> Option<String> {
        let Some(batch) = self.flying.take() else {
            self.step(Input::Tick).await;
            return None;
        };
        let outcome = match self.seeks {
            true => self.bench.writer.seek(&batch).await,
            false => self.bench.writer.write(&batch, || {}).await,
        };
        Some(self.written(batch, outcome).await)
    }

    async fn written(&mut self, batch: Box<Batch>, outcome: CommitOutcome) -> String {
        let told = match &outcome {
            CommitOutcome::Committed(_) => "committed".to_owned(),
            CommitOutcome::Reshaped(_) => "reshaped".to_owned(),
            CommitOutcome::Refused(_) => "refused".to_owned(),
            CommitOutcome::Sought(_) => "sought".to_owned(),
            CommitOutcome::RolledBack(failure) => format!("{:?}: {}", failure.class, failure.message),
            other => panic!("{:?}: {other:?}", self.path),
        };
        self.step(Input::Written(batch, outcome)).await;
        told
    }

    /// Writes until nothing is left.
    async fn finish(&mut self) {
        for _ in 0..1_000 {
            if self.machine.is_idle() {
                return;
            }
            self.write().await;
        }
        panic!("{:?}: batches went round and round", self.path);
    }

    async fn put(&mut self, values: &[String]) {
        self.read(values).await;
        self.finish().await;
    }

    /// The rows, and the values of the records that were kept.
    async fn result(&self) -> (Vec<String>, Vec<String>) {
        let rows = self.bench.rows().await;
        let kept =
            "SELECT convert_from(record_value, 'UTF8') FROM tidegate.quarantine ORDER BY record_offset";
        (rows, self.bench.texts(kept).await)
    }
}

/// Two records for each column: with the value that its type takes, and with that of its new type.
fn records(from: &str, first_id: usize) -> Vec<String> {
    let mut id = first_id;
    let mut records = Vec::new();
    for (number, (_, literal)) in TYPES.iter().enumerate() {
        for value in [from, literal] {
            records.push(format!("{{\"id\": {id}, \"c{number}\": {value}}}"));
            id += 1;
        }
    }
    records
}

fn columns(of: impl Fn(usize) -> &'static str) -> String {
    (0..TYPES.len()).map(|number| format!(", c{number} {}", of(number))).collect()
}

fn alter() -> String {
    let change = |(number, (to, _)): (usize, &(&str, &str))| format!("ALTER c{number} TYPE {to} USING NULL");
    let changes: Vec<String> = TYPES.iter().enumerate().map(change).collect();
    format!("ALTER TABLE target {}", changes.join(", "))
}

#[tokio::test]
async fn a_column_of_any_type_can_become_one_of_any_other() {
    for (from, literal) in TYPES {
        let (before, after) = (records(literal, 1), records(literal, 1000));
        let end =
            format!("{MADE}CREATE TABLE target (id int PRIMARY KEY{})", columns(|number| TYPES[number].0));
        let mut one_by_one = Lane::new(Path::StagedBinary, &end, &["id"], WriteMode::Upsert).await;
        for record in &after {
            one_by_one.put(std::slice::from_ref(record)).await;
        }
        let expected = one_by_one.result().await;
        for path in PATHS {
            let ddl = format!("{MADE}CREATE TABLE target (id int PRIMARY KEY{})", columns(|_| from));
            let mut lane = Lane::new(path, &ddl, &["id"], WriteMode::Upsert).await;
            lane.put(&before).await;
            lane.bench.run("DELETE FROM target; DELETE FROM tidegate.quarantine").await;
            lane.read(&after).await;
            lane.bench.run(&alter()).await;
            lane.finish().await;
            assert_eq!(lane.result().await, expected, "{from} on {path:?}");
            assert_eq!((lane.reshaped, &lane.halts), (1, &NONE.to_vec()), "{from} on {path:?}");
        }
    }
}

#[tokio::test]
async fn small_batches_meet_every_pair_of_types() {
    for (from, literal) in TYPES {
        let ddl = format!("{MADE}CREATE TABLE target (id int PRIMARY KEY, v {from})");
        let mut lane = Lane::new(Path::Fastest, &ddl, &["id"], WriteMode::Upsert).await;
        for (to, _) in TYPES.iter().filter(|(to, _)| *to != from) {
            let value = |id: usize| format!("{{\"id\": {id}, \"v\": {literal}}}");
            lane.put(&[value(1)]).await;
            assert_eq!(lane.bench.rows().await.len(), 1, "{from} takes its own literal");
            lane.read(&[value(2)]).await;
            lane.bench
                .run(&format!("DELETE FROM target; ALTER TABLE target ALTER v TYPE {to} USING NULL"))
                .await;
            lane.finish().await;
            let (late, kept) = lane.result().await;
            // The same record again, now that the shape is known.
            lane.bench.run("DELETE FROM target; DELETE FROM tidegate.quarantine").await;
            lane.put(&[value(2)]).await;
            assert_eq!((late, kept), lane.result().await, "{from} to {to}");
            assert_eq!(lane.halts, NONE, "{from} to {to}");
            let back = format!(
                "DELETE FROM tidegate.quarantine; DELETE FROM target; \
                 ALTER TABLE target ALTER v TYPE {from} USING NULL"
            );
            lane.bench.run(&back).await;
        }
    }
}
