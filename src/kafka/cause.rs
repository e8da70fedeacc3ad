//! From librdkafka's words about a broker that is out of reach to the cause and the key that puts it right.
//!
//! librdkafka gives one code to many causes and tells them apart in prose. The phrases below are those of the
//! version that is linked; what matches none is told in its own words.

use std::fmt;

use crate::engine::halt::HaltCode;

/// Why a broker can't be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// Its name leads to no address.
    Unresolved,
    /// Nobody listens at its address.
    NobodyListens,
    /// It, or the way to it, doesn't answer.
    Silent,
    /// It speaks TLS, and we don't.
    WantsTls,
    /// We speak TLS, and it doesn't.
    NoTls,
    /// It wants a login, and we offer none.
    WantsLogin,
    /// Its certificate is signed by an authority that we don't trust.
    UnknownAuthority,
    /// Its certificate is too old, or too new.
    OutOfDate,
    /// Its certificate names another host.
    OtherName,
    /// Its certificate can't be trusted for another reason.
    Untrusted,
    /// It wants a certificate of ours, and there is none.
    WantsCertificate,
    /// It doesn't take our certificate.
    CertificateRefused,
    /// It doesn't offer the mechanism of our login.
    Mechanism,
    /// It refuses user or password.
    Credentials,
    /// There is no token to log in with.
    NoToken,
    /// It is too old for this client.
    Outdated,
    /// What listens there is no Kafka broker.
    NoKafka,
    /// Something else, told in librdkafka's own words.
    Other,
}

/// Phrases of failures, with their causes; the first that is found decides.
const PHRASES: [(&str, Cause); 25] = [
    ("Failed to resolve", Cause::Unresolved),
    ("Connection refused", Cause::NobodyListens),
    ("connecting to a PLAINTEXT broker listener?", Cause::NoTls),
    ("wrong version number", Cause::NoTls),
    ("packet length too long", Cause::NoTls),
    ("unexpected eof while reading", Cause::NoTls),
    // The broker's notice that what it got is no TLS, read as a length: type 21 and version 3.
    (TLS_NOTICE, Cause::WantsTls),
    ("alert number 116", Cause::WantsCertificate),
    ("client SSL authentication might be required", Cause::WantsCertificate),
    ("alert number 42", Cause::CertificateRefused),
    ("alert number 43", Cause::CertificateRefused),
    ("alert number 44", Cause::CertificateRefused),
    ("alert number 45", Cause::CertificateRefused),
    ("alert number 46", Cause::CertificateRefused),
    ("alert number 48", Cause::CertificateRefused),
    ("mechanism handshake failed", Cause::Mechanism),
    ("OAUTHBEARER token", Cause::NoToken),
    ("there is no token available", Cause::NoToken),
    ("SASL authentication", Cause::Credentials),
    ("SaslAuthenticateRequest failed", Cause::Credentials),
    ("certificate verify failed", Cause::Untrusted),
    ("verify broker certificate", Cause::Untrusted),
    ("broker version < 0.10", Cause::Outdated),
    ("timed out", Cause::Silent),
    ("No route to host", Cause::Silent),
];

/// The first four bytes of TLS's answer to what is no TLS, read as a length.
const TLS_NOTICE: &str = "Invalid response size 35";

/// An answer to the first question of all that makes no sense: its length, and when it came.
const NONSENSE: (&str, &str) = ("Invalid response size", "in state APIVERSION_QUERY");

/// How librdkafka begins to tell of a connection that the other side closed.
const CLOSED: &str = "Disconnected";

/// A connection is new for so long, in milliseconds: what it is used for first is refused in that time.
const NEW_MS: u64 = 2000;

