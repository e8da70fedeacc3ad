//! The `tidegate` program as a process: started with a configuration in a temporary folder, its output in
//! files, signalled, awaited by condition, and killed when its handle is dropped or the lab ends.

use crate::keeper::{Launch, Ward, keeper, tail};
use crate::vitals;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How `tidegate` is called.
#[derive(Debug, Clone)]
pub struct Tidegate {
    binary: PathBuf,
    config: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    envs: Vec<(String, String)>,
}

/// A `tidegate` that was started.
#[derive(Debug)]
pub struct Running {
    ward: Ward,
    folder: PathBuf,
}

/// How a `tidegate` ended, and what it printed.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output: results.
    pub output: String,
    /// Standard error: logs and messages.
    pub errors: String,
}

impl Tidegate {
    /// A call of `binary` with this YAML configuration.
    pub fn new(binary: &Path, config: &str) -> Result<Tidegate> {
        let folder = keeper().folder("tidegate")?;
        let file = folder.join("tidegate.yaml");
        fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
        Ok(Tidegate {
            binary: binary.to_owned(),
            config: file,
            folder,
            arguments: Vec::new(),
            envs: Vec::new(),
        })
    }

    /// `$TIDEGATE_BIN`, else the program beside the running one (both are built into the same folder).
    pub fn find() -> Result<PathBuf> {
        if let Some(given) = std::env::var_os("TIDEGATE_BIN").filter(|value| !value.is_empty()) {
            return Ok(PathBuf::from(given));
        }
        let own = std::env::current_exe().context("asking for the running program's path")?;
        let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("tidegate"));
        let found = beside.into_iter().find(|path| path.is_file());
        found.with_context(|| {
            let folder = own.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
            format!("there is no tidegate beside {folder}: cargo build --release, or set TIDEGATE_BIN")
        })
    }

    /// Adds arguments after `-c FILE`.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Tidegate {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable (`FAILPOINTS`, `TIDEGATE__POSTGRES__URL`).
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Tidegate {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the configuration was written.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Starts `tidegate COMMAND -c FILE …`; each start has a log of its own.
    pub fn start(&self, command: &str) -> Result<Running> {
        let folder = keeper().folder("tidegate-log")?;
        let mut launch = Launch::new(&self.binary, &self.folder, &folder.join("output"));
        launch = launch.errors(&folder.join("errors")).args(command.split_whitespace());
        launch = launch.args(["-c".to_owned(), self.config.display().to_string()]);
        launch = launch.args(self.arguments.iter().cloned());
        for (name, value) in &self.envs {
            launch = launch.env(name, value);
        }
        let ward = launch.start()?;
        Ok(Running { ward, folder })
    }

    /// Runs a command to its end.
    pub fn call(&self, command: &str, deadline: Duration) -> Result<Ended> {
        self.start(command)?.wait(deadline)
    }
}

