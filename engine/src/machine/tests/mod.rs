//! Scenarios: what a lane is told, in words, and what it answers.
//!
//! A record is its offset, with a letter where it is not a plain good one: `b` isn't JSON, `p` is a patch
//! that makes no new row, `s` a patch of record 0's row, `o` has a value that only the server can
//! read. A table's name with `!` is one whose route halts at bad records, with `~` one that waits for no
//! parents. A tenure's epoch is the number of its generation. Facts for metrics are left out
//! of the answers where a scenario isn't about them.

mod ahead;
mod failures;
mod judged;
mod kept;
mod locked;
mod ownership;
mod parents;
mod reshape;
mod tries;

use super::*;
use crate::backoff::{Backoff, Growth};
use crate::batch::{Batch, MoveIndex, Pending};
use crate::breaker::{BreakerLimits, Judged};
use crate::claim::Claim;
use crate::commit::{CommitOutcome, Fence, Refusal, StoredProgress};
use crate::halt::HaltCode;
use crate::outcome::Outcome;
use crate::policy::{Failure, FailureClass, RetryPolicy};
use crate::position::{Epoch, Generation, Offset, TopicId};
use crate::route::{
    Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Source, UnknownFields, WriteMode,
};
use crate::shape::{Column, ColumnType, Kind, Table, TableTraits};

const CALM: BreakerLimits = BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: 1_000_000 };

fn limits() -> LaneLimits {
    let backoff = |attempts| Backoff {
        growth: Growth::Linear,
        first_ms: 1_000,
        max_ms: 1_000,
        attempts,
        deadline_ms: None,
    };
    let retry = RetryPolicy {
        transient: backoff(None),
        conflict: backoff(Some(12)),
        resources: backoff(None),
        ambiguous: backoff(Some(2)),
    };
    LaneLimits {
        batch_rows: 1_000,
        batch_bytes: 1 << 20,
        linger_ms: 0,
        ahead_records: 1,
        breaker: CALM,
        retry,
    }
}

fn route(table: &str, on_bad_record: OnBadRecord) -> Arc<Route> {
    let names = ["id", "note", "must", "odd"];
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        type_: ColumnType {
            oid: if *name == "odd" { 16_999 } else { 25 },
            sql_name: (*name).to_owned(),
            typmod: -1,
            kind: if *name == "odd" { Kind::Other } else { Kind::Text },
        },
        not_null: matches!(*name, "id" | "must"),
        has_default: false,
        generated: false,
    };
    let source = |name: &str| Source::Field(vec![name.to_owned()]);
    Arc::new(Route {
        topic: table.into(),
        format: Format::Json,
        table: Arc::new(Table {
            oid: 1,
            schema: "public".to_owned(),
            name: table.to_owned(),
            columns: names.iter().map(column).collect(),
            version: Default::default(),
            traits: TableTraits { bytewise_key: true, ..TableTraits::default() },
        }),
        key: vec![0],
        mode: WriteMode::Upsert,
        mappings: (0..4)
            .map(|column| Mapping { column, source: source(names[column]), unit: None })
            .collect(),
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Quarantine,
        on_bad_record,
        on_missing_parent: OnMissingParent { wait_ms: 3_000, then: on_bad_record },
        record_bytes_max: 1 << 20,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
    })
}

struct Lane {
    machine: Machine,
    now: Millis,
    routes: BTreeMap<String, Arc<Route>>,
    flying: Option<Box<Batch>>,
}

/// The words of one line, taken one by one.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.0.next().unwrap_or_default()
    }

    /// The next word as a number, a leading letter or trailing colon aside.
    fn number(&mut self) -> i64 {
        let word = self.next();
        word.trim_matches([':', ',', 'g', '@']).parse().unwrap_or_else(|_| panic!("a number, not {word:?}"))
    }

    fn assignment(&mut self) -> Assignment {
        Assignment::new(TopicPartition::new("t", self.number() as i32), Generation(self.number() as u64))
    }
}

impl Lane {
    fn new(limits: LaneLimits) -> Self {
        Self { machine: Machine::new(limits, 7), now: 0, routes: BTreeMap::new(), flying: None }
    }

    fn route(&mut self, table: &str) -> Arc<Route> {
        let (name, on_bad) = match table.strip_suffix('!') {
            Some(name) => (name, OnBadRecord::Halt),
            None => (table, OnBadRecord::Quarantine),
        };
        let waits = !name.ends_with('~');
        let make = || {
            let mut route = route(name.trim_end_matches('~'), on_bad);
            if !waits {
                Arc::make_mut(&mut route).on_missing_parent.wait_ms = 0;
            }
            route
        };
        Arc::clone(self.routes.entry(table.to_owned()).or_insert_with(make))
    }

