//! Everything that provokes and measures Tidegate: real servers, faults, load, proofs.
//!
//! In reading order: the keeper ends what was started; servers are found and run; a fixture is one test's share
//! of them. Nothing here is part of the product, and nothing in the product knows of it.

pub mod fixture;
pub mod keeper;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod sql;
