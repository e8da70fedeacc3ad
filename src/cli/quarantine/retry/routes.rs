//! The routes of today, by topic, as a process that starts now would take them.

use std::sync::Arc;

use crate::cli::exit::Failure;
use crate::cli::servers::Database;
use crate::config::{Settings, TableName};
use crate::engine::decode::Decoder;
use crate::engine::route::Route;
use crate::postgres::catalogue::{self, CatalogueError};
use crate::routing::{self, Choice, Misfit};

/// A route with its decoder.
pub(super) struct Way {
    pub(super) route: Arc<Route>,
    pub(super) decoder: Decoder,
}

/// Why no record of a topic can be tried, as a sentence.
pub(super) type NoWay = String;

/// Finds a topic's route and reads its table.
pub(super) async fn find(
    settings: &Settings,
    database: &Database,
    topic: &str,
) -> Result<Result<Way, NoWay>, Failure> {
    let route = match routing::choose(&settings.routes, topic) {
        Choice::One(route) => route,
        Choice::None => return Ok(Err("no route of the configuration means this topic".to_owned())),
        Choice::Ambiguous(..) => {
            return Ok(Err("two routes of the configuration mean this topic".to_owned()));
        }
    };
    let configured = match routing::remembered(route, topic) {
        Ok(configured) => configured,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let registered = database.ledger.routes(&database.session, &database.pipeline).await;
    let registered = registered.map_err(|error| database.reading(error))?;
    if registered.iter().any(|known| known.topic == topic && *known != configured) {
        return Ok(Err("the configuration says another table, key or write mode than the pipeline's \
                       processes work by: set it back, or give the pipeline a new name"
            .to_owned()));
    }
    let load = async |name: &TableName| {
        catalogue::load_table(&database.session, &name.schema, &name.name, &route.key).await
    };
    match routing::resolve(settings, route, topic, load).await {
        Ok(route) => {
            let route = Arc::new(route);
            Ok(Ok(Way { decoder: Decoder::new(Arc::clone(&route)), route }))
        }
        Err(Misfit::Table(error @ CatalogueError::Database { .. })) => Err(Failure::failed(error)),
        Err(Misfit::Table(error)) => Ok(Err(error.to_string())),
        Err(Misfit::Name(error)) => Ok(Err(error.to_string())),
        Err(Misfit::Columns(problems)) => Ok(Err(problems.join("; "))),
    }
}
