//! The layout of tiles on the board, by the name that the kernel's DRM gives it.

use super::Extent;
use crate::units::SZ_64K;

/// The tile of `DRM_FORMAT_MOD_ARM_INTERLEAVED_64K` (`drm_fourcc.h`; Mali v10 and later) for texels (of a compressed format: blocks of texels) of `texel_bytes` bytes, in texels
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
