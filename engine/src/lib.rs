//! The pure core: what a record means, what a batch is and what happens next.
//!
//! It knows nothing of clocks, sockets, tasks, logs or random seeds; time and randomness come in as
//! arguments, effects go out as values. The same inputs therefore always give the same outputs, which
//! is what lets a simulator replay a failure from its seed. A count of [`defect`]s is all that it keeps.

mod words;
pub mod defect;
pub mod position;
pub mod record;
pub mod outcome;
pub mod shape;
pub mod mode;
pub mod source;
pub mod expression;
pub mod rule;
pub mod route;
pub mod arena;
pub mod row;
mod read;
mod encode;
mod map;
pub mod decode;
pub mod change;
pub mod key;
pub mod fold;
pub mod evidence;
pub mod resolution;
pub mod batch;
pub mod progress;
pub mod claim;
pub mod segment;
pub mod retry;
pub mod halt;
pub mod hash;
pub mod pause;
pub mod waits;
pub mod backoff;
pub mod breaker;
pub mod policy;
pub mod commit;
pub mod machine;
pub mod ownership;
pub mod agenda;
pub mod anchor;
pub mod instance;
