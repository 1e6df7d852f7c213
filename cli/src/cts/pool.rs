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
    /// What all its processes took together.
    pub cpu: Duration,
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
/// the run in the progress, which counts apart what `is_expected`. Where it can't go on, or is stopped, the results are those so far.
pub fn run(
    setting: &Setting,
    cases: &[String],
    jobs: usize,
    folder: &Path,
    label: &str,
    is_expected: &(dyn Fn(&str, Status) -> bool + Sync),
) -> Run {
    let (began, cpu) = (Instant::now(), cpu_of_children());
    let size = cases.len().div_ceil(jobs * CHUNKS_A_JOB).clamp(1, CHUNK);
    let chunks: VecDeque<Vec<String>> = cases.chunks(size).map(<[String]>::to_vec).collect();
    let queue = Mutex::new(chunks);
    let progress = Mutex::new(Progress::new(label, cases.len(), is_expected));
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
        cpu: cpu_of_children().saturating_sub(cpu),
        cut: failure.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

/// The CPU time of all processes that this one has started and waited for, and of theirs.
fn cpu_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: cutime and cstime, the 16th and the 17th of all fields.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let times = fields.split(' ').skip(13).take(2);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often progress is told: on a terminal, where a line replaces the last one, and elsewhere.
const LIVE: Duration = Duration::from_millis(200);
const LOGGED: Duration = Duration::from_secs(5);

/// The results so far, and a line about them on stderr from time to time.
struct Progress<'a> {
    label: &'a str,
    total: usize,
    results: Results,
    is_expected: &'a (dyn Fn(&str, Status) -> bool + Sync),
    /// Those that went wrong: as expected, and otherwise.
    bad: [usize; 2],
    began: Instant,
    told: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(
        label: &'a str,
        total: usize,
        is_expected: &'a (dyn Fn(&str, Status) -> bool + Sync),
    ) -> Self {
        Self {
            label,
            total,
            results: Results::new(),
            is_expected,
            bad: [0; 2],
            began: Instant::now(),
            told: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Where a result of a case counts, if it went wrong.
    fn kind(&self, case: &str, status: Status) -> Option<usize> {
        (!status.is_good()).then(|| usize::from(!(self.is_expected)(case, status)))
    }

    fn add(&mut self, case: &str, result: CaseResult) {
        if let Some(kind) = self.kind(case, result.status) {
            self.bad[kind] += 1;
        }
        if let Some(before) = self.results.insert(case.to_owned(), result) {
            if let Some(kind) = self.kind(case, before.status) {
                self.bad[kind] -= 1;
            }
        }
        if self.told.elapsed() < if self.terminal { LIVE } else { LOGGED } {
            return;
        }
        self.told = Instant::now();
        let line = self.line(self.began.elapsed());
        match self.terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
        let _ = std::io::stderr().flush();
    }

    fn line(&self, elapsed: Duration) -> String {
        let (label, done, total) = (self.label, self.results.len(), self.total);
        let left = elapsed.as_secs_f64() * (total - done) as f64 / done.max(1) as f64;
        let [expected, unexpected] = self.bad;
        format!(
            "{label}: {done} of {total} cases in {} s, about {left:.0} s left, {unexpected} failed or crashed unexpectedly, \
             {expected} as expected",
            elapsed.as_secs()
        )
    }

    /// Takes the line away.
    fn end(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_the_time_left_and_unexpected_failures_apart() {
        let is_expected = |case: &str, _| case == "a.known";
        let mut progress = Progress::new("bare", 10, &is_expected);
        for (case, status) in [
            ("a.known", Status::Fail),
            ("a.b", Status::Pass),
            ("a.c", Status::Crash),
            ("a.d", Status::Fail),
            ("a.d", Status::Pass),
        ] {
            progress.add(case, CaseResult::new(status, ""));
        }
        assert_eq!(
            progress.line(Duration::from_secs(8)),
            "bare: 4 of 10 cases in 8 s, about 12 s left, 1 failed or crashed unexpectedly, 1 as expected"
        );
    }
}