impl Cause {
    /// Decides by librdkafka's words with the state of the connection behind them, by what OpenSSL found
    /// wrong with the broker's certificate (`X509_V_ERR_*`), and by whether we have a certificate to show.
    pub(super) fn of(words: &str, verdict: Option<i32>, has_certificate: bool) -> Self {
        if words.starts_with(CLOSED) {
            return Self::of_closing(words);
        }
        if words.contains(NONSENSE.0) && words.contains(NONSENSE.1) && !words.contains(TLS_NOTICE) {
            return Self::NoKafka;
        }
        let found = PHRASES.iter().find(|(phrase, _)| words.contains(phrase));
        match (found.map_or(Self::Other, |(_, cause)| *cause), verdict) {
            (Self::Untrusted, Some(verdict)) => match verdict {
                9 | 10 => Self::OutOfDate,
                2 | 18..=21 | 27 => Self::UnknownAuthority,
                62..=64 => Self::OtherName,
                _ => Self::Untrusted,
            },
            (Self::CertificateRefused, _) if !has_certificate => Self::WantsCertificate,
            (Self::WantsCertificate, _) if has_certificate => Self::CertificateRefused,
            (cause, _) => cause,
        }
    }

    /// A broker that closes a connection without a word doesn't like how it began: what it heard first, or,
    /// once that was fine, that no login followed. One that ends just then does the same, and can't be told
    /// apart.
    fn of_closing(words: &str) -> Self {
        let Some((_, behind)) = words.rsplit_once(" (after ") else { return Self::Other };
        let Some((time, state)) = behind.split_once("ms in state ") else { return Self::Other };
        let is_new = time.parse().is_ok_and(|time: u64| time < NEW_MS);
        if state.starts_with("SSL_HANDSHAKE") {
            Self::NoTls
        } else if state.starts_with("APIVERSION_QUERY") {
            Self::WantsTls
        } else if is_new && state.starts_with("UP") {
            Self::WantsLogin
        } else {
            Self::Other
        }
    }

    /// Whether it is certain, and no waiting cures it: one side refuses the other (TG-106), and someone must
    /// change something first.
    pub const fn is_lasting(self) -> bool {
        match self {
            Self::UnknownAuthority
            | Self::OutOfDate
            | Self::OtherName
            | Self::Untrusted
            | Self::WantsCertificate
            | Self::CertificateRefused
            | Self::Mechanism
            | Self::Credentials
            | Self::NoToken => true,
            Self::Unresolved
            | Self::NobodyListens
            | Self::Silent
            | Self::WantsTls
            | Self::NoTls
            | Self::WantsLogin
            | Self::Outdated
            | Self::NoKafka
            | Self::Other => false,
        }
    }

    /// Whether more of the same is to be expected within seconds, so that a command needn't wait for it.
    pub(super) const fn is_plain(self) -> bool {
        !matches!(self, Self::Silent | Self::Other | Self::Outdated)
    }

    /// What follows the broker's name in a sentence.
    const fn says(self) -> &'static str {
        match self {
            Self::Unresolved => "has a name that leads to no address",
            Self::NobodyListens => "refuses connections: nobody listens there",
            Self::Silent => "doesn't answer",
            Self::WantsTls => "seems to expect TLS, and we speak without",
            Self::NoTls => "doesn't seem to speak TLS, and we do",
            Self::WantsLogin => "seems to expect a login, and we offer none",
            Self::UnknownAuthority => "shows a certificate of an authority that isn't trusted",
            Self::OutOfDate => "shows a certificate that has expired or isn't valid yet",
            Self::OtherName => "shows a certificate that names another host",
            Self::Untrusted => "shows a certificate that can't be trusted",
            Self::WantsCertificate => "expects a certificate, and we have none to show",
            Self::CertificateRefused => "refuses our certificate",
            Self::Mechanism => "doesn't offer the mechanism of our login",
            Self::Credentials => "refused our credentials",
            Self::NoToken => "can't be logged in to without a token",
            Self::Outdated => "may be too old for this client",
            Self::NoKafka => "answers what no Kafka broker does: another program seems to listen there",
            Self::Other => "can't be used",
        }
    }

    /// What to look at.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unresolved => {
                "check kafka.bootstrap.servers, the name service, and the listeners that the brokers advertise"
            }
            Self::NobodyListens | Self::Silent | Self::Other => {
                "check kafka.bootstrap.servers, the network, and that the brokers run"
            }
            Self::WantsTls => "check kafka.security.protocol (SSL or SASL_SSL) and the port",
            Self::NoTls => "check kafka.security.protocol (PLAINTEXT or SASL_PLAINTEXT) and the port",
            Self::WantsLogin => {
                "check kafka.security.protocol (SASL_SSL or SASL_PLAINTEXT) and kafka.sasl.mechanisms"
            }
            Self::UnknownAuthority => "check kafka.ssl.ca.location",
            Self::OutOfDate => "renew the broker's certificate, or put this machine's clock right",
            Self::OtherName => {
                "check that kafka.bootstrap.servers and the listeners that the brokers advertise name the host \
                 as its certificate does"
            }
            Self::Untrusted => "check kafka.ssl.ca.location and the broker's certificate",
            Self::WantsCertificate | Self::CertificateRefused => {
                "check kafka.ssl.certificate.location and kafka.ssl.key.location, and which authority the \
                 brokers trust"
            }
            Self::Mechanism => "check kafka.sasl.mechanisms against what the broker offers",
            Self::Credentials => "check kafka.sasl.username and kafka.sasl.password",
            Self::NoToken => "check the keys kafka.sasl.oauthbearer.*",
            Self::Outdated => "Kafka 3.9 or newer is needed",
            Self::NoKafka => "check host and port in kafka.bootstrap.servers",
        }
    }
}

