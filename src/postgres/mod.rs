//! PostgreSQL: connections, the catalogue, the ledger and the meaning of errors.
//!
//! It knows the words of the engine and the [`crate::store`] trait, and never Kafka. Each statement that
//! it sends names its schema, functions included, and compares built-in types with the operators of
//! `pg_catalog`: the role's own `search_path` therefore stays as it is, since the triggers, defaults and
//! domains of the user's tables may rely on it.

mod cancel;
pub mod catalogue;
pub mod classify;
pub mod connect;
mod context;
mod flush;
pub mod identifier;
pub mod ledger;
pub mod question;
pub mod repertoire;
pub mod session;
pub mod tls;
pub mod words;
pub mod write;
