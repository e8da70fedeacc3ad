//! Tables where the order across keys counts: however a stream is cut into batches, it ends in the rows, the
//! outcomes and the quarantine of one transaction for each record, which plain SQL writes into a twin.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tidegate::engine::claim::Claim;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::machine::{Command, Input, LaneLimits, Machine, Tenure};
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::position::{Assignment, Epoch, Generation, NextOffset, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::WriteMode;
use tidegate::engine::row::Encoding;
use tidegate::engine::shape::KeyOrder;
use tidegate::store::Store;
use tokio_postgres::Client;

use super::streams::{limits, mapped};
use super::{Bench, Path, TOPIC_ID, told};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a int, b int DEFAULT 7, c int NOT NULL, p int, \
                     name varchar(4), n numeric(6, 2)); ";
const JUDGE: &str = "\
    CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE crowd int; BEGIN \
    EXECUTE format('SELECT count(*) FROM %s WHERE a = $1', TG_RELID::regclass) INTO crowd USING NEW.a; \
    IF crowd > 2 THEN RAISE 'crowded' USING ERRCODE = '23514', CONSTRAINT = 'crowd'; END IF; \
    RETURN NEW; END $$; ";

/// What makes the order count.
const RULES: [(&str, KeyOrder); 12] = [
    ("CREATE UNIQUE INDEX ON target (a)", KeyOrder::Changes),
    ("CREATE UNIQUE INDEX ON target (a) NULLS NOT DISTINCT", KeyOrder::Changes),
    ("CREATE UNIQUE INDEX ON target (a) WHERE b > 1", KeyOrder::Changes),
    ("CREATE UNIQUE INDEX ON target ((a / 2))", KeyOrder::Changes),
    ("ALTER TABLE target ADD UNIQUE (a, b) DEFERRABLE INITIALLY DEFERRED", KeyOrder::Changes),
    ("ALTER TABLE target ADD UNIQUE (a) DEFERRABLE", KeyOrder::Changes),
    ("ALTER TABLE target ADD EXCLUDE USING gist (int4range(a, a + 2) WITH &&)", KeyOrder::Changes),
    (
        "ALTER TABLE target ADD EXCLUDE USING gist (int4range(a, a + 2) WITH &&) INITIALLY DEFERRED",
        KeyOrder::Changes,
    ),
    ("ALTER TABLE target ADD FOREIGN KEY (p) REFERENCES target", KeyOrder::Always),
    (
        "ALTER TABLE target ADD FOREIGN KEY (p) REFERENCES target ON DELETE CASCADE INITIALLY DEFERRED",
        KeyOrder::Always,
    ),
    (
        "ALTER TABLE target ADD FOREIGN KEY (p) REFERENCES target ON DELETE SET NULL; \
         CREATE UNIQUE INDEX ON target (a)",
        KeyOrder::Always,
    ),
    (
        "CREATE CONSTRAINT TRIGGER crowd AFTER INSERT OR UPDATE ON target INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION judge()",
        KeyOrder::Always,
    ),
];

