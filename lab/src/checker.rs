//! Holds a table and the ledger against what was sent, by SQL that can be shown.
//!
//! What is expected is loaded beside the table (schema `lab`); every question is one statement that returns
//! one number, and every answer but zero is a finding.

use crate::oracle::{Oracle, Rules};
use crate::sql::{self, block_on, connect};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::SinkExt;
use std::collections::{BTreeMap, BTreeSet};

/// The outcome columns of the ledger, in its order.
pub const OUTCOMES: [&str; 9] = [
    "inserted",
    "updated",
    "unchanged",
    "superseded",
    "ignored",
    "stale",
    "deleted",
    "quarantined",
    "filtered",
];

/// One question and its answer; 0 is right.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is counted: lost, doubled, …
    pub name: &'static str,
    /// The statement.
    pub sql: String,
    /// What it returned.
    pub answer: i64,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Every question that was asked.
    pub questions: Vec<Question>,
    /// Rows that the table must hold.
    pub expected: u64,
    /// Sums of the ledger over all partitions and spans, by column.
    pub totals: BTreeMap<String, i64>,
}

/// What is held against what.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Connects to the database that holds the table, the ledger and the schema `lab`.
    pub url: &'a str,
    /// The target table, quoted where it must be.
    pub table: &'a str,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The topic's name.
    pub topic: &'a str,
    /// What the route does.
    pub rules: Rules,
}

impl Findings {
    /// The answer to a question by name.
    pub fn answer(&self, name: &str) -> Option<i64> {
        self.questions.iter().find(|question| question.name == name).map(|question| question.answer)
    }

    /// An error that tells every answer that isn't 0, with its statement.
    pub fn clean(&self) -> Result<()> {
        let wrong: Vec<String> = self
            .questions
            .iter()
            .filter(|question| question.answer != 0)
            .map(|question| format!("{}: {}\n    {}", question.name, question.answer, question.sql))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("of {} expected rows; ledger {:?}\n  {}", self.expected, self.totals, wrong.join("\n  "))
    }
}

/// Loads what is expected and asks every question.
pub fn check(subject: Subject<'_>, oracle: &Oracle, high: &BTreeMap<i32, i64>) -> Result<Findings> {
    load(subject, oracle, high)?;
    let mut questions = Vec::new();
    for (name, sql) in questions_for(subject) {
        let answer = sql::number(subject.url, &sql).with_context(|| format!("asking for {name}"))?;
        questions.push(Question { name, sql, answer });
    }
    let expected = oracle.rows(subject.rules).len() as u64;
    Ok(Findings { questions, expected, totals: totals(subject)? })
}

