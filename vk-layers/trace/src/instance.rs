//! Instances: their creation, what they ask of the recording, and what the layer says of itself.

use std::ffi::{CStr, c_char};
use std::sync::{Arc, LazyLock, OnceLock};

use ash::vk;
use trace::DeviceCreated;
use vulkan::base::{first_proc, set_text, text};
use vulkan::below::{InstanceTable, list};
use vulkan::binds::slice;
use vulkan::environment::variable;
use vulkan::guard::{guard, guard_result};
use vulkan::handles::HandleMap;

use crate::chain::{dispatch_key, take_instance_link};
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::{NAME, layer_settings, process};

/// By [`dispatch_key`]: an instance's physical devices find it too.
pub static INSTANCES: LazyLock<HandleMap<Instance>> = LazyLock::new(HandleMap::default);

/// The state of an instance, or of a physical device's instance.
///
/// # Safety
/// `handle` is a VkInstance or a VkPhysicalDevice that is not destroyed.
pub unsafe fn instance_of<H: vk::Handle>(handle: H) -> Option<Arc<Instance>> {
    // SAFETY: the caller's promise.
    INSTANCES.get(unsafe { dispatch_key(handle) })
}

/// What is known of a `VkInstance`.
#[derive(Debug)]
pub struct Instance {
    pub handle: vk::Instance,
    /// Of the layer or driver below.
    pub get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    /// How to record; `None` where nothing shall be.
    pub settings: Option<Settings>,
    /// Begun with the first device. `None` in it where it could not be.
    recorder: OnceLock<Option<Arc<Recorder>>>,
    /// The functions below. They are asked for when the instance is created: later, a loader answers with what the
    /// application gets, which is this layer's own.
    table: Option<InstanceTable>,
    /// Where the application may call it: it asks for Vulkan 1.1, or for VK_KHR_get_physical_device_properties2.
    get_properties2: Option<vk::PFN_vkGetPhysicalDeviceProperties2>,
}

impl Instance {
    /// The recording that this instance's devices are part of.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        let settings = self.settings.as_ref()?;
        let begin = || process::recording(settings);
        self.recorder.get_or_init(begin).clone()
    }

    /// What is known of a device before it is created; its handle is not.
    pub fn describe(&self, physical_device: vk::PhysicalDevice) -> DeviceCreated {
        let mut properties = vk::PhysicalDeviceProperties::default();
        if let Some(table) = &self.table {
            // SAFETY: a physical device of this instance, a struct that is written.
            unsafe { (table.get_properties)(physical_device, &mut properties) };
        }
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        if let Some(get) = self.get_properties2.filter(|_| {
            properties.api_version >= vk::API_VERSION_1_2
                || self.has_driver_properties(physical_device)
        }) {
            let mut properties2 = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            // SAFETY: a physical device of this instance, a chain of structs that it knows.
            unsafe { get(physical_device, &mut properties2) };
        }
        DeviceCreated {
            name: text(&properties.device_name),
            driver_name: text(&driver.driver_name),
            driver_info: text(&driver.driver_info),
            api_version: properties.api_version,
            driver_version: properties.driver_version,
            vendor_id: properties.vendor_id,
            device_id: properties.device_id,
            ..DeviceCreated::default()
        }
    }

    fn has_driver_properties(&self, physical_device: vk::PhysicalDevice) -> bool {
        let Some(table) = &self.table else {
            return false;
        };
        let extensions = list(|count, list| {
            // SAFETY: a physical device of this instance; `list` is null or has room for `count` structs.
            let _ = unsafe {
                (table.enumerate_device_extensions)(physical_device, std::ptr::null(), count, list)
            };
        });
        extensions
            .iter()
            .any(|extension: &vk::ExtensionProperties| {
                text(&extension.extension_name) == "VK_KHR_driver_properties"
            })
    }
}

/// The version of Vulkan that an application is written for.
///
/// # Safety
/// `info` is valid.
unsafe fn api_version(info: &vk::InstanceCreateInfo<'_>) -> u32 {
    // SAFETY: the caller's promise.
    let application = unsafe { info.p_application_info.as_ref() };
    match application.map_or(0, |application| application.api_version) {
        0 => vk::API_VERSION_1_0,
        version => version,
    }
}

/// # Safety
/// `info` is valid.
unsafe fn enables(info: &vk::InstanceCreateInfo<'_>, extension: &CStr) -> bool {
    // SAFETY: the caller's promise: an array of strings.
    unsafe {
        slice(
            info.pp_enabled_extension_names,
            info.enabled_extension_count,
        )
        .iter()
        .any(|&name| CStr::from_ptr(name) == extension)
    }
}

