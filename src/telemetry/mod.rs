//! What operators see: metrics, logs, the board of the current state, and the HTTP endpoints that show it.
//!
//! The service tells it facts in typed calls; nothing here decides anything, and nothing here asks a
//! database or a broker. Names of metrics stand in [`definitions`] alone.

pub mod account;
pub mod board;
pub mod definitions;
pub mod http;
pub mod labels;
pub mod logging;
pub mod metrics;
mod registrar;
pub mod repeats;
pub mod waiting;
