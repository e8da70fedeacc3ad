//! Servers that go away and come back: the worker waits, stays in its group, and goes on by itself.

use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::process::{Running, free_address, get};
use lab::proxy::{Link, Proxy};
use lab::servers::{Kafka, KafkaOptions, PgOptions, PgVersion, Postgres};
use lab::{checker, sql};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::log::{prove_untouched, recreate, series};
use super::ownership::{await_progress, flowing, total, while_sending};
use super::{SOON, Scene};

/// Time for a server to come back and for clients to notice, on a machine that is busy with other tests.
const RECOVERED: Duration = Duration::from_secs(240);

/// Retries often, so that a test doesn't wait out a long delay.
const QUICK: &str = "retry: {transient: {strategy: exponential, first: 50ms, max: 1s}}\n";

/// A scene on a PostgreSQL of its own.
pub(super) fn on_postgres(name: &str, postgres: &Postgres) -> Scene {
    let mut fresh = Fresh::new(name);
    fresh.url = postgres.url();
    fresh.superuser_url = postgres.superuser_database_url("app");
    fresh.postgres_address = postgres.address().to_owned();
    let mut scene = Scene::of(fresh, 2, &[], &Options::default());
    scene.more = QUICK.to_owned();
    scene
}

/// A scene on a Kafka of its own.
pub(super) fn on_kafka(name: &str, kafka: &Kafka) -> Scene {
    let mut fresh = Fresh::new(name);
    fresh.bootstrap = kafka.bootstrap().to_owned();
    let mut scene = Scene::of(fresh, 2, &[], &Options::default());
    scene.more = QUICK.to_owned();
    scene
}

/// Waits for the end of the log and proves the scene; shows the worker's log where that fails.
pub(super) fn prove_recovered(scene: &Scene, worker: &Running) {
    let reached = checker::await_offsets(scene.subject(), &scene.ends(), RECOVERED);
    assert!(reached.is_ok(), "{reached:?}\n{}", worker.errors());
    assert!(worker.alive(), "{}", worker.errors());
    scene.prove();
}

#[test]
fn postgresql_ends_and_comes_back_under_load() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("postgres restarts", &postgres);
    scene.more.push_str("limits: {batch_rows: 300}\n");
    let worker = scene.worker();
    let ends: [fn(&Postgres) -> anyhow::Result<()>; 3] =
        [Postgres::stop, Postgres::stop_immediate, Postgres::kill9];
    for end in ends {
        while_sending(&mut scene, flowing(4_000, 4), |scene| {
            await_progress(scene, &worker, total(scene));
            end(&postgres).unwrap();
            postgres.start_again().unwrap();
            await_progress(scene, &worker, total(scene));
        });
        prove_recovered(&scene, &worker);
    }
}

#[test]
fn a_server_that_turns_read_only_is_waited_for_and_nothing_is_written() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("read only", &postgres);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    let set = |change: &str| {
        for sql in [format!("ALTER SYSTEM {change}"), "SELECT pg_reload_conf()".to_owned()] {
            sql::query(&postgres.superuser_url(), &sql).unwrap();
        }
    };
    set("SET default_transaction_read_only = on");
    let up = |wanted: f64| {
        let state =
            |_: &Running| series(&http, "tidegate_dependency_up{dependency=\"postgres\"").unwrap() == wanted;
        worker.await_condition("the state of PostgreSQL", SOON, state).unwrap();
    };
    // Until the reload has reached every session, some records may still be written.
    let mut sent = 0;
    while series(&http, "tidegate_dependency_up{dependency=\"postgres\"").unwrap() > 0.0 && sent < 200 {
        scene.send(&Plan::events(50));
        sent += 1;
    }
    up(0.0);
    await_unready(&worker, &http);
    let written = total(&scene);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(2_000) });
    let tries = || series(&http, "tidegate_retries_total{").unwrap_or_default();
    let before = tries();
    worker.await_condition("more tries", SOON, |_: &Running| tries() >= before + 3.0).unwrap();
    assert_eq!(total(&scene), written, "{}", worker.errors());
    set("RESET default_transaction_read_only");
    prove_recovered(&scene, &worker);
    up(1.0);
    worker.await_http(&http, "/readyz", SOON).unwrap();
}

