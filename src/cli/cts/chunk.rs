//! One list of cases after another in one process; a new process where one ends too early.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::deqp::{Deqp, tail};
use super::driver::Driver;
use super::output::{Event, Parser};
use super::status::{CaseResult, Status};

/// How often a run looks whether it has to stop.
const POLL: Duration = Duration::from_millis(100);

/// What every chunk of a run has in common.
pub struct Setting<'a> {
    pub deqp: &'a Deqp,
    pub driver: &'a Driver,
    /// How long deqp-vk may say nothing.
    pub patience: Duration,
    pub stop: &'a AtomicBool,
}

/// A process that does not outlive its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a process came to its end.
enum End {
    Exited(ExitStatus),
    Hung,
}

/// Runs `cases` in `folder`; `tell` hears of the results when a process has ended.
pub fn run(
    setting: &Setting,
    cases: Vec<String>,
    folder: &Path,
    mut tell: impl FnMut(String, CaseResult),
) -> Result<(), Error> {
    let mut left = cases;
    let mut starts_in_vain = 0;
    while !left.is_empty() {
        let mut seen: BTreeMap<String, CaseResult> = BTreeMap::new();
        let mut running = None;
        let mut last = None;
        let mut done = false;
        let end = process(setting, &left, folder, |event| match event {
            Event::Begin(case) => running = Some(case),
            Event::End(result) => {
                if let Some(case) = running.take() {
                    last = Some(case.clone());
                    seen.insert(case, result);
                }
            }
            Event::Done => done = true,
        })?;
        let how = match &end {
            End::Hung => format!("nothing said for {} s", setting.patience.as_secs()),
            End::Exited(status) => format!("deqp-vk ended with {status}"),
        };
        let status = match end {
            End::Hung => Status::Timeout,
            End::Exited(_) => Status::Crash,
        };
        let went_well = matches!(&end, End::Exited(status) if status.signal().is_none());
        if let Some(case) = running {
            seen.insert(case, CaseResult::new(status, how.clone()));
        } else if let Some(case) = last.filter(|_| !went_well) {
            // Between cases or behind the last one: what that case left behind is the likeliest cause.
            let how = format!("{how} after this case");
            seen.insert(case, CaseResult::new(status, how));
        } else if seen.is_empty() && !done {
            starts_in_vain += 1;
            if starts_in_vain == 2 {
                let said = said(folder);
                return Err(setting.deqp.does_not_start(&format!("{how}: {said}")));
            }
            continue;
        }
        if done && went_well {
            for case in &left {
                seen.entry(case.clone()).or_insert_with(|| {
                    CaseResult::new(Status::Missing, "deqp-vk has not run this case")
                });
            }
        }
        let asked: HashSet<String> = left.drain(..).collect();
        seen.retain(|case, _| asked.contains(case));
        if seen.is_empty() {
            return Err(Error::Run(format!(
                "{}: runs other cases than it was asked for",
                setting.deqp.program().display()
            )));
        }
        left.extend(asked.into_iter().filter(|case| !seen.contains_key(case)));
        left.sort_unstable();
        for (case, result) in seen {
            tell(case, result);
        }
    }
    Ok(())
}

/// Runs one process over `cases` and passes on what it says.
fn process(
    setting: &Setting,
    cases: &[String],
    folder: &Path,
    mut on: impl FnMut(Event),
) -> Result<End, Error> {
    let failed = |error: std::io::Error| Error::Run(format!("{}: {error}", folder.display()));
    fs::write(folder.join("cases.txt"), cases.join("\n") + "\n").map_err(failed)?;
    let errors = File::create(folder.join("stderr")).map_err(failed)?;
    let child = setting
        .deqp
        .command(folder, setting.driver)
        .arg("--deqp-caselist-file=cases.txt")
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| setting.deqp.does_not_start(&error.to_string()))?;
    let mut child = Owned(child);
    let Some(stdout) = child.0.stdout.take() else {
        return Err(setting.deqp.does_not_start("it has no stdout"));
    };
    let lines = lines(stdout);
    let mut parser = Parser::default();
    let mut heard = Instant::now();
    loop {
        if setting.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                heard = Instant::now();
                if let Some(event) = parser.line(&line) {
                    on(event);
                }
            }
            Err(RecvTimeoutError::Timeout) if heard.elapsed() < setting.patience => {}
            Err(RecvTimeoutError::Timeout) => return Ok(End::Hung),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // stdout is closed; the process may still be busy with its end.
    loop {
        if let Some(status) = child.0.try_wait().map_err(failed)? {
            // The children of a terminal's foreground hear Ctrl-C when we do: that is no crash.
            return match setting.stop.load(Ordering::Relaxed) {
                true => Err(Error::Stopped),
                false => Ok(End::Exited(status)),
            };
        }
        if setting.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        if heard.elapsed() >= setting.patience {
            return Ok(End::Hung);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The lines of `stdout`, read by a thread that ends with the pipe.
fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The end of what the last process in `folder` wrote to stderr.
fn said(folder: &Path) -> String {
    let bytes = fs::read(folder.join("stderr")).unwrap_or_default();
    tail(&String::from_utf8_lossy(&bytes))
}
