//! Core dumps of a running process.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::process::{free_address, get};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::service::{SOON, sum};

/// The user for whom the difference shows: what root's processes have in /proc belongs to root anyway.
const NOBODY: u32 = 65_534;

/// A process that runs without servers to reach, as a user who isn't root.
struct Unprivileged {
    process: Child,
    listen: String,
    user: u32,
    _folder: TempDir,
}

impl Unprivileged {
    fn start(environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (listen, config) = (free_address(), folder.path().join("tidegate.yaml"));
        let text = format!(
            "pipeline: dumps\nkafka: {{bootstrap.servers: '127.0.0.1:1'}}\n\
             postgres: {{url: 'postgres://a@127.0.0.1:1/a'}}\n\
             routes: [{{topic: a, table: a, key: [id]}}]\nhttp: {{listen: '{listen}'}}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program(folder.path()));
        command.args(["run", "-c"]).arg(&config).env_clear().envs(environment.iter().copied());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let user = geteuid().as_raw();
        let user = if user == 0 { NOBODY } else { user };
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let running = Self { process: command.spawn().unwrap(), listen, user, _folder: folder };
        let deadline = Instant::now() + SOON;
        while !matches!(get(&running.listen, "/livez"), Ok((200, _))) {
            assert!(Instant::now() < deadline, "the process never answered");
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(name)
    }

    /// Whom the kernel lets read the process's environment: its user, or root where it isn't dumpable.
    fn reader(&self) -> u32 {
        fs::metadata(self.proc("environ")).unwrap().uid()
    }

    fn core_limit(&self) -> String {
        let limits = fs::read_to_string(self.proc("limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
        let _ = self.process.wait();
    }
}

/// The program where any user can reach it.
fn program(folder: &Path) -> PathBuf {
    let copy = folder.join("tidegate");
    fs::copy(env!("CARGO_BIN_EXE_tidegate"), &copy).unwrap();
    copy
}

#[test]
fn a_running_process_leaves_no_core_dump_and_is_closed_to_its_own_user() {
    let running = Unprivileged::start(&[]);
    assert_eq!(running.core_limit(), "0 0");
    assert_eq!(running.reader(), 0, "it isn't dumpable");
    // What it tells of itself is read in /proc, where it has to get in all the same.
    let (_, page) = get(&running.listen, "/metrics").unwrap();
    for name in ["process_open_fds{", "process_resident_memory_bytes{", "process_threads{"] {
        assert!(sum(&page, name) > 0.0, "{name}:\n{page}");
    }
}

#[test]
fn the_environment_leaves_core_dumps_as_the_system_has_them() {
    let running = Unprivileged::start(&[("TIDEGATE_CORE_DUMPS", "on")]);
    assert_eq!(running.reader(), running.user, "it is dumpable");
}
