//! Scenarios: what a lane is told, in words, and what it answers.
//!
//! A record is its offset, with a letter where it is not a plain good one: `b` isn't JSON, `p` is a patch
//! that makes no new row, `s` a patch of record 0's row, `o` has a value that only the server can
//! read. A tenure's epoch is the number of its generation. Facts for metrics are left out
//! of the answers where a scenario isn't about them.

use super::*;
use crate::engine::backoff::{Backoff, Growth};
use crate::engine::batch::{Batch, Pending};
use crate::engine::breaker::BreakerLimits;
use crate::engine::commit::{CommitOutcome, Fence, StoredProgress};
use crate::engine::outcome::Outcome;
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::position::{Epoch, Offset, TopicId};
use crate::engine::route::{Mapping, OnBadRecord, OnTombstone, Source, UnknownFields, WriteMode};
use crate::engine::shape::{Column, ColumnType, Kind, Table, TableTraits};

const CALM: BreakerLimits = BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: 1_000_000 };

fn limits() -> LaneLimits {
    let backoff = |attempts| Backoff { growth: Growth::Linear, first_ms: 1_000, max_ms: 1_000, attempts };
    LaneLimits {
        batch_rows: 1_000,
        batch_bytes: 1 << 20,
        linger_ms: 0,
        breaker: CALM,
        transient: backoff(None),
        ambiguous: backoff(Some(2)),
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
        topic: "t".into(),
        table: Arc::new(Table {
            oid: 1,
            schema: "public".to_owned(),
            name: table.to_owned(),
            columns: names.iter().map(column).collect(),
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
        record_bytes_max: 1 << 20,
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

    fn claim(&mut self) -> (TopicPartition, Generation) {
        (TopicPartition::new("t", self.number() as i32), Generation(self.number() as u64))
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
        Arc::clone(self.routes.entry(table.to_owned()).or_insert_with(|| route(name, on_bad)))
    }

    fn read(&mut self, line: &str) -> Input {
        let mut words = Words(line.split_whitespace());
        match words.next() {
            "assign" => {
                let (partition, generation) = words.claim();
                words.next();
                let next = NextOffset::new(words.number());
                words.next();
                let route = self.route(match words.next() {
                    "" => "events",
                    table => table,
                });
                let (epoch, topic_id) = (Epoch::new(generation.0 as i64), TopicId(uuid::Uuid::nil()));
                Input::Assigned(Tenure { partition, generation, epoch, topic_id, next, route })
            }
            "valid" => {
                let (partition, generation) = words.claim();
                Input::Validated(partition, generation)
            }
            "records" => {
                let (partition, generation) = words.claim();
                Input::Records(block(partition, generation, words.0))
            }
            "end" => {
                let (partition, generation) = words.claim();
                words.next();
                Input::End(partition, generation, NextOffset::new(words.number()))
            }
            "revoke" => {
                let (partition, generation) = words.claim();
                Input::Revoked(partition, generation)
            }
            "halted" => {
                let (partition, generation) = words.claim();
                Input::Halted(partition, generation, Halt::new(HaltCode::TopicRecreated, "another id"))
            }
            "stored" => {
                let (partition, generation) = words.claim();
                Input::Stored(partition, generation, stored(&mut words))
            }
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
            if let Command::Write(batch) = command {
                assert!(self.flying.is_none(), "two batches at once");
                self.flying = Some(batch);
            }
        }
        answers.join(", ")
    }
}

fn block<'a>(
    partition: TopicPartition,
    generation: Generation,
    records: impl Iterator<Item = &'a str>,
) -> Arc<RecordBlock> {
    let mut block = RecordBlock::new(partition, generation);
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
    StoredProgress { next, epoch: Epoch::new(words.number()), owner: Some("other".to_owned()) }
}

fn outcome(word: &str, mut words: Words<'_>, batch: &Batch) -> CommitOutcome {
    let place = |partition: i64| {
        let found = batch.moves.iter().position(|moved| i64::from(moved.partition.partition) == partition);
        found.unwrap_or_else(|| panic!("{partition} is not in the batch"))
    };
    match word {
        "committed" => CommitOutcome::Committed(tallies(batch)),
        "already" => CommitOutcome::AlreadyCommitted,
        "unknown" => CommitOutcome::Unknown(failure("unavailable", None, None), tallies(batch)),
        "failed" => {
            let class = words.next();
            let rest: Vec<&str> = words.0.collect();
            let suspect = rest.iter().find_map(|word| word.strip_prefix('@')).and_then(|at| at.parse().ok());
            let table = rest.iter().find(|word| word.contains('.')).map(|table| (*table).to_owned());
            CommitOutcome::RolledBack(failure(class, suspect, table))
        }
        "fenced" => {
            let index = place(words.number());
            CommitOutcome::Fenced(vec![Fence { index, stored: Some(stored(&mut words)) }])
        }
        "missing" => CommitOutcome::Fenced(vec![Fence { index: place(words.number()), stored: None }]),
        "refused" => {
            let (partition, offset) = (place(words.number()) as u32, Offset::new(words.number()));
            CommitOutcome::Refused(vec![Pending { partition, offset, column: 2 }])
        }
        word => panic!("no input is called {word:?}"),
    }
}

fn tallies(batch: &Batch) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = batch.moves.iter().map(|moved| moved.settled).collect();
    for entry in batch.tables.iter().flat_map(|table| &table.entries) {
        tallies[entry.partition as usize].add(Outcome::Inserted, 1);
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

fn words_of(command: &Command) -> Option<String> {
    Some(match command {
        Command::Write(batch) => {
            let mut words = vec!["write".to_owned()];
            for moved in &batch.moves {
                let (from, to) = (moved.delta.from(), moved.delta.to());
                let gaps = if moved.gaps > 0 { format!(" gaps {}", moved.gaps) } else { String::new() };
                words.push(format!("{}: {from}-{to}{gaps}", moved.partition.partition));
            }
            let bad: Vec<String> = batch.quarantine.iter().map(|bad| bad.offset.to_string()).collect();
            if !bad.is_empty() {
                words.push(format!("bad {}", bad.join(" ")));
            }
            words.join(" ")
        }
        Command::Released(partition, generation) => {
            format!("released {} g{}", partition.partition, generation.0)
        }
        Command::Reclaim(partition, generation) => {
            format!("reclaim {} g{}", partition.partition, generation.0)
        }
        Command::Fenced(partition, generation, _) => {
            format!("fenced {} g{}", partition.partition, generation.0)
        }
        Command::Halt(partition, _, _, halt) => format!("halt {} {}", partition.partition, halt.code.code()),
        Command::Report(Report::Dropped { partition, records }) => {
            format!("dropped {} of {}", records, partition.partition)
        }
        Command::Report(Report::Behind { partition, offset }) => {
            format!("behind {}@{offset}", partition.partition)
        }
        Command::Report(Report::UnknownResolved { applied }) => format!("unknown applied: {applied}"),
        Command::Report(Report::Retrying { class, .. }) => format!("retry {}", class.name()),
        Command::Advise(..)
        | Command::Report(Report::Settled { .. } | Report::Batch { .. } | Report::Failed(_)) => return None,
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

#[test]
fn only_records_of_a_valid_assignment_are_written() {
    play_all(
        limits(),
        &[],
        &[
            (
                "what comes before validation is parked",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5 6", ""),
                    ("end 0 g1 at 9", ""),
                    ("valid 0 g1", "write 0: 5-9 gaps 2"),
                    ("committed", ""),
                ],
            ),
            (
                "other generations are dropped and counted",
                &[
                    ("assign 0 g2 at 5", ""),
                    ("valid 0 g2", ""),
                    ("records 0 g1: 5 6", "dropped 2 of 0"),
                    ("records 1 g2: 5", "dropped 1 of 1"),
                    ("records 0 g2: 5", "write 0: 5-6"),
                ],
            ),
            (
                "what lies behind the position is dropped",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("valid 0 g1", ""),
                    ("records 0 g1: 3 4 5 5 6", "behind 0@3, behind 0@4, behind 0@5, write 0: 5-7"),
                ],
            ),
            (
                "a new assignment replaces the old one",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5 6 7", ""),
                    ("assign 0 g2 at 6", "dropped 3 of 0"),
                    ("valid 0 g1", ""),
                    ("valid 0 g2", ""),
                    ("records 0 g2: 6", "write 0: 6-7"),
                ],
            ),
            (
                "a halt from outside stops it",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5", ""),
                    ("halted 0 g1", "dropped 1 of 0, halt 0 TG-101"),
                    ("valid 0 g1", ""),
                    ("records 0 g1: 6", "dropped 1 of 0"),
                    ("revoke 0 g1", "released 0 g1"),
                ],
            ),
        ],
    );
}

#[test]
fn offsets_behind_the_position_are_told_apart_from_gaps() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "records come twice",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("records 0 g1: 0 1 2", "behind 0@0, behind 0@1"),
                    ("committed", "write 0: 2-3"),
                ],
            ),
            (
                "holes and an end without records are gaps",
                &[
                    ("records 0 g1: 3", "write 0: 0-4 gaps 3"),
                    ("end 0 g1 at 4", ""),
                    ("end 0 g1 at 6", ""),
                    ("committed", "write 0: 4-6 gaps 2"),
                    ("committed", ""),
                    ("end 0 g1 at 6", ""),
                ],
            ),
        ],
    );
}

