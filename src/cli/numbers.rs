//! Numbers as people read them.

use std::time::Duration;

/// A whole number in groups of three digits, such as `1,234,567`.
pub(super) fn grouped(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many of something there are, such as `1 record` or `1,200 records`.
pub(super) fn counted(number: impl Into<i128>, one: &str) -> String {
    let number: i128 = number.into();
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// So many in one second: a decimal while it matters.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        below if below < 10.0 => format!("{below:.1}"),
        // A rate is never so large that it isn't a whole number of this type.
        whole => grouped(whole.round() as i64),
    }
}

/// Seconds: decimals while they matter.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0".to_owned(),
        short if short < 1.0 => format!("{short:.2}"),
        short if short < 100.0 => format!("{short:.1}"),
        long => grouped(long.round() as i64),
    }
}

/// A time that something still takes, roughly, such as `17 s`, `3 min` or `2 h`.
pub(super) fn about(seconds: f64) -> String {
    match seconds.ceil() as u64 {
        short @ 0..100 => format!("{short} s"),
        minutes @ 100..6_000 => format!("{} min", minutes.div_ceil(60)),
        hours @ 6_000..259_200 => format!("{} h", hours.div_ceil(3_600)),
        days => format!("{} d", days.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        let cases =
            [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567"), (100_000, "100,000")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((counted(1, "record"), counted(0, "record")), ("1 record".into(), "0 records".into()));
    }

    #[test]
    fn rates_and_times_are_as_exact_as_it_matters() {
        for (per_second, text) in [(0.0, "0.0"), (9.94, "9.9"), (12.4, "12"), (45_210.7, "45,211")] {
            assert_eq!(rate(per_second), text);
        }
        for (time, text) in [(0.0, "0"), (0.052, "0.05"), (8.14, "8.1"), (99.0, "99.0"), (1_234.0, "1,234")] {
            assert_eq!(seconds(Duration::from_secs_f64(time)), text);
        }
        let cases = [(0.2, "1 s"), (99.0, "99 s"), (100.0, "2 min"), (7_200.0, "2 h"), (500_000.0, "6 d")];
        for (time, text) in cases {
            assert_eq!(about(time), text);
        }
    }
}
