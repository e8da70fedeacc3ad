//! Who may write, and from where: the stored position, the epoch and the topic's identity decide.

use tidegate::engine::batch::{Batch, MoveIndex, QuarantineRecord};
use tidegate::engine::commit::{CommitOutcome, StoredProgress};
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::outcome::Outcome;
use tidegate::engine::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use tidegate::engine::progress::ProgressDelta;
use tidegate::engine::route::WriteMode;
use tidegate::engine::row::{Reject, RejectCode};
use tidegate::store::Store;
use uuid::Uuid;

use super::{Bench, Path, V, put};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text)";

/// The two ways in which progress is compared and moved.
const WAYS: [Path; 2] = [Path::Fastest, Path::Direct];

fn row(id: i32) -> super::Record {
    put(&[("id", V::I(id)), ("a", V::T("x"))])
}

#[tokio::test]
async fn a_batch_is_written_only_from_the_stored_position_under_the_stored_epoch() {
    let changes = [
        ("next_offset = 7", Some((7, 1))),
        ("epoch = 2, owner = 'other'", Some((0, 2))),
        ("next_offset = 2, epoch = 2", Some((2, 2))),
        ("topic_id = '00000000-0000-0000-0000-000000000009'", Some((0, 1))),
        ("topic = 'elsewhere'", None),
    ];
    for ((change, stored), path) in changes.into_iter().flat_map(|case| WAYS.map(|path| (case, path))) {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run(&format!("UPDATE tidegate.progress SET {change} WHERE partition = 0")).await;
        let batch = bench.batch(path, &[row(1).second(), row(2), row(3)]);
        match bench.write(&batch).await {
            CommitOutcome::Fenced(fences) => {
                assert_eq!(fences.len(), 1, "{change}: the other partition stands well");
                let fence = &fences[0];
                assert_eq!(batch.moves()[fence.move_index.get()].partition.partition, 0, "{change}");
                let owner = change.contains("owner").then(|| "other".to_owned());
                let expected = stored.map(|(next, epoch)| StoredProgress {
                    topic_id: match change.contains("topic_id") {
                        true => TopicId(uuid::Uuid::from_u128(9)),
                        false => batch.moves()[fence.move_index.get()].topic_id,
                    },
                    next: NextOffset::new(next),
                    epoch: Epoch::new(epoch),
                    owner,
                });
                assert_eq!(fence.stored, expected, "{change}");
                assert_eq!(fence.expected, batch.moves()[fence.move_index.get()].expects(), "{change}");
            }
            other => panic!("{change}: {other:?}"),
        }
        assert!(bench.rows().await.is_empty(), "{change}");
        assert_eq!(bench.put(path, &[row(9).second()]).await, "1 inserted", "the lane-mate goes on");
    }
}

#[tokio::test]
async fn a_batch_that_is_stored_already_is_told_so_and_changes_nothing() {
    for path in WAYS {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let batch = bench.batch(path, &[row(1), row(2).second()]);
        assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
        bench.run("DELETE FROM target").await;
        assert_eq!(bench.writer.write(&batch, || {}).await, CommitOutcome::AlreadyCommitted);
        assert!(bench.rows().await.is_empty());
        // Half of it stored is neither.
        bench.run("UPDATE tidegate.progress SET next_offset = 0 WHERE partition = 1").await;
        match bench.writer.write(&batch, || {}).await {
            CommitOutcome::Fenced(fences) => {
                assert_eq!(fences.iter().map(|fence| fence.move_index.get()).collect::<Vec<_>>(), [0]);
            }
            other => panic!("{other:?}"),
        }
        // The same position under another owner's epoch isn't ours.
        bench.run("UPDATE tidegate.progress SET next_offset = 1, epoch = 2").await;
        let outcome = bench.writer.write(&batch, || {}).await;
        assert!(matches!(outcome, CommitOutcome::Fenced(fences) if fences.len() == 2));
    }
}

#[tokio::test]
async fn appended_rows_are_not_written_twice() {
    for path in WAYS {
        let mut bench = Bench::new("CREATE TABLE target (a text)", &[], WriteMode::Append).await;
        let batch = bench.batch(path, &[put(&[("a", V::T("once"))])]);
        assert!(matches!(bench.writer.write(&batch, || {}).await, CommitOutcome::Committed(_)));
        assert_eq!(bench.writer.write(&batch, || {}).await, CommitOutcome::AlreadyCommitted);
        assert_eq!(bench.rows().await, ["(once)"]);
    }
}

