//! Whether what is waited for can be looked at: queries are planned, topics and pipelines looked up. Nobody
//! is asked whether it holds.

use crate::cli::servers::Database;
use crate::config::{Place, Probe, Settings, WaitSettings};
use crate::kafka::TopicInfo;
use crate::nearest::nearest;
use crate::postgres::question;

use super::report::{Finding, Severity};

/// The code of all findings about waits.
const CODE: &str = "wait";

pub(super) async fn look(settings: &Settings, database: &Database, topics: &[TopicInfo]) -> Vec<Finding> {
    let routes = settings.routes.iter().flat_map(|route| &route.waits);
    let mut findings = Vec::new();
    for wait in settings.waits.iter().chain(routes) {
        let found = match &wait.probe {
            Probe::Sql(sql) => sql_finding(wait, database, sql).await,
            Probe::Topic(topic) => topic_finding(wait, topic, topics),
            Probe::Pipeline(pipeline) => pipeline_finding(wait, database, pipeline).await,
            // Whether a server is there says nothing of whether it will be.
            Probe::Http(_) => None,
        };
        findings.extend(found);
    }
    findings
}

/// Where a wait is written.
fn subject(wait: &WaitSettings) -> String {
    let WaitSettings { name, key, place, .. } = wait;
    let place = match place {
        Place::File { line, column } | Place::Within { line, column } => format!(" (line {line}:{column})"),
        Place::Environment(_) | Place::Set(_) | Place::Absent => String::new(),
    };
    format!("{key} {name}{place}")
}

async fn sql_finding(wait: &WaitSettings, database: &Database, sql: &str) -> Option<Finding> {
    let error = question::check(&database.session, sql).await.err()?;
    let text = format!("the query can't be asked: {error}");
    // A table may be what is waited for.
    let (severity, remedy) = match error.is_about_absence() {
        true => (Severity::Warning, "create it, or leave it: the query is asked until it can be answered"),
        false => (Severity::Error, "for example SELECT EXISTS (SELECT FROM loads WHERE day = current_date)"),
    };
    Some(Finding::new(severity, CODE, subject(wait), text).remedy(remedy))
}

fn topic_finding(wait: &WaitSettings, topic: &str, topics: &[TopicInfo]) -> Option<Finding> {
    if topics.iter().any(|known| known.name == topic) {
        return None;
    }
    let meant = nearest(topic, topics.iter().map(|info| &*info.name));
    let hint = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let text = format!("topic {topic} doesn't exist, or this user may not describe it{hint}");
    Some(Finding::new(Severity::Warning, CODE, subject(wait), text))
}

async fn pipeline_finding(wait: &WaitSettings, database: &Database, pipeline: &str) -> Option<Finding> {
    let text = match database.ledger.distance(&database.session, pipeline).await {
        Ok(distance) if distance.partitions > 0 => return None,
        Ok(distance) => distance.obstacle(pipeline).unwrap_or_default(),
        Err(error) => format!("whether pipeline {pipeline} is there can't be told: {error}"),
    };
    Some(Finding::new(Severity::Warning, CODE, subject(wait), text))
}
