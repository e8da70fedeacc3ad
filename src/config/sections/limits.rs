//! `limits`: what cuts a batch, and what bounds memory.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde_json::Value;

use crate::config::key::{Keys, Measured, non_zero, shown};
use crate::config::reader::{Report, Section};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Measured: beyond this default, sorting and the transaction's overhead are already negligible.
const BATCH_ROWS: Measured<u64> = Measured::integer("batch_rows", 50_000, 1..=1_000_000);

/// A batch of ordinary records reaches the default of `batch_rows` at about the same time.
const BATCH_BYTES: Measured<u64> = Measured::size("batch_bytes", 8 * MIB, KIB..=GIB);

/// By default nothing waits. While a transaction runs, what arrives is the next batch.
const LINGER: Measured<Duration> =
    Measured::duration("linger", Duration::ZERO, Duration::ZERO..=Duration::from_secs(10));

/// The default leaves room below a container's 256 MiB.
const MEMORY: Measured<u64> = Measured::size("memory", 128 * MIB, KIB..=1024 * GIB);

/// The default is far above what Kafka's default `message.max.bytes` lets through. At most: PostgreSQL's
/// largest field is 1 GiB, and the batch that holds a record needs room beside it.
const RECORD_BYTES: Measured<u64> = Measured::size("record_bytes", 16 * MIB, KIB..=512 * MIB);

pub(super) const KEYS: Keys =
    ("limits", &[BATCH_ROWS.name, BATCH_BYTES.name, LINGER.name, MEMORY.name, RECORD_BYTES.name]);

/// What cuts a batch, whichever comes first, and what bounds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records of one transaction: 1 to 1,000,000.
    pub batch_rows: NonZeroU32,
    /// Bytes of the records of one transaction; at most `memory`.
    pub batch_bytes: NonZeroU64,
    /// How long an idle lane waits for more records before it begins a transaction.
    pub linger: Duration,
    /// Bytes of records that the process holds, over all lanes.
    pub memory: NonZeroU64,
    /// Bytes of the largest record that is decoded; a larger one is quarantined, its head and hash kept.
    pub record_bytes: NonZeroU64,
}

impl Limits {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        Self {
            batch_rows: non_zero(BATCH_ROWS.read(&mut section, report), NonZeroU32::MIN),
            batch_bytes: non_zero(BATCH_BYTES.read(&mut section, report), NonZeroU64::MIN),
            linger: LINGER.read(&mut section, report),
            memory: non_zero(MEMORY.read(&mut section, report), NonZeroU64::MIN),
            record_bytes: non_zero(RECORD_BYTES.read(&mut section, report), NonZeroU64::MIN),
        }
    }

    pub(super) fn show(&self) -> Value {
        shown([
            BATCH_ROWS.show(self.batch_rows.get().into()),
            BATCH_BYTES.show(self.batch_bytes.get()),
            LINGER.show(self.linger),
            MEMORY.show(self.memory.get()),
            RECORD_BYTES.show(self.record_bytes.get()),
        ])
    }
}