impl Running {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.ward.id()
    }

    /// What it has printed to standard output so far: results.
    pub fn output(&self) -> String {
        read(&self.folder.join("output"))
    }

    /// What it has printed to standard error so far: logs and messages.
    pub fn errors(&self) -> String {
        read(&self.folder.join("errors"))
    }

    /// The file that standard error goes to.
    pub fn log(&self) -> PathBuf {
        self.folder.join("errors")
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        matches!(self.ward.ended(), Ok(None))
    }

    /// Waits until what it prints (to either stream) contains `text`. Fails after `deadline`, or when it ends
    /// before.
    pub fn await_output(&self, text: &str, deadline: Duration) -> Result<()> {
        self.await_condition(&format!("the output contains {text:?}"), deadline, |running| {
            running.output().contains(text) || running.errors().contains(text)
        })
    }

    /// Waits until `GET path` on `address` answers 200. Fails after `deadline`, or when it ends before.
    pub fn await_http(&self, address: &str, path: &str, deadline: Duration) -> Result<()> {
        self.await_condition(&format!("{address}{path} answers 200"), deadline, |_| {
            matches!(get(address, path), Ok((200, _)))
        })
    }

    /// Waits until the condition holds. Fails after `deadline`, or when the process ends before.
    pub fn await_condition(
        &self,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&Running) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + deadline;
        loop {
            if holds(self) {
                return Ok(());
            }
            if let Some(status) = self.ward.ended()? {
                bail!("tidegate ended with {status} before {what}:\n{}", self.last_lines());
            }
            if Instant::now() > until {
                bail!("not within {deadline:?}: {what}; tidegate's last lines:\n{}", self.last_lines());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn last_lines(&self) -> String {
        let (output, errors) = (self.folder.join("output"), self.folder.join("errors"));
        format!("{}\n{}", tail(&output, 10), tail(&errors, 40))
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill9(&self) -> Result<()> {
        self.ward.kill()
    }

    /// SIGTERM; doesn't wait.
    pub fn terminate(&self) -> Result<()> {
        self.ward.signal(Signal::SIGTERM)
    }

    /// SIGINT; doesn't wait.
    pub fn interrupt(&self) -> Result<()> {
        self.ward.signal(Signal::SIGINT)
    }

    /// SIGHUP; doesn't wait.
    pub fn hang_up(&self) -> Result<()> {
        self.ward.signal(Signal::SIGHUP)
    }

    /// SIGSTOP: frozen, with its connections open.
    pub fn freeze(&self) -> Result<()> {
        self.ward.signal(Signal::SIGSTOP)
    }

    /// SIGCONT after `freeze`.
    pub fn wake(&self) -> Result<()> {
        self.ward.signal(Signal::SIGCONT)
    }

    /// The exit status, if it has ended.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.ward.ended()
    }

    /// Waits for its end. Fails after `deadline` (and the process is killed when the handle is dropped).
    pub fn wait(&self, deadline: Duration) -> Result<Ended> {
        match self.ward.wait(deadline) {
            Ok(status) => Ok(Ended { code: status.code(), output: self.output(), errors: self.errors() }),
            Err(error) => Err(error.context(format!("tidegate's last lines:\n{}", self.last_lines()))),
        }
    }

    /// The most memory that it has had resident, in KiB, while it runs.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        vitals::peak_memory_kib(self.id())
    }
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// One HTTP request: status and body.
pub fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let target = address.parse().with_context(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(2))
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("reading {address}{path}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status.with_context(|| format!("{address}{path} doesn't speak HTTP"))?, body))
}

/// A loopback address that nobody listens on at this moment, for `http.listen`.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", crate::servers::ports::free())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn script(text: &str) -> Tidegate {
        let folder = keeper().folder("fake").unwrap();
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Tidegate::new(&program, "pipeline: orders\n").unwrap()
    }

    #[test]
    fn a_call_brings_command_configuration_arguments_environment_and_exit_code() {
        let program = script("echo \"$@\"; cat \"$3\"; echo $GREETING >&2; exit 3").args(["--set", "a=b"]);
        let ended = program.env("GREETING", "hello").call("check", DEADLINE).unwrap();
        assert_eq!(ended.code, Some(3));
        assert!(ended.output.starts_with("check -c "), "{}", ended.output);
        assert!(ended.output.contains("--set a=b\npipeline: orders\n"), "{}", ended.output);
        assert_eq!(ended.errors, "hello\n");
    }

    #[test]
    fn output_is_awaited_and_an_early_end_is_told_with_the_last_lines() {
        let running = script("echo started; sleep 600").start("run").unwrap();
        running.await_output("started", DEADLINE).unwrap();
        assert!(running.alive());
        running.kill9().unwrap();
        assert_eq!(running.wait(DEADLINE).unwrap().code, None);

        let running = script("echo because >&2; exit 2").start("run").unwrap();
        let error = running.await_output("ready", DEADLINE).unwrap_err().to_string();
        assert!(error.contains("because") && error.contains("exit status: 2"), "{error}");
    }

    #[test]
    fn sigterm_reaches_the_program_and_a_frozen_one_answers_after_it_wakes() {
        let text = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done";
        let running = script(text).start("run").unwrap();
        running.await_output("up", DEADLINE).unwrap();
        running.freeze().unwrap();
        running.terminate().unwrap();
        assert!(running.alive());
        running.wake().unwrap();
        let ended = running.wait(DEADLINE).unwrap();
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), "up\nbye\n"));
    }
}
