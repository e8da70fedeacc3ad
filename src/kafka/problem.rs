//! From what librdkafka reports to what is done about it.
//!
//! The match is exhaustive over the codes of the librdkafka that is linked: a new code doesn't compile
//! until it is decided here. A code that only a newer broker knows is informational: the guarantee
//! doesn't rest on it, since PostgreSQL decides what counts.

use rdkafka::types::RDKafkaRespErr as Code;

use super::ffi::{Fault, code_name};
use super::unpacking;
use crate::engine::halt::HaltCode;
use crate::engine::position::TopicPartition;

/// Something that went wrong between the brokers and us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What to do about it.
    pub kind: ProblemKind,
    /// The partition, where librdkafka names one.
    pub partition: Option<TopicPartition>,
    /// librdkafka's name of the code, such as `_ALL_BROKERS_DOWN`.
    pub code: String,
    /// What it says about the case at hand.
    pub message: String,
    /// The client is dead, whatever the kind: every partition is lost without a further event, and a
    /// new client must be built before anything goes on.
    pub fatal: bool,
}

/// What a problem asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProblemKind {
    /// Nothing: librdkafka goes on by itself. Worth a metric.
    Informational,
    /// Drop what is in flight; the loss itself follows as an event, and polling goes on.
    OwnershipLost,
    /// Destroy this client and build a new one in its place.
    Rebuild,
    /// Halt with the message: the configuration of this member, the group or the cluster must change.
    Configuration,
    /// Halt with the message and try again slowly: someone must grant a right or renew a secret.
    Authorization,
    /// The offset or the topic isn't there: look at the log, then halt the partition by name.
    Position,
    /// The bytes of the log can't be read: halt the partition, never quarantine.
    Corruption,
    /// A batch can't be unpacked, and this client doesn't know whether it is damaged or too large: look again
    /// with one that does ([`super::properties::Unpacking::Weighed`]).
    Suspect,
    /// A batch unpacks to more than the client takes: let it take more, or halt the partition.
    Oversized,
}

impl From<unpacking::Cause> for ProblemKind {
    fn from(cause: unpacking::Cause) -> Self {
        match cause {
            unpacking::Cause::Damaged => Self::Corruption,
            unpacking::Cause::TooLarge => Self::Oversized,
            unpacking::Cause::Either => Self::Suspect,
        }
    }
}

impl Problem {
    pub(super) fn of(partition: Option<TopicPartition>, fault: Fault) -> Self {
        let kind = ProblemKind::of(fault.code, fault.fatal);
        Self { kind, partition, code: code_name(fault.code), message: fault.message, fatal: fault.fatal }
    }

    /// The problem in a line, with its halt and what to do where someone must do something.
    pub fn told(&self) -> String {
        let Self { code, message, kind, .. } = self;
        match advice(code, *kind) {
            Some((halt, remedy)) => format!("{}: {code}: {message}; {remedy}", halt.code()),
            None => format!("{code}: {message}"),
        }
    }

    /// Whether it concerns the connection to a broker, which the client also tells as that broker's trouble.
    pub fn is_of_connection(&self) -> bool {
        matches!(self.code.as_str(), "_AUTHENTICATION" | "_SSL" | "SASL_AUTHENTICATION_FAILED")
    }

    /// The topic that is refused, where it is one. librdkafka names that of a subscription in prose only.
    pub fn topic(&self) -> Option<&str> {
        if !self.code.starts_with("TOPIC_") {
            return None;
        }
        let named = self.message.split_once(UNAVAILABLE).and_then(|(_, rest)| rest.split_once(": "));
        let of_partition = self.partition.as_ref().map(|partition| &*partition.topic);
        of_partition.or(named.map(|(topic, _)| topic)).or(Some("a topic"))
    }

    /// Whether the client must be destroyed before anything goes on.
    pub fn needs_new_client(&self) -> bool {
        self.fatal || self.kind == ProblemKind::Rebuild
    }
}

