//! Every type against PostgreSQL's own text input: what is encoded here means the same there, and what is
//! refused here is refused there.
//!
//! Set `TIDEGATE_TEST_SEED` to another number to try other literals; failures print the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::SinkExt;
use tidegate::engine::decode::Decoder;
use tidegate::engine::position::{Generation, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{Mapping, OnBadRecord, OnTombstone, Route, Source, UnknownFields, WriteMode};
use tidegate::engine::row::{Decoded, Encoding, Reject};
use tidegate::engine::shape::{Column, ColumnType, Kind, Table, TableTraits};
use tokio_postgres::Client;

use super::literals;

/// A value as a record says it.
struct Given {
    /// The JSON literal in the record.
    literal: String,
    /// What PostgreSQL's text input gets for the same value.
    text: String,
}

fn text(value: String) -> Given {
    Given { literal: serde_json::to_string(&value).expect("text is JSON"), text: value }
}

fn plain(literal: String) -> Given {
    Given { text: literal.clone(), literal }
}

/// A type and how its values are made.
struct Subject {
    sql: &'static str,
    kind: Kind,
    given: fn(&mut Rng) -> Given,
}

fn number(rng: &mut Rng) -> Given {
    if rng.bool() { text(literals::number(rng)) } else { plain(literals::json_number(rng)) }
}

fn word(rng: &mut Rng) -> Given {
    match rng.u8(..8) {
        0 => plain(literals::json_number(rng)),
        1 => plain(literals::one(rng, &["true", "false"]).to_owned()),
        _ => text(literals::word(rng)),
    }
}

fn document(rng: &mut Rng) -> Given {
    plain(literals::document(rng, 0))
}

fn labels() -> Kind {
    Kind::Enum(Arc::from(["low".to_owned(), "mid dle".to_owned(), "hÖch".to_owned()]))
}

fn base(kind: Kind) -> Box<ColumnType> {
    Box::new(ColumnType { oid: 0, sql_name: String::new(), typmod: -1, kind })
}

/// A JSON array and the same in PostgreSQL's text form.
fn array_of(rng: &mut Rng, element: fn(&mut Rng) -> Given) -> Given {
    fn level(rng: &mut Rng, shape: &[usize], element: fn(&mut Rng) -> Given, ragged: bool) -> Given {
        let Some((size, inner)) = shape.split_first() else {
            if rng.u8(..12) == 0 {
                return Given { literal: "null".to_owned(), text: "NULL".to_owned() };
            }
            let given = element(rng);
            let quoted = given.text.replace('\\', "\\\\").replace('"', "\\\"");
            return Given { literal: given.literal, text: format!("\"{quoted}\"") };
        };
        let size = if ragged && rng.u8(..3) == 0 { size + 1 } else { *size };
        let items: Vec<_> = (0..size).map(|_| level(rng, inner, element, ragged)).collect();
        let join = |pick: fn(&Given) -> &str| items.iter().map(pick).collect::<Vec<_>>().join(",");
        Given {
            literal: format!("[{}]", join(|given| &given.literal)),
            text: format!("{{{}}}", join(|given| &given.text)),
        }
    }
    if rng.u8(..30) == 0 {
        return Given { literal: "[]".to_owned(), text: "{}".to_owned() };
    }
    let levels = if rng.u8(..40) == 0 { 7 } else { rng.usize(1..4) };
    let shape: Vec<_> = (0..levels).map(|_| rng.usize(1..3)).collect();
    let ragged = rng.u8(..12) == 0;
    level(rng, &shape, element, ragged)
}

fn subjects() -> Vec<Subject> {
    let subject = |sql, kind, given| Subject { sql, kind, given };
    vec![
        subject("boolean", Kind::Bool, |rng| {
            if rng.bool() {
                text(literals::boolean(rng))
            } else {
                plain(literals::one(rng, &["true", "false"]).to_owned())
            }
        }),
        subject("smallint", Kind::Int2, number),
        subject("integer", Kind::Int4, number),
        subject("bigint", Kind::Int8, number),
        subject("real", Kind::Float4, number),
        subject("double precision", Kind::Float8, number),
        subject("numeric", Kind::Numeric, number),
        subject("numeric(6,2)", Kind::Numeric, number),
        subject("numeric(3,-2)", Kind::Numeric, number),
        subject("numeric(3,5)", Kind::Numeric, number),
        subject("numeric(1000,0)", Kind::Numeric, number),
        subject("text", Kind::Text, word),
        subject("varchar", Kind::Varchar, word),
        subject("varchar(3)", Kind::Varchar, word),
        subject("char(4)", Kind::Bpchar, word),
        subject("uuid", Kind::Uuid, |rng| text(literals::uuid(rng))),
        subject("bytea", Kind::Bytea, |rng| text(literals::bytea(rng))),
        subject("json", Kind::Json, document),
        subject("jsonb", Kind::Jsonb, document),
        subject("date", Kind::Date, |rng| {
            text(if rng.bool() { literals::date(rng) } else { literals::instant(rng) })
        }),
        subject("time", Kind::Time, |rng| text(literals::time_of_day(rng))),
        subject("time(2)", Kind::Time, |rng| text(literals::time_of_day(rng))),
        subject("timetz", Kind::TimeTz, |rng| text(literals::time_of_day(rng))),
        subject("timestamp", Kind::Timestamp, |rng| text(literals::instant(rng))),
        subject("timestamp(0)", Kind::Timestamp, |rng| text(literals::instant(rng))),
        subject("timestamptz", Kind::TimestampTz, |rng| text(literals::instant(rng))),
        subject("timestamptz(3)", Kind::TimestampTz, |rng| text(literals::instant(rng))),
        subject("interval", Kind::Interval, |rng| text(literals::interval(rng))),
        subject("interval(2)", Kind::Interval, |rng| text(literals::interval(rng))),
        subject("inet", Kind::Inet, |rng| text(literals::address(rng))),
        subject("cidr", Kind::Cidr, |rng| text(literals::network(rng))),
        subject("level", labels(), |rng| {
            text(literals::one(rng, &["low", "mid dle", "hÖch", "Low", "newer", "", "unheard of"]).to_owned())
        }),
        subject("price", Kind::Domain(base(Kind::Numeric)), number),
        subject("integer[]", Kind::Array(base(Kind::Int4)), |rng| array_of(rng, number)),
        subject("text[]", Kind::Array(base(Kind::Text)), |rng| array_of(rng, word)),
        subject("numeric[]", Kind::Array(base(Kind::Numeric)), |rng| array_of(rng, number)),
        subject("timestamptz[]", Kind::Array(base(Kind::TimestampTz)), |rng| {
            array_of(rng, |rng| text(literals::instant(rng)))
        }),
        subject("uuid[]", Kind::Array(base(Kind::Uuid)), |rng| {
            array_of(rng, |rng| text(literals::uuid(rng)))
        }),
        subject("bytea[]", Kind::Array(base(Kind::Bytea)), |rng| {
            array_of(rng, |rng| text(literals::bytea(rng)))
        }),
        subject("level[]", Kind::Array(base(labels())), |rng| {
            array_of(rng, |rng| text(literals::one(rng, &["low", "mid dle", "hÖch", "newer"]).to_owned()))
        }),
        subject("box[]", Kind::Array(base(Kind::Other)), |rng| {
            let element = |rng: &mut Rng| text(format!("({},2),(3,4)", rng.u8(..9)));
            let given = array_of(rng, element);
            Given {
                text: given.text.replace("\",", "\";").replace("},", "};").replace("NULL,", "NULL;"),
                ..given
            }
        }),
        subject("int4range", Kind::Range(base(Kind::Int4)), |rng| {
            text(literals::one(rng, &["[1,2)", "(,5]", "empty", "[5,1]", "x"]).to_owned())
        }),
        subject("tstzrange", Kind::Range(base(Kind::TimestampTz)), |rng| {
            text(
                literals::one(rng, &["[2024-01-01,2024-02-01)", "[now,)", "[n\"ow\",)", "[,\"\\today\"]"])
                    .to_owned(),
            )
        }),
        subject("macaddr", Kind::Other, |rng| {
            text(literals::one(rng, &["08:00:2b:01:02:03", "08002b010203", "no"]).to_owned())
        }),
        subject("oid", Kind::Other, number),
        subject("money", Kind::Other, |rng| {
            text(literals::one(rng, &["$1,000.50", "12", "-3.5", "x"]).to_owned())
        }),
    ]
}

/// What PostgreSQL says: the value as it prints it, or the SQLSTATE of its refusal.
type Verdict = std::result::Result<String, String>;

/// What the decoder says of one value.
struct Ours {
    binary: (Decoded, Vec<u8>),
    text: (Decoded, Vec<u8>),
}

fn route(type_: ColumnType) -> Arc<Route> {
    let column =
        Column { name: "v".to_owned(), type_, not_null: false, has_default: false, generated: false };
    let table = Table {
        oid: 1,
        schema: "public".to_owned(),
        name: "subject".to_owned(),
        columns: vec![column],
        traits: TableTraits::default(),
    };
    Arc::new(Route {
        topic: "t".into(),
        table: Arc::new(table),
        key: Vec::new(),
        mode: WriteMode::Append,
        mappings: vec![Mapping { column: 0, source: Source::Field(vec!["v".to_owned()]), unit: None }],
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Quarantine,
        on_bad_record: OnBadRecord::Quarantine,
        record_bytes_max: 1 << 20,
    })
}

fn decode(decoder: &mut Decoder, given: &Given) -> Ours {
    let partition = TopicPartition::new("t", 0);
    let mut block = RecordBlock::new(partition.clone(), Generation(1));
    let value = format!("{{\"v\":{}}}", given.literal);
    block.push(Offset::new(1), Some(1), None, Some(value.as_bytes()), []);
    let mut attempt = |encoding| {
        let mut arena = Vec::new();
        (decoder.decode(&partition, &block.get(0), encoding, &mut arena), arena)
    };
    Ours { binary: attempt(Encoding::Binary), text: attempt(Encoding::Text) }
}

async fn prepare(client: &Client, subject: &Subject) -> Result<ColumnType> {
    let sql = subject.sql;
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS subject, loaded;
             CREATE TABLE subject (v {sql}); CREATE TABLE loaded (i int, v {sql});
             CREATE OR REPLACE FUNCTION verdict(given text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE printed text;
             BEGIN
                 EXECUTE format('INSERT INTO subject VALUES (%L) RETURNING v::text', given) INTO printed;
                 RETURN '=' || coalesce(printed, 'NULL');
             EXCEPTION WHEN OTHERS THEN
                 RETURN SQLSTATE;
             END $$"
        ))
        .await?;
    let row = client
        .query_one(
            "SELECT a.atttypid, a.atttypmod, t.typelem, t.typbasetype, t.typtypmod
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = 'subject'::regclass AND a.attname = 'v'",
            &[],
        )
        .await?;
    let mut type_ = ColumnType {
        oid: row.get(0),
        typmod: row.get(1),
        sql_name: sql.to_owned(),
        kind: subject.kind.clone(),
    };
    match &mut type_.kind {
        Kind::Array(element) => element.oid = row.get(2),
        Kind::Domain(base) => {
            base.oid = row.get(3);
            base.typmod = row.get(4);
        }
        _ => {}
    }
    Ok(type_)
}

