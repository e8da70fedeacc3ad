//! Everything that provokes and measures Tidegate: real servers, faults, load, proofs.
//!
//! In reading order: the keeper ends what was started; servers are found and run; a fixture is one test's
//! share of them; a generator sends events and its oracle knows what they must become; the checker holds the
//! table and the ledger against the oracle; the proxy and the process handle provoke what production brings.
//! Nothing here is part of the product, and nothing in the product knows of it.

pub mod binary;
pub mod cache;
pub mod chaos;
pub mod checker;
pub mod event;
pub mod fixture;
pub mod generator;
pub mod keeper;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod sql;
pub mod topics;
pub mod vitals;
