//! Literals of numbers, text and documents: good ones, borders, and near misses.

use fastrand::Rng;

/// One of `choices`.
pub(super) fn one<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.usize(..choices.len())]
}

pub(super) fn digits(rng: &mut Rng, lengths: &[usize]) -> String {
    let length = lengths[rng.usize(..lengths.len())];
    let digit = |rng: &mut Rng| char::from(b'0' + rng.u8(..10));
    match rng.u8(..6) {
        0 => "9".repeat(length),
        1 => "0".repeat(length),
        2 => format!("{}1", "0".repeat(length.saturating_sub(1))),
        _ => (0..length).map(|_| digit(rng)).collect(),
    }
}

/// Changes one character, sometimes.
pub(super) fn mutate(text: String, rng: &mut Rng) -> String {
    if rng.u8(..8) != 0 {
        return text;
    }
    let mut characters: Vec<char> = text.chars().collect();
    let at = rng.usize(..=characters.len());
    let odd = one(
        rng,
        &[" ", "-", "+", ".", ":", "0", "9", "e", "T", "Z", "x", "\t", "/", "é", "{", "\"", "'", "\\", "_"],
    );
    match rng.u8(..3) {
        0 if at < characters.len() => drop(characters.remove(at)),
        1 if at < characters.len() => characters[at] = odd.chars().next().unwrap_or(' '),
        _ => characters.insert(at, odd.chars().next().unwrap_or(' ')),
    }
    characters.into_iter().collect()
}

/// Words, borders of the types, and texts that only look like numbers.
const ODD_NUMBERS: &[&str] = &[
    "NaN",
    "nan",
    "-NaN",
    "+nan",
    "Infinity",
    "-Infinity",
    "+Infinity",
    "inf",
    "-inf",
    "+inf",
    "INF",
    "infinit",
    "",
    " ",
    "-",
    "+",
    ".",
    "e5",
    "0x1F",
    "0b11",
    "0o17",
    "1_000",
    "1__0",
    "_1",
    "0x",
    "1e400000",
    "1e-400000",
    "1e131071",
    "1e131072",
    "-1e131072",
    "0e200000",
    "0e-16383",
    "0e-16384",
    "1e-16383",
    "1e-16384",
    "1e1073741822",
    "0e1073741824",
    "0e99999999999999999999",
    "1e99999999999999999999",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "3.4028235e38",
    "3.4028236e38",
    "3.5e38",
    "1e-45",
    "7e-46",
    "8e-46",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "4.9e-324",
    "2e-324",
    "3e-324",
    "1e-400",
    "0e-400",
    "-0",
    "-0.0",
    "+0",
    "00",
    "007",
    "\u{b}12\u{c}",
    "0x1p3",
    "1d",
    "1f",
    "1e+",
    "1 2",
    "１２",
    "nan(12)",
    "1.",
];

/// Decimal numbers, some with exponents, signs, points in odd places, white space.
pub(super) fn number(rng: &mut Rng) -> String {
    if rng.u8(..12) == 0 {
        return one(rng, ODD_NUMBERS).to_owned();
    }
    let mut text = String::new();
    if rng.u8(..10) == 0 {
        text.push_str(one(rng, &[" ", "\t", "\n", "  ", "\r\n"]));
    }
    text.push_str(one(rng, &["", "", "", "", "-", "-", "+"]));
    text.push_str(&digits(rng, &[0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 18, 19, 20, 40, 200]));
    if rng.u8(..3) == 0 {
        text.push('.');
        text.push_str(&digits(rng, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 20, 39, 300]));
    }
    if rng.u8(..5) == 0 {
        text.push_str(one(rng, &["e", "E", "e-", "e+", "E-"]));
        text.push_str(&digits(rng, &[0, 1, 1, 1, 2, 2, 3, 4]));
    }
    if rng.u8(..12) == 0 {
        text.push_str(one(rng, &[" ", "\t", "\n  "]));
    }
    mutate(text, rng)
}

/// Numbers in JSON's grammar.
pub(super) fn json_number(rng: &mut Rng) -> String {
    loop {
        let text = number(rng);
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() && text.trim() == text {
            let first = text.as_bytes()[0];
            if first == b'-' || first.is_ascii_digit() {
                return text;
            }
        }
    }
}

/// A literal without point and exponent, where it is a whole number of at most a hundred digits; else itself.
pub(super) fn spelt_out(literal: &str) -> String {
    let (sign, unsigned) = literal.strip_prefix('-').map_or(("", literal), |unsigned| ("-", unsigned));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.bytes().all(|digit| digit == b'0') {
        return "0".to_owned();
    }
    let Ok(exponent @ -100..=100) = exponent.parse::<i64>() else { return literal.to_owned() };
    let Ok(point) = usize::try_from(whole.len() as i64 + exponent) else { return literal.to_owned() };
    let padded = format!("{digits:0<point$}");
    let (before, behind) = padded.split_at(point);
    if behind.bytes().all(|digit| digit == b'0') { format!("{sign}{before}") } else { literal.to_owned() }
}

pub(super) fn boolean(rng: &mut Rng) -> String {
    let words = [
        "t", "tr", "tru", "true", "TRUE", "True", "f", "fa", "fals", "false", "y", "ye", "yes", "n", "no",
        "o", "on", "of", "off", "oFF", "1", "0", "2", "", " true ", "\tno\n", "truee", "yess", "01", "nope",
        "-1",
    ];
    mutate(one(rng, &words).to_owned(), rng)
}

