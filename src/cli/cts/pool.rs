//! Chunks in parallel, with progress.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::chunk::{self, Setting};
use super::status::{CaseResult, Status};

/// The most cases that one process gets: what it leaks is gone with it.
const CHUNK: usize = 500;
/// How many chunks a job gets at least, where there are that many cases, so that all end at about the same time.
const CHUNKS_A_JOB: usize = 4;

pub type Results = BTreeMap<String, CaseResult>;

/// Everything of one run over the cases.
#[derive(Debug, Default)]
pub struct Run {
    pub results: Results,
    pub wall: Duration,
}

impl Run {
    pub fn count(&self, status: Status) -> usize {
        let all = self.results.values();
        all.filter(|result| result.status == status).count()
    }
}

/// Runs `cases` in `jobs` processes at a time; their files go below `folder`. `label` names the run in the progress.
pub fn run(
    setting: &Setting,
    cases: &[String],
    jobs: usize,
    folder: &Path,
    label: &str,
) -> Result<Run, Error> {
    let began = Instant::now();
    let size = cases.len().div_ceil(jobs * CHUNKS_A_JOB).clamp(1, CHUNK);
    let chunks: VecDeque<Vec<String>> = cases.chunks(size).map(<[String]>::to_vec).collect();
    let queue = Mutex::new(chunks);
    let progress = Mutex::new(Progress::new(label, cases.len()));
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for job in 0..jobs {
            let (queue, progress, failure) = (&queue, &progress, &failure);
            let folder = folder.join(format!("{label}-{job}"));
            scope.spawn(move || {
                let work = || -> Result<(), Error> {
                    fs::create_dir_all(&folder)
                        .map_err(|error| Error::Run(format!("{}: {error}", folder.display())))?;
                    while let Some(chunk) = { lock(queue).pop_front() } {
                        chunk::run(setting, chunk, &folder, |case, result| {
                            lock(progress).add(case, result);
                        })?;
                    }
                    Ok(())
                };
                if let Err(error) = work() {
                    // Nobody starts another chunk; the first error is the one to tell.
                    lock(queue).clear();
                    lock(failure).get_or_insert(error);
                }
            });
        }
    });
    let mut progress = progress
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    progress.end();
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(Run {
            results: progress.results,
            wall: began.elapsed(),
        }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The results so far, and a line about them where stderr is a terminal.
struct Progress<'a> {
    label: &'a str,
    total: usize,
    results: Results,
    bad: usize,
    shown: Option<Instant>,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(label: &'a str, total: usize) -> Self {
        Self {
            label,
            total,
            results: Results::new(),
            bad: 0,
            shown: None,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn add(&mut self, case: String, result: CaseResult) {
        self.bad += usize::from(!result.status.is_good());
        self.results.insert(case, result);
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed() > Duration::from_millis(200));
        if self.terminal && due {
            self.shown = Some(Instant::now());
            let (label, done, total, bad) = (self.label, self.results.len(), self.total, self.bad);
            eprint!("\r\x1b[K{label}: {done} of {total} cases, {bad} failed or crashed");
            let _ = std::io::stderr().flush();
        }
    }

    /// Takes the line away.
    fn end(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
