//! Rules of quality, as people configure them and see what they do.

use lab::process::{Tidegate, get};
use lab::sql;
use serde_json::Value;

use super::servers::Place;
use super::{stderr, stdout};
use crate::end_to_end::SOON;

/// Five records: good, of no amount, of an unknown currency, of a test customer, without a customer.
const RECORDS: [&str; 5] = [
    r#"{"id":1,"amount":5,"currency":"CHF","customer":"ann"}"#,
    r#"{"id":2,"amount":0,"currency":"CHF","customer":"bob"}"#,
    r#"{"id":3,"amount":5,"currency":"???","customer":"cid"}"#,
    r#"{"id":4,"amount":5,"currency":"CHF","customer":"test"}"#,
    r#"{"id":5,"amount":5,"currency":"CHF"}"#,
];

/// A place whose route has rules, of which the one about amounts does this.
fn ruled(name: &str, on_fail: &str) -> Place {
    let mut place = Place::new(name);
    place.sql("CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric NOT NULL, quality text[])");
    place.routes = format!(
        "  - topic: {}\n    table: public.events\n    key: [id]\n    tag_column: quality\n    rules:\n      \
         - {{name: currency, check: \"record.currency in ['CHF', 'EUR']\", on_fail: tag}}\n      \
         - {{name: no-tests, check: \"record.customer != 'test'\", on_fail: filter}}\n      \
         - {{name: amount, check: record.amount > 0, on_fail: {on_fail}}}\n",
        place.fresh.topic
    );
    place.put(0, &RECORDS);
    place
}

#[test]
fn each_kind_of_rule_does_what_it_says_and_is_counted() {
    let place = ruled("cli_rules", "quarantine");
    let run = Tidegate::new(
        env!("CARGO_BIN_EXE_tidegate").as_ref(),
        &std::fs::read_to_string(place.config()).unwrap(),
    );
    let worker = run.unwrap().start("run").unwrap();
    let applied = |_: &_| {
        sql::number(&place.fresh.url, "SELECT sum(next_offset) FROM tidegate.progress")
            .is_ok_and(|at| at == 5)
    };
    worker.await_condition("five records", SOON, applied).unwrap();
    let rows = "SELECT string_agg(id || '=' || quality::text, ' ' ORDER BY id) FROM public.events";
    assert_eq!(sql::value(&place.fresh.url, rows).unwrap(), "1={} 3={currency}");
    let counted = "SELECT inserted || ' ' || filtered || ' ' || quarantined FROM tidegate.outcomes";
    // Whose customer isn't known isn't known to be no test: what can't be told fails, and is filtered.
    assert_eq!(sql::value(&place.fresh.url, counted).unwrap(), "2 2 1");
    let listed = place.json("quarantine list", 0);
    let entry = &listed["records"][0];
    assert_eq!(entry["code"], "rule");
    assert_eq!(entry["reason"], "Rule amount doesn't hold: record.amount > 0.");
    let (_, page) = get(&place.listen, "/metrics").unwrap();
    for (rule, count) in [("currency", 1), ("no-tests", 2), ("amount", 1)] {
        let label = format!("rule=\"{rule}\"");
        let is_series =
            |line: &&str| line.starts_with("tidegate_rule_failures_total{") && line.contains(&label);
        let series = page.lines().find(is_series);
        assert!(series.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{rule}: {series:?}");
    }
    let kept = "SELECT string_agg(rule || ' ' || on_fail || ' ' || failures, ', ' ORDER BY rule) \
                FROM tidegate.rule_failures";
    let counted = "amount quarantine 1, currency tag 1, no-tests filter 2";
    assert_eq!(sql::value(&place.fresh.url, kept).unwrap(), counted);
    let status = place.json("status", 0);
    let told = |rule: &Value| format!("{} {} {}", rule["rule"], rule["on_fail"], rule["failures"]);
    let told: Vec<_> = status["rules"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told.join(", ").replace('"', ""), counted);
    worker.terminate().unwrap();
    assert!(worker.wait(SOON).unwrap().code == Some(0));
    place.expect("verify", 0);
}

#[test]
fn a_rule_that_halts_stops_its_partition_in_front_of_the_record() {
    let place = ruled("cli_rule_halts", "halt");
    let halted = place.call("run --until-caught-up");
    assert_eq!(halted.status.code(), Some(5), "{}", stderr(&halted));
    assert!(stderr(&halted).contains("TG-301"), "{}", stderr(&halted));
    assert!(stderr(&halted).contains("Rule amount doesn't hold"), "{}", stderr(&halted));
    let at = "SELECT next_offset FROM tidegate.progress WHERE partition = 0";
    assert_eq!(sql::number(&place.fresh.url, at).unwrap(), 1);
}

#[test]
fn check_tries_rules_out_and_names_what_is_wrong_with_them() {
    let mut place = ruled("cli_rule_check", "quarantine");
    let text = stdout(&place.call("check"));
    assert!(text.contains("Rule amount doesn't hold: record.amount > 0"), "{text}");
    place.routes = place.routes.replace("tag_column: quality", "tag_column: amount");
    let report: Value = place.json("check", 3);
    assert!(report.to_string().contains("names of rules take a text[]"), "{report:#}");
}
