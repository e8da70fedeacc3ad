//! What those see who only read the ledger.

use lab::fixture::Fresh;
use lab::sql;
use tidegate::postgres::ledger::{Ledger, QuarantineFilter};

use super::older::back_to;
use super::{SOME_PROGRESS, ready, register};
use crate::database::{TIMEOUTS, connector_to};

/// What OPERATIONS.md asks of the open quarantine.
pub(super) const OPEN: &str = "SELECT code, column_name, reason, count(*), min(first_at), max(first_at) \
                    FROM tidegate.open_quarantine WHERE pipeline = 'p' GROUP BY 1, 2, 3";

#[tokio::test]
async fn readers_list_the_quarantine_without_its_bytes_also_in_a_ledger_that_was_there() {
    let fresh = Fresh::new("reader");
    let ledger = Ledger::new("tidegate").unwrap();
    sql::query(&fresh.superuser_url, &ledger.print_sql()).unwrap();
    let login: String = format!("reader_{}", fresh.database).chars().take(60).collect();
    let older = back_to("tidegate", 1);
    let undo = format!("REVOKE ALL ON tidegate.open_quarantine FROM tidegate_reader; {older}");
    let setup = format!("CREATE ROLE \"{login}\" LOGIN IN ROLE tidegate_reader; {undo}");
    sql::query(&fresh.superuser_url, &setup).unwrap();
    let url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{login}@"));
    assert!(sql::query(&url, OPEN).is_err(), "as it was in the first version");
    let mut owner = connector_to(&fresh.superuser_url, "p", TIMEOUTS).connect().await.unwrap();
    assert!(ledger.ensure(&mut owner).await.unwrap(), "upgraded");
    register(&ledger, &mut owner, &[(0, 5)]).await;
    owner.client().batch_execute(SOME_PROGRESS).await.unwrap();
    sql::query(&url, OPEN).unwrap();
    let mut reader = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap();
    let condition = Some("code = 'bad_value'".to_owned());
    let filter = QuarantineFilter { condition, ..QuarantineFilter::default() };
    let found = ledger.quarantine(&mut reader, "p", &filter).await.unwrap();
    assert_eq!((found.len(), &*found[0].code, &found[0].value), (1, "bad_value", &None));
    assert_eq!(ledger.verify(&reader, "p").await.unwrap(), []);
    let whole = QuarantineFilter { whole: true, ..QuarantineFilter::default() };
    let error = ledger.quarantine(&mut reader, "p", &whole).await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "what isn't readable isn't told as null: {error}");
    assert_eq!(ledger.quarantine(&mut owner, "p", &filter).await.unwrap()[0].key.as_deref(), Some(&b"k"[..]));
    reader.close().await;
    sql::query(&fresh.superuser_url, &format!("DROP ROLE \"{login}\"")).unwrap();
}

#[tokio::test]
async fn a_time_of_the_future_is_no_lag_of_nothing() {
    let fresh = Fresh::new("future");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let behind = "SELECT COALESCE(behind_seconds::text, 'unknown') FROM tidegate.lag";
    let set = |newest: &str| {
        let update = "UPDATE tidegate.progress SET log_end_offset = 25, newest_at = now() +";
        sql::query(&fresh.url, &format!("{update} interval '{newest}'")).unwrap();
    };
    set("10 years");
    assert_eq!(sql::value(&fresh.url, behind).unwrap(), "unknown");
    set("-1 hour");
    assert!(sql::value(&fresh.url, behind).unwrap().starts_with("360"));
}