#[test]
fn a_revoked_partition_leaves_when_its_flight_has_ended() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "in flight",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("revoke 0 g1", ""),
                    ("records 0 g1: 1", "dropped 1 of 0"),
                    ("committed", "released 0 g1"),
                ],
            ),
            (
                "not in flight",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0 1", ""),
                    ("revoke 0 g1", "dropped 2 of 0, released 0 g1"),
                    ("committed", ""),
                ],
            ),
            (
                "rolled back: its records go, the mate's stay",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0", ""),
                    ("records 1 g2: 1", ""),
                    ("committed", "write 0: 0-1 1: 1-2"),
                    ("revoke 0 g1", ""),
                    ("failed record", "dropped 1 of 0, released 0 g1, write 1: 1-2"),
                ],
            ),
            (
                "assigned again before the flight has ended",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("revoke 0 g1", ""),
                    ("assign 0 g3 at 1", "dropped 1 of 0"),
                    ("committed", "released 0 g1"),
                ],
            ),
            (
                "halted and revoked before the flight has ended",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("halted 0 g1", "dropped 1 of 0, halt 0 TG-101"),
                    ("revoke 0 g1", ""),
                    ("committed", "released 0 g1"),
                ],
            ),
            ("never heard of", &[("revoke 5 g9", "released 5 g9")]),
        ],
    );
}