#[test]
fn a_limit_on_transactions_makes_batches_smaller_and_is_no_outage() {
    let options = PgOptions { version: PgVersion::V18, ..PgOptions::default() };
    let postgres = Postgres::start(&options).unwrap();
    let mut scene = on_postgres("transaction limit", &postgres);
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                'BEGIN PERFORM pg_catalog.pg_sleep(0.01); RETURN new; END'; \
                CREATE TRIGGER slow BEFORE INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION slow()";
    sql::query(&scene.fresh.url, slow).unwrap();
    sql::query(&postgres.superuser_url(), "ALTER ROLE app SET transaction_timeout = '2s'").unwrap();
    scene.send(&Plan::events(1_000));
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    prove_recovered(&scene, &worker);
    let told = worker.errors();
    assert!(told.contains("transaction_timeout"), "{told}");
    assert!(!told.contains("PostgreSQL is away"), "{told}");
    assert!(series(&http, "tidegate_retries_total{class=\"conflict\"").unwrap_or_default() > 0.0, "{told}");
}

#[test]
fn sessions_that_are_terminated_again_and_again_lose_nothing() {
    let mut scene = Scene::new("terminated", 2);
    scene.more =
        "limits: {batch_rows: 200}\nretry: {transient: {strategy: linear, first: 10ms, max: 50ms}}\n"
            .to_owned();
    let worker = scene.worker();
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE application_name LIKE 'tidegate/%' AND datname = current_database()";
    while_sending(&mut scene, flowing(12_000, 12), |scene| {
        let mut ended = 0;
        for _ in 0..15 {
            await_progress(scene, &worker, total(scene));
            ended += sql::number(&scene.fresh.superuser_url, terminate).unwrap();
        }
        assert!(ended > 15, "sessions must have been ended: {ended}");
    });
    prove_recovered(&scene, &worker);
}

/// Whether the worker answers a path with this status.
fn answers(http: &str, path: &str, status: u16) -> bool {
    get(http, path).is_ok_and(|(found, _)| found == status)
}

/// The worker is up and alive, and says that it isn't ready.
fn await_unready(worker: &Running, http: &str) {
    let unready = |_: &Running| answers(http, "/readyz", 503) && answers(http, "/livez", 200);
    worker.await_condition("alive and not ready", SOON, unready).unwrap();
}

#[test]
fn a_postgresql_that_is_away_at_the_start_is_waited_for() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("postgres away", &postgres);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(1_000) });
    postgres.stop().unwrap();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    Scene::await_log(&worker, "waiting: ");
    await_unready(&worker, &http);
    postgres.start_again().unwrap();
    prove_recovered(&scene, &worker);
    worker.await_http(&http, "/readyz", SOON).unwrap();
}

#[test]
fn kafka_ends_and_comes_back_under_load() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka("kafka restarts", &kafka);
    let worker = scene.worker();
    let ends: [fn(&Kafka) -> anyhow::Result<()>; 2] = [Kafka::stop, Kafka::kill9];
    for end in ends {
        while_sending(&mut scene, flowing(4_000, 4), |scene| {
            await_progress(scene, &worker, total(scene));
            end(&kafka).unwrap();
            kafka.start_again().unwrap();
        });
        prove_recovered(&scene, &worker);
    }
}

#[test]
fn a_kafka_that_is_away_at_the_start_is_waited_for() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka("kafka away", &kafka);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(1_000) });
    kafka.stop().unwrap();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_unready(&worker, &http);
    kafka.start_again().unwrap();
    prove_recovered(&scene, &worker);
    worker.await_http(&http, "/readyz", SOON).unwrap();
}

