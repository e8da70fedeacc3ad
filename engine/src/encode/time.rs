//! Dates and times.
//!
//! ISO 8601 and RFC 3339 spellings are read here, as PostgreSQL reads them in a session whose zone is UTC;
//! other spellings are left to it. Words whose value depends on the moment (`now`, `today`, …) are refused,
//! and dates that may be read in several orders: a record must mean the same whenever it is applied, and to
//! whoever wrote it.

use std::io::Write;

use super::calendar::{EPOCH_DAYS, MICROS_PER_DAY, MICROS_PER_SECOND, Parts, Unread, civil_from_days, parse};
use super::{Fit, Misfit, Sink};
use crate::route::EpochUnit;
use crate::row::{Encoding, RejectCode};
use crate::shape::Kind;

/// `tsmultirange`, `tstzmultirange` and `datemultirange`.
pub(super) const MULTIRANGE_OIDS: [u32; 3] = [4533, 4534, 4535];

/// First and one behind the last microsecond of `timestamp`: 4714-11-24 BC to 294276 AD.
const TIMESTAMP_MIN: i128 = -211_813_488_000_000_000;
const TIMESTAMP_END: i128 = 9_223_371_331_200_000_000;
/// One behind the last day of `date`: 5874898-01-01.
const DATE_END: i64 = 2_145_031_949;

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
    refuse_short_years(value)?;
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

/// Refuses a date of three numbers of one or two digits each, such as 01/02/03: whether the day, the month or
/// the year comes first is the reader's habit, and a session can only have one. With a year of four digits
/// PostgreSQL reads the one order that a session of ours has, and refuses the others.
pub(super) fn refuse_short_years(value: &str) -> Fit {
    const SEPARATORS: [u8; 3] = [b'/', b'-', b'.'];
    let bytes = value.as_bytes();
    let group = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let short = |at: usize| (1..=2).contains(&group(at)).then(|| at + group(at));
    let separated = |at: usize| bytes.get(at).is_some_and(|byte| SEPARATORS.contains(byte)).then_some(at + 1);
    let begins = |at: usize| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        before.is_none_or(|byte| {
            !byte.is_ascii_alphanumeric() && !SEPARATORS.contains(&byte) && !matches!(byte, b':' | b'+')
        })
    };
    let date = |at: usize| short(separated(short(separated(short(at)?)?)?)?);
    if (0..bytes.len()).any(|at| begins(at) && date(at).is_some()) {
        let what = "is a date whose year has two digits, which may be read in several orders";
        return Err(Misfit::new(RejectCode::BadValue, Some("22007"), what));
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
pub(super) fn from_epoch_ms(sink: &mut Sink<'_>, kind: &Kind, millis: i64) -> Fit {
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
pub(super) fn iso_from_epoch_ms(millis: i64) -> String {
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
