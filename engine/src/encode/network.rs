//! `inet` and `cidr`.
//!
//! Full addresses in their usual spelling are read here; PostgreSQL's abbreviations are left to itself.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fit, Misfit, Sink};
use crate::row::Encoding;

/// `PGSQL_AF_INET` and `PGSQL_AF_INET6`: fixed in the wire format, whatever the platform's numbers are.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// An address, with or without the length of its network.
pub(super) fn inet(sink: &mut Sink<'_>, value: &str) -> Fit {
    match parse(value) {
        Some((address, bits)) => {
            put(sink, address, bits, false);
            Ok(())
        }
        None => leave(sink, value),
    }
}

/// A network; read here only with its length, and its host bits must be zero.
pub(super) fn cidr(sink: &mut Sink<'_>, value: &str) -> Fit {
    match parse(value) {
        Some((address, Some(bits))) => {
            if host_bits_set(address, bits) {
                return Err(Misfit::value("has bits set to the right of its mask"));
            }
            put(sink, address, Some(bits), true);
            Ok(())
        }
        _ => leave(sink, value),
    }
}

fn leave(sink: &mut Sink<'_>, value: &str) -> Fit {
    if !value.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/')) {
        return Err(Misfit::value("isn't a network address"));
    }
    sink.fall_back(value);
    Ok(())
}

fn parse(value: &str) -> Option<(IpAddr, Option<u8>)> {
    let (address, bits) = match value.split_once('/') {
        Some((address, bits)) => (address, Some(parse_bits(bits)?)),
        None => (value, None),
    };
    let address = match address.parse::<Ipv4Addr>() {
        Ok(address) => IpAddr::V4(address),
        Err(_) => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (bits.unwrap_or(longest) <= longest).then_some((address, bits))
}

fn parse_bits(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn host_bits_set(address: IpAddr, bits: u8) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(u32::from(bits)).unwrap_or(0) != 0,
        IpAddr::V6(address) => address.to_bits().checked_shl(u32::from(bits)).unwrap_or(0) != 0,
    }
}

fn put(sink: &mut Sink<'_>, address: IpAddr, bits: Option<u8>, is_cidr: bool) {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    match (sink.encoding, address) {
        (Encoding::Text, _) => {
            write!(sink.bytes, "{address}/{bits}").expect("writing to memory doesn't fail");
        }
        (Encoding::Binary, IpAddr::V4(address)) => {
            sink.bytes.extend_from_slice(&[FAMILY_V4, bits, u8::from(is_cidr), 4]);
            sink.bytes.extend_from_slice(&address.octets());
        }
        (Encoding::Binary, IpAddr::V6(address)) => {
            sink.bytes.extend_from_slice(&[FAMILY_V6, bits, u8::from(is_cidr), 16]);
            sink.bytes.extend_from_slice(&address.octets());
        }
    }
}
