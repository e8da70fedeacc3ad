//! Named stops.
//!
//! Where the promise can't be kept, a partition stands still with one of these codes; each has a page
//! in `docs/halts/` and tells its remedy. Some are looked at again by themselves, since someone may have
//! put the cause right; the others wait for an operator's decision or a restart.

use std::fmt;

use super::position::{Offset, TopicId};

crate::words! {
    /// Why a partition stands still.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum HaltCode {
        /// The topic was deleted and created again.
        TopicRecreated = "TG-101",
        /// Retention removed records that were not applied yet.
        RetentionPassed = "TG-102",
        /// The log ends before the position: it was truncated.
        LogTruncated = "TG-103",
        /// The partition's progress row is gone.
        ProgressMissing = "TG-104",
        /// The broker hands out a corrupt batch.
        LogCorrupt = "TG-105",
        /// Kafka refuses access to the topic or the group.
        KafkaDenied = "TG-106",
        /// The group refuses this member's configuration.
        GroupConflict = "TG-107",
        /// A topic of the configuration doesn't exist.
        TopicMissing = "TG-108",
        /// A batch unpacks to more than the Kafka client takes.
        BatchTooLarge = "TG-109",
        /// The brokers are those of another cluster.
        ClusterSwapped = "TG-110",
        /// Another process owns the partition in the ledger.
        OwnedElsewhere = "TG-201",
        /// A record doesn't fit and `on_bad_record` is `halt`.
        BadRecord = "TG-301",
        /// Too large a share of the records doesn't fit.
        TooManyBadRecords = "TG-302",
        /// The table, a column, an index or a privilege is missing or differs.
        SchemaMismatch = "TG-303",
        /// PostgreSQL reports damaged data.
        DatabaseDamaged = "TG-304",
        /// A failure of unknown kind persisted.
        UnknownFailure = "TG-305",
        /// A statement of Tidegate's own is wrong.
        Defect = "TG-306",
        /// The pipeline wrote this topic elsewhere, or with another key or mode.
        RouteChanged = "TG-307",
        /// The server isn't the one that was written to, nor its heir.
        StrayServer = "TG-308",
        /// What its route waits for took too long, and `on_timeout` is `halt`.
        WaitTimedOut = "TG-309",
    }

    /// The stable code; its page is `docs/halts/<code>.md`.
    fn code;
}

