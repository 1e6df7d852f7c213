//! A process of deqp-vk: its lines as they come, and its end, which it has with all that it started.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::deqp::Deqp;
use crate::stop::{Error, Stop};

/// How often a run looks whether it has to stop.
const POLL: Duration = Duration::from_millis(100);
/// The longest line, in bytes; more is the next line.
const LONGEST: u64 = 1 << 20;
/// Lines that wait to be heard.
const WAITING: usize = 1024;

/// How a process came to its end.
#[derive(Debug)]
pub enum End {
    Exited(ExitStatus),
    Hung,
}

/// What ends a process that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// How long it may say nothing.
    pub patience: Duration,
    pub stop: &'a Stop,
}

/// A process, in a group of its own, that does not outlive its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be somebody else's.
        if matches!(self.0.try_wait(), Ok(None)) {
            // It may end this very moment; then there is nobody to signal.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

impl Watch<'_> {
    /// Runs `command`, one of `deqp`. `on` hears each line of stdout, and says whether it is a sign of life.
    pub fn run(
        &self,
        deqp: &Deqp,
        command: &mut Command,
        mut on: impl FnMut(&str) -> bool,
    ) -> Result<End, Error> {
        // In its own group Ctrl-C reaches it through us alone: no case crashes of it, and what a script started ends too.
        let child = command.stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = Owned(child.map_err(|error| deqp.does_not_start(&error.to_string()))?);
        let Some(stdout) = child.0.stdout.take() else {
            return Err(deqp.does_not_start("it has no stdout"));
        };
        let lines = lines(stdout);
        let mut heard = Instant::now();
        loop {
            self.stop.check()?;
            match lines.recv_timeout(POLL) {
                Ok(line) if on(&line) => heard = Instant::now(),
                Ok(_) | Err(RecvTimeoutError::Timeout) if heard.elapsed() < self.patience => {}
                Ok(_) | Err(RecvTimeoutError::Timeout) => return Ok(End::Hung),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // stdout is closed; the process may still be busy with its end.
        loop {
            self.stop.check()?;
            let waited = child.0.try_wait();
            if let Some(status) = waited.map_err(|error| Error::Run(format!("wait: {error}")))? {
                return Ok(End::Exited(status));
            }
            if heard.elapsed() >= self.patience {
                return Ok(End::Hung);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The lines of `stdout`, read by a thread that ends with the pipe.
fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            let read = stdout.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            if !matches!(read, Ok(n) if n > 0) {
                break;
            }
            let line = String::from_utf8_lossy(&line);
            if sender
                .send(line.trim_end_matches(['\r', '\n']).to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    receiver
}
