//! Integers, floats and `numeric`, from literals, exactly.
//!
//! A `numeric` is built from its decimal digits into PostgreSQL's base 10,000 without passing a float;
//! the size that an exponent asks for is checked before anything is built.

use std::io::Write;

use super::boolean::trim;
use super::{Fit, Misfit, Sink};
use crate::row::{Encoding, RejectCode};
use crate::shape::Kind;

/// Digits before the decimal point that `numeric` holds at most.
const INTEGER_DIGITS_MAX: i64 = 131_072;
/// Digits behind the decimal point that `numeric` holds at most.
const SCALE_MAX: i64 = 16_383;
/// Exponents of this size and more are refused by `numeric_in`, even those of zero; PostgreSQL 16 and newer
/// begin one further.
const EXPONENT_MAX: i64 = (i32::MAX / 2) as i64;

/// Signs of the binary form.
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITE: u16 = 0xD000;
const NEGATIVE_INFINITE: u16 = 0xF000;

/// `money`.
pub(super) const MONEY_OID: u32 = 790;

/// Refuses an amount with a comma that separates no thousands: PostgreSQL passes over it, so that 19,90 would
/// be a hundred times what was written.
pub(super) fn refuse_decimal_comma(value: &str) -> Fit {
    let bytes = value.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let decimal = |at: usize| {
        let inside = at > 0 && bytes[at - 1].is_ascii_digit() && digits(at + 1) > 0;
        inside && (digits(at + 1) != 3 || bytes[..at].contains(&b'.'))
    };
    if (0..bytes.len()).any(|at| bytes[at] == b',' && decimal(at)) {
        let what = "holds an amount with a comma that separates no thousands: write it with a decimal point";
        return Err(Misfit::new(RejectCode::BadValue, Some("22P02"), what));
    }
    Ok(())
}

/// Whether later versions of PostgreSQL (16 and newer) may read the text as a hexadecimal, octal or
/// binary integer, or as digits set apart by underscores.
fn is_newer_literal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    match unsigned {
        [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..] => true,
        [b'0'..=b'9' | b'.', ..] => unsigned.contains(&b'_'),
        _ => false,
    }
}

/// Whether white space stands between the `e` and an exponent: PostgreSQL 15 reads that into `numeric`.
fn has_spaced_exponent(text: &str) -> bool {
    text.split_once(['e', 'E']).is_some_and(|(_, exponent)| trim(exponent).len() < exponent.len())
}

/// An integer in decimal digits, white space around it allowed.
pub(super) fn integer(sink: &mut Sink<'_>, kind: &Kind, value: &str) -> Fit {
    let (least, most, name) = match kind {
        Kind::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX), "smallint"),
        Kind::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX), "integer"),
        _ => (i64::MIN, i64::MAX, "bigint"),
    };
    let text = trim(value);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if is_newer_literal(text) {
            sink.fall_back(value);
            return Ok(());
        }
        return Err(Misfit::value("isn't an integer"));
    }
    let number = match text.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => number,
        _ => return Err(Misfit::range(format!("is beyond the range of {name}"))),
    };
    match (sink.encoding, kind) {
        (Encoding::Text, _) => write!(sink.bytes, "{number}").expect("writing to memory doesn't fail"),
        (Encoding::Binary, Kind::Int2) => sink.bytes.extend_from_slice(&(number as i16).to_be_bytes()),
        (Encoding::Binary, Kind::Int4) => sink.bytes.extend_from_slice(&(number as i32).to_be_bytes()),
        (Encoding::Binary, _) => sink.bytes.extend_from_slice(&number.to_be_bytes()),
    }
    Ok(())
}

/// A number's literal into an integer type: whole numbers in any spelling, such as 42.0 and 1e3.
pub(super) fn whole(sink: &mut Sink<'_>, kind: &Kind, literal: &str) -> Fit {
    if !literal.contains(['.', 'e', 'E']) {
        return integer(sink, kind, literal);
    }
    let Some(decimal) = decimal(literal) else { return Err(Misfit::value("isn't an integer")) };
    let digits = decimal.whole.iter().chain(decimal.fraction);
    let digits: Vec<u8> = digits.map(|digit| digit - b'0').skip_while(|digit| *digit == 0).collect();
    let Some(last) = digits.iter().rposition(|digit| *digit != 0) else { return integer(sink, kind, "0") };
    // An exponent of more digits than any number has is as good as the largest of its sign.
    let shrinks = literal.split_once(['e', 'E']).is_some_and(|(_, exponent)| exponent.starts_with('-'));
    let exponent = decimal.exponent.unwrap_or(if shrinks { i64::MIN } else { i64::MAX });
    let zeros = exponent.saturating_add((digits.len() - 1 - last) as i64 - decimal.fraction.len() as i64);
    if zeros < 0 {
        return Err(Misfit::value("has a fraction, and the type holds whole numbers"));
    }
    // Twenty digits are beyond every integer type, and are refused as such.
    let zeros = usize::try_from(zeros).unwrap_or(usize::MAX).min(20);
    let sign = if decimal.negative { "-" } else { "" };
    let kept = digits[..=last].iter().take(20).map(|digit| char::from(digit + b'0')).collect::<String>();
    integer(sink, kind, &format!("{sign}{kept}{}", "0".repeat(zeros)))
}