async fn verdicts(client: &Client, texts: &[&str]) -> Result<Vec<Verdict>> {
    let rows = client
        .query(
            "SELECT verdict(given) FROM unnest($1::text[]) WITH ORDINALITY AS u(given, place) ORDER BY place",
            &[&texts],
        )
        .await?;
    let read = |row: &tokio_postgres::Row| {
        let answer: String = row.get(0);
        match answer.strip_prefix('=') {
            Some(printed) => Ok(printed.to_owned()),
            None => Err(answer),
        }
    };
    Ok(rows.iter().map(read).collect())
}

async fn load(client: &Client, rows: &[(usize, &[u8])]) -> Result<BTreeMap<usize, String>> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (place, field) in rows {
        data.extend_from_slice(&2i16.to_be_bytes());
        data.extend_from_slice(&4i32.to_be_bytes());
        data.extend_from_slice(&(*place as i32).to_be_bytes());
        data.extend_from_slice(field);
    }
    data.extend_from_slice(&(-1i16).to_be_bytes());
    let sink = client.copy_in::<_, Bytes>("COPY loaded FROM STDIN BINARY").await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(data.into()).await?;
    sink.finish().await?;
    let rows = client.query("SELECT i, coalesce(v::text, 'NULL') FROM loaded", &[]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i32>(0) as usize, row.get(1))).collect())
}

