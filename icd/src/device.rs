//! Devices: creation and destruction, the base driver's functions of a device, its queues.

use std::collections::{BTreeMap, HashSet};
use std::ffi::CStr;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};
use hosted::Hosted;
use hosted::config::Dummy;
use hosted::{DUMMY_BYTES, HostedError, Stats};
use vulkan::base::first_proc;
use vulkan::below::{DeviceTable, list};
use vulkan::calls::ResourceId;
use vulkan::features;
use vulkan::handles::HandleMap;

use crate::guard::{guard_result, guard_some};
use crate::instance::Instance;
use crate::physical_device::{base_driver_name, device_properties};
use crate::profile;
use crate::requirements::Requirements;
use crate::starts::Starts;
use crate::state::{DEVICES, QUEUES, Queue, device_of, instance_of};

/// What is known of a `VkDevice`.
#[derive(Debug)]
pub struct Device {
    pub handle: vk::Device,
    pub instance: Arc<Instance>,
    pub table: DeviceTable,
    /// `None` for a device that was created without the feature `sparseBinding`: nothing of it concerns
    /// this driver.
    pub hosted: Option<Hosted>,
    /// The sparse resources: what is said of others need not wait for a bind.
    sparse: Mutex<HashSet<ResourceId>>,
    /// The partially resident images, by handle.
    pub images: HandleMap<Requirements>,
    /// What unbound ranges are bound to, by memory type; empty but for `PANVK_SPARSE_DUMMY=alias`.
    dummies: Mutex<BTreeMap<u32, vk::DeviceMemory>>,
    /// The new resources that are being bound to them.
    pub starts: Starts,
    /// For each queue family whether it binds sparse resources.
    binding_families: Vec<bool>,
    /// Whether it was created with the feature `timelineSemaphore`.
    pub has_timelines: bool,
    /// The stats of a device without sparse binding.
    untouched: Stats,
}

impl Device {
    /// A sparse resource was created.
    pub fn note_sparse(&self, id: ResourceId) {
        self.sparse().insert(id);
    }

    /// A buffer or an image is destroyed. Whether it is a sparse one.
    pub fn forget_sparse(&self, id: ResourceId) -> bool {
        self.sparse().remove(&id)
    }

    fn sparse(&self) -> MutexGuard<'_, HashSet<ResourceId>> {
        self.sparse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether unbound ranges of its resources are bound to a [`dummy`](Self::dummy).
    pub fn aliases(&self) -> bool {
        self.hosted.is_some() && self.instance.driver.config.dummy == Dummy::Alias
    }

    /// What there is to know of a queue of that family.
    fn queue(self: Arc<Self>, family: u32) -> Arc<Queue> {
        let binds = self.binding_families.get(family as usize);
        Arc::new(Queue {
            binds: binds.copied().unwrap_or(false),
            device: self,
        })
    }

    /// The memory that unbound ranges of a resource are bound to: none, but for `PANVK_SPARSE_DUMMY=alias`. It is of
    /// the first of the memory types that `types` has a bit for, and is made when it is first asked for.
    ///
    /// # Errors
    /// The base driver does not allocate it.
    pub fn dummy(&self, types: u32) -> Result<Option<u64>, HostedError> {
        if self.instance.driver.config.dummy == Dummy::Null {
            return Ok(None);
        }
        let ty = types.trailing_zeros();
        let mut dummies = self.dummies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dummies.get(&ty) {
            return Ok(Some(known.as_raw()));
        }
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(DUMMY_BYTES)
            .memory_type_index(ty);
        let mut memory = vk::DeviceMemory::null();
        let allocate = self.table.allocate_memory;
        // SAFETY: a device of the base driver, structs that outlive the call.
        unsafe { allocate(self.handle, &info, std::ptr::null(), &mut memory) }
            .result()
            .map_err(HostedError::Base)?;
        dummies.insert(ty, memory);
        Ok(Some(memory.as_raw()))
    }

    /// Whether the memory is a [`dummy`](Self::dummy).
    #[cfg(feature = "faults")]
    pub fn is_dummy(&self, memory: u64) -> bool {
        let dummies = self.dummies.lock().unwrap_or_else(PoisonError::into_inner);
        dummies.values().any(|known| known.as_raw() == memory)
    }

    /// Frees what this driver has allocated for itself.
    fn free_dummies(&self) {
        let mut dummies = self.dummies.lock().unwrap_or_else(PoisonError::into_inner);
        for memory in std::mem::take(&mut *dummies).into_values() {
            // SAFETY: memory of this device, which is about to be destroyed and so has no work left.
            unsafe { (self.table.free_memory)(self.handle, memory, std::ptr::null()) };
        }
    }
}

/// Says an error in the log and gives its `VkResult`.
pub fn fail(what: &dyn fmt::Display, error: &HostedError) -> vk::Result {
    log::error!("{what}: {error}");
    error.result()
}

/// For each queue family whether it binds sparse resources.
fn binding_families(instance: &Instance, physical_device: vk::PhysicalDevice) -> Vec<bool> {
    let get = instance.table.get_queue_family_properties;
    // SAFETY: a physical device of the instance; `list` is null or has room for `count` structs.
    list(|count, list| unsafe { get(physical_device, count, list) })
        .iter()
        .map(|family: &vk::QueueFamilyProperties| {
            family.queue_flags.contains(vk::QueueFlags::SPARSE_BINDING)
        })
        .collect()
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
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe {
            (instance.table.create_device)(physical_device, create_info, allocator, device)
        };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the base driver has succeeded, so it has written the handle.
        let handle = unsafe { *device };
        let get = instance.table.get_device_proc_addr;
        // SAFETY: a device of the base driver, a name that ends with NUL.
        let base_proc = |name: &CStr| unsafe { get(handle, name.as_ptr()) };
        // SAFETY: the base driver's answers, by name.
        let Some(table) = (unsafe { DeviceTable::load(base_proc) }) else {
            log::error!("vkCreateDevice: the base driver lacks functions of Vulkan 1.0");
            // SAFETY: the type is that of the name.
            let destroy =
                unsafe { first_proc::<vk::PFN_vkDestroyDevice>(&[c"vkDestroyDevice"], base_proc) };
            if let Some(destroy) = destroy {
                // SAFETY: the device was just created and nobody else has it.
                unsafe { destroy(handle, allocator) };
            }
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let driver = instance.driver;
        let untouched = Stats {
            device: device_properties(&instance, physical_device).0,
            base_driver: base_driver_name(&instance, physical_device),
            kernel: driver.config.kernel.to_string(),
            strategy: driver.strategy.to_string(),
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
        DEVICES.insert(
            handle.as_raw(),
            Arc::new(Device {
                handle,
                instance,
                table,
                hosted,
                sparse: Mutex::default(),
                images: HandleMap::default(),
                dummies: Mutex::default(),
                starts: Starts::default(),
                binding_families,
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
        known.starts.clear(&known);
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
