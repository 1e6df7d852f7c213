//! The layout of tiles on the board, by the name that the kernel's DRM gives it.

use drm_fourcc::{DrmModifier, DrmVendor};

use super::Extent;
use crate::units::SZ_64K;

/// `DRM_FORMAT_MOD_ARM_TYPE_MISC` of `drm_fourcc.h`.
const ARM_TYPE_MISC: u64 = 1;

/// `DRM_FORMAT_MOD_ARM_INTERLEAVED_64K` of `drm_fourcc.h`, for Mali v10 and later: a plane is divided into tiles of
/// 64 KiB that lie row by row. Inside a tile lie blocks of 16x16 texels, also row by row, and inside
/// those the texels in U-order; neither concerns a map of tiles.
pub const INTERLEAVED_64K: DrmModifier =
    DrmModifier::Unrecognized((DrmVendor::Arm as u64) << 56 | ARM_TYPE_MISC << 52 | 2);

/// The tile of [`INTERLEAVED_64K`] for texels (of a compressed format: blocks of texels) of `texel_bytes` bytes, in texels
/// (in blocks). It has sides 1:1 or 2:1, and is Vulkan's standard sparse block shape for 2D images of one sample.
/// `None` where there is none: for sizes other than 1, 2, 4, 8 and 16.
pub fn tile_2d(texel_bytes: u32) -> Option<Extent> {
    if !texel_bytes.is_power_of_two() || texel_bytes > 16 {
        return None;
    }
    let bits = (SZ_64K / u64::from(texel_bytes)).trailing_zeros();
    Some(Extent::new(1 << bits.div_ceil(2), 1 << (bits / 2), 1))
}

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

    #[test]
    fn tiles_have_vulkans_standard_shapes() {
        let shapes = [1, 2, 4, 8, 16].map(|bytes| tile_2d(bytes).unwrap().axes());
        assert_eq!(
            shapes,
            [
                [256, 256, 1],
                [256, 128, 1],
                [128, 128, 1],
                [128, 64, 1],
                [64, 64, 1]
            ]
        );
    }

    #[test]
    fn texels_of_other_sizes_have_no_tile() {
        for bytes in [0, 3, 6, 12, 32, u32::MAX] {
            assert_eq!(tile_2d(bytes), None);
        }
    }
}
