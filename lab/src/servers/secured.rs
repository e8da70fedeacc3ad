//! A broker whose clients log in and may do only what they were allowed to.
//!
//! It has a listener for each kind of login. The listener of [`SecuredKafka::kafka`] knows no logins: whoever
//! comes there is the super user, which is the lab.

use super::kafka::{Kafka, KafkaOptions};
use super::ports;
use super::rights::{self, Acl, Mechanism, Right};
use crate::keeper::keeper;
use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// The listeners for clients that log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// `SASL_PLAINTEXT` with SCRAM-SHA-256 and SCRAM-SHA-512.
    Login,
    /// `SASL_SSL` with the same; the certificate names `127.0.0.1` and is signed by `ca.crt`.
    Secure,
    /// `SSL`; the client needs a certificate as well, and is the user `CN=reader` by `client.crt`.
    Mutual,
    /// `SSL` with a certificate that ended in 2020.
    Expired,
    /// `SSL` with a certificate that names another host.
    Misnamed,
}

/// Each with the name under which the broker knows it, and its protocol.
const LISTENERS: [(Listener, &str, &str); 5] = [
    (Listener::Login, "LOGIN", "SASL_PLAINTEXT"),
    (Listener::Secure, "SECURE", "SASL_SSL"),
    (Listener::Mutual, "MUTUAL", "SSL"),
    (Listener::Expired, "EXPIRED", "SSL"),
    (Listener::Misnamed, "MISNAMED", "SSL"),
];

/// How often other ports are tried where somebody else takes one of them first.
const TRIES: u32 = 5;

const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

/// A running broker with users and rights. Dropped, it is killed and its files are removed.
#[derive(Debug)]
pub struct SecuredKafka {
    kafka: Kafka,
    ports: Vec<u16>,
    folder: PathBuf,
}

impl SecuredKafka {
    /// Starts one that knows no user yet and allows nothing.
    pub fn start() -> Result<SecuredKafka> {
        let folder = keeper().folder("secured")?;
        certificates(&folder).context("making certificates")?;
        let mut tries = 0;
        loop {
            tries += 1;
            let ports: Vec<u16> = LISTENERS.iter().map(|_| ports::free()).collect();
            let options = KafkaOptions { settings: settings(&folder, &ports), ..KafkaOptions::default() };
            match Kafka::start(&options) {
                Ok(kafka) => return Ok(SecuredKafka { kafka, ports, folder }),
                // The broker itself tries other ports for its usual listeners only.
                Err(error) if tries < TRIES && format!("{error:#}").contains("in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The broker, as its super user meets it.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// `bootstrap.servers` of a listener.
    pub fn bootstrap(&self, listener: Listener) -> String {
        let at = LISTENERS.iter().position(|(known, ..)| *known == listener).unwrap_or_default();
        format!("127.0.0.1:{}", self.ports[at])
    }

    /// A file for clients: `ca.crt`, `other.crt` (an authority that signed nothing here), `client.crt` and
    /// `client.key` (`CN=reader`), `foreign.crt` and `foreign.key` (signed by `other.crt`).
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the user, or gives it another password, for logins by either SCRAM from now on.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
            rights::set_password(self.kafka.bootstrap(), user, mechanism, password)?;
        }
        Ok(())
    }

    /// Allows something, to a user from any host.
    pub fn allow(&self, user: &str, right: Right<'_>) -> Result<()> {
        rights::create(self.kafka.bootstrap(), &Acl { user, right })
    }

    /// Takes back what [`SecuredKafka::allow`] allowed.
    pub fn disallow(&self, user: &str, right: Right<'_>) -> Result<()> {
        rights::delete(self.kafka.bootstrap(), &Acl { user, right })
    }
}

fn settings(folder: &Path, ports: &[u16]) -> Vec<(String, String)> {
    let mut listeners = "PLAINTEXT://127.0.0.1:{port}".to_owned();
    let mut map = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    let file = |name: &str| folder.join(name).display().to_string();
    for ((listener, name, protocol), port) in LISTENERS.iter().zip(ports) {
        listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
        map.push_str(&format!(",{name}:{protocol}"));
        let prefix = format!("listener.name.{}", name.to_lowercase());
        if protocol.starts_with("SASL") {
            set(&format!("{prefix}.sasl.enabled.mechanisms"), "SCRAM-SHA-256,SCRAM-SHA-512");
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                set(&format!("{prefix}.{mechanism}.sasl.jaas.config"), SCRAM_MODULE);
            }
        }
        let certificate = match listener {
            Listener::Login => continue,
            Listener::Secure | Listener::Mutual => "server.pem",
            Listener::Expired => "expired.pem",
            Listener::Misnamed => "misnamed.pem",
        };
        set(&format!("{prefix}.ssl.keystore.type"), "PEM");
        set(&format!("{prefix}.ssl.keystore.location"), &file(certificate));
        set(&format!("{prefix}.ssl.truststore.type"), "PEM");
        set(&format!("{prefix}.ssl.truststore.location"), &file("ca.crt"));
        let asks = if *listener == Listener::Mutual { "required" } else { "none" };
        set(&format!("{prefix}.ssl.client.auth"), asks);
    }
    set("listeners", &format!("{listeners},CONTROLLER://127.0.0.1:{{controller}}"));
    set("advertised.listeners", &listeners);
    set("listener.security.protocol.map", &map);
    set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    set("super.users", "User:ANONYMOUS");
    set("allow.everyone.if.no.acl.found", "false");
    // A login that is refused is told at once, and the wait is no part of what is tested.
    set("connection.failed.authentication.delay.ms", "100");
    all
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

/// A certificate and its key, each as PEM.
fn signed(
    name: &str,
    host: Option<&str>,
    until: Option<i32>,
    by: &Issuer<'_, KeyPair>,
) -> Result<(String, String)> {
    let hosts: Vec<String> = host.map(str::to_owned).into_iter().collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(year) = until {
        params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
    }
    let usage = if host.is_some() {
        ExtendedKeyUsagePurpose::ServerAuth
    } else {
        ExtendedKeyUsagePurpose::ClientAuth
    };
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, by)?.pem(), key.serialize_pem()))
}