impl HaltCode {
    /// What the operator can do next, in one sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::TopicRecreated => {
                "go on with the new topic by `tidegate offsets adopt`, or restore the old one"
            }
            Self::RetentionPassed => {
                "go on behind the gap by `tidegate offsets accept-gap`, which records what is lost"
            }
            Self::LogTruncated => {
                "find out which records the broker lost, then go on by `tidegate offsets accept-gap`"
            }
            Self::ProgressMissing => {
                "say where it goes on by `tidegate offsets import` or `set`; it is never guessed"
            }
            Self::LogCorrupt => {
                "check the broker's disks and the replicas of this partition, then go on by `tidegate resume`"
            }
            Self::KafkaDenied => "grant READ and DESCRIBE on the topic and READ on the group",
            Self::GroupConflict => {
                "give each member its own group.instance.id and the same assignment strategy"
            }
            Self::TopicMissing => {
                "create the topic, correct its name, or grant DESCRIBE on it; --wait-for-topics waits longer"
            }
            Self::BatchTooLarge => {
                "set kafka.receive.message.max.bytes to three times what the batch unpacks to, and restart"
            }
            Self::ClusterSwapped => {
                "lead kafka.bootstrap.servers back, or go on in this cluster by `tidegate offsets adopt`"
            }
            Self::OwnedElsewhere => {
                "stop the other process of this pipeline; work is taken over when its row stops moving"
            }
            Self::BadRecord => {
                "mend what it lacks, put it into the quarantine with `tidegate skip`, or let its route quarantine such \
                 records"
            }
            Self::TooManyBadRecords => {
                "look at the quarantine's newest reasons; put the producer or the route right, then let it go on by \
                 `tidegate resume`"
            }
            Self::SchemaMismatch => {
                "run `tidegate check`; the partition is tried again by itself once the schema fits"
            }
            Self::DatabaseDamaged => "restore the database, then go on by `tidegate resume`",
            Self::UnknownFailure => "look the error up; the partition is tried again by itself",
            Self::Defect => {
                "report the error with its statement; `tidegate resume` tries the same records again"
            }
            Self::RouteChanged => "give the pipeline a new name, or set table, key and write mode back",
            Self::StrayServer => {
                "lead connections to the primary that was written to; restart where this one is meant"
            }
            Self::WaitTimedOut => {
                "make true what is waited for, and it goes on by itself; or change `waits` and restart"
            }
        }
    }

    /// Whether the topic isn't the one that progress belongs to, wherever the partition stands.
    pub const fn is_of_topic(self) -> bool {
        matches!(self, Self::TopicRecreated | Self::ClusterSwapped)
    }

    /// Whether `tidegate resume` lets it go on: nothing looks at the cause again, and there is nothing to
    /// decide but that.
    pub const fn is_resumed(self) -> bool {
        match self {
            Self::LogCorrupt | Self::TooManyBadRecords | Self::DatabaseDamaged | Self::Defect => true,
            Self::TopicRecreated
            | Self::RetentionPassed
            | Self::LogTruncated
            | Self::ProgressMissing
            | Self::KafkaDenied
            | Self::GroupConflict
            | Self::TopicMissing
            | Self::BatchTooLarge
            | Self::ClusterSwapped
            | Self::OwnedElsewhere
            | Self::BadRecord
            | Self::SchemaMismatch
            | Self::UnknownFailure
            | Self::RouteChanged
            | Self::StrayServer
            | Self::WaitTimedOut => false,
        }
    }

    /// Whether the cause is looked at again without an operator.
    pub const fn is_probed(self) -> bool {
        match self {
            Self::KafkaDenied
            | Self::TopicMissing
            | Self::OwnedElsewhere
            | Self::SchemaMismatch
            | Self::UnknownFailure
            | Self::StrayServer
            | Self::WaitTimedOut => true,
            Self::TopicRecreated
            | Self::RetentionPassed
            | Self::LogTruncated
            | Self::ProgressMissing
            | Self::LogCorrupt
            | Self::GroupConflict
            | Self::BatchTooLarge
            | Self::ClusterSwapped
            | Self::BadRecord
            | Self::TooManyBadRecords
            | Self::DatabaseDamaged
            | Self::Defect
            | Self::RouteChanged => false,
        }
    }
}

/// A named stop with what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halt {
    /// Which stop.
    pub code: HaltCode,
    /// What was seen: ids, offsets, the database's message; never a record's values.
    pub evidence: String,
    /// The record that it is about, where it is one.
    pub at: Option<Offset>,
}

impl Halt {
    /// A stop with its evidence.
    pub fn new(code: HaltCode, evidence: impl Into<String>) -> Self {
        Self { code, evidence: evidence.into(), at: None }
    }

    /// The same, about one record.
    pub fn before(self, record: Offset) -> Self {
        Self { at: Some(record), ..self }
    }

    /// The stop of a topic that was created anew: the brokers know it under `found`, progress under `known`.
    pub fn recreated(topic: &str, found: TopicId, known: TopicId) -> Self {
        let evidence = format!("topic {topic} has id {found}, and progress belongs to id {known}");
        Self::new(HaltCode::TopicRecreated, evidence)
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code.code(), self.evidence, self.code.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_once_in_order() {
        let codes: Vec<_> = HaltCode::ALL.into_iter().map(HaltCode::code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }

    #[test]
    fn a_halt_says_code_evidence_and_remedy() {
        let text = Halt::new(HaltCode::ProgressMissing, "no row for events[3]").to_string();
        assert!(text.starts_with("TG-104: no row for events[3]; say where"), "{text}");
    }
}