/// Whether a refusal is one of the documented rules that are stricter than PostgreSQL's.
fn is_stricter(reject: &Reject) -> bool {
    reject.reason.contains("such as now or today")
}

struct Tally {
    native: usize,
    left: usize,
    refused: usize,
}

/// Whether two SQLSTATEs are of one class: which field of a bad value is named first may differ.
fn same_class(ours: Option<&str>, theirs: &str) -> bool {
    ours.is_some_and(|ours| ours.get(..2) == theirs.get(..2))
}

/// What is wrong with how both encodings of a value compare with PostgreSQL's verdict; empty if nothing is.
fn complaint(ours: &Ours, theirs: &Verdict) -> &'static str {
    match (&ours.binary.0, &ours.text.0) {
        (Decoded::Row { unproven: false, .. }, Decoded::Row { unproven: false, .. }) if theirs.is_err() => {
            "encoded, though PostgreSQL refuses it"
        }
        (Decoded::Row { unproven: false, .. }, Decoded::Row { unproven: false, .. }) => "",
        (Decoded::NeedsText, Decoded::Row { unproven: true, .. }) => "",
        (Decoded::Rejected(binary), Decoded::Rejected(text)) if binary == text => match theirs {
            _ if is_stricter(binary) => "",
            Ok(_) => "refused, though PostgreSQL takes it",
            Err(state) if same_class(binary.sqlstate.as_deref(), state) => "",
            Err(_) => "refused with another class of error",
        },
        _ => "the encodings disagree",
    }
}

