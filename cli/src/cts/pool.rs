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
    /// Why it ended before all cases were run.
    pub cut: Option<Error>,
}

impl Run {
    pub fn count(&self, status: Status) -> usize {
        let all = self.results.values();
        all.filter(|result| result.status == status).count()
    }
}

/// Runs `cases` in `jobs` processes at a time; their files go into folders of their own below `folder`. `label` names
/// the run in the progress. Where it can't go on, or is stopped, the results are those so far.
pub fn run(setting: &Setting, cases: &[String], jobs: usize, folder: &Path, label: &str) -> Run {
    let began = Instant::now();
    let size = cases.len().div_ceil(jobs * CHUNKS_A_JOB).clamp(1, CHUNK);
    let chunks: VecDeque<Vec<String>> = cases.chunks(size).map(<[String]>::to_vec).collect();
    let queue = Mutex::new(chunks);
    let progress = Mutex::new(Progress::new(label, cases.len()));
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for job in 0..jobs {
            let (queue, progress, failure) = (&queue, &progress, &failure);
            let folder = folder.join(format!("job-{job}"));
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
    Run {
        results: progress.results,
        wall: began.elapsed(),
        cut: failure.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often progress is told: on a terminal, where a line replaces the last one, and elsewhere.
const LIVE: Duration = Duration::from_millis(200);
const LOGGED: Duration = Duration::from_secs(60);

/// The results so far, and a line about them on stderr from time to time.
struct Progress<'a> {
    label: &'a str,
    total: usize,
    results: Results,
    bad: usize,
    began: Instant,
    told: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(label: &'a str, total: usize) -> Self {
        Self {
            label,
            total,
            results: Results::new(),
            bad: 0,
            began: Instant::now(),
            told: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn add(&mut self, case: &str, result: CaseResult) {
        self.bad += usize::from(!result.status.is_good());
        if let Some(before) = self.results.insert(case.to_owned(), result) {
            self.bad -= usize::from(!before.status.is_good());
        }
        if self.told.elapsed() < if self.terminal { LIVE } else { LOGGED } {
            return;
        }
        self.told = Instant::now();
        let (label, done, total, bad) = (self.label, self.results.len(), self.total, self.bad);
        let line = format!(
            "{label}: {done} of {total} cases in {} s, {bad} failed or crashed",
            self.began.elapsed().as_secs()
        );
        match self.terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
        let _ = std::io::stderr().flush();
    }

    /// Takes the line away.
    fn end(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
