//! Every type against PostgreSQL's own text input: what is encoded here means the same there, and what is
//! refused here is refused there.
//!
//! Set `TIDEGATE_TEST_SEED` to another number to try other literals; failures print the seed.

mod literals;
mod subjects;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::SinkExt;
use tidegate::engine::decode::Decoder;
use tidegate::engine::position::{Generation, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{
    Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Route, Source, UnknownFields, WriteMode,
};
use tidegate::engine::row::{Decoded, Encoding, Reject};
use tidegate::engine::shape::Table;
use tidegate::postgres::catalogue::load_table;
use tidegate::postgres::session::Session;
use tokio_postgres::Client;

use self::subjects::{Given, Subject, TYPES, subjects};

/// What PostgreSQL says: the value as it prints it, or the SQLSTATE of its refusal.
type Verdict = std::result::Result<String, String>;

/// What the decoder says of one value.
struct Ours {
    binary: (Decoded, Vec<u8>),
    text: (Decoded, Vec<u8>),
}

fn route(table: Table) -> Arc<Route> {
    Arc::new(Route {
        topic: "t".into(),
        format: Format::Json,
        table: Arc::new(table),
        key: Vec::new(),
        mode: WriteMode::Append,
        mappings: vec![Mapping { column: 0, source: Source::Field(vec!["v".to_owned()]), unit: None }],
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Quarantine,
        on_bad_record: OnBadRecord::Quarantine,
        on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Quarantine },
        record_bytes_max: 1 << 20,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
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

/// Makes the tables of a type, and the function that gives PostgreSQL's verdict.
async fn prepare(session: &Session, sql: &str) -> Result<Table> {
    session
        .client()
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS public.subject, public.loaded;
             CREATE TABLE public.subject (v {sql}); CREATE TABLE public.loaded (i int, v {sql});
             CREATE OR REPLACE FUNCTION public.verdict(given text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE printed text;
             BEGIN
                 EXECUTE format('INSERT INTO public.subject VALUES (%L) RETURNING v::text', given)
                     INTO printed;
                 RETURN '=' || coalesce(printed, 'NULL');
             EXCEPTION WHEN OTHERS THEN
                 RETURN SQLSTATE;
             END $$"
        ))
        .await
        .with_context(|| format!("making tables of {sql}"))?;
    Ok(load_table(session, "public", "subject", &[]).await?)
}

async fn verdicts(client: &Client, texts: &[&str]) -> Result<Vec<Verdict>> {
    let rows = client
        .query(
            "SELECT public.verdict(given)
             FROM unnest($1::text[]) WITH ORDINALITY AS u(given, place) ORDER BY place",
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
    let sink = client.copy_in::<_, Bytes>("COPY public.loaded FROM STDIN BINARY").await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(data.into()).await?;
    sink.finish().await?;
    let rows = client.query("SELECT i, coalesce(v::text, 'NULL') FROM public.loaded", &[]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i32>(0) as usize, row.get(1))).collect())
}

/// Whether a refusal is one of the documented rules that are stricter than PostgreSQL's.
fn is_stricter(reject: &Reject) -> bool {
    ["such as now or today", "whose year has two digits", "that separates no thousands"]
        .iter()
        .any(|rule| reject.reason.contains(rule))
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

async fn examine(session: &Session, subject: &Subject, seed: u64, count: usize) -> Result<Tally> {
    let mut decoder = Decoder::new(route(prepare(session, subject.sql).await?));
    let client = session.client();
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
    let count = setting("TIDEGATE_TEST_LITERALS", 500) as usize;
    lab::sql::block_on(async {
        let session = super::session(&fresh).await;
        session
            .client()
            .batch_execute(&format!("SET client_min_messages = error; SET search_path = public; {TYPES}"))
            .await?;
        for subject in subjects() {
            let tally = examine(&session, &subject, seed, count).await?;
            println!(
                "{:<20} native {:>5}  left to PostgreSQL {:>5}  refused {:>5}",
                subject.sql, tally.native, tally.left, tally.refused
            );
            let enough = !subject.native || tally.native * 20 > count;
            assert!(enough, "{} is hardly encoded natively", subject.sql);
        }
        session.close().await;
        Ok(())
    })
    .expect("PostgreSQL answers");
}