    fn read(&mut self, line: &str) -> Input {
        let mut words = Words(line.split_whitespace());
        match words.next() {
            "assign" => {
                let assignment = words.assignment();
                words.next();
                let next = NextOffset::new(words.number());
                words.next();
                let route = self.route(match words.next() {
                    "" => "events",
                    table => table,
                });
                let Assignment { partition, generation } = assignment;
                let (epoch, topic_id) = (Epoch::new(generation.0 as i64), TopicId(uuid::Uuid::nil()));
                let mut claim = Claim::granted(partition, topic_id, epoch, next);
                claim = match words.next() {
                    "skipping" => claim.skipping(Some(Offset::new(words.number()))),
                    "judging" => claim.judged_from(Some(NextOffset::new(words.number()))),
                    _ => claim,
                };
                Input::Assigned(Tenure { claim, generation, route })
            }
            "valid" => {
                let assignment = words.assignment();
                Input::Validated(assignment)
            }
            "records" => {
                let assignment = words.assignment();
                Input::Records(block(assignment, words.0))
            }
            "end" => {
                let assignment = words.assignment();
                words.next();
                Input::End(assignment, NextOffset::new(words.number()))
            }
            "revoke" => {
                let assignment = words.assignment();
                Input::Revoked(assignment)
            }
            "doubt" => {
                let assignment = words.assignment();
                Input::Doubted(assignment)
            }
            "halted" => {
                let assignment = words.assignment();
                Input::Halted(assignment, Halt::new(HaltCode::TopicRecreated, "another id"))
            }
            "stored" => {
                let assignment = words.assignment();
                Input::Stored(assignment, stored(&mut words))
            }
            "shaped" => {
                let table = words.next();
                let mut route = self.route(table);
                let version = words.number();
                let shape = Arc::make_mut(&mut Arc::make_mut(&mut route).table);
                shape.version.own = version;
                self.routes.insert(table.to_owned(), Arc::clone(&route));
                Input::Shaped(route)
            }
            "judged" => {
                let topic = words.next().into();
                let (records, bad) = (words.number() as u64, words.number() as u64);
                Input::Judged(topic, Judged { records, bad })
            }
            "settling" => Input::Settling,
            "tick" => {
                self.now = words.number() as Millis;
                Input::Tick
            }
            word => {
                let batch = self.flying.take().unwrap_or_else(|| panic!("{line}: nothing is in flight"));
                let outcome = outcome(word, words, &batch);
                Input::Written(batch, outcome)
            }
        }
    }

    fn give(&mut self, line: &str) -> String {
        let input = self.read(line);
        let mut answers = Vec::new();
        for command in self.machine.step(self.now, input) {
            answers.extend(words_of(&command));
            if let Command::Write(batch) | Command::Seek(batch) = command {
                assert!(self.flying.is_none(), "two batches at once");
                self.flying = Some(batch);
            }
        }
        answers.join(", ")
    }
}

fn block<'a>(assignment: Assignment, records: impl Iterator<Item = &'a str>) -> Arc<RecordBlock> {
    let mut block = RecordBlock::new(assignment.partition, assignment.generation);
    for word in records {
        let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let value = match &word[digits.len()..] {
            "b" => "not JSON".to_owned(),
            "s" => "{\"id\":\"0\",\"note\":\"n\"}".to_owned(),
            "p" => format!("{{\"id\":\"{digits}\"}}"),
            "o" => format!("{{\"id\":\"{digits}\",\"must\":\"m\",\"odd\":\"x\"}}"),
            "" => format!("{{\"id\":\"{digits}\",\"must\":\"m\"}}"),
            letter => panic!("no record is called {letter:?}"),
        };
        let offset = Offset::new(digits.parse().expect("an offset"));
        block.push(offset, None, None, Some(value.as_bytes()), []);
    }
    Arc::new(block)
}

fn stored(words: &mut Words<'_>) -> StoredProgress {
    words.next();
    let next = NextOffset::new(words.number());
    words.next();
    let (epoch, is_decided) = (Epoch::new(words.number()), words.next() == "decided");
    let owner = (!is_decided).then(|| "other".to_owned());
    StoredProgress { topic_id: TopicId(uuid::Uuid::nil()), next, epoch, owner }
}

fn outcome(word: &str, mut words: Words<'_>, batch: &Batch) -> CommitOutcome {
    let place = |partition: i64| {
        let found = batch.moves().iter().position(|moved| i64::from(moved.partition.partition) == partition);
        MoveIndex::new(found.unwrap_or_else(|| panic!("{partition} is not in the batch")))
    };
    match word {
        "committed" => CommitOutcome::Committed(tallies(batch)),
        "already" => CommitOutcome::AlreadyCommitted,
        "reshaped" => CommitOutcome::Reshaped(batch.shapes().to_vec()),
        "unknown" => CommitOutcome::Unknown(failure("unavailable", None, None), tallies(batch)),
        "failed" => {
            let class = words.next();
            let rest: Vec<&str> = words.0.collect();
            let suspect = rest.iter().find_map(|word| word.strip_prefix('@')).and_then(|at| at.parse().ok());
            let table = rest.iter().find(|word| word.contains('.')).map(|table| (*table).to_owned());
            let sqlstate = rest.iter().find_map(|word| word.strip_prefix('#')).map(str::to_owned);
            CommitOutcome::RolledBack(Failure { sqlstate, ..failure(class, suspect, table) })
        }
        "fenced" => {
            let move_index = place(words.number());
            let (expected, stored) = (batch.moves()[move_index.get()].expects(), Some(stored(&mut words)));
            CommitOutcome::Fenced(vec![Fence { move_index, expected, stored }])
        }
        "missing" => {
            let move_index = place(words.number());
            let expected = batch.moves()[move_index.get()].expects();
            CommitOutcome::Fenced(vec![Fence { move_index, expected, stored: None }])
        }
        "refused" => {
            let (move_index, offset) = (place(words.number()), Offset::new(words.number()));
            CommitOutcome::Refused(vec![Pending { move_index, offset, column: 2 }])
        }
        "sought" => {
            let mut refusals = Vec::new();
            while let Some(class) = words.0.next() {
                let others_pass = !class.ends_with('!');
                let failure = failure(class.trim_end_matches('!'), None, None);
                let (move_index, offset) = (place(words.number()), Offset::new(words.number()));
                refusals.push(Refusal { move_index, offset, failure, others_pass });
            }
            CommitOutcome::Sought(refusals)
        }
        word => panic!("no input is called {word:?}"),
    }
}