async fn examine(client: &Client, subject: &Subject, seed: u64, count: usize) -> Result<Tally> {
    let type_ = prepare(client, subject).await?;
    let mut decoder = Decoder::new(route(type_));
    let mut rng = Rng::with_seed(seed);
    let given: Vec<_> = (0..count).map(|_| (subject.given)(&mut rng)).collect();
    let ours: Vec<_> = given.iter().map(|given| decode(&mut decoder, given)).collect();
    let theirs = verdicts(client, &given.iter().map(|given| &*given.text).collect::<Vec<_>>()).await?;
    let mut tally = Tally { native: 0, left: 0, refused: 0 };
    let mut native = Vec::new();
    let mut texts = Vec::new();
    let mut complaints = Vec::new();
    for (place, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let complaint = complaint(ours, theirs);
        if !complaint.is_empty() {
            complaints.push(format!(
                "{complaint}: {} given {}: PostgreSQL: {theirs:?}, binary: {:?}, text: {:?}",
                subject.sql, given[place].literal, ours.binary.0, ours.text.0
            ));
        }
        match &ours.binary.0 {
            Decoded::Row { .. } => {
                tally.native += 1;
                native.push((place, ours.binary.1.as_slice()));
            }
            Decoded::NeedsText => tally.left += 1,
            Decoded::Rejected(_) | Decoded::Delete { .. } | Decoded::Filtered => tally.refused += 1,
        }
        if let Decoded::Row { .. } = &ours.text.0 {
            texts.push((place, std::str::from_utf8(&ours.text.1[4..]).context("text is UTF-8")?));
        }
    }
    complaints.sort();
    complaints.dedup();
    complaints.truncate(20);
    assert!(complaints.is_empty(), "seed {seed}:\n{}", complaints.join("\n"));
    let loaded = load(client, &native).await.with_context(|| format!("{} (seed {seed})", subject.sql))?;
    for (place, _) in native {
        let expected = theirs[place].as_ref().expect("checked above");
        assert_eq!(&loaded[&place], expected, "{} given {} (seed {seed})", subject.sql, given[place].literal);
    }
    let again = verdicts(client, &texts.iter().map(|(_, field)| *field).collect::<Vec<_>>()).await?;
    for ((place, field), verdict) in texts.iter().zip(again) {
        assert_eq!(
            verdict, theirs[*place],
            "{} given {} as text {field:?} (seed {seed})",
            subject.sql, given[*place].literal
        );
    }
    Ok(tally)
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_type_means_what_its_text_input_means() {
    let fresh = lab::fixture::Fresh::new("types");
    let seed = setting("TIDEGATE_TEST_SEED", 1);
    let count = setting("TIDEGATE_TEST_LITERALS", 1500) as usize;
    lab::sql::block_on(async {
        let client = lab::sql::connect(&fresh.url).await?;
        client
            .batch_execute(
                "SET timezone = 'UTC'; SET client_min_messages = error;
                 CREATE TYPE level AS ENUM ('low', 'mid dle', 'hÖch', 'newer');
                 CREATE DOMAIN price AS numeric(8,3);",
            )
            .await?;
        for subject in subjects() {
            let tally = examine(&client, &subject, seed, count).await?;
            println!(
                "{:<20} native {:>5}  left to PostgreSQL {:>5}  refused {:>5}",
                subject.sql, tally.native, tally.left, tally.refused
            );
            let server_only = matches!(&subject.kind, Kind::Range(_) | Kind::Other)
                || subject.sql == "box[]"
                || subject.sql == "interval(2)";
            assert!(server_only || tally.native * 20 > count, "{} is hardly encoded natively", subject.sql);
        }
        Ok(())
    })
    .expect("PostgreSQL answers");
}