pub(super) fn word(rng: &mut Rng) -> String {
    let length = rng.usize(..9);
    let pieces = [
        "a", "b", "é", "日", "😀", " ", "\\", "\"", "'", ",", "{", "}", "\t", "\n", "NULL", "/", "\u{7f}",
        "\u{feff}",
    ];
    let mut text: String = (0..length).map(|_| one(rng, &pieces)).collect();
    if rng.u8(..4) == 0 {
        text.push_str(&" ".repeat(rng.usize(..6)));
    }
    text
}

pub(super) fn uuid(rng: &mut Rng) -> String {
    let hyphens = rng.u8(..4);
    let braces = rng.u8(..4) == 0;
    let mut text = String::new();
    for index in 0..16 {
        text.push_str(&format!("{:02x}", rng.u8(..)));
        let after = match hyphens {
            0 => false,
            1 | 2 => matches!(index, 3 | 5 | 7 | 9),
            _ => index % 2 == 1 && index < 15 && rng.bool(),
        };
        if after {
            text.push('-');
        }
    }
    if rng.u8(..3) == 0 {
        text = text.to_uppercase();
    }
    if braces {
        text = format!("{{{text}}}");
    }
    mutate(text, rng)
}

pub(super) fn bytea(rng: &mut Rng) -> String {
    let length = rng.usize(..8);
    let text = if rng.bool() {
        let pair = |rng: &mut Rng| match rng.u8(..10) {
            0 => one(rng, &[" ", "\n", "\t", "\r", "\u{b}"]).to_owned(),
            1 => one(rng, &["a", "G", "0"]).to_owned(),
            2 => "AF".to_owned(),
            _ => format!("{:02x}", rng.u8(..)),
        };
        format!(
            "{}{}",
            one(rng, &["\\x", "\\x", "\\x", "\\X"]),
            (0..length).map(|_| pair(rng)).collect::<String>()
        )
    } else {
        let pieces = ["a", "\\\\", "\\000", "\\377", "\\400", "\\08", "\\", "é", "\\1", " ", "x", "\\x"];
        (0..length).map(|_| one(rng, &pieces)).collect()
    };
    mutate(text, rng)
}

pub(super) fn address(rng: &mut Rng) -> String {
    let mut text = if rng.bool() {
        let octet = |rng: &mut Rng| match rng.u8(..8) {
            0 => one(rng, &["0", "255", "256", "010", "1000"]).to_owned(),
            _ => rng.u8(..).to_string(),
        };
        let count = [4, 4, 4, 4, 4, 3, 2, 1, 5][rng.usize(..9)];
        (0..count).map(|_| octet(rng)).collect::<Vec<_>>().join(".")
    } else {
        let fixed = [
            "::",
            "::1",
            "fe80::1",
            "2001:db8::",
            "::ffff:1.2.3.4",
            "1::2::3",
            "2001:DB8:0:0:0:0:0:1",
            ":::",
            "1:2:3:4:5:6:7",
            "::1.2.3",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "12345::",
            "1:2:3:4:5:6:1.2.3.4",
            "::1.2.3.4",
            "fe80::1%eth0",
            "0:0:0:0:0:0:0:0",
            "2001:db8:8000::",
            "::01.2.3.4",
        ];
        one(rng, &fixed).to_owned()
    };
    if rng.bool() {
        let bits = [
            "0", "8", "16", "24", "32", "33", "64", "128", "129", "-1", "08", "", "1", "31", "127", "256",
            "17",
        ];
        text.push('/');
        text.push_str(one(rng, &bits));
    }
    mutate(text, rng)
}

/// A network whose host bits are mostly zero.
pub(super) fn network(rng: &mut Rng) -> String {
    let bits = rng.u32(..=32);
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let address = std::net::Ipv4Addr::from_bits(rng.u32(..) & mask);
    match rng.u8(..3) {
        0 => mutate(format!("{address}/{bits}"), rng),
        1 => format!("2001:db8:{:x}::/{}", rng.u16(..), 48 + rng.u8(..80)),
        _ => address_or(rng, format!("{address}/{bits}")),
    }
}

fn address_or(rng: &mut Rng, text: String) -> String {
    if rng.bool() { address(rng) } else { text }
}

/// JSON documents, some with escapes that `jsonb` refuses.
pub(super) fn document(rng: &mut Rng, depth: usize) -> String {
    match rng.u8(..if depth > 3 { 5 } else { 8 }) {
        0 => one(rng, &["true", "false"]).to_owned(),
        1 | 2 => json_number(rng),
        3 | 4 => json_text(rng),
        5 => {
            let count = rng.usize(..4);
            let items: Vec<_> = (0..count).map(|_| document(rng, depth + 1)).collect();
            format!("[{}]", items.join(one(rng, &[",", " , ", ",\n"])))
        }
        _ => {
            let count = rng.usize(..4);
            let items: Vec<_> =
                (0..count).map(|_| format!("{}:{}", json_text(rng), document(rng, depth + 1))).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn json_text(rng: &mut Rng) -> String {
    let pieces = [
        "a",
        "b",
        "1",
        " ",
        "é",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\u0001",
        "\u{7f}",
        "\\t",
    ];
    let odd = [
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "\\ud800x",
        "\\ud83d\\u0041",
        "\\uD83D\\uDE00",
        "\\\\u0000",
        "\\\\ud800",
    ];
    let count = rng.usize(..5);
    let text: String =
        (0..count).map(|_| if rng.u8(..25) == 0 { one(rng, &odd) } else { one(rng, &pieces) }).collect();
    format!("\"{text}\"")
}
