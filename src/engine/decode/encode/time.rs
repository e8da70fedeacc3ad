//! Dates and times.
//!
//! ISO 8601 and RFC 3339 spellings are read here, as PostgreSQL reads them in a session whose zone is UTC;
//! other spellings are left to it. Words whose value depends on the moment (`now`, `today`, …) are refused:
//! a record must mean the same whenever it is applied.

use std::io::Write;

use super::{Fit, Misfit, Sink};
use crate::engine::route::EpochUnit;
use crate::engine::row::{Encoding, RejectCode};
use crate::engine::shape::Kind;

/// `tsmultirange`, `tstzmultirange` and `datemultirange`.
pub(super) const MULTIRANGE_OIDS: [u32; 3] = [4533, 4534, 4535];

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's times begin.
const EPOCH_DAYS: i64 = 10_957;
/// First and one behind the last microsecond of `timestamp`: 4714-11-24 BC to 294276 AD.
const TIMESTAMP_MIN: i128 = -211_813_488_000_000_000;
const TIMESTAMP_END: i128 = 9_223_371_331_200_000_000;
/// One behind the last day of `date`: 5874898-01-01.
const DATE_END: i64 = 2_145_031_949;
/// Hours of a zone's displacement (`MAX_TZDISP_HOUR`).
const ZONE_HOURS_MAX: i64 = 15;

/// What a text says, as far as it is in a spelling that is read here.
#[derive(Clone, Copy, Default)]
struct Parts {
    /// Days since 2000-01-01.
    date: Option<i64>,
    /// Microseconds since midnight, up to 24:00.
    time: Option<i64>,
    /// Seconds east of UTC.
    zone: Option<i64>,
}

