//! One file a command.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod servers;
mod story;
