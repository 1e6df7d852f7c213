//! What was counted, for people and for scripts.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use replay::{Counts, Replayed, Step};
use serde::Serialize;

use crate::others;
use crate::size::{duration, thousands};
use crate::table::render;

pub struct Report<'a> {
    pub path: &'a Path,
    /// The application's.
    pub process: &'a str,
    /// What a salvaged recording ends with.
    pub damage: Option<String>,
    /// The recording has no end, as after a crash.
    pub cut_off: bool,
    /// Where not all frames are reported.
    pub frames: Option<Range<u64>>,
    /// At least one.
    pub replayed: &'a [Replayed],
}

/// Names and order are relied on by scripts: new fields go last.
#[derive(Serialize)]
struct Json<'a> {
    trace: String,
    process: &'a str,
    /// What one step is: `frame` or `call`.
    step: &'a str,
    /// Of the whole recording.
    step_count: u64,
    /// The first step that is reported, and the one after the last.
    steps: [u64; 2],
    damage: Option<&'a str>,
    cut_off: bool,
    strategies: Vec<JsonWay<'a>>,
    /// Kernels other than panthor, over the whole recording.
    others: Vec<others::Row>,
}

#[derive(Serialize)]
struct JsonWay<'a> {
    kernel: String,
    strategy: String,
    /// Of the steps that are reported.
    totals: Counts,
    /// One by one; the last ones may be missing.
    steps: Vec<JsonStep>,
    steps_left_out: u64,
    remarks: &'a [String],
}

#[derive(Serialize)]
struct JsonStep {
    step: u64,
    #[serde(flatten)]
    counts: Counts,
}

