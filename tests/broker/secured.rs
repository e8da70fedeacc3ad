//! Brokers that refuse us, and why: each cause is told with what to look at.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::servers::{Listener, Resource, Right, SecuredKafka};
use lab::topics::Topics;
use tidegate::kafka::{Cause, Error, Inspector};

use super::cluster::unique;
use super::{PATIENCE, partition};

/// Longer than any cause takes to be found that no waiting cures.
const LOOK_UP: Duration = Duration::from_secs(60);

pub(crate) fn secured() -> &'static SecuredKafka {
    static BROKER: OnceLock<SecuredKafka> = OnceLock::new();
    BROKER.get_or_init(|| {
        let secured = SecuredKafka::start().expect("a secured broker");
        secured.set_password("reader", "right-word").expect("a user");
        secured
    })
}

fn properties(bootstrap: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let common = [("bootstrap.servers", bootstrap), ("group.id", "readers")];
    common.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(name: &str) -> String {
    secured().file(name).display().to_string()
}

/// Properties of a login that is refused by nobody.
fn login() -> Vec<(String, String)> {
    properties(
        &secured().bootstrap(Listener::Login),
        &[
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "SCRAM-SHA-256"),
            ("sasl.username", "reader"),
            ("sasl.password", "right-word"),
        ],
    )
}

/// The cause that a look-up is told, and the whole error.
fn cause(properties: &[(String, String)], timeout: Duration) -> (Cause, String) {
    let inspector = Inspector::connect(properties, timeout).expect("valid properties");
    let error = inspector.brokers().expect_err("nobody answers");
    let text = error.to_string();
    match error {
        Error::Timeout { brokers, .. } if !brokers.is_empty() => (brokers[0].cause, text),
        _ => panic!("no cause: {text}"),
    }
}

#[test]
fn each_cause_that_no_waiting_cures_is_told_at_once() {
    let at = |listener| secured().bootstrap(listener);
    let (ca, other) = (file("ca.crt"), file("other.crt"));
    let (foreign, foreign_key) = (file("foreign.crt"), file("foreign.key"));
    let scram = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "SCRAM-SHA-256"),
        ("sasl.username", "reader"),
        ("sasl.password", "wrong-word"),
    ];
    let plain = [&scram[..], &[("sasl.mechanisms", "PLAIN")]].concat();
    let scram_tls = [&scram[..], &[("security.protocol", "sasl_ssl"), ("ssl.ca.location", &ca)]].concat();
    let tls = |ca: &'static str| [("security.protocol", "ssl"), ("ssl.ca.location", ca)];
    let (ca, other) = (&*ca.clone().leak(), &*other.leak());
    let with_foreign =
        [&tls(ca)[..], &[("ssl.certificate.location", &*foreign), ("ssl.key.location", &foreign_key)]]
            .concat();
    let cases: [(&str, Listener, &[(&str, &str)], Cause); 8] = [
        ("password", Listener::Login, &scram, Cause::Credentials),
        ("password over TLS", Listener::Secure, &scram_tls, Cause::Credentials),
        ("mechanism", Listener::Login, &plain, Cause::Mechanism),
        ("authority", Listener::Secure, &tls(other), Cause::UnknownAuthority),
        ("expired", Listener::Expired, &tls(ca), Cause::OutOfDate),
        ("name", Listener::Misnamed, &tls(ca), Cause::OtherName),
        ("no certificate", Listener::Mutual, &tls(ca), Cause::WantsCertificate),
        ("foreign certificate", Listener::Mutual, &with_foreign, Cause::CertificateRefused),
    ];
    let certain =
        cases.iter().map(|(name, listener, pairs, cause)| (*name, *listener, *pairs, *cause, LOOK_UP));
    // A broker that closes the connection doesn't say why; one that ends does the same.
    let brief = Duration::from_secs(5);
    let uncertain = [
        ("no login", Listener::Login, &[][..], Cause::WantsLogin, brief),
        ("plaintext to TLS", Listener::Mutual, &[][..], Cause::WantsTls, brief),
        ("TLS to plaintext", Listener::Login, &tls(ca)[..], Cause::NoTls, brief),
    ];
    let mut wrong = Vec::new();
    for (name, listener, pairs, expected, timeout) in certain.chain(uncertain) {
        let begun = Instant::now();
        let (found, text) = cause(&properties(&at(listener), pairs), timeout);
        println!("{name}: {text}");
        assert!(!text.contains("-word"), "{text}");
        let quick = begun.elapsed() < LOOK_UP / 2;
        if found != expected || !quick || text.starts_with("TG-106: ") != expected.is_lasting() {
            wrong.push((name, found, expected, quick, text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_waiting_may_cure_is_waited_for_and_told_with_its_cause() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (found, text) = cause(&properties(&nobody, &[]), Duration::from_secs(2));
    assert_eq!(found, Cause::NobodyListens, "{text}");
    let (found, text) = cause(&properties("nosuch.invalid:9092", &[]), Duration::from_secs(2));
    assert_eq!(found, Cause::Unresolved, "{text}");
    assert!(text.contains("within 2s") && text.contains("check kafka.bootstrap.servers"), "{text}");
}

#[test]
fn rights_that_are_missing_are_found_without_joining_the_group() {
    let secured = secured();
    let topics = Topics::of(secured.kafka().bootstrap());
    let (closed, described, open) = (unique("closed"), unique("described"), unique("open"));
    for topic in [&closed, &described, &open] {
        topics.create(topic, 1, &[]).unwrap();
    }
    let allow = |right| secured.allow("reader", right).unwrap();
    allow(Right::Describe(Resource::Topic(&described)));
    allow(Right::Read(Resource::Topic(&open)));
    let inspector = Inspector::connect(&login(), Duration::from_secs(30)).expect("valid properties");
    let until = Instant::now() + PATIENCE;
    while inspector.partitions(&open).is_err() || inspector.partitions(&described).is_err() {
        assert!(Instant::now() < until, "the rights don't arrive");
    }
    let places = [partition(&described, 0), partition(&open, 0)];
    let rights = inspector.try_rights(&places, true).expect("tried");
    let denied = rights.partitions[&places[0]].clone().expect_err("READ is missing");
    assert!(denied.to_string().contains("TOPIC_AUTHORIZATION_FAILED"), "{denied}");
    assert!(denied.is_denial() && denied.to_string().starts_with("TG-106"), "{denied}");
    assert_eq!(rights.partitions[&places[1]], Ok(()));
    let denied = rights.group.expect("an answer").expect_err("READ on the group is missing");
    assert!(denied.to_string().contains("grant READ on the group"), "{denied}");
    let denied = inspector.try_rights(&[partition(&closed, 0)], false).expect_err("not even its end");
    assert!(denied.is_denial() || matches!(denied, Error::UnknownTopic { .. }), "{denied}");

    allow(Right::Describe(Resource::Group("readers")));
    let denied = loop {
        let group = inspector.try_rights(&[], true).expect("tried").group.expect("an answer");
        match group {
            Err(error) if error.to_string().contains("trying") => break error,
            found => assert!(Instant::now() < until, "{found:?}"),
        }
    };
    assert!(denied.is_denial(), "{denied}");
    allow(Right::Read(Resource::Group("readers")));
    while inspector.try_rights(&[], true).expect("tried").group != Some(Ok(())) {
        assert!(Instant::now() < until, "the right doesn't arrive");
    }
    // Nothing was committed by it.
    let offsets = Topics::of(secured.kafka().bootstrap()).group_offsets("readers", &open).unwrap();
    assert!(offsets.is_empty(), "{offsets:?}");
}
