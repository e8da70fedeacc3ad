//! What holds where the configuration is silent, each with its reason.
//!
//! The values are those of the contract; `config/tidegate.yaml` shows them, and a test holds the two
//! together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Configuration file when neither `-c` nor `$TIDEGATE_CONFIG` names one.
pub const CONFIG_FILE: &str = "tidegate.yaml";

/// `postgres.url`: nothing of its own, so everything comes from PG* variables, .pgpass and service files.
pub const POSTGRES_URL: &str = "postgres://";

/// `postgres.ledger`: the product's name, so that a person who lists schemas knows whose it is.
pub const LEDGER: &str = "tidegate";

/// Schema of a table that is written without one: PostgreSQL's own default.
pub const TABLE_SCHEMA: &str = "public";

/// `workers`: four connections keep a small server's cores and disks busy without crowding
/// `max_connections`.
pub const WORKERS: u16 = 4;

/// `limits.batch_rows`: measured; beyond this, sorting and transaction overhead are already negligible.
pub const BATCH_ROWS: u32 = 50_000;

/// `limits.batch_bytes`: a batch of ordinary records reaches `batch_rows` at about the same time.
pub const BATCH_BYTES: u64 = 8 * MIB;

/// `limits.linger`: nothing waits. While a transaction runs, what arrives is the next batch.
pub const LINGER: Duration = Duration::ZERO;

/// `limits.memory`: records held by the process, over all lanes; leaves room below a 256 MiB container.
pub const MEMORY: u64 = 128 * MIB;

/// `limits.record_bytes`: far above what Kafka's default `message.max.bytes` lets through.
pub const RECORD_BYTES: u64 = 16 * MIB;

/// `bad_records.halt_above`: when every second record is bad, the fault is upstream, not in the records.
pub const HALT_ABOVE: f64 = 0.5;

/// `bad_records.over`: long enough to average, short enough to stop within a minute of a wrong deploy.
pub const BAD_RECORDS_OVER: Duration = Duration::from_secs(60);

/// `bad_records.at_least`: a share of fewer records says little.
pub const BAD_RECORDS_AT_LEAST: u64 = 1000;

/// `on_missing_parent.wait`: two topics that are read side by side are rarely further apart.
pub const MISSING_PARENT_WAIT: Duration = Duration::from_secs(30);

/// `retry.transient.first`: shorter than a person notices, longer than a fail-over's first refusals.
pub const TRANSIENT_FIRST: Duration = Duration::from_millis(50);

/// `retry.transient.max`: after an outage, work goes on within half a minute.
pub const TRANSIENT_MAX: Duration = Duration::from_secs(30);

/// `retry.ambiguous.first`: gives a restarting server a second before its answer is asked for.
pub const AMBIGUOUS_FIRST: Duration = Duration::from_secs(1);

/// `retry.ambiguous.attempts`: with `first` about fifteen seconds in all.
pub const AMBIGUOUS_ATTEMPTS: u32 = 5;

/// `timeouts.connect`: a cross-region handshake with TLS takes less than a second.
pub const CONNECT: Duration = Duration::from_secs(10);

/// `timeouts.statement`: below librdkafka's default session timeout of 45 s.
pub const STATEMENT: Duration = Duration::from_secs(30);

/// `timeouts.lock`: waits out a short DDL, reports a long one.
pub const LOCK: Duration = Duration::from_secs(10);

/// `timeouts.idle_in_transaction`: a stopped process gives up its locks.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(15);

/// `timeouts.takeover`: how long a new owner waits for a stopped one's row lock before it ends that
/// session.
pub const TAKEOVER: Duration = Duration::from_secs(5);

/// `timeouts.drain`: below Kubernetes' default grace period of 30 s.
pub const DRAIN: Duration = Duration::from_secs(25);

/// `http.listen`: loopback, so that nothing is exposed unasked.
pub const HTTP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// librdkafka's default of `session.timeout.ms`.
pub const KAFKA_SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// librdkafka's default of `max.poll.interval.ms`.
pub const KAFKA_MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);
