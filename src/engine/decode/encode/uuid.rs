//! `uuid`, in all spellings that PostgreSQL reads.

use super::{Fit, Misfit, Sink};
use crate::engine::row::Encoding;

/// Reads what `uuid_in` reads: 32 hexadecimal digits, a hyphen allowed after each group of four, braces
/// allowed around.
pub(super) fn encode(sink: &mut Sink<'_>, value: &str) -> Fit {
    let Some(uuid) = parse(value.as_bytes()) else { return Err(Misfit::value("isn't a uuid")) };
    match sink.encoding {
        Encoding::Binary => sink.bytes.extend_from_slice(&uuid),
        Encoding::Text => {
            let mut spelt = [0; 36];
            let spelt = uuid::Uuid::from_bytes(uuid).hyphenated().encode_lower(&mut spelt);
            sink.bytes.extend_from_slice(spelt.as_bytes());
        }
    }
    Ok(())
}

fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match text {
        [b'{', inside @ .., b'}'] => inside,
        [b'{', ..] => return None,
        _ => text,
    };
    let mut uuid = [0; 16];
    for (index, byte) in uuid.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else { return None };
        *byte = hex(*high)? << 4 | hex(*low)?;
        rest = tail;
        if index % 2 == 1
            && index < 15
            && let [b'-', tail @ ..] = rest
        {
            rest = tail;
        }
    }
    rest.is_empty().then_some(uuid)
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
