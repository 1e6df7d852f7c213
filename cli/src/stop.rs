//! Ctrl-C, and the other signals that ask a process to end.
//!
//! A command that is stopped closes what it has open: a kernel frees a closed file's objects by itself, but a VM with
//! millions of mappings is better taken down in order. There, a second signal ends the process where it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::Failure;

/// The exit status of a command that was stopped: as shells say it, 128 + SIGINT.
pub const STATUS: u8 = 130;

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum Error {
    /// The command line asks for what can't be: a line for stderr.
    Usage(String),
    /// What went wrong: a line for stderr.
    Run(Failure),
    /// Ctrl-C, or another signal that asks to end.
    Stopped,
}

impl Error {
    /// The exit status that says it.
    pub fn status(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Run(_) => 1,
            Error::Stopped => STATUS,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(message) | Error::Run(message) => f.write_str(message),
            Error::Stopped => f.write_str("stopped"),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Run(failure)
    }
}

/// Whether a signal has asked the process to end.
#[derive(Debug)]
pub struct Stop(Arc<AtomicBool>);

/// Asks the process to end: Ctrl-C, a service manager, a terminal that goes away.
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

fn not_handled(error: std::io::Error) -> Failure {
    format!("signal handler: {error}")
}

impl Stop {
    /// From now on signals do not end the process, but say so here.
    pub fn on_signals() -> Result<Stop, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            flag::register(signal, Arc::clone(&stop)).map_err(not_handled)?;
        }
        Ok(Stop(stop))
    }

    /// The same, but the second signal does end the process: for a command that leaves nothing behind where it is
    /// ended.
    pub fn on_first_signal() -> Result<Stop, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            // In this order: the first signal sets the flag that the second one finds set.
            flag::register_conditional_shutdown(signal, STATUS.into(), Arc::clone(&stop))
                .and_then(|_| flag::register(signal, Arc::clone(&stop)))
                .map_err(not_handled)?;
        }
        Ok(Stop(stop))
    }

    /// To be called between steps that can be waited for.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        Ok(())
    }
}