#[tokio::test]
async fn progress_counts_gaps_settled_outcomes_and_what_was_seen() {
    for path in WAYS {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("UPDATE tidegate.progress SET halt = 'TG-000'").await;
        let mut batch = bench.parts(path, &[row(1), row(2)]);
        batch.moves[0] = bench.move_of(0, 10);
        batch.moves[0].gaps = 5;
        batch.moves[0].settled.add(Outcome::Superseded, 2);
        batch.moves[0].settled.add(Outcome::Filtered, 1);
        batch.moves[0].log_end = Some(NextOffset::new(40));
        batch.moves[0].newest_at_ms = Some(1_700_000_000_123);
        let batch = Batch::seal(batch).unwrap();
        assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
        assert_eq!(bench.ledger(0).await, (10, "2 inserted, 2 superseded, 1 filtered".into()));
        let seen = "SELECT concat_ws(' ', gaps, log_end_offset, newest_at AT TIME ZONE 'UTC', halt, \
                    committed_at > now() - interval '1 hour') FROM tidegate.progress WHERE partition = 0";
        assert_eq!(bench.texts(seen).await, ["5 40 2023-11-14 22:13:20.123 t"]);
        // A move without records, an older timestamp and no news of the log's end.
        let mut batch = bench.parts(path, &[]);
        batch.moves = vec![bench.move_of(0, 45)];
        batch.moves[0].gaps = 45;
        batch.moves[0].newest_at_ms = Some(1);
        let batch = Batch::seal(batch).unwrap();
        assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
        assert_eq!(bench.texts(seen).await, ["50 55 2023-11-14 22:13:20.123 t"]);
    }
}

#[tokio::test]
async fn a_batch_that_miscounts_is_never_written() {
    for path in WAYS {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let mut batch = bench.parts(path, &[row(1), row(2)]);
        batch.moves[0].delta = ProgressDelta::new(NextOffset::new(0), NextOffset::new(3)).unwrap();
        let batch = Batch::seal(batch).unwrap();
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => {
                assert_eq!(failure.class, tidegate::engine::policy::FailureClass::Defect);
            }
            other => panic!("{other:?}"),
        }
        assert!(bench.rows().await.is_empty());
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted");
    }
}

#[tokio::test]
async fn quarantined_records_are_kept_to_the_last_byte() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let reject = Reject {
        code: RejectCode::BadValue,
        column: Some("a".into()),
        sqlstate: Some("22P02".into()),
        reason: "no\0 value".into(),
    };
    let record = |offset, key: Option<&[u8]>| QuarantineRecord {
        move_index: MoveIndex::new(0),
        is_skipped: false,
        offset: Offset::new(offset),
        timestamp_ms: Some(1_700_000_000_123),
        key: key.map(<[u8]>::to_vec),
        value: None,
        headers: vec![(b"h\0".to_vec(), Some(b"\xff".to_vec())), (b"h\0".to_vec(), None)],
        target: "public.target".into(),
        truncated: (offset == 1).then_some([7; 32]),
        reject: reject.clone(),
    };
    let mut batch = bench.parts(Path::Direct, &[row(1)]);
    batch.moves[0] = bench.move_of(0, 3);
    batch.moves[0].settled.add(Outcome::Quarantined, 2);
    batch.quarantine = vec![record(0, Some(b"k\0")), record(1, None)];
    let kept = batch.quarantine.clone();
    let batch = Batch::seal(batch).unwrap();
    assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
    let sql = "SELECT concat_ws('/', topic, topic_id, partition, record_offset, record_key, record_value, \
               header_names, header_values, record_at AT TIME ZONE 'UTC', target, truncated, \
               length(record_sha256), code, sqlstate, column_name, reason, attempts, resolved_at) \
               FROM tidegate.quarantine ORDER BY record_offset";
    let expected = [
        "t/00000000-0000-0000-0000-000000007064/0/0/\\x6b00/{\"\\\\x6800\",\"\\\\x6800\"}/\
         {\"\\\\xff\",NULL}/\
         2023-11-14 22:13:20.123/public.target/f/bad_value/22P02/a/no\\u0000 value/0",
        "t/00000000-0000-0000-0000-000000007064/0/1/{\"\\\\x6800\",\"\\\\x6800\"}/\
         {\"\\\\xff\",NULL}/\
         2023-11-14 22:13:20.123/public.target/t/32/bad_value/22P02/a/no\\u0000 value/0",
    ];
    assert_eq!(bench.texts(sql).await, expected);

    // An operator sets progress back; the record fails again, for another reason: it is open again.
    bench
        .run("UPDATE tidegate.quarantine SET resolved_at = now(), resolution = 'discarded', attempts = 3")
        .await;
    bench
        .run("UPDATE tidegate.progress SET next_offset = 0, start_offset = 0, inserted = 0, quarantined = 0")
        .await;
    bench.next = [0, 0];
    let mut again = bench.parts(Path::Direct, &[]);
    again.moves = vec![bench.move_of(0, 1)];
    again.moves[0].settled.add(Outcome::Quarantined, 1);
    again.quarantine = vec![kept[0].clone()];
    again.quarantine[0].reject.code = RejectCode::OutOfRange;
    let again = Batch::seal(again).unwrap();
    assert!(matches!(bench.write(&again).await, CommitOutcome::Committed(_)));
    let open = "SELECT concat_ws('/', record_offset, code, attempts) FROM tidegate.quarantine \
                WHERE resolved_at IS NULL AND resolution IS NULL";
    assert_eq!(bench.texts(open).await, ["0/out_of_range/4"]);
}

