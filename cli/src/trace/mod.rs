//! `panvk-sparse trace`: what is in a recording, and several of them as one.

mod dump;
mod info;
mod json;
mod merge;

use std::process::ExitCode;

use clap::Subcommand;

use super::Failure;
use super::stop::{Error, STATUS};

const DETAILS: &str = "\
A recording is made by the layer VK_LAYER_PANVK_sparse_trace, with any application on any driver:
  VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=game.pvst your-game
panvk-sparse doctor says where the layer is, and what has to be set where it is not installed.

Examples:
  panvk-sparse trace info game.pvst
  panvk-sparse trace dump game.pvst | less";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a recording is of: process, devices, duration, how much of what
    Info(info::Args),
    /// Print every event, one a line
    Dump(dump::Args),
    /// Put recordings of several processes on one time line
    Merge(merge::Args),
}

/// Carries out the command, and says how it went, on stderr and as the exit status.
pub fn run(args: &Args) -> ExitCode {
    let result = match &args.command {
        Command::Info(args) => info::run(args)
            .and_then(|output| super::print(&output))
            .map_err(Error::from),
        Command::Dump(args) => dump::run(args).map_err(Error::from),
        Command::Merge(args) => merge::run(args),
    };
    match result {
        Err(Error::Stopped) => super::fail("stopped; nothing was written", STATUS),
        result => super::end(result),
    }
}
