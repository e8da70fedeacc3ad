//! `tidegate man`: the manual pages, made from the same definition as the help.

use std::io::{self, Write};

use anyhow::anyhow;

use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate man | man -l -
  tidegate man quarantine list > tidegate-quarantine-list.1

";

/// Print the manual page, of all or of one command, as roff
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// The command, such as run, or quarantine list
    command: Vec<String>,
}

pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let mut page = super::command();
    page.build();
    let mut name = "tidegate".to_owned();
    for word in &args.command {
        let found = page.find_subcommand(word).cloned();
        page = found.ok_or_else(|| Failure::usage(anyhow!("`{name}` has no command `{word}`")))?;
        name = format!("{name}-{word}");
    }
    // The manual has no place before the name: examples go to its end.
    let before = page.get_before_help().map(ToString::to_string).unwrap_or_default();
    let after = page.get_after_help().map(ToString::to_string).unwrap_or_default();
    let extra = [before.trim_end(), after.trim_end()].join("\n\n");
    let page = page.name(name).before_help("").after_help(extra.trim().to_owned());
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).source(concat!("tidegate ", env!("CARGO_PKG_VERSION"))).render(&mut roff)?;
    io::stdout().write_all(&roff)?;
    Ok(Exit::Done)
}