#[test]
fn what_is_stored_decides() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "a higher epoch fences, and the mate goes on",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0", ""),
                    ("records 1 g2: 1", ""),
                    ("committed", "write 0: 0-1 1: 1-2"),
                    ("fenced 0 at 0 epoch 9", "dropped 1 of 0, fenced 0 g1, write 1: 1-2"),
                    ("records 0 g1: 1", "dropped 1 of 0"),
                ],
            ),
            (
                "a position behind is a database that went back",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("records 0 g1: 1", "write 0: 1-2"),
                    ("fenced 0 at 0 epoch 1", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "so is a lower epoch",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("fenced 0 at 0 epoch 0", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "a position beyond all that was read is not ours",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("fenced 0 at 5 epoch 1", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "a missing row is never guessed",
                &[("records 0 g1: 0", "write 0: 0-1"), ("missing 0", "dropped 1 of 0, halt 0 TG-104")],
            ),
        ],
    );
}

#[test]
fn an_unknown_commit_is_settled_by_the_next_comparison() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "it was applied",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("already", "unknown applied: true"),
                    ("records 0 g1: 2", "write 0: 2-3"),
                ],
            ),
            (
                "it was applied, and more has come since",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("records 0 g1: 2", ""),
                    ("tick 1000", "write 0: 0-3"),
                    ("fenced 0 at 2 epoch 1", "unknown applied: true, write 0: 2-3"),
                    ("committed", ""),
                ],
            ),
            (
                "it was not applied",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("committed", "unknown applied: false"),
                ],
            ),
            (
                "the partition leaves meanwhile",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("revoke 0 g1", "dropped 2 of 0, released 0 g1"),
                    ("tick 1000", ""),
                ],
            ),
        ],
    );
}

