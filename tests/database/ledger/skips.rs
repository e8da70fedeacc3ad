//! Skips as the ledger keeps them: decided for the one record that a partition stops in front of, granted
//! with its claim, and dropped where they fit no more.

use std::time::Duration;

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::position::{NextOffset, Offset};
use tidegate::postgres::ledger::{Ledger, Skipping};
use tidegate::postgres::session::Session;

use super::{TIMEOUTS, connector_to, partitions, ready, register, until_blocked};

async fn skip(ledger: &Ledger, session: &mut Session, offset: i64, reason: Option<&str>) -> Skipping {
    ledger.skip(session, "p", &partitions(&[0])[0], Offset::new(offset), reason).await.unwrap()
}

#[tokio::test]
async fn only_the_record_that_a_partition_stops_in_front_of_is_skipped() {
    let fresh = Fresh::new("skips");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let (wanted, takeover) = (partitions(&[0]), Duration::from_secs(1));
    let epoch = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap()[0].epoch();
    let next = NextOffset::new(5);
    assert_eq!(skip(&ledger, &mut session, 7, Some("r")).await, Skipping::NotStopped { halt: None, next });
    let stray = Halt::new(HaltCode::RetentionPassed, "why");
    ledger.note_halt(&session, "p", &wanted[0], epoch, Some(&stray)).await.unwrap();
    let halt = Some(stray.to_string());
    assert_eq!(skip(&ledger, &mut session, 7, Some("r")).await, Skipping::NotStopped { halt, next });
    let halt = Halt::new(HaltCode::BadRecord, "why").before(Offset::new(7));
    ledger.note_halt(&session, "p", &wanted[0], epoch, Some(&halt)).await.unwrap();
    assert_eq!(skip(&ledger, &mut session, 6, Some("r")).await, Skipping::StopsElsewhere(Offset::new(7)));
    let Skipping::Decided(planned) = skip(&ledger, &mut session, 7, None).await else { panic!() };
    assert_eq!((planned.decision, planned.halt), (None, halt.to_string()));
    assert!(
        ledger.skips(&session, "p").await.unwrap().is_empty()
            && ledger.decisions(&session, "p").await.unwrap().is_empty()
    );
    let Skipping::Decided(decided) = skip(&ledger, &mut session, 7, Some("r")).await else { panic!() };
    assert_eq!(skip(&ledger, &mut session, 7, Some("again")).await, Skipping::Standing(decided.clone()));
    let standing = vec![(wanted[0].clone(), Offset::new(7))];
    assert_eq!(ledger.skips(&session, "p").await.unwrap(), standing);
    assert!(ledger.drop_stale_skips(&session, "p").await.unwrap().is_empty());
    let claims = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap();
    let holding = claims[0].holding(None);
    assert!(holding.skips(Offset::new(7)) && !holding.skips(Offset::new(6)));

    // One that is decided while another stands takes its place.
    for offset in [6, 7] {
        let halt = Halt::new(HaltCode::BadRecord, "why").before(Offset::new(offset));
        ledger.note_halt(&session, "p", &wanted[0], claims[0].epoch(), Some(&halt)).await.unwrap();
        let decided = skip(&ledger, &mut session, offset, Some("r")).await;
        assert!(matches!(decided, Skipping::Decided(_)), "{offset}: {decided:?}");
        let standing = vec![(wanted[0].clone(), Offset::new(offset))];
        assert_eq!(ledger.skips(&session, "p").await.unwrap(), standing);
    }

    // Behind it, or in another incarnation of the topic, the same offset is another record.
    for change in ["next_offset = 8", "next_offset = 5, topic_id = gen_random_uuid()"] {
        sql::query(&fresh.url, &format!("UPDATE tidegate.progress SET {change}")).unwrap();
        let claims = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap();
        assert!(!claims[0].holding(None).skips(Offset::new(7)), "{change}");
    }
    assert_eq!(ledger.drop_stale_skips(&session, "p").await.unwrap(), standing);
    assert!(ledger.skips(&session, "p").await.unwrap().is_empty());
    let told = "SELECT action || ' ' || from_offset || ' ' || to_offset || ' ' || reason FROM tidegate.decisions \
         ORDER BY id";
    assert_eq!(sql::value(&fresh.url, told).unwrap(), "skip 7 8 r");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_meets_what_is_decided_while_it_waits_for_any_of_its_rows() {
    let fresh = Fresh::new("claims late");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let (claiming, holder) = (connector.connect().await.unwrap(), connector.connect().await.unwrap());
    let lock = "BEGIN; SELECT FROM tidegate.progress WHERE partition = 1 FOR UPDATE";
    holder.client().batch_execute(lock).await.unwrap();
    let decided = async {
        until_blocked(&fresh, &claiming).await;
        // The first row is locked by then, and the claim waits for the second.
        let decisions = "WITH paused AS (INSERT INTO tidegate.decisions (pipeline, topic, partition, action, \
             reason) VALUES ('p', 't', 0, 'pause', 'r') RETURNING id), \
             pauses AS (INSERT INTO tidegate.pauses SELECT id, 'p', 't', 0 FROM paused) \
             INSERT INTO tidegate.skips SELECT 'p', 't', 0, topic_id, 7, paused.id \
             FROM tidegate.progress, paused WHERE partition = 0; \
             UPDATE tidegate.pipelines SET cluster_id = 'another'";
        sql::query(&fresh.superuser_url, decisions).unwrap();
        holder.client().batch_execute("ROLLBACK").await.unwrap();
    };
    let wanted = partitions(&[0, 1]);
    let claim = ledger.acquire(&connector, &claiming, "p", &wanted, "me", Duration::from_secs(5));
    let (claims, ()) = tokio::join!(claim, decided);
    let claims = claims.unwrap();
    assert!(claims[0].is_paused() && !claims[1].is_paused());
    assert!(claims[0].holding(None).skips(Offset::new(7)));
    assert_eq!(claims[0].bearings().cluster_id.as_deref(), Some("another"));
}