/// A decimal literal in parts: `sign whole . fraction e exponent`.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// None where it has more digits than fit any number.
    exponent: Option<i64>,
}

/// Reads a decimal literal as `numeric_in` and `strtod` do: a digit before or behind the point.
fn decimal(text: &str) -> Option<Decimal<'_>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let negative = text.starts_with('-');
    let run = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = unsigned.split_at(run(unsigned));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(run(rest)),
        _ => (&[][..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => Some(0),
        [b'e' | b'E', exponent @ ..] => {
            let digits = match exponent {
                [b'+' | b'-', digits @ ..] => digits,
                digits => digits,
            };
            if digits.is_empty() || run(digits) != digits.len() {
                return None;
            }
            std::str::from_utf8(exponent).ok()?.parse().ok()
        }
        _ => return None,
    };
    Some(Decimal { negative, whole, fraction, exponent })
}

/// A number's place on the decimal scale, within what `numeric` holds.
struct Measured<'a> {
    decimal: Decimal<'a>,
    /// Zeros before the first other digit; all digits of zero.
    leading: usize,
    /// The power of ten of the first digit that isn't zero; `None` for zero.
    first: Option<i64>,
    /// Digits shown behind the point.
    scale: i64,
}

fn beyond_numeric() -> Misfit {
    Misfit::range("is beyond the range of numeric")
}

fn measure(decimal: Decimal<'_>) -> Result<Measured<'_>, Misfit> {
    let exponent =
        decimal.exponent.filter(|exponent| exponent.abs() < EXPONENT_MAX).ok_or_else(beyond_numeric)?;
    let scale = (decimal.fraction.len() as i64 - exponent).max(0);
    let leading = decimal.whole.iter().chain(decimal.fraction).take_while(|digit| **digit == b'0').count();
    let digits = decimal.whole.len() + decimal.fraction.len();
    let first = (leading < digits).then(|| decimal.whole.len() as i64 - 1 + exponent - leading as i64);
    if first.is_some_and(|first| first >= INTEGER_DIGITS_MAX) {
        return Err(beyond_numeric());
    }
    Ok(Measured { decimal, leading, first, scale })
}

/// Whether a literal in JSON's grammar is within the range of `numeric`.
pub(super) fn check_numeric(literal: &str) -> Fit {
    let Some(decimal) = decimal(literal) else { return Err(Misfit::value("isn't a number")) };
    if measure(decimal)?.scale > SCALE_MAX {
        return Err(beyond_numeric());
    }
    Ok(())
}

impl Measured<'_> {
    /// The digit at `place`, counted from the first that isn't zero; zero behind the last.
    fn digit(&self, place: i64) -> u8 {
        let Ok(place) = usize::try_from(place) else { return 0 };
        let place = place + self.leading;
        let whole = self.decimal.whole;
        whole.get(place).or_else(|| self.decimal.fraction.get(place - whole.len())).map_or(0, |d| d - b'0')
    }

    /// How many digits there are from the first that isn't zero.
    fn significant(&self) -> i64 {
        (self.decimal.whole.len() + self.decimal.fraction.len() - self.leading) as i64
    }

    /// Whether `numeric(precision, scale)` can hold it, rounded half away from zero as PostgreSQL does.
    fn fits(&self, typmod: i32) -> bool {
        let (Some(first), Some(packed)) = (self.first, typmod.checked_sub(4).filter(|_| typmod >= 4)) else {
            return true;
        };
        let precision = i64::from(packed >> 16 & 0xffff);
        let scale = i64::from((packed & 0x7ff ^ 1024) - 1024);
        let kept = first + 1 + scale;
        let room = precision - scale;
        if kept < 0 || (kept == 0 && self.digit(0) < 5) {
            return true;
        }
        let carries = self.digit(kept) >= 5 && (0..kept).all(|place| self.digit(place) == 9);
        first + 1 + i64::from(carries) <= room
    }

    /// The binary form: digits in base 10,000, the weight of the first, sign, scale.
    fn push(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        let mut weight = 0;
        let mut groups = 0u16;
        if let Some(first) = self.first {
            weight = first.div_euclid(4);
            let mut place = first.rem_euclid(4) - 3;
            let mut filled = bytes.len();
            while place < self.significant() {
                let group = (place..place + 4).fold(0u16, |group, at| group * 10 + u16::from(self.digit(at)));
                bytes.extend_from_slice(&group.to_be_bytes());
                if group != 0 {
                    filled = bytes.len();
                }
                place += 4;
            }
            bytes.truncate(filled);
            groups = ((filled - start - 8) / 2) as u16;
        }
        let sign = if self.decimal.negative && self.first.is_some() { NEGATIVE } else { 0 };
        bytes[start..start + 2].copy_from_slice(&groups.to_be_bytes());
        bytes[start + 2..start + 4].copy_from_slice(&(weight as i16).to_be_bytes());
        bytes[start + 4..start + 6].copy_from_slice(&sign.to_be_bytes());
        bytes[start + 6..start + 8].copy_from_slice(&(self.scale as u16).to_be_bytes());
    }
}

