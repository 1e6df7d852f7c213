//! What follows from the results: what was not expected, and what the bare base driver does otherwise.

use std::collections::BTreeSet;

use serde::Serialize;

use super::expect::{Expectations, Verdict};
use super::pool::Run;
use super::status::Status;

/// A case that ended otherwise than expected.
#[derive(Clone, Debug, Serialize)]
pub struct Surprise {
    pub case: String,
    pub status: Status,
    pub expected: Status,
    pub reason: String,
}

/// The results of a run beside what was expected of it. All lists are sorted by name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Judged {
    /// Those that failed as they were expected to.
    #[serde(skip)]
    pub failed_as_expected: BTreeSet<String>,
    /// Expected failures that passed.
    pub improved: Vec<Surprise>,
    pub unexpected: Vec<Surprise>,
}

impl Judged {
    pub fn of(run: &Run, expectations: &Expectations) -> Self {
        let mut judged = Self::default();
        for (case, result) in &run.results {
            let surprise = || Surprise {
                case: case.clone(),
                status: result.status,
                expected: expectations.failure(case).unwrap_or(Status::Pass),
                reason: result.reason.clone(),
            };
            match expectations.verdict(case, result.status) {
                Verdict::AsExpected => {}
                Verdict::ExpectedFailure => {
                    judged.failed_as_expected.insert(case.clone());
                }
                Verdict::Improved => judged.improved.push(surprise()),
                Verdict::Unexpected => judged.unexpected.push(surprise()),
            }
        }
        judged
    }
}

/// A case that ends otherwise on the bare base driver.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub case: String,
    pub ours: Status,
    pub bare: Status,
    /// Of the worse of the two.
    pub reason: String,
}

/// Where a run and that on the bare base driver differ, by name; flakes are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Compared {
    /// It ends worse through our driver.
    pub worse: Vec<Difference>,
    /// It is not supported any more, as the documentation says: by the settings, by the list of what is taken back, or because it
    /// failed on the bare base driver.
    pub taken_back: Vec<Difference>,
    /// It ends better, and is listed as a failure of the bare base driver.
    pub better: Vec<Difference>,
    /// It ends better, and nobody knew.
    pub better_unlisted: Vec<Difference>,
}

impl Compared {
    /// `narrow`: whether the driver was asked to support less than the base driver.
    pub fn of(ours: &Run, bare: &Run, expectations: &Expectations, narrow: bool) -> Self {
        let mut compared = Self::default();
        let on_bare = expectations.on_bare();
        for (case, result) in &ours.results {
            let Some(bare) = bare.results.get(case) else {
                continue;
            };
            if expectations.is_flake(case) || result.status == bare.status {
                continue;
            }
            let may_skip = narrow || !bare.status.is_good() || expectations.is_taken_back(case);
            let worse = result.status > bare.status;
            let (list, reason) = match worse {
                _ if result.status == Status::Skip && may_skip => {
                    (&mut compared.taken_back, &result.reason)
                }
                true => (&mut compared.worse, &result.reason),
                false if on_bare.failure(case) == Some(bare.status) => {
                    (&mut compared.better, &bare.reason)
                }
                false => (&mut compared.better_unlisted, &bare.reason),
            };
            list.push(Difference {
                case: case.clone(),
                ours: result.status,
                bare: bare.status,
                reason: reason.clone(),
            });
        }
        compared
    }
}
