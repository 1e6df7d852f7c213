//! The instance: what an application has before it makes a device.

use ash::vk;
use std::ffi::{CStr, c_void};
use std::sync::{Arc, Mutex};

/// Set to 1: the instance enables `VK_LAYER_KHRONOS_validation` and [`App::complaints`] collects what it says.
pub const VALIDATION: &str = "PANVK_SPARSE_TEST_VALIDATION";

/// What Debian 12's validation layer (1.3.239) says about correct calls over a driver two years newer.
/// Each entry: a part of the message, and why it is not about us.
const NOT_ABOUT_US: &[(&str, &str)] = &[];

pub struct App {
    pub entry: ash::Entry,
    pub instance: ash::Instance,
    pub physical: vk::PhysicalDevice,
    messenger: Option<(ash::ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    messages: Arc<Mutex<Vec<String>>>,
}

unsafe extern "system" fn collect(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _types: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer gives a valid struct; `user` is the Mutex that `App` keeps alive longer than the instance.
    let (data, messages) = unsafe { (&*data, &*user.cast::<Mutex<Vec<String>>>()) };
    // SAFETY: both are null or strings that end in NUL.
    let id = unsafe { data.message_id_name_as_c_str() }.unwrap_or_default();
    // SAFETY: as above.
    let text = unsafe { data.message_as_c_str() }.unwrap_or_default();
    let line = format!("{}: {}", id.to_string_lossy(), text.to_string_lossy());
    if let Ok(mut messages) = messages.lock() {
        messages.push(line);
    }
    vk::FALSE
}

impl App {
    /// An instance and its first physical device with sparse binding, or what Vulkan answered.
    pub fn new() -> Result<Arc<Self>, vk::Result> {
        let validation = std::env::var_os(VALIDATION).is_some_and(|v| v == "1");
        // SAFETY: the loader is a well-behaved library.
        let entry = unsafe { ash::Entry::load() }.expect("libvulkan.so.1 is installed");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let application = vk::ApplicationInfo::default()
            .application_name(c"panvk-sparse tests")
            .api_version(vk::API_VERSION_1_3);
        let layers = [c"VK_LAYER_KHRONOS_validation".as_ptr()];
        let extensions = [ash::ext::debug_utils::NAME.as_ptr()];
        let mut messenger = vk::DebugUtilsMessengerCreateInfoEXT::default()
            .message_severity(
                vk::DebugUtilsMessageSeverityFlagsEXT::ERROR
                    | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING,
            )
            .message_type(
                vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION
                    | vk::DebugUtilsMessageTypeFlagsEXT::PERFORMANCE,
            )
            .pfn_user_callback(Some(collect))
            .user_data(Arc::as_ptr(&messages).cast_mut().cast());
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        let registered = messenger;
        if validation {
            info = info
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions)
                .push_next(&mut messenger);
        }
        // SAFETY: the structs live until the call returns; `messages` outlives the instance (dropped after it).
        let instance = unsafe { entry.create_instance(&info, None) }?;
        let messenger = validation.then(|| {
            let utils = ash::ext::debug_utils::Instance::new(&entry, &instance);
            // SAFETY: the extension is enabled.
            let handle = unsafe { utils.create_debug_utils_messenger(&registered, None) }
                .expect("messenger");
            (utils, handle)
        });
        // SAFETY: the instance is alive.
        let physical = unsafe { instance.enumerate_physical_devices() }.expect("physical devices");
        let sparse = |p: &vk::PhysicalDevice| {
            // SAFETY: `p` is of this instance.
            unsafe { instance.get_physical_device_features(*p) }.sparse_binding == vk::TRUE
        };
        let physical = physical
            .into_iter()
            .find(sparse)
            .expect("a device with sparse binding");
        Ok(Arc::new(Self {
            entry,
            instance,
            physical,
            messenger,
            messages,
        }))
    }

    /// Whether the validation layer is on.
    pub fn validates(&self) -> bool {
        self.messenger.is_some()
    }

    /// driverInfo of the physical device, as the driver gives it.
    pub fn driver_info(&self) -> String {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: handles are alive, the chain is valid.
        unsafe {
            self.instance
                .get_physical_device_properties2(self.physical, &mut properties)
        };
        driver
            .driver_info_as_c_str()
            .unwrap_or(c"(no NUL)")
            .to_string_lossy()
            .into_owned()
    }

    pub fn limits(&self) -> vk::PhysicalDeviceLimits {
        // SAFETY: handles are alive.
        unsafe { self.instance.get_physical_device_properties(self.physical) }.limits
    }

    pub fn features(&self) -> vk::PhysicalDeviceFeatures {
        // SAFETY: handles are alive.
        unsafe { self.instance.get_physical_device_features(self.physical) }
    }

    pub fn device_extension(&self, name: &CStr) -> bool {
        // SAFETY: handles are alive.
        let all = unsafe {
            self.instance
                .enumerate_device_extension_properties(self.physical)
        }
        .expect("extensions");
        all.iter().any(|e| e.extension_name_as_c_str() == Ok(name))
    }

    /// Forgets what the validation layer said so far, and returns it.
    pub fn take_complaints(&self) -> Vec<String> {
        let complaints = self.complaints();
        self.messages.lock().expect("messages").clear();
        complaints
    }

    /// What the validation layer said so far about our calls, without what is known to be not about us.
    pub fn complaints(&self) -> Vec<String> {
        let messages = self.messages.lock().expect("messages");
        messages
            .iter()
            .filter(|m| !NOT_ABOUT_US.iter().any(|(part, _)| m.contains(part)))
            .cloned()
            .collect()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // SAFETY: every device holds an Arc of this, so all are gone.
        unsafe {
            if let Some((utils, messenger)) = &self.messenger {
                utils.destroy_debug_utils_messenger(*messenger, None);
            }
            self.instance.destroy_instance(None);
        }
        let complaints = self.complaints();
        if !complaints.is_empty() && !std::thread::panicking() {
            panic!("the validation layer complains:\n{}", complaints.join("\n"));
        }
    }
}
