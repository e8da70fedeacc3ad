//! The `tidegate` command.

use std::process::ExitCode;

/// Also serves librdkafka; its options are in `.cargo/config.toml`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidegate::cli::main(std::env::args_os())
}
