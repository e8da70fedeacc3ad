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

    /// Loads the configuration.
    pub(super) fn load(&self) -> Result<Settings, Failure> {
        Ok(Settings::load(&self.options())?)
    }

    /// The same for a command that prints a result: its logs are warnings, as text.
    pub(super) fn load_to_report(&self) -> Result<Settings, Failure> {
        let options = self.options();
        let environment = logging::Environment::of(&options.env);
        logging::init(logging::Format::Text, "warn", Some(SERVER_MESSAGES), &environment)
            .map_err(Failure::usage)?;
        Ok(Settings::load(&options)?)
    }
}

/// Runs the asynchronous part of a command that isn't the service.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(error).context("can't start the runtime"))?.block_on(work)
}
