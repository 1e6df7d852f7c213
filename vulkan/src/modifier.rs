//! The layout of image tiles on the board, by the name that the kernel's DRM gives it.

use drm_fourcc::{DrmModifier, DrmVendor};

/// `DRM_FORMAT_MOD_ARM_TYPE_MISC` of `drm_fourcc.h`.
const ARM_TYPE_MISC: u64 = 1;

/// `DRM_FORMAT_MOD_ARM_INTERLEAVED_64K` of `drm_fourcc.h`, for Mali v10 and later: a plane is divided into tiles of
/// 64 KiB that lie row by row. Inside a tile lie blocks of 16x16 texels, also row by row, and inside
/// those the texels in U-order; neither concerns a map of tiles.
pub const INTERLEAVED_64K: DrmModifier =
    DrmModifier::Unrecognized((DrmVendor::Arm as u64) << 56 | ARM_TYPE_MISC << 52 | 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modifier_is_number_2_of_arms_misc_class() {
        assert_eq!(u64::from(INTERLEAVED_64K), 0x0810_0000_0000_0002);
        assert_eq!(INTERLEAVED_64K.vendor(), Ok(Some(DrmVendor::Arm)));
        // Not one that the crate has another name for.
        assert_eq!(
            DrmModifier::from(u64::from(INTERLEAVED_64K)),
            INTERLEAVED_64K
        );
    }
}
