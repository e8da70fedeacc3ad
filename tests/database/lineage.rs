//! Servers that aren't the one that was written to.

use std::sync::{Arc, Mutex};

use lab::servers::{PgOptions, Postgres};
use tidegate::engine::policy::FailureClass;
use tidegate::postgres::connect::{ConnectError, Connector, ServerSettings, Stray};

use super::TIMEOUTS;

/// A connector whose address is led elsewhere under it.
fn led_by(address: &Arc<Mutex<String>>) -> Connector {
    let resolve =
        |address: &str| ServerSettings::resolve(&format!("postgres://app@{address}/app"), &|_| None);
    let first = resolve(&address.lock().unwrap()).unwrap();
    let address = Arc::clone(address);
    let renew = move || resolve(&address.lock().unwrap()).map_err(|error| error.to_string());
    Connector::renewing(first, Some(Box::new(renew)), "p", TIMEOUTS).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_primary_and_another_cluster_are_refused_by_name() {
    let primary = Postgres::start(&PgOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let other = Postgres::start(&PgOptions::default()).unwrap();
    let address = Arc::new(Mutex::new(primary.address().to_owned()));
    let lead_to = |server: &Postgres| *address.lock().unwrap() = server.address().to_owned();
    let connector = led_by(&address);
    // A connector for tables of less patience shares what is known.
    let lanes = connector.waiting_for_locks(TIMEOUTS.lock / 2);
    connector.connect().await.unwrap();
    primary.restart().unwrap();
    connector.connect().await.expect("a restart is no promotion");
    primary.await_replayed(&standby).unwrap();
    primary.stop().unwrap();
    standby.promote().unwrap();
    lead_to(&standby);
    connector.connect().await.expect("its heir");
    primary.start_again().unwrap();
    for connector in [&connector, &lanes] {
        lead_to(&primary);
        let error = connector.connect().await.unwrap_err();
        let old = matches!(&error, ConnectError::Stray { stray: Stray::Old { timeline: 1, seen: 2 }, .. });
        assert!(old, "{error}");
        assert_eq!(error.failure().class, FailureClass::Stray);
        lead_to(&other);
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(&error, ConnectError::Stray { stray: Stray::Other { .. }, .. }), "{error}");
        lead_to(&standby);
        connector.connect().await.unwrap();
    }
    // A list passes the former primary over, and says why where nothing else answers.
    *address.lock().unwrap() = format!("{},{}", primary.address(), standby.address());
    connector.connect().await.unwrap();
    standby.stop().unwrap();
    let error = connector.connect().await.unwrap_err();
    assert!(error.to_string().contains("is a former primary"), "{error}");
    assert_eq!(error.failure().class, FailureClass::Unavailable, "the new primary may come back");
    // Who has seen nothing else takes it, as every client does.
    lead_to(&primary);
    led_by(&address).connect().await.unwrap();
}
