//! One value into one type: good ones, borders, bad ones.

use std::sync::Arc;

use super::*;

macro_rules! becomes {
    ($($name:ident: $type_:expr, $literal:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(value_of($type_, None, $literal), $expected);
        })*
    };
}

macro_rules! epoch_becomes {
    ($($name:ident: $type_:expr, $unit:expr, $literal:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(value_of($type_, Some($unit), $literal), $expected);
        })*
    };
}

macro_rules! is_binary {
    ($($name:ident: $type_:expr, $literal:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(binary_of($type_, $literal), $expected);
        })*
    };
}

/// The modifier of `numeric(precision, scale)`.
fn numeric(precision: i32, scale: i32) -> ColumnType {
    with_typmod(Kind::Numeric, (precision << 16 | scale & 0x7ff) + 4)
}

fn money() -> ColumnType {
    ColumnType { oid: 790, ..plain(Kind::Other) }
}

fn varchar(limit: i32) -> ColumnType {
    with_typmod(Kind::Varchar, limit + 4)
}

fn labels() -> Kind {
    Kind::Enum(Arc::from(["low".to_owned(), "high".to_owned()]))
}

becomes! {
    true_is_boolean: plain(Kind::Bool), "true" => "true";
    a_prefix_of_false_is_boolean: plain(Kind::Bool), "\" FAL\"" => "false";
    a_lone_o_is_no_boolean: plain(Kind::Bool), "\"o\"" => "bad_value 22P02";
    a_number_is_no_boolean: plain(Kind::Bool), "1" => "wrong_type";

    smallint_has_a_top: plain(Kind::Int2), "32767" => "32767";
    smallint_overflows: plain(Kind::Int2), "32768" => "out_of_range 22003";
    integer_has_a_bottom: plain(Kind::Int4), "-2147483648" => "-2147483648";
    integer_overflows: plain(Kind::Int4), "2147483648" => "out_of_range 22003";
    bigint_has_a_top: plain(Kind::Int8), "9223372036854775807" => "9223372036854775807";
    bigint_overflows: plain(Kind::Int8), "9223372036854775808" => "out_of_range 22003";
    a_whole_number_may_have_an_exponent: plain(Kind::Int4), "1e3" => "1000";
    a_whole_number_may_have_a_point: plain(Kind::Int2), "-42.0" => "-42";
    a_whole_number_may_have_both: plain(Kind::Int8), "-12.3400E+2" => "-1234";
    a_whole_number_may_shrink: plain(Kind::Int4), "4200e-2" => "42";
    a_fraction_is_no_integer: plain(Kind::Int4), "42.5" => "bad_value 22P02";
    a_fraction_by_exponent_is_no_integer: plain(Kind::Int4), "425e-1" => "bad_value 22P02";
    a_zero_is_whole_in_any_spelling: plain(Kind::Int4), "-0.000e99999999999999999999" => "0";
    bigint_reaches_its_top_by_exponent: plain(Kind::Int8), "9.223372036854775807e18" => "9223372036854775807";
    bigint_reaches_its_bottom_by_exponent: plain(Kind::Int8), "-9223372036854775808.0" => "-9223372036854775808";
    bigint_overflows_by_exponent: plain(Kind::Int8), "9.223372036854775808e18" => "out_of_range 22003";
    smallint_overflows_by_exponent: plain(Kind::Int2), "1e5" => "out_of_range 22003";
    a_huge_exponent_overflows: plain(Kind::Int8), "1e2147483647" => "out_of_range 22003";
    a_huger_exponent_overflows: plain(Kind::Int4), "-1e99999999999999999999" => "out_of_range 22003";
    a_tiny_number_is_no_integer: plain(Kind::Int8), "-1e-99999999999999999999" => "bad_value 22P02";
    many_digits_that_shrink_are_whole: plain(Kind::Int4), "1200000000000000000000000000000e-28" => "120";
    many_digits_overflow: plain(Kind::Int8), "1234567890123456789012345.0" => "out_of_range 22003";
    a_string_is_left_to_the_text_input: plain(Kind::Int4), "\"1.0\"" => "bad_value 22P02";
    an_array_takes_whole_numbers: array(Kind::Int4), "[1.0,2e1]" => "{\"1\",\"20\"}";
    minus_zero_is_zero: plain(Kind::Int4), "-0" => "0";
    an_integer_takes_digits_in_a_string: plain(Kind::Int4), "\" +007 \"" => "7";
    an_integer_takes_no_words: plain(Kind::Int4), "\"seven\"" => "bad_value 22P02";
    an_empty_string_is_no_integer: plain(Kind::Int4), "\"\"" => "bad_value 22P02";
    newer_integer_literals_are_left: plain(Kind::Int4), "\"0x1F\"" => "? 0x1F";
    an_integer_takes_no_boolean: plain(Kind::Int4), "true" => "wrong_type";
    an_integer_takes_no_object: plain(Kind::Int4), "{}" => "wrong_type";
    an_integer_takes_no_array: plain(Kind::Int4), "[1]" => "wrong_type";

    a_float_keeps_its_literal: plain(Kind::Float8), "0.1" => "0.1";
    a_float_takes_nan: plain(Kind::Float8), "\"NaN\"" => "NaN";
    a_float_takes_infinity: plain(Kind::Float4), "\"-Infinity\"" => "-Infinity";
    a_float_overflows: plain(Kind::Float8), "1e400" => "out_of_range 22003";
    a_float_underflows: plain(Kind::Float8), "1e-400" => "out_of_range 22003";
    a_zero_doesnt_underflow: plain(Kind::Float8), "0e-400" => "0e-400";
    real_overflows_sooner: plain(Kind::Float4), "3.5e38" => "out_of_range 22003";
    a_float_takes_no_words: plain(Kind::Float8), "\"much\"" => "bad_value 22P02";
    a_hexadecimal_float_is_left: plain(Kind::Float8), "\"0x1p3\"" => "? 0x1p3";

    numeric_is_exact: plain(Kind::Numeric), "12345678901234567890.12345678901234567890"
        => "12345678901234567890.12345678901234567890";
    numeric_takes_nan: plain(Kind::Numeric), "\"nan\"" => "NaN";
    numeric_takes_infinity: plain(Kind::Numeric), "\"-inf\"" => "-Infinity";
    numeric_with_precision_takes_no_infinity: numeric(5, 2), "\"inf\"" => "out_of_range 22003";
    numeric_holds_131072_digits: plain(Kind::Numeric), "1e131071" => "1e131071";
    numeric_holds_no_more_digits: plain(Kind::Numeric), "1e131072" => "out_of_range 22003";
    numeric_holds_16383_decimals: plain(Kind::Numeric), "1e-16383" => "1e-16383";
    numeric_holds_no_more_decimals: plain(Kind::Numeric), "1e-16384" => "out_of_range 22003";
    a_huge_exponent_builds_nothing: plain(Kind::Numeric), "1e99999999999999999999" => "out_of_range 22003";
    numeric_fits_its_precision: numeric(5, 2), "999.994" => "999.994";
    rounding_overflows_precision: numeric(5, 2), "999.995" => "out_of_range 22003";
    numeric_overflows_its_precision: numeric(5, 2), "1000" => "out_of_range 22003";
    a_negative_scale_rounds_away_digits: numeric(3, -2), "99949" => "99949";
    a_negative_scale_overflows: numeric(3, -2), "99950" => "out_of_range 22003";
    a_scale_beyond_the_precision_fits: numeric(2, 4), "0.0099" => "0.0099";
    a_scale_beyond_the_precision_overflows: numeric(2, 4), "0.01" => "out_of_range 22003";
    a_precision_rounds_decimals_away_first: numeric(5, 2), "1e-16384" => "? 1e-16384";
    underscores_are_left: plain(Kind::Numeric), "\"1_000\"" => "? 1_000";
    numeric_takes_no_boolean: plain(Kind::Numeric), "false" => "wrong_type";

    text_takes_a_string: plain(Kind::Text), "\"a b\"" => "a b";
    text_resolves_escapes: plain(Kind::Text), r#""\u0041\n\"\\\/\ud83d\ude00""# => "A\n\"\\/😀";
    text_takes_a_numbers_literal: plain(Kind::Text), "1.50e+3" => "1.50e+3";
    text_takes_a_boolean: plain(Kind::Text), "true" => "true";
    text_takes_no_object: plain(Kind::Text), "{\"a\":1}" => "wrong_type";
    text_takes_no_nul: plain(Kind::Text), r#""a\u0000b""# => "nul_character 22021";
    text_takes_no_half_of_a_pair: plain(Kind::Text), r#""\ud800""# => "bad_value 22P02";
    an_escaped_backslash_makes_no_nul: plain(Kind::Text), r#""\\u0000""# => "\\u0000";
    varchar_counts_characters: varchar(3), "\"日本語\"" => "日本語";
    varchar_has_a_limit: varchar(3), "\"日本語x\"" => "out_of_range 22001";
    varchar_lets_spaces_overhang: varchar(3), "\"abc  \"" => "abc  ";
    char_has_a_limit: with_typmod(Kind::Bpchar, 5), "\"ab\"" => "out_of_range 22001";
    varchar_without_limit: plain(Kind::Varchar), "\"abcdef\"" => "abcdef";
    a_long_number_fits_no_short_text: varchar(3), "1234" => "out_of_range 22001";

    uuid_is_written_canonically: plain(Kind::Uuid), "\"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}\""
        => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    uuid_takes_hyphens_after_each_four: plain(Kind::Uuid), "\"a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11\""
        => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    uuid_takes_no_other_hyphens: plain(Kind::Uuid), "\"a0e-ebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""
        => "bad_value 22P02";
    uuid_takes_no_number: plain(Kind::Uuid), "5" => "wrong_type";
    uuid_is_of_one_length: plain(Kind::Uuid), "\"a0eebc99\"" => "bad_value 22P02";

    bytea_takes_hex: plain(Kind::Bytea), r#""\\xDE ad""# => "\\xdead";
    bytea_takes_escapes: plain(Kind::Bytea), r#""a\\000\\\\é""# => "\\x61005cc3a9";
    bytea_takes_no_odd_digit: plain(Kind::Bytea), r#""\\xabc""# => "bad_value 22P02";
    bytea_takes_no_lone_backslash: plain(Kind::Bytea), r#""a\\b""# => "bad_value 22P02";

    json_keeps_bytes: plain(Kind::Json), "{ \"b\" : 1.0,\"a\":[ ] }" => "{ \"b\" : 1.0,\"a\":[ ] }";
    json_keeps_a_string_a_string: plain(Kind::Json), "\"abc\"" => "\"abc\"";
    json_keeps_escapes_unread: plain(Kind::Json), r#""\u0000\ud800""# => r#""\u0000\ud800""#;
    jsonb_takes_any_kind: plain(Kind::Jsonb), "true" => "true";
    jsonb_takes_no_nul: plain(Kind::Jsonb), r#"{"a":"\u0000"}"# => "nul_character 22P05";
    jsonb_takes_no_nul_in_a_name: plain(Kind::Jsonb), r#"{"\u0000":1}"# => "nul_character 22P05";
    jsonb_takes_no_high_half: plain(Kind::Jsonb), r#"["\ud83dx"]"# => "bad_value 22P02";
    jsonb_takes_no_low_half: plain(Kind::Jsonb), r#"["\ude00"]"# => "bad_value 22P02";
    jsonb_takes_a_pair: plain(Kind::Jsonb), r#"["\ud83d\ude00"]"# => r#"["\ud83d\ude00"]"#;
    jsonb_reads_escaped_backslashes: plain(Kind::Jsonb), r#""\\u0000""# => r#""\\u0000""#;
    jsonb_numbers_are_numeric: plain(Kind::Jsonb), "[1e131072]" => "out_of_range 22003";
    json_numbers_are_text: plain(Kind::Json), "[1e131072]" => "[1e131072]";

    a_date: plain(Kind::Date), "\"2024-02-29\"" => "2024-02-29";
    a_date_of_a_timestamp: plain(Kind::Date), "\"2024-05-06T07:08:09Z\"" => "2024-05-06";
    no_leap_day: plain(Kind::Date), "\"2023-02-29\"" => "out_of_range 22008";
    a_year_zero_isnt: plain(Kind::Date), "\"0000-01-01\"" => "out_of_range 22008";
    the_last_date: plain(Kind::Date), "\"5874897-12-31\"" => "5874897-12-31";
    behind_the_last_date: plain(Kind::Date), "\"5874898-01-01\"" => "out_of_range 22008";
    a_date_without_end: plain(Kind::Date), "\"Infinity\"" => "infinity";
    other_spellings_of_dates_are_left: plain(Kind::Date), "\"May 6 2024\"" => "? May 6 2024";
    no_date_at_all: plain(Kind::Date), "\"N/A\"" => "bad_value 22007";
    a_date_takes_no_bare_number: plain(Kind::Date), "20240506" => "wrong_type";
    a_year_of_two_digits_is_refused: plain(Kind::Date), "\"01/11/26\"" => "bad_value 22007";
    a_year_of_two_digits_is_refused_by_hyphens: plain(Kind::Timestamp), "\"1-2-3 04:05\"" => "bad_value 22007";
    a_year_of_two_digits_is_refused_behind_a_time: plain(Kind::TimestampTz), "\"12:00 26.11.01\""
        => "bad_value 22007";
    a_year_of_two_digits_is_refused_in_a_range: plain(Kind::Range(Box::new(plain(Kind::Date)))),
        "\"[01/11/26,)\"" => "bad_value 22007";
    a_year_of_four_digits_is_left: plain(Kind::Date), "\"01/11/2026\"" => "? 01/11/2026";
    a_zone_is_no_short_date: plain(Kind::TimestampTz), "\"2026.11.01 08:00 -05-30-15\""
        => "? 2026.11.01 08:00 -05-30-15";
    text_may_have_a_year_of_two_digits: plain(Kind::Text), "\"01/11/26\"" => "01/11/26";
    today_is_refused: plain(Kind::Date), "\"TODAY\"" => "bad_value";

    a_time: plain(Kind::Time), "\"07:08\"" => "07:08:00";
    midnight_at_the_end: plain(Kind::Time), "\"24:00:00\"" => "24:00:00";
    beyond_midnight: plain(Kind::Time), "\"24:00:01\"" => "out_of_range 22008";
    a_leap_second: plain(Kind::Time), "\"12:34:60\"" => "12:35:00";
    now_is_refused: plain(Kind::Time), "\"now\"" => "bad_value";
    a_time_with_zone: plain(Kind::TimeTz), "\"07:08:09.5-03:30\"" => "07:08:09.500000-03:30:00";

    a_timestamp: plain(Kind::Timestamp), "\"2024-05-06 07:08:09.123456\"" => "2024-05-06 07:08:09.123456";
    a_timestamp_drops_the_zone: plain(Kind::Timestamp), "\"2024-05-06T07:08:09+02:00\""
        => "2024-05-06 07:08:09";
    a_zoned_timestamp_is_utc: plain(Kind::TimestampTz), "\"2024-05-06T07:08:09+02:00\""
        => "2024-05-06 05:08:09+00";
    a_timestamp_without_zone_is_utc: plain(Kind::TimestampTz), "\"2024-05-06T07:08\""
        => "2024-05-06 07:08:00+00";
    nanoseconds_are_rounded: plain(Kind::TimestampTz), "\"2024-05-06T07:08:09.123456789Z\""
        => "2024-05-06 07:08:09.123457+00";
    rounding_carries: plain(Kind::TimestampTz), "\"1999-12-31T23:59:59.9999999Z\""
        => "2000-01-01 00:00:00+00";
    the_last_timestamp: plain(Kind::Timestamp), "\"294276-12-31 23:59:59.999999\""
        => "294276-12-31 23:59:59.999999";
    behind_the_last_timestamp: plain(Kind::Timestamp), "\"294277-01-01\"" => "out_of_range 22008";
    a_zone_leads_back_into_range: plain(Kind::TimestampTz), "\"294277-01-01T00:30:00+01\""
        => "294276-12-31 23:30:00+00";
    a_zone_too_far: plain(Kind::TimestampTz), "\"2024-05-06T07:08:09+16:00\"" => "out_of_range 22009";
    a_zone_by_name_is_left: plain(Kind::TimestampTz), "\"2024-05-06 07:08 Europe/Paris\""
        => "? 2024-05-06 07:08 Europe/Paris";
    before_christ_is_left: plain(Kind::TimestampTz), "\"0044-03-15 BC\"" => "? 0044-03-15 BC";
    tomorrow_is_refused_in_longer_text: plain(Kind::TimestampTz), "\"Tomorrow 10:00\"" => "bad_value";
    tomorrow_is_refused_without_a_space: plain(Kind::TimestampTz), "\"tomorrow10:00\"" => "bad_value";
    now_inside_a_word_is_no_now: plain(Kind::TimestampTz), "\"snow 1\"" => "? snow 1";
    text_may_say_now: plain(Kind::Text), "\"now\"" => "now";

    a_duration: plain(Kind::Interval), "\"P1Y2M3DT4H5M6.5S\"" => "P1Y2M3DT4H5M6.5S";
    other_intervals_are_left: plain(Kind::Interval), "\"1 day ago\"" => "? 1 day ago";
    no_interval_at_all: plain(Kind::Interval), "\"long\"" => "bad_value 22007";
    yesterday_is_no_interval: plain(Kind::Interval), "\"yesterday 1\"" => "bad_value";

    an_address: plain(Kind::Inet), "\"10.1.2.3\"" => "10.1.2.3/32";
    an_address_of_version_6: plain(Kind::Inet), "\"2001:DB8::1/64\"" => "2001:db8::1/64";
    an_abbreviated_address_is_left: plain(Kind::Inet), "\"10.1\"" => "? 10.1";
    no_address_at_all: plain(Kind::Inet), "\"localhost\"" => "bad_value 22P02";
    a_network: plain(Kind::Cidr), "\"10.1.0.0/16\"" => "10.1.0.0/16";
    a_network_without_host_bits: plain(Kind::Cidr), "\"10.1.2.3/16\"" => "bad_value 22P02";

    a_label: plain(labels()), "\"high\"" => "high";
    an_unknown_label_may_be_new: plain(labels()), "\"higher\"" => "? higher";
    an_enum_takes_no_number: plain(labels()), "1" => "wrong_type";

    an_array: array(Kind::Int4), "[1, 2,null]" => "{\"1\",\"2\",NULL}";
    an_array_quotes: array(Kind::Text), r#"["a\"b\\c,{}"]"# => r#"{"a\"b\\c,{}"}"#;
    an_empty_array: array(Kind::Int4), "[ ]" => "{}";
    empty_parts_make_an_empty_array: array(Kind::Int4), "[[],[]]" => "{}";
    an_array_of_two_dimensions: array(Kind::Int4), "[[1,2],[3,4]]" => "{{\"1\",\"2\"},{\"3\",\"4\"}}";
    a_ragged_array: array(Kind::Int4), "[[1,2],[3]]" => "bad_value 22P02";
    an_array_of_uneven_depth: array(Kind::Int4), "[1,[2]]" => "bad_value 22P02";
    an_array_with_a_null_part: array(Kind::Int4), "[[1],null]" => "bad_value 22P02";
    an_array_of_seven_dimensions: array(Kind::Int4), "[[[[[[[1]]]]]]]" => "too_deep 54000";
    an_array_with_a_bad_element: array(Kind::Int4), "[1,\"x\"]" => "bad_value 22P02";
    an_array_with_an_element_of_a_wrong_kind: array(Kind::Int4), "[1,{}]" => "wrong_type";
    an_array_in_text_form_is_left: array(Kind::Int4), "\"{1,2}\"" => "? {1,2}";
    an_array_refuses_now: array(Kind::TimestampTz), "[\"now\"]" => "bad_value";
    an_array_in_text_form_refuses_now: array(Kind::TimestampTz), r#""{\"n\\ow\"}""# => "bad_value";
    documents_in_an_array_keep_their_arrays: array(Kind::Jsonb), "[[1,[2]],{\"a\":1}]"
        => r#"{"[1,[2]]","{\"a\":1}"}"#;
    an_array_takes_no_scalar: array(Kind::Int4), "1" => "wrong_type";
    boxes_have_their_own_separator:
        plain(Kind::Array(Box::new(ColumnType { oid: 603, ..plain(Kind::Other) }))),
        "[\"(1,2),(3,4)\",null]" => "? {\"(1,2),(3,4)\";NULL}";

    a_range_is_left: plain(Kind::Range(Box::new(plain(Kind::Int4)))), "\"[1,2)\"" => "? [1,2)";
    a_range_refuses_now: plain(Kind::Range(Box::new(plain(Kind::TimestampTz)))), r#""[n\"ow\",)""#
        => "bad_value";
    a_range_takes_no_object: plain(Kind::Range(Box::new(plain(Kind::Int4)))), "{}" => "wrong_type";
    a_domain_is_its_base: domain(varchar(2)), "\"abc\"" => "out_of_range 22001";
    a_domain_over_a_domain: domain(domain(plain(Kind::Int2))), "7" => "7";
    a_domain_refuses_now: domain(plain(Kind::Date)), "\"now\"" => "bad_value";
    other_types_are_left: plain(Kind::Other), "\"08:00:2b:01:02:03\"" => "? 08:00:2b:01:02:03";
    other_types_take_numbers: plain(Kind::Other), "12.5" => "? 12.5";
    other_types_take_no_objects: plain(Kind::Other), "{}" => "wrong_type";
    multiranges_of_times_refuse_now: ColumnType { oid: 4534, ..plain(Kind::Other) }, "\"{[now,)}\""
        => "bad_value";
    money_takes_thousands: money(), "\"$1,234,567.50\"" => "? $1,234,567.50";
    money_takes_a_number: money(), "19.90" => "? 19.90";
    money_takes_no_decimal_comma: money(), "\"19,90\"" => "bad_value 22P02";
    money_takes_no_decimal_comma_behind_a_point: money(), "\"1.234,500\"" => "bad_value 22P02";
    money_takes_no_long_decimals: money(), "\"1,2345\"" => "bad_value 22P02";
    other_types_may_have_commas: plain(Kind::Other), "\"19,90\"" => "? 19,90";
    other_types_may_say_now: plain(Kind::Other), "\"now\"" => "? now";
}

