//! Routes that lead nowhere, and commands that come too early, on real servers.

use lab::sql;

use super::super::servers::Place;
use super::records::told;
use super::written;

const TABLE: &str =
    "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric(10,2) NOT NULL, note text)";

#[test]
fn targets() {
    let mut place = Place::new("wrong_targets").with_table();
    place.expect("init", 0);
    place.put(0, &[r#"{"id":1,"amount":2,"note":"a"}"#]);
    place.sql(
        "CREATE TABLE public.loose (id bigint, amount numeric, note text); \
         CREATE VIEW public.seen AS SELECT 1 AS id; \
         CREATE UNLOGGED TABLE public.quick (id bigint PRIMARY KEY, amount numeric, note text); \
         CREATE TABLE public.narrow (id bigint PRIMARY KEY)",
    );
    let topic = place.fresh.topic.clone();
    let misspelt = topic.replace("wrong", "wrnog");
    let route = |rest: &str| format!("  - {{topic: {topic}, {rest}}}\n");
    let cases = [
        ("a misspelt topic", format!("  - {{topic: {misspelt}, table: public.events, key: [id]}}\n")),
        (
            "a pattern that means nothing",
            "  - {topic: /nothing-.*/, table: public.events, key: [id]}\n".to_owned(),
        ),
        ("a misspelt table", route("table: public.evnets, key: [id]")),
        ("a misspelt schema", route("table: pubic.events, key: [id]")),
        ("a view", route("table: public.seen, key: [id]")),
        ("an unlogged table", route("table: public.quick, key: [id]")),
        ("a key without a unique index", route("table: public.loose, key: [id]")),
        ("a misspelt column in the key", route("table: public.events, key: [idd]")),
        ("a misspelt column", route("table: public.events, key: [id], columns: {amuont: amount}")),
        ("a field that no column takes", route("table: public.narrow, key: [id]")),
        ("a path that no record has", route("table: public.events, key: [id], columns: {note: body.note}")),
    ];
    let mut text = String::new();
    for (title, routes) in cases {
        place.routes = routes;
        text += &told(&place, title, "check").replace(&misspelt, "MISSPELT");
    }
    written("targets", text);
}

#[test]
fn too_early() {
    let place = Place::new("wrong_early");
    let mut text = String::new();
    for (title, command) in [
        ("proof of nothing", "verify"),
        ("a quarantine that isn't there", "quarantine list"),
        ("tables of an empty topic", "init --create-tables"),
    ] {
        text += &told(&place, title, command);
    }
    place.expect("init", 0);
    place.sql(TABLE);
    for (title, command) in [
        ("a record that isn't in the quarantine", "quarantine show --partition 0 --offset 7"),
        ("a condition that is no SQL", "quarantine list --where nonsense("),
        ("a condition on a column that isn't there", "quarantine list --where colunm_name='x'"),
        ("an age that is none", "quarantine list --since yesterday"),
    ] {
        text += &told(&place, title, command);
    }
    let database = &place.fresh.database;
    let alter = format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = on");
    sql::query(&place.fresh.superuser_url, &alter).unwrap();
    text += &told(&place, "a database that takes no writes", "check");
    written("too_early", text);
}
