//! Columns that take another type.

use super::ground::{Case, Ground};

/// A change of the column `v`, under records that go on.
struct Change {
    name: &'static str,
    /// The column's type before.
    was: &'static str,
    /// What is done to it.
    alter: &'static str,
    /// A record's value before and during the change, in JSON, of its id.
    before: fn(i64) -> String,
    /// Afterwards: what the column didn't take before.
    after: fn(i64) -> String,
    /// What the row holds, by SQL over `id` and `v`, for either.
    right: [&'static str; 2],
}

const CHANGES: [Change; 12] = [
    Change {
        name: "to_numeric",
        was: "bigint",
        alter: "TYPE numeric(12,2)",
        before: |id| format!("{}", id * 7),
        after: |id| format!("{id}.25"),
        right: ["v = id * 7", "v = id + 0.25"],
    },
    Change {
        name: "to_text",
        was: "bigint",
        alter: "TYPE text",
        before: |id| format!("{}", id * 7),
        after: |id| format!("\"no number {id}\""),
        right: ["v = (id * 7)::text", "v = 'no number ' || id"],
    },
    Change {
        name: "to_double",
        was: "bigint",
        alter: "TYPE double precision",
        before: |id| format!("{}", id * 7),
        after: |id| format!("{id}.5"),
        right: ["v = id * 7", "v = id + 0.5"],
    },
    Change {
        name: "to_zoned",
        was: "timestamp",
        alter: "TYPE timestamptz USING v AT TIME ZONE 'UTC'",
        before: |id| format!("\"2026-01-01T00:00:{:02}\"", id % 60),
        after: |id| format!("\"2026-01-01T05:00:{:02}+05:00\"", id % 60),
        right: ["v = timestamptz '2026-01-01 00:00Z' + id % 60 * interval '1 s'"; 2],
    },
    Change {
        name: "to_jsonb",
        was: "text",
        alter: "TYPE jsonb USING to_jsonb(v)",
        before: |id| format!("\"word {id}\""),
        after: |id| format!("{{\"n\":{id}}}"),
        right: ["v = to_jsonb('word ' || id)", "v = jsonb_build_object('n', id)"],
    },
    Change {
        name: "to_bytea",
        was: "text",
        alter: "TYPE bytea USING decode(substr(v, 3), 'hex')",
        before: |id| format!("\"\\\\x{id:08x}\""),
        after: |id| format!("\"\\\\x{id:08x}\""),
        right: ["v = decode(lpad(to_hex(id), 8, '0'), 'hex')"; 2],
    },
    Change {
        name: "to_bigint",
        was: "integer",
        alter: "TYPE bigint",
        before: |id| format!("{id}"),
        after: |id| format!("{}", id + 3_000_000_000),
        right: ["v = id", "v = id + 3000000000"],
    },
    Change {
        name: "to_integer",
        was: "bigint",
        alter: "TYPE integer",
        before: |id| format!("{id}"),
        after: |id| format!("{}", id * 2),
        right: ["v = id", "v = id * 2"],
    },
    Change {
        name: "to_uuid",
        was: "varchar(40)",
        alter: "TYPE uuid USING v::uuid",
        before: |id| format!("\"00000000-0000-0000-0000-{id:012}\""),
        after: |id| format!("\"{{00000000000000000000{id:012}}}\""),
        right: ["v::text = '00000000-0000-0000-0000-' || lpad(id::text, 12, '0')"; 2],
    },
    Change {
        name: "to_longer",
        was: "varchar(5)",
        alter: "TYPE varchar(50)",
        before: |id| format!("\"{}\"", id % 10_000),
        after: |id| format!("\"longer than five {id}\""),
        right: ["v = (id % 10000)::text", "v = 'longer than five ' || id"],
    },
    Change {
        name: "to_wider",
        was: "numeric(6,1)",
        alter: "TYPE numeric(14,3)",
        before: |id| format!("{id}.5"),
        after: |id| format!("{}.125", id + 10_000_000),
        right: ["v = id + 0.5", "v = id + 10000000.125"],
    },
    Change {
        name: "to_nullable",
        was: "bigint NOT NULL",
        alter: "DROP NOT NULL",
        before: |id| format!("{id}"),
        after: |_| "null".to_owned(),
        right: ["v = id", "v IS NULL"],
    },
];

fn records(ids: std::ops::Range<i64>, value: fn(i64) -> String) -> impl Iterator<Item = (i64, String)> {
    ids.map(move |id| (id, format!("{{\"id\":{id},\"v\":{}}}", value(id))))
}

/// A batch of `burst` records is made for the column as it was and waits for the change, and as many arrive
/// when it is done: each row is what the column, as it is now, makes of its record.
fn every_change(name: &str, burst: i64) {
    let table =
        |change: &Change| format!("CREATE TABLE s.{} (id bigint PRIMARY KEY, v {})", change.name, change.was);
    // Both ways to stop for bad records: neither may act on what only the old column refuses.
    let case = |(at, change): (usize, &Change)| {
        let bad = if at % 2 == 0 { "halt" } else { "quarantine" };
        Case::with(change.name, &table(change), &format!("on_bad_record: {bad}"))
    };
    let mut ground = Ground::new(name, CHANGES.iter().enumerate().map(case).collect());
    ground.more = "bad_records: {halt_above: 0.001, over: 1m, at_least: 2}\n".to_owned();
    let worker = ground.worker();
    let names = CHANGES.map(|change| change.name);
    for change in &CHANGES {
        ground.send(change.name, records(0..burst, change.before));
    }
    ground.await_settled(&worker, &names);
    let (during, end) = (burst..2 * burst, 3 * burst);
    for change in &CHANGES {
        let session = ground.session();
        session.run(&format!("BEGIN; ALTER TABLE s.{} ALTER COLUMN v {}", change.name, change.alter));
        ground.send(change.name, records(during.clone(), change.before));
        ground.await_waiting(&worker, change.name);
        session.run("COMMIT");
        ground.send(change.name, records(during.end..end, change.after));
    }
    ground.await_settled(&worker, &names);
    for Change { name, right: [before, after], .. } in &CHANGES {
        let right = format!("CASE WHEN id < {} THEN {before} ELSE {after} END", during.end);
        ground.prove(&worker, name, end, &right);
        assert_eq!(ground.quarantined(name), 0, "{name}\n{}", worker.errors());
        assert_eq!(ground.outcome(name, "inserted"), end);
    }
    ground.verify(&worker);
    ground.never_halted(&worker);
}

#[test]
fn a_column_takes_another_type_under_a_few_records() {
    every_change("types_few", 4);
}

#[test]
fn a_column_takes_another_type_under_large_batches() {
    every_change("types_many", 3_000);
}