/// A broker that can't be used at present, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerTrouble {
    /// `host:port`, or what librdkafka calls it.
    pub broker: String,
    /// Why.
    pub cause: Cause,
    /// librdkafka's words, without secrets.
    pub words: String,
}

impl BrokerTrouble {
    /// The trouble in a line, with its halt and what to look at.
    pub fn told(&self) -> String {
        let halt = if self.cause.is_lasting() { HaltCode::KafkaDenied.code() } else { "" };
        let colon = if halt.is_empty() { "" } else { ": " };
        format!("{halt}{colon}{self}; {}", self.cause.remedy())
    }
}

impl fmt::Display for BrokerTrouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {} ({})", self.broker, self.cause.says(), self.words)
    }
}

/// The broker in a line of librdkafka's log, as an address where it has one, and the rest of the line, which
/// may begin with the name of a thread.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = named(line)?;
    // sasl_ssl://host:port/bootstrap, or host:port/1
    let address = name.split_once("://").map_or(name, |(_, address)| address);
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    // A name that stands for a role brings its address with the words.
    match rest.split_once(": ") {
        Some((at, rest)) if !address.contains(':') && is_address(at) => Some((at, rest)),
        _ => Some((address, rest)),
    }
}

/// The same with the broker's whole name: several can stand for one address.
pub(super) fn named(line: &str) -> Option<(&str, &str)> {
    let line = match line.strip_prefix("[thrd:") {
        Some(rest) => rest.split_once("]: ")?.1,
        None => line,
    };
    line.split_once(": ")
}

fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    matches!(port, Some(Ok(_))) && !text.contains(' ')
}

