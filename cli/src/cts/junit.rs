//! The results as JUnit XML, which continuous integration systems show.

use std::fmt::Write as _;

use super::report::{Ours, Report};
use super::status::Status;

/// The whole file: a suite a run. A failure is a case whose result was not expected.
pub fn xml(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for ours in &report.runs {
        suite(&mut out, ours, &report.skipped);
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, ours: &Ours, not_run: &[String]) {
    let results = &ours.run.results;
    let unexpected = &ours.judged.unexpected;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuite name=\"panvk-sparse cts {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escaped(&ours.way.to_string()),
        results.len() + not_run.len(),
        unexpected.len(),
        u8::from(ours.run.cut.is_some()),
        ours.run.count(Status::Skip) + not_run.len(),
        ours.run.wall.as_secs_f64(),
    );
    let mut unexpected = unexpected.iter().peekable();
    for (case, result) in results {
        let (class, name) = case.rsplit_once('.').unwrap_or(("", case));
        let _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\"",
            escaped(class),
            escaped(name)
        );
        // Both are sorted by name.
        if let Some(found) = unexpected.next_if(|found| &found.case == case) {
            let _ = writeln!(
                out,
                "><failure type=\"{}\" message=\"expected {}: {}\"/></testcase>",
                found.status,
                found.expected,
                escaped(&found.reason)
            );
        } else if result.status == Status::Skip {
            let reason = escaped(&result.reason);
            let _ = writeln!(out, "><skipped message=\"{reason}\"/></testcase>");
        } else {
            out.push_str("/>\n");
        }
    }
    for case in not_run {
        let (class, name) = case.rsplit_once('.').unwrap_or(("", case));
        let _ = writeln!(
            out,
            "<testcase classname=\"{}\" name=\"{}\"><skipped message=\"in the list of skips\"/></testcase>",
            escaped(class),
            escaped(name)
        );
    }
    if let Some(error) = &ours.run.cut {
        let error = escaped(&error.to_string());
        let _ = writeln!(out, "<system-err>{error}</system-err>");
    }
    out.push_str("</testsuite>\n");
}

/// `text` as the value of an attribute; what XML can't hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}
