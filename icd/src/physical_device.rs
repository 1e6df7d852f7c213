//! What a physical device is and can do: the base driver's answer, with this driver's name in it, and no more than
//! the [profile](crate::profile) has.

use ash::vk;
use hosted::config::Dummy;
use vulkan::base::{set_text, text};
use vulkan::below::list;
use vulkan::{formats, images, pnext};

use crate::guard::guard_some;
use crate::profile;
use crate::state::Instance;
use crate::state::instance_of;

/// The base driver's name and version, as its driver properties have them or else its device properties.
pub fn base_driver_name(instance: &Instance, physical_device: vk::PhysicalDevice) -> String {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    if let Some(get) = instance.table.properties2() {
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
    // SAFETY: a physical device of this instance, and a struct to write to.
    unsafe { (instance.table.get_properties)(physical_device, &mut properties) };
    (text(&properties.device_name), properties.driver_version)
}

pub unsafe extern "system" fn get_properties2(
    physical_device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.properties2()?;
        // SAFETY: the application's own arguments, passed on; what the base driver has written into its chain
        // can be read and changed.
        unsafe {
            get(physical_device, properties);
            let of_sparse = &mut (*properties).properties.sparse_properties;
            profile::properties(&instance.driver.config, of_sparse);
            let chain = (*properties).p_next;
            let ours = || {
                format!(
                    "panvk-sparse {} on {}, kernel {}",
                    env!("CARGO_PKG_VERSION"),
                    base_driver_name(&instance, physical_device),
                    instance.driver.kernel()
                )
            };
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceDriverProperties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceVulkan12Properties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_features(
    physical_device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_features;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, features);
            profile::features(&instance.driver.config, &mut *features);
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_features2(
    physical_device: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_features2?;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, features);
            profile::features(&instance.driver.config, &mut (*features).features);
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_properties(
    physical_device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_properties;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, properties);
            profile::properties(
                &instance.driver.config,
                &mut (*properties).sparse_properties,
            );
        }
        Some(())
    });
}

/// What has to be known of an image to tell whether it can be partially resident.
#[derive(Clone, Copy)]
struct Kind {
    format: vk::Format,
    ty: vk::ImageType,
    samples: vk::SampleCountFlags,
    usage: vk::ImageUsageFlags,
    tiling: vk::ImageTiling,
}

/// Whether images of the kind can be bound tile by tile on the base driver, if it says that they can.
fn residency_works(instance: &Instance, physical_device: vk::PhysicalDevice, kind: Kind) -> bool {
    images::residency_works(kind.format, || {
        let get = instance.table.get_sparse_image_format_properties;
        // SAFETY: a physical device of the instance; `list` is null or has room for `count` structs.
        list(|count, list| unsafe {
            get(
                physical_device,
                kind.format,
                kind.ty,
                kind.samples,
                kind.usage,
                kind.tiling,
                count,
                list,
            );
        })
    })
}

/// Whether an image with these flags can be created at all. `is_external`: its memory is shared with others.
fn has_image(
    instance: &Instance,
    physical_device: vk::PhysicalDevice,
    kind: Kind,
    flags: vk::ImageCreateFlags,
    is_external: bool,
) -> bool {
    let is_sparse = flags
        .intersects(vk::ImageCreateFlags::SPARSE_BINDING | vk::ImageCreateFlags::SPARSE_RESIDENCY);
    profile::has_image(instance.driver.config.profile, kind.ty, flags)
        && (!is_sparse || !is_external && binding_works(instance, physical_device, kind))
        && (!flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY)
            || has_residency(instance, physical_device, kind))
}

/// Whether images of the kind can be bound at all, whatever the base driver says: lavapipe lays linear ones out as it does
/// others, and where it does not name the planes of a format it crashes once one is bound.
fn binding_works(instance: &Instance, physical_device: vk::PhysicalDevice, kind: Kind) -> bool {
    kind.tiling == vk::ImageTiling::OPTIMAL
        && (formats::planes(kind.format).is_none()
            || residency_works(instance, physical_device, kind))
}

