//! Real servers: Apache Kafka and PostgreSQL, found by a ladder and run on random loopback ports.
//!
//! The rungs, each printed when it is tried: addresses in the environment (`TIDEGATE_LAB_KAFKA`,
//! `TIDEGATE_LAB_POSTGRES`) → local binaries → Maven artefacts pinned in `pom.xml` → Docker compose → an
//! error that lists them all. Data lives in a temporary folder; the keeper ends and removes everything with
//! this process. A missing server is an error, never a reason to skip a test.

mod compose;
mod connect;
mod kafka;
mod kafka_programs;
mod kept_log;
mod ladder;
mod maven;
pub(crate) mod ports;
mod postgres;

mod rights;
mod secured;

pub use connect::Connect;
pub use kafka::{Kafka, KafkaOptions};
pub use kept_log::KeptLog;
pub(crate) use postgres::with_database;
pub use postgres::{PgOptions, PgVersion, Postgres, SmallDisk};
pub use rights::{Resource, Right};
pub use secured::{Listener, SecuredKafka};

use anyhow::{Context, Result};
use ladder::Ladder;
use std::sync::OnceLock;

/// One broker and one PostgreSQL for everything in this process that doesn't need its own.
///
/// They can't be stopped or paused through this value: what provokes outages starts servers of its own.
#[derive(Debug)]
pub struct Shared {
    kafka: Kafka,
    postgres: Postgres,
}

impl Shared {
    /// `bootstrap.servers` for clients.
    pub fn bootstrap(&self) -> &str {
        self.kafka.bootstrap()
    }

    /// `host:port` of PostgreSQL.
    pub fn postgres_address(&self) -> &str {
        self.postgres.address()
    }

    /// The superuser's url (with a given server: as it was given).
    pub fn superuser_url(&self) -> String {
        self.postgres.superuser_url()
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        &self.postgres
    }
}

/// The shared servers of this process, started at the first call.
///
/// # Panics
/// When there is none to be had, with every rung of the ladder and what would mend it.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    match SHARED.get_or_init(|| start_shared().map_err(|error| format!("{error:#}"))) {
        Ok(shared) => shared,
        Err(error) => panic!("the servers of the lab can't be had: {error}"),
    }
}

fn start_shared() -> Result<Shared> {
    std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::shared(&KafkaOptions::default()));
        let postgres =
            Postgres::shared(&PgOptions { version: version_from_environment()?, ..PgOptions::default() });
        let kafka = kafka.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Shared { kafka: kafka.context("Kafka")?, postgres: postgres.context("PostgreSQL")? })
    })
}

fn version_from_environment() -> Result<PgVersion> {
    let name = std::env::var("TIDEGATE_LAB_POSTGRES_VERSION").unwrap_or_default();
    let name = if name.is_empty() { "any" } else { &name };
    PgVersion::named(name).with_context(|| {
        format!("TIDEGATE_LAB_POSTGRES_VERSION is {name}; allowed are {}", PgVersion::NAMES.join(", "))
    })
}

/// The address in the environment, if there is one; tells which.
fn given(server: &str, variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|value| !value.is_empty());
    match &address {
        Some(_) => Ladder::new(server).take("environment", variable),
        None => Ladder::new(server).skip("environment", format!("{variable} is not set"), "set it"),
    }
    address
}

impl Kafka {
    /// The broker given in the environment, else one that is started.
    pub fn shared(options: &KafkaOptions) -> Result<Kafka> {
        match given("Kafka", "TIDEGATE_LAB_KAFKA") {
            Some(bootstrap) => Kafka::given(&bootstrap),
            None => Kafka::start(options),
        }
    }
}

impl Postgres {
    /// The server given in the environment, else one that is started.
    pub fn shared(options: &PgOptions) -> Result<Postgres> {
        match given("PostgreSQL", "TIDEGATE_LAB_POSTGRES") {
            Some(url) => Postgres::given(&url),
            None => Postgres::start(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fresh;
    use crate::sql;

    fn major(postgres: &Postgres) -> i64 {
        sql::number(&postgres.url(), "SELECT current_setting('server_version_num')::int / 10000").unwrap()
    }

    #[test]
    fn each_fixture_has_a_database_of_its_own_that_its_role_may_write() {
        let (one, two) = (Fresh::new("one"), Fresh::new("two"));
        for fresh in [&one, &two] {
            sql::query(&fresh.url, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
            assert_eq!(sql::number(&fresh.url, "SELECT count(*) FROM t").unwrap(), 1);
        }
        assert_ne!(one.topic, two.topic);
        let gone = one.database.clone();
        drop(one);
        let query = format!("SELECT count(*) FROM pg_database WHERE datname = '{gone}'");
        assert_eq!(sql::number(&two.superuser_url, &query).unwrap(), 0);
    }

    #[test]
    fn postgres_keeps_its_data_and_port_over_every_kind_of_end() {
        for (version, expected) in [(PgVersion::V18, 18), (PgVersion::V15, 15)] {
            let postgres = Postgres::start(&PgOptions { version, ..PgOptions::default() }).unwrap();
            assert_eq!(major(&postgres), expected);
            let url = postgres.url();
            sql::query(&url, "CREATE TABLE t (n int)").unwrap();
            for (number, name) in ["stop", "immediate", "kill"].into_iter().enumerate() {
                sql::query(&url, &format!("INSERT INTO t VALUES ({number})")).unwrap();
                match name {
                    "stop" => postgres.stop().unwrap(),
                    "immediate" => postgres.stop_immediate().unwrap(),
                    _ => postgres.kill9().unwrap(),
                }
                assert!(sql::query(&url, "SELECT 1").is_err(), "{name}");
                postgres.start_again().unwrap();
                let rows = sql::number(&url, "SELECT count(*) FROM t").unwrap();
                assert_eq!(rows, i64::try_from(number).unwrap() + 1, "{name}");
            }
            postgres.pause().unwrap();
            let asked = url.clone();
            let answer = std::thread::spawn(move || sql::number(&asked, "SELECT 7"));
            postgres.resume().unwrap();
            assert_eq!(answer.join().unwrap().unwrap(), 7);
        }
    }

    #[test]
    fn kafka_comes_back_on_its_port_after_every_kind_of_end() {
        let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
        let bootstrap = kafka.bootstrap().to_owned();
        kafka.restart().unwrap();
        kafka.kill9().unwrap();
        kafka.start_again().unwrap();
        kafka.pause().unwrap();
        kafka.resume().unwrap();
        assert_eq!(kafka.bootstrap(), bootstrap);
        Kafka::given(&bootstrap).unwrap();
    }
}