/// Why a text gives no parts.
enum Unread {
    /// Another spelling, or nonsense.
    Unknown,
    /// A field beyond its range (datetime_field_overflow), or a zone (invalid_time_zone_displacement_value).
    Beyond(&'static str),
}

/// Encodes text into one of the five types.
pub(super) fn encode(sink: &mut Sink<'_>, kind: &Kind, value: &str) -> Fit {
    if let Some(infinity) = infinity(kind, value) {
        put_infinity(sink, kind, infinity);
        return Ok(());
    }
    match parse(value) {
        Ok(parts) => {
            if put_parts(sink, kind, parts)? {
                return Ok(());
            }
        }
        Err(Unread::Beyond(sqlstate)) => {
            let what = "holds a field of a date or time beyond its range";
            return Err(Misfit::new(RejectCode::OutOfRange, Some(sqlstate), what));
        }
        Err(Unread::Unknown) => {}
    }
    refuse_special_words(value)?;
    let names = |word: &str| value.to_ascii_lowercase().contains(word);
    let plausible = value.bytes().any(|byte| byte.is_ascii_digit())
        || names("epoch")
        || names("allballs")
        || names_infinity(value);
    if !plausible {
        return Err(Misfit::new(RejectCode::BadValue, Some("22007"), "isn't a date or time"));
    }
    sink.fall_back(value);
    Ok(())
}

/// Whether the text has a word for infinity in it.
pub(super) fn names_infinity(value: &str) -> bool {
    value.to_ascii_lowercase().contains("inf")
}

/// Refuses text with a word whose value depends on the moment at which it is read. Quotes and backslashes
/// of array and range syntax don't hide a word.
pub(super) fn refuse_special_words(value: &str) -> Fit {
    let special = |text: &str| {
        text.split(|character: char| !character.is_ascii_alphabetic()).any(|word| {
            ["now", "today", "tomorrow", "yesterday"].iter().any(|name| word.eq_ignore_ascii_case(name))
        })
    };
    if special(value) || (value.contains(['"', '\\']) && special(&value.replace(['"', '\\'], ""))) {
        let what = "names a moment by a word such as now or today, which differs with each reading";
        return Err(Misfit::new(RejectCode::BadValue, None, what));
    }
    Ok(())
}

fn infinity(kind: &Kind, value: &str) -> Option<bool> {
    if !matches!(kind, Kind::Date | Kind::Timestamp | Kind::TimestampTz) {
        return None;
    }
    if value.eq_ignore_ascii_case("infinity") {
        return Some(true);
    }
    value.eq_ignore_ascii_case("-infinity").then_some(false)
}

fn put_infinity(sink: &mut Sink<'_>, kind: &Kind, positive: bool) {
    let name = if positive { "infinity" } else { "-infinity" };
    if matches!(kind, Kind::Date) {
        sink.put(&(if positive { i32::MAX } else { i32::MIN }).to_be_bytes(), name);
    } else {
        sink.put(&(if positive { i64::MAX } else { i64::MIN }).to_be_bytes(), name);
    }
}

/// Encodes what was read; false when PostgreSQL must decide what such a text means for the type.
fn put_parts(sink: &mut Sink<'_>, kind: &Kind, parts: Parts) -> Result<bool, Misfit> {
    match (kind, parts) {
        (Kind::Date, Parts { date: Some(date), time, .. })
            if time.is_none_or(|time| time < MICROS_PER_DAY) =>
        {
            put_date(sink, date)?;
        }
        (Kind::Time, Parts { date: None, time: Some(time), .. }) => put_time(sink, time, None),
        (Kind::TimeTz, Parts { date: None, time: Some(time), zone }) => {
            put_time(sink, time, Some(zone.unwrap_or(0)));
        }
        (Kind::Timestamp, Parts { date: Some(date), time, .. }) => {
            put_timestamp(sink, instant(date, time, 0), false)?;
        }
        (Kind::TimestampTz, Parts { date: Some(date), time, zone }) => {
            put_timestamp(sink, instant(date, time, zone.unwrap_or(0)), true)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn instant(date: i64, time: Option<i64>, zone: i64) -> i128 {
    i128::from(date) * i128::from(MICROS_PER_DAY) + i128::from(time.unwrap_or(0))
        - i128::from(zone * MICROS_PER_SECOND)
}

fn beyond(what: &'static str) -> Misfit {
    Misfit::new(RejectCode::OutOfRange, Some("22008"), what)
}

fn put_date(sink: &mut Sink<'_>, date: i64) -> Fit {
    if date >= DATE_END {
        return Err(beyond("is beyond the range of date"));
    }
    match sink.encoding {
        Encoding::Binary => sink.bytes.extend_from_slice(&(date as i32).to_be_bytes()),
        Encoding::Text => write_date(sink.bytes, date),
    }
    Ok(())
}

fn put_time(sink: &mut Sink<'_>, time: i64, zone: Option<i64>) {
    match sink.encoding {
        Encoding::Binary => {
            sink.bytes.extend_from_slice(&time.to_be_bytes());
            if let Some(zone) = zone {
                sink.bytes.extend_from_slice(&(-zone as i32).to_be_bytes());
            }
        }
        Encoding::Text => {
            write_time(sink.bytes, time);
            if let Some(zone) = zone {
                let sign = if zone < 0 { '-' } else { '+' };
                let zone = zone.abs();
                write!(sink.bytes, "{sign}{:02}:{:02}:{:02}", zone / 3600, zone / 60 % 60, zone % 60)
                    .expect("writing to memory doesn't fail");
            }
        }
    }
}

fn put_timestamp(sink: &mut Sink<'_>, micros: i128, zoned: bool) -> Fit {
    if !(TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) {
        return Err(beyond("is beyond the range of timestamp"));
    }
    let micros = micros as i64;
    match sink.encoding {
        Encoding::Binary => sink.bytes.extend_from_slice(&micros.to_be_bytes()),
        Encoding::Text => {
            let date = micros.div_euclid(MICROS_PER_DAY);
            write_date_before_era(sink.bytes, date, |bytes| {
                bytes.push(b' ');
                write_time(bytes, micros.rem_euclid(MICROS_PER_DAY));
                if zoned {
                    bytes.extend_from_slice(b"+00");
                }
            });
        }
    }
    Ok(())
}

fn write_date(bytes: &mut Vec<u8>, date: i64) {
    write_date_before_era(bytes, date, |_| {});
}

/// Writes year, month and day, then what `rest` writes, then BC where the year is one.
fn write_date_before_era(bytes: &mut Vec<u8>, date: i64, rest: impl FnOnce(&mut Vec<u8>)) {
    let (year, month, day) = civil_from_days(date + EPOCH_DAYS);
    let (shown, before) = if year > 0 { (year, false) } else { (1 - year, true) };
    write!(bytes, "{shown:04}-{month:02}-{day:02}").expect("writing to memory doesn't fail");
    rest(bytes);
    if before {
        bytes.extend_from_slice(b" BC");
    }
}

fn write_time(bytes: &mut Vec<u8>, time: i64) {
    let seconds = time / MICROS_PER_SECOND;
    write!(bytes, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        .expect("writing to memory doesn't fail");
    let fraction = time % MICROS_PER_SECOND;
    if fraction != 0 {
        write!(bytes, ".{fraction:06}").expect("writing to memory doesn't fail");
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, extended to all years (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Exactly two digits off the front.
fn two(text: &mut &[u8]) -> Option<i64> {
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] = *text else { return None };
    *text = rest;
    Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
}

fn take(text: &mut &[u8], byte: u8) -> bool {
    match text.split_first() {
        Some((first, rest)) if *first == byte => {
            *text = rest;
            true
        }
        _ => false,
    }
}

/// Reads `YYYY-MM-DD`, `HH:MM[:SS[.f]][zone]`, or both with a `T` or a space between.
fn parse(value: &str) -> Result<Parts, Unread> {
    let mut text = value.as_bytes();
    let mut parts = Parts::default();
    if text.get(2) != Some(&b':') {
        parts.date = Some(parse_date(&mut text)?);
        if text.is_empty() {
            return Ok(parts);
        }
        if !take(&mut text, b'T') && !take(&mut text, b't') && !take(&mut text, b' ') {
            return Err(Unread::Unknown);
        }
    }
    parts.time = Some(parse_time(&mut text)?);
    parts.zone = parse_zone(text)?;
    Ok(parts)
}

fn parse_date(text: &mut &[u8]) -> Result<i64, Unread> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=7).contains(&digits) || (digits > 4 && text[0] == b'0') {
        return Err(Unread::Unknown);
    }
    let (year, rest) = text.split_at(digits);
    let year = year.iter().fold(0i64, |year, digit| year * 10 + i64::from(digit - b'0'));
    *text = rest;
    let mut field = || take(text, b'-').then(|| two(text)).flatten().ok_or(Unread::Unknown);
    let (month, day) = (field()?, field()?);
    if text.first().is_some_and(u8::is_ascii_digit) {
        return Err(Unread::Unknown);
    }
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return Err(Unread::Beyond("22008"));
    }
    Ok(days_from_civil(year, month, day) - EPOCH_DAYS)
}

fn parse_time(text: &mut &[u8]) -> Result<i64, Unread> {
    let hours = two(text).ok_or(Unread::Unknown)?;
    if !take(text, b':') {
        return Err(Unread::Unknown);
    }
    let minutes = two(text).ok_or(Unread::Unknown)?;
    let (mut seconds, mut micros) = (0, 0);
    if take(text, b':') {
        seconds = two(text).ok_or(Unread::Unknown)?;
        if text.first() == Some(&b'.') {
            micros = parse_fraction(text)?;
        }
    }
    if text.first().is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')) {
        return Err(Unread::Unknown);
    }
    let time = ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND + micros;
    if hours > 24 || minutes > 59 || seconds > 60 || time > MICROS_PER_DAY {
        return Err(Unread::Beyond("22008"));
    }
    Ok(time)
}

/// Microseconds of a fraction, rounded as PostgreSQL does: through a double, half to even.
fn parse_fraction(text: &mut &[u8]) -> Result<i64, Unread> {
    let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=15).contains(&digits) {
        return Err(Unread::Unknown);
    }
    let (fraction, rest) = text.split_at(digits + 1);
    *text = rest;
    if digits <= 6 {
        let number = fraction[1..].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        return Ok(number * 10i64.pow(6 - digits as u32));
    }
    let fraction: f64 =
        std::str::from_utf8(fraction).ok().and_then(|text| text.parse().ok()).ok_or(Unread::Unknown)?;
    Ok((fraction * MICROS_PER_SECOND as f64).round_ties_even() as i64)
}

/// `Z`, `±HH`, `±HHMM`, `±HH:MM` or `±HH:MM:SS`, or nothing; a space may stand before it.
fn parse_zone(mut text: &[u8]) -> Result<Option<i64>, Unread> {
    if text.is_empty() {
        return Ok(None);
    }
    take(&mut text, b' ');
    if matches!(text, [b'Z' | b'z']) {
        return Ok(Some(0));
    }
    let sign = match text.split_first() {
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return Err(Unread::Unknown),
    };
    let (sign, mut text) = sign;
    let hours = two(&mut text).ok_or(Unread::Unknown)?;
    let (mut minutes, mut seconds) = (0, 0);
    if take(&mut text, b':') {
        minutes = two(&mut text).ok_or(Unread::Unknown)?;
        if take(&mut text, b':') {
            seconds = two(&mut text).ok_or(Unread::Unknown)?;
        }
    } else if !text.is_empty() {
        minutes = two(&mut text).ok_or(Unread::Unknown)?;
    }
    if !text.is_empty() {
        return Err(Unread::Unknown);
    }
    if hours > ZONE_HOURS_MAX || minutes > 59 || seconds > 59 {
        return Err(Unread::Beyond("22009"));
    }
    Ok(Some(sign * ((hours * 60 + minutes) * 60 + seconds)))
}

/// Encodes a number as a point in time, exactly; what lies between microseconds goes to the nearer one,
/// half to the even one.
pub(super) fn from_epoch(sink: &mut Sink<'_>, kind: &Kind, unit: EpochUnit, literal: &str) -> Fit {
    let power = match unit {
        EpochUnit::Seconds => 6,
        EpochUnit::Millis => 3,
        EpochUnit::Micros => 0,
        EpochUnit::Nanos => -3,
    };
    match super::number::scaled(literal, power) {
        Ok(Some(micros)) => put_instant(sink, kind, micros),
        Ok(None) => Err(beyond("is beyond the range of timestamp")),
        Err(misfit) => Err(misfit),
    }
}

/// Encodes the record's timestamp.
pub(in crate::engine::decode) fn from_epoch_ms(sink: &mut Sink<'_>, kind: &Kind, millis: i64) -> Fit {
    put_instant(sink, kind, i128::from(millis) * 1000)
}

fn put_instant(sink: &mut Sink<'_>, kind: &Kind, unix_micros: i128) -> Fit {
    let micros = unix_micros - i128::from(EPOCH_DAYS) * i128::from(MICROS_PER_DAY);
    if !matches!(kind, Kind::Date) {
        return put_timestamp(sink, micros, matches!(kind, Kind::TimestampTz));
    }
    if !(TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) {
        return Err(beyond("is beyond the range of timestamp"));
    }
    put_date(sink, (micros as i64).div_euclid(MICROS_PER_DAY))
}

/// The record's timestamp as text: `2024-05-06T07:08:09.010Z`.
pub(in crate::engine::decode) fn iso_from_epoch_ms(millis: i64) -> String {
    let day = 86_400_000;
    let (year, month, date) = civil_from_days(millis.div_euclid(day));
    let time = millis.rem_euclid(day);
    let (seconds, millis) = (time / 1000, time % 1000);
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
