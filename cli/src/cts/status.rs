//! What became of a case.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The names are those of deqp-runner's result files; `Skip` is a case that the driver does not support. In order, the
/// best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Status {
    Pass,
    /// Quality or compatibility warnings and waivers: no failure.
    Warn,
    Skip,
    Fail,
    Crash,
    Timeout,
    /// deqp-vk was asked to run the case and said nothing of it.
    Missing,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Pass,
        Self::Warn,
        Self::Skip,
        Self::Fail,
        Self::Crash,
        Self::Timeout,
        Self::Missing,
    ];

    /// What deqp-vk's own word for a result means.
    pub fn from_deqp(word: &str) -> Option<Self> {
        Some(match word {
            "Pass" => Self::Pass,
            "QualityWarning" | "CompatibilityWarning" | "Waiver" => Self::Warn,
            "NotSupported" => Self::Skip,
            "Fail" | "Pending" | "ResourceError" | "InternalError" => Self::Fail,
            "Crash" | "DeviceLost" => Self::Crash,
            "Timeout" => Self::Timeout,
            _ => return None,
        })
    }

    /// Whether nothing is wrong.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Pass | Self::Warn | Self::Skip)
    }

    /// For people, in a sum: "3 failed".
    pub fn said(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Warn => "passed with a warning",
            Self::Skip => "not supported",
            Self::Fail => "failed",
            Self::Crash => "crashed",
            Self::Timeout => "timed out",
            Self::Missing => "not run by deqp-vk",
        }
    }

    /// The key of a sum in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Warn => "warned",
            Self::Skip => "not_supported",
            Self::Fail => "failed",
            Self::Crash => "crashed",
            Self::Timeout => "timed_out",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|status| status.to_string() == s)
            .ok_or(())
    }
}

/// What became of one case, and deqp-vk's reason, or ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    pub status: Status,
    pub reason: String,
    /// From the line that begins it to the one that ends it.
    #[serde(rename = "time_s", serialize_with = "seconds")]
    pub time: Duration,
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

impl CaseResult {
    pub fn new(status: Status, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            time: Duration::ZERO,
        }
    }
}
