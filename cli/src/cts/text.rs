//! What the runs found, for people.

use std::fmt::Write as _;

use super::super::table::render;
use super::pool::Run;
use super::report::{Ours, Report, SHOWN};
use super::status::Status;
use super::verdict::{Difference, Judged, Surprise};

/// How many lines a list has at most; JSON has all.
const LISTED: usize = 50;

/// The whole text.
pub fn text(report: &Report) -> String {
    // Writing to a String cannot fail.
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} cases{}, in {:.1} s:\n",
        report.cases,
        match report.skipped.len() {
            0 => String::new(),
            n => format!(" ({n} more not run, by the list of skips)"),
        },
        report.wall.as_secs_f64()
    );
    out.push_str(&results(report));
    out.push('\n');
    if let Some((run, judged)) = &report.baseline {
        notes(&mut out, "bare base driver", run, judged, report.cases);
    }
    for ours in &report.runs {
        notes(&mut out, &name(ours), &ours.run, &ours.judged, report.cases);
        if let Some(compared) = &ours.compared {
            let n = compared.worse.len();
            let _ = writeln!(out, "  {n} worse than the bare base driver");
            differences(&mut out, &compared.worse);
            if !compared.taken_back.is_empty() {
                let n = compared.taken_back.len();
                let _ = writeln!(
                    out,
                    "  {n} taken back: not supported, where the base driver says that it supports them"
                );
                differences(&mut out, &compared.taken_back);
            }
            let (listed, unlisted) = (compared.better.len(), compared.better_unlisted.len());
            let _ = writeln!(
                out,
                "  {} better than the bare base driver, {unlisted} of them not in its list of failures",
                listed + unlisted
            );
            differences(&mut out, &compared.better_unlisted);
        }
    }
    for ours in &report.runs {
        if let Some(count) = ours.kernel_differences() {
            let _ = writeln!(
                out,
                "{}: the kernel answered otherwise than its model {count} times{}",
                name(ours),
                if count == 0 {
                    ""
                } else {
                    "; the driver's log says to what"
                }
            );
        }
    }
    if report.runs.iter().any(|ours| !ours.stats.is_empty()) {
        out.push('\n');
        out.push_str(&kernel_work(&report.runs));
    }
    out
}

/// A run of ours. The driver says which strategy `auto` was.
fn strategy(ours: &Ours) -> String {
    match &ours.stats[..] {
        [only] => only.strategy.clone(),
        _ => ours.way.strategy.to_string_lossy().into_owned(),
    }
}

pub fn name(ours: &Ours) -> String {
    format!("{} {}", ours.way.kernel.to_string_lossy(), strategy(ours))
}

/// How many ended how, a line a run.
fn results(report: &Report) -> String {
    // These are always of interest.
    let asked = [Status::Pass, Status::Fail, Status::Crash, Status::Skip];
    let statuses: Vec<Status> = Status::ALL
        .into_iter()
        .filter(|&status| asked.contains(&status) || report.all().any(|run| run.count(status) > 0))
        .collect();
    let said = statuses.iter().map(|status| format!("|>{}", status.said()));
    let header = "kernel|strategy".to_owned()
        + &said.collect::<String>()
        + "|>unexpected|>worse|>better|>taken back|>ioctls|>ops|>CPU|>time";
    let row = |names: [String; 2], run: &Run, rest: [String; 6]| -> Vec<String> {
        let counts = statuses.iter().map(|&status| run.count(status).to_string());
        let times = [run.cpu, run.wall].map(|time| format!("{:.1} s", time.as_secs_f64()));
        let rest = counts.chain(rest).chain(times);
        names.into_iter().chain(rest).collect()
    };
    let none = || "-".to_owned();
    let bare = report.baseline.iter().map(|(run, judged)| {
        let unexpected = judged.unexpected.len().to_string();
        let names = ["bare base driver".to_owned(), none()];
        row(
            names,
            run,
            [unexpected, none(), none(), none(), none(), none()],
        )
    });
    let ours = report.runs.iter().map(|ours| {
        let kernel = ours.way.kernel.to_string_lossy().into_owned();
        let sum = |name| ours.stats.iter().map(|sum| sum.of(name)).sum::<u64>();
        let compared = ours.compared.as_ref();
        let better = compared.map(|found| found.better.len() + found.better_unlisted.len());
        let rest = [
            ours.judged.unexpected.len().to_string(),
            compared.map_or_else(none, |found| found.worse.len().to_string()),
            better.map_or_else(none, |n| n.to_string()),
            compared.map_or_else(none, |found| found.taken_back.len().to_string()),
            sum("vm_bind_ioctls").to_string(),
            sum("vm_bind_ops").to_string(),
        ];
        row([kernel, strategy(ours)], &ours.run, rest)
    });
    render(&header, &bare.chain(ours).collect::<Vec<_>>())
}

/// What is to be said of one run.
fn notes(out: &mut String, name: &str, run: &Run, judged: &Judged, cases: usize) {
    let (expected, n) = (judged.failed_as_expected.len(), judged.unexpected.len());
    let _ = writeln!(
        out,
        "{name}: {expected} expected failures or crashes, {n} unexpected results"
    );
    if let Some(error) = &run.cut {
        let done = run.results.len();
        let _ = writeln!(out, "  ended after {done} of {cases} cases: {error}");
    }
    surprises(out, &judged.unexpected);
    if !judged.improved.is_empty() {
        let n = judged.improved.len();
        let _ = writeln!(
            out,
            "  {n} expected to fail, but did not: their lines can go"
        );
        surprises(out, &judged.improved);
    }
}

fn surprises(out: &mut String, found: &[Surprise]) {
    let line = |found: &Surprise| {
        let (case, status, expected) = (&found.case, found.status, found.expected);
        format!("{case}: {status}, expected {expected} ({})", found.reason)
    };
    list(out, found.iter().map(line));
}

fn differences(out: &mut String, found: &[Difference]) {
    let line = |found: &Difference| {
        let (case, ours, bare) = (&found.case, found.ours, found.bare);
        format!("{case}: {ours}, bare {bare} ({})", found.reason)
    };
    list(out, found.iter().map(line));
}

fn list(out: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let n = lines.len();
    for line in lines.take(LISTED) {
        let _ = writeln!(out, "    {line}");
    }
    if n > LISTED {
        let _ = writeln!(out, "    and {} more; --json has them all", n - LISTED);
    }
}

/// What each kernel was asked to do.
fn kernel_work(runs: &[Ours]) -> String {
    let header = format!("kernel|strategy|>devices|>{}", SHOWN.join("|>"));
    let rows: Vec<Vec<String>> = runs
        .iter()
        .flat_map(|ours| &ours.stats)
        .map(|sum| {
            let devices = sum.devices.to_string();
            let mut row = vec![sum.kernel.clone(), sum.strategy.clone(), devices];
            row.extend(SHOWN.map(|name| sum.of(name).to_string()));
            row
        })
        .collect();
    render(&header, &rows)
}
