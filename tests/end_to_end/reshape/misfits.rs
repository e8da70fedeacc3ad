//! Changes that leave a route without what it needs: its partitions stop by name, nothing is blamed on a
//! record, and work goes on by itself when the table fits again.

use super::super::SOON;
use super::ground::{Case, Ground};

/// What a table goes through. `{n}` in SQL is the table's name, without its schema.
struct Misfit {
    name: &'static str,
    table: &'static str,
    /// More of its route.
    route: &'static str,
    away: &'static str,
    back: &'static str,
    /// Whether it is noticed although no record comes.
    idle: bool,
}

const PLAIN: &str = "CREATE TABLE s.{n} (id bigint PRIMARY KEY, v bigint)";

const MISFITS: [Misfit; 12] = [
    // The rows have a value, and a new one has none.
    Misfit {
        name: "demanding",
        table: PLAIN,
        route: "",
        away: "ALTER TABLE s.{n} ADD COLUMN must text NOT NULL DEFAULT 'x'; \
               ALTER TABLE s.{n} ALTER COLUMN must DROP DEFAULT",
        back: "ALTER TABLE s.{n} ALTER COLUMN must SET DEFAULT 'y'",
        idle: false,
    },
    Misfit {
        name: "swapped",
        table: PLAIN,
        route: "",
        away: "CREATE TABLE s.{n}_new (id bigint NOT NULL, v bigint); INSERT INTO s.{n}_new SELECT * FROM s.{n}; \
               ALTER TABLE s.{n} RENAME TO {n}_old; ALTER TABLE s.{n}_new RENAME TO {n}",
        back: "ALTER TABLE s.{n} ADD PRIMARY KEY (id)",
        idle: false,
    },
    Misfit {
        name: "unindexed",
        table: PLAIN,
        route: "write: insert",
        away: "ALTER TABLE s.{n} DROP CONSTRAINT {n}_pkey",
        back: "CREATE UNIQUE INDEX CONCURRENTLY ON s.{n} (id)",
        idle: false,
    },
    Misfit {
        name: "deferred",
        table: PLAIN,
        route: "",
        away: "ALTER TABLE s.{n} DROP CONSTRAINT {n}_pkey, ADD PRIMARY KEY (id) DEFERRABLE",
        back: "ALTER TABLE s.{n} DROP CONSTRAINT {n}_pkey, ADD PRIMARY KEY (id)",
        idle: false,
    },
    Misfit {
        name: "viewed",
        table: PLAIN,
        route: "",
        away: "ALTER TABLE s.{n} RENAME TO {n}_base; CREATE VIEW s.{n} AS SELECT * FROM s.{n}_base",
        back: "DROP VIEW s.{n}; ALTER TABLE s.{n}_base RENAME TO {n}",
        idle: false,
    },
    Misfit {
        name: "unnamed",
        table: PLAIN,
        route: "columns: {v: v}",
        away: "ALTER TABLE s.{n} RENAME COLUMN v TO w",
        back: "ALTER TABLE s.{n} RENAME COLUMN w TO v",
        idle: false,
    },
    Misfit {
        name: "unlogged",
        table: PLAIN,
        route: "",
        away: "ALTER TABLE s.{n} SET UNLOGGED",
        back: "ALTER TABLE s.{n} SET LOGGED",
        idle: true,
    },
    Misfit {
        name: "parted",
        table: "CREATE TABLE s.{n} (id bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (id); \
                CREATE TABLE s.{n}_rest PARTITION OF s.{n} DEFAULT",
        route: "",
        away: "CREATE UNLOGGED TABLE s.{n}_far (LIKE s.{n} INCLUDING ALL); \
               ALTER TABLE s.{n} ATTACH PARTITION s.{n}_far FOR VALUES FROM (1000000) TO (2000000)",
        back: "ALTER TABLE s.{n} DETACH PARTITION s.{n}_far",
        idle: true,
    },
    Misfit {
        name: "inherited",
        table: PLAIN,
        route: "",
        away: "CREATE TABLE s.{n}_child () INHERITS (s.{n})",
        back: "DROP TABLE s.{n}_child",
        idle: true,
    },
    Misfit {
        name: "guarded",
        table: PLAIN,
        route: "",
        away: "REVOKE ALL ON s.{n} FROM CURRENT_USER",
        back: "GRANT ALL ON s.{n} TO CURRENT_USER",
        idle: false,
    },
    Misfit {
        name: "readable",
        table: PLAIN,
        route: "",
        away: "REVOKE UPDATE ON s.{n} FROM CURRENT_USER",
        back: "GRANT UPDATE ON s.{n} TO CURRENT_USER",
        idle: false,
    },
    Misfit {
        name: "recreated",
        table: PLAIN,
        route: "",
        away: "ALTER TABLE s.{n} RENAME TO {n}_old; CREATE TABLE s.{n} (ident bigint PRIMARY KEY, v bigint)",
        back: "DROP TABLE s.{n}; ALTER TABLE s.{n}_old RENAME TO {n}",
        idle: false,
    },
];

