//! The pure core: what a record means, what a batch is and what happens next.
//!
//! It knows nothing of clocks, sockets, tasks, logs or random seeds; time and randomness come in as
//! arguments, effects go out as values. The same inputs therefore always give the same outputs, which
//! is what lets a simulator replay a failure from its seed.

pub mod batch;
pub mod commit;
pub mod decode;
pub mod outcome;
pub mod policy;
pub mod position;
pub mod record;
pub mod route;
pub mod row;
pub mod shape;