/// Whether images of the kind can be partially resident.
fn has_residency(instance: &Instance, physical_device: vk::PhysicalDevice, kind: Kind) -> bool {
    let mut features = vk::PhysicalDeviceFeatures::default();
    // SAFETY: a physical device of the instance, and a struct to write to.
    unsafe { (instance.table.get_features)(physical_device, &mut features) };
    profile::features(&instance.driver.config, &mut features);
    images::may_be_resident(&features, kind.ty, kind.samples, kind.tiling)
        && residency_works(instance, physical_device, kind)
}

pub unsafe extern "system" fn get_sparse_image_format_properties(
    physical_device: vk::PhysicalDevice,
    format: vk::Format,
    ty: vk::ImageType,
    samples: vk::SampleCountFlags,
    usage: vk::ImageUsageFlags,
    tiling: vk::ImageTiling,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_sparse_image_format_properties;
        let kind = Kind {
            format,
            ty,
            samples,
            usage,
            tiling,
        };
        // SAFETY: the application's own arguments, passed on; `count` can be written, and so can the structs that the base
        // driver has written.
        unsafe {
            if has_residency(&instance, physical_device, kind) {
                get(
                    physical_device,
                    format,
                    ty,
                    samples,
                    usage,
                    tiling,
                    count,
                    properties,
                );
                if !properties.is_null() {
                    for told in std::slice::from_raw_parts_mut(properties, *count as usize) {
                        images::correct(told, format);
                    }
                }
            } else {
                *count = 0;
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_sparse_image_format_properties2(
    physical_device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceSparseImageFormatInfo2<'_>,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties2<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_sparse_image_format_properties2?;
        // SAFETY: the application's own arguments, passed on; `info` can be read and `count` written, and so can the structs
        // that the base driver has written.
        unsafe {
            let kind = Kind {
                format: (*info).format,
                ty: (*info).ty,
                samples: (*info).samples,
                usage: (*info).usage,
                tiling: (*info).tiling,
            };
            if has_residency(&instance, physical_device, kind) {
                get(physical_device, info, count, properties);
                if !properties.is_null() {
                    for told in std::slice::from_raw_parts_mut(properties, *count as usize) {
                        images::correct(&mut told.properties, kind.format);
                    }
                }
            } else {
                *count = 0;
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_image_format_properties(
    physical_device: vk::PhysicalDevice,
    format: vk::Format,
    ty: vk::ImageType,
    tiling: vk::ImageTiling,
    usage: vk::ImageUsageFlags,
    flags: vk::ImageCreateFlags,
    properties: *mut vk::ImageFormatProperties,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_image_format_properties;
        let kind = Kind {
            format,
            ty,
            samples: vk::SampleCountFlags::TYPE_1,
            usage,
            tiling,
        };
        if !has_image(&instance, physical_device, kind, flags, false) {
            // SAFETY: `properties` is a valid pointer, by the function's specification; it asks for zeros here.
            unsafe { *properties = vk::ImageFormatProperties::default() };
            return Some(vk::Result::ERROR_FORMAT_NOT_SUPPORTED);
        }
        // SAFETY: the application's own arguments, passed on.
        Some(unsafe {
            get(
                physical_device,
                format,
                ty,
                tiling,
                usage,
                flags,
                properties,
            )
        })
    })
}

pub unsafe extern "system" fn get_image_format_properties2(
    physical_device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_image_format_properties2?;
        // SAFETY: both are valid pointers, by the function's specification, which asks for zeros on this error.
        unsafe {
            let kind = Kind {
                format: (*info).format,
                ty: (*info).ty,
                samples: vk::SampleCountFlags::TYPE_1,
                usage: (*info).usage,
                tiling: (*info).tiling,
            };
            let external = pnext::find::<vk::PhysicalDeviceExternalImageFormatInfo>((*info).p_next);
            let is_external = external.is_some_and(|external| !(*external).handle_type.is_empty());
            if !has_image(&instance, physical_device, kind, (*info).flags, is_external) {
                (*properties).image_format_properties = vk::ImageFormatProperties::default();
                return Some(vk::Result::ERROR_FORMAT_NOT_SUPPORTED);
            }
        }
        // SAFETY: the application's own arguments, passed on.
        Some(unsafe { get(physical_device, info, properties) })
    })
}

/// Memory that is shared with others can't be bound: what lavapipe binds is another mapping of it than what others see.
pub unsafe extern "system" fn get_external_buffer_properties(
    physical_device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    properties: *mut vk::ExternalBufferProperties<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_external_buffer_properties?;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(physical_device, info, properties);
            if { (*info).flags }.contains(vk::BufferCreateFlags::SPARSE_BINDING) {
                (*properties).external_memory_properties = vk::ExternalMemoryProperties::default()
                    .compatible_handle_types((*info).handle_type);
            }
        }
        Some(())
    });
}

