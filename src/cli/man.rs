//! `tidegate man`: the manual pages, made from the same definition as the help.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate man | man -l -
  tidegate man quarantine list | man -l -
  tidegate man --into /usr/local/share/man/man1    one page for each command

";

/// Print the manual page, of all or of one command, as roff
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// The command, such as run, or quarantine list
    command: Vec<String>,
    /// Write the page of each command into this folder, which is made where it is missing
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    into: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let mut page = super::command();
    page.build();
    if let Some(folder) = &args.into {
        let made = std::fs::create_dir_all(folder);
        made.with_context(|| format!("can't make the folder {}", folder.display()))
            .and_then(|()| write_all(page, "tidegate".to_owned(), folder))
            .map_err(Failure::failed)?;
        return Ok(Exit::Done);
    }
    let mut name = "tidegate".to_owned();
    for word in &args.command {
        let found = page.find_subcommand(word).cloned();
        page = found.ok_or_else(|| Failure::usage(anyhow!("`{name}` has no command `{word}`")))?;
        name = format!("{name}-{word}");
    }
    io::stdout().write_all(&roff(page, name)?)?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and of those below it.
fn write_all(page: clap::Command, name: String, folder: &Path) -> anyhow::Result<()> {
    for below in page.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        write_all(below.clone(), format!("{name}-{}", below.get_name()), folder)?;
    }
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, roff(page, name)?).with_context(|| format!("can't write {}", file.display()))
}

fn roff(page: clap::Command, name: String) -> io::Result<Vec<u8>> {
    // The manual has no place before the name: examples go to its end.
    let before = page.get_before_help().map(ToString::to_string).unwrap_or_default();
    let after = page.get_after_help().map(ToString::to_string).unwrap_or_default();
    let extra = [before.trim_end(), after.trim_end()].join("\n\n");
    let page = page.name(name).before_help("").after_help(extra.trim().to_owned());
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).source(concat!("tidegate ", env!("CARGO_PKG_VERSION"))).render(&mut roff)?;
    Ok(roff)
}
