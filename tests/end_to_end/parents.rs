//! Two topics of which one's rows refer to the other's: records that come before their parents.

use std::path::Path;
use std::time::Instant;

use lab::fixture::Fresh;
use lab::process::{Running, Tidegate, free_address};
use lab::sql;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::SOON;

const WAITS: &str = "waiting for rows that foreign keys";

/// Parents come by the topic `….a`, children by `….b`, each of two partitions. With two workers they are in
/// different lanes.
struct Family {
    fresh: Fresh,
    workers: u32,
    /// What the route of the children says of missing parents.
    policy: &'static str,
}

impl Family {
    fn new(name: &str, workers: u32, policy: &'static str, reference: &str) -> Self {
        let fresh = Fresh::new(name);
        let topics = Topics::of(&fresh.bootstrap);
        for suffix in ["a", "b"] {
            topics.create(&format!("{}.{suffix}", fresh.topic), 2, &[]).unwrap();
        }
        let ddl = format!(
            "CREATE TABLE public.parent (id bigint PRIMARY KEY); \
             CREATE TABLE public.child (id bigint PRIMARY KEY, parent bigint CONSTRAINT has_parent {reference}, v bigint)"
        );
        sql::query(&fresh.url, &ddl).unwrap();
        Self { fresh, workers, policy }
    }

    fn program(&self) -> Tidegate {
        let Self { fresh, workers, policy } = self;
        let route = |suffix: &str, table: &str, more: &str| {
            format!(
                "  - topic: {}.{suffix}\n    table: public.{table}\n    key: [id]\n    on_tombstone: delete\n    \
                 columns: {{id: $key.id}}\n{more}",
                fresh.topic
            )
        };
        let config = format!(
            "pipeline: {}\nkafka:\n  bootstrap.servers: {}\n  session.timeout.ms: 6000\n  heartbeat.interval.ms: 1500\n\
             postgres:\n  url: {}\nworkers: {workers}\nlog: {{format: text}}\nhttp: {{listen: {}}}\n\
             bad_records: {{halt_above: 1}}\nroutes:\n{}{}",
            fresh.pipeline,
            fresh.bootstrap,
            fresh.url,
            free_address(),
            route("a", "parent", ""),
            route("b", "child", &format!("    on_missing_parent: {policy}\n")),
        );
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap()
    }

    fn start(&self) -> Running {
        self.program().start("run").unwrap()
    }

