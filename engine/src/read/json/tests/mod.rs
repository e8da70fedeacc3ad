//! The quick reading of an object held to the slow one.

#[cfg(beside_sonic)]
mod beside;

use proptest::prelude::*;

use super::scan::scan;
use super::*;
use crate::encode::is_plain;

/// Paths `a`, `b`, `b.c`, `b.c.d`, `e.f` and one with a letter of two bytes, as slots 0 to 5.
fn node() -> Node {
    let mut node = Node::default();
    for (slot, path) in ["a", "b", "b.c", "b.c.d", "e.f", "é"].into_iter().enumerate() {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        assert_eq!(node.insert(&path, slot), slot);
    }
    node
}

#[derive(PartialEq, Debug)]
struct Noted {
    slots: Vec<Slot>,
    first: Option<String>,
    collected: String,
}

/// Reads a text with each treatment of unmatched members.
fn noted(mut read: impl FnMut(&mut [Slot], &mut Unmatched) -> bool) -> Option<Noted> {
    let mut slots = vec![Slot::Absent; 6];
    let (mut first, mut collect) = (Unmatched::First(None), Unmatched::Collect(b"{".to_vec()));
    let mut done = read(&mut slots, &mut Unmatched::Skip);
    done &= read(&mut [Slot::Absent; 6], &mut first);
    done &= read(&mut [Slot::Absent; 6], &mut collect);
    let noted =
        Noted { slots, first: first.first().map(str::to_owned), collected: collect.collected().to_owned() };
    done.then_some(noted)
}

/// What is read quickly is read slowly with the same result, and what it calls plain is.
fn compare(text: &str, order: &mut Order) -> bool {
    let node = node();
    let quick = noted(|slots, unmatched| scan(text, &node, order, slots, unmatched).is_some());
    let Some(mut quick) = quick else { return false };
    for slot in &mut quick.slots {
        if let Slot::At(literal) = slot {
            let text = &text[literal.start as usize..literal.end as usize];
            assert!(!literal.plain || is_plain(text), "{text}");
            literal.plain = false;
        }
    }
    let slow = noted(|slots, unmatched| object::scan(text, &node, slots, unmatched).is_ok());
    assert_eq!(Some(quick), slow, "{text}");
    true
}

#[test]
fn what_is_common_is_read_quickly_and_what_is_not_is_left() {
    let mut order = Order::new();
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let quick = [
        "{}",
        " {\r\n\t} ",
        r#"{"a":1,"b":{"c":{"d":null}},"e":{"f":[]}}"#,
        r#"{ "b" : { "c" : 7 } , "a" : -0.5e+10 , "a" : [ true , false , null ] }"#,
        r#"{"b":null,"e":"text","x":{"y":["\u00e9\n",{}]},"é":"é"}"#,
        r#"{"e":{"f":1},"e":{"g":2}}"#,
        r#"{"a":"\ud800","b":12345678901234567890,"long name of a field":"long text, longer than a word"}"#,
        &deep(48),
    ];
    for text in quick {
        assert!(compare(text, &mut order), "{text}");
    }
    let left = [
        "",
        "{",
        "[]",
        "{}x",
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a" 1}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":-}"#,
        r#"{"a":1e}"#,
        r#"{"a":nul}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u12"}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{1f} and more than eight bytes\"}",
        r#"{"\u0061":1}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":{"b"}}"#,
        &deep(49),
    ];
    for text in left {
        assert!(!compare(text, &mut order), "{text}");
    }
}

/// Text out of the pieces that JSON is made of, mostly in a form that is nearly right.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", " ", "\"a\":", "\"b\":{", "\"c\":{", "\"d\":", "\"e\":", "\"f\":",
            "\"é\":", "1", "-2.5", "1e5", "0", "true", "false", "null", "\"\"", "\"text of some length\"",
            "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\\\\"", "},", "],", "\"\\\"\"", "\n",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(|character| character.to_string()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| format!("{{{}}}", pieces.concat()))
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let name = prop_oneof!["[a-g]", any::<String>()];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_is_read_quickly_that_is_not_read_slowly(text in nearly_json()) {
        compare(&text, &mut Order::new());
    }

    #[test]
    fn one_changed_byte_changes_both(value in value(), at: prop::sample::Index, byte in 0..128u8) {
        let mut order = Order::new();
        let text = serde_json::json!({"a": value, "b": value}).to_string();
        compare(&text, &mut order);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if bytes[at].is_ascii() {
            bytes[at] = byte;
        }
        compare(&String::from_utf8(bytes).expect("one ASCII character for another"), &mut order);
    }
}
