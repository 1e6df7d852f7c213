//! Which GPU the virtual kernel drives: what its identification and feature registers say.

use std::fmt;
use std::str::FromStr;

use panvk_sparse::uapi::{CsifInfo, GPU_COHERENCY_NONE, GpuInfo};

/// Bits of an address in memory.
const PA_BITS: u32 = 40;

/// One of the GPUs that panthor drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The Mali-G610 of the RK3588, four shader cores.
    #[default]
    G610,
}

impl Identity {
    /// Every GPU.
    pub const ALL: [Identity; 1] = [Identity::G610];

    /// The name that [`FromStr`] takes and [`fmt::Display`] writes.
    pub fn name(self) -> &'static str {
        match self {
            Identity::G610 => "g610",
        }
    }

    /// Bits of a GPU address.
    pub fn va_bits(self) -> u32 {
        match self {
            Identity::G610 => 48,
        }
    }

    /// What the registers say on the board.
    pub fn gpu_info(self) -> GpuInfo {
        match self {
            // The identification is product 7 of architecture 10.8.6, r0p0.
            Identity::G610 => GpuInfo {
                gpu_id: 0xa867_0005,
                gpu_rev: 0,
                csf_id: 0x040a_0412,
                l2_features: 0x0712_0306,
                tiler_features: 0x809,
                mem_features: 0x301,
                mmu_features: self.va_bits() | PA_BITS << 8,
                thread_features: 0x0401_0000,
                max_threads: 2048,
                thread_max_workgroup_size: 1024,
                thread_max_barrier_size: 1024,
                coherency_features: 0,
                texture_features: [0xc1ff_ff9e, 0, 0, 0],
                as_present: 0xff,
                selected_coherency: GPU_COHERENCY_NONE,
                shader_present: 0x50005,
                l2_present: 1,
                tiler_present: 1,
                core_features: 0,
                pad: 0,
                gpu_features: 0,
            },
        }
    }

    /// What its firmware offers.
    pub fn csif_info(self) -> CsifInfo {
        match self {
            Identity::G610 => CsifInfo {
                csg_slot_count: 8,
                cs_slot_count: 8,
                cs_reg_count: 96,
                scoreboard_slot_count: 8,
                unpreserved_cs_reg_count: 4,
                pad: 0,
            },
        }
    }

    /// The `compatible` strings of its node in the device tree, the most specific first.
    pub fn compatible(self) -> &'static [&'static str] {
        match self {
            Identity::G610 => &["rockchip,rk3588-mali", "arm,mali-valhall-csf"],
        }
    }

    /// Its place in the device tree and on the platform bus, as on the board.
    pub fn address(self) -> u64 {
        match self {
            Identity::G610 => 0xfb00_0000,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIdentity(pub String);

impl fmt::Display for UnknownIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Identity::ALL.iter().map(|gpu| gpu.name()).collect();
        let names = names.join(", ");
        write!(f, "unknown GPU {:?}, expected one of {names}", self.0)
    }
}

impl std::error::Error for UnknownIdentity {}

impl FromStr for Identity {
    type Err = UnknownIdentity;

    fn from_str(text: &str) -> Result<Self, UnknownIdentity> {
        Identity::ALL
            .into_iter()
            .find(|gpu| gpu.name() == text)
            .ok_or_else(|| UnknownIdentity(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_an_unknown_one_is_answered_with_the_list() {
        for gpu in Identity::ALL {
            assert_eq!(gpu.to_string().parse(), Ok(gpu));
        }
        assert_eq!(
            "g52".parse::<Identity>().unwrap_err().to_string(),
            "unknown GPU \"g52\", expected one of g610"
        );
    }
}
