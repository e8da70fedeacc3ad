//! Outcomes are spelt once, in `Outcome::ALL`. SQL can't be made of it: it is held against it here.

use tidegate::engine::outcome::Outcome;

use super::{read, report};

/// A file's SQL with single spaces.
fn sql(path: &str) -> String {
    read(path).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn names(of: impl Fn(Outcome) -> bool, separator: &str) -> String {
    let names = Outcome::ALL.into_iter().filter(|outcome| of(*outcome)).map(Outcome::name);
    names.collect::<Vec<_>>().join(separator)
}

#[test]
fn sql_names_every_outcome_in_its_place() {
    let (all, duplicates) = (names(|_| true, ", "), names(Outcome::is_duplicate, ", "));
    let added = names(Outcome::is_duplicate, " + ");
    let (tables, verify) = ("src/postgres/sql/ledger_1.sql", "src/postgres/sql/ledger_verify.sql");
    // What must stand where, and how often.
    let mut rules = vec![
        (tables, format!("{all}, gaps FROM {{ledger}}"), 2),
        (tables, format!("{added} AS duplicates"), 1),
        (tables, format!("CAST({added} AS numeric)"), 1),
        (tables, format!("{duplicates} FROM {{ledger}}.outcomes"), 1),
        (verify, format!("{all} FROM"), 3),
    ];
    for outcome in Outcome::ALL {
        let name = outcome.name();
        // One in the progress table, one in that of closed spans.
        rules.push((tables, format!(" {name} bigint NOT NULL"), 2));
        rules.push((tables, format!("CAST(sum({name}) AS bigint) AS {name},"), 1));
    }
    let wrong = rules.into_iter().filter_map(|(path, text, times)| {
        let found = sql(path).matches(&text).count();
        (found != times).then(|| format!("{path}: \"{text}\" stands there {found} times, not {times}"))
    });
    report("outcomes in SQL", wrong.collect(), "name each outcome, in the order of Outcome::ALL");
}
