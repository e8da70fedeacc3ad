//! The least-privilege roles of the printed script, and who lacks them.

use lab::fixture::Fresh;
use lab::sql;
use tidegate::postgres::ledger::{Ledger, LedgerRights};

use crate::database::{TIMEOUTS, connector_to};

#[tokio::test]
async fn a_login_that_lacks_everything_is_told_the_role_that_has_it() {
    let fresh = Fresh::new("newlogin");
    let ledger = Ledger::new("tidegate").unwrap();
    let login: String = format!("login_{}", fresh.database).chars().take(60).collect();
    let run = |text: &str| sql::query(&fresh.superuser_url, text).unwrap();
    run(&ledger.print_sql());
    run(&format!("CREATE ROLE \"{login}\" LOGIN NOINHERIT"));
    let url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{login}@"));
    let session = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap();
    let grants = async || match ledger.rights(&session).await.unwrap() {
        LedgerRights::Lacking(lacking) => {
            lacking.into_iter().map(|missing| missing.grant).collect::<Vec<_>>()
        }
        absent => panic!("{absent:?}"),
    };
    let grant = format!("GRANT tidegate_writer TO \"{login}\"");
    assert_eq!(grants().await, [&*grant]);
    run(&grant);
    let single = grants().await;
    assert!(single.len() > 10, "a member that doesn't inherit needs them itself: {single:?}");
    // From PostgreSQL 16 on, a grant remembers whether it is inherited.
    run(&format!("REVOKE tidegate_writer FROM \"{login}\"; ALTER ROLE \"{login}\" INHERIT; {grant}"));
    assert_eq!(grants().await, [""; 0]);
    session.close().await;
    run(&format!("DROP ROLE \"{login}\""));
}

#[test]
fn any_number_of_scripts_create_the_roles_at_once() {
    // Roles are the cluster's, not the database's; names of this test's own let the scripts be the first.
    for round in 0..5 {
        let fresh = Fresh::new("scripts");
        let rights = format!("race{}_{round}", std::process::id());
        let scripts: Vec<_> = (0..8)
            .map(|number| Ledger::new(&format!("ledger_{number}")).unwrap().print_sql())
            .map(|script| script.replace("tidegate_", &format!("{rights}_")))
            .collect();
        std::thread::scope(|scope| {
            for script in &scripts {
                scope.spawn(|| sql::query(&fresh.superuser_url, script).unwrap());
            }
        });
        let roles = format!("{rights}_owner, {rights}_writer, {rights}_reader");
        sql::query(&fresh.superuser_url, &format!("DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}"))
            .unwrap();
    }
}
