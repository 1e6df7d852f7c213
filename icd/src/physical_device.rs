//! What a physical device can do: the base driver's answer, less what sparse residency images need, and with
//! this driver's name in it.

use ash::vk;
use panvk_sparse::vulkan::base::{set_text, text};
use panvk_sparse::vulkan::pnext;

use crate::guard::{guard, guard_result};
use crate::instance::Instance;
use crate::state::instance_of;

/// Takes the features away that this driver does not have, and says which of them were set.
pub fn take_away(features: &mut vk::PhysicalDeviceFeatures) -> Vec<&'static str> {
    [
        (
            "sparseResidencyImage2D",
            &mut features.sparse_residency_image2_d,
        ),
        (
            "sparseResidencyImage3D",
            &mut features.sparse_residency_image3_d,
        ),
        (
            "sparseResidency2Samples",
            &mut features.sparse_residency2_samples,
        ),
        (
            "sparseResidency4Samples",
            &mut features.sparse_residency4_samples,
        ),
        (
            "sparseResidency8Samples",
            &mut features.sparse_residency8_samples,
        ),
        (
            "sparseResidency16Samples",
            &mut features.sparse_residency16_samples,
        ),
    ]
    .into_iter()
    .filter_map(|(name, feature)| (std::mem::take(feature) != vk::FALSE).then_some(name))
    .collect()
}

/// The base driver's name and version, as its driver properties have them or else its device properties.
pub fn base_driver_name(instance: &Instance, physical_device: vk::PhysicalDevice) -> String {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    if let Some(get) = instance.table.get_properties2 {
        // SAFETY: a physical device of this instance and a valid chain. A driver that does not know the
        // second struct leaves it as it is.
        unsafe { get(physical_device, &mut properties) };
    }
    let name = text(&driver.driver_name);
    if name.is_empty() {
        let (device, version) = device_properties(instance, physical_device);
        return format!("{device} {version:#x}");
    }
    format!("{name} {}", text(&driver.driver_info))
        .trim_end()
        .to_owned()
}

/// The device's name and its driver's version number.
pub fn device_properties(
    instance: &Instance,
    physical_device: vk::PhysicalDevice,
) -> (String, u32) {
    let mut properties = vk::PhysicalDeviceProperties::default();
    if let Some(get) = instance.table.get_properties {
        // SAFETY: a physical device of this instance, and a struct to write to.
        unsafe { get(physical_device, &mut properties) };
    }
    (text(&properties.device_name), properties.driver_version)
}

pub unsafe extern "system" fn get_features(
    physical_device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures,
) {
    guard((), || {
        let Some(instance) = instance_of(physical_device) else {
            return;
        };
        let Some(get) = instance.table.get_features else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, features);
            take_away(&mut *features);
        }
    });
}

pub unsafe extern "system" fn get_features2(
    physical_device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    guard((), || {
        let Some(instance) = instance_of(physical_device) else {
            return;
        };
        let Some(get) = instance.table.get_features2 else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, features);
            take_away(&mut (*features).features);
        }
    });
}

pub unsafe extern "system" fn get_properties2(
    physical_device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    guard((), || {
        let Some(instance) = instance_of(physical_device) else {
            return;
        };
        let Some(get) = instance.table.get_properties2 else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; what the base driver has written into its chain
        // can be read and changed.
        unsafe {
            get(physical_device, properties);
            let chain = (*properties).p_next;
            let ours = || {
                format!(
                    "panvk-sparse {} on {}, kernel {}",
                    env!("CARGO_PKG_VERSION"),
                    base_driver_name(&instance, physical_device),
                    instance.driver.config.kernel
                )
            };
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceDriverProperties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceVulkan12Properties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
        }
    });
}

/// Sparse residency is not there for any format of images: no properties.
pub unsafe extern "system" fn get_sparse_image_format_properties(
    _physical_device: vk::PhysicalDevice,
    _format: vk::Format,
    _ty: vk::ImageType,
    _samples: vk::SampleCountFlags,
    _usage: vk::ImageUsageFlags,
    _tiling: vk::ImageTiling,
    count: *mut u32,
    _properties: *mut vk::SparseImageFormatProperties,
) {
    // SAFETY: `count` is a valid pointer, by the function's specification.
    unsafe { *count = 0 };
}

/// As [`get_sparse_image_format_properties`].
pub unsafe extern "system" fn get_sparse_image_format_properties2(
    _physical_device: vk::PhysicalDevice,
    _info: *const vk::PhysicalDeviceSparseImageFormatInfo2<'_>,
    count: *mut u32,
    _properties: *mut vk::SparseImageFormatProperties2<'_>,
) {
    // SAFETY: `count` is a valid pointer, by the function's specification.
    unsafe { *count = 0 };
}

/// Images with sparse residency are not supported; all others are as the base driver has them.
pub unsafe extern "system" fn get_image_format_properties(
    physical_device: vk::PhysicalDevice,
    format: vk::Format,
    ty: vk::ImageType,
    tiling: vk::ImageTiling,
    usage: vk::ImageUsageFlags,
    flags: vk::ImageCreateFlags,
    properties: *mut vk::ImageFormatProperties,
) -> vk::Result {
    guard_result(|| {
        let Some(instance) = instance_of(physical_device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(get) = instance.table.get_image_format_properties else {
            return vk::Result::ERROR_UNKNOWN;
        };
        if flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
            // SAFETY: `properties` is a valid pointer, by the function's specification; it asks for zeros here.
            unsafe { *properties = vk::ImageFormatProperties::default() };
            return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe {
            get(
                physical_device,
                format,
                ty,
                tiling,
                usage,
                flags,
                properties,
            )
        }
    })
}

/// As [`get_image_format_properties`].
pub unsafe extern "system" fn get_image_format_properties2(
    physical_device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    guard_result(|| {
        let Some(instance) = instance_of(physical_device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(get) = instance.table.get_image_format_properties2 else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: both are valid pointers, by the function's specification, which asks for zeros on this error.
        unsafe {
            if (*info)
                .flags
                .contains(vk::ImageCreateFlags::SPARSE_RESIDENCY)
            {
                (*properties).image_format_properties = vk::ImageFormatProperties::default();
                return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
            }
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { get(physical_device, info, properties) }
    })
}