impl ProblemKind {
    /// Decides by code, and by whether the client says that it can't go on.
    pub(super) fn of(code: i32, fatal: bool) -> Self {
        let kind = Code::try_from(code).map_or(Self::Informational, of_known);
        match kind {
            Self::Configuration | Self::Authorization => kind,
            _ if fatal => Self::Rebuild,
            _ => kind,
        }
    }
}

/// How librdkafka begins what it says of a topic that is subscribed to and can't be read.
const UNAVAILABLE: &str = "Subscribed topic not available: ";

/// The halt that a refusal by Kafka means, and what to do about it.
pub(super) fn advice(code: &str, kind: ProblemKind) -> Option<(HaltCode, &'static str)> {
    const MEMBERSHIP: [&str; 4] = [
        "FENCED_INSTANCE_ID",
        "UNRELEASED_INSTANCE_ID",
        "INCONSISTENT_GROUP_PROTOCOL",
        "GROUP_MAX_SIZE_REACHED",
    ];
    match (kind, code) {
        (ProblemKind::Authorization, "TOPIC_AUTHORIZATION_FAILED") => {
            Some((HaltCode::KafkaDenied, "grant READ and DESCRIBE on the topic"))
        }
        (ProblemKind::Authorization, "GROUP_AUTHORIZATION_FAILED") => {
            Some((HaltCode::KafkaDenied, "grant READ on the group"))
        }
        (ProblemKind::Authorization, "_AUTHENTICATION" | "_SSL" | "SASL_AUTHENTICATION_FAILED") => {
            Some((HaltCode::KafkaDenied, "check the keys kafka.sasl.* and kafka.ssl.*"))
        }
        (ProblemKind::Authorization, _) => Some((HaltCode::KafkaDenied, HaltCode::KafkaDenied.remedy())),
        (ProblemKind::Configuration, code) if MEMBERSHIP.contains(&code) => {
            Some((HaltCode::GroupConflict, HaltCode::GroupConflict.remedy()))
        }
        _ => None,
    }
}

