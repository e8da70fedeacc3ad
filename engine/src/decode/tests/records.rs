//! Whole records: presence, paths, names, metadata, tombstones, limits.

use super::*;

fn int(name: &str) -> Column {
    column(name, plain(Kind::Int4))
}

fn text(name: &str) -> Column {
    column(name, plain(Kind::Text))
}

fn two_fields() -> Route {
    route([(int("a"), field("a")), (int("b"), field("b"))])
}

fn keyed() -> Route {
    let mut route =
        route([(required("id", plain(Kind::Int4)), key_field("id")), (text("name"), field("name"))]);
    route.key = vec![0];
    route.mode = WriteMode::Upsert;
    route.on_tombstone = OnTombstone::Delete;
    route
}

fn reason(route: &Route, given: Given<'_>) -> String {
    let mut decoder = Decoder::new(Arc::new(route.clone()));
    match decode(&mut decoder, given, Encoding::Binary).0 {
        Decoded::Rejected(reject) => reject.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn presence_and_null_differ() {
    let table = [
        (r#"{"a":1,"b":2}"#, "a=1 b=2"),
        (r#"{"b":2,"a":1}"#, "a=1 b=2"),
        (r#"{"b":2}"#, "b=2"),
        (r#"{"a":null}"#, "a NULL"),
        (r#"{"a":1,"x":{"a":7}}"#, "a=1"),
        ("{}", ""),
        (" \t\r\n{ } \n", ""),
        (r#"{ "a" : 1 , "b" : null }"#, "a=1 b NULL"),
    ];
    for (value, expected) in table {
        assert_eq!(shown(&two_fields(), Given::value(value)), expected, "{value}");
    }
}

#[test]
fn the_last_of_equal_names_wins() {
    let nested = route([(int("a"), field("o.a")), (int("b"), field("o.b"))]);
    let table = [
        (two_fields(), r#"{"a":1,"a":2}"#, "a=2"),
        (two_fields(), r#"{"a":"x","a":2}"#, "a=2"),
        (two_fields(), r#"{"a":1,"a":null}"#, "a NULL"),
        (two_fields(), r#"{"a":1,"\u0061":3}"#, "a=3"),
        (nested.clone(), r#"{"o":{"a":1},"o":{"b":2}}"#, "b=2"),
        (nested.clone(), r#"{"o":{"a":1},"o":null}"#, ""),
        (nested.clone(), r#"{"o":5,"o":{"a":1}}"#, "a=1"),
        (nested, r#"{"o":{"a":1,"a":2}}"#, "a=2"),
    ];
    for (route, value, expected) in table {
        assert_eq!(shown(&route, Given::value(value)), expected, "{value}");
    }
}

#[test]
fn paths_lead_into_objects() {
    let route = route([
        (column("whole", plain(Kind::Jsonb)), field("u")),
        (int("id"), field("u.id")),
        (int("deep"), field("u.x.y.z")),
    ]);
    let table = [
        (r#"{"u":{"id":1,"x":{"y":{"z":2}}}}"#, r#"whole={"id":1,"x":{"y":{"z":2}}} id=1 deep=2"#),
        (r#"{"u":{"x":{"y":null}}}"#, r#"whole={"x":{"y":null}}"#),
        (r#"{"u":null}"#, "whole NULL"),
        (r#"{"u":[1]}"#, "wrong_type id"),
        (r#"{"u":{"x":5}}"#, "wrong_type deep"),
        (r#"{"u":{"id":{"a":1}}}"#, "wrong_type id"),
    ];
    for (value, expected) in table {
        assert_eq!(shown(&route, Given::value(value)), expected, "{value}");
    }
}

#[test]
fn names_match_exactly_and_may_be_odd() {
    let route = route([
        (int("Case"), field("Case")),
        (int("quote"), field("a\"b")),
        (int("empty"), Source::Field(vec![String::new()])),
        (int("é"), field("é")),
    ]);
    let value = r#"{"case":1,"Case":2,"a\"b":3,"":4,"\u00e9":5}"#;
    assert_eq!(shown(&route, Given::value(value)), "Case=2 quote=3 empty=4 é=5");
}

#[test]
fn many_columns_are_found_in_any_order() {
    let names: Vec<String> = (0..70).map(|place| format!("c{place}")).collect();
    let columns: [(Column, Source); 70] = std::array::from_fn(|at| (int(&names[at]), field(&names[at])));
    let members: Vec<_> = (0..70).rev().map(|place| format!("\"c{place}\":{place}")).collect();
    let expected: Vec<_> = (0..70).map(|place| format!("c{place}={place}")).collect();
    let value = format!("{{{}}}", members.join(","));
    assert_eq!(shown(&route(columns), Given::value(&value)), expected.join(" "));
}

#[test]
fn two_columns_may_take_one_field() {
    let route = route([(int("number"), field("a")), (text("words"), field("a"))]);
    assert_eq!(shown(&route, Given::value(r#"{"a":5}"#)), "number=5 words=5");
}

#[test]
fn required_columns_are_missed_even_when_unmapped() {
    let mut route = route([(int("a"), field("a")), (required("b", plain(Kind::Int4)), field("b"))]);
    assert_eq!(shown(&route, Given::value(r#"{"a":1}"#)), "- a=1");
    assert_eq!(shown(&route, Given::value(r#"{"b":1}"#)), "b=1");
    route.mappings.truncate(1);
    assert_eq!(shown(&route, Given::value(r#"{"a":1,"b":1}"#)), "- a=1");
    let mut table = (*route.table).clone();
    table.columns[1].has_default = true;
    route.table = Arc::new(table);
    assert_eq!(shown(&route, Given::value(r#"{"a":1}"#)), "a=1");
}

#[test]
fn null_into_not_null_is_refused_with_or_without_a_default() {
    let with_default = Column { has_default: true, ..required("b", plain(Kind::Int4)) };
    for target in [required("b", plain(Kind::Int4)), with_default] {
        let route = route([(target, field("b"))]);
        assert_eq!(shown(&route, Given::value(r#"{"b":null}"#)), "missing_value b 23502");
    }
}

#[test]
fn what_isnt_an_object_is_refused() {
    let table: [(&[u8], &str); 18] = [
        (b"", "bad_json 22P02"),
        (b"  ", "bad_json 22P02"),
        (b"[1]", "wrong_type"),
        (b"5", "wrong_type"),
        (b"\"a\"", "wrong_type"),
        (b"null", "wrong_type"),
        (b"nul", "bad_json 22P02"),
        (b"{", "bad_json 22P02"),
        (b"{\"a\":1", "bad_json 22P02"),
        (b"{\"a\":1}}", "bad_json 22P02"),
        (b"{\"a\":1}{}", "bad_json 22P02"),
        (b"{\"a\":01}", "bad_json 22P02"),
        (b"{\"a\":1,}", "bad_json 22P02"),
        (b"{\"zz\":\"\\x\"}", "bad_json 22P02"),
        (b"{\"zz\":\"\x01\"}", "bad_json 22P02"),
        (b"{'a':1}", "bad_json 22P02"),
        (b"\xef\xbb\xbf{}", "bad_json 22P02"),
        (b"{\"zz\":\"\xff\"}", "bad_utf8 22021"),
    ];
    for (value, expected) in table {
        let given = Given { value: Some(value), ..Given::default() };
        assert_eq!(shown(&two_fields(), given), expected, "{}", value.escape_ascii());
    }
}

#[test]
fn deep_nesting_beside_the_mapped_fields_does_no_harm() {
    let deep = format!("{{\"x\":{}{},\"a\":1}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(shown(&two_fields(), Given::value(&deep)), "a=1");
}

#[test]
fn long_records_are_refused_before_they_are_read() {
    let mut route = two_fields();
    route.record_bytes_max = 9;
    let given = Given { key: Some(b"kk"), ..Given::value("{\"a\":1}") };
    assert_eq!(shown(&route, given), "a=1");
    let longer = Given { key: Some(b"kkk"), value: Some(b"garbage"), ..Given::default() };
    assert_eq!(shown(&route, longer), "too_large 54000");
    let tombstone = Given { key: Some(b"0123456789"), ..Given::default() };
    assert_eq!(shown(&route, tombstone), "too_large 54000");
}

#[test]
fn keys_must_be_there() {
    let given = |key: Option<&'static [u8]>| Given { key, ..Given::value(r#"{"name":"n"}"#) };
    let table = [
        (Some(&br#"{"id":7}"#[..]), "id=7 name=n"),
        (Some(br#"{"id":null}"#), "missing_key id"),
        (Some(b"{}"), "missing_key id"),
        (None, "missing_key id"),
        (Some(b"7"), "wrong_type"),
        (Some(b"x"), "bad_json 22P02"),
        (Some(b"\xff"), "bad_utf8 22021"),
    ];
    for (key, expected) in table {
        assert_eq!(shown(&keyed(), given(key)), expected, "{key:?}");
    }
}

#[test]
fn key_columns_with_a_default_must_be_there_too() {
    let target = Column { has_default: true, ..required("id", plain(Kind::Int4)) };
    let mut route = route([(target, field("id"))]);
    route.key = vec![0];
    assert_eq!(shown(&route, Given::value("{}")), "missing_key id");
}

#[test]
fn keys_fit_an_index_entry() {
    let mut route = route([(text("id"), field("id")), (text("other"), field("other"))]);
    route.key = vec![0];
    let long = "k".repeat(2705);
    assert_eq!(shown(&route, Given::value(&format!(r#"{{"id":"{long}"}}"#))), "too_large 54000");
    let value = format!(r#"{{"id":"k","other":"{long}"}}"#);
    assert_eq!(shown(&route, Given::value(&value)), format!("id=k other={long}"));
    let longest = &long[1..];
    assert_eq!(shown(&route, Given::value(&format!(r#"{{"id":"{longest}"}}"#))), format!("id={longest}"));
}

#[test]
fn tombstones_follow_the_route() {
    let tombstone = Given { key: Some(br#"{"id":7}"#), ..Given::default() };
    let mut route = keyed();
    assert_eq!(shown(&route, tombstone), "delete id=7");
    assert_eq!(shown(&route, Given { key: None, ..tombstone }), "missing_key id");
    assert_eq!(shown(&route, Given { key: Some(br#"{"id":"x"}"#), ..tombstone }), "bad_value id 22P02");
    route.on_tombstone = OnTombstone::Ignore;
    assert_eq!(shown(&route, tombstone), "filtered");
    route.on_tombstone = OnTombstone::Quarantine;
    assert_eq!(shown(&route, tombstone), "tombstone");
}

#[test]
fn a_delete_takes_the_key_alone() {
    let mut route = keyed();
    route.mappings[1].source = Source::Topic;
    route.mappings[0].source = Source::Key;
    let tombstone = Given { key: Some(b"12"), ..Given::default() };
    assert_eq!(shown(&route, tombstone), "delete id=12");
}

#[test]
fn metadata_becomes_values() {
    let headers: [(&[u8], Option<&[u8]>); 4] =
        [(b"h", Some(b"old")), (b"h", Some(b"new")), (b"null", None), (b"n", Some(b"17"))];
    let route = route([
        (text("topic"), Source::Topic),
        (int("partition"), Source::Partition),
        (column("offset", plain(Kind::Int8)), Source::Offset),
        (column("at", plain(Kind::TimestampTz)), Source::Timestamp),
        (column("ms", plain(Kind::Int8)), Source::Timestamp),
        (text("iso"), Source::Timestamp),
        (text("key"), Source::Key),
        (column("value", plain(Kind::Bytea)), Source::Value),
        (text("h"), Source::Header("h".to_owned())),
        (text("null"), Source::Header("null".to_owned())),
        (text("none"), Source::Header("none".to_owned())),
        (int("n"), Source::Header("n".to_owned())),
    ]);
    let given = Given {
        key: Some("schlüssel".as_bytes()),
        value: Some(b"\0\xff"),
        headers: &headers,
        timestamp_ms: Some(1_714_979_289_010),
    };
    let at = "at=2024-05-06 07:08:09.010000+00 ms=1714979289010 iso=2024-05-06T07:08:09.010Z";
    let expected =
        format!("topic=events partition=3 offset=41 {at} key=schlüssel value=\\x00ff h=new null NULL n=17");
    assert_eq!(shown(&route, given), expected);
    let bare = Given { key: None, timestamp_ms: None, headers: &[], ..given };
    assert_eq!(shown(&route, bare), "topic=events partition=3 offset=41 key NULL value=\\x00ff");
}

#[test]
fn metadata_that_doesnt_fit_is_refused() {
    let given = |key| Given { key: Some(key), value: Some(b"not json"), ..Given::default() };
    let table: [(ColumnType, &[u8], &str); 7] = [
        (plain(Kind::Text), b"\xff", "bad_utf8 v 22021"),
        (plain(Kind::Text), b"a\0", "nul_character v 22021"),
        (plain(Kind::Int4), b"x", "bad_value v 22P02"),
        (plain(Kind::Jsonb), b"{\"a\":", "bad_json v 22P02"),
        (plain(Kind::Jsonb), b" {\"a\":1}", "v= {\"a\":1}"),
        (plain(Kind::Json), b"null", "v=null"),
        (domain(plain(Kind::Bytea)), b"\xff", "v=\\xff"),
    ];
    for (type_, key, expected) in table {
        let route = route([(column("v", type_), Source::Key)]);
        assert_eq!(shown(&route, given(key)), expected, "{}", key.escape_ascii());
    }
}

#[test]
fn a_unit_reads_numbers_in_headers() {
    let mut route = route([(column("v", plain(Kind::TimestampTz)), Source::Header("at".to_owned()))]);
    route.mappings[0].unit = Some(EpochUnit::Millis);
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"at", Some(b"1000"))];
    let given = Given { headers: &headers, ..Given::value("") };
    assert_eq!(shown(&route, given), "v=1970-01-01 00:00:01+00");
}

#[test]
fn unknown_fields_are_dropped_rejected_or_collected() {
    let mut route = route([(int("a"), field("a")), (int("b"), field("o.b")), (text("rest"), field("rest"))]);
    route.mappings.truncate(2);
    let value = r#"{"x\n":[1, 2],"a":1,"o":{"b":2,"c":3},"y":{"z":null}}"#;
    assert_eq!(shown(&route, Given::value(value)), "a=1 b=2");
    route.unknown_fields = UnknownFields::Reject;
    assert_eq!(shown(&route, Given::value(value)), "unknown_field");
    assert!(reason(&route, Given::value(value)).contains(r"x\n"), "{}", reason(&route, Given::value(value)));
    assert_eq!(shown(&route, Given::value(r#"{"o":{"c":3}}"#)), "");
    let mut table = (*route.table).clone();
    table.columns[2].type_ = plain(Kind::Jsonb);
    route.table = Arc::new(table);
    route.unknown_fields = UnknownFields::Collect(2);
    assert_eq!(shown(&route, Given::value(value)), r#"a=1 b=2 rest={"x\n":[1, 2],"y":{"z":null}}"#);
    assert_eq!(shown(&route, Given::value("{}")), "rest={}");
    assert_eq!(shown(&route, Given::value(r#"{"n":"\u0000"}"#)), "nul_character rest 22P05");
}

#[test]
fn a_certain_refusal_wins_over_doubt() {
    let route = route([(column("d", plain(Kind::Date)), field("d")), (int("n"), field("n"))]);
    assert_eq!(shown(&route, Given::value(r#"{"d":"May 6 2024","n":"x"}"#)), "bad_value n 22P02");
    assert_eq!(shown(&route, Given::value(r#"{"d":"May 6 2024","n":1}"#)), "? d=May 6 2024 n=1");
}

#[test]
fn reasons_name_places_and_limits_but_quote_no_values() {
    let route = route([(column("price", with_typmod(Kind::Varchar, 7)), field("order.price"))]);
    let given = Given::value(r#"{"order":{"price":"secret value"}}"#);
    let expected = "Column \"price\" of type varchar(3): field order.price is longer than 3 characters.";
    assert_eq!(reason(&route, given), expected);
    let broken = reason(&two_fields(), Given::value(r#"{"a":secret}"#));
    assert!(!broken.contains("secret") && broken.contains("column 6"), "{broken}");
}

#[test]
fn a_decoder_forgets_the_record_before() {
    let mut decoder = Decoder::new(Arc::new(two_fields()));
    let mut sets = Vec::new();
    for value in [r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#, "{}"] {
        match decode(&mut decoder, Given::value(value), Encoding::Binary).0 {
            Decoded::Row { columns, .. } => sets.push(columns.iter().collect::<Vec<_>>()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sets, [vec![0, 1], vec![1], vec![0, 1], vec![]]);
}

#[test]
fn more_shapes_than_are_remembered_still_decode() {
    let columns: [(Column, Source); 8] =
        std::array::from_fn(|at| (int(&format!("c{at}")), field(&format!("c{at}"))));
    let mut decoder = Decoder::new(Arc::new(route(columns)));
    for shape in (0..256u32).chain(0..256) {
        let members: Vec<_> =
            (0..8).filter(|bit| shape >> bit & 1 == 1).map(|bit| format!("\"c{bit}\":1")).collect();
        let value = format!("{{{}}}", members.join(","));
        let (decoded, _) = decode(&mut decoder, Given::value(&value), Encoding::Binary);
        let Decoded::Row { columns, .. } = decoded else { panic!("{decoded:?}") };
        assert_eq!(columns.iter().map(|place| 1 << place).sum::<u32>(), shape);
    }
}

#[test]
fn the_encoding_to_try_first_follows_the_types() {
    let text_only = [
        plain(Kind::Other),
        plain(Kind::Range(Box::new(plain(Kind::Int4)))),
        array(Kind::Other),
        domain(plain(Kind::Other)),
    ];
    for type_ in text_only {
        let route = route([(column("v", type_), field("v"))]);
        assert_eq!(Decoder::new(Arc::new(route)).encoding(), Encoding::Text);
    }
    assert_eq!(Decoder::new(Arc::new(two_fields())).encoding(), Encoding::Binary);
}

/// The field `a` of a document, parsed, into a column of the type.
fn parsing(type_: ColumnType) -> Route {
    route([(column("a", type_), Source::Parsed(Box::new(field("a")))), (int("b"), field("b"))])
}

#[test]
fn a_string_with_json_inside_is_parsed_only_where_that_is_asked_for() {
    let (json, jsonb) = (plain(Kind::Json), plain(Kind::Jsonb));
    let document = r#"{"a":"{\"x\":[1,\"é\"]}","b":1}"#;
    let as_it_is = route([(column("a", jsonb.clone()), field("a"))]);
    assert_eq!(shown(&as_it_is, Given::value(document)), r#"a="{\"x\":[1,\"é\"]}""#);
    let table = [
        (jsonb.clone(), document, r#"a={"x":[1,"é"]} b=1"#),
        (json.clone(), document, r#"a={"x":[1,"é"]} b=1"#),
        (jsonb.clone(), r#"{"a":" [1, 2]\n"}"#, "a=[1, 2]"),
        (jsonb.clone(), r#"{"a":"\"text\""}"#, r#"a="text""#),
        (jsonb.clone(), r#"{"a":"\"{}\""}"#, r#"a="{}""#),
        (jsonb.clone(), r#"{"a":" null "}"#, "a NULL"),
        (jsonb.clone(), r#"{"a":null}"#, "a NULL"),
        (jsonb.clone(), r#"{"b":1}"#, "b=1"),
        (jsonb.clone(), r#"{"a":{"x":1}}"#, r#"a={"x":1}"#),
        (jsonb.clone(), r#"{"a":7}"#, "a=7"),
        (plain(Kind::Int4), r#"{"a":"42.0"}"#, "a=42"),
        (array(Kind::Int4), r#"{"a":"[1,null]"}"#, r#"a={"1",NULL}"#),
        (jsonb.clone(), r#"{"a":"{\"x\":}"}"#, "bad_json a 22P02"),
        (jsonb.clone(), r#"{"a":""}"#, "bad_json a 22P02"),
        (jsonb.clone(), r#"{"a":"1 2"}"#, "bad_json a 22P02"),
        (json, r#"{"a":"{"}"#, "bad_json a 22P02"),
        (jsonb.clone(), r#"{"a":"\"\\u0000\""}"#, "nul_character a 22P05"),
        (jsonb.clone(), r#"{"a":"\ud800"}"#, "bad_value a 22P02"),
        (plain(Kind::Text), r#"{"a":"{\"x\":1}"}"#, "wrong_type a"),
        (plain(Kind::Int4), r#"{"a":"\"x\""}"#, "bad_value a 22P02"),
    ];
    for (type_, value, expected) in table {
        assert_eq!(shown(&parsing(type_), Given::value(value)), expected, "{value}");
    }
    let told = reason(&parsing(jsonb), Given::value(r#"{"a":"{secret"}"#));
    assert_eq!(told, "Column \"a\" of type a_type: field a holds text that isn't JSON.");
}

#[test]
fn foreign_bytes_are_named_and_not_quoted() {
    let table: [(&[u8], &str); 6] = [
        (b"\x00\x00\x00\x00\x2a{\"a\":1}", "a Schema Registry's serializer"),
        (b"\x00\x00\x00\x00\x2a\x02\xff", "a Schema Registry's serializer"),
        (b"\x1f\x8b\x08\x00\x00", "5 bytes begin as gzip"),
        (b"\xef\xbb\xbf{\"a\":1}", "begins with a byte order mark"),
        (b"\xff\xfe{\x00", "a byte order mark of UTF-16"),
        (b"{\x00\"\x00a\x00", "UTF-16"),
    ];
    for (value, expected) in table {
        let given = Given { value: Some(value), ..Given::value("") };
        let told = reason(&two_fields(), given);
        assert!(told.contains(expected), "{told}");
    }
}
