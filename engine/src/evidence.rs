//! What is kept of a record that is too long to keep.

use sha2::{Digest, Sha256};

use super::record::Record;

/// SHA-256 over the key's bytes, then the value's: tells whether another copy is the same record.
pub fn fingerprint(record: &Record<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(record.key.unwrap_or_default());
    hash.update(record.value.unwrap_or_default());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::position::{Generation, Offset, TopicPartition};
    use super::super::record::RecordBlock;
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_key_and_value() {
        let mut block = RecordBlock::new(TopicPartition::new("t", 0), Generation(1));
        block.push(Offset::new(0), None, Some(b"ab"), Some(b"c"), []);
        block.push(Offset::new(1), Some(5), Some(b"ab"), Some(b"c"), []);
        block.push(Offset::new(2), None, None, Some(b"abd"), []);
        // SHA-256 of "abc", from FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex: String = fingerprint(&block.get(0)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, known);
        assert_eq!(fingerprint(&block.get(0)), fingerprint(&block.get(1)));
        assert_ne!(fingerprint(&block.get(0)), fingerprint(&block.get(2)));
    }
}