    fn send<'a>(&self, suffix: &str, partition: i32, records: impl IntoIterator<Item = (i64, &'a str)>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.fresh.bootstrap);
        let producer: BaseProducer = config.create().unwrap();
        let topic = format!("{}.{suffix}", self.fresh.topic);
        for (id, value) in records {
            let key = format!("{{\"id\":{id}}}");
            let record = BaseRecord::to(&topic).partition(partition).key(&key);
            let record = if value.is_empty() { record } else { record.payload(value) };
            producer.send(record).map_err(|it| it.0).unwrap();
        }
        producer.flush(SOON).unwrap();
    }

    fn parents(&self, ids: impl Iterator<Item = i64>) {
        self.send("a", 0, ids.map(|id| (id, "{}")));
    }

    fn texts(&self, query: &str) -> Vec<String> {
        let rows = sql::query(&self.fresh.url, query).unwrap();
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.into_iter().map(|row| row.into_iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Waits until as many records of the children's partition are settled.
    fn await_children(&self, worker: &Running, partition: i32, settled: i64) {
        let query = format!(
            "SELECT count(*) FROM tidegate.progress WHERE topic = '{}.b' AND partition = {partition} AND \
             next_offset >= {settled}",
            self.fresh.topic
        );
        let done = |_: &Running| sql::number(&self.fresh.url, &query).is_ok_and(|found| found == 1);
        let came = worker.await_condition("the children are settled", SOON, done);
        assert!(came.is_ok(), "{settled} of {partition}: {}", worker.errors());
    }

    fn await_wait(&self, worker: &Running) {
        let waits = worker.await_condition("it waits", SOON, |it| it.errors().contains(WAITS));
        assert!(waits.is_ok(), "{}", worker.errors());
    }

    fn quarantined(&self) -> Vec<String> {
        self.texts(
            "SELECT code, sqlstate, count(*) FROM tidegate.quarantine GROUP BY code, sqlstate ORDER BY code",
        )
    }
}

fn child(parent: i64, v: i64) -> String {
    format!("{{\"parent\":{parent},\"v\":{v}}}")
}

#[test]
fn children_that_come_first_are_written_once_their_parents_come() {
    let cases = [
        (1, "REFERENCES public.parent"),
        (2, "REFERENCES public.parent DEFERRABLE INITIALLY DEFERRED"),
        (1, "REFERENCES public.parent DEFERRABLE INITIALLY DEFERRED"),
        (2, "REFERENCES public.parent"),
    ];
    for (workers, reference) in cases {
        let family = Family::new("children first", workers, "{wait: 10m}", reference);
        let values: Vec<String> = (0..3).flat_map(|v| (0..40).map(move |id| child(id, v))).collect();
        // A child without a parent in front, then orphans, each changed twice.
        family.send("b", 0, [(1_000, "{\"v\":7}")]);
        family.send("b", 0, values.iter().enumerate().map(|(at, value)| (at as i64 % 40, value.as_str())));
        let worker = family.start();
        family.await_wait(&worker);
        family.await_children(&worker, 0, 1);
        // The other partition of the topic, in the same lane with one worker, goes on meanwhile.
        family.send("b", 1, (2_000..2_050).map(|id| (id, "{\"v\":1}")));
        family.await_children(&worker, 1, 50);
        assert_eq!(family.texts("SELECT count(*) FROM child WHERE parent IS NOT NULL"), ["0"]);
        family.parents(0..20);
        family.parents(20..40);
        family.await_children(&worker, 0, 121);
        assert_eq!(family.quarantined(), [""; 0], "{workers} {reference}");
        let rows = family.texts("SELECT count(*), min(v), max(v) FROM child WHERE parent = id");
        assert_eq!(rows, ["40 2 2"], "{workers} {reference}: the last value of each stands");
        worker.terminate().unwrap();
        let ended = worker.wait(SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
}

#[test]
fn orphans_whose_parents_never_come_leave_together_when_their_time_is_over() {
    let family = Family::new("never", 1, "{wait: 3s, then: quarantine}", "REFERENCES public.parent");
    let values: Vec<String> =
        (0..600).map(|id| if id % 2 == 0 { child(id, 1) } else { "{\"v\":1}".to_owned() }).collect();
    family.send("b", 0, values.iter().enumerate().map(|(id, value)| (id as i64, value.as_str())));
    let begin = Instant::now();
    let ended = family.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let took = begin.elapsed().as_secs();
    assert!(took >= 3, "they wait: {took} s");
    assert!(took < 50, "300 orphans take one wait, not one each: {took} s");
    assert_eq!(family.quarantined(), ["missing_parent 23503 300"]);
    assert_eq!(family.texts("SELECT count(*) FROM child"), ["300"]);
    let reasons = family.texts("SELECT DISTINCT reason FROM tidegate.quarantine");
    assert!(reasons.len() == 1 && reasons[0].contains("has_parent"), "{reasons:?}");
}

#[test]
fn a_partition_halts_in_front_of_an_orphan_where_that_is_asked_for() {
    let family = Family::new("halts", 1, "{wait: 1s, then: halt}", "REFERENCES public.parent");
    let (orphan, plain) = (child(5, 1), "{\"v\":1}");
    family.send("b", 0, [(1, plain), (2, plain), (3, orphan.as_str()), (4, plain)]);
    for _ in 0..2 {
        let ended = family.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
        assert_eq!(ended.code, Some(5), "{}", ended.errors);
        let told = ended.errors.contains("TG-301") && ended.errors.contains("record at offset 2");
        assert!(told, "{}", ended.errors);
        assert_eq!(family.texts("SELECT id FROM child ORDER BY id"), ["1", "2"]);
    }
    assert_eq!(family.quarantined(), [""; 0]);
    family.parents(5..6);
    let ended = family.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(family.texts("SELECT id FROM child ORDER BY id"), ["1", "2", "3", "4"]);
    assert_eq!(family.quarantined(), [""; 0]);
}

#[test]
fn a_worker_that_ends_while_it_waits_leaves_nothing_behind() {
    let family = Family::new("restart", 1, "{wait: 10m}", "REFERENCES public.parent");
    let values: Vec<String> = (0..20).map(|id| child(id, 1)).collect();
    family.send("b", 0, values.iter().enumerate().map(|(id, value)| (id as i64, value.as_str())));
    for kill in [false, true] {
        let worker = family.start();
        family.await_wait(&worker);
        if kill {
            worker.kill9().unwrap();
            let _ = worker.wait(SOON);
        } else {
            worker.terminate().unwrap();
            let ended = worker.wait(SOON).unwrap();
            assert_eq!(ended.code, Some(0), "{}", ended.errors);
        }
        assert_eq!(family.texts("SELECT count(*) FROM child"), ["0"]);
    }
    let worker = family.start();
    family.await_wait(&worker);
    family.parents(0..20);
    family.await_children(&worker, 0, 20);
    assert_eq!(family.quarantined(), [""; 0]);
    assert_eq!(family.texts("SELECT count(*) FROM child"), ["20"]);
}

#[test]
fn a_row_can_wait_for_one_of_its_own_table() {
    let family = Family::new("own", 1, "{wait: 10m}", "REFERENCES public.child");
    let value = child(7, 1);
    family.send("b", 0, [(8, value.as_str())]);
    let worker = family.start();
    family.await_wait(&worker);
    family.send("b", 1, [(7, "{\"v\":1}")]);
    family.await_children(&worker, 0, 1);
    assert_eq!(family.texts("SELECT id, parent FROM child ORDER BY id"), ["7 -", "8 7"]);
    assert_eq!(family.quarantined(), [""; 0]);
}

#[test]
fn a_parent_that_children_refer_to_is_refused_at_once() {
    for reference in ["REFERENCES public.child", "REFERENCES public.parent"] {
        let family = Family::new("referred to", 1, "{wait: 10m}", reference);
        let referred = if reference.ends_with("child") { "child" } else { "parent" };
        let setup =
            format!("INSERT INTO public.{referred} VALUES (1); INSERT INTO public.child VALUES (2, 1)");
        sql::query(&family.fresh.url, &setup).unwrap();
        family.send(if referred == "child" { "b" } else { "a" }, 0, [(1, "")]);
        let ended = family.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert_eq!(family.quarantined(), ["refused 23503 1"], "{reference}");
    }
}