fn records(ids: std::ops::Range<i64>, factor: i64) -> impl Iterator<Item = (i64, String)> {
    ids.map(move |id| (id, format!("{{\"id\":{id},\"v\":{}}}", id * factor)))
}

#[test]
fn a_change_that_a_route_doesn_t_fit_halts_by_name_until_it_is_mended() {
    let case = |misfit: &Misfit| Case {
        name: misfit.name.to_owned(),
        table: misfit.table.replace("{n}", misfit.name),
        route: if misfit.route.is_empty() { String::new() } else { format!(", {}", misfit.route) },
    };
    let mut cases: Vec<Case> = MISFITS.iter().map(case).collect();
    // This one is a view to begin with.
    cases.push(Case::new("late", "CREATE VIEW s.late AS SELECT 1::bigint AS id, 2::bigint AS v"));
    let mut ground = Ground::new("misfits", cases);
    let worker = ground.worker();
    let names = MISFITS.map(|misfit| misfit.name);
    for name in names {
        ground.send(name, records(0..500, 1));
    }
    ground.send("late", records(0..500, 1));
    ground.await_settled(&worker, &names);
    for misfit in &MISFITS {
        ground.sql(&misfit.away.replace("{n}", misfit.name));
        if !misfit.idle {
            // Known keys as well as new ones.
            ground.send(misfit.name, records(400..1_000, 2));
        }
    }
    ground.await_halted(&worker, &names, SOON);
    for misfit in &MISFITS {
        assert_eq!(ground.quarantined(misfit.name), 0, "{}\n{}", misfit.name, worker.errors());
        ground.sql(&misfit.back.replace("{n}", misfit.name));
        if misfit.idle {
            ground.send(misfit.name, records(400..1_000, 2));
        }
    }
    ground.sql("DROP VIEW s.late; CREATE TABLE s.late (id bigint PRIMARY KEY, v bigint)");
    ground.await_settled(&worker, &names);
    ground.await_settled(&worker, &["late"]);
    for name in names {
        // `insert` keeps the first record of a key.
        let changed = if name == "unindexed" { 500 } else { 400 };
        let right = format!("v = CASE WHEN id < {changed} THEN id ELSE id * 2 END");
        ground.prove(&worker, name, 1_000, &right);
        assert_eq!(ground.quarantined(name), 0, "{name}");
    }
    ground.prove(&worker, "demanding", 1_000, "must = CASE WHEN id < 500 THEN 'x' ELSE 'y' END");
    ground.prove(&worker, "late", 500, "v = id");
    worker
        .await_condition("no partition halts", SOON, |_| names.iter().all(|it| ground.halted(it) == 0))
        .unwrap();
    ground.verify(&worker);
}