/// How to record what this instance's devices do; `None`, with a message on stderr where it is a mistake, for not.
///
/// # Safety
/// `info` is valid.
unsafe fn settings(info: &vk::InstanceCreateInfo<'_>) -> Option<Settings> {
    // SAFETY: the caller's promise.
    let given = unsafe { layer_settings::of_this_layer(info.p_next) };
    match Settings::read(variable, &given) {
        Ok(settings) => settings,
        Err(error) => {
            log::error!("{error}; nothing is recorded");
            None
        }
    }
}

pub unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    guard_result(|| {
        // SAFETY: `info` is valid, by the function's specification.
        let asked = unsafe { &*info };
        // SAFETY: the loader calls this function, with its structs in the chain.
        let Some(link) = (unsafe { take_instance_link(asked.p_next) }) else {
            log::error!("vkCreateInstance: the loader's link to the next layer is missing");
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let get = link.get_instance_proc_addr;
        // SAFETY: vkCreateInstance is a global function: it is asked for with no instance.
        let create = unsafe {
            first_proc::<vk::PFN_vkCreateInstance>(&[c"vkCreateInstance"], |name| {
                get(vk::Instance::null(), name.as_ptr())
            })
        };
        let Some(create) = create else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { create(info, allocator, instance) };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the function below has succeeded, so it has written the handle.
        let handle = unsafe { *instance };
        // SAFETY: the instance was just created, a name ends with NUL.
        let table = unsafe { InstanceTable::load(|name| get(handle, name.as_ptr())) };
        // SAFETY: `info` is valid.
        let get_properties2 = table.as_ref().and_then(|table| unsafe {
            if api_version(asked) >= vk::API_VERSION_1_1 {
                table.core_properties2
            } else if enables(asked, ash::khr::get_physical_device_properties2::NAME) {
                table.khr_properties2
            } else {
                None
            }
        });
        let known = Instance {
            handle,
            get_instance_proc_addr: get,
            // SAFETY: `info` is valid.
            settings: unsafe { settings(asked) },
            recorder: OnceLock::new(),
            table,
            get_properties2,
        };
        // SAFETY: an instance that was just created.
        INSTANCES.insert(unsafe { dispatch_key(handle) }, Arc::new(known));
        result
    })
}

pub unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        if instance == vk::Instance::null() {
            return;
        }
        // SAFETY: an instance that is not destroyed yet.
        let Some(known) = INSTANCES.remove(unsafe { dispatch_key(instance) }) else {
            return;
        };
        if let Some(table) = &known.table {
            // SAFETY: the application's own arguments, passed on.
            unsafe { (table.destroy_instance)(instance, allocator) };
        }
    });
}

/// The layers of a device: this one.
pub unsafe extern "system" fn enumerate_device_layers(
    _physical_device: vk::PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::LayerProperties,
) -> vk::Result {
    guard_result(|| {
        let mut own = vk::LayerProperties {
            spec_version: vk::make_api_version(0, 1, 4, 305),
            implementation_version: 1,
            ..Default::default()
        };
        set_text(&mut own.layer_name, &NAME.to_string_lossy());
        set_text(&mut own.description, env!("CARGO_PKG_DESCRIPTION"));
        // SAFETY: valid pointers, by the function's specification: `properties` has room for `count` structs.
        unsafe {
            if properties.is_null() {
                *count = 1;
                return vk::Result::SUCCESS;
            }
            if *count == 0 {
                return vk::Result::INCOMPLETE;
            }
            *properties = own;
            *count = 1;
        }
        vk::Result::SUCCESS
    })
}

/// The extensions of a device: those of below, and none of this layer.
pub unsafe extern "system" fn enumerate_device_extensions(
    physical_device: vk::PhysicalDevice,
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> vk::Result {
    guard_result(|| {
        // SAFETY: null or a string, by the function's specification.
        if !layer.is_null() && unsafe { CStr::from_ptr(layer) } == NAME {
            // SAFETY: a valid pointer, by the function's specification.
            unsafe { *count = 0 };
            return vk::Result::SUCCESS;
        }
        // SAFETY: a physical device of an instance that is alive.
        let Some(known) = (unsafe { instance_of(physical_device) }) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(table) = &known.table else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: the application's own arguments, passed on.
        unsafe { (table.enumerate_device_extensions)(physical_device, layer, count, properties) }
    })
}
