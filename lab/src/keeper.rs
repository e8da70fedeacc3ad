//! The keeper ends what the lab started, whatever ends the lab.
//!
//! One small shell process per lab process holds the reading end of a pipe. It learns which processes to
//! guard and which folder to remove; when the pipe closes (normal exit, panic, Ctrl-C, SIGKILL: the kernel
//! closes it in every case) it kills the guarded processes with their children and removes the folder. A
//! guarded process begins only after the keeper knows its id, so no moment exists in which a death of the lab
//! would leave it behind. The keeper never ends a process that it was not told of.

use crate::vitals::Stat;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("keeper.sh");

/// Waits for the program's orders before it becomes the program; an early end of the pipe ends it.
const GATE: &str = r#"read -r go || exit 125; exec "$@" </dev/null"#;

/// The one keeper of this process.
#[derive(Debug)]
pub struct Keeper {
    root: PathBuf,
    orders: Mutex<ChildStdin>,
    folders: AtomicU32,
}

/// The keeper of this process, started at the first call.
///
/// # Panics
/// When no temporary folder can be made or `sh` can't be started: nothing in the lab works without.
pub fn keeper() -> &'static Keeper {
    static KEEPER: OnceLock<Keeper> = OnceLock::new();
    KEEPER.get_or_init(|| Keeper::start().expect("the lab needs a temporary folder and sh"))
}

impl Keeper {
    fn start() -> Result<Keeper> {
        let root = tempfile::Builder::new().prefix("tidegate-lab-").tempdir()?.keep();
        // Servers that run as another user must be able to pass through, not to list.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711))?;
        let script = root.join("keeper.sh");
        fs::write(&script, SCRIPT)?;
        let mut shell = Command::new("sh")
            .arg(&script)
            .arg(&root)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the keeper with sh")?;
        let orders = shell.stdin.take().context("the keeper has no standard input")?;
        Ok(Keeper { root, orders: Mutex::new(orders), folders: AtomicU32::new(0) })
    }

    /// A new empty folder that is removed when this process ends.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let folder = self.root.join(format!("{name}-{number}"));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// Has `docker compose down` run for this project when this process ends.
    pub(crate) fn guard_compose(&self, project: &str) -> Result<()> {
        self.order("compose", project)
    }

    /// Has what is mounted at a folder taken away when this process ends.
    pub(crate) fn guard_mount(&self, folder: &Path) -> Result<()> {
        self.order("mount", &folder.display().to_string())
    }

    fn order(&self, verb: &str, what: &str) -> Result<()> {
        let line = format!("{verb} {what}\n");
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.write_all(line.as_bytes()).context("the keeper of the lab's processes is gone")
    }
}

/// What to start and as whom.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    user: Option<(u32, u32)>,
    folder: PathBuf,
    log: PathBuf,
    errors: Option<PathBuf>,
}

impl Launch {
    /// Runs `program` in `folder`; standard output and error are appended to `log`.
    pub fn new(program: &Path, folder: &Path, log: &Path) -> Launch {
        Launch {
            program: program.to_path_buf(),
            args: Vec::new(),
            envs: Vec::new(),
            user: None,
            folder: folder.to_path_buf(),
            log: log.to_path_buf(),
            errors: None,
        }
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Appends standard error to a file of its own.
    pub fn errors(mut self, file: &Path) -> Launch {
        self.errors = Some(file.to_path_buf());
        self
    }

    /// Runs as this user and group id instead of the lab's own.
    pub fn user(mut self, user: Option<(u32, u32)>) -> Launch {
        self.user = user;
        self
    }

    /// Starts the program under the keeper's guard.
    pub fn start(&self) -> Result<Ward> {
        let log = append_to(&self.log)?;
        let errors = match &self.errors {
            Some(file) => append_to(file)?,
            None => log.try_clone()?,
        };
        let mut command = Command::new("sh");
        command.args(["-c", GATE, "lab-gate"]).arg(&self.program).args(&self.args);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let gate = child.stdin.take();
        let ward = Ward { id: child.id(), child: Mutex::new(child) };
        keeper().order("guard", &ward.id.to_string())?;
        gate.context("the process has no standard input")?.write_all(b"go\n")?;
        Ok(ward)
    }
}

/// A process that the lab started. It is killed with its children when this value is dropped or the lab ends.
#[derive(Debug)]
pub struct Ward {
    id: u32,
    child: Mutex<Child>,
}

impl Ward {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sends a signal to the process alone. A process that has ended is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        // The child is not reaped while the lock is held, so its id can't belong to somebody else.
        kill(pid(self.id), signal).with_context(|| format!("sending {signal} to process {}", self.id))
    }

