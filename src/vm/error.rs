//! Why a [`SparseVm`](super::SparseVm) did not do what it was asked.

use std::fmt;

use crate::drm::BindFailure;

/// An error of a [`SparseVm`](super::SparseVm). But for [`VmError::Lost`], nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmError {
    /// A range of addresses that can't be a sparse resource's, in words.
    BadRange(String),
    /// A request that can't be carried out, in words.
    BadRequest(String),
    /// The kernel refused an operation.
    Refused(BindFailure),
    /// The kernel refused to unmap a range. Its addresses still map something, and must not be used again.
    StillMapped(BindFailure),
    /// The VM can't be used any more, now and ever after, in words.
    Lost(String),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmError::BadRange(why) | VmError::BadRequest(why) | VmError::Lost(why) => {
                f.write_str(why)
            }
            VmError::Refused(failure) => failure.fmt(f),
            VmError::StillMapped(failure) => write!(f, "unmapping a sparse range: {failure}"),
        }
    }
}

impl std::error::Error for VmError {}