#[test]
fn an_idle_partition_learns_from_a_look_at_its_row() {
    play_all(
        limits(),
        &HELD,
        &[
            ("the row stands as it should", &[("stored 0 g1 at 0 epoch 1", "")]),
            ("another owner", &[("stored 0 g1 at 0 epoch 2", "fenced 0 g1")]),
            (
                "the database went back",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("stored 0 g1 at 0 epoch 1", "reclaim 0 g1"),
                ],
            ),
            (
                "a look that is older than the flight",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 0 g1: 1", ""),
                    ("stored 0 g1 at 7 epoch 1", ""),
                    ("committed", "write 0: 1-2"),
                    ("stored 0 g1 at 0 epoch 1", ""),
                    ("unknown", "retry unavailable"),
                    ("stored 0 g1 at 0 epoch 1", ""),
                ],
            ),
            ("a look of another assignment", &[("stored 0 g2 at 9 epoch 9", "")]),
        ],
    );
}

#[test]
fn waits_repeat_the_batch_and_conflicts_make_it_smaller() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "unavailable",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 2000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 3000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 4000", "write 0: 0-2"),
                    ("committed", ""),
                ],
            ),
            (
                "conflicts",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 1000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 2000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 3000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 4000", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("committed", "write 0: 3-4"),
                ],
            ),
            (
                "the unknown is tried a bounded number of times, after any number of outages",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1000", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 2000", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 3000", "write 0: 0-1"),
                    ("failed ambiguous", "retry ambiguous"),
                    ("tick 4000", "write 0: 0-1"),
                    ("failed ambiguous", "retry ambiguous"),
                    ("tick 5000", "write 0: 0-1"),
                    ("failed ambiguous", "dropped 1 of 0, halt 0 TG-305"),
                ],
            ),
        ],
    );
}

#[test]
fn a_wait_is_as_long_as_it_says() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    lane.give("records 0 g1: 0");
    lane.give("failed unavailable");
    let wake = lane.machine.wake().expect("it wants to be woken");
    assert!(wake <= 1_000);
    if wake > 0 {
        assert_eq!(lane.give(&format!("tick {}", wake - 1)), "");
    }
    assert_eq!(lane.give(&format!("tick {wake}")), "write 0: 0-1");
    assert_eq!(lane.machine.wake(), None);
}

#[test]
fn a_refused_record_is_found_behind_its_predecessors() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "the error points at it",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record @2", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("failed record @0", "write 0: 2-4 bad 2"),
                    ("committed", ""),
                ],
            ),
            (
                "the error points nowhere",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("committed", "write 0: 3-4"),
                    ("failed record", "write 0: 3-4 bad 3"),
                    ("committed", ""),
                ],
            ),
            (
                "one that collides alone meets another unique index",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed collision", "write 0: 0-1"),
                    ("failed collision", "write 0: 0-2 bad 0"),
                ],
            ),
            (
                "the quarantine refuses nothing",
                &[
                    ("records 0 g1: 0b", "write 0: 0-1 bad 0"),
                    ("failed record", "dropped 1 of 0, halt 0 TG-306"),
                ],
            ),
            (
                "a patch without a row",
                &[("records 0 g1: 0 1p 2", "write 0: 0-3"), ("refused 0 1", "write 0: 0-3 bad 1")],
            ),
            (
                "a move without records fails",
                &[("end 0 g1 at 4", "write 0: 0-4 gaps 4"), ("failed record", "halt 0 TG-306")],
            ),
        ],
    );
}

