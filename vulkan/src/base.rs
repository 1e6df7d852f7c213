//! The base driver: another ICD, loaded into this process, that does all that is not about sparse resources.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::path::PathBuf;

use ash::vk;

use super::manifest::{BaseError, lavapipe, library_of};

/// The newest loader-driver interface that this project speaks.
///
/// Version 7 lets a loader (or an application) ask `vk_icdGetInstanceProcAddr` for the other `vk_icd*` functions.
pub const MAX_INTERFACE: u32 = 7;

/// `vk_icdNegotiateLoaderICDInterfaceVersion`.
pub type Negotiate = unsafe extern "system" fn(version: *mut u32) -> vk::Result;
type GetPhysicalDeviceProcAddr = unsafe extern "system" fn(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction;

/// A loaded ICD. The library stays loaded as long as the process lives, as the loader's own ICDs may too:
/// its threads and its destructors must not lose their code.
#[derive(Debug)]
pub struct Base {
    path: PathBuf,
    negotiate: Option<Negotiate>,
    get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    get_physical_device_proc_addr: Option<GetPhysicalDeviceProcAddr>,
}

impl Base {
    /// Loads the driver whose manifest or library is at `path`, lavapipe where it is `None`.
    ///
    /// `own` is the negotiation function of the driver that asks: a base driver that turns out to be that
    /// driver itself is refused.
    ///
    /// # Errors
    /// The file is missing, is no manifest, does not load, or is no ICD. The message names it.
    pub fn load(path: Option<&std::path::Path>, own: Negotiate) -> Result<Self, BaseError> {
        let manifest = match path {
            Some(path) => path.to_owned(),
            None => lavapipe(crate::environment::variable)?,
        };
        let path = library_of(&manifest)?;
        let failed =
            |what: &dyn fmt::Display| BaseError(format!("base driver {}: {what}", path.display()));
        // SAFETY: loading a library runs its initialisers. That is what the user asks for by naming a driver,
        // and what the Vulkan loader does with every ICD.
        let library = unsafe { libloading::Library::new(&path) }.map_err(|error| failed(&error))?;
        // SAFETY: the loader-driver interface gives these names these types.
        let (exported, icd_get, plain_get, physical) = unsafe {
            (
                library
                    .get::<Negotiate>(b"vk_icdNegotiateLoaderICDInterfaceVersion\0")
                    .map(|symbol| *symbol)
                    .ok(),
                library
                    .get::<vk::PFN_vkGetInstanceProcAddr>(b"vk_icdGetInstanceProcAddr\0")
                    .map(|symbol| *symbol)
                    .ok(),
                library
                    .get::<vk::PFN_vkGetInstanceProcAddr>(b"vkGetInstanceProcAddr\0")
                    .map(|symbol| *symbol)
                    .ok(),
                library
                    .get::<GetPhysicalDeviceProcAddr>(b"vk_icdGetPhysicalDeviceProcAddr\0")
                    .map(|symbol| *symbol)
                    .ok(),
            )
        };
        let negotiate = exported.or_else(|| {
            // From interface version 7 on it may be had by name only.
            const NAME: &CStr = c"vk_icdNegotiateLoaderICDInterfaceVersion";
            // SAFETY: asking for a name; the loader-driver interface gives it this type.
            unsafe {
                first_proc(&[NAME], |name| {
                    icd_get?(vk::Instance::null(), name.as_ptr())
                })
            }
        });
        if negotiate.is_some_and(|negotiate| std::ptr::fn_addr_eq(negotiate, own)) {
            return Err(failed(&format_args!(
                "this is panvk-sparse itself; {} must name another driver",
                crate::environment::BASE_ICD
            )));
        }
        let get_instance_proc_addr = icd_get.or(plain_get).ok_or_else(|| {
            failed(&"not a Vulkan driver: it exports neither vk_icdGetInstanceProcAddr nor vkGetInstanceProcAddr")
        })?;
        std::mem::forget(library);
        Ok(Self {
            path,
            negotiate,
            get_instance_proc_addr,
            get_physical_device_proc_addr: physical,
        })
    }

    /// The library that was loaded.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// An address in the library.
    pub fn address(&self) -> usize {
        self.get_instance_proc_addr as *const () as usize
    }

    /// Agrees on an interface version: at most `wanted`, the loader's, and at most [`MAX_INTERFACE`].
    ///
    /// # Errors
    /// What the base driver answered, `VK_ERROR_INCOMPATIBLE_DRIVER` as a rule.
    pub fn negotiate(&self, wanted: u32) -> Result<u32, vk::Result> {
        let mut version = wanted.min(MAX_INTERFACE);
        match self.negotiate {
            // SAFETY: the function takes a pointer to a version that it may lower.
            Some(negotiate) => unsafe { negotiate(&mut version) }.result_with_success(version),
            // A driver of before the negotiation speaks version 1 if it exports `vk_icdGetInstanceProcAddr`,
            // else 0. A loader that can negotiate takes 1 for both.
            None => Ok(version.min(1)),
        }
    }

    /// The base driver's own pointer of a global or instance function; `None` where it has none.
    ///
    /// # Safety
    /// `instance` is null or an instance of this driver.
    pub unsafe fn instance_proc(
        &self,
        instance: vk::Instance,
        name: &CStr,
    ) -> vk::PFN_vkVoidFunction {
        // SAFETY: the caller's promise, and a name that ends with NUL.
        unsafe { (self.get_instance_proc_addr)(instance, name.as_ptr()) }
    }

    /// As [`Self::instance_proc`], for functions of a physical device, known or unknown to the loader.
    ///
    /// # Safety
    /// As for [`Self::instance_proc`].
    pub unsafe fn physical_device_proc(
        &self,
        instance: vk::Instance,
        name: &CStr,
    ) -> vk::PFN_vkVoidFunction {
        let get = self.get_physical_device_proc_addr.or_else(|| {
            // From interface version 7 on it may be had by name only.
            // SAFETY: asking for a name.
            let get = unsafe {
                self.instance_proc(vk::Instance::null(), c"vk_icdGetPhysicalDeviceProcAddr")
            };
            // SAFETY: the loader-driver interface gives that name this type.
            get.map(|get| unsafe {
                std::mem::transmute::<unsafe extern "system" fn(), GetPhysicalDeviceProcAddr>(get)
            })
        })?;
        // SAFETY: the caller's promise, and a name that ends with NUL.
        unsafe { get(instance, name.as_ptr()) }
    }
}

/// The answer to `vk_icdNegotiateLoaderICDInterfaceVersion`: what `agree` makes of the version that the loader wants.
///
/// # Safety
/// `version` is valid for reading and writing.
pub unsafe fn answer_negotiation(
    version: *mut u32,
    agree: impl FnOnce(u32) -> Result<u32, vk::Result>,
) -> vk::Result {
    // SAFETY: the caller's promise.
    match agree(unsafe { *version }) {
        Ok(agreed) => {
            // SAFETY: as above.
            unsafe { *version = agreed };
            vk::Result::SUCCESS
        }
        Err(error) => error,
    }
}

/// Calls `get` for the first of `names` that it knows, as a pointer of type `F`.
///
/// # Safety
/// `F` is the function pointer type of every one of `names`, and `get` answers a pointer of it or `None`.
pub unsafe fn first_proc<F: Copy>(
    names: &[&CStr],
    mut get: impl FnMut(&CStr) -> vk::PFN_vkVoidFunction,
) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<unsafe extern "system" fn()>()) };
    let pointer = names.iter().find_map(|name| get(name))?;
    // SAFETY: both are function pointers of one size; the caller says that `F` is the type.
    Some(unsafe { std::mem::transmute_copy::<unsafe extern "system" fn(), F>(&pointer) })
}

