//! Devices: creation and destruction, and their queues.

use std::ffi::CStr;
use std::sync::{Arc, Mutex};

use ash::vk::{self, Handle};
use hosted::config::{DUMMY, Dummy};
use hosted::{Hosted, Stats};
use vulkan::base::first_proc;
use vulkan::below::DeviceTable;
use vulkan::binds::slice;
use vulkan::features;
use vulkan::handles::HandleMap;

use crate::guard::{guard_result, guard_some};
use crate::physical_device::{base_driver_name, binding_families, device_properties};
use crate::profile;
use crate::state::{
    DEVICES, Device, Instance, Mode, QUEUES, Starts, Timelines, device_of, instance_of,
};

/// The functions of a new device. A device that lacks one is destroyed.
///
/// # Safety
/// Nobody else has the device, which was made with `allocator`.
pub(crate) unsafe fn device_table(
    instance: &Instance,
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) -> Option<DeviceTable> {
    let get = instance.table.get_device_proc_addr;
    // SAFETY: a device of the base driver, a name that ends with NUL.
    let base_proc = |name: &CStr| unsafe { get(device, name.as_ptr()) };
    // SAFETY: the base driver's answers, by name.
    let table = unsafe { DeviceTable::load(base_proc) };
    if table.is_none() {
        log::error!("vkCreateDevice: the base driver lacks functions of Vulkan 1.0");
        // SAFETY: the type is that of the name.
        let destroy =
            unsafe { first_proc::<vk::PFN_vkDestroyDevice>(&[c"vkDestroyDevice"], base_proc) };
        if let Some(destroy) = destroy {
            // SAFETY: the caller's promise.
            unsafe { destroy(device, allocator) };
        }
    }
    table
}

pub unsafe extern "system" fn create_device(
    physical_device: vk::PhysicalDevice,
    create_info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    guard_result(|| {
        let Some(instance) = instance_of(physical_device) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: `create_info` is valid, by the function's specification.
        let (mut enabled, has_timelines) = unsafe {
            (
                features::enabled(&*create_info),
                features::timelines(&*create_info),
            )
        };
        let sparse = enabled.sparse_binding != vk::FALSE;
        let refused = profile::features(&instance.driver.config, &mut enabled);
        if !refused.is_empty() {
            log::error!(
                "vkCreateDevice: {} asked for, which this driver does not have as it is set up",
                refused.join(", ")
            );
            return vk::Result::ERROR_FEATURE_NOT_PRESENT;
        }
        // SAFETY: as above.
        let queues = unsafe {
            slice(
                (*create_info).p_queue_create_infos,
                (*create_info).queue_create_info_count,
            )
        };
        let asked: u64 = queues
            .iter()
            .map(|family| u64::from(family.queue_count))
            .sum();
        if sparse && instance.driver.config.dummy == Dummy::Alias && asked > 1 {
            log::error!(
                "vkCreateDevice: {asked} queues asked for, expected one: with {DUMMY}=alias, a device with sparse binding \
                 has no more"
            );
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        }
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe {
            (instance.table.create_device)(physical_device, create_info, allocator, device)
        };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the base driver has succeeded, so it has written the handle.
        let handle = unsafe { *device };
        // SAFETY: the device was just created and nobody else has it.
        let Some(table) = (unsafe { device_table(&instance, handle, allocator) }) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let driver = instance.driver;
        let untouched = Stats {
            device: device_properties(&instance, physical_device).0,
            base_driver: base_driver_name(&instance, physical_device),
            kernel: driver.kernel(),
            strategy: match &driver.mode {
                Mode::Hosted(strategy) => strategy.to_string(),
                Mode::Board(_) => String::new(),
            },
            ..Stats::default()
        };
        let hosted = if sparse {
            match Hosted::new(
                &driver.config.kernel,
                driver.config.null,
                untouched.device.clone(),
                untouched.base_driver.clone(),
            ) {
                Ok(hosted) => {
                    #[cfg(feature = "faults")]
                    crate::faults::arm(&hosted);
                    Some(hosted)
                }
                Err(error) => {
                    // SAFETY: the device was just created and nobody else has it.
                    unsafe { (table.destroy_device)(handle, allocator) };
                    log::error!("vkCreateDevice: {error}");
                    return vk::Result::ERROR_INITIALIZATION_FAILED;
                }
            }
        } else {
            None
        };
        let binding_families = binding_families(&instance, physical_device);
        let binding = queues.iter().filter(|queue| {
            let family = binding_families.get(queue.queue_family_index as usize);
            family.copied().unwrap_or(false)
        });
        let binding = binding.map(|family| u64::from(family.queue_count));
        let binds_on_one_queue = binding.sum::<u64>() <= 1;
        DEVICES.insert(
            handle.as_raw(),
            Arc::new(Device {
                handle,
                instance,
                table,
                hosted,
                board: None,
                sparse: Mutex::default(),
                images: HandleMap::default(),
                dummies: Mutex::default(),
                starts: Starts::default(),
                timelines: Timelines::default(),
                binding_families,
                binds_on_one_queue,
                has_timelines,
                untouched,
            }),
        );
        vk::Result::SUCCESS
    })
}

pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard_some((), || {
        // Null is no device, and never in there.
        let known = DEVICES.remove(device.as_raw())?;
        QUEUES.remove_where(|of| of.device.handle == device);
        if let Some(sink) = &known.instance.driver.config.stats {
            let stats = known.hosted.as_ref().map(|hosted| hosted.stats());
            if let Err(error) = stats.as_ref().unwrap_or(&known.untouched).write_to(sink) {
                log::error!("{}: {error}", hosted::config::STATS);
            }
        }
        if known.hosted.is_some() {
            // What the base driver does after the application's work is done, too. A device that is lost has nothing left to do.
            // SAFETY: all queues of the device are this thread's.
            let _ = unsafe { (known.table.device_wait_idle)(device) };
        }
        known.starts.clear(&known);
        known.timelines.clear(&known);
        known.free_dummies();
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_device)(device, allocator) };
        Some(())
    });
}

pub unsafe extern "system" fn get_device_queue(
    device: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    guard_some((), || {
        let known = device_of(device)?;
        // SAFETY: the application's own arguments, passed on; then the handle is written.
        let handle = unsafe {
            (known.table.get_device_queue)(device, family, index, queue);
            *queue
        };
        QUEUES.insert(handle.as_raw(), known.queue(family));
        Some(())
    });
}

pub unsafe extern "system" fn get_device_queue2(
    device: vk::Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut vk::Queue,
) {
    guard_some((), || {
        let known = device_of(device)?;
        let get = known.table.get_device_queue2?;
        // SAFETY: the application's own arguments, passed on; then the handle is written, null where the flags
        // do not fit. `info` is valid, by the function's specification.
        let (handle, family) = unsafe {
            get(device, info, queue);
            (*queue, (*info).queue_family_index)
        };
        if handle != vk::Queue::null() {
            QUEUES.insert(handle.as_raw(), known.queue(family));
        }
        Some(())
    });
}
