//! librdkafka's property names and those that a configuration may not set.
//!
//! The names are those of librdkafka 2.12's CONFIGURATION.md for consumers (C/P `*` and `C`), global and
//! topic level; a test compares them with that file.

/// Properties that a configuration may set.
pub(super) const ALLOWED: &[&str] = &[
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "debug",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "https.ca.location",
    "https.ca.pem",
    "internal.termination.signal",
    "log.connection.close",
    "log.thread.name",
    "log_level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.jitter.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.blocking.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

const OFFSETS: &str = "Tidegate keeps offsets in PostgreSQL, in the transaction of the rows, and tells \
    the group about them by itself";
const ALIAS_BOOTSTRAP: &str = "use bootstrap.servers, its usual name";
const CODE: &str = "it runs a command or loads code, which a configuration file must not be able to do";
const CALLBACK: &str = "it takes a pointer into a program, not text";
const INTERFACE: &str = "it belongs to an interface of librdkafka that Tidegate doesn't use";
const EVENTS: &str = "Tidegate receives librdkafka's events itself; its own metrics are on /metrics";

/// Properties of librdkafka that a configuration may not set, each with the reason.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "a misspelt topic must not come into being"),
    ("auto.commit.enable", OFFSETS),
    ("auto.commit.interval.ms", OFFSETS),
    (
        "auto.offset.reset",
        "every partition starts where PostgreSQL says; the key `start` says where a topic that is new to the \
         pipeline begins",
    ),
    ("check.crcs", "records are always checked against their checksums"),
    ("enable.auto.commit", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("offset.store.method", OFFSETS),
    ("offset.store.path", OFFSETS),
    ("offset.store.sync.interval.ms", OFFSETS),
    ("enable.partition.eof", "Tidegate needs these events to see where a partition ends"),
    (
        "isolation.level",
        "only committed records are read: those of aborted transactions must not reach the table",
    ),
    ("group.protocol.type", "the protocol of a consumer group is `consumer`, and nothing else is supported"),
    ("topic.blacklist", "which topics are read is what `routes` say"),
    ("metadata.broker.list", ALIAS_BOOTSTRAP),
    ("statistics.interval.ms", EVENTS),
    ("enabled_events", EVENTS),
    ("log.queue", EVENTS),
    ("builtin.features", "it tells how librdkafka was built and can't be set"),
    ("plugin.library.paths", CODE),
    ("sasl.kerberos.kinit.cmd", CODE),
    ("ssl.engine.id", CODE),
    ("ssl.engine.location", CODE),
    ("ssl.providers", CODE),
    ("background_event_cb", CALLBACK),
    ("closesocket_cb", CALLBACK),
    ("connect_cb", CALLBACK),
    ("consume.callback.max.messages", INTERFACE),
    ("consume_cb", CALLBACK),
    ("default_topic_conf", CALLBACK),
    ("error_cb", CALLBACK),
    ("interceptors", CALLBACK),
    ("log_cb", CALLBACK),
    ("oauthbearer_token_refresh_cb", CALLBACK),
    ("offset_commit_cb", CALLBACK),
    ("opaque", CALLBACK),
    ("open_cb", CALLBACK),
    ("rebalance_cb", CALLBACK),
    ("resolve_cb", CALLBACK),
    ("socket_cb", CALLBACK),
    ("ssl.certificate.verify_cb", CALLBACK),
    ("ssl_ca", CALLBACK),
    ("ssl_certificate", CALLBACK),
    ("ssl_engine_callback_data", CALLBACK),
    ("ssl_key", CALLBACK),
    ("stats_cb", CALLBACK),
    ("throttle_cb", CALLBACK),
];

/// Families of properties that a configuration may not set, by the beginning of their names.
pub(super) const REFUSED_PREFIXES: &[(&str, &str)] = &[
    ("test.mock.", "it replaces the brokers by imitations in memory"),
    ("go.", "it belongs to Confluent's client for Go; Tidegate passes librdkafka's own properties"),
    ("schema.registry.", "the format json needs no schema registry"),
];

/// Names from Kafka's Java client and what takes their place here.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    ("key.deserializer", "how records are decoded is what a route's `format` says"),
    ("value.deserializer", "how records are decoded is what a route's `format` says"),
    ("max.poll.records", "what one transaction takes is what `limits.batch_rows` says"),
    ("fetch.max.wait.ms", "librdkafka calls it fetch.wait.max.ms"),
    ("sasl.jaas.config", "librdkafka takes sasl.username and sasl.password instead"),
    ("ssl.truststore.location", "librdkafka takes PEM certificates: ssl.ca.location"),
    ("ssl.truststore.password", "librdkafka takes PEM certificates: ssl.ca.location"),
    ("ssl.truststore.certificates", "librdkafka calls it ssl.ca.pem"),
    ("ssl.truststore.type", "librdkafka takes PEM certificates: ssl.ca.location"),
    ("ssl.keystore.type", "librdkafka takes PKCS#12: ssl.keystore.location, or PEM: ssl.key.location"),
    ("ssl.protocol", "librdkafka negotiates the protocol; ssl.cipher.suites narrows it"),
    ("auto.register.schemas", "Tidegate only reads"),
];

