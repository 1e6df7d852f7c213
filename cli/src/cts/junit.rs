//! The results as JUnit XML, which continuous integration systems show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::Error;
use super::pool::Run;
use super::report::Report;
use super::status::Status;
use super::text;
use super::verdict::Judged;

/// The whole file: a suite a run, that on the bare base driver among them. It has a failure or an error where, and only where,
/// the exit status is not 0: a case whose result was not expected or is worse than on the bare base driver, a run that was cut
/// short, a kernel that did not answer as its model. What surprises on the bare base driver is a note.
pub fn xml(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    if let Some((run, judged)) = &report.baseline {
        Suite::of("bare base driver".into(), run, judged).write(&mut out, &report.skipped);
    }
    for ours in &report.runs {
        let mut suite = Suite::of(text::name(ours), &ours.run, &ours.judged);
        for found in &ours.judged.unexpected {
            let why = format!("expected {}: {}", found.expected, found.reason);
            suite.failures.insert(&found.case, (found.status, why));
        }
        for found in ours.compared.iter().flat_map(|compared| &compared.worse) {
            let why = format!("{} on the bare base driver: {}", found.bare, found.reason);
            { suite.failures.entry(&found.case) }.or_insert((found.ours, why));
        }
        let differences = ours.kernel_differences().filter(|&count| count > 0);
        let text = |count| format!("the kernel answered otherwise than its model {count} times");
        suite.errors.extend(differences.map(text));
        suite.write(&mut out, &report.skipped);
    }
    out.push_str("</testsuites>\n");
    out
}

/// What a suite says.
struct Suite<'a> {
    name: String,
    run: &'a Run,
    /// By case, how it ended and what is wrong with that.
    failures: BTreeMap<&'a str, (Status, String)>,
    /// Cases that failed as they were expected to.
    expected: &'a BTreeSet<String>,
    errors: Vec<String>,
}

impl<'a> Suite<'a> {
    fn of(name: String, run: &'a Run, judged: &'a Judged) -> Self {
        Self {
            name,
            run,
            failures: BTreeMap::new(),
            expected: &judged.failed_as_expected,
            errors: run.cut.iter().map(Error::to_string).collect(),
        }
    }

    // Writing to a String cannot fail.
    fn write(&self, out: &mut String, not_run: &[String]) {
        let results = &self.run.results;
        let skipped = |case: &String, status| {
            !self.failures.contains_key(case.as_str())
                && (status == Status::Skip || self.expected.contains(case))
        };
        let skipped = results
            .iter()
            .filter(|(case, result)| skipped(case, result.status));
        let _ = writeln!(
            out,
            "<testsuite name=\"panvk-sparse cts {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escaped(&self.name),
            results.len() + not_run.len() + self.errors.len(),
            self.failures.len(),
            self.errors.len(),
            skipped.count() + not_run.len(),
            self.run.wall.as_secs_f64(),
        );
        for (case, result) in results {
            let said = if let Some((status, why)) = self.failures.get(case.as_str()) {
                format!("<failure type=\"{status}\" message=\"{}\"/>", escaped(why))
            } else if self.expected.contains(case) {
                let why = format!("expected {}: {}", result.status, result.reason);
                format!("<skipped message=\"{}\"/>", escaped(&why))
            } else if result.status == Status::Skip {
                format!("<skipped message=\"{}\"/>", escaped(&result.reason))
            } else {
                String::new()
            };
            testcase(out, case, result.time, &said);
        }
        for case in not_run {
            let said = "<skipped message=\"in the list of skips\"/>";
            testcase(out, case, Duration::ZERO, said);
        }
        for error in &self.errors {
            let said = format!("<error message=\"{}\"/>", escaped(error));
            testcase(out, "panvk-sparse.cts", Duration::ZERO, &said);
        }
        out.push_str("</testsuite>\n");
    }
}

fn testcase(out: &mut String, case: &str, time: Duration, said: &str) {
    let (class, name) = case.rsplit_once('.').unwrap_or(("", case));
    let _ = write!(
        out,
        "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(class),
        escaped(name),
        time.as_secs_f64()
    );
    out.push_str(&match said {
        "" => "/>\n".to_owned(),
        said => format!(">{said}</testcase>\n"),
    });
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
