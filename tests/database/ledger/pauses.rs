//! Pauses as the ledger keeps them: by scope, decided in one transaction, and met by every claim.

use std::time::Duration;

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::pause::{Pauses, Scope};
use tidegate::postgres::ledger::{Ledger, PauseChange};
use tidegate::postgres::session::Session;

use super::{TIMEOUTS, connector_to, lock_row, partitions, ready, register, until_blocked};

fn pause(topic: Option<&str>, partition: Option<i32>) -> PauseChange {
    PauseChange { scope: Scope::of(topic, partition), lifts: None }
}

async fn change(ledger: &Ledger, session: &mut Session, changes: Vec<PauseChange>) -> Pauses {
    let decide = |_: &Pauses| ((), changes);
    ledger.change_pauses(session, "p", "because", decide).await.unwrap();
    ledger.pauses(session, "p").await.unwrap()
}

/// The numbers of the partitions that the ledger calls paused.
fn marked(fresh: &Fresh) -> String {
    let sql = "SELECT coalesce(string_agg(partition::text, ' ' ORDER BY partition), '') \
               FROM tidegate.progress WHERE paused_at IS NOT NULL";
    sql::value(&fresh.url, sql).unwrap()
}

#[tokio::test]
async fn pauses_stand_until_they_are_lifted_and_each_change_is_a_decision() {
    let fresh = Fresh::new("pauses");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5), (2, 5)]).await;
    let both = vec![pause(Some("t"), Some(1)), pause(Some("t"), Some(2))];
    let standing = change(&ledger, &mut session, both).await;
    assert!(ledger.mark_paused(&mut session, "p").await.unwrap());
    assert_eq!(marked(&fresh), "1 2");
    let first = standing.of(&partitions(&[1])[0]).unwrap();
    assert_eq!((first.reason.as_str(), first.made_by.as_str()), ("because", session.role()));
    change(&ledger, &mut session, vec![pause(None, None)]).await;
    ledger.mark_paused(&mut session, "p").await.unwrap();
    assert_eq!(marked(&fresh), "0 1 2");
    let whole = ledger.pauses(&session, "p").await.unwrap();
    let whole = whole.iter().find(|pause| pause.scope == Scope::Pipeline).unwrap().decision;
    let lifts = PauseChange { scope: Scope::Pipeline, lifts: Some(whole) };
    assert_eq!(change(&ledger, &mut session, vec![lifts]).await, standing, "narrower ones stay");
    ledger.mark_paused(&mut session, "p").await.unwrap();
    assert_eq!(marked(&fresh), "1 2");
    let decisions = ledger.decisions(&session, "p").await.unwrap();
    let told: Vec<_> =
        decisions.iter().map(|one| (one.action.as_str(), one.topic.as_deref(), one.partition)).collect();
    let expected = [
        ("pause", Some("t"), Some(1)),
        ("pause", Some("t"), Some(2)),
        ("pause", None, None),
        ("resume", None, None),
    ];
    assert_eq!(told, expected);
    assert_eq!(ledger.pauses(&session, "another").await.unwrap(), Pauses::default());
}

#[tokio::test]
async fn a_change_that_fails_half_way_changes_nothing() {
    let fresh = Fresh::new("half a pause");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let twice = vec![pause(Some("t"), Some(0)), pause(Some("t"), None), pause(Some("t"), Some(0))];
    let decide = |_: &Pauses| ((), twice);
    let error = ledger.change_pauses(&mut session, "p", "because", decide).await.unwrap_err();
    assert_eq!(error.failure().sqlstate.as_deref(), Some("23505"));
    assert!(ledger.pauses(&session, "p").await.unwrap().is_empty());
    assert!(ledger.decisions(&session, "p").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_meets_the_pauses_that_stand_when_its_row_is_free() {
    let fresh = Fresh::new("paused claim");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let claiming = connector.connect().await.unwrap();
    let wanted = partitions(&[0, 1]);
    let takeover = Duration::from_secs(5);
    let holder = lock_row(&fresh, "somebody").await;
    let decided = async {
        until_blocked(&fresh, &claiming).await;
        change(&ledger, &mut session, vec![pause(Some("t"), Some(0))]).await;
        holder.batch_execute("ROLLBACK").await.unwrap();
    };
    let claim = ledger.acquire(&connector, &claiming, "p", &wanted, "me", takeover);
    let (claims, ()) = tokio::join!(claim, decided);
    let told: Vec<_> =
        claims.unwrap().iter().map(|one| (one.partition().partition, one.is_paused())).collect();
    assert_eq!(told, [(0, true), (1, false)], "its snapshot is older than the pause");
    assert_eq!(marked(&fresh), "0");

    // One whose pause is lifted is granted as any other.
    let decision = ledger.pauses(&session, "p").await.unwrap().iter().next().unwrap().decision;
    let lifts = PauseChange { scope: Scope::of(Some("t"), Some(0)), lifts: Some(decision) };
    change(&ledger, &mut session, vec![lifts]).await;
    let claims = ledger.acquire(&connector, &claiming, "p", &wanted, "me", takeover).await.unwrap();
    assert!(claims.iter().all(|claim| !claim.is_paused()));
    assert_eq!(marked(&fresh), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_although_a_frozen_owner_keeps_its_row() {
    let fresh = Fresh::new("frozen pause");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let _holder = lock_row(&fresh, "frozen").await;
    let standing = change(&ledger, &mut session, vec![pause(None, None)]).await;
    assert!(!standing.is_empty());
    assert!(!ledger.mark_paused(&mut session, "p").await.unwrap(), "its row is left to the next claim");
    assert!(!ledger.pauses(&session, "p").await.unwrap().is_empty());
}