/// What a record does; `None` is an absent field.
#[derive(Clone, Debug)]
enum Deed {
    Put(Vec<(&'static str, String)>),
    Remove,
}

type Fed = (usize, i32, Deed);

fn draw(dice: &mut fastrand::Rng, ids: i32, adds: bool) -> Fed {
    let partition = dice.usize(0..2);
    let id = dice.i32(0..ids) * 2 + partition as i32;
    if !adds && dice.u8(0..6) == 0 {
        return (partition, id, Deed::Remove);
    }
    let mut fields = Vec::new();
    let small = |dice: &mut fastrand::Rng, top: i32| match dice.u8(0..8) {
        0 => "null".to_owned(),
        _ => dice.i32(0..top).to_string(),
    };
    for (name, top, share) in [("a", ids * 2, 200), ("b", 3, 90), ("p", ids * 2, 90)] {
        if dice.u8(..) < share {
            fields.push((name, small(dice, top)));
        }
    }
    if dice.u8(0..8) > 0 {
        fields.push(("c", dice.i32(0..2).to_string()));
    }
    if dice.u8(0..3) == 0 {
        fields.push(("name", ["\"x\"", "\"abcd  \"", "\"abcde\"", "null"][dice.usize(0..4)].to_owned()));
    }
    if dice.u8(0..3) == 0 {
        fields.push(("n", ["1.005", "1.01", "99999.5", "2"][dice.usize(0..4)].to_owned()));
    }
    (partition, id, Deed::Put(fields))
}

/// One record in a transaction of its own; `None` where it is refused.
async fn apply(client: &Client, (_, id, deed): &Fed, mode: WriteMode) -> Option<Outcome> {
    let row = format!("SELECT t::text FROM twin AS t WHERE id = {id}");
    let before = match mode {
        WriteMode::Append => None,
        WriteMode::Upsert | WriteMode::Insert => client.query_opt(&row, &[]).await.unwrap(),
    };
    let before: Option<String> = before.map(|row| row.get(0));
    let literal = |value: &String| value.replace('"', "'");
    let Deed::Put(fields) = deed else {
        let deleted = client.batch_execute(&format!("DELETE FROM twin WHERE id = {id}")).await;
        return deleted.is_ok().then_some(Outcome::Deleted);
    };
    if before.is_none() || mode == WriteMode::Append {
        let names: String = fields.iter().map(|(name, _)| format!(", {name}")).collect();
        let values: String = fields.iter().map(|(_, value)| format!(", {}", literal(value))).collect();
        let insert = format!("INSERT INTO twin (id{names}) VALUES ({id}{values})");
        return client.batch_execute(&insert).await.is_ok().then_some(Outcome::Inserted);
    }
    let assignments: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name} = {}", literal(value))).collect();
    // A value that doesn't fit its column is refused before anything is looked up.
    let misfit = fields.iter().any(|(_, value)| value == "99999.5" || value == "\"abcde\"");
    if mode == WriteMode::Insert {
        return (!misfit).then_some(Outcome::Ignored);
    }
    if !assignments.is_empty() {
        let update = format!("UPDATE twin SET {} WHERE id = {id}", assignments.join(", "));
        client.batch_execute(&update).await.ok()?;
    }
    let after: Option<String> = client.query_opt(&row, &[]).await.unwrap().map(|row| row.get(0));
    Some(if before == after { Outcome::Unchanged } else { Outcome::Updated })
}

/// A stream on its way through a lane's machine.
struct Run {
    bench: Bench,
    machine: Machine,
    now: u64,
    ends: [i64; 2],
    flying: Option<Box<tidegate::engine::batch::Batch>>,
    /// What flies only looks for what is refused.
    seeks: bool,
    tally: Tally,
}

impl Run {
    async fn new(ddl: &str, key: &[&str], mode: WriteMode, encoding: Encoding, limits: LaneLimits) -> Self {
        let mut bench = Bench::new(ddl, key, mode).await;
        let mut route = mapped(&bench.route, encoding);
        for mapping in &mut route.mappings {
            if route.table.columns[mapping.column].name == "id" {
                mapping.source = tidegate::engine::route::Source::KeyField(vec!["id".into()]);
            }
        }
        let route = Arc::new(route);
        bench.cut.route = Arc::clone(&route);
        let mut machine = Machine::new(limits, 1);
        for partition in 0..2 {
            let partition = TopicPartition::new("t", partition);
            let claim = Claim::granted(partition.clone(), TOPIC_ID, Epoch::new(1), NextOffset::new(0));
            let tenure = Tenure { claim, generation: Generation(1), route: Arc::clone(&route) };
            let _ = machine.step(0, Input::Assigned(tenure));
            let _ = machine.step(0, Input::Validated(Assignment::new(partition, Generation(1))));
        }
        Self { bench, machine, now: 0, ends: [0; 2], flying: None, seeks: false, tally: Tally::default() }
    }

