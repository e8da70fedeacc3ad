//! The ledger against the configuration and the logs: will progress go on where it stands?

use std::collections::BTreeMap;

use crate::cli::exit::Failure;
use crate::cli::servers::{Database, looking_up};
use crate::config::{RouteSettings, Settings};
use crate::engine::position::{TopicId, TopicPartition, Watermarks};
use crate::engine::progress::{LogStanding, against_log};
use crate::kafka::{Inspector, TopicInfo};
use crate::postgres::ledger::{Ledger, LedgerError, LedgerRights, MissingRight, Progress, RegisteredRoute};
use crate::routing::{self, Choice, choose};

use super::report::{Finding, Severity};

fn lacks(missing: MissingRight, schema: &str, role: &str) -> Finding {
    let text = format!("role {role} lacks {}", missing.right);
    let (severity, text) = match missing.is_vital {
        true => (Severity::Error, text),
        false => (Severity::Warning, format!("{text}: `tidegate status` can't tell that its process runs")),
    };
    Finding::new(severity, "privilege", schema.to_owned(), text).remedy(missing.grant + ";")
}

/// Compares what the ledger remembers with the configuration, and progress with the logs.
pub(super) async fn look(
    settings: &Settings,
    database: &Database,
    inspector: &Inspector,
    meant: &[(TopicInfo, &RouteSettings)],
) -> Result<Vec<Finding>, Failure> {
    let (ledger, session) = (&database.ledger, &database.session);
    let schema = format!("ledger {}", ledger.schema());
    let mut findings = Vec::new();
    match ledger.rights(session).await.map_err(|error| database.reading(error))? {
        LedgerRights::Absent { may_create: false } => {
            let text = format!("it isn't there, and role {} may not create it", session.role());
            let finding = Finding::new(Severity::Error, "ledger_missing", schema, text);
            let print = database.command("init --print");
            return Ok(vec![
                finding.remedy(format!("as an owner of the database, run the SQL of `{print}`")),
            ]);
        }
        LedgerRights::Lacking(lacking) => {
            let stops = lacking.iter().any(|missing| missing.is_vital);
            findings.extend(lacking.into_iter().map(|missing| lacks(missing, &schema, session.role())));
            if stops {
                return Ok(findings);
            }
        }
        LedgerRights::Absent { may_create: true } => {}
    }
    let missing = match ledger.version(session).await {
        Ok(Ledger::VERSION) => None,
        Ok(0) => Some("it isn't there yet".to_owned()),
        Ok(version) => Some(format!("it has version {version}, this program writes {}", Ledger::VERSION)),
        Err(error @ LedgerError::Newer { .. }) => {
            return Ok(vec![Finding::new(Severity::Error, "ledger_newer", schema, error.to_string())]);
        }
        Err(error) => return Err(database.reading(error)),
    };
    if let Some(text) = missing {
        let finding = Finding::new(Severity::Warning, "ledger_missing", schema, text);
        let (init, run) = (database.command("init"), database.command("run"));
        return Ok(vec![finding.remedy(format!("run `{init}`; `{run}` does it too where it may"))]);
    }
    let registered = ledger.routes(session, settings.pipeline.as_str()).await;
    let registered = registered.map_err(|error| database.reading(error))?;
    for (topic, route) in meant {
        let stored = registered.iter().find(|stored| stored.topic == topic.name);
        findings.extend(stored.and_then(|stored| changed(topic, route, stored)));
    }
    for stored in
        registered.iter().filter(|stored| matches!(choose(&settings.routes, &stored.topic), Choice::None))
    {
        let text = "the ledger knows it and no route means it: its progress stands still";
        findings.push(Finding::new(Severity::Warning, "topic_unrouted", &stored.topic, text));
    }
    let rows = database.progress().await?;
    findings.extend(positions(inspector, meant, &rows)?);
    Ok(findings)
}

