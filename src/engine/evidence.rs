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
