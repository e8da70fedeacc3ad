//! The one statement that writes a small batch.
//!
//! Parameters: the pipeline; an array for each of [`moves::MOVE_ARRAYS`] and of [`SETTLED`]; the rows' places
//! among the moves, from 1; an array for each column. It answers with one row for each partition that it
//! moved: the place, and how many rows were inserted, updated and left alone.

use std::fmt::Write as _;

use super::super::sql::{self, TableNames};
use super::SETTLED;
use super::column::Column;
use crate::engine::mode::{Existing, Meaning};
use crate::engine::outcome::Outcome;
use crate::engine::shape::ColumnSet;
use crate::postgres::ledger::moves;

/// The setting by which the statement knows that the transaction was opened: it is local to it.
pub(super) const OPEN_MARK: &str = "tidegate.transaction";

/// Makes the statement for rows of these columns; it writes nothing unless `current` holds, which says that
/// the table's shape is the one that the rows were made for.
pub(super) fn statement(
    progress: &str,
    names: &TableNames,
    set: &ColumnSet,
    columns: &[Column],
    meaning: Meaning,
    current: &str,
) -> String {
    let places: Vec<usize> = set.iter().collect();
    let targets = sql::list(&places, |place| names.columns[place].clone());
    let values = sql::list(&places, |place| format!("s.c{place}"));
    let (moves, rows) = (batch(current), rows(&places, columns));
    let held = moves::held(progress, "m");
    let target = &names.target;
    let write = match meaning.existing {
        Existing::Unkeyed => format!(
            "e AS MATERIALIZED (SELECT s.*, NULL::pg_catalog.bool AS same FROM s), \
             ins AS (INSERT INTO {target} ({targets}) SELECT {values} FROM e AS s RETURNING 1), \
             upd AS ({NO_UPDATE})"
        ),
        Existing::Update => {
            let (same_key, same) = (names.same_key("t", "s", true), names.same_row(set));
            let assignments = names.assignments(set);
            let update = if assignments.is_empty() {
                NO_UPDATE.to_owned()
            } else {
                // By ctid and not by key: the planner must have no choice but to fetch each row by itself,
                // since its plan is kept while the table grows. `IS TRUE` hides the key from its joins.
                format!(
                    "UPDATE {target} AS t SET {assignments} FROM e AS s WHERE NOT s.same \
                     AND t.ctid OPERATOR(pg_catalog.=) s.spot AND t.tableoid OPERATOR(pg_catalog.=) s.part \
                     AND ({same_key}) IS TRUE AND NOT {same} RETURNING 1"
                )
            };
            keyed(target, &targets, &values, &same_key, &same, &update)
        }
        // Whatever a row that exists says, it is as good as the same.
        Existing::Keep => {
            keyed(target, &targets, &values, &names.same_key("t", "s", true), "true", NO_UPDATE)
        }
    };
    let advance = advance(progress, meaning.kept.name());
    format!("WITH {moves}, held AS MATERIALIZED ({held}), {rows}, {write}, {COUNTED} {advance}")
}

/// Stands for the UPDATE where no row is changed.
const NO_UPDATE: &str = "SELECT 1 FROM e WHERE false";

/// Looks each row's key up, as `e`, inserts rows of new keys and changes others.
fn keyed(target: &str, targets: &str, values: &str, same_key: &str, same: &str, update: &str) -> String {
    format!(
        "e AS MATERIALIZED (SELECT s.*, x.same, x.spot, x.part FROM s LEFT JOIN LATERAL \
         (SELECT {same} AS same, t.ctid AS spot, t.tableoid AS part \
         FROM {target} AS t WHERE {same_key} OFFSET 0) AS x ON true), \
         ins AS (INSERT INTO {target} ({targets}) SELECT {values} FROM e AS s WHERE s.same IS NULL \
         RETURNING 1), \
         upd AS ({update})"
    )
}