fn changed(topic: &TopicInfo, route: &RouteSettings, stored: &RegisteredRoute) -> Option<Finding> {
    let configured = routing::remembered(route, &topic.name).ok()?;
    if *stored == configured {
        return None;
    }
    let shape = |route: &RegisteredRoute| {
        format!("{}, key ({}), {}", route.target, route.key.join(", "), route.write_mode)
    };
    let text =
        format!("the ledger remembers {} and the configuration says {}", shape(stored), shape(&configured));
    let finding = Finding::new(Severity::Error, "route_changed", &topic.name, text);
    Some(finding.remedy("give the pipeline a new name, or set table, key and write mode back"))
}

/// Whether each stored position lies in the log that is there now.
fn positions(
    inspector: &Inspector,
    meant: &[(TopicInfo, &RouteSettings)],
    rows: &[Progress],
) -> Result<Vec<Finding>, Failure> {
    let is_there = |partition: &TopicPartition| {
        meant.iter().any(|(topic, _)| {
            *topic.name == *partition.topic && topic.partitions.contains(&partition.partition)
        })
    };
    let rows: Vec<&Progress> = rows.iter().filter(|row| is_there(&row.partition)).collect();
    let mut topics: Vec<&str> = rows.iter().map(|row| &*row.partition.topic).collect();
    topics.dedup();
    let ids = inspector.topic_ids(&topics).map_err(looking_up)?;
    let partitions: Vec<TopicPartition> = rows.iter().map(|row| row.partition.clone()).collect();
    let marks = match partitions.is_empty() {
        true => BTreeMap::new(),
        false => inspector.watermarks(&partitions).map_err(looking_up)?,
    };
    let found = rows.iter().flat_map(|row| {
        position(row, ids.get(&*row.partition.topic), marks.get(&row.partition))
            .into_iter()
            .chain(halted(row))
    });
    Ok(found.collect())
}

fn position(row: &Progress, id: Option<&TopicId>, marks: Option<&Watermarks>) -> Option<Finding> {
    let name = row.partition.to_string();
    let error = |code, text: String| Some(Finding::new(Severity::Error, code, &name, text));
    let (next, marks) = (row.next, marks?);
    if id.is_some_and(|id| *id != row.topic_id) {
        let text = "the topic was deleted and created again: its id isn't the one that the ledger knows";
        return error("topic_recreated", text.to_owned());
    }
    match against_log(next, *marks) {
        LogStanding::Valid => None,
        LogStanding::RetentionPassed => error(
            "retention_passed",
            format!("the log begins at {} and progress stands at {next}", marks.low),
        ),
        LogStanding::Truncated => {
            error("log_truncated", format!("the log ends at {} and progress stands at {next}", marks.end))
        }
    }
}

fn halted(row: &Progress) -> Option<Finding> {
    let halt = row.halt.as_ref()?;
    Some(Finding::new(Severity::Warning, "halted", row.partition.to_string(), halt.clone()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::outcome::Tally;
    use crate::engine::position::{Epoch, NextOffset};

    fn row(next: i64) -> Progress {
        Progress {
            partition: TopicPartition::new("events", 3),
            topic_id: TopicId(Uuid::nil()),
            epoch: Epoch::new(1),
            owner: None,
            start: NextOffset::new(0),
            next: NextOffset::new(next),
            log_end: None,
            tally: Tally::default(),
            gaps: 0,
            newest_at_ms: None,
            committed_at_ms: None,
            halt: None,
        }
    }

    #[test]
    fn a_position_outside_the_log_is_an_error_by_name() {
        let marks = Watermarks { low: NextOffset::new(10), end: NextOffset::new(20) };
        let (same, other) = (TopicId(Uuid::nil()), TopicId(Uuid::from_u128(7)));
        let cases = [
            (10, same, None),
            (20, same, None),
            (9, same, Some("retention_passed")),
            (21, same, Some("log_truncated")),
            (9, other, Some("topic_recreated")),
        ];
        for (next, id, expected) in cases {
            let found = position(&row(next), Some(&id), Some(&marks));
            assert_eq!(found.as_ref().map(|finding| finding.code), expected, "{next}: {found:?}");
        }
        assert!(position(&row(9), Some(&same), None).is_none());
    }
}
