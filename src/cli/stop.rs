//! Ctrl-C, and the other signals that ask a process to end.
//!
//! A command that is stopped closes what it has open: a kernel frees a closed file's objects by itself, but a VM with
//! millions of mappings is better taken down in order. A second signal ends the process where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::Failure;

/// The exit status of a command that was stopped: as shells say it, 128 + SIGINT.
pub const STATUS: u8 = 130;

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum End {
    /// A line for stderr.
    Failed(Failure),
    Stopped,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

/// Whether a signal has asked the process to end.
#[derive(Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on signals do not end the process, but say so here; the second one does end it.
    pub fn on_signals() -> Result<Stop, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal sets the flag that the second one finds set.
            flag::register_conditional_shutdown(signal, STATUS.into(), Arc::clone(&stop))
                .and_then(|_| flag::register(signal, Arc::clone(&stop)))
                .map_err(|error| format!("signal handler: {error}"))?;
        }
        Ok(Stop(stop))
    }

    /// To be called between steps that can be waited for.
    pub fn check(&self) -> Result<(), End> {
        if self.0.load(Ordering::Relaxed) {
            return Err(End::Stopped);
        }
        Ok(())
    }
}
