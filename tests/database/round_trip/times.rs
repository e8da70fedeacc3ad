//! Literals of dates, times and intervals: good ones, borders, and near misses.

use fastrand::Rng;

use super::literals::{digits, mutate, one};

pub(super) fn date(rng: &mut Rng) -> String {
    let years = [
        "0000", "0001", "0004", "1582", "1700", "1900", "1969", "1970", "1999", "2000", "2024", "2023",
        "9999", "10000", "12024", "294276", "294277", "5874897", "5874898", "200", "99", "02024", "0999999",
        "9999999", "20240",
    ];
    let usual = rng.u8(..2) == 0;
    let year = if usual { format!("{:04}", rng.u16(1..3000)) } else { one(rng, &years).to_owned() };
    let month = if usual { rng.u8(1..13) } else { rng.u8(..14) };
    let day = if usual { rng.u8(1..29) } else { rng.u8(..33) };
    let separator = if rng.u8(..20) == 0 { one(rng, &["/", ".", " ", ""]) } else { "-" };
    match rng.u8(..20) {
        0 => format!("{year}{separator}{month}{separator}{day}"),
        _ => format!("{year}{separator}{month:02}{separator}{day:02}"),
    }
}

pub(super) fn clock(rng: &mut Rng) -> String {
    let usual = rng.u8(..3) != 0;
    let (hour, minute, second) = if usual {
        (rng.u8(..24), rng.u8(..60), rng.u8(..60))
    } else {
        let hour = [0, 12, 23, 24, 25, 99][rng.usize(..6)];
        (hour, [0, 59, 60, 61][rng.usize(..4)], [0, 59, 60, 61][rng.usize(..4)])
    };
    let mut text = format!("{hour:02}:{minute:02}");
    if rng.u8(..6) != 0 {
        text.push_str(&format!(":{second:02}"));
        if rng.bool() {
            text.push('.');
            text.push_str(&digits(rng, &[0, 1, 2, 3, 3, 6, 6, 7, 8, 9, 12, 15, 16, 20]));
        }
    }
    text
}

pub(super) fn zone(rng: &mut Rng) -> String {
    let fixed = [
        "",
        "",
        "Z",
        "z",
        "+00",
        "+00:00",
        "-00:00",
        "+02",
        "-05",
        "+0530",
        "+05:30",
        "-0330",
        "+14:00",
        "+15:59",
        "-15:59",
        "+16",
        "+1559",
        "+1560",
        "+05:60",
        "+05:30:15",
        "-12:34:56",
        "+05:30:60",
        " Z",
        " +02",
        " +02:00",
        "  +02",
        "UTC",
        " UTC",
        " EST",
        "+2",
        "+123",
        "+053015",
        " Europe/Paris",
        "+15",
        "-15",
        "+1600",
        "Z+02",
        "+",
    ];
    one(rng, &fixed).to_owned()
}

pub(super) fn instant(rng: &mut Rng) -> String {
    if rng.u8(..15) == 0 {
        let words = [
            "infinity",
            "-infinity",
            "+infinity",
            "Infinity",
            "INFINITY",
            "epoch",
            "now",
            "today",
            "TOMORROW",
            "yesterday",
            "tomorrow 10:00",
            "2024-01-01 now",
            "",
            " ",
            "N/A",
            "null",
            "20240506",
            "20240506T070809",
            "2024-127",
            "J2451187",
            "May 6 2024",
            "6 May 2024 07:08:09 PM",
            "05/06/2024",
            "05/06/24",
            "24.6.5 07:08",
            "1700000000",
            "1700000000000",
            "allballs",
            "2024-05-06T07:08:09.010Z ",
            " 2024-05-06",
            "294276-12-31 23:59:59.9999995",
            "294276-12-31 23:59:59.999999",
            "294276-12-31T23:30:00-01:00",
            "294277-01-01T00:30:00+01:00",
            "0001-01-01 00:00:00+15",
            "0001-01-01 BC",
            "4714-11-24 BC",
            "4714-11-23 BC",
            "4714-11-24 00:00:00+01 BC",
            "2024-02-30",
            "2023-02-29",
            "2024-02-29",
            "1900-02-29",
            "2000-02-29",
            "24:00:00",
            "23:59:60",
            "23:59:60.5",
            "12:34:60.5",
            "24:00:00.000001",
            "infinity ",
            "23:59:59.9999999",
            "1970-01-01T24:00:00Z",
            "1970-01-01T24:00:01Z",
            "-2024-01-01",
            "+2024-01-01",
        ];
        return one(rng, &words).to_owned();
    }
    let text = match rng.u8(..10) {
        0 => date(rng),
        1 => format!("{}{}", clock(rng), zone(rng)),
        2 => format!("{}{}", date(rng), zone(rng)),
        _ => {
            let separator =
                if rng.u8(..20) == 0 { one(rng, &["t", "  ", "_", ""]) } else { one(rng, &["T", " "]) };
            format!("{}{separator}{}{}", date(rng), clock(rng), zone(rng))
        }
    };
    mutate(text, rng)
}

pub(super) fn time_of_day(rng: &mut Rng) -> String {
    if rng.u8(..8) == 0 { instant(rng) } else { mutate(format!("{}{}", clock(rng), zone(rng)), rng) }
}

pub(super) fn interval(rng: &mut Rng) -> String {
    let number = |rng: &mut Rng| digits(rng, &[1, 1, 2, 3, 6, 7, 10]);
    let text = match rng.u8(..4) {
        0 => {
            let words = [
                "1 day",
                "2 hours 3 minutes",
                "-1 year",
                "1 day ago",
                "01:02:03.456",
                "1-2 3 4:05:06",
                "P",
                "PT",
                "P1",
                "",
                "PT1",
                "infinity",
                "-infinity",
                "today",
                "1 month -1 day",
                "P0001-02-03T04:05:06",
                "P1Y2M3DT",
                "p1d",
                "PT-1S",
                "P-1D",
                "nope",
                "PT1.5H",
                "P1.5D",
                "PT0.0000001S",
                "P1W",
                "P1W1D",
                "P1M1Y",
                "PT1S1M",
                "P1DT1H1H",
                "P1D1D",
                "PT.5S",
                "PT5.S",
            ];
            one(rng, &words).to_owned()
        }
        _ => {
            let mut text = "P".to_owned();
            for designator in ["Y", "M", "W", "D"] {
                if rng.u8(..3) == 0 {
                    text.push_str(&number(rng));
                    text.push_str(designator);
                }
            }
            if rng.bool() {
                text.push('T');
                for designator in ["H", "M"] {
                    if rng.bool() {
                        text.push_str(&number(rng));
                        text.push_str(designator);
                    }
                }
                if rng.bool() {
                    text.push_str(&number(rng));
                    if rng.bool() {
                        text.push('.');
                        text.push_str(&digits(rng, &[1, 2, 3, 4, 5, 6, 7, 9]));
                    }
                    text.push('S');
                }
            }
            text
        }
    };
    mutate(text, rng)
}