#[tokio::test]
async fn a_thousand_quarantined_records_fit_into_a_batch() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let mut batch = bench.parts(Path::Direct, &[]);
    batch.moves = vec![bench.move_of(1, 1000), bench.move_of(0, 1)];
    batch.moves[0].settled.add(Outcome::Quarantined, 1000);
    batch.moves[1].gaps = 1;
    let reject = Reject { code: RejectCode::BadJson, column: None, sqlstate: None, reason: String::new() };
    batch.quarantine = (0..1000)
        .map(|offset| QuarantineRecord {
            move_index: MoveIndex::new(0),
            is_skipped: false,
            offset: Offset::new(offset),
            timestamp_ms: None,
            key: None,
            value: Some(vec![0; 100]),
            headers: Vec::new(),
            target: String::new(),
            truncated: None,
            reject: reject.clone(),
        })
        .collect();
    let batch = Batch::seal(batch).unwrap();
    assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
    let count = "SELECT count(*) || ' in ' || min(partition) FROM tidegate.quarantine";
    assert_eq!(bench.texts(count).await, ["1000 in 1"]);
}

#[tokio::test]
async fn a_halt_is_noted_only_by_the_owner() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let halts = "SELECT COALESCE(split_part(halt, ':', 1), '-') FROM tidegate.progress ORDER BY partition";
    let partition = TopicPartition::new("t", 1);
    let halt = Halt::new(HaltCode::TopicRecreated, "why");
    bench.writer.note_halt(&partition, Epoch::new(1), Some(&halt)).await.unwrap();
    assert_eq!(bench.texts(halts).await, ["-", "TG-101"]);
    bench.writer.note_halt(&partition, Epoch::new(2), None).await.unwrap();
    assert_eq!(bench.texts(halts).await, ["-", "TG-101"], "another epoch's owner isn't us");
    bench.writer.note_halt(&partition, Epoch::new(1), None).await.unwrap();
    assert_eq!(bench.texts(halts).await, ["-", "-"]);
}

#[tokio::test]
async fn other_topics_ids_do_not_matter_elsewhere() {
    for path in WAYS {
        // The identity is compared for each partition by itself.
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let other = TopicId(Uuid::from_u128(5));
        bench
            .run(&format!("UPDATE tidegate.progress SET topic_id = '{}' WHERE partition = 1", other.0))
            .await;
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted");
        let mut batch = bench.parts(path, &[row(2).second()]);
        batch.moves[0].topic_id = other;
        let batch = Batch::seal(batch).unwrap();
        assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
    }
}
