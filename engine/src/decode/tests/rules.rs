//! What rules make of a record.

use super::*;
use crate::expression::Expression;
use crate::rule::{OnFail, Rule};

fn ruled(rules: &[(&str, &str, OnFail)]) -> Route {
    let rule = |(name, check, on_fail): &(&str, &str, OnFail)| Rule {
        name: (*name).into(),
        check: Arc::new(Expression::compile(check).expect("an expression")),
        on_fail: *on_fail,
    };
    let columns =
        [(column("id", plain(Kind::Int8)), field("id")), (column("tags", array(Kind::Text)), field("tags"))];
    Route { rules: rules.iter().map(rule).collect(), tag_column: Some(1), ..route(columns) }
}

/// The line of [`shown`], and the places of the rules that the record fails.
fn judged(route: &Route, value: &str) -> (String, Vec<u16>) {
    let mut decoder = Decoder::new(Arc::new(route.clone()));
    // What is said of the record before doesn't count.
    decode(&mut decoder, Given::value("{}"), Encoding::Binary);
    decode(&mut decoder, Given::value(value), Encoding::Binary);
    (shown(route, Given::value(value)), decoder.failed_rules().to_vec())
}

#[test]
fn the_first_rule_that_fails_decides_and_tags_are_collected() {
    let route = ruled(&[
        ("positive", "record.amount > 0", OnFail::Tag),
        ("known.currency", "record.currency in ['EUR', 'CHF']", OnFail::Tag),
        ("not-a-test", "record.customer.name != 'test'", OnFail::Filter),
        ("id", "record.id < 100", OnFail::Quarantine),
        ("sane", "record.id >= 0", OnFail::Halt),
    ]);
    let record = |id: i32, amount: &str, currency: &str, customer: &str| {
        format!(
            r#"{{"id":{id},"amount":{amount},"currency":"{currency}","customer":{{"name":"{customer}"}}}}"#
        )
    };
    let cases = [
        (record(1, "1", "EUR", "a"), "id=1 tags={}", vec![]),
        (record(2, "0.0", "EUR", "a"), "id=2 tags={\"positive\"}", vec![0]),
        (record(3, "-1", "ZZZ", "a"), "id=3 tags={\"positive\",\"known.currency\"}", vec![0, 1]),
        (record(4, "-1", "EUR", "test"), "filtered", vec![0, 2]),
        (record(100, "1", "EUR", "a"), "rule", vec![3]),
        (record(-1, "1", "EUR", "a"), "rule_halt", vec![4]),
        // What can't be told fails.
        (
            r#"{"id":5,"amount":"1","customer":{"name":"a"}}"#.to_owned(),
            "id=5 tags={\"positive\",\"known.currency\"}",
            vec![0, 1],
        ),
        (r#"{"id":6,"amount":1,"currency":"EUR"}"#.to_owned(), "filtered", vec![2]),
    ];
    for (value, line, failed) in cases {
        assert_eq!(judged(&route, &value), (line.to_owned(), failed), "{value}");
    }
    assert_eq!(shown(&route, Given::default()), "tombstone", "no rule is asked where there is no value");
}

#[test]
fn a_field_that_only_a_rule_asks_for_is_unknown_to_the_table() {
    let rules = [("positive", "record.amount > 0 && record.id > 0", OnFail::Quarantine)];
    let mut route = ruled(&rules);
    route.unknown_fields = UnknownFields::Reject;
    assert_eq!(shown(&route, Given::value(r#"{"id":1,"amount":1}"#)), "unknown_field");
    let columns =
        [(column("id", plain(Kind::Int8)), field("id")), (column("rest", plain(Kind::Jsonb)), field("rest"))];
    let route =
        Route { rules: route.rules, unknown_fields: UnknownFields::Collect(1), ..self::route(columns) };
    assert_eq!(shown(&route, Given::value(r#"{"id":1,"amount":1}"#)), r#"id=1 rest={"amount":1}"#);
    assert_eq!(shown(&route, Given::value(r#"{"id":1,"amount":0}"#)), "rule");
}

#[test]
fn a_refusal_names_the_rule_and_what_is_absent_and_no_value() {
    let route = ruled(&[("positive", "record.amount > 0", OnFail::Quarantine)]);
    let reason = |value: &str| {
        let mut decoder = Decoder::new(Arc::new(route.clone()));
        match decode(&mut decoder, Given::value(value), Encoding::Binary).0 {
            Decoded::Rejected(reject) => reject.reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(r#"{"amount":-4711}"#), "Rule positive doesn't hold: record.amount > 0.");
    let absent = "Rule positive can't be told to hold: record.amount is absent: record.amount > 0.";
    assert_eq!(reason("{}"), absent);
    let text = "Rule positive can't be told to hold: > doesn't take (string, int): record.amount > 0.";
    assert_eq!(reason(r#"{"amount":"4711"}"#), text);
}
