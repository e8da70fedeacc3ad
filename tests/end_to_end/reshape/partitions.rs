//! Partitions of a table that come, go and change under load, without a lock on the table.

use std::ops::Range;

use super::ground::{Case, Ground};

fn records(ids: Range<i64>) -> Vec<(i64, String)> {
    ids.map(|id| (id, format!("{{\"id\":{id},\"v\":{}}}", id * 3))).collect()
}

#[test]
fn partitions_come_and_go_and_one_of_them_refuses_rows() {
    let parted = "CREATE TABLE s.parted (id bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (id); \
                  CREATE TABLE s.p0 PARTITION OF s.parted FOR VALUES FROM (0) TO (10000); \
                  CREATE TABLE s.rest PARTITION OF s.parted DEFAULT";
    let leafy = "CREATE TABLE s.leafy (id bigint PRIMARY KEY, a int, b int, c int) PARTITION BY RANGE (id); \
                 CREATE TABLE s.l0 PARTITION OF s.leafy FOR VALUES FROM (0) TO (3000); \
                 CREATE TABLE s.l1 PARTITION OF s.leafy FOR VALUES FROM (3000) TO (6000)";
    let mut ground = Ground::new("parts", vec![Case::new("parted", parted), Case::new("leafy", leafy)]);
    ground.sql(
        "CREATE FUNCTION s.drops() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN IF new.id % 2 = 0 THEN RETURN NULL; END IF; RETURN new; END$$",
    );
    let worker = ground.worker();
    ground.send("parted", records(0..2_000));
    ground.await_settled(&worker, &["parted"]);
    // New partitions, each beside records that go to others.
    for at in 1..6 {
        ground.send("parted", records(at * 2_000..at * 2_000 + 2_000));
        let from = 10_000 + at * 1_000;
        ground.sql(&format!(
            "CREATE TABLE s.p{at} (LIKE s.parted INCLUDING ALL); \
             ALTER TABLE s.parted ATTACH PARTITION s.p{at} FOR VALUES FROM ({from}) TO ({})",
            from + 1_000
        ));
        ground.send("parted", records(from..from + 500));
    }
    for at in 1..4 {
        ground.send("parted", records(15_500..16_000));
        // The rows go with it and come back.
        let from = 10_000 + at * 1_000;
        ground.await_settled(&worker, &["parted"]);
        ground.sql(&format!("ALTER TABLE s.parted DETACH PARTITION s.p{at}"));
        ground.send("parted", records(0..500));
        ground.sql(&format!(
            "ALTER TABLE s.parted ATTACH PARTITION s.p{at} FOR VALUES FROM ({from}) TO ({})",
            from + 1_000
        ));
        ground.send("parted", records(from + 500..from + 1_000));
    }

    // One partition demands, drops and changes what the others take.
    let patches = |ids: Range<i64>| {
        ids.flat_map(|id| ["\"a\":1", "\"b\":-1", "\"c\":3"].map(|it| (id, format!("{{\"id\":{id},{it}}}"))))
    };
    ground.send("leafy", patches(0..500).chain(patches(3_000..3_500)));
    ground.await_settled(&worker, &["leafy"]);
    ground.sql("ALTER TABLE s.l1 ADD CONSTRAINT positive CHECK (b > 0) NOT VALID");
    ground.send("leafy", patches(500..1_000).chain(patches(3_500..3_508)));
    ground.await_settled(&worker, &["leafy"]);
    ground.sql("ALTER TABLE s.l1 DROP CONSTRAINT positive");
    ground.sql("CREATE TRIGGER t BEFORE INSERT ON s.l1 FOR EACH ROW EXECUTE FUNCTION s.drops()");
    ground.send("leafy", patches(1_000..1_500).chain(patches(4_000..4_500)));
    ground.await_settled(&worker, &["leafy"]);
    ground.sql("DROP TRIGGER t ON s.l1");
    ground.send("leafy", patches(1_500..2_000).chain(patches(4_500..5_000)));

    ground.await_settled(&worker, &["parted", "leafy"]);
    let expected: i64 = ground.number(
        "SELECT count(*) FROM (SELECT generate_series(0, 11999) UNION SELECT generate_series(15500, 15999) \
         UNION SELECT generate_series(10000 + at * 1000, 10499 + at * 1000) FROM generate_series(1, 5) AS at \
         UNION SELECT generate_series(10500 + at * 1000, 10999 + at * 1000) FROM generate_series(1, 3) AS at) AS ids",
    );
    ground.prove(&worker, "parted", expected, "v = id * 3");
    assert_eq!(ground.quarantined("parted"), 0, "{}", worker.errors());
    let right = "a = 1 AND c = 3 AND b IS NOT DISTINCT FROM CASE WHEN id BETWEEN 3500 AND 3507 THEN NULL ELSE -1 END \
                 AND NOT (id BETWEEN 4000 AND 4499 AND id % 2 = 0)";
    ground.prove(&worker, "leafy", 3_258, right);
    assert_eq!(ground.quarantined("leafy"), 8, "{}", worker.errors());
    assert_eq!(ground.outcome("leafy", "filtered"), 750);
    ground.verify(&worker);
    ground.never_halted(&worker);
}
