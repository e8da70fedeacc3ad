//! `tidegate offsets`: where partitions stand, and what people decide about it.
//!
//! Each decision is made in one transaction for all partitions that it names, or for none: what the logs say
//! is looked up first, what the ledger says is judged under its locks. Processes that run need no restart.

mod accept;
mod adopt;
mod decide;
mod document;
mod judge;
pub(super) mod look;
mod report;
mod set;
mod show;

use clap::Subcommand;

use super::context::ConfigArgs;
use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate offsets show -c orders.yaml
  tidegate offsets set -c orders.yaml --topic events --to 2026-11-02T00:00:00Z --reason \"bad deploy\"
  tidegate offsets accept-gap -c orders.yaml --topic events --reason \"retention was too short\"
  tidegate offsets adopt -c orders.yaml --topic events --reason \"the topic was created anew\"
  tidegate offsets export -c orders.yaml > offsets.json

";

/// See and decide where partitions go on
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(super) struct OffsetsArgs {
    #[command(subcommand)]
    command: OffsetsCommand,
}

#[derive(Debug, Subcommand)]
enum OffsetsCommand {
    Show(show::ShowArgs),
    Set(set::SetArgs),
    AcceptGap(accept::AcceptArgs),
    Adopt(adopt::AdoptArgs),
    Export(document::ExportArgs),
    Import(document::ImportArgs),
}

pub(super) fn run(args: &OffsetsArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    match &args.command {
        OffsetsCommand::Show(args) => show::run(args, config),
        OffsetsCommand::Set(args) => set::run(args, config),
        OffsetsCommand::AcceptGap(args) => accept::run(args, config),
        OffsetsCommand::Adopt(args) => adopt::run(args, config),
        OffsetsCommand::Export(args) => document::export(args, config),
        OffsetsCommand::Import(args) => document::import(args, config),
    }
}
