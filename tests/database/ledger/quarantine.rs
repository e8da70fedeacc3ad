//! Which entries of the quarantine are found.

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::position::Offset;
use tidegate::postgres::ledger::{LedgerError, QuarantineFilter};

use super::{SOME_PROGRESS, ready, register};

#[tokio::test]
async fn the_quarantine_is_filtered() {
    let fresh = Fresh::new("quarantine");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    sql::query(&fresh.url, SOME_PROGRESS).unwrap();
    let all = ledger.quarantine(&mut session, "p", &QuarantineFilter::default()).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.offset.value()).collect::<Vec<_>>(), [7, 9]);
    assert_eq!((all[0].key.as_deref(), all[0].value.as_deref()), (Some(&b"k"[..]), Some(&[0, 255][..])));
    assert_eq!(all[0].headers, [(b"a".to_vec(), Some(b"x".to_vec())), (b"b".to_vec(), None)]);
    assert_eq!(all[0].record_at_ms, Some(1_767_323_045_678));
    let none = QuarantineFilter::default;
    let cases = [
        (QuarantineFilter { offset: Some(Offset::new(9)), ..none() }, vec![9]),
        (QuarantineFilter { partition: Some(1), ..none() }, vec![]),
        (QuarantineFilter { reason: Some("22003".into()), ..none() }, vec![7]),
        (QuarantineFilter { reason: Some("tombstone".into()), ..none() }, vec![9]),
        (QuarantineFilter { reason: Some("PRICE".into()), ..none() }, vec![7]),
        (QuarantineFilter { topic: Some("other".into()), ..none() }, vec![]),
        (QuarantineFilter { since_ms: Some(4_000_000_000_000), ..none() }, vec![]),
        (QuarantineFilter { limit: Some(1), ..none() }, vec![7]),
        (QuarantineFilter { condition: Some("column_name = 'price' -- so".into()), ..none() }, vec![7]),
        (
            QuarantineFilter { condition: Some("false) OR (true".into()), partition: Some(1), ..none() },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        let found = ledger.quarantine(&mut session, "p", &filter).await.unwrap();
        let offsets: Vec<_> = found.iter().map(|entry| entry.offset.value()).collect();
        assert_eq!(offsets, expected, "{filter:?}");
    }
    for condition in
        ["no_such_column = 1", "tru", "true; DELETE FROM tidegate.quarantine", "nextval('tidegate.n') > 0"]
    {
        let filter = QuarantineFilter { condition: Some(condition.into()), ..none() };
        sql::query(&fresh.url, "CREATE SEQUENCE IF NOT EXISTS tidegate.n").unwrap();
        let error = ledger.quarantine(&mut session, "p", &filter).await.unwrap_err();
        assert!(matches!(error, LedgerError::Condition(_)), "{condition}: {error}");
    }
    assert_eq!(ledger.open_quarantine(&session, "p").await.unwrap().get("t"), Some(&2));
    sql::query(&fresh.url, "UPDATE tidegate.quarantine SET resolved_at = now(), resolution = 'discarded'")
        .unwrap();
    assert!(ledger.open_quarantine(&session, "p").await.unwrap().is_empty());
    assert!(ledger.quarantine(&mut session, "p", &none()).await.unwrap().is_empty());
    let settled = QuarantineFilter { settled: true, ..none() };
    assert_eq!(ledger.quarantine(&mut session, "p", &settled).await.unwrap().len(), 2);
}
