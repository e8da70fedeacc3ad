//! Halts that people lift: only what was looked at, and with nothing else than that.

use std::time::Duration;

use lab::fixture::Fresh;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::position::{NextOffset, Offset};
use tidegate::postgres::ledger::Lift;

use super::{TIMEOUTS, connector_to, partitions, ready, register};

#[tokio::test]
async fn only_the_halt_that_was_looked_at_is_lifted() {
    let fresh = Fresh::new("lifts");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let (wanted, takeover) = (partitions(&[0, 1]), Duration::from_secs(1));
    let claims = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap();
    let tripped = Halt::new(HaltCode::TooManyBadRecords, "why");
    for claim in &claims {
        ledger.note_halt(&session, "p", claim.partition(), claim.epoch(), Some(&tripped)).await.unwrap();
    }
    let looked = ledger.progress(&session, "p").await.unwrap();
    let lifts: Vec<Lift> = looked
        .iter()
        .map(|row| Lift {
            partition: row.partition.clone(),
            topic_id: row.topic_id,
            halt: row.halt.clone(),
            next: row.next,
            judged_from: Some(NextOffset::new(9)),
        })
        .collect();
    // Another halt came meanwhile.
    let other = Halt::new(HaltCode::BadRecord, "why").before(Offset::new(5));
    ledger.note_halt(&session, "p", &wanted[1], claims[1].epoch(), Some(&other)).await.unwrap();
    let lifted = ledger.lift_halts(&session, "p", &lifts, "mended").await.unwrap();
    assert_eq!(lifted, [wanted[0].clone()]);
    let rows = ledger.progress(&session, "p").await.unwrap();
    assert_eq!((rows[0].owner.as_deref(), rows[0].halt.as_deref()), (None, None));
    assert_eq!((rows[1].owner.as_deref(), rows[1].halt.clone()), (Some("me"), Some(other.to_string())));
    assert!(ledger.lift_halts(&session, "p", &lifts, "again").await.unwrap().is_empty(), "it is lifted once");

    let claims = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap();
    let judges = |place: usize, offset: i64| claims[place].holding(None).judges(Offset::new(offset));
    assert!(!judges(0, 8) && judges(0, 9) && judges(1, 5));
    assert!(claims[0].lets_misfits_pass() && !claims[1].lets_misfits_pass());
    let decisions = ledger.decisions(&session, "p").await.unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
}