/// Whether this is the name of a property that is known and can't be set.
pub(super) fn is_refused(name: &str) -> bool {
    REFUSED.iter().chain(FOREIGN).any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::super::secret::is_secret_property;
    use super::*;

    /// librdkafka's own list, in the sources that cargo unpacked; `None` where they aren't kept.
    fn configuration_md() -> Option<String> {
        let cargo_home = option_env!("CARGO_HOME").map(PathBuf::from);
        let home = cargo_home.or_else(|| Some(Path::new(option_env!("HOME")?).join(".cargo")))?;
        for registry in std::fs::read_dir(home.join("registry/src")).ok()?.flatten() {
            for package in std::fs::read_dir(registry.path()).ok()?.flatten() {
                let name = package.file_name().to_string_lossy().into_owned();
                if name.starts_with("rdkafka-sys-") && name.contains("+2.12") {
                    return std::fs::read_to_string(package.path().join("librdkafka/CONFIGURATION.md")).ok();
                }
            }
        }
        None
    }

    /// The names of consumer properties with their descriptions.
    fn consumer_properties(text: &str) -> Vec<(String, String)> {
        let row = |line: &str| {
            let line = line.replace("\\|", "/");
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (name, side) = (cells.first()?, cells.get(1)?);
            matches!(*side, "C" | "*").then(|| ((*name).to_owned(), cells.last().unwrap_or(&"").to_string()))
        };
        text.lines().filter_map(row).collect()
    }

    #[test]
    fn every_consumer_property_of_librdkafka_is_allowed_or_refused() {
        let Some(text) = configuration_md() else {
            eprintln!("librdkafka's CONFIGURATION.md isn't there; nothing to compare with");
            return;
        };
        let theirs: BTreeSet<String> = consumer_properties(&text)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !REFUSED_PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix)))
            .collect();
        assert!(theirs.len() > 100, "the table was read: {}", theirs.len());
        let ours: BTreeSet<String> =
            ALLOWED.iter().copied().chain(REFUSED.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn no_property_is_both_allowed_and_refused() {
        let refused = |name: &&&str| REFUSED.iter().any(|(other, _)| other == *name);
        let both: Vec<_> = ALLOWED.iter().filter(refused).collect();
        assert!(both.is_empty(), "{both:?}");
        let mut sorted = ALLOWED.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, ALLOWED, "sorted, none twice");
    }

    #[test]
    fn properties_that_hold_secrets_are_masked() {
        let masked: Vec<&str> = ALLOWED.iter().copied().filter(|name| is_secret_property(name)).collect();
        let expected = [
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
            "sasl.oauthbearer.client.credentials.client.id",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.extensions",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
        ];
        assert_eq!(masked, expected);
    }
}
