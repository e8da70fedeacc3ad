//! What bytes look like that aren't what was expected: people see at once which producer, compression or
//! serializer they forgot, and what to do. Told are the format's name, a schema's number and how many bytes
//! there are, never what they say. Nothing here runs for a record that is good.

/// A sentence's end for bytes that begin as a known format does; empty for all others.
pub(crate) fn hint(bytes: &[u8]) -> String {
    match looks_like(bytes) {
        Some((format, remedy)) => format!("; its {} bytes begin as {format}: {remedy}", bytes.len()),
        None => String::new(),
    }
}

const UNPACKED: &str = "send it unpacked, since Kafka packs whole batches by itself (compression.type)";
const UTF8: &str = "write UTF-8";
const JSON: &str = "let the producer write JSON";

/// Longer beginnings first where one begins as another does.
const KNOWN: [(&[u8], &str, &str); 24] = [
    (b"\xef\xbb\xbf", "a byte order mark of UTF-8", "write it without one"),
    (b"\xff\xfe\x00\x00", "a byte order mark of UTF-32", UTF8),
    (b"\x00\x00\xfe\xff", "a byte order mark of UTF-32", UTF8),
    (b"\xff\xfe", "a byte order mark of UTF-16", UTF8),
    (b"\xfe\xff", "a byte order mark of UTF-16", UTF8),
    (b"{\x00", "UTF-16 without a byte order mark", UTF8),
    (b"\x00{", "UTF-16 without a byte order mark", UTF8),
    (b"\x1f\x8b", "gzip", UNPACKED),
    (b"\x28\xb5\x2f\xfd", "zstd", UNPACKED),
    (b"\x04\x22\x4d\x18", "lz4", UNPACKED),
    (b"LZ4Block", "lz4 of Java", UNPACKED),
    (b"\xff\x06\x00\x00sNaPpY", "snappy", UNPACKED),
    (b"\x82SNAPPY\x00", "snappy of Java", UNPACKED),
    (b"BZh", "bzip2", UNPACKED),
    (b"\xfd7zXZ\x00", "xz", UNPACKED),
    (b"PK\x03\x04", "zip", UNPACKED),
    (b"Obj\x01", "an Avro file", JSON),
    (b"PAR1", "a Parquet file", JSON),
    (b"\xac\xed\x00\x05", "Java's own serialization", JSON),
    (b"\xd9\xd9\xf7", "CBOR", JSON),
    (b"<?xml", "XML", JSON),
    (b"{'", "a text of Python (str of a dict)", "write it with json.dumps"),
    (b"{u'", "a text of Python (str of a dict)", "write it with json.dumps"),
    (b"eyJ", "JSON in base64", "send it decoded"),
];

fn looks_like(bytes: &[u8]) -> Option<(String, &'static str)> {
    let known = KNOWN.into_iter().find(|(begin, ..)| bytes.starts_with(begin));
    if let Some((_, format, remedy)) = known {
        return Some((format.to_owned(), remedy));
    }
    if let Some(made) = registered(bytes) {
        return Some(made);
    }
    let told = |format: &str, remedy| Some((format.to_owned(), remedy));
    match bytes {
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] if !bytes.is_ascii() => told("zlib", UNPACKED),
        // A map whose first key is a text: each of the two formats marks both by a first byte of its own.
        [0x81..=0x8f, 0xa0..=0xbf | 0xd9 | 0xda, ..] | [0xde, _, _, 0xa0..=0xbf | 0xd9 | 0xda, ..] => {
            told("MessagePack", JSON)
        }
        [0xa1..=0xb7 | 0xbf, 0x60..=0x79, ..] | [0xb8, _, 0x60..=0x79, ..] => told("CBOR", JSON),
        // A document says how long it is, and ends with a zero.
        [a, b, c, d, .., 0] if u32::from_le_bytes([*a, *b, *c, *d]) as usize == bytes.len() => {
            told("BSON", JSON)
        }
        [b'<', b'a'..=b'z' | b'A'..=b'Z' | b'!', ..] => told("XML or HTML", JSON),
        _ => None,
    }
}

/// What a Schema Registry's serializer makes: 0x00, a schema's id in four bytes, then the record.
fn registered(bytes: &[u8]) -> Option<(String, &'static str)> {
    let [0, a, b, c, d, record @ ..] = bytes else { return None };
    let first = record.first()?;
    let id = u32::from_be_bytes([*a, *b, *c, *d]);
    let remedy = match first {
        b'{' => "JSON follows, so use a JSON serializer that knows no registry",
        _ => "Avro or Protobuf follows, so let the producer write JSON without a registry",
    };
    let format =
        format!("Confluent's wire format (0x00, then schema id {id}), by a Schema Registry's serializer");
    Some((format, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let cases: [(&[u8], &str); 28] = [
            (
                b"\x00\x00\x00\x00\x2a{\"id\":1}",
                "(0x00, then schema id 42), by a Schema Registry's serializer: JSON",
            ),
            (b"\x00\x00\x01\x00\x11\x02\x08", "schema id 65553), by a Schema Registry's serializer: Avro or"),
            (b"\x1f\x8b\x08\x00", "4 bytes begin as gzip: send it unpacked"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd"),
            (b"\x04\x22\x4d\x18\x64", "lz4"),
            (b"\xff\x06\x00\x00sNaPpY\x01", "snappy"),
            (b"\x82SNAPPY\x00\x00", "snappy of Java"),
            (b"\xef\xbb\xbf{}", "byte order mark of UTF-8: write it without one"),
            (b"\xff\xfe{\x00}\x00", "byte order mark of UTF-16: write UTF-8"),
            (b"\xff\xfe\x00\x00{\x00", "byte order mark of UTF-32"),
            (b"{\x00\"\x00", "UTF-16 without"),
            (b"\x78\x9c\xab\x56", "zlib"),
            (b"Obj\x01\x04", "an Avro file: let the producer write JSON"),
            (b"PK\x03\x04", "zip"),
            (b"PAR1\x15", "a Parquet file"),
            (b"\xac\xed\x00\x05sr", "Java's own serialization"),
            (b"\x81\xa2id\x01", "MessagePack"),
            (b"\xde\x00\x10\xa2id\x01", "MessagePack"),
            (b"\x82\xd9\x20", "MessagePack"),
            (b"\xa1\x62id\x01", "CBOR"),
            (b"\xbf\x62id\x01\xff", "CBOR"),
            (b"\xd9\xd9\xf7\xa0", "CBOR"),
            (b"\x0d\x00\x00\x00\x10i\x00\x01\x00\x00\x00\x00\x00", "BSON"),
            (b"<?xml version=\"1.0\"?>", "XML"),
            (b"<event id=\"1\"/>", "XML or HTML"),
            (b"{'id': 1}", "Python (str of a dict): write it with json.dumps"),
            (b"{u'id': 1}", "Python"),
            (b"eyJpZCI6MX0=", "JSON in base64"),
        ];
        for (bytes, expected) in cases {
            let found = hint(bytes);
            assert!(found.contains(expected), "{bytes:?}: {found}");
        }
        let plain = [
            &b""[..],
            b"{\"id\":1}",
            b"\x00",
            b"\x00\x00\x00\x00\x2a",
            b"\xc3\x28",
            b"x\x01",
            b"hello",
            b"\x80",
            b"\x81\x01",
            b"\xa1\x01",
            b"< 3",
            b"\x05\x00\x00\x00",
        ];
        for bytes in plain {
            assert_eq!(hint(bytes), "", "{bytes:?}");
        }
    }
}