/// Whether all partitions stand where the batch starts, in an open transaction. Nothing is written where this
/// doesn't hold.
const READY: &str = "(SELECT pg_catalog.count(*) FROM held) OPERATOR(pg_catalog.=) \
     pg_catalog.cardinality($2::pg_catalog.text[])";

/// Outcomes by partition, as the look-up of the keys foretold them.
const COUNTED: &str = "c AS MATERIALIZED (SELECT e.place, \
     pg_catalog.count(*) FILTER (WHERE e.same IS NULL) AS inserted, \
     pg_catalog.count(*) FILTER (WHERE NOT e.same) AS updated, \
     pg_catalog.count(*) FILTER (WHERE e.same) AS kept FROM e GROUP BY e.place)";

/// The moves as `m`. Empty where the transaction isn't open or the shape is gone.
fn batch(current: &str) -> String {
    let settled = SETTLED.into_iter().map(|outcome| (outcome.name(), "int8"));
    let (arrays, names) = moves::unnested(moves::MOVE_ARRAYS.into_iter().chain(settled));
    format!(
        "m AS MATERIALIZED (SELECT u.* FROM ROWS FROM ({arrays}) WITH ORDINALITY AS u({names}, place) \
         WHERE pg_catalog.current_setting('{OPEN_MARK}', true) OPERATOR(pg_catalog.=) 'open' \
         AND {current})"
    )
}

/// The rows as `s`, with their modifiers applied. There are none where the batch may not be written.
fn rows(places: &[usize], columns: &[Column]) -> String {
    let first = moves::MOVE_ARRAYS.len() + SETTLED.len() + 2;
    let mut arrays = format!("pg_catalog.unnest(${first}::pg_catalog.int8[])");
    let mut names = "place".to_owned();
    let mut values = "u.place".to_owned();
    for (index, (&place, column)) in places.iter().zip(columns).enumerate() {
        let _ = write!(arrays, ", pg_catalog.unnest(${}::{}[])", first + 1 + index, column.sql_name);
        let _ = write!(names, ", c{place}");
        let _ = match &column.cast {
            Some(cast) => write!(values, ", CAST(u.c{place} AS {cast}) AS c{place}"),
            None => write!(values, ", u.c{place}"),
        };
    }
    format!("s AS MATERIALIZED (SELECT {values} FROM ROWS FROM ({arrays}) AS u({names}) WHERE {READY})")
}

/// The compare-and-set, which counts rows that were left alone as `kept`. It moves nothing where a row wasn't
/// written as foretold.
fn advance(progress: &str, kept: &str) -> String {
    let mut counters = String::new();
    for (name, counted) in [("inserted", "inserted"), ("updated", "updated"), (kept, "kept")] {
        let settled = if name == "ignored" { " OPERATOR(pg_catalog.+) m.ignored" } else { "" };
        let _ =
            write!(counters, "{name} = p.{name} OPERATOR(pg_catalog.+) COALESCE(c.{counted}, 0){settled}, ");
    }
    for name in SETTLED.into_iter().map(Outcome::name).filter(|name| *name != kept) {
        let _ = write!(counters, "{name} = p.{name} OPERATOR(pg_catalog.+) m.{name}, ");
    }
    let (assignments, same_position) = (moves::ADVANCE_ASSIGNMENTS, moves::SAME_POSITION);
    format!(
        "UPDATE {progress} AS p SET {counters}{assignments} \
         FROM m LEFT JOIN c ON c.place OPERATOR(pg_catalog.=) m.place WHERE {same_position} AND {READY} \
         AND (SELECT pg_catalog.count(*) FROM ins) OPERATOR(pg_catalog.=) \
         (SELECT pg_catalog.count(*) FROM e WHERE e.same IS NULL) \
         AND (SELECT pg_catalog.count(*) FROM upd) OPERATOR(pg_catalog.=) \
         (SELECT pg_catalog.count(*) FROM e WHERE NOT e.same) \
         RETURNING m.place, COALESCE(c.inserted, 0), COALESCE(c.updated, 0), COALESCE(c.kept, 0)"
    )
}
