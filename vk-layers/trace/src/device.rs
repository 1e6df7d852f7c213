//! Devices: their creation and destruction, and the functions below.

use std::ffi::CStr;
use std::sync::{Arc, LazyLock};

use ash::vk::{self, Handle};
use trace::Event;
use vulkan::base::first_proc;
use vulkan::below::DeviceTable;
use vulkan::features;
use vulkan::guard::{guard, guard_result};
use vulkan::handles::HandleMap;

use crate::chain::{dispatch_key, take_device_link};
use crate::instance::instance_of;
use crate::recorder::Recorder;

/// By [`dispatch_key`]: a device's queues find it too.
pub static DEVICES: LazyLock<HandleMap<Device>> = LazyLock::new(HandleMap::default);

/// The state of a device, or of a queue's device.
///
/// # Safety
/// `handle` is a VkDevice or a VkQueue that is not destroyed.
pub unsafe fn device_of<H: vk::Handle>(handle: H) -> Option<Arc<Device>> {
    // SAFETY: the caller's promise.
    DEVICES.get(unsafe { dispatch_key(handle) })
}

/// What is known of a `VkDevice`.
#[derive(Debug)]
pub struct Device {
    pub handle: vk::Device,
    /// Of the layer or driver below.
    pub get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
    /// The recording that this device is part of.
    recorder: Option<Arc<Recorder>>,
    /// Whether it was created with the feature `sparseBinding`.
    sparse: bool,
    table: Option<DeviceTable>,
}

impl Device {
    /// The functions below.
    pub fn table(&self) -> Option<&DeviceTable> {
        self.table.as_ref()
    }

    /// The recording, where more of this device belongs into it than that it is there.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref().filter(|_| self.sparse)
    }

    /// Whether this device's functions have to be this layer's.
    pub fn records_binds(&self) -> bool {
        self.recorder().is_some() && self.table.is_some()
    }

    pub fn record(&self, event: Event) {
        if let Some(recorder) = self.recorder() {
            recorder.record(event);
        }
    }

    /// The handle as a trace names it.
    pub fn id(&self) -> u64 {
        self.handle.as_raw()
    }
}

pub unsafe extern "system" fn create_device(
    physical_device: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    guard_result(|| {
        // SAFETY: `info` is valid, by the function's specification.
        let asked = unsafe { &*info };
        // SAFETY: a physical device of an instance that is alive; the loader calls this function, with its structs in
        // the chain.
        let (Some(instance), Some(link)) =
            (unsafe { (instance_of(physical_device), take_device_link(asked.p_next)) })
        else {
            log::error!("vkCreateDevice: the loader's link to the next layer is missing");
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: an instance that is alive; the type is that of the name.
        let create = unsafe {
            first_proc::<vk::PFN_vkCreateDevice>(&[c"vkCreateDevice"], |name| {
                (link.get_instance_proc_addr)(instance.handle, name.as_ptr())
            })
        };
        let Some(create) = create else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { create(physical_device, info, allocator, device) };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the function below has succeeded, so it has written the handle.
        let handle = unsafe { *device };
        let get = link.get_device_proc_addr;
        // SAFETY: `info` is valid.
        let sparse = unsafe { features::enabled(asked) }.sparse_binding != vk::FALSE;
        let recorder = instance.recorder();
        if let Some(recorder) = &recorder {
            let mut created = instance.describe(physical_device);
            created.device = handle.as_raw();
            created.sparse_binding = sparse;
            recorder.record(Event::DeviceCreated(created));
        }
        // SAFETY: a device that is alive, a name that ends with NUL.
        let below = |name: &CStr| unsafe { get(handle, name.as_ptr()) };
        let known = Device {
            handle,
            get_device_proc_addr: get,
            recorder,
            sparse,
            // SAFETY: the answers of the layer or driver below, by name.
            table: unsafe { DeviceTable::load(below) },
        };
        // SAFETY: a device that was just created.
        DEVICES.insert(unsafe { dispatch_key(handle) }, Arc::new(known));
        result
    })
}

pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        if device == vk::Device::null() {
            return;
        }
        // SAFETY: a device that is not destroyed yet.
        let Some(known) = DEVICES.remove(unsafe { dispatch_key(device) }) else {
            return;
        };
        if let Some(recorder) = &known.recorder {
            recorder.record(Event::DeviceDestroyed { device: known.id() });
        }
        if let Some(table) = known.table() {
            // SAFETY: the application's own arguments, passed on.
            unsafe { (table.destroy_device)(device, allocator) };
        }
    });
}
