//! `uuid`, in all spellings that PostgreSQL reads.

use super::{Fit, Misfit, Sink};
use crate::row::Encoding;

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
    let value = HEX[usize::from(digit)];
    (value < 16).then_some(value)
}

/// The value of each byte as a hexadecimal digit; 255 for those that are none.
pub(super) const HEX: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};
