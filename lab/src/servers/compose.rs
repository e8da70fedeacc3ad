//! Servers by Docker compose: the last rung, for machines that have Docker and neither binaries nor Maven.

use crate::keeper::keeper;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const FILE: &str = include_str!("compose.yml");

/// One service in a project of its own.
#[derive(Debug)]
pub(super) struct Compose {
    project: String,
    service: &'static str,
    file: PathBuf,
    envs: Vec<(&'static str, String)>,
}

/// Why Docker compose can't be used here, if it can't.
pub(super) fn available() -> Result<()> {
    let answers = |args: &[&str]| {
        let run = Command::new("docker").args(args).stdin(Stdio::null()).output();
        run.is_ok_and(|output| output.status.success())
    };
    if !answers(&["compose", "version"]) {
        bail!("docker compose is not installed");
    }
    if !answers(&["info"]) {
        bail!("the Docker daemon doesn't answer");
    }
    Ok(())
}

impl Compose {
    /// Starts `service` (kafka or postgres) so that it is reached on `port` of 127.0.0.1.
    pub(super) fn up(service: &'static str, port: u16, postgres_tag: &str) -> Result<Compose> {
        let folder = keeper().folder("compose")?;
        let file = folder.join("compose.yml");
        fs::write(&file, FILE)?;
        let project = format!("tidegate-lab-{service}-{port}");
        let envs = vec![("LAB_PORT", port.to_string()), ("LAB_POSTGRES_TAG", postgres_tag.to_owned())];
        let compose = Compose { project, service, file, envs };
        keeper().guard_compose(&compose.project)?;
        compose.run(&["up", "--detach"])?;
        Ok(compose)
    }

    /// Runs one subcommand on the service.
    pub(super) fn run(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new("docker");
        command.args(["compose", "-p", &self.project, "-f"]).arg(&self.file).args(args).arg(self.service);
        command.envs(self.envs.iter().map(|(name, value)| (*name, value)));
        let output = command.stdin(Stdio::null()).output().context("running docker compose")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("docker compose {} failed: {}", args.join(" "), text.trim());
        }
        Ok(())
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        // The keeper takes the project down at the end in any case.
        let _ = self.run(&["rm", "--force", "--stop", "--volumes"]);
    }
}
