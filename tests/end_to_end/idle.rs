//! What a process costs while it has nothing to do but wait for Kafka.

use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::process::{Running, Tidegate, free_address};
use lab::servers::{Kafka, KafkaOptions};
use lab::vitals;

use super::log::series;
use super::{SOON, Scene};

/// What comes before is the beginning of the outage, and may cost something.
const BEGINNING: Duration = Duration::from_secs(10);

/// How long is looked on.
const WINDOW: Duration = Duration::from_secs(20);

/// A fortieth of a processor: a hundredth is the goal, a build with checks on a busy machine takes twice as
/// much, and a loop that spins takes all of it.
const CPU_MAX: Duration = Duration::from_millis(500);

/// Lines of its log within the window.
const LINES_MAX: usize = 20;

fn pass(worker: &Running, time: Duration) {
    let begun = Instant::now();
    worker.await_condition("the time to pass", time + SOON, |_| begun.elapsed() >= time).unwrap();
}

/// Looks on while Kafka is away.
fn prove_idle(worker: &Running, http: &str) {
    // The series begins at 0, so that the outage itself has to be told as well.
    let away = |worker: &Running| {
        let up = series(http, "tidegate_dependency_up{dependency=\"kafka\"");
        up == Some(0.0) && worker.errors().contains("Kafka is away")
    };
    worker.await_condition("Kafka seen away", SOON, away).unwrap();
    pass(worker, BEGINNING);
    let (cpu, lines) = (cpu(worker), worker.errors().lines().count());
    pass(worker, WINDOW);
    let spent = self::cpu(worker) - cpu;
    let written = worker.errors().lines().count() - lines;
    assert!(spent <= CPU_MAX, "{spent:?} of {WINDOW:?} on processors:\n{}", worker.errors());
    assert!(written <= LINES_MAX, "{written} lines:\n{}", worker.errors());
}

fn cpu(worker: &Running) -> Duration {
    vitals::of(worker.id()).expect("it runs").cpu
}

#[test]
fn waiting_for_a_kafka_that_nobody_runs_costs_next_to_nothing() {
    let mut scene = Scene::new("nobody listens", 1);
    scene.bootstrap = free_address();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    prove_idle(&worker, &http);
}

#[test]
fn waiting_for_a_kafka_that_is_stopped_costs_next_to_nothing() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut fresh = Fresh::new("stopped");
    fresh.bootstrap = kafka.bootstrap().to_owned();
    let mut scene = Scene::of(fresh, 2, &[], &Options::default());
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    kafka.stop().unwrap();
    prove_idle(&worker, &http);
    kafka.start_again().unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    scene.prove();
}

#[test]
fn waiting_for_a_kafka_that_speaks_no_tls_costs_next_to_nothing() {
    let scene = Scene::new("no tls", 1);
    let http = free_address();
    let config = scene.config(&http).replacen("kafka:\n", "kafka:\n  security.protocol: ssl\n", 1);
    let program = Tidegate::new(std::path::Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap();
    let worker = program.start("run").unwrap();
    prove_idle(&worker, &http);
}
