//! All integration tests, in one binary.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod broker;
mod cli;
mod config;
mod database;
mod tidy;
mod end_to_end;
mod simulation;