fn certificates(folder: &Path) -> Result<()> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text);
    let (ca, issuer) = authority("lab root")?;
    let (other, stranger) = authority("another root")?;
    write("ca.crt", &ca)?;
    write("other.crt", &other)?;
    for (name, host, until) in [
        ("server", "127.0.0.1", None),
        ("expired", "127.0.0.1", Some(2020)),
        ("misnamed", "broker.example.org", None),
    ] {
        let (certificate, key) = signed(name, Some(host), until, &issuer)?;
        write(&format!("{name}.pem"), &(key + &certificate))?;
    }
    for (name, by) in [("client", &issuer), ("foreign", &stranger)] {
        let (certificate, key) = signed("reader", None, None, by)?;
        write(&format!("{name}.crt"), &certificate)?;
        write(&format!("{name}.key"), &key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Resource;
    use crate::topics::Topics;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use std::time::{Duration, Instant};

    const SOON: Duration = Duration::from_secs(60);

    fn await_answer(config: &ClientConfig, topic: &str, partitions: usize) {
        let until = Instant::now() + SOON;
        loop {
            let client: BaseConsumer = config.create().unwrap();
            let answer = client.fetch_metadata(Some(topic), Duration::from_secs(2));
            let found = answer.as_ref().ok().and_then(|metadata| metadata.topics().first());
            if found.is_some_and(|found| found.partitions().len() == partitions) {
                return;
            }
            assert!(Instant::now() < until, "{config:?}: {:?}", answer.err());
        }
    }

    #[test]
    fn a_secured_broker_lets_in_whom_it_knows_and_shows_what_is_allowed() {
        let secured = SecuredKafka::start().unwrap();
        Topics::of(secured.kafka().bootstrap()).create("guarded", 3, &[]).unwrap();
        secured.set_password("alice", "first").unwrap();
        let file = |name: &str| secured.file(name).display().to_string();
        let mut login = ClientConfig::new();
        login.set("sasl.username", "alice").set("sasl.password", "first");
        let mut plain = login.clone();
        plain.set("bootstrap.servers", secured.bootstrap(Listener::Login));
        plain.set("security.protocol", "sasl_plaintext").set("sasl.mechanisms", "SCRAM-SHA-256");
        await_answer(&plain, "guarded", 0);
        secured.allow("alice", Right::Describe(Resource::Topic("guarded"))).unwrap();
        await_answer(&plain, "guarded", 3);

        let mut secure = login.clone();
        secure.set("bootstrap.servers", secured.bootstrap(Listener::Secure));
        secure.set("security.protocol", "sasl_ssl").set("sasl.mechanisms", "SCRAM-SHA-512");
        secure.set("ssl.ca.location", file("ca.crt"));
        await_answer(&secure, "guarded", 3);

        let mut mutual = ClientConfig::new();
        mutual.set("bootstrap.servers", secured.bootstrap(Listener::Mutual));
        mutual.set("security.protocol", "ssl").set("ssl.ca.location", file("ca.crt"));
        mutual
            .set("ssl.certificate.location", file("client.crt"))
            .set("ssl.key.location", file("client.key"));
        await_answer(&mutual, "guarded", 0);
        secured.allow("CN=reader", Right::Describe(Resource::Topic("guarded"))).unwrap();
        await_answer(&mutual, "guarded", 3);

        secured.disallow("alice", Right::Describe(Resource::Topic("guarded"))).unwrap();
        await_answer(&plain, "guarded", 0);
        secured.set_password("alice", "second").unwrap();
        secured.allow("alice", Right::Read(Resource::Topic("guarded"))).unwrap();
        plain.set("sasl.password", "second");
        await_answer(&plain, "guarded", 3);
    }
}
