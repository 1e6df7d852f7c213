//! What the runs found, and as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Failure;
use super::Error;
use super::pool::Run;
use super::stats::Sum;
use super::status::Status;
use super::verdict::{Compared, Judged};
use super::ways::Way;

/// The counters of the driver that are shown where people read; JSON has all.
pub const SHOWN: [&str; 7] = [
    "binds",
    "vm_bind_ioctls",
    "vm_bind_ops",
    "map_ops",
    "null_ops",
    "unmap_ops",
    "sync_ops",
];

/// All cases, with one kernel and strategy.
#[derive(Debug)]
pub struct Ours {
    pub way: Way,
    pub run: Run,
    pub judged: Judged,
    /// Where the bare base driver was run as well.
    pub compared: Option<Compared>,
    pub stats: Vec<Sum>,
}

impl Ours {
    /// How often a render node answered otherwise than its model; `None` where the kernel is none.
    pub fn kernel_differences(&self) -> Option<u64> {
        let counted = |sum: &Sum| sum.counters.get("differences").copied();
        self.stats.iter().filter_map(counted).reduce(|a, b| a + b)
    }
}

/// Everything that was found.
#[derive(Debug)]
pub struct Report {
    pub deqp: PathBuf,
    pub icd: PathBuf,
    /// How many cases there were to run, each time.
    pub cases: usize,
    /// Cases that were not run, by the list of skips.
    pub skipped: Vec<String>,
    /// The run on the bare base driver. What surprises there is said, and no more.
    pub baseline: Option<(Run, Judged)>,
    pub runs: Vec<Ours>,
    /// All runs together.
    pub wall: Duration,
}

impl Report {
    /// Every run, that on the bare base driver first.
    pub fn all(&self) -> impl Iterator<Item = &Run> {
        let bare = self.baseline.iter().map(|(run, _)| run);
        bare.chain(self.runs.iter().map(|ours| &ours.run))
    }

    /// Whether somebody asked to end.
    pub fn is_stopped(&self) -> bool {
        self.all()
            .any(|run| matches!(run.cut, Some(Error::Stopped)))
    }

    /// Why there is nothing to report: no run had a single result, and one could not go on.
    pub fn failure(&mut self) -> Option<Error> {
        if self.all().any(|run| !run.results.is_empty()) {
            return None;
        }
        let bare = self.baseline.iter_mut().map(|(run, _)| run);
        let mut all = bare.chain(self.runs.iter_mut().map(|ours| &mut ours.run));
        all.find_map(|run| run.cut.take())
    }

    /// Whether nothing is wrong.
    pub fn is_success(&self) -> bool {
        self.all().all(|run| run.cut.is_none())
            && self.runs.iter().all(|ours| {
                let worse = |compared: &Compared| !compared.worse.is_empty();
                ours.judged.unexpected.is_empty()
                    && !ours.compared.as_ref().is_some_and(worse)
                    && ours.kernel_differences().unwrap_or(0) == 0
            })
    }

    /// One line of JSON.
    pub fn json(&self) -> Result<String, Failure> {
        let base = |run: &Run, judged: &Judged| {
            let counts: BTreeMap<&str, usize> = Status::ALL
                .map(|status| (status.key(), run.count(status)))
                .into();
            json!({
                "cases": run.results.len(),
                "counts": counts,
                "wall_s": run.wall.as_secs_f64(),
                "cpu_s": run.cpu.as_secs_f64(),
                "cut": run.cut.as_ref().map(Error::to_string),
                "expected_failures": judged.failed_as_expected.len(),
                "improved": judged.improved,
                "unexpected": judged.unexpected,
                "results": run.results,
            })
        };
        let baseline = self.baseline.as_ref();
        let baseline = baseline.map(|(run, judged)| base(run, judged));
        let run = |ours: &Ours| {
            let mut value = base(&ours.run, &ours.judged);
            value["kernel"] = json!(ours.way.kernel.to_string_lossy());
            value["null"] = json!(ours.way.strategy.to_string_lossy());
            value["compared"] = json!(ours.compared);
            value["stats"] = json!(ours.stats);
            value
        };
        let runs: Vec<Value> = self.runs.iter().map(run).collect();
        let value = json!({
            "deqp_vk": self.deqp,
            "icd": self.icd,
            "success": self.is_success(),
            "stopped": self.is_stopped(),
            "cases": self.cases,
            "skipped": self.skipped,
            "wall_s": self.wall.as_secs_f64(),
            "baseline": baseline,
            "runs": runs,
        });
        crate::json(&value)
    }
}