epoch_becomes! {
    epoch_seconds: plain(Kind::TimestampTz), EpochUnit::Seconds, "1714979289" => "2024-05-06 07:08:09+00";
    epoch_seconds_with_fraction: plain(Kind::TimestampTz), EpochUnit::Seconds, "1714979289.123456789"
        => "2024-05-06 07:08:09.123457+00";
    epoch_with_exponent: plain(Kind::Timestamp), EpochUnit::Seconds, "1.714979289e9"
        => "2024-05-06 07:08:09";
    epoch_millis: plain(Kind::TimestampTz), EpochUnit::Millis, "1714979289123"
        => "2024-05-06 07:08:09.123000+00";
    epoch_micros: plain(Kind::TimestampTz), EpochUnit::Micros, "-1" => "1969-12-31 23:59:59.999999+00";
    epoch_nanos_to_the_even: plain(Kind::TimestampTz), EpochUnit::Nanos, "1500"
        => "1970-01-01 00:00:00.000002+00";
    epoch_nanos_half_down: plain(Kind::TimestampTz), EpochUnit::Nanos, "2500"
        => "1970-01-01 00:00:00.000002+00";
    epoch_nanos_above_half: plain(Kind::TimestampTz), EpochUnit::Nanos, "2501"
        => "1970-01-01 00:00:00.000003+00";
    epoch_into_a_date: plain(Kind::Date), EpochUnit::Millis, "-1" => "1969-12-31";
    epoch_before_christ: plain(Kind::Timestamp), EpochUnit::Seconds, "-62167219201"
        => "0002-12-31 23:59:59 BC";
    epoch_beyond_range: plain(Kind::TimestampTz), EpochUnit::Seconds, "1e15" => "out_of_range 22008";
    epoch_far_beyond_range: plain(Kind::TimestampTz), EpochUnit::Seconds, "1e1000" => "out_of_range 22008";
    epoch_of_nothing: plain(Kind::TimestampTz), EpochUnit::Nanos, "1e-1000" => "1970-01-01 00:00:00+00";
    a_unit_leaves_strings_alone: plain(Kind::TimestampTz), EpochUnit::Millis, "\"2024-05-06\""
        => "2024-05-06 00:00:00+00";
    a_unit_reads_digits_in_strings: plain(Kind::TimestampTz), EpochUnit::Millis, "\"1714979289123\""
        => "2024-05-06 07:08:09.123000+00";
    a_unit_reads_nanos_in_strings: plain(Kind::TimestampTz), EpochUnit::Nanos, "\"1544712660300000000\""
        => "2018-12-13 14:51:00.300000+00";
    a_unit_reads_a_minus_in_strings: plain(Kind::Timestamp), EpochUnit::Seconds, "\"-1\"" => "1969-12-31 23:59:59";
    a_unit_reads_escaped_digits: plain(Kind::Date), EpochUnit::Seconds, r#""\u0030""# => "1970-01-01";
    a_unit_reads_a_day_of_digits_as_a_number: plain(Kind::Date), EpochUnit::Seconds, "\"20240506\""
        => "1970-08-23";
    a_unit_refuses_strings_beyond_range: plain(Kind::TimestampTz), EpochUnit::Seconds,
        "\"99999999999999999999999999999999999999\"" => "out_of_range 22008";
    a_unit_reads_digits_in_an_array: array(Kind::TimestampTz), EpochUnit::Seconds, "[\"0\"]"
        => "{\"1970-01-01 00:00:00+00\"}";
    a_unit_in_an_array: array(Kind::TimestampTz), EpochUnit::Seconds, "[0]"
        => "{\"1970-01-01 00:00:00+00\"}";
}

