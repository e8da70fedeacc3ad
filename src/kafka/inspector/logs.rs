//! Where logs begin and end, and which topic they are of. Each partition answers for itself, so that one
//! without a leader holds up no other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Inspector, all};
use crate::engine::ownership::LogState;
use crate::engine::position::{NextOffset, TopicPartition, Watermarks};
use crate::kafka::error::Error;
use crate::kafka::ffi::lookup::{self, Place};
use crate::kafka::ffi::{Fault, code_name};

/// Errors of partitions whose leader is changing or has just been elected, as on a topic just created.
const PASSING: [&str; 5] = [
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
];

/// How long to wait before such a partition is asked about again.
const PASSING_PAUSE: Duration = Duration::from_millis(100);

/// What was found of each partition.
type Each<T> = BTreeMap<TopicPartition, Result<T, Error>>;

/// Whether partitions whose leader is changing are asked about again, within the time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    /// They are.
    Settled,
    /// Their error is the answer, and the others' answers don't wait.
    AsIs,
}

impl Inspector {
    /// Each partition's log as it is at this moment, with its topic's identity, or why that can't be told.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`], of the look-up as a whole. Of single partitions:
    /// [`Error::UnknownTopic`] and [`Error::Refused`], as while a partition has no leader.
    pub fn logs(&self, partitions: &[TopicPartition]) -> Result<Each<LogState>, Error> {
        let mut topics: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        topics.dedup();
        let ids = self.identities(&topics)?;
        let each = self.glance(partitions)?.into_iter().map(|(partition, marks)| {
            let id = ids.get(&*partition.topic).cloned();
            let id = id.unwrap_or_else(|| Err(Error::UnknownTopic { topic: partition.topic.to_string() }));
            let log = id.and_then(|topic_id| {
                let Watermarks { low, end } = marks?;
                Ok(LogState { topic_id, low, end })
            });
            (partition, log)
        });
        Ok(each.collect())
    }

    /// Where each partition's log begins and ends at this moment, or why that can't be told.
    ///
    /// # Errors
    /// As [`Inspector::logs`].
    pub fn glance(&self, partitions: &[TopicPartition]) -> Result<Each<Watermarks>, Error> {
        self.marks(partitions, Patience::AsIs)
    }

    /// The same; partitions whose leader is changing are waited for.
    ///
    /// # Errors
    /// As [`Inspector::logs`].
    pub fn look(&self, partitions: &[TopicPartition]) -> Result<Each<Watermarks>, Error> {
        self.marks(partitions, Patience::Settled)
    }

    /// Where all these partitions' logs begin and end; leaders that are changing are waited for.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] for a topic or partition that doesn't exist; [`Error::Timeout`] and
    /// [`Error::Refused`].
    pub fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
        all(self.look(partitions)?)
    }

    fn marks(&self, partitions: &[TopicPartition], patience: Patience) -> Result<Each<Watermarks>, Error> {
        // The end is asked for after the beginning, so that it never lies before it.
        let low = self.offsets(partitions, Place::Beginning, patience)?;
        let mut end = self.offsets(partitions, Place::End, patience)?;
        let both = low.into_iter().filter_map(|(partition, low)| {
            let end = end.remove(&partition)?;
            let marks =
                low.and_then(|low| Ok(Watermarks { low: NextOffset::new(low), end: NextOffset::new(end?) }));
            Some((partition, marks))
        });
        Ok(both.collect())
    }

    /// The first offset of each partition of the topic whose record is not older than this time, in
    /// milliseconds since the Unix epoch; the end where there is none.
    ///
    /// # Errors
    /// As [`Inspector::watermarks`].
    pub fn offsets_for_time(
        &self,
        topic: &str,
        time_ms: i64,
    ) -> Result<BTreeMap<TopicPartition, NextOffset>, Error> {
        let partitions = self.partitions(topic)?;
        // Ends are asked for first: a record that comes in between is at or behind the end told.
        let ends = all(self.offsets(&partitions, Place::End, Patience::Settled)?)?;
        let found = all(self.offsets(&partitions, Place::Time(time_ms), Patience::Settled)?)?;
        let located = ends.into_iter().map(|(partition, end)| {
            let at = found.get(&partition).copied().filter(|at| *at >= 0).unwrap_or(end);
            (partition, NextOffset::new(at))
        });
        Ok(located.collect())
    }

    fn offsets(
        &self,
        partitions: &[TopicPartition],
        place: Place,
        patience: Patience,
    ) -> Result<Each<i64>, Error> {
        let doing = "asking where the logs begin and end";
        self.reach(doing)?;
        let found = match self.located(partitions, place, patience) {
            Ok(found) => found,
            // No leader at all: none of these partitions exists, or all are without one for a moment.
            Err(fault) if code_name(fault.code) == "_NOENT" => {
                return self.leaderless(doing, partitions, fault);
            }
            Err(fault) => return Err(self.failed(doing, None, fault)),
        };
        let each = found.into_iter().map(|(partition, offset)| {
            let offset = offset.map_err(|fault| self.failed(doing, Some(&partition.topic), fault));
            (partition, offset)
        });
        Ok(each.collect())
    }

    /// Asks, and asks again about partitions whose leader is changing where that is wanted.
    fn located(
        &self,
        partitions: &[TopicPartition],
        place: Place,
        patience: Patience,
    ) -> Result<Vec<lookup::Located>, Fault> {
        let until = Instant::now() + self.timeout;
        loop {
            let found = lookup::offsets(&self.now().client, partitions, place, self.timeout)?;
            let is_passing = |fault: &Fault| PASSING.contains(&code_name(fault.code).as_str());
            let passing = found.iter().any(|(_, offset)| offset.as_ref().is_err_and(is_passing));
            if !passing || patience == Patience::AsIs || Instant::now() >= until {
                return Ok(found);
            }
            // Fresh metadata names the leaders of this moment.
            lookup::topics(&self.now().client, self.timeout)?;
            std::thread::sleep(PASSING_PAUSE);
        }
    }

    /// What each of these partitions answers where none of them has a leader.
    fn leaderless(
        &self,
        doing: &str,
        partitions: &[TopicPartition],
        fault: Fault,
    ) -> Result<Each<i64>, Error> {
        let topics = self.topics()?;
        let exists = |wanted: &TopicPartition| {
            let found = topics.iter().find(|info| *info.name == *wanted.topic);
            found.is_some_and(|info| info.partitions.contains(&wanted.partition))
        };
        let refused = Error::refused(doing, fault);
        let each = partitions.iter().map(|partition| {
            let error = match exists(partition) {
                true => refused.clone(),
                false => Error::UnknownTopic { topic: partition.topic.to_string() },
            };
            (partition.clone(), Err(error))
        });
        Ok(each.collect())
    }
}
