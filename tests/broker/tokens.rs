//! Logins by SASL/OAUTHBEARER whose tokens come from a provider and last for a few seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lab::servers::{Kafka, KafkaOptions};

use super::cluster::{Cluster, unique};
use super::{Member, partition};

/// A broker with a second listener that asks for tokens. They aren't signed: whether a signature holds is
/// between broker and provider.
fn broker() -> &'static (Kafka, String) {
    static BROKER: OnceLock<(Kafka, String)> = OnceLock::new();
    BROKER.get_or_init(|| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listeners = format!(
            "PLAINTEXT://127.0.0.1:{{port}},TOKENS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{{controller}}"
        );
        let advertised = format!("PLAINTEXT://127.0.0.1:{{port}},TOKENS://127.0.0.1:{port}");
        let module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";
        let settings = [
            ("listeners", listeners.as_str()),
            ("advertised.listeners", &advertised),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,TOKENS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
            ("listener.name.tokens.sasl.enabled.mechanisms", "OAUTHBEARER"),
            ("listener.name.tokens.oauthbearer.sasl.jaas.config", module),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let kafka = Kafka::start(&KafkaOptions { settings, ..KafkaOptions::default() }).unwrap();
        (kafka, format!("127.0.0.1:{port}"))
    })
}

/// A provider of tokens that end soon.
struct Provider {
    url: String,
    /// With which status it answers.
    status: Arc<AtomicU16>,
    answers: Arc<AtomicUsize>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let (status, answers) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (said, counted) = (Arc::clone(&status), Arc::clone(&answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, said.load(Ordering::SeqCst));
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, status, answers }
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    fn properties(&self) -> Vec<(&str, &str)> {
        vec![
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", &self.url),
            ("sasl.oauthbearer.client.id", "reader"),
            ("sasl.oauthbearer.client.secret", "hidden&secret"),
            ("sasl.oauthbearer.scope", "kafka"),
        ]
    }
}

/// One request. Only who knows the secret is given a token.
fn answer(mut stream: TcpStream, status: u16) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut knows, mut line) = (0, false, String::new());
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        // reader:hidden%26secret
        knows |= line.trim().ends_with("Basic cmVhZGVyOmhpZGRlbiUyNnNlY3JldA==");
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let asks = String::from_utf8(body).unwrap() == "grant_type=client_credentials&scope=kafka";
    let status = if knows && asks { status } else { 401 };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"sub\":\"reader\",\"iat\":{now},\"exp\":{}}}", now + 6);
    let token =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), URL_SAFE_NO_PAD.encode(claims));
    let body = match status {
        200 => format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":6}}"),
        _ => "{\"error\":\"invalid_client\",\"error_description\":\"who is it?\"}".to_owned(),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

#[test]
fn tokens_of_a_provider_are_renewed_while_records_flow() {
    let (kafka, bootstrap) = broker();
    let cluster = Cluster::at(kafka.bootstrap());
    let topic = cluster.topic("tokens", 1, &[]);
    let writer = cluster.writer(&[]);
    let provider = Provider::start();
    let mut member = Member::join(bootstrap, &unique("tokens"), &topic, &provider.properties());
    let at = partition(&topic, 0);
    for round in 1..=4_i64 {
        writer.put_many(&topic, 0, (0..10).map(|n| n.to_string()));
        member.until("the records", |member| member.last_end(&at) == Some(round * 10));
        let seen = provider.answers();
        member.until("another token", |_| provider.answers() > seen);
    }
    assert_eq!(member.offsets(&at), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_provider_that_gives_none_is_the_cause_that_is_told() {
    let (kafka, bootstrap) = broker();
    let cluster = Cluster::at(kafka.bootstrap());
    let topic = cluster.topic("refused", 1, &[]);
    cluster.writer(&[]).put_many(&topic, 0, (0..10).map(|n| n.to_string()));
    let provider = Provider::start();
    provider.status.store(401, Ordering::SeqCst);
    let mut member = Member::join(bootstrap, &unique("refused"), &topic, &provider.properties());
    member.until("the cause", |member| {
        member.problems.iter().any(|it| it.message.contains("401") && it.message.contains("invalid_client"))
    });
    assert!(!format!("{:?}", member.problems).contains("hidden"));
    // It asks again by itself.
    provider.status.store(200, Ordering::SeqCst);
    let at = partition(&topic, 0);
    member.until("the records", |member| member.last_end(&at) == Some(10));
}