    /// Sends a signal to the process, then to its children (the backends of a PostgreSQL).
    pub fn signal_tree(&self, signal: Signal) -> Result<()> {
        let children = children(self.id);
        self.signal(signal)?;
        for child in children {
            // A child that has ended meanwhile needs no signal.
            let _ = kill(pid(child), signal);
        }
        Ok(())
    }

    /// The exit status, if it has ended.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child().try_wait()?)
    }

    /// Waits for the end. Fails after `deadline`.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("process {} still runs after {deadline:?}", self.id);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL to the process and its children, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal_tree(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the keeper tries again at the end.
        if self.kill().is_ok() {
            let _ = keeper().order("release", &self.id.to_string());
        }
    }
}

fn append_to(file: &Path) -> Result<File> {
    let opened = File::options().create(true).append(true).open(file);
    opened.with_context(|| format!("opening the log {}", file.display()))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed())
}

/// The direct children of a process, as the kernel tells.
fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| Stat::of(*id).is_some_and(|stat| stat.parent == parent))
        .collect()
}

/// The last lines of a log, for error messages.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn exists(id: u32) -> bool {
        // A zombie has ended; only its parent hasn't looked yet.
        fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until, "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Not a test of its own: the process that `a_killed_lab_leaves_nothing_behind` starts and kills.
    #[test]
    #[ignore = "started by another test in a process of its own"]
    fn victim() {
        let folder = keeper().folder("victim").unwrap();
        let script = "sleep 600 & echo ready; wait";
        let launch = Launch::new(Path::new("/bin/sh"), &folder, &folder.join("log")).args(["-c", script]);
        let ward = launch.start().unwrap();
        eventually("the child is there", || !children(ward.id()).is_empty());
        println!("\nvictim {} {} {}", ward.id(), children(ward.id())[0], keeper().root.display());
        std::thread::sleep(Duration::from_secs(600));
    }

    #[test]
    fn a_killed_lab_leaves_nothing_behind() {
        let mut lab = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keeper::tests::victim", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(lab.stdout.take().unwrap()).lines();
        let told = lines.map_while(Result::ok).find(|line| line.starts_with("victim ")).unwrap();
        let words: Vec<&str> = told.split(' ').collect();
        let (ward, child): (u32, u32) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        assert!(exists(ward) && exists(child) && Path::new(words[3]).is_dir());

        lab.kill().unwrap();
        lab.wait().unwrap();

        eventually("the guarded process is gone", || !exists(ward));
        eventually("its child is gone", || !exists(child));
        eventually("the folder is gone", || !Path::new(words[3]).exists());
    }

    fn stopped(id: u32) -> bool {
        fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| stat.contains(") T "))
    }

    #[test]
    fn a_signal_to_the_tree_reaches_the_children() {
        let folder = keeper().folder("tree").unwrap();
        let launch = Launch::new(Path::new("/bin/sh"), &folder, &folder.join("log"));
        let ward = launch.args(["-c", "sleep 600 & wait"]).start().unwrap();
        eventually("the child is there", || !children(ward.id()).is_empty());
        let child = children(ward.id())[0];
        ward.signal_tree(Signal::SIGSTOP).unwrap();
        eventually("both are stopped", || stopped(ward.id()) && stopped(child));
        ward.signal_tree(Signal::SIGCONT).unwrap();
        eventually("both go on", || !stopped(ward.id()) && !stopped(child));
    }

    #[test]
    fn a_dropped_ward_ends_with_its_children() {
        let folder = keeper().folder("drop").unwrap();
        let launch = Launch::new(Path::new("/bin/sh"), &folder, &folder.join("log"));
        let ward = launch.args(["-c", "sleep 600 & wait"]).start().unwrap();
        eventually("the child is there", || !children(ward.id()).is_empty());
        let (id, child) = (ward.id(), children(ward.id())[0]);
        drop(ward);
        eventually("both are gone", || !exists(id) && !exists(child));
    }
}