#[test]
fn a_bad_partition_does_not_hold_up_its_lane_mates() {
    let begin = [
        ("assign 0 g1 at 0 to good", ""),
        ("valid 0 g1", ""),
        ("assign 1 g2 at 0 to bad!", ""),
        ("valid 1 g2", ""),
        ("end 0 g1 at 1", "write 0: 0-1 gaps 1"),
    ];
    play_all(
        limits(),
        &begin,
        &[
            (
                "it stops in front of its bad record, after what came before",
                &[
                    ("records 1 g2: 0 1b 2", ""),
                    ("records 0 g1: 1 2", ""),
                    ("committed", "write 1: 0-1 0: 1-3"),
                    ("records 1 g2: 3", "dropped 1 of 1"),
                    ("records 0 g1: 3", ""),
                    ("committed", "dropped 2 of 1, halt 1 TG-301, write 0: 3-4"),
                ],
            ),
            (
                "nothing comes before it",
                &[
                    ("records 1 g2: 0b 1", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "dropped 2 of 1, halt 1 TG-301, write 0: 1-2"),
                ],
            ),
            (
                "what came before is rolled back, and it meets the record again",
                &[
                    ("records 1 g2: 0 1b", ""),
                    ("committed", "write 1: 0-1"),
                    ("failed conflict", "retry conflict"),
                    ("records 1 g2: 2", ""),
                    ("tick 1000", "write 1: 0-1"),
                    ("committed", "dropped 2 of 1, halt 1 TG-301"),
                ],
            ),
            (
                "revoked while it halts",
                &[
                    ("records 1 g2: 0 1b", ""),
                    ("committed", "write 1: 0-1"),
                    ("revoke 1 g2", ""),
                    ("committed", "dropped 1 of 1, released 1 g2"),
                ],
            ),
            (
                "a schema that doesn't fit halts its table only",
                &[
                    ("records 1 g2: 0", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "write 1: 0-1 0: 1-2"),
                    ("failed schema public.bad", "dropped 1 of 1, halt 1 TG-303, write 0: 1-2"),
                ],
            ),
            (
                "one of a table that no route names halts all",
                &[
                    ("records 1 g2: 0", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "write 1: 0-1 0: 1-2"),
                    (
                        "failed schema tidegate.progress",
                        "dropped 1 of 1, halt 1 TG-303, dropped 1 of 0, halt 0 TG-303",
                    ),
                ],
            ),
        ],
    );
}

#[test]
fn the_breaker_trips_before_anything_is_written() {
    let breaker = BreakerLimits { halt_above: 0.5, over_ms: 60_000, at_least: 4 };
    play(
        "too many",
        LaneLimits { breaker, ..limits() },
        &[
            ("assign 0 g1 at 0 to good", ""),
            ("valid 0 g1", ""),
            ("assign 1 g2 at 0 to bad", ""),
            ("valid 1 g2", ""),
            ("records 1 g2: 0b 1", "write 1: 0-2 bad 0"),
            ("records 1 g2: 2b 3b", ""),
            ("records 0 g1: 0", ""),
            ("committed", "dropped 2 of 1, halt 1 TG-302, write 0: 0-1"),
        ],
    );
}

#[test]
fn a_batch_waits_for_more_until_it_is_full_or_old() {
    let limits = LaneLimits { linger_ms: 50, batch_rows: 3, ..limits() };
    play_all(
        limits,
        &HELD,
        &[
            (
                "old",
                &[
                    ("records 0 g1: 0", ""),
                    ("tick 49", ""),
                    ("tick 50", "write 0: 0-1"),
                    ("records 0 g1: 1", ""),
                    ("committed", ""),
                    ("tick 99", ""),
                    ("tick 100", "write 0: 1-2"),
                ],
            ),
            (
                "full",
                &[
                    ("records 0 g1: 0 1", ""),
                    ("records 0 g1: 2 3", "write 0: 0-3"),
                    ("committed", ""),
                    ("tick 50", "write 0: 3-4"),
                ],
            ),
        ],
    );
}

#[test]
fn a_value_that_only_the_server_reads_turns_the_waiting_records_to_text() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    assert_eq!(lane.give("records 0 g1: 0"), "write 0: 0-1");
    assert_eq!(lane.give("records 0 g1: 1 2b 3o 4"), "");
    assert_eq!(lane.give("committed"), "write 0: 1-5 bad 2");
    let batch = lane.flying.as_ref().expect("a batch");
    assert_eq!(batch.tables[0].encoding, crate::engine::row::Encoding::Text);
    let ids: Vec<&[u8]> =
        batch.tables[0].entries.iter().map(|entry| &batch.tables[0].key(entry)[4..]).collect();
    assert_eq!(ids, [b"1", b"3", b"4"]);
    assert_eq!(lane.give("failed record @2"), "write 0: 1-3 bad 2");
}

#[test]
fn a_batch_that_is_tried_for_hours_does_not_grow() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    lane.give("records 0 g1: 0 1s 2s");
    let mut sizes = Vec::new();
    for hour in 1..=5 {
        lane.give("failed unavailable");
        lane.give(&format!("tick {}", hour * 3_600_000));
        sizes.push(lane.flying.as_ref().map(|batch| batch.tables[0].arena.len()));
    }
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
}
