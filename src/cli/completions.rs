//! `tidegate completions`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh  > ~/.zfunc/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish

";

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "tidegate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}
