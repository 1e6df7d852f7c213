//! What is expected of a base driver: cases that fail, cases not to run, cases whose result changes from run to run.
//!
//! The formats are deqp-runner's, so that its files can be used: `case,Fail` or `case,Crash` a line for what fails,
//! a regular expression a line for the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use panvk_sparse::config;
use regex::RegexSet;

use super::status::Status;
use super::{Args, Error, lists};

const LAVAPIPE_FAILS: &str = include_str!("../../../cts-lists/lavapipe-fails.txt");
const LAVAPIPE_SKIPS: &str = include_str!("../../../cts-lists/lavapipe-skips.txt");
const LAVAPIPE_FLAKES: &str = include_str!("../../../cts-lists/lavapipe-flakes.txt");

/// What is expected of one base driver.
#[derive(Debug, Default)]
pub struct Expectations {
    fails: BTreeMap<String, Status>,
    skips: RegexSet,
    flakes: RegexSet,
}

impl Expectations {
    /// The files that the command line names; where it names none, those of lavapipe, if that is the base driver.
    pub fn of(args: &Args) -> Result<Self, Error> {
        let base = std::env::var_os(config::BASE_ICD).filter(|value| !value.is_empty());
        let lavapipe =
            base.is_none_or(|path| ["lvp", "lavapipe"].iter().any(|name| named(&path, name)));
        let choose = |file: &Option<PathBuf>, own: &'static str| match file {
            Some(path) => Ok((path.display().to_string(), lists::read(path)?)),
            None if lavapipe => Ok(("lavapipe's list".to_owned(), own.to_owned())),
            None => Ok((String::new(), String::new())),
        };
        let (name, text) = choose(&args.fails, LAVAPIPE_FAILS)?;
        let fails = fails(&name, &text)?;
        let (name, text) = choose(&args.skips, LAVAPIPE_SKIPS)?;
        let skips = regexes(&name, &text)?;
        let (name, text) = choose(&args.flakes, LAVAPIPE_FLAKES)?;
        let flakes = regexes(&name, &text)?;
        Ok(Self {
            fails,
            skips,
            flakes,
        })
    }

    /// Whether `case` is not to be run.
    pub fn skips(&self, case: &str) -> bool {
        self.skips.is_match(case)
    }

    /// Whether nothing follows from how `case` ends.
    pub fn is_flake(&self, case: &str) -> bool {
        self.flakes.is_match(case)
    }

    /// What `case` is expected to do wrong.
    pub fn failure(&self, case: &str) -> Option<Status> {
        self.fails.get(case).copied()
    }

    /// Whether `status` is what is expected of `case`. A failure that is gone is not: its line has to go as well.
    /// A case that the driver does not support says nothing of its failure.
    pub fn expects(&self, case: &str, status: Status) -> bool {
        match self.failure(case) {
            _ if self.is_flake(case) => true,
            Some(expected) => status == expected || status == Status::Skip,
            None => status.is_good(),
        }
    }
}

fn named(path: &std::ffi::OsStr, name: &str) -> bool {
    let file = std::path::Path::new(path).file_name();
    file.is_some_and(|file| file.to_string_lossy().contains(name))
}

fn fails(name: &str, text: &str) -> Result<BTreeMap<String, Status>, Error> {
    let mut fails = BTreeMap::new();
    for line in lists::lines(text) {
        // deqp-runner's result files have the duration behind a second comma.
        let mut fields = line.split(',');
        let case = fields.next().unwrap_or_default();
        let status = fields.next().unwrap_or_default();
        let status = status.parse().map_err(|()| {
            let names = Status::ALL.map(|status| status.to_string()).join(", ");
            Error::Usage(format!(
                "{name}: {line:?} is not understood: expected a case, a comma, and one of {names}"
            ))
        })?;
        if fails.insert(case.to_owned(), status).is_some() {
            return Err(Error::Usage(format!("{name}: {case} is there twice")));
        }
    }
    Ok(fails)
}

fn regexes(name: &str, text: &str) -> Result<RegexSet, Error> {
    RegexSet::new(lists::lines(text)).map_err(|error| Error::Usage(format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_failure_that_passes_or_crashes_is_unexpected() {
        let expectations = Expectations {
            fails: fails("x", "# why\na.b,Fail\na.c,Crash,0.5\n").unwrap(),
            skips: RegexSet::empty(),
            flakes: regexes("x", "a\\.f.*").unwrap(),
        };
        for (case, status, expected) in [
            ("a.b", Status::Fail, true),
            ("a.b", Status::Pass, false),
            ("a.b", Status::Crash, false),
            ("a.b", Status::Skip, true),
            ("a.c", Status::Crash, true),
            ("a.d", Status::Fail, false),
            ("a.d", Status::Warn, true),
            ("a.f1", Status::Crash, true),
        ] {
            assert_eq!(
                expectations.expects(case, status),
                expected,
                "{case} {status}"
            );
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for text in ["a.b", "a.b,Failed", "a.b,Fail\na.b,Crash"] {
            let Err(Error::Usage(message)) = fails("list.txt", text) else {
                panic!("{text:?} is taken");
            };
            assert!(
                message.contains("list.txt") && message.contains("a.b"),
                "{message}"
            );
        }
        assert!(regexes("list.txt", "(").is_err());
    }

    #[test]
    fn the_lists_of_lavapipe_are_understood() {
        assert!(!fails("x", LAVAPIPE_FAILS).unwrap().is_empty());
        regexes("x", LAVAPIPE_SKIPS).unwrap();
        regexes("x", LAVAPIPE_FLAKES).unwrap();
    }
}
