//! Hashes that stay what they are: of keys, and of the records that a log is known again by.

/// A fixed hash of bytes, eight at a time by a folded multiplication. It need not withstand an attacker: keys
/// made to collide only take the longer way.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let first = mix(0, bytes.len() as u64);
    let state = words.iter().fold(first, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(state, u64::from_le_bytes(last)), 0)
}

/// Goes on with a hash by one more word.
pub fn mix(state: u64, word: u64) -> u64 {
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const SECOND: u64 = 0xd6e8_feb8_6659_fd93;
    let product = u128::from(state ^ word ^ FIRST) * u128::from(SECOND);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_differ_where_keys_do() {
        let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"abcdefgh", b"abcdefgh\0"];
        let mut hashes: Vec<u64> =
            keys.iter().flat_map(|key| [1, 2].map(|table| mix(fingerprint(key), table))).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 2 * keys.len(), "keys of two tables are told apart");
    }
}
