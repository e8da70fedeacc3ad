//! Whether this user may do what a member of the group does, found out without being one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::error::Error;
use super::ffi::{Client, Event, code_name};
use super::inspector::Inspector;
use super::problem::ProblemKind;
use super::properties;
use crate::engine::position::{NextOffset, TopicPartition};

/// A topic that no cluster has: a commit for it writes nothing, and the group's right is looked at before.
const NO_TOPIC: &str = "tidegate.no-such-topic";

/// Longest wait for one event before the deadline is looked at.
const POLL: Duration = Duration::from_millis(100);

const GROUP_DENIED: &str = "GROUP_AUTHORIZATION_FAILED";

/// What a trial of rights found. What gave no answer in time is in neither list.
#[derive(Debug, Default)]
pub struct Rights {
    /// What the group said to a commit, which needs READ on it.
    pub group: Option<Result<(), Error>>,
    /// What each partition said to a fetch, which needs READ on its topic.
    pub partitions: BTreeMap<TopicPartition, Result<(), Error>>,
}

impl Rights {
    /// Whether so many partitions could be read, and none was refused.
    pub fn reads_all(&self, partitions: usize) -> bool {
        self.partitions.len() == partitions && self.partitions.values().all(Result::is_ok)
    }
}

impl Inspector {
    /// Tries the rights: sends the group a commit that writes nothing, and fetches from the ends of these
    /// partitions. Waits for the answers up to the time limit of a look-up.
    ///
    /// # Errors
    /// When no client can be made, or the ends of the partitions can't be looked up.
    pub fn try_rights(&self, partitions: &[TopicPartition], with_group: bool) -> Result<Rights, Error> {
        let marks = self.watermarks(partitions)?;
        let until = Instant::now() + self.timeout();
        let now = self.now();
        let mut reader = Client::new(&properties::reader(&now.user)?).map_err(Error::created)?;
        let mut rights = Rights::default();
        let places: Vec<_> = marks.into_iter().map(|(partition, marks)| (partition, marks.end)).collect();
        let mut asked: BTreeSet<TopicPartition> = places.iter().map(|(at, _)| at.clone()).collect();
        let reading = "trying to read a topic";
        if !places.is_empty() {
            reader.assign(&places).map_err(|fault| self.failed(reading, None, fault))?;
        }
        let group = now.user.iter().find(|(name, _)| name == "group.id");
        let joining = format!("trying the consumer group {}", group.map_or("", |(_, value)| value.as_str()));
        if with_group {
            let nothing = (TopicPartition::new(NO_TOPIC, 0), NextOffset::new(0));
            reader.commit(&[nothing]).map_err(|fault| self.failed(&joining, None, fault))?;
        }
        while (!asked.is_empty() || (with_group && rights.group.is_none())) && Instant::now() < until {
            match reader.poll(POLL) {
                Some(Event::Message(message)) => {
                    let partition = TopicPartition::new(message.topic(), message.partition());
                    asked.remove(&partition);
                    rights.partitions.insert(partition, Ok(()));
                }
                Some(Event::End(partition, _)) => {
                    asked.remove(&partition);
                    rights.partitions.insert(partition, Ok(()));
                }
                Some(Event::Fault(Some(partition), fault)) if asked.remove(&partition) => {
                    let error = self.failed(reading, Some(&partition.topic), fault);
                    rights.partitions.insert(partition, Err(error));
                }
                // Who may not even know of the group finds nobody to commit to.
                Some(Event::Fault(None, fault)) if code_name(fault.code) == GROUP_DENIED => {
                    rights.group = Some(Err(self.failed(&joining, None, fault)));
                }
                Some(Event::Committed(result)) => {
                    // Whatever is said of the topic, or of the members that a group has, the right is there.
                    let refused = result.err().map(|(_, fault)| self.failed(&joining, None, fault));
                    let denied = refused.filter(|error| match error {
                        Error::Refused { code, kind, .. } => {
                            *kind == ProblemKind::Authorization && code == GROUP_DENIED
                        }
                        _ => false,
                    });
                    rights.group = Some(denied.map_or(Ok(()), Err));
                }
                _ => {}
            }
        }
        Ok(rights)
    }
}