/// The text in a fixed-size, NUL-terminated field of a Vulkan struct.
pub fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c as u8)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes `text` into a fixed-size field, cut at a character's boundary where it is too long.
pub fn set_text(field: &mut [c_char], text: &str) {
    let Some(room) = field.len().checked_sub(1) else {
        return;
    };
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = CString::new(&text[..end]).unwrap_or_default();
    field.fill(0);
    for (to, &from) in field.iter_mut().zip(bytes.as_bytes()) {
        *to = from as c_char;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_at_a_character() {
        let mut field = [1 as c_char; 6];
        set_text(&mut field, "abcdé");
        assert_eq!(text(&field), "abcd");
        set_text(&mut field, "é");
        assert_eq!(text(&field), "é");
    }

    unsafe extern "system" fn own(_: *mut u32) -> vk::Result {
        vk::Result::SUCCESS
    }

    #[test]
    fn what_is_no_driver_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let no_library = folder.path().join("text.so");
        std::fs::write(&no_library, "text").unwrap();
        let message = Base::load(Some(&no_library), own).unwrap_err().0;
        assert!(message.contains("text.so"), "{message}");
        let libc = folder.path().join("libc.json");
        std::fs::write(&libc, r#"{"ICD":{"library_path":"libc.so.6"}}"#).unwrap();
        let message = Base::load(Some(&libc), own).unwrap_err().0;
        assert!(
            message.contains("libc.so.6") && message.contains("not a Vulkan driver"),
            "{message}"
        );
    }
}
