//! Which kernel the virtual one plays: uAPI version, op size, and what bit 3 of a map's flags means.
//!
//! A version number alone never tells: the OP_MAP_REPEAT series announced 1.6 (up to its fourth revision) and 1.8 (the
//! fifth), numbers that mean other things in mainline.

use std::fmt;
use std::str::FromStr;

use panvk_sparse::uapi::{GROUP_PRIORITY_HIGH, GROUP_PRIORITY_REALTIME};

/// One of the panthor kernels found in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Mainline, uAPI 1.0: Linux 6.12.
    V1_0,
    /// Mainline, uAPI 1.5.
    V1_5,
    /// Mainline, uAPI 1.8: no mapping for unbound ranges.
    V1_8,
    /// The OP_MAP_REPEAT series, revision 4, which calls itself 1.6.
    V1_6Repeat,
    /// The OP_MAP_REPEAT series, revision 5, which calls itself 1.8.
    V1_8Repeat,
    /// Mainline, uAPI 1.9: OP_MAP_SPARSE.
    V1_9,
}

/// How a kernel of the OP_MAP_REPEAT series treats a cut through a repeated mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepeatRule {
    /// Revision 4: any cut at a 4 KiB page works.
    V4,
    /// Revision 5: a cut at a distance from the mapping's start that is no multiple of the range is `EINVAL`.
    V5,
}

impl Flavour {
    /// Every flavour, oldest uAPI first.
    pub const ALL: [Flavour; 6] = [
        Flavour::V1_0,
        Flavour::V1_5,
        Flavour::V1_8,
        Flavour::V1_6Repeat,
        Flavour::V1_8Repeat,
        Flavour::V1_9,
    ];

    /// The name that [`FromStr`] takes and [`fmt::Display`] writes.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::V1_0 => "1.0",
            Flavour::V1_5 => "1.5",
            Flavour::V1_8 => "1.8",
            Flavour::V1_6Repeat => "1.6-repeat",
            Flavour::V1_8Repeat => "1.8-repeat",
            Flavour::V1_9 => "1.9",
        }
    }

    /// Major and minor number that `DRM_IOCTL_VERSION` answers.
    pub fn version(self) -> (u32, u32) {
        match self {
            Flavour::V1_0 => (1, 0),
            Flavour::V1_5 => (1, 5),
            Flavour::V1_6Repeat => (1, 6),
            Flavour::V1_8 | Flavour::V1_8Repeat => (1, 8),
            Flavour::V1_9 => (1, 9),
        }
    }

    /// Bytes of `struct drm_panthor_vm_bind_op` as this kernel knows it: 56 with the repeat range, else 48.
    pub fn op_size(self) -> usize {
        match self.repeat_rule() {
            Some(_) => 56,
            None => 48,
        }
    }

    /// The rule of `DRM_PANTHOR_VM_BIND_OP_MAP_REPEAT`, where the kernel has that flag.
    pub fn repeat_rule(self) -> Option<RepeatRule> {
        match self {
            Flavour::V1_6Repeat => Some(RepeatRule::V4),
            Flavour::V1_8Repeat => Some(RepeatRule::V5),
            Flavour::V1_0 | Flavour::V1_5 | Flavour::V1_8 | Flavour::V1_9 => None,
        }
    }

    /// Whether the kernel has `DRM_PANTHOR_VM_BIND_OP_MAP_SPARSE`.
    pub fn has_sparse(self) -> bool {
        self == Flavour::V1_9
    }

    /// Whether `DEV_QUERY` knows MMU_INFO (mainline 1.9, and the series' fifth revision).
    pub fn has_mmu_info(self) -> bool {
        matches!(self, Flavour::V1_8Repeat | Flavour::V1_9)
    }

    /// Whether the kernel has what uAPI 1.7 brought: BO_SYNC, BO_QUERY_INFO, the WB_MMAP flag of BO_CREATE.
    ///
    /// The series' fourth revision branched off before that, its fifth after it.
    pub fn has_bo_query_info(self) -> bool {
        matches!(self, Flavour::V1_8 | Flavour::V1_8Repeat | Flavour::V1_9)
    }

    /// Whether a cut through a 2 MiB block splits it in place, as `io-pgtable-arm` of Linux 6.12 does: into a table
    /// with entries for what stays mapped.
    pub fn splits_blocks(self) -> bool {
        self == Flavour::V1_0
    }

    /// The highest priority that a group can have: REALTIME since 1.2.
    pub fn highest_priority(self) -> u8 {
        if self.version() >= (1, 2) {
            GROUP_PRIORITY_REALTIME
        } else {
            GROUP_PRIORITY_HIGH
        }
    }

    /// Whether `BO_MMAP_OFFSET` refuses a buffer object that was created with NO_MMAP; the first version lets one find out
    /// when one maps it.
    pub fn refuses_offsets_of_unmappable_bos(self) -> bool {
        self != Flavour::V1_0
    }

    /// Whether a point of a timeline can become a sync file and the other way round in one call. That is DRM's, and came
    /// between Linux 6.12 and 7.2.
    pub fn has_timeline_sync_files(self) -> bool {
        self != Flavour::V1_0
    }

    /// Whether DRM keeps a file's syncobjs in an `xarray`, where handle 0 is not as well guarded as in the `idr` that was
    /// there before. Linux 7.2 and 7.3 do, 6.12 does not; of kernels in between and of the repeat series we assume that they
    /// are as before.
    pub fn keeps_syncobjs_in_an_xarray(self) -> bool {
        matches!(self, Flavour::V1_8 | Flavour::V1_9)
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`Flavour`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFlavour(pub String);

impl fmt::Display for UnknownFlavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown kernel flavour {:?}, expected one of", self.0)?;
        for (i, flavour) in Flavour::ALL.iter().enumerate() {
            write!(f, "{} {flavour}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownFlavour {}

impl FromStr for Flavour {
    type Err = UnknownFlavour;

    fn from_str(text: &str) -> Result<Self, UnknownFlavour> {
        Flavour::ALL
            .into_iter()
            .find(|flavour| flavour.name() == text)
            .ok_or_else(|| UnknownFlavour(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for flavour in Flavour::ALL {
            assert_eq!(flavour.to_string().parse(), Ok(flavour));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_list() {
        let error = "1.7".parse::<Flavour>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown kernel flavour \"1.7\", expected one of 1.0, 1.5, 1.8, 1.6-repeat, 1.8-repeat, 1.9"
        );
    }

    #[test]
    fn the_version_alone_does_not_tell_repeat_from_mainline() {
        assert_eq!(Flavour::V1_8.version(), Flavour::V1_8Repeat.version());
        assert_ne!(Flavour::V1_8.op_size(), Flavour::V1_8Repeat.op_size());
    }
}