is_binary! {
    binary_boolean: plain(Kind::Bool), "true" => "01";
    binary_smallint: plain(Kind::Int2), "-2" => "fffe";
    binary_integer: plain(Kind::Int4), "258" => "00000102";
    binary_bigint: plain(Kind::Int8), "\"-1\"" => "ffffffffffffffff";
    binary_real: plain(Kind::Float4), "1.5" => "3fc00000";
    binary_double: plain(Kind::Float8), "-0.0" => "8000000000000000";
    binary_numeric: plain(Kind::Numeric), "-12345.0670"
        => "0003000140000004" .to_owned() + "0001" + "0929" + "029e";
    binary_numeric_zero_keeps_its_scale: plain(Kind::Numeric), "-0.00" => "0000000000000002";
    binary_numeric_below_one: plain(Kind::Numeric), "0.00001" => "0001fffe00000005" .to_owned() + "03e8";
    binary_numeric_with_exponent: plain(Kind::Numeric), "12e6" => "0001000100000000" .to_owned() + "04b0";
    binary_numeric_nan: plain(Kind::Numeric), "\"NaN\"" => "00000000c0000000";
    binary_jsonb_has_a_version: plain(Kind::Jsonb), "{}" => "017b7d";
    binary_date_counts_from_2000: plain(Kind::Date), "\"1999-12-31\"" => "ffffffff";
    binary_timestamp: plain(Kind::TimestampTz), "\"2000-01-01T00:00:00.000001Z\"" => "0000000000000001";
    binary_infinity: plain(Kind::Timestamp), "\"-infinity\"" => "8000000000000000";
    binary_timetz_counts_west: plain(Kind::TimeTz), "\"00:00:01+01\"" => "00000000000f4240fffff1f0";
    binary_interval: plain(Kind::Interval), "\"P1Y1DT1S\"" => "00000000000f4240000000010000000c";
    binary_inet: plain(Kind::Inet), "\"10.0.0.1\"" => "022000040a000001";
    binary_cidr: plain(Kind::Cidr), "\"10.0.0.0/8\"" => "020801040a000000";
    binary_array: array(Kind::Int2), "[[1],[null]]"

        => "000000020000000100000017".to_owned() + "0000000200000001" + "0000000100000001" + "000000020001" + "ffffffff";
    binary_empty_array: array(Kind::Int2), "[[],[]]" => "000000000000000000000017";
}

#[test]
fn depth_is_limited_for_documents_only() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(value_of(plain(Kind::Jsonb), None, &nested(1000)), nested(1000));
    assert_eq!(value_of(plain(Kind::Jsonb), None, &nested(1001)), "too_deep 54001");
    assert_eq!(value_of(plain(Kind::Json), None, &nested(100_000)), "too_deep 54001");
}

#[test]
fn huge_documents_are_left_to_postgresql() {
    let literal = format!("\"{}\"", "x".repeat(16 << 20));
    let mut route = route([(column("v", plain(Kind::Jsonb)), field("v"))]);
    route.record_bytes_max = 32 << 20;
    assert!(shown(&route, Given::value(&format!("{{\"v\":{literal}}}"))).starts_with("? v="));
}
