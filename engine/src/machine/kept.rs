//! What is told of the records that a batch keeps in the quarantine.

use std::collections::BTreeMap;

use super::Report;
use crate::batch::{Batch, QuarantineRecord};
use crate::position::TopicPartition;

/// One report for each partition and code, of the first such record, with how many there are.
pub(super) fn reports(batch: &Batch) -> Vec<Report> {
    let mut groups: BTreeMap<_, (&QuarantineRecord, u64)> = BTreeMap::new();
    for record in batch.quarantine() {
        let group = groups.entry((record.move_index, record.reject.code)).or_insert((record, 0));
        if record.offset < group.0.offset {
            group.0 = record;
        }
        group.1 += 1;
    }
    let told = groups.into_values().filter_map(|(first, records)| {
        let moved = batch.moves().get(first.move_index.get())?;
        let (partition, reject) = (moved.partition.clone(), first.reject.clone());
        Some(Report::Quarantined { partition, offset: first.offset, reject, records })
    });
    told.collect()
}

/// Takes those of one partition out.
pub(super) fn take(kept: &mut Vec<Report>, of: &TopicPartition) -> impl Iterator<Item = Report> {
    let is_of = move |report: &mut Report| match report {
        Report::Quarantined { partition, .. } => partition == of,
        _ => false,
    };
    kept.extract_if(.., is_of)
}
