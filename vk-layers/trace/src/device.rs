//! Devices: their creation and destruction, and the functions below.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use ash::vk::{self, Handle};
use trace::Event;
use vulkan::base::first_proc;
use vulkan::features;
use vulkan::guard::{guard, guard_result};

use crate::chain::{dispatch_key, take_device_link};
use crate::recorder::Recorder;
use crate::state::{DEVICES, instance_of};

vulkan::functions_below! {
    /// The functions below that this layer calls. Those of Vulkan 1.0 are there always.
    pub struct Table {
        required {
            allocate_memory: vk::PFN_vkAllocateMemory = c"vkAllocateMemory",
            free_memory: vk::PFN_vkFreeMemory = c"vkFreeMemory",
            create_buffer: vk::PFN_vkCreateBuffer = c"vkCreateBuffer",
            destroy_buffer: vk::PFN_vkDestroyBuffer = c"vkDestroyBuffer",
            get_buffer_memory_requirements: vk::PFN_vkGetBufferMemoryRequirements = c"vkGetBufferMemoryRequirements",
            create_image: vk::PFN_vkCreateImage = c"vkCreateImage",
            destroy_image: vk::PFN_vkDestroyImage = c"vkDestroyImage",
            get_image_memory_requirements: vk::PFN_vkGetImageMemoryRequirements = c"vkGetImageMemoryRequirements",
            get_image_sparse_memory_requirements: vk::PFN_vkGetImageSparseMemoryRequirements =
                c"vkGetImageSparseMemoryRequirements",
            create_semaphore: vk::PFN_vkCreateSemaphore = c"vkCreateSemaphore",
            destroy_semaphore: vk::PFN_vkDestroySemaphore = c"vkDestroySemaphore",
            destroy_fence: vk::PFN_vkDestroyFence = c"vkDestroyFence",
            queue_bind_sparse: vk::PFN_vkQueueBindSparse = c"vkQueueBindSparse",
            queue_submit: vk::PFN_vkQueueSubmit = c"vkQueueSubmit",
        }
        optional {
            queue_present: vk::PFN_vkQueuePresentKHR = c"vkQueuePresentKHR",
            // By its two names: a layer below may have a function of a name that its device does not have, and it goes
            // nowhere.
            core_submit2: vk::PFN_vkQueueSubmit2 = c"vkQueueSubmit2",
            khr_submit2: vk::PFN_vkQueueSubmit2 = c"vkQueueSubmit2KHR",
        }
    }
}

impl Table {
    /// `vkQueueSubmit2`.
    pub fn submit2(&self) -> Option<vk::PFN_vkQueueSubmit2> {
        self.core_submit2.or(self.khr_submit2)
    }

    /// `vkQueueSubmit2KHR`.
    pub fn submit2_khr(&self) -> Option<vk::PFN_vkQueueSubmit2> {
        self.khr_submit2.or(self.core_submit2)
    }
}

/// What is known of a `VkDevice`.
pub struct Device {
    pub handle: vk::Device,
    /// Of the layer or driver below.
    pub get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
    /// The recording that this device is part of.
    recorder: Option<Arc<Recorder>>,
    /// Whether it was created with the feature `sparseBinding`.
    sparse: bool,
    destroy_device: Option<vk::PFN_vkDestroyDevice>,
    table: Option<Table>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// The functions below.
    pub fn table(&self) -> Option<&Table> {
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
            // SAFETY: the type is that of the name.
            destroy_device: unsafe { first_proc(&[c"vkDestroyDevice"], below) },
            // SAFETY: the answers of the layer or driver below, by name.
            table: unsafe { Table::load(below) },
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
        if let Some(destroy) = known.destroy_device {
            // SAFETY: the application's own arguments, passed on.
            unsafe { destroy(device, allocator) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "system" fn nothing() {}

    unsafe extern "system" fn core(
        _: vk::Queue,
        _: u32,
        _: *const vk::SubmitInfo2<'_>,
        _: vk::Fence,
    ) -> vk::Result {
        vk::Result::SUCCESS
    }

    unsafe extern "system" fn extension(
        _: vk::Queue,
        _: u32,
        _: *const vk::SubmitInfo2<'_>,
        _: vk::Fence,
    ) -> vk::Result {
        vk::Result::NOT_READY
    }

    #[test]
    fn a_submit_goes_to_the_function_of_its_own_name() {
        let table = |has_core: bool, has_extension: bool| {
            let pointer = |function: vk::PFN_vkQueueSubmit2| {
                // SAFETY: function pointers all have one size; the table knows the type by the name.
                unsafe {
                    std::mem::transmute::<vk::PFN_vkQueueSubmit2, unsafe extern "system" fn()>(
                        function,
                    )
                }
            };
            let below = |name: &CStr| match name.to_bytes() {
                b"vkQueueSubmit2" => has_core.then(|| pointer(core)),
                b"vkQueueSubmit2KHR" => has_extension.then(|| pointer(extension)),
                _ => Some(nothing as unsafe extern "system" fn()),
            };
            // SAFETY: of what is answered here, the two functions alone are called, and have the type of their names.
            unsafe { Table::load(below) }.expect("all of Vulkan 1.0")
        };
        let call = |submit: Option<vk::PFN_vkQueueSubmit2>| {
            let submit = submit.expect("a function");
            // SAFETY: the functions above look at nothing.
            unsafe { submit(vk::Queue::null(), 0, std::ptr::null(), vk::Fence::null()) }
        };
        let (own, other) = (vk::Result::SUCCESS, vk::Result::NOT_READY);
        for (has_core, has_extension, expected) in [
            (true, true, [own, other]),
            (true, false, [own, own]),
            (false, true, [other, other]),
        ] {
            let table = table(has_core, has_extension);
            let called = [call(table.submit2()), call(table.submit2_khr())];
            assert_eq!(called, expected);
        }
    }
}
