//! The pages of `docs/halts/`, followed to the letter: what they tell is provoked, what they say is typed,
//! and it goes on without a restart where they say so.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lab::generator::Plan;
use lab::process::{Running, free_address};
use lab::servers::{Kafka, KafkaOptions, PgOptions, Postgres};
use lab::{checker, sql};

use super::log::series;
use super::outage::{on_kafka, on_postgres};
use super::{SOON, Scene};

/// Waits until partitions stand still with a code.
#[track_caller]
fn await_halted(worker: &Running, http: &str, code: &str) {
    let series_of = format!("tidegate_partitions_halted{{code=\"{code}\"");
    let stands = |_: &Running| series(http, &series_of).is_some_and(|count| count > 0.0);
    let halted = worker.await_condition(&format!("{code} is told"), SOON, stands);
    assert!(halted.is_ok(), "{halted:?}\n{}", worker.errors());
}

/// Types `tidegate resume`, and returns what it said.
#[track_caller]
fn resume(scene: &Scene) -> String {
    let arguments = ["--topic", &scene.fresh.topic, "--reason", "it is mended"].map(str::to_owned);
    let ended = scene.program().args(arguments).call("resume", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    ended.output
}

/// Waits for the end of the log and proves the scene, by the same worker.
#[track_caller]
fn prove_goes_on(scene: &Scene, worker: &Running) {
    let reached = checker::await_offsets(scene.subject(), &scene.ends(), SOON);
    assert!(reached.is_ok(), "{reached:?}\n{}", worker.errors());
    assert!(worker.alive(), "{}", worker.errors());
    scene.prove();
}

#[test]
fn misfits_of_a_wrong_deploy_pass_once_somebody_says_so_and_later_ones_are_judged_again() {
    let mut scene = Scene::new("misfits pass", 2);
    scene.more = "bad_records: {halt_above: 0.5, over: 10m, at_least: 100}\n".to_owned();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    scene.send(&Plan { poison: 1.0, ..Plan::events(2_000) });
    await_halted(&worker, &http, "TG-302");
    // The producer is mended; what it sent lies in the log.
    scene.send(&Plan::events(500));
    let topic = scene.fresh.topic.clone();
    let dry = ["--topic", &topic, "--dry-run"].map(str::to_owned);
    let told = scene.program().args(dry).call("resume", SOON).unwrap();
    assert!(told.output.contains(&format!("{topic}[0] would go on")), "{}{}", told.output, told.errors);
    let told = resume(&scene);
    assert!(told.contains(&format!("{topic}[0] goes on (it stood still: TG-302: ")), "{told}");
    assert!(told.contains("whatever doesn't fit goes to the quarantine"), "{told}");
    prove_goes_on(&scene, &worker);
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.quarantine"), 2_000);
    let decided =
        "SELECT count(*) FROM tidegate.decisions WHERE action = 'resume' AND reason = 'it is mended'";
    assert_eq!(scene.number(decided), 2);
    let spans = scene.number("SELECT count(*) FROM tidegate.spans");
    assert_eq!(spans, 0, "counts go on");
    scene.send(&Plan { poison: 1.0, ..Plan::events(2_000) });
    await_halted(&worker, &http, "TG-302");
    assert!(scene.number("SELECT count(*) FROM tidegate.quarantine") < 4_000);
    resume(&scene);
    prove_goes_on(&scene, &worker);
}

/// Writes other bytes at a place of a file, and returns what was there.
fn overwrite(file: &Path, place: u64, bytes: &[u8]) -> Vec<u8> {
    let disk = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut before = vec![0; bytes.len()];
    disk.read_exact_at(&mut before, place).unwrap();
    disk.write_all_at(bytes, place).unwrap();
    (&disk).flush().unwrap();
    before
}

#[test]
fn a_batch_that_is_damaged_on_the_brokers_disk_is_read_once_it_is_mended() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut scene = on_kafka("damaged batch", &kafka);
    scene.send(&Plan::events(500));
    let segment = kafka.first_segment(&scene.fresh.topic, 1).unwrap();
    // The last byte belongs to the value of a record.
    let place = std::fs::metadata(&segment).unwrap().len() - 2;
    let before = overwrite(&segment, place, b"\x01");
    assert_ne!(before, b"\x01");
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halted(&worker, &http, "TG-105");
    overwrite(&segment, place, &before);
    let told = resume(&scene);
    assert!(told.contains("[1] goes on (it stood still: TG-105: "), "{told}");
    prove_goes_on(&scene, &worker);
}

#[test]
fn an_index_that_is_damaged_is_rebuilt_and_its_partitions_go_on() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    if postgres.is_given() {
        println!("SKIPPED: the disk of this PostgreSQL is out of reach");
        return;
    }
    let mut scene = on_postgres("damaged index", &postgres);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(2_000));
    scene.await_caught_up();
    let superuser = postgres.superuser_database_url("app");
    let one = |sql: &str| sql::value(&superuser, sql).unwrap();
    let path = one(
        "SELECT pg_catalog.current_setting('data_directory') || '/' || pg_catalog.pg_relation_filepath(indexrelid) \
         FROM pg_catalog.pg_index WHERE indrelid = 'public.events'::regclass AND indisprimary",
    );
    let blocks: u64 = one("SELECT pg_catalog.pg_relation_size('public.events_pkey') / 8192").parse().unwrap();
    postgres.stop().unwrap();
    for block in 1..blocks {
        // Zeros are a page that was never written: PostgreSQL tells it from a sound one without checksums.
        overwrite(Path::new(&path), block * 8192, &[0; 8192]);
    }
    postgres.start_again().unwrap();
    scene.send(&Plan { redelivered: 0.5, ..Plan::events(500) });
    await_halted(&worker, &http, "TG-304");
    sql::query(&superuser, "REINDEX INDEX public.events_pkey").unwrap();
    let told = resume(&scene);
    assert!(told.contains("goes on (it stood still: TG-304: "), "{told}");
    prove_goes_on(&scene, &worker);
}

#[test]
fn an_outage_longer_than_its_tries_is_tried_again_by_itself() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("end of tries", &postgres);
    scene.more = "retry: {transient: {strategy: fixed, first: 50ms, attempts: 3, then: halt}}\n".to_owned();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(300));
    scene.await_caught_up();
    postgres.stop().unwrap();
    scene.send(&Plan::events(300));
    await_halted(&worker, &http, "TG-305");
    postgres.start_again().unwrap();
    prove_goes_on(&scene, &worker);
}

#[test]
fn two_members_of_one_static_name_are_told_apart_by_a_name_of_their_own() {
    let mut scene = Scene::new("one static name", 2);
    scene.kafka = "  group.instance.id: one\n".to_owned();
    scene.send(&Plan::events(300));
    let first = scene.worker();
    scene.await_caught_up();
    let second = scene.worker();
    Scene::await_log(&first, "TG-107");
    drop(first);
    scene.kafka = "  group.instance.id: two\n".to_owned();
    let mended = scene.worker();
    scene.send(&Plan::events(300));
    prove_goes_on(&scene, &mended);
    assert!(second.alive(), "{}", second.errors());
}