fn of_known(code: Code) -> ProblemKind {
    match code {
        // The group gave our partitions to others, or is about to.
        Code::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED
        | Code::RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST
        | Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
        | Code::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED => ProblemKind::OwnershipLost,
        // This client is of no use any more.
        Code::RD_KAFKA_RESP_ERR__FATAL
        | Code::RD_KAFKA_RESP_ERR__FENCED
        | Code::RD_KAFKA_RESP_ERR__DESTROY
        | Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE
        | Code::RD_KAFKA_RESP_ERR_INVALID_REQUEST => ProblemKind::Rebuild,
        // Nothing but another configuration, of this member or of the cluster, helps.
        Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID
        | Code::RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID
        | Code::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
        | Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID
        | Code::RD_KAFKA_RESP_ERR__INVALID_ARG
        | Code::RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED
        | Code::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_GROUP
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PROTOCOL
        | Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | Code::RD_KAFKA_RESP_ERR__NOT_CONFIGURED
        | Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | Code::RD_KAFKA_RESP_ERR_SECURITY_DISABLED
        | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION => ProblemKind::Configuration,
        // Someone must grant a right or renew a secret.
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | Code::RD_KAFKA_RESP_ERR__SSL
        | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE
        | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTH_DISABLED
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_OWNER_MISMATCH
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
        | Code::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_EXPIRED
        | Code::RD_KAFKA_RESP_ERR_INVALID_PRINCIPAL_TYPE
        | Code::RD_KAFKA_RESP_ERR_PRINCIPAL_DESERIALIZATION_FAILURE
        | Code::RD_KAFKA_RESP_ERR_UNACCEPTABLE_CREDENTIAL => ProblemKind::Authorization,
        // The log isn't what it was, or not there: the partition is looked at before it goes on.
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        | Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | Code::RD_KAFKA_RESP_ERR__NO_OFFSET => ProblemKind::Position,
        // The bytes can't be read, so there is no record to keep.
        Code::RD_KAFKA_RESP_ERR_INVALID_MSG
        | Code::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
        | Code::RD_KAFKA_RESP_ERR__BAD_MSG
        | Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION
        | Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR__INCONSISTENT
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
        | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
        | Code::RD_KAFKA_RESP_ERR_INVALID_RECORD
        | Code::RD_KAFKA_RESP_ERR__UNDERFLOW => ProblemKind::Corruption,
        // librdkafka goes on by itself; producers' codes, which no consumer meets, are here too.
        Code::RD_KAFKA_RESP_ERR__BEGIN
        | Code::RD_KAFKA_RESP_ERR__FAIL
        | Code::RD_KAFKA_RESP_ERR__TRANSPORT
        | Code::RD_KAFKA_RESP_ERR__RESOLVE
        | Code::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | Code::RD_KAFKA_RESP_ERR__PARTITION_EOF
        | Code::RD_KAFKA_RESP_ERR__FS
        | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
        | Code::RD_KAFKA_RESP_ERR__QUEUE_FULL
        | Code::RD_KAFKA_RESP_ERR__ISR_INSUFF
        | Code::RD_KAFKA_RESP_ERR__NODE_UPDATE
        | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
        | Code::RD_KAFKA_RESP_ERR__IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR__EXISTING_SUBSCRIPTION
        | Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        | Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
        | Code::RD_KAFKA_RESP_ERR__CONFLICT
        | Code::RD_KAFKA_RESP_ERR__STATE
        | Code::RD_KAFKA_RESP_ERR__OUTDATED
        | Code::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | Code::RD_KAFKA_RESP_ERR__WAIT_CACHE
        | Code::RD_KAFKA_RESP_ERR__INTR
        | Code::RD_KAFKA_RESP_ERR__KEY_SERIALIZATION
        | Code::RD_KAFKA_RESP_ERR__VALUE_SERIALIZATION
        | Code::RD_KAFKA_RESP_ERR__KEY_DESERIALIZATION
        | Code::RD_KAFKA_RESP_ERR__VALUE_DESERIALIZATION
        | Code::RD_KAFKA_RESP_ERR__PARTIAL
        | Code::RD_KAFKA_RESP_ERR__READ_ONLY
        | Code::RD_KAFKA_RESP_ERR__NOENT
        | Code::RD_KAFKA_RESP_ERR__INVALID_TYPE
        | Code::RD_KAFKA_RESP_ERR__RETRY
        | Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE
        | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        | Code::RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE
        | Code::RD_KAFKA_RESP_ERR__UNKNOWN_BROKER
        | Code::RD_KAFKA_RESP_ERR__APPLICATION
        | Code::RD_KAFKA_RESP_ERR__NOOP
        | Code::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD
        | Code::RD_KAFKA_RESP_ERR__DESTROY_BROKER
        | Code::RD_KAFKA_RESP_ERR__END
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN
        | Code::RD_KAFKA_RESP_ERR_NO_ERROR
        | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
        | Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_STALE_CTRL_EPOCH
        | Code::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
        | Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        | Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | Code::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS
        | Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE
        | Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
        | Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
        | Code::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | Code::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
        | Code::RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT
        | Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
        | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
        | Code::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER
        | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE
        | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING
        | Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        | Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS
        | Code::RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED
        | Code::RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED
        | Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
        | Code::RD_KAFKA_RESP_ERR_LOG_DIR_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID
        | Code::RD_KAFKA_RESP_ERR_REASSIGNMENT_IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP
        | Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH
        | Code::RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED
        | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_STALE_BROKER_EPOCH
        | Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE
        | Code::RD_KAFKA_RESP_ERR_ELECTION_NOT_NEEDED
        | Code::RD_KAFKA_RESP_ERR_NO_REASSIGNMENT_IN_PROGRESS
        | Code::RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC
        | Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
        | Code::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED
        | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | Code::RD_KAFKA_RESP_ERR_RESOURCE_NOT_FOUND
        | Code::RD_KAFKA_RESP_ERR_DUPLICATE_RESOURCE
        | Code::RD_KAFKA_RESP_ERR_INCONSISTENT_VOTER_SET
        | Code::RD_KAFKA_RESP_ERR_INVALID_UPDATE_VERSION
        | Code::RD_KAFKA_RESP_ERR_FEATURE_UPDATE_FAILED
        | Code::RD_KAFKA_RESP_ERR_UNKNOWN_SUBSCRIPTION_ID
        | Code::RD_KAFKA_RESP_ERR_TELEMETRY_TOO_LARGE
        | Code::RD_KAFKA_RESP_ERR_REBOOTSTRAP_REQUIRED
        | Code::RD_KAFKA_RESP_ERR_END_ALL => ProblemKind::Informational,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a consumer can meet, row by row.
    const ROWS: [(ProblemKind, &str); 7] = [
        (
            ProblemKind::Informational,
            "_TRANSPORT _ALL_BROKERS_DOWN _RESOLVE _TIMED_OUT _TIMED_OUT_QUEUE _WAIT_COORD _RETRY _PARTITION_EOF \
             _NODE_UPDATE LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT \
             COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR REBALANCE_IN_PROGRESS \
             KAFKA_STORAGE_ERROR FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH OFFSET_NOT_AVAILABLE \
             THROTTLING_QUOTA_EXCEEDED UNSTABLE_OFFSET_COMMIT BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE \
             NETWORK_EXCEPTION FETCH_SESSION_ID_NOT_FOUND REBOOTSTRAP_REQUIRED UNKNOWN",
        ),
        (
            ProblemKind::OwnershipLost,
            "_MAX_POLL_EXCEEDED _ASSIGNMENT_LOST ILLEGAL_GENERATION UNKNOWN_MEMBER_ID FENCED_MEMBER_EPOCH \
             STALE_MEMBER_EPOCH MEMBER_ID_REQUIRED",
        ),
        (ProblemKind::Rebuild, "_FATAL _FENCED _DESTROY _CRIT_SYS_RESOURCE INVALID_REQUEST"),
        (
            ProblemKind::Configuration,
            "FENCED_INSTANCE_ID UNRELEASED_INSTANCE_ID INCONSISTENT_GROUP_PROTOCOL UNSUPPORTED_ASSIGNOR \
             UNSUPPORTED_VERSION INVALID_GROUP_ID _INVALID_ARG GROUP_MAX_SIZE_REACHED INVALID_SESSION_TIMEOUT \
             UNSUPPORTED_SASL_MECHANISM TOPIC_EXCEPTION",
        ),
        (
            ProblemKind::Authorization,
            "_AUTHENTICATION _SSL SASL_AUTHENTICATION_FAILED TOPIC_AUTHORIZATION_FAILED \
             GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED DELEGATION_TOKEN_EXPIRED",
        ),
        (
            ProblemKind::Position,
            "_AUTO_OFFSET_RESET OFFSET_OUT_OF_RANGE _LOG_TRUNCATION UNKNOWN_TOPIC_OR_PART UNKNOWN_TOPIC_ID \
             _UNKNOWN_TOPIC _UNKNOWN_PARTITION",
        ),
        (
            ProblemKind::Corruption,
            "INVALID_MSG INVALID_MSG_SIZE _BAD_MSG _BAD_COMPRESSION MSG_SIZE_TOO_LARGE _INCONSISTENT",
        ),
    ];

    fn code_of(name: &str) -> i32 {
        (-200..200)
            .find(|code| code_name(*code) == name)
            .unwrap_or_else(|| panic!("librdkafka has no code {name}"))
    }

    #[test]
    fn each_code_asks_for_what_its_row_says() {
        for (kind, names) in ROWS {
            for name in names.split_whitespace() {
                assert_eq!(ProblemKind::of(code_of(name), false), kind, "{name}");
            }
        }
    }

    #[test]
    fn a_dead_client_is_rebuilt_unless_someone_must_act_first() {
        for (kind, names) in ROWS {
            let expected = match kind {
                ProblemKind::Configuration | ProblemKind::Authorization => kind,
                _ => ProblemKind::Rebuild,
            };
            for name in names.split_whitespace() {
                let fault = Fault { code: code_of(name), message: String::new(), fatal: true };
                let problem = Problem::of(None, fault);
                assert_eq!(problem.kind, expected, "{name}");
                assert!(problem.needs_new_client(), "{name}");
            }
        }
    }

    #[test]
    fn a_code_of_a_newer_broker_is_informational() {
        assert_eq!(ProblemKind::of(32_000, false), ProblemKind::Informational);
    }
}