/// Waits until the ledger's `next_offset` has reached these offsets in every partition. Fails after
/// `deadline`.
pub fn await_offsets(
    subject: Subject<'_>,
    ends: &BTreeMap<i32, i64>,
    deadline: std::time::Duration,
) -> Result<()> {
    let until = std::time::Instant::now() + deadline;
    loop {
        // The ledger may not be there yet, and the database may be away: both are waited out.
        let found = next_offsets(subject);
        if let Ok(reached) = &found
            && ends.iter().all(|(partition, end)| reached.get(partition).is_some_and(|next| next >= end))
        {
            return Ok(());
        }
        if std::time::Instant::now() > until {
            let at = found.map_or_else(|error| format!("{error:#}"), |reached| format!("{reached:?}"));
            bail!("not within {deadline:?}: the ledger reaches {ends:?}; it is at {at}");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The ledger's `next_offset` of each partition.
pub fn next_offsets(subject: Subject<'_>) -> Result<BTreeMap<i32, i64>> {
    let Subject { url, pipeline, topic, .. } = subject;
    let sql = format!(
        "SELECT partition, next_offset FROM tidegate.progress WHERE pipeline = '{pipeline}' AND topic = '{topic}'"
    );
    let mut offsets = BTreeMap::new();
    for row in sql::query(url, &sql)? {
        let [Some(partition), Some(next)] = row.as_slice() else { bail!("a NULL in the ledger's progress") };
        offsets.insert(partition.parse()?, next.parse()?);
    }
    Ok(offsets)
}

fn load(subject: Subject<'_>, oracle: &Oracle, high: &BTreeMap<i32, i64>) -> Result<()> {
    block_on(async {
        let client = connect(subject.url).await?;
        let setup = "DROP SCHEMA IF EXISTS lab CASCADE; CREATE SCHEMA lab; \
             CREATE TABLE lab.expected (event_id uuid, user_id bigint, kind text, amount numeric, \
             created_at timestamptz, active boolean, payload jsonb); \
             CREATE TABLE lab.unfit (partition int, record_offset bigint); \
             CREATE TABLE lab.high (partition int, high bigint)";
        client.batch_execute(setup).await.context("creating the schema lab")?;
        let rows = oracle.events(subject.rules).map(|event| event.copy_line());
        copy(&client, "lab.expected", rows).await?;
        let unfit: BTreeSet<(i32, i64)> = oracle.quarantined(subject.rules);
        copy(&client, "lab.unfit", unfit.iter().map(|(p, o)| format!("{p}\t{o}\n"))).await?;
        copy(&client, "lab.high", high.iter().map(|(p, o)| format!("{p}\t{o}\n"))).await?;
        client.batch_execute("ANALYZE lab.expected").await?;
        Ok(())
    })
}

async fn copy(
    client: &tokio_postgres::Client,
    table: &str,
    lines: impl Iterator<Item = String>,
) -> Result<()> {
    let sink = client.copy_in(&format!("COPY {table} FROM STDIN")).await?;
    let mut sink = std::pin::pin!(sink);
    let mut buffer = String::new();
    for line in lines {
        // COPY's text format takes a backslash as the begin of an escape; JSON uses it too.
        buffer.push_str(&line.replace('\\', "\\\\"));
        if buffer.len() > 1 << 18 {
            sink.send(Bytes::from(std::mem::take(&mut buffer))).await?;
        }
    }
    sink.send(Bytes::from(buffer)).await?;
    sink.finish().await.with_context(|| format!("loading {table}"))?;
    Ok(())
}

fn questions_for(subject: Subject<'_>) -> Vec<(&'static str, String)> {
    let Subject { table, pipeline, topic, .. } = subject;
    let mine = format!("pipeline = '{pipeline}' AND topic = '{topic}'");
    let sum = OUTCOMES.join(" + ");
    vec![
        (
            "lost",
            format!(
                "SELECT count(*) FROM lab.expected e \
                 WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.event_id = e.event_id)"
            ),
        ),
        (
            "doubled",
            format!(
                "SELECT coalesce(sum(n - 1), 0)::bigint FROM (SELECT count(*) AS n FROM {table} \
                 GROUP BY event_id HAVING count(*) > 1) d"
            ),
        ),
        (
            "surplus",
            format!(
                "SELECT count(*) FROM {table} t \
                 WHERE NOT EXISTS (SELECT FROM lab.expected e WHERE e.event_id = t.event_id)"
            ),
        ),
        (
            "wrong values",
            format!(
                "SELECT count(*) FROM lab.expected e JOIN {table} t USING (event_id) \
                 WHERE (t.user_id, t.kind, t.amount::text, t.created_at, t.active, t.payload) \
                 IS DISTINCT FROM (e.user_id, e.kind, e.amount::text, e.created_at, e.active, e.payload)"
            ),
        ),
        (
            "quarantine differs",
            format!(
                "SELECT count(*) FROM (SELECT partition, record_offset FROM tidegate.quarantine WHERE {mine}) q \
                 FULL JOIN lab.unfit u USING (partition, record_offset) \
                 WHERE q.partition IS NULL OR u.partition IS NULL"
            ),
        ),
        (
            "partitions whose accounting doesn't add up",
            format!(
                "SELECT count(*) FROM tidegate.progress WHERE {mine} \
                 AND next_offset - start_offset <> {sum} + gaps"
            ),
        ),
        (
            "offsets short of or beyond the log",
            format!(
                "SELECT coalesce(sum(abs(h.high - p.next_offset)), 0)::bigint FROM lab.high h \
                 JOIN tidegate.progress p ON p.partition = h.partition AND {mine}"
            ),
        ),
        (
            "partitions without progress",
            format!(
                "SELECT count(*) FROM lab.high h WHERE NOT EXISTS \
                 (SELECT FROM tidegate.progress p WHERE p.partition = h.partition AND {mine})"
            ),
        ),
    ]
}

fn totals(subject: Subject<'_>) -> Result<BTreeMap<String, i64>> {
    let Subject { url, pipeline, topic, .. } = subject;
    let columns: Vec<&str> = OUTCOMES.into_iter().chain(["gaps"]).collect();
    let sums: Vec<String> = columns.iter().map(|column| format!("coalesce(sum({column}), 0)")).collect();
    let sql = format!(
        "SELECT {} FROM tidegate.progress WHERE pipeline = '{pipeline}' AND topic = '{topic}'",
        sums.join(", ")
    );
    let row = sql::query(url, &sql)?.into_iter().next().context("an aggregate returns a row")?;
    let values = row.iter().map(|value| value.as_deref().unwrap_or("0").parse::<i64>());
    columns.iter().zip(values).map(|(column, value)| Ok(((*column).to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Poison, table_sql};
    use crate::fixture::Fresh;
    use crate::oracle::{Sent, What};

    const LEDGER: &str = "CREATE SCHEMA tidegate; \
        CREATE TABLE tidegate.progress (pipeline text, topic text, partition int, start_offset bigint, \
          next_offset bigint, inserted bigint, updated bigint, unchanged bigint, superseded bigint, ignored bigint, \
          stale bigint, deleted bigint, quarantined bigint, filtered bigint, gaps bigint); \
        CREATE TABLE tidegate.quarantine (pipeline text, topic text, partition int, record_offset bigint)";

    fn event(offset: i64, number: u64) -> Sent {
        let what = What::Event { number, revision: 0 };
        Sent { partition: 0, offset, what, committed: true }
    }

    /// A state that is right: three events, one sent twice, one that doesn't fit.
    fn right_state(fresh: &Fresh) -> Oracle {
        let poison = Sent { what: What::Poison(Poison::Nul), ..event(4, 9) };
        let sent = vec![event(0, 1), event(1, 2), event(2, 3), event(3, 2), poison];
        let oracle = Oracle { seed: 3, sent, ..Oracle::default() };
        sql::query(&fresh.url, &format!("{LEDGER}; {}", table_sql("events"))).unwrap();
        sql::query(&fresh.url, "ALTER TABLE events DROP CONSTRAINT events_pkey").unwrap();
        for number in 1..=3 {
            insert(fresh, &Event::nth(3, number, 0));
        }
        let fill = format!(
            "INSERT INTO tidegate.progress VALUES ('{0}', '{1}', 0, 0, 5, 3, 0, 1, 0, 0, 0, 0, 1, 0, 0); \
             INSERT INTO tidegate.quarantine VALUES ('{0}', '{1}', 0, 4)",
            fresh.pipeline, fresh.topic
        );
        sql::query(&fresh.url, &fill).unwrap();
        oracle
    }

    fn insert(fresh: &Fresh, event: &Event) {
        let sql = format!(
            "INSERT INTO events VALUES ('{}', {}, '{}', {}, '{}', {}, '{}')",
            event.event_id,
            event.user_id,
            event.kind,
            event.amount(),
            event.created_at(),
            event.active,
            event.payload
        );
        sql::query(&fresh.url, &sql).unwrap();
    }

    #[test]
    fn a_right_state_is_clean_and_each_damage_is_found() {
        let fresh = Fresh::new("checker");
        let oracle = right_state(&fresh);
        let subject = Subject {
            url: &fresh.url,
            table: "public.events",
            pipeline: &fresh.pipeline,
            topic: &fresh.topic,
            rules: Rules::UPSERT,
        };
        let high = BTreeMap::from([(0, 5)]);
        let findings = check(subject, &oracle, &high).unwrap();
        findings.clean().unwrap();
        assert_eq!((findings.expected, findings.totals["unchanged"]), (3, 1));

        let first = Event::nth(3, 1, 0).event_id;
        for (damage, name) in [
            (format!("DELETE FROM events WHERE event_id = '{first}'"), "lost"),
            ("INSERT INTO events SELECT * FROM events LIMIT 1".to_owned(), "doubled"),
            (format!("UPDATE events SET event_id = gen_random_uuid() WHERE event_id = '{first}'"), "surplus"),
            (format!("UPDATE events SET amount = amount + 0.01 WHERE event_id = '{first}'"), "wrong values"),
            (format!("UPDATE events SET payload = '{{}}' WHERE event_id = '{first}'"), "wrong values"),
            ("DELETE FROM tidegate.quarantine".to_owned(), "quarantine differs"),
            (
                "UPDATE tidegate.progress SET inserted = inserted + 1".to_owned(),
                "partitions whose accounting doesn't add up",
            ),
            ("UPDATE tidegate.progress SET next_offset = 4".to_owned(), "offsets short of or beyond the log"),
            ("DELETE FROM tidegate.progress".to_owned(), "partitions without progress"),
        ] {
            let backup = "CREATE SCHEMA backup; CREATE TABLE backup.e AS TABLE events; \
                CREATE TABLE backup.p AS TABLE tidegate.progress; \
                CREATE TABLE backup.q AS TABLE tidegate.quarantine";
            sql::query(&fresh.url, &format!("{backup}; {damage}")).unwrap();
            let findings = check(subject, &oracle, &high).unwrap();
            assert_eq!(findings.answer(name), Some(1), "{damage}");
            assert!(findings.clean().unwrap_err().to_string().contains(name));
            let restore = "TRUNCATE events, tidegate.progress, tidegate.quarantine; \
                INSERT INTO events TABLE backup.e; INSERT INTO tidegate.progress TABLE backup.p; \
                INSERT INTO tidegate.quarantine TABLE backup.q; DROP SCHEMA backup CASCADE";
            sql::query(&fresh.url, restore).unwrap();
        }
        check(subject, &oracle, &high).unwrap().clean().unwrap();
    }
}
