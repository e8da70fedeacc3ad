//! Servers that are away, are others than they were taken for, or refuse: real ones. The last line tells the
//! cause and what to look at.

use lab::process::free_address;
use lab::servers::{Listener, SecuredKafka};

use super::super::servers::Place;
use super::records::told;
use super::written;

/// Addresses, what a machine's resolver says, and librdkafka's own words, which stand in brackets in front of
/// what to check: it has other words for the same when it tries again.
fn without_chance(text: &str, addresses: &[(String, &str)]) -> String {
    let text = addresses.iter().fold(text.to_owned(), |text, (address, word)| text.replace(address, word));
    let line = |line: &str| match (line.find(" ("), line.rfind("); check ")) {
        (Some(from), Some(to)) if from < to => format!("{} (…{}\n", &line[..from], &line[to..]),
        _ => line.replace("Temporary failure in name resolution", "Name or service not known") + "\n",
    };
    text.lines().map(line).collect()
}

#[test]
fn kafka_that_is_away_or_refuses() {
    let place = Place::new("wrong_kafka").with_table();
    place.expect("init", 0);
    let secured = SecuredKafka::start().unwrap();
    secured.set_password("reader", "right-word").unwrap();
    let (nobody, postgres) = (free_address(), place.fresh.postgres_address.clone());
    let plain = place.fresh.bootstrap.clone();
    let [login, secure] = [Listener::Login, Listener::Secure].map(|of| secured.bootstrap(of));
    let ca = |name: &str| format!("--set kafka.ssl.ca.location={}", secured.file(name).display());
    let user = |password: &str| {
        format!(
            "--set kafka.sasl.mechanisms=SCRAM-SHA-256 --set kafka.sasl.username=reader --set \
             kafka.sasl.password={password}"
        )
    };
    let at = |address: &str, rest: &str| format!("check --set kafka.bootstrap.servers={address} {rest}");
    let protocol = |name: &str| format!("--set kafka.security.protocol={name}");
    let turns = [
        ("nobody listens", at(&nobody, "")),
        ("a name that leads nowhere", at("no-such-host.invalid:9092", "")),
        ("the port of PostgreSQL", at(&postgres, "")),
        ("TLS to a broker without", at(&plain, &protocol("ssl"))),
        (
            "no TLS to a broker with",
            at(&secure, &format!("{} {}", protocol("sasl_plaintext"), user("right-word"))),
        ),
        (
            "another authority",
            at(&secure, &format!("{} {} {}", protocol("sasl_ssl"), ca("other.crt"), user("right-word"))),
        ),
        ("a wrong password", at(&login, &format!("{} {}", protocol("sasl_plaintext"), user("wrong-word")))),
        ("no login", at(&login, "")),
        (
            "a right that is missing",
            at(&login, &format!("{} {}", protocol("sasl_plaintext"), user("right-word"))),
        ),
    ];
    let mut addresses = vec![
        (nobody, "NOBODY"),
        (postgres, "POSTGRES"),
        (plain, "PLAIN"),
        (login, "LOGIN"),
        (secure, "SECURE"),
        (secured.file("other.crt").display().to_string(), "OTHER-AUTHORITY"),
    ];
    addresses.push((place.fresh.topic.clone(), "TOPIC"));
    let mut text = String::new();
    for (title, command) in turns {
        let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
        text += &told(&place, title, &command);
    }
    let text = without_chance(&text, &addresses);
    assert!(!text.replace("kafka.sasl.password=", "").contains("word'"), "{text}");
    written("kafka", text);
}

#[test]
fn postgres_that_is_away_or_refuses() {
    let place = Place::new("wrong_postgres").with_table();
    let (nobody, kafka) = (free_address(), place.fresh.bootstrap.clone());
    let address = place.fresh.postgres_address.clone();
    let database = place.fresh.database.clone();
    let url = |rest: &str| format!("check --set timeouts.connect=2s --set postgres.url=postgres://{rest}");
    let turns = [
        ("nobody listens", url(&format!("app@{nobody}/app"))),
        ("a name that leads nowhere", url("app@no-such-host.invalid/app")),
        ("a socket that isn't there", url("app@%2Fno%2Fsuch%2Ffolder/app")),
        ("the port of Kafka", url(&format!("app@{kafka}/app"))),
        ("a database that isn't there", url(&format!("app@{address}/no_such_database"))),
        ("a user that isn't there", url(&format!("nobody_here@{address}/{database}"))),
        ("TLS to a server without", url(&format!("app@{address}/{database}?sslmode=require"))),
    ];
    let mut text = String::new();
    for (title, command) in turns {
        text += &told(&place, title, &command);
    }
    written(
        "postgres",
        without_chance(
            &text,
            &[(nobody, "NOBODY"), (kafka, "KAFKA"), (address, "HOST:PORT"), (database, "DATABASE")],
        ),
    );
}