#[test]
fn a_database_that_falls_silent_neither_costs_the_membership_nor_the_memory() {
    const LIMIT: f64 = 4.0 * 1024.0 * 1024.0;
    let mut scene = Scene::new("silence", 2);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.more = format!("{QUICK}limits: {{memory: 4MiB, batch_bytes: 1MiB, record_bytes: 1MiB}}\n");
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(1_000));
    scene.await_caught_up();
    let rebalances = || series(&http, "tidegate_rebalances_total{").unwrap();
    let before = rebalances();
    proxy.link(Link { blackhole: true, ..Link::default() });
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(40_000) });
    // Longer than two sessions of the group.
    let silent_since = Instant::now();
    let over = Duration::from_millis(2 * u64::from(scene.session_ms)) + Duration::from_secs(1);
    let silence = |_: &Running| {
        let held = series(&http, "tidegate_buffered_bytes").unwrap_or_default();
        assert!(held <= 2.0 * LIMIT, "{held} bytes are held");
        silent_since.elapsed() > over
    };
    worker.await_condition("the end of the silence", SOON, silence).unwrap();
    assert!(answers(&http, "/livez", 200), "a silent database must not restart the process");
    assert_eq!(rebalances(), before, "the member stays in the group:\n{}", worker.errors());
    proxy.link(Link::default());
    prove_recovered(&scene, &worker);
    assert_eq!(rebalances(), before, "{}", worker.errors());
    let peak = worker.peak_memory_kib().unwrap();
    assert!(peak < 256 * 1024, "{peak} KiB");
}

/// Time within which an outage must be seen, and its end; a busy machine gets more.
const SEEN: Duration = Duration::from_secs(5 + 10);

/// Lines of its log that a process may write over an outage.
const LINES: usize = 20;

/// An idle worker that has caught up, its address, and the epochs of its partitions.
fn idle(scene: &mut Scene) -> (Running, String, Vec<i64>) {
    // An outage must not cost the membership here: what is left of it are needless claims.
    scene.session_ms = 300_000;
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    scene.await_caught_up();
    worker.await_http(&http, "/readyz", SOON).unwrap();
    let epochs = epochs(scene);
    (worker, http, epochs)
}

fn epochs(scene: &Scene) -> Vec<i64> {
    (0..2)
        .map(|number| {
            scene.number(&format!("SELECT epoch FROM tidegate.progress WHERE partition = {number}"))
        })
        .collect()
}

/// Waits until metrics and readiness say that the dependency is away, or that it answers.
fn await_seen(worker: &Running, http: &str, dependency: &str, up: bool) {
    let name = format!("tidegate_dependency_up{{dependency=\"{dependency}\"");
    let status = if up { 200 } else { 503 };
    let seen = |_: &Running| {
        series(http, &name) == Some(f64::from(u8::from(up))) && answers(http, "/readyz", status)
    };
    worker.await_condition(&format!("{dependency} seen up: {up}"), SEEN, seen).unwrap();
}

/// An outage of so long, between which the worker's log is counted.
fn outage(
    scene: &mut Scene,
    dependency: &str,
    (stop, start): (impl FnOnce(), impl FnOnce()),
    lasting: Duration,
) -> Running {
    let (worker, http, before) = idle(scene);
    let lines = |worker: &Running| worker.errors().lines().count();
    let written = lines(&worker);
    stop();
    let begun = Instant::now();
    await_seen(&worker, &http, dependency, false);
    let over = |_: &Running| begun.elapsed() > lasting;
    worker.await_condition("the end of the outage", lasting + SOON, over).unwrap();
    assert!(answers(&http, "/livez", 200));
    start();
    await_seen(&worker, &http, dependency, true);
    let spoken = if dependency == "kafka" { "Kafka" } else { "PostgreSQL" };
    for edge in [format!("{spoken} is away: "), format!("{spoken} answers again after ")] {
        let told = worker.errors().lines().filter(|line| line.contains(&edge)).count();
        assert_eq!(told, 1, "{edge}:\n{}", worker.errors());
    }
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    prove_recovered(scene, &worker);
    assert_eq!(epochs(scene), before, "nothing was lost, so nothing is claimed anew:\n{}", worker.errors());
    let told = lines(&worker) - written;
    assert!(told <= LINES, "{told} lines:\n{}", worker.errors());
    worker
}