/// With `PANVK_SPARSE_DUMMY=alias`, a device has one queue: only among the submissions to one queue is there a place for the
/// starts of new resources that depends on nothing which the application is yet to do.
fn limit_queues(instance: &Instance, family: &mut vk::QueueFamilyProperties) {
    if instance.driver.config.dummy == Dummy::Alias {
        family.queue_count = family.queue_count.min(1);
    }
}

/// For each queue family whether it binds sparse resources.
pub(crate) fn binding_families(
    instance: &Instance,
    physical_device: vk::PhysicalDevice,
) -> Vec<bool> {
    let get = instance.table.get_queue_family_properties;
    // SAFETY: a physical device of the instance; `list` is null or has room for `count` structs.
    list(|count, list| unsafe { get(physical_device, count, list) })
        .iter()
        .map(|family: &vk::QueueFamilyProperties| {
            family.queue_flags.contains(vk::QueueFlags::SPARSE_BINDING)
        })
        .collect()
}

/// With `PANVK_SPARSE_DUMMY=alias`, an application is told of no family behind the first that binds sparse resources, for a device
/// would have no queue of it. (A family is known by its place, so those before the first can't be left out.) This is how many
/// families it is told of at most.
fn most_families(instance: &Instance, physical_device: vk::PhysicalDevice) -> u32 {
    let first = match instance.driver.config.dummy {
        Dummy::Null => None,
        Dummy::Alias => {
            let families = binding_families(instance, physical_device);
            families.iter().position(|&binds| binds)
        }
    };
    first.map_or(u32::MAX, |first| first as u32 + 1)
}

pub unsafe extern "system" fn get_queue_family_properties(
    physical_device: vk::PhysicalDevice,
    count: *mut u32,
    families: *mut vk::QueueFamilyProperties,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let most = most_families(&instance, physical_device);
        // SAFETY: the application's own arguments, or room for fewer structs, passed on; the base driver has written so many.
        unsafe {
            if !families.is_null() {
                *count = most.min(*count);
            }
            (instance.table.get_queue_family_properties)(physical_device, count, families);
            *count = most.min(*count);
            if !families.is_null() {
                for family in std::slice::from_raw_parts_mut(families, *count as usize) {
                    limit_queues(&instance, family);
                }
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_queue_family_properties2(
    physical_device: vk::PhysicalDevice,
    count: *mut u32,
    families: *mut vk::QueueFamilyProperties2<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.get_queue_family_properties2?;
        let most = most_families(&instance, physical_device);
        // SAFETY: as in `get_queue_family_properties`.
        unsafe {
            if !families.is_null() {
                *count = most.min(*count);
            }
            get(physical_device, count, families);
            *count = most.min(*count);
            if !families.is_null() {
                for family in std::slice::from_raw_parts_mut(families, *count as usize) {
                    limit_queues(&instance, &mut family.queue_family_properties);
                }
            }
        }
        Some(())
    });
}
