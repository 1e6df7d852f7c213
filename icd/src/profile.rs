//! `PANVK_SPARSE_PROFILE=mali`: what panvk 26 says of sparse resources on a Mali GPU, and no more.
//!
//! Sparse buffers and 2D images of one sample, in the standard block shape, without aliasing, without residency
//! feedback in shaders, and with no promise of what an access to an unbound range gives. panvk has 3D images too, but
//! in blocks of depth 1, which no base driver has.

use ash::vk;
use hosted::config::{Config, Dummy, Profile};

/// Takes the features away that the driver does not have as it is set up, and says which of them were set.
pub fn features(config: &Config, features: &mut vk::PhysicalDeviceFeatures) -> Vec<&'static str> {
    let mali = config.profile == Profile::Mali;
    // Where unbound ranges are bound to a dummy, a shader can't be told that they are not bound.
    let no_feedback = mali || config.dummy == Dummy::Alias;
    [
        (
            mali,
            "sparseResidencyImage3D",
            &mut features.sparse_residency_image3_d,
        ),
        (
            mali,
            "sparseResidency2Samples",
            &mut features.sparse_residency2_samples,
        ),
        (
            mali,
            "sparseResidency4Samples",
            &mut features.sparse_residency4_samples,
        ),
        (
            mali,
            "sparseResidency8Samples",
            &mut features.sparse_residency8_samples,
        ),
        (
            mali,
            "sparseResidency16Samples",
            &mut features.sparse_residency16_samples,
        ),
        (
            mali,
            "sparseResidencyAliased",
            &mut features.sparse_residency_aliased,
        ),
        (
            no_feedback,
            "shaderResourceResidency",
            &mut features.shader_resource_residency,
        ),
    ]
    .into_iter()
    .filter(|(gone, ..)| *gone)
    .filter_map(|(_, name, feature)| (std::mem::take(feature) != vk::FALSE).then_some(name))
    .collect()
}

/// Narrows what is promised of sparse resources.
pub fn properties(config: &Config, sparse: &mut vk::PhysicalDeviceSparseProperties) {
    if config.dummy == Dummy::Alias {
        // Reads of it give what was written last, not zeros.
        sparse.residency_non_resident_strict = vk::FALSE;
    }
    if config.profile == Profile::Mali {
        sparse.residency_standard2_d_multisample_block_shape = vk::FALSE;
        sparse.residency_standard3_d_block_shape = vk::FALSE;
        sparse.residency_aligned_mip_size = vk::FALSE;
        sparse.residency_non_resident_strict = vk::FALSE;
    }
}

/// Whether an image with these flags can be created at all.
pub fn has_image(profile: Profile, ty: vk::ImageType, flags: vk::ImageCreateFlags) -> bool {
    profile == Profile::Base
        || !flags.contains(vk::ImageCreateFlags::SPARSE_ALIASED)
            && (!flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY)
                || ty == vk::ImageType::TYPE_2D)
}
