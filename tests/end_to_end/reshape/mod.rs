//! Tables that change under a running worker: what is written is what the table, as it is now, makes of each
//! record, and nothing is blamed on records that only an older shape refuses.

mod column_types;
mod constraints;
mod ground;
mod held;
mod misfits;
mod partitions;
