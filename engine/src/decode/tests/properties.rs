//! Properties that hold for all records.

use proptest::prelude::*;

use super::*;

/// A route that maps a field to each kind of type, and metadata.
fn wide() -> Route {
    let columns = [
        ("a", plain(Kind::Int4)),
        ("b", plain(Kind::Numeric)),
        ("c", with_typmod(Kind::Varchar, 7)),
        ("d", plain(Kind::TimestampTz)),
        ("e", plain(Kind::Jsonb)),
        ("f", array(Kind::Text)),
        ("g", plain(Kind::Bytea)),
        ("h", plain(Kind::Interval)),
        ("i", plain(Kind::Inet)),
        ("j", plain(Kind::Uuid)),
    ];
    let columns = columns.map(|(name, type_)| (column(name, type_), field(name)));
    let mut route = route(columns);
    route.mappings[9].source = field("e.j");
    route.unknown_fields = UnknownFields::Collect(4);
    route
}

/// JSON values over a small alphabet, so that names meet columns and strings meet types.
fn json() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-j]", Just("é".to_owned())];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f32>()
            .prop_filter("JSON has no infinities", |number| number.is_finite())
            .prop_map(|number| number.to_string()),
        "[0-9T:Z. +-]{0,24}".prop_map(|text| format!("\"{text}\"")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("text is JSON")),
        Just("\"\\ud800\"".to_owned()),
        Just("\"\\u0000\"".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        let member = (name.clone(), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..6).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn record() -> impl Strategy<Value = String> {
    proptest::collection::vec(("[a-j]", json()), 0..8).prop_map(object)
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(key: Option<Vec<u8>>, value: Option<Vec<u8>>, timestamp_ms: Option<i64>) {
        let given = Given { key: key.as_deref(), value: value.as_deref(), headers: &[], timestamp_ms };
        shown(&wide(), given);
        let kinds =
            [Kind::Text, Kind::Jsonb, Kind::Bytea, Kind::Numeric, Kind::Timestamp, Kind::Interval, Kind::Cidr];
        for kind in kinds {
            let sources = [Source::Key, Source::Value, Source::Timestamp];
            shown(&route(sources.map(|source| (column("v", plain(kind.clone())), source))), given);
        }
    }

    #[test]
    fn any_text_in_any_type_has_one_answer(text: String) {
        let literal = serde_json::to_string(&text).expect("text is JSON");
        let members = ["a", "b", "c", "d", "g"].map(|name| format!("\"{name}\":{literal}"));
        let value = format!("{{{}}}", members.join(","));
        shown(&wide(), Given::value(&value));
        let kinds =
            [Kind::Bool, Kind::Float4, Kind::Date, Kind::TimeTz, Kind::Interval, Kind::Inet, Kind::Uuid];
        for kind in kinds {
            value_of(plain(kind), None, &literal);
        }
    }

    #[test]
    fn an_answer_is_the_same_each_time_and_in_both_encodings(value in record()) {
        let first = shown(&wide(), Given::value(&value));
        prop_assert_eq!(shown(&wide(), Given::value(&value)), first);
    }

    #[test]
    fn a_broken_record_has_an_answer(value in record(), cut: prop::sample::Index, byte: u8) {
        let mut bytes = value.into_bytes();
        let at = cut.index(bytes.len());
        bytes[at] = byte;
        shown(&wide(), Given { value: Some(&bytes), ..Given::default() });
        bytes.truncate(at);
        shown(&wide(), Given { value: Some(&bytes), ..Given::default() });
    }

    #[test]
    fn a_decoder_keeps_nothing_of_the_records_before(values in proptest::collection::vec(record(), 1..6)) {
        let mut used = Decoder::new(Arc::new(wide()));
        for value in &values {
            let given = Given::value(value);
            let fresh = decode(&mut Decoder::new(Arc::new(wide())), given, Encoding::Text);
            prop_assert_eq!(decode(&mut used, given, Encoding::Text), fresh);
        }
    }
}
