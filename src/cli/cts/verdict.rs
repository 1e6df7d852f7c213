//! What follows from the results: what was not expected, and what the bare base driver does otherwise.

use serde::Serialize;

use super::expect::Expectations;
use super::pool::Run;
use super::status::Status;

/// A case that ended otherwise than expected.
#[derive(Clone, Debug, Serialize)]
pub struct Unexpected {
    pub case: String,
    pub status: Status,
    pub expected: Status,
    pub reason: String,
}

/// A case that ends otherwise on the bare base driver.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub case: String,
    pub ours: Status,
    pub bare: Status,
    pub reason: String,
}

/// Those of `run` that `expectations` does not cover, by name.
pub fn unexpected(run: &Run, expectations: &Expectations) -> Vec<Unexpected> {
    run.results
        .iter()
        .filter(|(case, result)| !expectations.expects(case, result.status))
        .map(|(case, result)| Unexpected {
            case: case.clone(),
            status: result.status,
            expected: expectations.failure(case).unwrap_or(Status::Pass),
            reason: result.reason.clone(),
        })
        .collect()
}

/// How many failures of `run` are expected ones.
pub fn expected_failures(run: &Run, expectations: &Expectations) -> usize {
    run.results
        .iter()
        .filter(|(case, result)| {
            !result.status.is_good() && expectations.expects(case, result.status)
        })
        .count()
}

/// Where `ours` and `bare` differ, by name; flakes are left out.
pub fn differences(ours: &Run, bare: &Run, expectations: &Expectations) -> Vec<Difference> {
    ours.results
        .iter()
        .filter(|(case, _)| !expectations.is_flake(case))
        .filter_map(|(case, result)| {
            let bare = bare.results.get(case)?;
            (bare.status != result.status).then(|| Difference {
                case: case.clone(),
                ours: result.status,
                bare: bare.status,
                reason: match result.status.is_good() {
                    true => bare.reason.clone(),
                    false => result.reason.clone(),
                },
            })
        })
        .collect()
}
