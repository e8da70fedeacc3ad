//! What every command begins with: where the configuration comes from, logs, and a runtime.

use std::path::PathBuf;

use crate::config::{LoadOptions, Settings};
use crate::postgres::words::SERVER_MESSAGES;
use crate::telemetry::logging;

use super::exit::Failure;

const CONFIGURATION: &str = "Configuration";

/// Where the configuration comes from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// File: .yaml, .toml or .json [default: $TIDEGATE_CONFIG, then tidegate.yaml]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = CONFIGURATION)]
    config: Option<PathBuf>,
    /// Override one key, such as --set kafka.client.id=x; repeatable
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = CONFIGURATION)]
    sets: Vec<String>,
}

impl ConfigArgs {
    /// The arguments with the environment of this process.
    pub(super) fn options(&self) -> LoadOptions {
        LoadOptions::from_process(self.config.clone(), self.sets.clone())
    }

    /// How `tidegate WORDS` is called for the same file, fit to be pasted into a shell.
    pub(super) fn command(&self, words: &str) -> String {
        format!("tidegate {words}{}", self.naming())
    }

    /// What such a command ends with: ` -c orders.yaml`. A file that was chosen by `$TIDEGATE_CONFIG` or by
    /// nobody is found again without being named.
    pub(super) fn naming(&self) -> String {
        let Some(file) = &self.config else { return String::new() };
        let file = file.to_string_lossy();
        let quoted = shlex::try_quote(&file).unwrap_or_else(|_| file.clone());
        format!(" -c {quoted}")
    }

    /// Loads the configuration.
    pub(super) fn load(&self) -> Result<Settings, Failure> {
        Ok(Settings::load(&self.options())?)
    }

    /// The same for a command that prints a result: its logs are warnings, as text.
    pub(super) fn load_to_report(&self) -> Result<Settings, Failure> {
        self.logs_to_report()?;
        self.load()
    }

    /// The logs of such a command.
    pub(super) fn logs_to_report(&self) -> Result<(), Failure> {
        let environment = logging::Environment::of(&self.options().env);
        let (format, silenced) = (logging::Format::Text, Some(SERVER_MESSAGES));
        let started = logging::init(format, QUIET, silenced, &environment, std::io::stderr);
        started.map(drop).map_err(Failure::usage)
    }
}

/// What librdkafka repeats of brokers that are out of reach is told once, by the error that follows.
const QUIET: &str = "warn,kafka=off";

/// Runs the asynchronous part of a command that isn't the service.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("can't start the runtime"))?;
    let done = runtime.block_on(work);
    // Nobody waits for the answer to a question whose asker left.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_the_file_in_use_as_a_shell_reads_it() {
        let cases = [
            (None, "tidegate init --dry-run"),
            (Some("orders.yaml"), "tidegate init --dry-run -c orders.yaml"),
            (Some("my orders.yaml"), "tidegate init --dry-run -c 'my orders.yaml'"),
            (Some("it's $HOME.yaml"), "tidegate init --dry-run -c \"it's \"'$HOME.yaml'"),
        ];
        for (file, expected) in cases {
            let config = ConfigArgs { config: file.map(PathBuf::from), sets: Vec::new() };
            assert_eq!(config.command("init --dry-run"), expected);
        }
    }
}
