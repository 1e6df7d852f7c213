//! Which base driver there is, and whether this driver stands in front of it.

use std::ffi::CStr;

use ::board::border;
use ash::vk::{self, Handle};
use hosted::config::{BASE_ICD, Config, variable};
use vulkan::base::{Base, first_proc};
use vulkan::below::InstanceTable;
use vulkan::manifest;

use super::SetupError;
use crate::guard::guard;

/// Of a panvk without sparse binding.
pub const NO_SPARSE: &str = "this panvk has no sparse binding: Mesa's has it from 26.1 on, and docs/panvk.md says how to build one \
     that has it from the source of Mesa 25.0";

const OWN: vulkan::base::Negotiate = crate::vk_icdNegotiateLoaderICDInterfaceVersion;

/// Loads the base driver that is named, or lavapipe.
pub fn load(config: &Config) -> Result<Base, SetupError> {
    Base::load(config.base_icd.as_deref(), OWN).map_err(|error| match &config.base_icd {
        Some(path) => SetupError(format!(
            "{BASE_ICD}={path:?} can't be used: {error}; expected the path of a Vulkan driver's manifest or library"
        )),
        None => SetupError(error.to_string()),
    })
}

/// The panvk whose binds go to its own kernel: the base driver that is named, if it is a panvk, or the panvk of this machine,
/// if panthor drives a GPU of it. None where a kernel is named.
pub fn board_driver(config: &Config) -> Result<Option<Base>, SetupError> {
    if config.names_kernel {
        return Ok(None);
    }
    if config.base_icd.is_some() {
        let base = load(config)?;
        return Ok(border::is_panvk(base.address()).then_some(base));
    }
    let Some(manifest) = manifest::panvk(variable).filter(|_| vpanthor::nodes::find().is_ok())
    else {
        return Ok(None);
    };
    match Base::load(Some(&manifest), OWN) {
        Ok(base) if binds_sparse(&base) => return Ok(Some(base)),
        Ok(_) => log::warn!("{}: {}; binding is hosted", manifest.display(), NO_SPARSE),
        Err(error) => log::warn!("{error}; binding is hosted"),
    }
    Ok(None)
}

/// Whether a physical device of the instance has sparse binding.
pub fn any_binds_sparse(table: &InstanceTable, instance: vk::Instance) -> bool {
    let (enumerate, get) = (table.enumerate_physical_devices, table.get_features);
    let mut count = 0;
    let mut devices = Vec::new();
    // SAFETY: an instance of the base driver; first no array, then one with room for so many.
    unsafe {
        if enumerate(instance, &mut count, std::ptr::null_mut()) == vk::Result::SUCCESS {
            devices = vec![vk::PhysicalDevice::null(); count as usize];
            let _ = enumerate(instance, &mut count, devices.as_mut_ptr());
            devices.truncate(count as usize);
        }
    }
    devices
        .into_iter()
        .filter(|device| !device.is_null())
        .any(|device| {
            let mut features = vk::PhysicalDeviceFeatures::default();
            // SAFETY: a physical device of the instance, and a struct to write to.
            unsafe { get(device, &mut features) };
            features.sparse_binding != vk::FALSE
        })
}

/// Whether a physical device of a driver has sparse binding. Asks an instance of it.
fn binds_sparse(base: &Base) -> bool {
    let found = || {
        base.negotiate(vulkan::base::MAX_INTERFACE).ok()?;
        let global = |name: &CStr| {
            // SAFETY: vkCreateInstance is a global function: it is asked for with no instance.
            unsafe { base.instance_proc(vk::Instance::null(), name) }
        };
        // SAFETY: the type is that of the name.
        let create =
            unsafe { first_proc::<vk::PFN_vkCreateInstance>(&[c"vkCreateInstance"], global) }?;
        let mut instance = vk::Instance::null();
        // SAFETY: structs that outlive the call.
        let created = unsafe {
            create(
                &vk::InstanceCreateInfo::default(),
                std::ptr::null(),
                &mut instance,
            )
        };
        created.result().ok()?;
        // SAFETY: an instance of the base driver, whose answers these are, by name.
        let table = unsafe { InstanceTable::load(|name| base.instance_proc(instance, name)) }?;
        let found = any_binds_sparse(&table, instance);
        // SAFETY: nobody else has it.
        unsafe { (table.destroy_instance)(instance, std::ptr::null()) };
        Some(found)
    };
    guard(false, || found().unwrap_or(false))
}
