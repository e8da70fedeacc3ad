//! One file a command.

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod demo;
mod output;
pub(crate) mod retries;
pub(crate) mod servers;
mod story;