/// A decimal literal, NaN or an infinity, into `numeric`.
pub(super) fn numeric(sink: &mut Sink<'_>, typmod: i32, value: &str) -> Fit {
    let text = trim(value);
    let Some(decimal) = decimal(text) else {
        return numeric_word(sink, typmod, value, text);
    };
    let measured = measure(decimal)?;
    if !measured.fits(typmod) {
        return Err(Misfit::range("is beyond the precision of the column"));
    }
    if measured.scale > SCALE_MAX {
        // A column with a precision rounds such digits away before their number is looked at.
        if typmod < 4 {
            return Err(beyond_numeric());
        }
        sink.fall_back(text);
        return Ok(());
    }
    match sink.encoding {
        Encoding::Binary => measured.push(sink.bytes),
        Encoding::Text => sink.bytes.extend_from_slice(text.as_bytes()),
    }
    Ok(())
}

fn numeric_word(sink: &mut Sink<'_>, typmod: i32, value: &str, text: &str) -> Fit {
    let (sign, name) = match text.to_ascii_lowercase().as_str() {
        "nan" => (NAN, "NaN"),
        "infinity" | "+infinity" | "inf" | "+inf" => (INFINITE, "Infinity"),
        "-infinity" | "-inf" => (NEGATIVE_INFINITE, "-Infinity"),
        _ if is_newer_literal(text) || has_spaced_exponent(text) => {
            sink.fall_back(value);
            return Ok(());
        }
        _ => return Err(Misfit::value("isn't a number")),
    };
    if typmod >= 4 && sign != NAN {
        return Err(Misfit::range("is infinite, and the column has a precision"));
    }
    let mut binary = [0; 8];
    binary[4..6].copy_from_slice(&sign.to_be_bytes());
    sink.put(&binary, name);
    Ok(())
}

/// A decimal literal, NaN or an infinity, rounded to the nearest float; what overflows, or underflows to
/// zero, is refused as by PostgreSQL.
pub(super) fn float(sink: &mut Sink<'_>, kind: &Kind, value: &str) -> Fit {
    let text = trim(value);
    let single = matches!(kind, Kind::Float4);
    let word = match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "infinity" | "+infinity" | "inf" | "+inf" => Some(f64::INFINITY),
        "-infinity" | "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    };
    if let Some(word) = word {
        match (sink.encoding, single) {
            (Encoding::Binary, true) => sink.bytes.extend_from_slice(&(word as f32).to_be_bytes()),
            (Encoding::Binary, false) => sink.bytes.extend_from_slice(&word.to_be_bytes()),
            (Encoding::Text, _) => sink.bytes.extend_from_slice(text.as_bytes()),
        }
        return Ok(());
    }
    let Some(decimal) = decimal(text) else {
        let hexadecimal = is_newer_literal(text) || text.to_ascii_lowercase().contains("nan");
        if !hexadecimal {
            return Err(Misfit::value("isn't a number"));
        }
        sink.fall_back(value);
        return Ok(());
    };
    let zero = decimal.whole.iter().chain(decimal.fraction).all(|digit| *digit == b'0');
    let beyond = || {
        Misfit::range(format!("is beyond the range of {}", if single { "real" } else { "double precision" }))
    };
    let fits = |magnitude: f64| magnitude.is_finite() && (magnitude != 0.0 || zero);
    if single {
        let number: f32 = text.parse().map_err(|_| beyond())?;
        if !fits(f64::from(number)) {
            return Err(beyond());
        }
        if sink.encoding == Encoding::Binary {
            sink.bytes.extend_from_slice(&number.to_be_bytes());
        }
    } else {
        let number: f64 = text.parse().map_err(|_| beyond())?;
        if !fits(number) {
            return Err(beyond());
        }
        if sink.encoding == Encoding::Binary {
            sink.bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    if sink.encoding == Encoding::Text {
        sink.bytes.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

/// The integer nearest to `literal × 10^power`, half to the even one; `None` beyond 30 digits.
pub(super) fn scaled(literal: &str, power: i64) -> Result<Option<i128>, Misfit> {
    let Some(decimal) = decimal(trim(literal)) else { return Err(Misfit::value("isn't a number")) };
    let negative = decimal.negative;
    let measured = measure(decimal)?;
    let Some(first) = measured.first else { return Ok(Some(0)) };
    let kept = first + 1 + power;
    if kept > 30 {
        return Ok(None);
    }
    if kept < 0 {
        return Ok(Some(0));
    }
    let mut magnitude =
        (0..kept).fold(0i128, |number, place| number * 10 + i128::from(measured.digit(place)));
    let half = measured.digit(kept);
    let more = (kept + 1..measured.significant()).any(|place| measured.digit(place) != 0);
    if half > 5 || (half == 5 && (more || magnitude % 2 == 1)) {
        magnitude += 1;
    }
    Ok(Some(if negative { -magnitude } else { magnitude }))
}
