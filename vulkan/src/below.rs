//! The functions of the driver or the layer below: what is called there, by what name, and how.

use std::ffi::CStr;

use ash::vk;

use crate::base::first_proc;

/// The name of a function, from that of its type and from what is put behind it: `PFN_vkName`, the suffix, a NUL.
const fn name_of(of_type: &'static str) -> &'static CStr {
    let (_, name) = of_type.as_bytes().split_at("PFN_".len());
    match CStr::from_bytes_with_nul(name) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with NUL and has no other"),
    }
}

/// Defines a table of functions below: for each its field and its type, whose name is that of the function. An optional one
/// is taken by the first of its suffixes that is known below.
macro_rules! functions_below {
    (
        $(#[$about:meta])*
        pub struct $table:ident {
            required { $($field:ident: $type:ident,)* }
            optional { $($(#[$of:meta])* $maybe:ident: $maybe_type:ident [$($suffix:literal),+],)* }
        }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $table {
            $(pub $field: vk::$type,)*
            $($(#[$of])* pub $maybe: Option<vk::$maybe_type>,)*
        }

        impl $table {
            /// `None` where a required function is missing.
            ///
            /// # Safety
            /// `get` answers functions of the names that it is asked for.
            pub unsafe fn load(get: impl Fn(&CStr) -> vk::PFN_vkVoidFunction) -> Option<Self> {
                // SAFETY: each field's type is that of its name; the rest is the caller's promise.
                unsafe {
                    Some(Self {
                        $($field: first_proc(&[const { name_of(concat!(stringify!($type), "\0")) }], &get)?,)*
                        $($maybe: first_proc(
                            &[$(const { name_of(concat!(stringify!($maybe_type), $suffix, "\0")) }),+],
                            &get,
                        ),)*
                    })
                }
            }
        }
    };
}

functions_below! {
    /// The functions of an instance and of its physical devices. The optional ones are not Vulkan 1.0's.
    pub struct InstanceTable {
        required {
            destroy_instance: PFN_vkDestroyInstance,
            enumerate_physical_devices: PFN_vkEnumeratePhysicalDevices,
            get_features: PFN_vkGetPhysicalDeviceFeatures,
            get_image_format_properties: PFN_vkGetPhysicalDeviceImageFormatProperties,
            get_sparse_image_format_properties: PFN_vkGetPhysicalDeviceSparseImageFormatProperties,
            get_properties: PFN_vkGetPhysicalDeviceProperties,
            get_queue_family_properties: PFN_vkGetPhysicalDeviceQueueFamilyProperties,
            enumerate_device_extensions: PFN_vkEnumerateDeviceExtensionProperties,
            create_device: PFN_vkCreateDevice,
            get_device_proc_addr: PFN_vkGetDeviceProcAddr,
        }
        optional {
            enumerate_physical_device_groups: PFN_vkEnumeratePhysicalDeviceGroups ["", "KHR"],
            get_external_buffer_properties: PFN_vkGetPhysicalDeviceExternalBufferProperties ["", "KHR"],
            get_queue_family_properties2: PFN_vkGetPhysicalDeviceQueueFamilyProperties2 ["", "KHR"],
            get_features2: PFN_vkGetPhysicalDeviceFeatures2 ["", "KHR"],
            get_image_format_properties2: PFN_vkGetPhysicalDeviceImageFormatProperties2 ["", "KHR"],
            get_sparse_image_format_properties2: PFN_vkGetPhysicalDeviceSparseImageFormatProperties2 ["", "KHR"],
            // By its two names: which of them an application may call follows from what it asks the instance for.
            core_properties2: PFN_vkGetPhysicalDeviceProperties2 [""],
            khr_properties2: PFN_vkGetPhysicalDeviceProperties2 ["KHR"],
        }
    }
}

impl InstanceTable {
    /// `vkGetPhysicalDeviceProperties2`, by whichever name it is there.
    pub fn properties2(&self) -> Option<vk::PFN_vkGetPhysicalDeviceProperties2> {
        self.core_properties2.or(self.khr_properties2)
    }
}

functions_below! {
    /// The functions of a device and of its queues. The optional ones are not Vulkan 1.0's.
    pub struct DeviceTable {
        required {
            destroy_device: PFN_vkDestroyDevice,
            device_wait_idle: PFN_vkDeviceWaitIdle,
            get_device_queue: PFN_vkGetDeviceQueue,
            allocate_memory: PFN_vkAllocateMemory,
            free_memory: PFN_vkFreeMemory,
            create_buffer: PFN_vkCreateBuffer,
            destroy_buffer: PFN_vkDestroyBuffer,
            get_buffer_memory_requirements: PFN_vkGetBufferMemoryRequirements,
            create_image: PFN_vkCreateImage,
            destroy_image: PFN_vkDestroyImage,
            get_image_memory_requirements: PFN_vkGetImageMemoryRequirements,
            get_image_sparse_memory_requirements: PFN_vkGetImageSparseMemoryRequirements,
            create_semaphore: PFN_vkCreateSemaphore,
            destroy_semaphore: PFN_vkDestroySemaphore,
            create_fence: PFN_vkCreateFence,
            destroy_fence: PFN_vkDestroyFence,
            wait_for_fences: PFN_vkWaitForFences,
            reset_fences: PFN_vkResetFences,
            queue_submit: PFN_vkQueueSubmit,
            queue_bind_sparse: PFN_vkQueueBindSparse,
        }
        optional {
            get_device_queue2: PFN_vkGetDeviceQueue2 [""],
            get_semaphore_counter_value: PFN_vkGetSemaphoreCounterValue ["", "KHR"],
            get_image_memory_requirements2: PFN_vkGetImageMemoryRequirements2 ["", "KHR"],
            get_image_sparse_memory_requirements2: PFN_vkGetImageSparseMemoryRequirements2 ["", "KHR"],
            get_device_image_memory_requirements: PFN_vkGetDeviceImageMemoryRequirements ["", "KHR"],
            queue_present: PFN_vkQueuePresentKHR [""],
            // By its two names: a layer below may have a function of a name that its device does not have, and it goes
            // nowhere.
            core_submit2: PFN_vkQueueSubmit2 [""],
            khr_submit2: PFN_vkQueueSubmit2 ["KHR"],
        }
    }
}

impl DeviceTable {
    /// `vkQueueSubmit2`.
    pub fn submit2(&self) -> Option<vk::PFN_vkQueueSubmit2> {
        self.core_submit2.or(self.khr_submit2)
    }

    /// `vkQueueSubmit2KHR`.
    pub fn submit2_khr(&self) -> Option<vk::PFN_vkQueueSubmit2> {
        self.khr_submit2.or(self.core_submit2)
    }
}

/// What a function lists: `ask` gets where the count is, and null or an array with room for so many.
pub fn list<T: Clone + Default>(mut ask: impl FnMut(&mut u32, *mut T)) -> Vec<T> {
    let mut count = 0;
    ask(&mut count, std::ptr::null_mut());
    let mut list = vec![T::default(); count as usize];
    ask(&mut count, list.as_mut_ptr());
    list.truncate(count as usize);
    list
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
            unsafe { DeviceTable::load(below) }.expect("all of Vulkan 1.0")
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
