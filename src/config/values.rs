//! Durations, sizes and numbers: how they are written and how they are printed.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;

/// A duration with a unit: `30s`, `1m`, `0ms`, `1m 30s`, `1.5s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let parsed: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(parsed).ok()
}

/// A duration as the configuration writes it.
pub(super) fn show_duration(duration: Duration) -> String {
    match SignedDuration::try_from(duration) {
        Ok(zero) if zero.is_zero() => "0ms".to_owned(),
        Ok(signed) => format!("{signed:#}"),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

/// A size in bytes: `8MiB`, `1.5GiB`, `64KB`, `1048576`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    text.trim().parse::<ByteSize>().ok().map(|size| size.0)
}

/// A size as the configuration writes it: in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let factor = 1_u64 << shift;
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// An integer, with the underscores that TOML and YAML allow between digits.
pub(super) fn parse_integer(text: &str) -> Option<u64> {
    let text = text.trim();
    let inner = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    inner.then(|| text.replace('_', "").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_round_trip() {
        for (text, expected) in [
            ("30s", Some(Duration::from_secs(30))),
            ("0ms", Some(Duration::ZERO)),
            ("1m", Some(Duration::from_secs(60))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("30", None),
            ("", None),
            ("-1s", None),
            ("fast", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
            if let Some(duration) = expected {
                assert_eq!(parse_duration(&show_duration(duration)), expected, "{text:?} shown");
            }
        }
    }

    #[test]
    fn sizes_round_trip() {
        for (text, expected, shown) in [
            ("8MiB", Some(8 << 20), "8MiB"),
            ("8 MiB", Some(8 << 20), "8MiB"),
            ("1.5GiB", Some(3 << 29), "1536MiB"),
            ("64KB", Some(64_000), "64000"),
            ("1024", Some(1024), "1KiB"),
            ("8 bananas", None, ""),
            ("MiB", None, ""),
            ("-1", None, ""),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
            if let Some(bytes) = expected {
                assert_eq!(show_size(bytes), shown, "{text:?}");
            }
        }
    }

    #[test]
    fn integers_allow_underscores_between_digits() {
        for (text, expected) in [
            ("50_000", Some(50_000)),
            ("4", Some(4)),
            ("_4", None),
            ("4_", None),
            ("4.0", None),
            ("-4", None),
        ] {
            assert_eq!(parse_integer(text), expected, "{text:?}");
        }
    }
}