/// The words without what librdkafka says of the time and the code behind them, and without the places in
/// OpenSSL's own source.
pub(super) fn bare(words: &str) -> String {
    let words = words.rfind(" (after ").map_or(words, |at| &words[..at]);
    let is_place = |word: &str| word.split_once(".c:").is_some_and(|(_, line)| line.contains(':'));
    words.split(' ').filter(|word| !is_place(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_VERIFIED: &str = "SSL handshake failed: ../ssl/statem/statem_clnt.c:1889:tls_post_process_server_certificate \
        error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify \
        that ssl.ca.location is correctly configured (after 7ms in state SSL_HANDSHAKE) (_SSL)";

    const ALERT_42: &str = "Receive failed: ../ssl/record/rec_layer_s3.c:1601:ssl3_read_bytes error:0A000412:SSL \
        routines::sslv3 alert bad certificate: SSL alert number 42 (after 2ms in state APIVERSION_QUERY) (_TRANSPORT)";

    const CLOSED_WITH: &str = "Disconnected: connection closed by peer: receive 0 after POLLIN (after ";

    /// As librdkafka 2.12 and OpenSSL 3 say it: the words, OpenSSL's verdict, whether we have a certificate.
    const LINES: [(&str, Option<i32>, bool, Cause); 19] = [
        (
            "Failed to resolve 'nosuch.invalid:9092': Name or service not known",
            None,
            false,
            Cause::Unresolved,
        ),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", None, false, Cause::NobodyListens),
        ("Connection setup timed out in state CONNECT", None, false, Cause::Silent),
        ("Disconnected", None, false, Cause::Other),
        ("Receive failed: Invalid response size 352518912 (0..100000000)", None, false, Cause::WantsTls),
        (
            "SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker \
             listener? (after 4ms in state SSL_HANDSHAKE)",
            None,
            false,
            Cause::NoTls,
        ),
        (NOT_VERIFIED, Some(20), false, Cause::UnknownAuthority),
        (NOT_VERIFIED, Some(10), false, Cause::OutOfDate),
        (NOT_VERIFIED, Some(64), false, Cause::OtherName),
        (NOT_VERIFIED, Some(23), false, Cause::Untrusted),
        (NOT_VERIFIED, None, false, Cause::Untrusted),
        (ALERT_42, None, false, Cause::WantsCertificate),
        (ALERT_42, None, true, Cause::CertificateRefused),
        (
            "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
             mechanisms: SCRAM-SHA-512",
            None,
            false,
            Cause::Mechanism,
        ),
        (
            "SASL authentication error: Authentication failed during authentication due to invalid credentials \
             with SASL mechanism SCRAM-SHA-256 (after 305ms in state AUTH_REQ) (_AUTHENTICATION)",
            None,
            false,
            Cause::Credentials,
        ),
        (
            "Receive failed: Invalid response size 1157627904 (0..100000000): increase receive.message.max.bytes \
             (after 2ms in state APIVERSION_QUERY)",
            None,
            false,
            Cause::NoKafka,
        ),
        (
            "Receive failed: Invalid response size 157627904 (0..100000000): increase receive.message.max.bytes \
             (after 2000ms in state UP)",
            None,
            false,
            Cause::Other,
        ),
        ("OAUTHBEARER cannot log in because there is no token available", None, false, Cause::NoToken),
        ("ApiVersionRequest failed: probably due to broker version < 0.10", None, false, Cause::Outdated),
    ];

    #[test]
    fn a_connection_that_is_closed_is_told_by_its_state() {
        for (behind, cause) in [
            ("1ms in state SSL_HANDSHAKE)", Cause::NoTls),
            ("2ms in state APIVERSION_QUERY)", Cause::WantsTls),
            ("3ms in state UP) (_TRANSPORT)", Cause::WantsLogin),
            ("90000ms in state UP)", Cause::Other),
        ] {
            assert_eq!(Cause::of(&format!("{CLOSED_WITH}{behind}"), None, false), cause, "{behind}");
        }
    }

    #[test]
    fn each_failure_is_told_by_its_cause() {
        for (words, verdict, has_certificate, cause) in LINES {
            assert_eq!(Cause::of(words, verdict, has_certificate), cause, "{words}");
        }
    }

    #[test]
    fn words_are_told_without_times_and_places_in_sources() {
        assert_eq!(
            bare(ALERT_42),
            "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42"
        );
    }

    #[test]
    fn a_broker_is_told_by_its_address() {
        let cases = [
            (
                "[thrd:sasl_ssl://a.b:9093/bootstrap]: sasl_ssl://a.b:9093/bootstrap: SASL: no (after 3ms in state X)",
                ("a.b:9093", "SASL: no"),
            ),
            (
                "[thrd:main]: 127.0.0.1:9092/1: Broker changed state A -> UP",
                ("127.0.0.1:9092", "Broker changed state A -> UP"),
            ),
            ("[thrd:GroupCoordinator]: GroupCoordinator: a:1: Connect failed", ("a:1", "Connect failed")),
            ("[thrd:GroupCoordinator]: GroupCoordinator: why: how", ("GroupCoordinator", "why: how")),
            ("[::1]:9092/1: gone", ("[::1]:9092", "gone")),
        ];
        for (line, (broker, words)) in cases {
            let told = split(line).map(|(broker, words)| (broker, bare(words)));
            assert_eq!(told, Some((broker, words.to_owned())), "{line}");
        }
        assert_eq!(split("nothing"), None);
    }
}