impl Report<'_> {
    /// What is reported: of the frames that were asked for, or of all.
    pub fn totals(&self, way: &Replayed) -> Counts {
        match self.frames {
            Some(_) => way.kept.sum,
            None => way.totals,
        }
    }

    pub fn step(&self) -> Step {
        self.replayed
            .first()
            .map_or(Step::Frame, |way| way.kept.step)
    }

    pub fn step_count(&self) -> u64 {
        self.replayed.first().map_or(0, |way| way.kept.count)
    }

    pub fn range(&self) -> Range<u64> {
        self.frames.clone().unwrap_or(0..self.step_count())
    }

    pub fn json(&self) -> Result<String, String> {
        let range = self.range();
        let strategies = self.replayed.iter().map(|way| JsonWay {
            kernel: way.kernel.to_string(),
            strategy: way.strategy.to_string(),
            totals: self.totals(way),
            steps: (range.start..)
                .zip(&way.kept.steps)
                .map(|(step, &counts)| JsonStep { step, counts })
                .collect(),
            steps_left_out: (range.end - range.start) - way.kept.steps.len() as u64,
            remarks: &way.remarks,
        });
        let json = Json {
            trace: self.path.display().to_string(),
            process: self.process,
            step: self.step().name(),
            step_count: self.step_count(),
            steps: [range.start, range.end],
            damage: self.damage.as_deref(),
            cut_off: self.cut_off,
            strategies: strategies.collect(),
            others: self.others(),
        };
        crate::json(&json)
    }

    /// What kernels other than panthor are asked.
    fn others(&self) -> Vec<others::Row> {
        let others = self.replayed.iter().flat_map(|way| &way.others);
        let row = |other: &replay::Other| others::Row {
            kernel: other.kernel.to_string(),
            counts: other.counts,
        };
        others.map(row).collect()
    }

    /// What the recording is, in a line.
    pub fn subject(&self) -> String {
        let steps = format!("{}s", self.step().name());
        let which = match &self.frames {
            Some(range) => format!(
                "{steps} {} to {} of {}: ",
                thousands(range.start),
                thousands(range.end - 1),
                thousands(self.step_count())
            ),
            // The calls are counted below, and the step before the first is none.
            None if self.step() == Step::Call => String::new(),
            None => format!("{} {steps}: ", thousands(self.step_count())),
        };
        let process = match self.process {
            "" => String::new(),
            process => format!("{process}, "),
        };
        match self.replayed.first().map(|way| self.totals(way)) {
            Some(counts) => format!(
                "{process}{which}{} binds in {} calls of vkQueueBindSparse",
                thousands(counts.binds),
                thousands(counts.queue_bind_sparse_calls)
            ),
            None => format!("{process}{which}no binds"),
        }
    }

    pub fn text(&self) -> String {
        // Writing to a String cannot fail.
        let mut out = format!("{}: {}.\n", self.path.display(), self.subject());
        if self.step() == Step::Call {
            out.push_str("Nothing was presented: it has no frames.\n");
        }
        if let Some(damage) = &self.damage {
            let _ = writeln!(out, "Damaged, replayed up to there: {damage}.");
        } else if self.cut_off {
            out.push_str("It was not ended: the application was killed, or still runs.\n");
        }
        out.push('\n');
        out.push_str(&self.table());
        let others = self.others();
        if !others.is_empty() {
            out.push_str("\nThe same for other kernels, counted. Nothing runs there.\n\n");
            out.push_str(&others::table(&others));
        }
        if self.frames.is_some() {
            out.push('\n');
            out.push_str(&self.steps());
        }
        out.push_str(&self.exceptions());
        out
    }

    fn table(&self) -> String {
        let header = "strategy|kernel|>ops|>map|>null|>unmap|>sync|>ioctls|>runs|>elided|>PTE writes|>to kernel|>estimated";
        let row = |way: &Replayed| {
            let counts = self.totals(way);
            let numbers = [
                counts.vm_bind_ops,
                counts.map_ops,
                counts.null_ops,
                counts.unmap_ops,
                counts.sync_ops,
                counts.vm_bind_ioctls,
                counts.runs,
                counts.binds_elided,
                counts.pte_writes,
            ];
            let mut row = vec![way.strategy.to_string(), way.kernel.to_string()];
            row.extend(numbers.map(thousands));
            row.push(format!("{} B", thousands(counts.bytes_to_kernel)));
            row.push(duration(counts.estimated_ns));
            row
        };
        let rows: Vec<_> = self.replayed.iter().map(row).collect();
        render(header, &rows)
    }

    /// Each step that was asked for.
    fn steps(&self) -> String {
        let header = format!(
            ">{}|strategy|>calls|>binds|>elided|>runs|>ops|>ioctls|>PTE writes|>to kernel|>refused|>skipped",
            self.step().name()
        );
        let range = self.range();
        let kept = self.replayed.iter().map(|way| way.kept.steps.len()).max();
        let mut rows = Vec::new();
        for i in 0..kept.unwrap_or(0) {
            for way in self.replayed {
                let Some(counts) = way.kept.steps.get(i) else {
                    continue;
                };
                let mut row = vec![thousands(range.start + i as u64), way.strategy.to_string()];
                let numbers = [
                    counts.queue_bind_sparse_calls,
                    counts.binds,
                    counts.binds_elided,
                    counts.runs,
                    counts.vm_bind_ops,
                    counts.vm_bind_ioctls,
                    counts.pte_writes,
                    counts.bytes_to_kernel,
                    counts.refused,
                    counts.skipped,
                ];
                row.extend(numbers.map(thousands));
                rows.push(row);
            }
        }
        let mut out = render(&header, &rows);
        let left_out = (range.end - range.start) - kept.unwrap_or(0) as u64;
        if left_out > 0 {
            let _ = writeln!(out, "and {} more", thousands(left_out));
        }
        out
    }

    /// What was not carried out as it was recorded.
    fn exceptions(&self) -> String {
        let mut out = String::new();
        for way in self.replayed {
            let counts = self.totals(way);
            let parts = [
                (counts.refused, "calls refused"),
                (counts.failed, "calls failed in the recording"),
                (counts.not_taken, "calls that this kernel did not take"),
                (counts.skipped, "binds skipped"),
                (counts.unplaced, "resources or memories left out"),
                (counts.lost_events, "events lost by the recorder"),
            ];
            let parts: Vec<_> = parts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", thousands(*count)))
                .collect();
            if !parts.is_empty() {
                let _ = writeln!(out, "{}: {}", way.strategy, parts.join(", "));
            }
        }
        for other in self.replayed.iter().flat_map(|way| &way.others) {
            if let Some(unfit) = &other.unfit {
                let unfit_calls = thousands(other.counts.unfit);
                let _ = writeln!(out, "{unfit_calls} calls left out: {unfit}");
            }
        }
        // As a rule they are the same for all.
        let mut said: Vec<&String> = Vec::new();
        for remark in self.replayed.iter().flat_map(|way| &way.remarks) {
            if !said.contains(&remark) {
                said.push(remark);
                let _ = writeln!(out, "  {remark}");
            }
        }
        if out.is_empty() {
            out
        } else {
            format!("\n{out}")
        }
    }
}
