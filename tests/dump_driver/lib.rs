//! A driver for tests, in front of one on the virtual node: it passes everything on, and keeps what the node maps after each
//! vkQueueBindSparse, when all that was submitted to the queue is done.
//!
//! `PANVK_SPARSE_TEST_DUMP_BASE` is the base driver's manifest, `PANVK_SPARSE_TEST_DUMPS` the folder of the files: `0.json` and so
//! on. `VPANTHOR_DUMP` has to name a file in the same file system.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ash::vk::{self, Handle};
use rustix::process::{Signal, getpid, kill_process};
use vulkan::base::{Base, answer_negotiation};

static BASE: OnceLock<Option<Base>> = OnceLock::new();
/// The instance that was asked for a function last, and the device.
static INSTANCE: Mutex<vk::Instance> = Mutex::new(vk::Instance::null());
static DEVICE: Mutex<vk::Device> = Mutex::new(vk::Device::null());

fn base() -> Option<&'static Base> {
    let load = || {
        let path = std::env::var_os("PANVK_SPARSE_TEST_DUMP_BASE")?;
        let loaded = Base::load(
            Some(path.as_ref()),
            vk_icdNegotiateLoaderICDInterfaceVersion,
        );
        loaded
            .inspect_err(|error| eprintln!("dump_driver: {error}"))
            .ok()
    };
    BASE.get_or_init(load).as_ref()
}

fn get<T: Copy>(of: &Mutex<T>) -> T {
    *of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set<T>(of: &Mutex<T>, value: T) {
    *of.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

/// The base driver's function of the device.
fn of_device(name: &CStr) -> vk::PFN_vkVoidFunction {
    // SAFETY: the base driver's instance and device, alive because the application calls with one of their objects; the
    // function has the type that its name has.
    unsafe {
        let get_device_proc_addr = base()?.instance_proc(get(&INSTANCE), c"vkGetDeviceProcAddr")?;
        let ask: vk::PFN_vkGetDeviceProcAddr = std::mem::transmute(get_device_proc_addr);
        ask(get(&DEVICE), name.as_ptr())
    }
}

enum Level {
    Own,
}

vulkan::hooks! {
    Level:
    Own {
        b"vkGetDeviceProcAddr" => get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkQueueBindSparse" => queue_bind_sparse as vk::PFN_vkQueueBindSparse,
    }
}

/// Agrees with the loader on what the base driver speaks.
///
/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(
    version: *mut u32,
) -> vk::Result {
    let Some(base) = base() else {
        return vk::Result::ERROR_INCOMPATIBLE_DRIVER;
    };
    // SAFETY: the loader gives a version that may be lowered.
    unsafe { answer_negotiation(version, |wanted| base.negotiate(wanted)) }
}

/// The pointers of global and instance functions.
///
/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: a string, by the interface.
    let name = unsafe { CStr::from_ptr(name) };
    // What is only for the loader would lead past this driver.
    if name.to_bytes().starts_with(b"vk_icd") {
        return None;
    }
    if !instance.is_null() {
        set(&INSTANCE, instance);
    }
    // SAFETY: the base driver's instance, or none.
    let of_base = unsafe { base()?.instance_proc(instance, name) };
    Some(find(name).map_or(of_base?, |hook| hook.function))
}

unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    set(&DEVICE, device);
    // SAFETY: a string, by the function's specification.
    let name = unsafe { CStr::from_ptr(name) };
    Some(find(name).map_or(of_device(name)?, |hook| hook.function))
}

unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let (bind, wait) = (
        of_device(c"vkQueueBindSparse"),
        of_device(c"vkQueueWaitIdle"),
    );
    let (Some(bind), Some(wait)) = (bind, wait) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    // SAFETY: the types that these names have; the caller's own arguments, passed on.
    let result = unsafe {
        let bind: vk::PFN_vkQueueBindSparse = std::mem::transmute(bind);
        let wait: vk::PFN_vkQueueWaitIdle = std::mem::transmute(wait);
        match bind(queue, count, infos, fence) {
            vk::Result::SUCCESS => wait(queue),
            refused => refused,
        }
    };
    if let Err(error) = keep() {
        eprintln!("dump_driver: no dump: {error}");
        return vk::Result::ERROR_UNKNOWN;
    }
    result
}

/// Has the node write down its state, and keeps the file.
fn keep() -> std::io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let variable = |name| {
        std::env::var_os(name).ok_or_else(|| std::io::Error::other(format!("{name} is not set")))
    };
    let dump = PathBuf::from(variable("VPANTHOR_DUMP")?);
    let kept = PathBuf::from(variable("PANVK_SPARSE_TEST_DUMPS")?);
    let _ = std::fs::remove_file(&dump);
    kill_process(getpid(), Signal::USR1)?;
    let begin = Instant::now();
    while !dump.exists() {
        if begin.elapsed() > Duration::from_secs(120) {
            return Err(std::io::Error::other("nothing was written for 120 s"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::fs::rename(dump, kept.join(format!("{number}.json")))
}
