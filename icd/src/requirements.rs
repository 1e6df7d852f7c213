//! What the application is told of the memory that images need.

use std::sync::Arc;

use ash::vk::{self, Handle};

use crate::guard::guard_some;
use crate::state::{Device, Requirements, device_of};

/// The requirements that an image of this create info would have, where it would be partially resident.
///
/// # Safety
/// `info` is valid for creating an image of the device.
unsafe fn of_new(device: &Device, info: &vk::ImageCreateInfo<'_>) -> Option<Requirements> {
    if !info.flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        return None;
    }
    let mut image = vk::Image::null();
    // An image has the numbers that are asked for here; not every base driver's answer without one has.
    // SAFETY: the caller's promise. Nobody but this function has the image.
    let made = unsafe {
        (device.table.create_image)(device.handle, info, std::ptr::null(), &mut image)
            .result()
            .map_err(|error| error.to_string())
            .and_then(|()| {
                let made = Requirements::of(device, image, info);
                (device.table.destroy_image)(device.handle, image, std::ptr::null());
                made.map_err(|error| error.to_string())
            })
    };
    match made {
        Ok((requirements, _)) => Some(requirements),
        Err(error) => {
            log::error!("memory requirements of a VkImageCreateInfo: {error}");
            None
        }
    }
}

fn known(device: vk::Device, image: vk::Image) -> Option<(Arc<Device>, Option<Arc<Requirements>>)> {
    let device = device_of(device)?;
    let requirements = device.images.get(image.as_raw());
    Some((device, requirements))
}

pub unsafe extern "system" fn get_image_memory_requirements(
    device: vk::Device,
    image: vk::Image,
    requirements: *mut vk::MemoryRequirements,
) {
    guard_some((), || {
        let (of, own) = known(device, image)?;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            (of.table.get_image_memory_requirements)(device, image, requirements);
            if let Some(own) = own {
                (*requirements).size = own.size;
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_image_memory_requirements2(
    device: vk::Device,
    info: *const vk::ImageMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    guard_some((), || {
        // SAFETY: `info` is valid, by the function's specification.
        let (of, own) = known(device, unsafe { (*info).image })?;
        let get = of.table.get_image_memory_requirements2?;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed.
        unsafe {
            get(device, info, requirements);
            if let Some(own) = own {
                (*requirements).memory_requirements.size = own.size;
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_image_sparse_memory_requirements(
    device: vk::Device,
    image: vk::Image,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements,
) {
    guard_some((), || {
        let (_, own) = known(device, image)?;
        // SAFETY: the application's own arguments, valid by the function's specification.
        unsafe {
            match own {
                Some(own) => own.list(count, requirements, |element| element),
                // It is not partially resident.
                None => *count = 0,
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_image_sparse_memory_requirements2(
    device: vk::Device,
    info: *const vk::ImageSparseMemoryRequirementsInfo2<'_>,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements2<'_>,
) {
    guard_some((), || {
        // SAFETY: `info` is valid, by the function's specification.
        let (_, own) = known(device, unsafe { (*info).image })?;
        // SAFETY: the application's own arguments, valid by the function's specification. No struct extends the elements.
        unsafe {
            match own {
                Some(own) => own.list(count, requirements, |element| {
                    &mut element.memory_requirements
                }),
                // It is not partially resident.
                None => *count = 0,
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_device_image_memory_requirements(
    device: vk::Device,
    info: *const vk::DeviceImageMemoryRequirements<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    guard_some((), || {
        let of = device_of(device)?;
        let get = of.table.get_device_image_memory_requirements?;
        // SAFETY: the application's own arguments, passed on; then the struct is written and can be changed. The create
        // info is valid, by the function's specification.
        unsafe {
            get(device, info, requirements);
            if let Some(own) = of_new(&of, &*(*info).p_create_info) {
                (*requirements).memory_requirements.size = own.size;
            }
        }
        Some(())
    });
}

pub unsafe extern "system" fn get_device_image_sparse_memory_requirements(
    device: vk::Device,
    info: *const vk::DeviceImageMemoryRequirements<'_>,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements2<'_>,
) {
    guard_some((), || {
        let of = device_of(device)?;
        // SAFETY: the application's own arguments, valid by the function's specification. No struct extends the elements.
        unsafe {
            match of_new(&of, &*(*info).p_create_info) {
                Some(own) => own.list(count, requirements, |element| {
                    &mut element.memory_requirements
                }),
                // It would not be partially resident, or could not be made.
                None => *count = 0,
            }
        }
        Some(())
    });
}
