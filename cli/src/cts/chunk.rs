//! One list of cases after another in one process; a new process where one ends too early.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Instant;

use super::Error;
use super::deqp::{Deqp, said};
use super::driver::TestedDriver;
use super::output::{Event, Parser};
use super::process::{End, Watch};
use super::status::{CaseResult, Status};

/// What every chunk of a run has in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub deqp: &'a Deqp,
    pub driver: &'a TestedDriver,
    pub watch: Watch<'a>,
}

/// Runs `cases` in `folder`; `tell` hears of each result. A case that it hears of again ended as the last one says.
pub fn run(
    setting: &Setting,
    cases: Vec<String>,
    folder: &Path,
    mut tell: impl FnMut(&str, CaseResult),
) -> Result<(), Error> {
    let mut left = cases;
    let mut starts_in_vain = 0;
    while !left.is_empty() {
        let asked: HashSet<&str> = left.iter().map(String::as_str).collect();
        let mut seen: HashSet<String> = HashSet::new();
        let mut ended = |case: &str, result: CaseResult| {
            if asked.contains(case) {
                seen.insert(case.to_owned());
                tell(case, result);
            }
        };
        let (mut running, mut begun) = (None, Instant::now());
        let mut last = None;
        let mut done = false;
        let end = process(setting, &left, folder, |event| match event {
            Event::Begin(case) => (running, begun) = (Some(case), Instant::now()),
            Event::End(mut result) => {
                result.time = begun.elapsed();
                if let Some(case) = running.take() {
                    ended(&case, result);
                    last = Some(case);
                }
            }
            Event::Done => done = true,
        })?;
        let (status, how) = match &end {
            End::Hung => {
                let silence = setting.watch.patience.as_secs();
                (Status::Timeout, format!("nothing said for {silence} s"))
            }
            End::Exited(status) => (Status::Crash, format!("deqp-vk ended with {status}")),
        };
        let went_well = matches!(&end, End::Exited(status) if status.signal().is_none());
        if let Some(case) = &running {
            let mut result = CaseResult::new(status, how);
            result.time = begun.elapsed();
            ended(case, result);
        } else if let Some(case) = last.as_ref().filter(|_| !went_well) {
            // Between cases or behind the last one: what that case left behind is the likeliest cause.
            ended(
                case,
                CaseResult::new(status, format!("{how} after this case")),
            );
        } else if last.is_none() && !done {
            starts_in_vain += 1;
            if starts_in_vain == 2 {
                let said = said(folder, "");
                return Err(setting.deqp.does_not_start(&format!("{how}: {said}")));
            }
            continue;
        }
        if done && went_well {
            for &case in &asked {
                if !seen.contains(case) {
                    let why = "deqp-vk has not run this case";
                    tell(case, CaseResult::new(Status::Missing, why));
                }
            }
            return Ok(());
        }
        if seen.is_empty() {
            return Err(Error::Run(format!(
                "{}: runs other cases than it was asked for",
                setting.deqp.program().display()
            )));
        }
        left.retain(|case| !seen.contains(case));
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
    let mut command = setting.deqp.command(folder, setting.driver);
    command.arg("--deqp-caselist-file=cases.txt").stderr(errors);
    let mut parser = Parser::default();
    setting.watch.run(setting.deqp, &mut command, |line| {
        if let Some(event) = parser.line(line) {
            on(event);
        }
        true
    })
}