#[test]
fn an_outage_of_kafka_is_told_at_its_edges_and_raises_no_epoch() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka("kafka quiet", &kafka);
    let edges = (|| kafka.stop().unwrap(), || kafka.start_again().unwrap());
    outage(&mut scene, "kafka", edges, Duration::from_secs(30));
}

#[test]
fn an_outage_of_postgresql_is_told_at_its_edges_and_raises_no_epoch() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("postgres quiet", &postgres);
    let edges = (|| postgres.stop().unwrap(), || postgres.start_again().unwrap());
    outage(&mut scene, "postgres", edges, Duration::from_secs(30));
}

/// The ids of the group's members.
fn members(scene: &Scene) -> Vec<String> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &scene.fresh.bootstrap).create().unwrap();
    let groups = consumer.fetch_group_list(Some(&scene.fresh.pipeline), SOON).unwrap();
    groups.groups().iter().flat_map(|group| group.members()).map(|member| member.id().to_owned()).collect()
}

/// A broker that starts again counts the sessions of its groups anew: a member that forgot who it is would
/// join as somebody else, and wait for its former self.
fn outlives_its_session(name: &str, more: &str) {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka(name, &kafka);
    scene.kafka = more.to_owned();
    scene.session_ms = 15_000;
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    worker.await_http(&http, "/readyz", SOON).unwrap();
    let before = members(&scene);
    kafka.stop().unwrap();
    let stopped_at = Instant::now();
    let over = |_: &Running| stopped_at.elapsed() > Duration::from_secs(35);
    worker.await_condition("an outage of two sessions", SOON, over).unwrap();
    kafka.start_again().unwrap();
    await_seen(&worker, &http, "kafka", true);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    prove_recovered(&scene, &worker);
    assert_eq!(members(&scene), before, "{}", worker.errors());
}

#[test]
fn an_outage_longer_than_the_session_costs_no_membership() {
    outlives_its_session("kafka outlives", "");
}

#[test]
fn an_outage_longer_than_the_session_costs_a_static_member_nothing() {
    outlives_its_session("kafka outlives static", "  group.instance.id: worker-1\n");
}

#[test]
fn a_topic_created_anew_behind_an_outage_halts_by_name() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka("kafka another", &kafka);
    let (worker, http, _) = idle(&mut scene);
    let ends = scene.ends();
    kafka.stop().unwrap();
    await_seen(&worker, &http, "kafka", false);
    kafka.start_again().unwrap();
    recreate(&scene, 2, 5_000);
    let halted = |_: &Running| series(&http, "tidegate_partitions_halted{code=\"TG-101\"") == Some(2.0);
    worker.await_condition("both partitions halted by name", SOON, halted).unwrap();
    prove_untouched(&scene, &ends);
}

/// Whether the cluster tells a new client of this topic.
fn is_listed(bootstrap: &str, topic: &str) -> bool {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let found = client.fetch_metadata(Some(topic), SOON);
    found.is_ok_and(|found| found.topics().iter().any(|found| !found.partitions().is_empty()))
}

#[test]
fn a_member_that_is_told_of_no_brokers_when_kafka_thaws_finds_them_again() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut fresh = Fresh::new("kafka hangs");
    fresh.bootstrap = kafka.bootstrap().to_owned();
    let mut scene = Scene::of(fresh, 300, &[], &Options::default());
    let worker = scene.worker();
    scene.send(&Plan::events(300));
    prove_recovered(&scene, &worker);
    kafka.pause().unwrap();
    // Longer than the cluster takes to count the broker as gone: it then tells clients of none for a moment.
    std::thread::sleep(Duration::from_secs(20));
    kafka.resume().unwrap();
    // A cluster that thaws can list it, and then not for a moment.
    let times = std::cell::Cell::new(0);
    let listed = |_: &Running| {
        let is_there = is_listed(&scene.fresh.bootstrap, &scene.fresh.topic);
        times.set(if is_there { times.get() + 1 } else { 0 });
        times.get() == 20
    };
    worker.await_condition("the topic is listed twenty times in a row", RECOVERED, listed).unwrap();
    scene.send(&Plan::events(300));
    prove_recovered(&scene, &worker);
}