    fn step(&mut self, input: Input) {
        self.now += 10;
        for command in self.machine.step(self.now, input) {
            match command {
                Command::Write(batch) => (self.flying, self.seeks) = (Some(batch), false),
                Command::Seek(batch) => (self.flying, self.seeks) = (Some(batch), true),
                Command::Advise(..) | Command::Judged(..) | Command::Report(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&mut self, records: &[Fed]) {
        for run in records.chunk_by(|one, other| one.0 == other.0) {
            let partition = run[0].0;
            let mut block = RecordBlock::new(TopicPartition::new("t", partition as i32), Generation(1));
            for (_, id, deed) in run {
                let key = format!("{{\"id\":{id}}}");
                let value = match deed {
                    Deed::Remove => None,
                    Deed::Put(fields) => {
                        let fields: Vec<String> =
                            fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                        Some(format!("{{{}}}", fields.join(",")))
                    }
                };
                let value = value.as_deref().map(str::as_bytes);
                block.push(Offset::new(self.ends[partition]), Some(1), Some(key.as_bytes()), value, []);
                self.ends[partition] += 1;
            }
            self.step(Input::Records(Arc::new(block)));
        }
    }

    async fn write_all(&mut self) {
        let mut last = None;
        for _ in 0..2_000 {
            if self.machine.is_idle() {
                return;
            }
            let Some(batch) = self.flying.take() else {
                self.step(Input::Tick);
                continue;
            };
            let outcome = if self.seeks {
                self.bench.writer.seek(&batch).await
            } else {
                self.step(Input::Settling);
                self.bench.writer.write(&batch, || {}).await
            };
            if let CommitOutcome::Committed(tallies) = &outcome {
                tallies.iter().for_each(|tally| self.tally.merge(tally));
            }
            last = Some(format!("{outcome:?}"));
            self.step(Input::Written(batch, outcome));
        }
        panic!("batches went round and round: {last:?}");
    }
}

/// What a stream ends in: rows, outcomes, quarantined offsets.
type End = (Vec<String>, String, Vec<String>);

async fn expected(run: &Run, ddl: &str, stream: &[Fed], mode: WriteMode) -> End {
    run.bench.run(&ddl.replace("target", "twin").replace(JUDGE, "")).await;
    let (mut tally, mut bad, mut ends) = (Tally::default(), BTreeSet::new(), [0i64; 2]);
    for record in stream {
        let outcome = apply(run.bench.session.client(), record, mode).await;
        tally.add(outcome.unwrap_or(Outcome::Quarantined), 1);
        if outcome.is_none() {
            bad.insert((record.0, ends[record.0]));
        }
        ends[record.0] += 1;
    }
    let rows = run.bench.texts("SELECT t::text FROM twin AS t ORDER BY 1").await;
    (rows, told(&tally), bad.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect())
}

async fn found(run: &Run) -> End {
    let sql = "SELECT concat_ws(':', partition, record_offset) FROM tidegate.quarantine \
               ORDER BY partition, record_offset";
    for partition in 0..2 {
        assert_eq!(run.bench.ledger(partition).await.0, run.ends[partition as usize]);
    }
    (run.bench.rows().await, told(&run.tally), run.bench.texts(sql).await)
}

async fn every_cut_ends_alike(rule: &str, order: KeyOrder, seed: u64, mode: WriteMode) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let table = if mode == WriteMode::Append { TABLE.replace(" PRIMARY KEY", "") } else { TABLE.to_owned() };
    let ddl = format!("{table}{JUDGE}{rule};");
    let (ids, length) = if dice.bool() { (6, 60) } else { (40, 160) };
    // Long runs that only add rows go by COPY, until something is in the way.
    let adds = mode == WriteMode::Append || dice.u8(0..3) == 0;
    let stream: Vec<Fed> = (0..length).map(|_| draw(&mut dice, ids, adds)).collect();
    let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["id"] };
    eprintln!("replay with TIDEGATE_TEST_SEED={seed}: {rule}, {mode:?}");
    let mut end = None;
    for (cut, encoding) in
        [(1, Encoding::Binary), (3, Encoding::Binary), (50, Encoding::Text), (999, Encoding::Binary)]
    {
        let limits = LaneLimits { batch_rows: cut, ..limits() };
        let mut run = Run::new(&ddl, key, mode, encoding, limits).await;
        if mode != WriteMode::Append {
            assert_eq!(run.bench.route.table.traits.key_order, order, "{rule}");
        }
        let expected = match &end {
            Some(end) => end,
            None => end.insert(expected(&run, &ddl, &stream, mode).await),
        };
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (now, later) =
                rest.split_at(dice.usize(1..=cut.min(rest.len())).max(cut.min(rest.len()) / 2));
            run.read(now);
            run.write_all().await;
            rest = later;
        }
        let (rows, outcomes, bad) = found(&run).await;
        let what = format!("{rule}, {mode:?}, seed {seed}, cut {cut}, {encoding:?}: {stream:#?}");
        assert_eq!(bad, expected.2, "{what}");
        assert_eq!(rows, expected.0, "{what}");
        assert_eq!(outcomes, expected.1, "{what}");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let first: u64 = std::env::var("TIDEGATE_TEST_SEED").map_or(1, |text| text.parse().unwrap());
    first..first + STREAMS
}

/// Streams for each rule and mode.
const STREAMS: u64 = 2;

#[tokio::test]
async fn upserts_end_alike_under_every_cut() {
    for (rule, order) in RULES {
        for seed in seeds() {
            every_cut_ends_alike(rule, order, seed, WriteMode::Upsert).await;
        }
    }
}

#[tokio::test]
async fn inserts_end_alike_under_every_cut() {
    for (rule, order) in RULES {
        for seed in seeds() {
            every_cut_ends_alike(rule, order, seed, WriteMode::Insert).await;
        }
    }
}

#[tokio::test]
async fn appended_rows_end_alike_under_every_cut() {
    for (rule, order) in RULES.into_iter().filter(|(rule, _)| !rule.contains("FOREIGN")) {
        for seed in seeds() {
            every_cut_ends_alike(rule, order, seed, WriteMode::Append).await;
        }
    }
}

/// How many rows a second the ordered path writes beside the staged one, as a measurement to print:
/// `cargo test --release --test tests throughput_of_the_ordered_path -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement that proves nothing"]
async fn throughput_of_the_ordered_path() {
    use super::{V, put};
    const ROWS: i32 = 20_000;
    for (rule, path) in [
        ("", Path::StagedBinary),
        ("CREATE UNIQUE INDEX ON target (a)", Path::Large),
        ("ALTER TABLE target ADD FOREIGN KEY (p) REFERENCES target", Path::Large),
    ] {
        let mut bench = Bench::new(&format!("{TABLE}{rule}"), &["id"], WriteMode::Upsert).await;
        for (what, shift) in [("new", 0), ("equal", 0), ("changed", 1)] {
            let row = |id: i32| put(&[("id", V::I(id)), ("a", V::I(id)), ("c", V::I(shift))]);
            let records: Vec<_> = (0..ROWS).map(row).collect();
            let started = Instant::now();
            bench.put(path, &records).await;
            let rate = f64::from(ROWS) / started.elapsed().as_secs_f64();
            eprintln!("{path:?} {rule}: {what}: {rate:.0} rows/s");
        }
    }
}
