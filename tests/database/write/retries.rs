//! Records of the quarantine that are tried again, beside others who write.

use std::sync::Arc;

use lab::sql;
use tidegate::engine::batch::Batch;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::decode::Decoder;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::position::{Generation, Offset, TopicPartition};
use tidegate::engine::record::{Record, RecordBlock};
use tidegate::engine::resolution::Origin;
use tidegate::engine::retry::{Wish, decide, draft};
use tidegate::engine::route::{Mapping, Route, Source, WriteMode};
use tidegate::store::Store;

use super::{Bench, TOPIC_ID};

/// What is written of the record at offset 20, whose key had no row when it was looked up.
fn unseen(route: &Arc<Route>) -> Batch {
    let partition = TopicPartition::new("t", 0);
    let mut block = RecordBlock::new(partition.clone(), Generation(0));
    block.push(Offset::new(20), None, Some(br#"{"id":1}"#), Some(br#"{"v":"of the retry"}"#), []);
    let records: Vec<Record<'_>> = block.iter().collect();
    let drafted = draft(route, &mut Decoder::new(Arc::clone(route)), &partition, &records);
    let origin = Origin { partition, topic_id: TOPIC_ID, span: 0, backfill: "".into() };
    let wish = Wish { may_resurrect: true, ..Wish::default() };
    decide(&origin, wish, drafted, &[Offset::new(20)], &[None]).batch.unwrap()
}

#[tokio::test]
async fn a_row_that_comes_under_a_key_meanwhile_settles_nothing() {
    let ddl = "CREATE TABLE target (id integer PRIMARY KEY, v text)";
    let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
    let mapping = |column, source| Mapping { column, source, unit: None };
    let mappings = vec![
        mapping(0, Source::KeyField(vec!["id".to_owned()])),
        mapping(1, Source::Field(vec!["v".to_owned()])),
    ];
    let route = Arc::new(Route { mappings, ..Route::clone(&bench.route) });
    let entry = format!(
        "INSERT INTO tidegate.quarantine (pipeline, topic, topic_id, partition, record_offset, target, code, \
             reason) VALUES ('{}', 't', '{}', 0, 20, 'public.target', 'bad_value', 'r')",
        bench.fresh.pipeline, TOPIC_ID.0
    );
    bench.run(&entry).await;
    let open = "SELECT count(*) FROM tidegate.quarantine WHERE resolved_at IS NULL";
    // Whether an older record of a retry wrote it, or the stream, is asked before the next transaction.
    bench.run("INSERT INTO target VALUES (1, 'of somebody')").await;
    let outcome = bench.writer.write(&unseen(&route), || {}).await;
    let CommitOutcome::RolledBack(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.class, FailureClass::Conflict, "{failure:?}");
    assert_eq!(bench.rows().await, ["(1,\"of somebody\")"]);
    assert_eq!(sql::number(&bench.fresh.url, open).unwrap(), 1);
    bench.run("DELETE FROM target").await;
    let outcome = bench.writer.write(&unseen(&route), || {}).await;
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(bench.rows().await, ["(1,\"of the retry\")"]);
    assert_eq!(sql::number(&bench.fresh.url, open).unwrap(), 0);
}
