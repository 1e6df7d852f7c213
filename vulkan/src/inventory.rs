//! What the Vulkan loader of this process finds: itself, its layers, and the devices of its drivers.

use std::ffi::CStr;

use ash::vk;
use serde::{Deserialize, Serialize};

use crate::base::text;

/// What the loader says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inventory {
    /// The newest version of Vulkan that the loader knows, as `1.3.239`.
    pub loader: String,
    /// The layers that an application can name.
    pub layers: Vec<String>,
    /// The devices, or why no instance could be created.
    pub devices: Result<Vec<Device>, String>,
}

/// A physical device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    /// What the driver calls itself, with its version; empty before Vulkan 1.2.
    pub driver: String,
    pub sparse_binding: bool,
    pub sparse_residency_buffer: bool,
    pub sparse_residency_image_2d: bool,
}

/// Loads the Vulkan loader and asks it. Drivers are loaded into this process, and some never go again.
///
/// # Errors
/// There is no loader, or it does not answer.
pub fn take() -> Result<Inventory, String> {
    // SAFETY: loading the loader runs its initialisers, as every Vulkan program does; it stays loaded while `entry` lives.
    let entry = unsafe { ash::Entry::load() }.map_err(|error| error.to_string())?;
    // SAFETY: the loader's own function.
    let version = unsafe { entry.try_enumerate_instance_version() }
        .map_err(|error| format!("vkEnumerateInstanceVersion: {error}"))?
        .unwrap_or(vk::API_VERSION_1_0);
    // SAFETY: as above.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }
        .map_err(|error| format!("vkEnumerateInstanceLayerProperties: {error}"))?;
    Ok(Inventory {
        loader: [
            vk::api_version_major(version),
            vk::api_version_minor(version),
            vk::api_version_patch(version),
        ]
        .map(|number| number.to_string())
        .join("."),
        layers: (layers.iter())
            .map(|layer| text(&layer.layer_name))
            .collect(),
        devices: devices(&entry, version),
    })
}

fn devices(entry: &ash::Entry, version: u32) -> Result<Vec<Device>, String> {
    const NAME: &CStr = c"panvk-sparse";
    let application = vk::ApplicationInfo::default()
        .application_name(NAME)
        .api_version(version.min(vk::API_VERSION_1_3));
    let create = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: the structs live until the call returns; the instance is destroyed below, and `entry` outlives it.
    let instance = unsafe { entry.create_instance(&create, None) }
        .map_err(|error| format!("vkCreateInstance: {error}"))?;
    // SAFETY: the instance was just created.
    let found = unsafe { instance.enumerate_physical_devices() }
        .map_err(|error| format!("vkEnumeratePhysicalDevices: {error}"))
        .map(|devices| {
            devices
                .iter()
                .map(|&device| look(&instance, device, version))
                .collect()
        });
    // SAFETY: nothing of the instance is used afterwards.
    unsafe { instance.destroy_instance(None) };
    found
}

fn look(instance: &ash::Instance, device: vk::PhysicalDevice, loader: u32) -> Device {
    // SAFETY: `device` is one of `instance`'s.
    let (properties, features) = unsafe {
        (
            instance.get_physical_device_properties(device),
            instance.get_physical_device_features(device),
        )
    };
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    if properties.api_version.min(loader) >= vk::API_VERSION_1_2 {
        let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: as above; Vulkan 1.2 has the function and knows the struct.
        unsafe { instance.get_physical_device_properties2(device, &mut all) };
    }
    let (name, info) = (text(&driver.driver_name), text(&driver.driver_info));
    Device {
        name: text(&properties.device_name),
        driver: format!("{name} {info}").trim().to_owned(),
        sparse_binding: features.sparse_binding == vk::TRUE,
        sparse_residency_buffer: features.sparse_residency_buffer == vk::TRUE,
        sparse_residency_image_2d: features.sparse_residency_image2_d == vk::TRUE,
    }
}
