//! All integration tests, in one binary.

// Tables of cases have long types, and a build without failpoints must say what it lacks.
#![allow(clippy::type_complexity, clippy::result_large_err, clippy::assertions_on_constants)]
#![allow(clippy::unwrap_used, unreachable_pub)]

mod broker;
mod cli;
mod config;
mod database;
mod tidy;
mod end_to_end;
mod simulation;
