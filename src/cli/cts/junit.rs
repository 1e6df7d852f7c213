//! The results as JUnit XML, which continuous integration systems show.

use std::fmt::Write as _;

use super::report::Report;
use super::status::Status;

/// The whole file. A failure is a case whose result was not expected.
pub fn xml(report: &Report) -> String {
    let ours = &report.ours.results;
    let skipped = report.ours.count(Status::Skip) + report.skipped.len();
    let unexpected = &report.unexpected;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites>\n<testsuite name=\"panvk-sparse cts\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\">",
        ours.len() + report.skipped.len(),
        unexpected.len(),
        report.ours.wall.as_secs_f64(),
    );
    let mut unexpected = unexpected.iter().peekable();
    for (case, result) in ours {
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
    for case in &report.skipped {
        let (class, name) = case.rsplit_once('.').unwrap_or(("", case));
        let _ = writeln!(
            out,
            "<testcase classname=\"{}\" name=\"{}\"><skipped message=\"in the list of skips\"/></testcase>",
            escaped(class),
            escaped(name)
        );
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
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
