//! What bytes look like that aren't what was expected: people see at once which producer, compression or
//! serializer they forgot. Told are the format's name and how many bytes there are, never what they say.

/// A sentence's end for bytes that begin as a known format does; empty for all others.
pub(crate) fn hint(bytes: &[u8]) -> String {
    match looks_like(bytes) {
        Some(format) => format!("; its {} bytes begin as {format}", bytes.len()),
        None => String::new(),
    }
}

fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    // Longer beginnings first where one begins as another does.
    const KNOWN: [(&[u8], &str); 19] = [
        (b"\xef\xbb\xbf", "a byte order mark of UTF-8"),
        (b"\xff\xfe\x00\x00", "a byte order mark of UTF-32"),
        (b"\x00\x00\xfe\xff", "a byte order mark of UTF-32"),
        (b"\xff\xfe", "a byte order mark of UTF-16"),
        (b"\xfe\xff", "a byte order mark of UTF-16"),
        (b"{\x00", "UTF-16 without a byte order mark"),
        (b"\x00{", "UTF-16 without a byte order mark"),
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"LZ4Block", "lz4 of Java"),
        (b"\xff\x06\x00\x00sNaPpY", "snappy"),
        (b"\x82SNAPPY\x00", "snappy of Java"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"Obj\x01", "an Avro file"),
        (b"PAR1", "a Parquet file"),
        (b"\xac\xed\x00\x05", "Java's own serialization"),
    ];
    let known = KNOWN.into_iter().find(|(begin, _)| bytes.starts_with(begin)).map(|(_, format)| format);
    known.or_else(|| {
        let zlib = matches!(bytes, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]) && !bytes.is_ascii();
        let registry = bytes.first() == Some(&0) && bytes.len() > 5;
        if registry {
            Some("what a Schema Registry's serializer makes (0x00 and a schema's id in four bytes, then the record)")
        } else {
            zlib.then_some("zlib")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let cases: [(&[u8], &str); 14] = [
            (b"\x00\x00\x00\x00\x2a{\"id\":1}", "a Schema Registry's serializer"),
            (b"\x00\x00\x00\x00\x2a\x02\x08", "a Schema Registry's serializer"),
            (b"\x1f\x8b\x08\x00", "4 bytes begin as gzip"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd"),
            (b"\x04\x22\x4d\x18\x64", "lz4"),
            (b"\xff\x06\x00\x00sNaPpY\x01", "snappy"),
            (b"\x82SNAPPY\x00\x00", "snappy of Java"),
            (b"\xef\xbb\xbf{}", "byte order mark of UTF-8"),
            (b"\xff\xfe{\x00}\x00", "byte order mark of UTF-16"),
            (b"\xff\xfe\x00\x00{\x00", "byte order mark of UTF-32"),
            (b"{\x00\"\x00", "UTF-16 without"),
            (b"\x78\x9c\xab\x56", "zlib"),
            (b"Obj\x01\x04", "an Avro file"),
            (b"PK\x03\x04", "zip"),
        ];
        for (bytes, expected) in cases {
            let found = hint(bytes);
            assert!(found.contains(expected), "{bytes:?}: {found}");
        }
        for bytes in
            [&b""[..], b"{\"id\":1}", b"\x00", b"\x00\x00\x00\x00\x2a", b"\xc3\x28", b"x\x01", b"hello"]
        {
            assert_eq!(hint(bytes), "", "{bytes:?}");
        }
    }
}
