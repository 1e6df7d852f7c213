//! `panvk-sparse trace`: what is in a recording, and several of them as one.

mod dump;
mod info;
mod json;
mod merge;
mod source;

use std::process::ExitCode;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, clap::Args)]
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

/// Why a command has not done what it was asked for.
enum Error {
    Failed(Failure),
    /// Ctrl-C, or another signal that asks to end.
    Stopped,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
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
    let (message, status) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Error::Failed(failure)) => (failure, 1),
        // As shells say it: 128 + SIGINT.
        Err(Error::Stopped) => ("stopped; nothing was written".to_owned(), 130),
    };
    eprintln!("panvk-sparse: {message}");
    ExitCode::from(status)
}