fn tallies(batch: &Batch) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = batch.moves().iter().map(|moved| moved.settled).collect();
    for entry in batch.tables().iter().flat_map(|table| &table.entries) {
        tallies[entry.move_index.get()].add(Outcome::Inserted, 1);
    }
    tallies
}

fn failure(class: &str, suspect: Option<u32>, table: Option<String>) -> Failure {
    let class = FailureClass::ALL.into_iter().find(|known| known.name() == class);
    Failure {
        class: class.expect("a class"),
        sqlstate: None,
        column: None,
        constraint: None,
        table,
        message: "no".to_owned(),
        suspect,
    }
}

fn numbers(of: &Assignment) -> String {
    format!("{} g{}", of.partition.partition, of.generation.0)
}

fn words_of(command: &Command) -> Option<String> {
    Some(match command {
        Command::Write(batch) | Command::Seek(batch) => {
            let verb = if matches!(command, Command::Seek(_)) { "seek" } else { "write" };
            let mut words = vec![verb.to_owned()];
            for moved in batch.moves() {
                let (from, to) = (moved.delta.from(), moved.delta.to());
                let gaps = if moved.gaps > 0 { format!(" gaps {}", moved.gaps) } else { String::new() };
                words.push(format!("{}: {from}-{to}{gaps}", moved.partition.partition));
            }
            if batch.is_hurried() {
                words.push("hurried".to_owned());
            }
            let bad: Vec<String> = batch.quarantine().iter().map(|bad| bad.offset.to_string()).collect();
            if !bad.is_empty() {
                words.push(format!("bad {}", bad.join(" ")));
            }
            words.join(" ")
        }
        Command::Released(assignment) => format!("released {}", numbers(assignment)),
        Command::Reclaim(assignment) => format!("reclaim {}", numbers(assignment)),
        Command::Fenced(assignment, _) => format!("fenced {}", numbers(assignment)),
        Command::Rest(assignment, rests) => {
            let word = if *rests { "rest" } else { "wake" };
            format!("{word} {}", numbers(assignment))
        }
        Command::Report(Report::AwaitsParents { partition, waits }) => {
            let word = if *waits { "awaits" } else { "stops awaiting" };
            format!("{} {word} parents", partition.partition)
        }
        Command::Report(Report::AwaitsTable { partition, table }) => match table {
            Some(table) => format!("{} awaits {table}", partition.partition),
            None => format!("{} has its table", partition.partition),
        },
        Command::Reshape(topic) => format!("reshape {topic}"),
        Command::Halt(of, _, halt) => format!("halt {} {}", of.partition.partition, halt.code.code()),
        Command::Report(Report::Dropped { partition, records }) => {
            format!("dropped {} of {}", records, partition.partition)
        }
        Command::Report(Report::Behind { partition, offset }) => {
            format!("behind {}@{offset}", partition.partition)
        }
        Command::Report(Report::UnknownResolved { applied }) => format!("unknown applied: {applied}"),
        Command::Report(Report::Retrying { class, .. }) => format!("retry {}", class.name()),
        Command::Advise(..)
        | Command::Judged(..)
        | Command::Report(
            Report::Settled { .. }
            | Report::RuleFailed { .. }
            | Report::Quarantined { .. }
            | Report::Batch { .. }
            | Report::Failed(_),
        ) => return None,
    })
}

fn play(name: &str, limits: LaneLimits, scenario: &[(&str, &str)]) {
    let mut lane = Lane::new(limits);
    for (line, expected) in scenario {
        assert_eq!(lane.give(line), *expected, "{name}: {line}");
    }
}

const HELD: [(&str, &str); 2] = [("assign 0 g1 at 0", ""), ("valid 0 g1", "")];
const MATES: [(&str, &str); 4] =
    [("assign 0 g1 at 0", ""), ("valid 0 g1", ""), ("assign 1 g2 at 0", ""), ("valid 1 g2", "")];

fn play_all(limits: LaneLimits, begin: &[(&str, &str)], scenarios: &[(&str, &[(&str, &str)])]) {
    for (name, scenario) in scenarios {
        play(name, limits, &[begin, scenario].concat());
    }
}
