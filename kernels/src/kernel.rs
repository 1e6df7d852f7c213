//! Which kernels there are, and what each allows.

use std::fmt;
use std::str::FromStr;

use crate::seam::{Limits, Uapi};
use crate::{amdgpu, asahi, msm, nouveau, xe};

/// A kernel driver other than panthor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    Xe,
    /// xe on a GPU whose own memory can only be bound in pieces of 64 KiB.
    Xe64k,
    Msm,
    Asahi,
    Nouveau,
    Amdgpu,
}

impl Kernel {
    pub const ALL: [Kernel; 6] = [
        Kernel::Xe,
        Kernel::Xe64k,
        Kernel::Msm,
        Kernel::Asahi,
        Kernel::Nouveau,
        Kernel::Amdgpu,
    ];

    /// The name that [`FromStr`] takes and [`fmt::Display`] writes.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Xe => "xe",
            Kernel::Xe64k => "xe-64k",
            Kernel::Msm => "msm",
            Kernel::Asahi => "asahi",
            Kernel::Nouveau => "nouveau",
            Kernel::Amdgpu => "amdgpu",
        }
    }

    pub const fn limits(self) -> Limits {
        match self {
            Kernel::Xe => xe::Xe::LIMITS,
            Kernel::Xe64k => Limits {
                memory_page: 64 << 10,
                ..xe::Xe::LIMITS
            },
            Kernel::Msm => msm::Msm::LIMITS,
            Kernel::Asahi => asahi::Asahi::LIMITS,
            Kernel::Nouveau => nouveau::Nouveau::LIMITS,
            Kernel::Amdgpu => amdgpu::Amdgpu::LIMITS,
        }
    }
}

/// A text that names no [`Kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel(pub String);

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Kernel::ALL.map(Kernel::name).join(", ");
        write!(f, "unknown kernel {:?}, expected {names}", self.0)
    }
}

impl std::error::Error for UnknownKernel {}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(s: &str) -> Result<Self, UnknownKernel> {
        Kernel::ALL
            .into_iter()
            .find(|kernel| kernel.name() == s)
            .ok_or_else(|| UnknownKernel(s.to_owned()))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
