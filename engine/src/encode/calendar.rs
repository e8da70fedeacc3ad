//! The spellings of dates, times and zones that are read here, and the calendar's arithmetic.
//!
//! A spelling is either read exactly as PostgreSQL reads it, or known to be beyond a field's range, or not
//! read at all.

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's times begin.
pub(super) const EPOCH_DAYS: i64 = 10_957;
/// Hours of a zone's displacement (`MAX_TZDISP_HOUR`).
const ZONE_HOURS_MAX: i64 = 15;

/// What a text says, as far as it is in a spelling that is read here.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts {
    /// Days since 2000-01-01.
    pub(super) date: Option<i64>,
    /// Microseconds since midnight, up to 24:00.
    pub(super) time: Option<i64>,
    /// Seconds east of UTC.
    pub(super) zone: Option<i64>,
}

/// Why a text gives no parts.
pub(super) enum Unread {
    /// Another spelling, or nonsense.
    Unknown,
    /// A field beyond its range (datetime_field_overflow), or a zone (invalid_time_zone_displacement_value).
    Beyond(&'static str),
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

pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
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
pub(super) fn parse(value: &str) -> Result<Parts, Unread> {
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
    date(year, month, day).ok_or(Unread::Beyond("22008"))
}

/// Days since 2000-01-01 of a date that is in the calendar.
pub(super) fn date(year: i64, month: i64, day: i64) -> Option<i64> {
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    Some(days_from_civil(year, month, day) - EPOCH_DAYS)
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
