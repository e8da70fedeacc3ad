//! The savepoint under which rows are inserted, since another writer can be faster.

use tokio_postgres::Client;

use super::stop::Stop;
use super::target::Target;

/// Opens it.
pub(super) const OPEN: &str = "SAVEPOINT tidegate_rows";

/// Takes back what was written since the savepoint and closes it.
pub(super) async fn take_back(client: &Client, target: &Target) -> Result<(), Stop> {
    let sql = "ROLLBACK TO SAVEPOINT tidegate_rows; RELEASE SAVEPOINT tidegate_rows";
    client.batch_execute(sql).await.map_err(|error| Stop::rows(error, &target.table, None))
}
