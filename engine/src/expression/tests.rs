use super::compile::{CHARACTERS_MAX, FUNCTIONS};
use super::{Expression, Part};
use crate::source::Source;

/// Evaluates an expression of which each input is one of these fields of the record, or a part of its own.
fn judged(text: &str, fields: &[(&str, Part<'static>)]) -> Result<bool, String> {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.holds(|input| {
        let name = match &expression.inputs()[input].source {
            Source::Field(path) => path.join("."),
            other => format!("{other:?}"),
        };
        fields.iter().find(|(field, _)| *field == name).map_or(Part::Absent, |(_, part)| *part)
    })
}

const RECORD: &[(&str, Part<'static>)] = &[
    ("amount", Part::Json("12")),
    ("large", Part::Json("18446744073709551615")),
    ("price", Part::Json("12.5")),
    ("exponent", Part::Json("1e2")),
    ("name", Part::Json(r#""Zoë \"Z\"""#)),
    ("mail", Part::Json(r#""a@example.org""#)),
    ("paid", Part::Json("true")),
    ("none", Part::Null),
    ("address.city", Part::Json(r#""Bern""#)),
    ("lines", Part::Json(r#"[{"n":1,"p":2.5},{"n":3,"p":1}]"#)),
    ("at", Part::Json(r#""2026-11-30T10:00:00Z""#)),
    ("a.b", Part::Blocked),
    ("Header(\"trace\")", Part::Bytes(b"abc")),
    ("Key", Part::Bytes(b"\xff\x00")),
    ("Topic", Part::Text("orders")),
    ("Offset", Part::Integer(7)),
    ("Timestamp", Part::Millis(1_764_500_400_000)),
    ("Value", Part::Bytes(br#"{"x": {"y": 2}, "z": null}"#)),
];

#[test]
fn what_holds_of_a_record() {
    for text in [
        "record.amount > 0",
        "record.amount == 12.0 && record.price > 12",
        "record.large > 9223372036854775807u",
        "record.exponent == 100.0",
        "record.name == 'Zoë \"Z\"' && record.name.size() == 7",
        "record[\"address\"].city in ['Bern', 'Basel']",
        "record.address[\"city\"].startsWith('B')",
        "record.paid || record.nothing > 1",
        "record.none == null && !has(record.none) && !has(record.nothing) && has(record.amount)",
        "!has(record.a.b) && has(record.address.city)",
        "record.lines.all(line, line.n > 0 && line.p > 0.5) && size(record.lines) == 2",
        "record.lines.exists(record, record.n == 3)",
        "record.mail.matches('^[^@]+@[^@]+$') && !record.mail.matches(\"[0-9]\")",
        "record.name.matches('^Zoë \"Z\"$')",
        "timestamp(record.at) < timestamp('2026-12-01T00:00:00Z')",
        "timestamp > timestamp('2025-11-30T00:00:00Z')",
        "headers.trace == 'abc' && headers[\"trace\"].matches('b') && !has(headers.other)",
        "type(key) == bytes && topic == 'orders' && offset == 7",
        "record.x.y == 2 || size(record) == 2",
        "(has(record.none) ? record.none > 1 : true)",
    ] {
        assert_eq!(judged(text, RECORD), Ok(true), "{text}");
    }
    for text in ["record.amount < 0", "record.none != null", "!record.paid", "record.mail.matches('^@')"] {
        assert_eq!(judged(text, RECORD), Ok(false), "{text}");
    }
}

#[test]
fn what_can_t_be_told_is_told_without_values() {
    for (text, why) in [
        ("record.nothing > 0", "record.nothing is absent"),
        ("record.a.b == 1", "record.a.b can't be reached: a field on its path isn't an object"),
        ("record.mail > 3", "> doesn't take (string, int)"),
        ("record.amount", "it comes to something else than true or false"),
        ("record.amount.matches('1')", "record.amount isn't text"),
        ("record.none.matches('1')", "record.none is null, not text"),
        ("record.amount / 0 == 1", "it divides by zero"),
        ("record.lines[7] == 1", "an index lies outside of its list"),
        ("record.lines.all(line, line.nowhere == 1)", "a field or key that it asks for isn't there"),
        ("int(record.mail) == 1", "the function int fails"),
        ("partition == 1", "partition is absent"),
    ] {
        assert_eq!(judged(text, RECORD), Err(why.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_expression_is_told_with_its_place() {
    for (text, place, words) in [
        ("record.amount >", Some(16), "it ends too early"),
        ("", None, ""),
        ("recrod.amount > 0", Some(1), "there is no `recrod`; an expression sees record, key"),
        ("record.a && sized(record.b)", Some(18), "there is no function `sized`"),
        ("is_ok(record.x)", Some(6), "there is no function `is_ok`"),
        ("record.a.starts_with('x')", Some(21), "there is no function `starts_with`"),
        ("record.a.matches('(')", Some(18), "the pattern: unclosed group"),
        ("headers == 1", Some(1), "name one header"),
        ("topic.x == 1", None, "topic has no fields"),
        ("record.a.all(x, y > 1)", Some(17), "there is no `y`"),
        ("Thing{a: 1} == 1", None, ""),
        (&"(".repeat(1000), Some(65), "brackets stand deeper"),
        (&"x".repeat(10_000), None, "it is longer than 2048 characters"),
    ] {
        let error = Expression::compile(text).expect_err(text);
        assert!(error.message.contains(words), "{text}: {error}");
        if place.is_some() {
            assert_eq!(error.character, place, "{text}: {error}");
        }
    }
}

#[test]
fn no_expression_overflows_the_stack() {
    let brackets = format!("{}true{}", "(".repeat(64), ")".repeat(64));
    assert_eq!(judged(&brackets, &[]), Ok(true));
    for (unit, end) in [
        ("!", "true"),
        ("-", "1"),
        ("1+", "1"),
        ("a.", "b"),
        ("true?", "1"),
        ("true||", "true"),
        ("x[0]", ""),
    ] {
        let text = format!("{}{end}", unit.repeat((CHARACTERS_MAX - end.len()) / unit.len()));
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.holds(|_| Part::Absent);
        }
        let text = text.replace("a.", "record.").chars().take(CHARACTERS_MAX).collect::<String>() + "b";
        let _ = Expression::compile(text.trim_start_matches("record.")).map(drop);
    }
}

#[test]
fn each_function_that_is_named_is_one() {
    const TIME: &str = "timestamp('2026-11-30T10:20:30.004Z')";
    let part = |function: &str, value: i64| format!("{TIME}.{function}() == {value}");
    let calls = [
        "size('ab') == 2".to_owned(),
        "'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')".to_owned(),
        "['a'].all(x, x.matches('[a-z]'))".to_owned(),
        "int('1') == 1 && uint('1') == 1u && double('1.5') == 1.5 && string(1) == '1' && bool('true')"
            .to_owned(),
        "bytes('a') == b'a' && type(dyn(1)) == int".to_owned(),
        "duration('1m') == timestamp('2026-01-01T00:01:00Z') - timestamp('2026-01-01T00:00:00Z')".to_owned(),
        part("getFullYear", 2026),
        part("getMonth", 10),
        part("getDate", 30),
        part("getDayOfMonth", 29),
        part("getDayOfWeek", 1),
        part("getDayOfYear", 333),
        part("getHours", 10),
        part("getMinutes", 20),
        part("getSeconds", 30),
        part("getMilliseconds", 4),
    ];
    for call in &calls {
        assert_eq!(judged(call, &[]), Ok(true), "{call}");
    }
    let all = calls.concat();
    let missing: Vec<_> = FUNCTIONS.into_iter().filter(|name| !all.contains(&format!("{name}("))).collect();
    assert_eq!(missing, [""; 0], "functions without a case");
}

#[test]
fn only_what_is_asked_for_is_an_input() {
    let expression = Expression::compile("record.a.b > 1 && key.id == record.c && headers.h == '1'").unwrap();
    let sources: Vec<_> = expression.inputs().iter().map(|input| input.source.clone()).collect();
    let path = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let expected = [
        Source::Field(path(&["a", "b"])),
        Source::KeyField(path(&["id"])),
        Source::Field(path(&["c"])),
        Source::Header("h".to_owned()),
    ];
    assert_eq!(sources, expected);
}
