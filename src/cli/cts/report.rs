//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::Failure;
use super::super::table::{Align, render};
use super::pool::Run;
use super::stats::Sum;
use super::status::Status;
use super::verdict::{Difference, Unexpected};

/// How many lines a list has at most where people read it; JSON has all.
const LISTED: usize = 50;

/// Everything that was found.
#[derive(Debug)]
pub struct Report {
    pub deqp: PathBuf,
    pub icd: PathBuf,
    pub ours: Run,
    /// Cases that were not run, by the list of skips.
    pub skipped: Vec<String>,
    pub expected_failures: usize,
    pub unexpected: Vec<Unexpected>,
    /// The run on the bare base driver, and what differs from it.
    pub baseline: Option<(Run, Vec<Difference>)>,
    pub stats: Vec<Sum>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_success(&self) -> bool {
        let differs = |(_, differences): &(Run, Vec<Difference>)| !differences.is_empty();
        self.unexpected.is_empty()
            && !self.baseline.as_ref().is_some_and(differs)
            && self.differences().is_none_or(|count| count == 0)
    }

    /// How often a render node answered otherwise than its model; `None` where the kernel is none.
    fn differences(&self) -> Option<u64> {
        self.stats
            .iter()
            .filter_map(|sum| sum.differences)
            .reduce(|a, b| a + b)
    }

    /// One line of JSON.
    pub fn json(&self) -> Result<String, Failure> {
        let counts = |run: &Run| -> BTreeMap<&str, usize> {
            Status::ALL
                .map(|status| (status.key(), run.count(status)))
                .into()
        };
        let baseline = self.baseline.as_ref().map(|(run, differences)| {
            json!({
                "counts": counts(run),
                "wall_s": run.wall.as_secs_f64(),
                "differences": differences,
            })
        });
        let value: Value = json!({
            "deqp_vk": self.deqp,
            "icd": self.icd,
            "success": self.is_success(),
            "cases": self.ours.results.len(),
            "skipped": self.skipped,
            "counts": counts(&self.ours),
            "expected_failures": self.expected_failures,
            "unexpected": self.unexpected,
            "wall_s": self.ours.wall.as_secs_f64(),
            "baseline": baseline,
            "stats": self.stats,
            "results": self.ours.results,
        });
        let json = serde_json::to_string(&value).map_err(|error| format!("JSON: {error}"))?;
        Ok(json + "\n")
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", summary("through panvk-sparse", &self.ours));
        if let Some((bare, _)) = &self.baseline {
            let _ = writeln!(out, "{}", summary("bare base driver", bare));
        }
        if !self.skipped.is_empty() {
            let _ = writeln!(out, "{} not run (list of skips)", self.skipped.len());
        }
        let (n, expected) = (self.unexpected.len(), self.expected_failures);
        let _ = writeln!(
            out,
            "{expected} expected failures or crashes, {n} unexpected results"
        );
        for found in self.unexpected.iter().take(LISTED) {
            let (case, status, expected) = (&found.case, found.status, found.expected);
            let _ = writeln!(
                out,
                "  {case}: {status}, expected {expected} ({})",
                found.reason
            );
        }
        more(&mut out, n);
        if let Some((_, differences)) = &self.baseline {
            let n = differences.len();
            let _ = writeln!(out, "{n} cases differ from the bare base driver");
            for found in differences.iter().take(LISTED) {
                let (case, ours, bare) = (&found.case, found.ours, found.bare);
                let _ = writeln!(out, "  {case}: {ours}, bare {bare} ({})", found.reason);
            }
            more(&mut out, n);
        }
        if let Some(count) = self.differences() {
            let _ = writeln!(
                out,
                "the kernel answered otherwise than its model {count} times{}",
                if count == 0 {
                    ""
                } else {
                    "; the driver's log says to what"
                }
            );
        }
        if !self.stats.is_empty() {
            out.push('\n');
            out.push_str(&kernel_work(&self.stats));
        }
        out
    }
}

fn more(out: &mut String, n: usize) {
    if n > LISTED {
        let _ = writeln!(out, "  and {} more; --json has them all", n - LISTED);
    }
}

/// One line: how many ended how, and how long it took.
fn summary(label: &str, run: &Run) -> String {
    let counts: Vec<String> = Status::ALL
        .into_iter()
        .map(|status| (run.count(status), status))
        // The first four are always of interest.
        .filter(|&(n, status)| {
            n > 0
                || matches!(
                    status,
                    Status::Pass | Status::Fail | Status::Skip | Status::Crash
                )
        })
        .map(|(n, status)| format!("{n} {}", status.said()))
        .collect();
    format!(
        "{label}: {} cases in {:.1} s: {}",
        run.results.len(),
        run.wall.as_secs_f64(),
        counts.join(", ")
    )
}

/// What each kernel and strategy was asked to do.
fn kernel_work(stats: &[Sum]) -> String {
    let header = [
        ("kernel", Align::Left),
        ("strategy", Align::Left),
        ("devices", Align::Right),
        ("binds", Align::Right),
        ("VM_BIND ioctls", Align::Right),
        ("ops", Align::Right),
        ("maps", Align::Right),
        ("nulls", Align::Right),
        ("unmaps", Align::Right),
        ("syncs", Align::Right),
    ];
    let rows: Vec<Vec<String>> = stats
        .iter()
        .map(|sum| {
            let numbers = [
                sum.devices,
                sum.binds,
                sum.vm_bind_ioctls,
                sum.vm_bind_ops,
                sum.map_ops,
                sum.null_ops,
                sum.unmap_ops,
                sum.sync_ops,
            ];
            let names = [sum.kernel.clone(), sum.strategy.clone()];
            names
                .into_iter()
                .chain(numbers.map(|n| n.to_string()))
                .collect()
        })
        .collect();
    render(&header, &rows)
}
