//! Core dumps, which would hold the secrets of the configuration, are off.
//!
//! There are two switches, since a limit of 0 doesn't keep the kernel from handing a dump to a program (`|`
//! in `core_pattern`). A process that isn't dumpable (`PR_SET_DUMPABLE`) also closes its memory and its
//! environment to other processes of the same user: `/proc/PID/mem`, `environ`, `fd` and ptrace. What a
//! process reads of itself there stays open to it.

use std::ffi::OsStr;
use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// The variable that leaves everything as the system has it, where it is `on`. It is no key of the
/// configuration, since the switches come before the first secret is read.
const VARIABLE: &str = "TIDEGATE_CORE_DUMPS";

/// Turns core dumps off for this process, unless the environment says otherwise.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn turn_off() -> io::Result<()> {
    if std::env::var_os(VARIABLE).as_deref() == Some(OsStr::new("on")) {
        return Ok(());
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
