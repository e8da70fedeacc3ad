//! Rows unlike the usual events: a hundred columns, and documents of 64 KiB. Each beside COPY of the same
//! rows.

use super::check::{self, Target};
use super::feed;
use super::figures::{BETWEEN, Case, Kind, RATE};
use super::ground::Ground;
use super::ground::Log;
use super::limit::{self, Load};
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::Result;
use lab::binary::Stream;
use std::fmt::Write;
use uuid::Uuid;

const COPY: &str = "COPY of the same rows, 2 connections";
const TIDEGATE: &str = "tidegate";
const COLUMNS: usize = 100;
/// Bytes of a document's JSON text.
const DOCUMENT: usize = 64 * 1024;
/// 2026-01-01T00:00:00Z in microseconds since 2000, PostgreSQL's epoch.
const BEGIN_US: i64 = 820_540_800_000_000;

/// One row, as a record and as a row of COPY.
type Make = fn(u64, &mut Stream) -> (Uuid, i64, String);

pub(super) fn wide(ground: &Ground, case: &mut Case) -> Result<()> {
    let mut columns = "(event_id uuid PRIMARY KEY, user_id bigint NOT NULL".to_owned();
    for index in 2..COLUMNS {
        let _ = write!(
            columns,
            ", c{index:02} {}",
            ["bigint", "text", "integer", "boolean", "timestamptz"][index % 5]
        );
    }
    columns.push(')');
    let rows = (ground.options.records / 10).max(100);
    case.data = format!(
        "{rows} JSON events for {COLUMNS} columns (uuid key, bigint, text, integer, boolean, timestamptz)"
    );
    beside(ground, case, rows, &columns, wide_row)
}

pub(super) fn documents(ground: &Ground, case: &mut Case) -> Result<()> {
    let columns = "(event_id uuid PRIMARY KEY, user_id bigint NOT NULL, document jsonb NOT NULL)";
    let rows = (ground.options.records / 250).max(100);
    case.data = format!("{rows} JSON events for a jsonb document of 64 KiB");
    beside(ground, case, rows, columns, document_row)
}

fn wide_row(number: u64, stream: &mut Stream) -> (Uuid, i64, String) {
    let mut random = fastrand::Rng::with_seed(number);
    let key = uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid();
    let user = random.i64(0..1 << 53);
    let mut json = format!("{{\"event_id\":\"{key}\",\"user_id\":{user}");
    stream.row(100);
    stream.field(key.as_bytes());
    stream.field(&user.to_be_bytes());
    for index in 2..COLUMNS {
        let _ = write!(json, ",\"c{index:02}\":");
        let _ = match index % 5 {
            0 => {
                let value = random.i64(0..1 << 53);
                stream.field(&value.to_be_bytes());
                write!(json, "{value}")
            }
            1 => {
                let value = format!("text {:08x}", random.u32(..));
                stream.field(value.as_bytes());
                write!(json, "\"{value}\"")
            }
            2 => {
                let value = random.i32(..);
                stream.field(&value.to_be_bytes());
                write!(json, "{value}")
            }
            3 => {
                let value = random.bool();
                stream.field(&[u8::from(value)]);
                write!(json, "{value}")
            }
            _ => {
                let (minute, second) = (random.u8(..60), random.u8(..60));
                let at = BEGIN_US + (i64::from(minute) * 60 + i64::from(second)) * 1_000_000;
                stream.field(&at.to_be_bytes());
                write!(json, "\"2026-01-01T00:{minute:02}:{second:02}Z\"")
            }
        };
    }
    json.push('}');
    (key, user, json)
}

fn document_row(number: u64, stream: &mut Stream) -> (Uuid, i64, String) {
    let mut random = fastrand::Rng::with_seed(number);
    let key = uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid();
    let user = random.i64(0..1 << 53);
    let mut document = "{\"items\": [".to_owned();
    while document.len() < DOCUMENT - 100 {
        let comma = if document.ends_with('[') { "" } else { ", " };
        let (id, price) = (random.u32(..), random.u32(..1_000_000));
        let _ = write!(
            document,
            "{comma}{{\"id\": {id}, \"price\": {price}, \"note\": \"{:016x}\"}}",
            random.u64(..)
        );
    }
    document.push_str("]}");
    stream.row(3);
    stream.field(key.as_bytes());
    stream.field(&user.to_be_bytes());
    stream.jsonb(&document);
    (key, user, format!("{{\"event_id\":\"{key}\",\"user_id\":{user},\"document\":{document}}}"))
}

fn beside(ground: &Ground, case: &mut Case, rows: u64, columns: &str, make: Make) -> Result<()> {
    let topic = ground.name("shape");
    let partitions = ground.options.partitions;
    let home = |number: u64| i32::try_from(number % u64::from(partitions.unsigned_abs())).unwrap_or(0);
    let (mut sum, mut bytes) = (0, 0);
    let mut streams = [Stream::default(), Stream::default()];
    let records = (0..rows).map(|number| {
        let (key, user, json) = make(number, &mut streams[usize::from(number % 2 == 1)]);
        sum += i128::from(user);
        bytes += json.len();
        (home(number), key.to_string(), json)
    });
    let ends =
        feed::send(ground.kafka.bootstrap(), &topic, partitions, &ground.options.compression, records)?;
    case.data.push_str(&format!(
        ", {} bytes of JSON each on average, {partitions} partitions, none redelivered.",
        bytes as u64 / rows
    ));
    let loads: Vec<Load> = streams.into_iter().map(|stream| vec![stream.finish()]).collect();
    let table = "public.shaped";
    let target = Target { table, columns, rows, user_sum: sum };
    let log = Log { topic: &topic, ends: &ends, records: rows, unfit: 0 };
    let tidegate = || -> Result<Vec<(Kind, f64)>> {
        ground.fresh_table(table, columns)?;
        let pipeline = Pipeline::prepare(ground, Setup::upsert(&topic, table))?;
        let cost = pipeline.catch_up(1)?;
        target.check(&ground.url)?;
        check::ledger(&ground.url, &pipeline.name, log, &[("inserted", rows)])?;
        let mut figures = cost.figures(rows);
        if let Some(rate) = check::between_commits(&ground.url, table, rows)? {
            figures.insert(1, (BETWEEN, rate));
        }
        Ok(figures)
    };
    // These topics are new to the servers; the first turn of each isn't counted.
    limit::turn(ground, &target, &loads, rows)?;
    tidegate()?;
    let players = vec![
        Player::new(COPY, || limit::turn(ground, &target, &loads, rows)),
        Player::new(TIDEGATE, tidegate),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("tidegate, start to exit ÷ COPY", (TIDEGATE, RATE), (COPY, RATE), 0.6);
    lab::sql::query(&ground.url, &format!("DROP TABLE {table}"))?;
    lab::topics::Topics::of(ground.kafka.bootstrap()).delete(&topic)
}
