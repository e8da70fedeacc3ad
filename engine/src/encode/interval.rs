//! `interval`: ISO 8601 durations of whole components are read here, all else by PostgreSQL.

use super::{Fit, Misfit, Sink, time};
use crate::row::{Encoding, RejectCode};

const MICROS: i64 = 1_000_000;

/// Reads `P1Y2M3W4DT5H6M7.890123S` with up to six digits a component, and leaves other forms, and types
/// with a precision or field restriction, to PostgreSQL.
pub(super) fn encode(sink: &mut Sink<'_>, typmod: i32, value: &str) -> Fit {
    time::refuse_special_words(value)?;
    let Some((months, days, micros)) = (if typmod == -1 { parse(value) } else { None }) else {
        // PostgreSQL takes a lone `PT` for no time at all, and a lone point for a zero.
        let plausible = value.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'P' | b'.'));
        if !plausible && !time::names_infinity(value) {
            return Err(Misfit::new(RejectCode::BadValue, Some("22007"), "isn't an interval"));
        }
        sink.fall_back(value);
        return Ok(());
    };
    match sink.encoding {
        Encoding::Binary => {
            sink.bytes.extend_from_slice(&micros.to_be_bytes());
            sink.bytes.extend_from_slice(&days.to_be_bytes());
            sink.bytes.extend_from_slice(&months.to_be_bytes());
        }
        Encoding::Text => sink.bytes.extend_from_slice(value.as_bytes()),
    }
    Ok(())
}

/// Months, days and microseconds.
fn parse(value: &str) -> Option<(i32, i32, i64)> {
    let body = value.strip_prefix('P')?;
    let (date, clock) = match body.split_once('T') {
        Some((date, clock)) if !clock.is_empty() => (date, clock),
        Some(_) => return None,
        None if body.is_empty() => return None,
        None => (body, ""),
    };
    let mut rest = date;
    let mut part = |designator| component(&mut rest, designator);
    let months = part('Y')? * 12 + part('M')?;
    let days = part('W')? * 7 + part('D')?;
    if !rest.is_empty() {
        return None;
    }
    let mut rest = clock;
    let mut micros = i64::from(component(&mut rest, 'H')?) * 3600 * MICROS;
    micros += i64::from(component(&mut rest, 'M')?) * 60 * MICROS;
    micros += seconds(rest)?;
    Some((months, days, micros))
}

/// Takes a number and its designator off the front; 0 when another designator stands there.
fn component(rest: &mut &str, designator: char) -> Option<i32> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return rest.is_empty().then_some(0);
    }
    if !rest[digits..].starts_with(designator) {
        return Some(0);
    }
    if digits > 6 {
        return None;
    }
    let number = rest[..digits].parse().ok()?;
    *rest = &rest[digits + 1..];
    Some(number)
}

fn seconds(rest: &str) -> Option<i64> {
    if rest.is_empty() {
        return Some(0);
    }
    let number = rest.strip_suffix('S')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let plain = |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    let scale = 10i64.pow(6 - fraction.len() as u32);
    Some(whole.parse::<i64>().ok()? * MICROS + fraction.parse::<i64>().ok()? * scale)
}
