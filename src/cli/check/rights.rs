//! Whether this user may read the topics and be in the consumer group.

use std::collections::BTreeSet;

use crate::cli::exit::Failure;
use crate::cli::servers::looking_up;
use crate::config::{RouteSettings, Settings};
use crate::engine::position::TopicPartition;
use crate::kafka::{Error, Inspector, Rights, TopicInfo};

use super::report::{Finding, Severity};

/// Tries each topic's READ in its first partition, and the group's by a commit that writes nothing. Gives the
/// findings, and the topics that can't be read.
pub(super) fn look(
    settings: &Settings,
    inspector: &Inspector,
    meant: &[(TopicInfo, &RouteSettings)],
) -> Result<(Vec<Finding>, BTreeSet<String>), Failure> {
    let first = |topic: &TopicInfo| {
        let number = topic.partitions.first()?;
        Some(TopicPartition::new(topic.name.as_str(), *number))
    };
    let places: Vec<TopicPartition> = meant.iter().filter_map(|(topic, _)| first(topic)).collect();
    let rights = inspector.try_rights(&places, true).map_err(looking_up)?;
    let user = settings.kafka.get("sasl.username").unwrap_or("NAME");
    Ok(findings(&rights, &places, settings.kafka.group_id(), user))
}

fn findings(
    rights: &Rights,
    places: &[TopicPartition],
    group: &str,
    user: &str,
) -> (Vec<Finding>, BTreeSet<String>) {
    let (mut findings, mut closed) = (Vec::new(), BTreeSet::new());
    let mut judge = |subject: String, option: String, answer: Option<&Result<(), Error>>| {
        let finding = match answer {
            Some(Ok(())) => return,
            Some(Err(error)) => Finding::new(Severity::Error, "kafka_right", subject, error.to_string()),
            None => {
                let text = "no answer came to a trial of the right READ on it";
                Finding::new(Severity::Warning, "kafka_right", subject, text)
            }
        };
        let denied = answer.is_some_and(|answer| answer.as_ref().is_err_and(Error::is_denial));
        let grant = format!(
            "kafka-acls.sh --bootstrap-server HOST:9092 --add --allow-principal User:{user} --operation Read \
             {option}"
        );
        findings.push(if denied { finding.remedy(grant) } else { finding });
    };
    for place in places {
        let answer = rights.partitions.get(place);
        if !matches!(answer, Some(Ok(()))) {
            closed.insert(place.topic.to_string());
        }
        judge(place.topic.to_string(), format!("--topic {}", place.topic), answer);
    }
    judge(format!("group {group}"), format!("--group {group}"), rights.group.as_ref());
    (findings, closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ProblemKind;

    #[test]
    fn what_is_refused_is_an_error_with_its_grant_and_what_is_silent_a_warning() {
        let denied = || Error::Refused {
            doing: "trying".to_owned(),
            code: "TOPIC_AUTHORIZATION_FAILED".to_owned(),
            message: "no".to_owned(),
            kind: ProblemKind::Authorization,
        };
        let places = ["open", "closed", "silent"].map(|topic| TopicPartition::new(topic, 0));
        let mut rights = Rights { group: Some(Ok(())), ..Rights::default() };
        rights.partitions.insert(places[0].clone(), Ok(()));
        rights.partitions.insert(places[1].clone(), Err(denied()));
        let (found, closed) = findings(&rights, &places, "orders", "reader");
        let told: Vec<_> = found.iter().map(|it| (it.severity, it.subject.as_str())).collect();
        assert_eq!(told, [(Severity::Error, "closed"), (Severity::Warning, "silent")]);
        let remedy = found[0].remedy.clone().unwrap_or_default();
        assert!(remedy.ends_with("User:reader --operation Read --topic closed"), "{remedy}");
        assert_eq!(closed, BTreeSet::from(["closed".to_owned(), "silent".to_owned()]));
        rights.group = Some(Err(denied()));
        let (found, _) = findings(&rights, &places[..1], "orders", "reader");
        assert_eq!(found[0].subject, "group orders");
    }
}
