//! Queues that lavapipe does not have, and submissions that it would take.

use std::sync::atomic::{AtomicU32, Ordering};

use ash::vk::{self, Handle};

use crate::{QUEUES, locked, of_device, of_instance};

/// A number that the environment may have.
fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

fn count(family: &mut vk::QueueFamilyProperties) {
    if let Some(queues) = number("PANVK_SPARSE_TEST_QUEUES") {
        family.queue_count = queues;
    }
}

/// Answers for as many families as the environment has, all of them as lavapipe's only one.
///
/// # Safety
/// `families` is null, or `len` has the number of structs that can be written; `get` writes the first of them.
unsafe fn repeat<T: Copy>(
    len: *mut u32,
    families: *mut T,
    get: impl FnOnce(*mut u32, *mut T),
    count: impl Fn(&mut T),
) {
    let all = number("PANVK_SPARSE_TEST_FAMILIES").unwrap_or(1);
    // SAFETY: the caller's promise.
    unsafe {
        if families.is_null() {
            *len = all;
            return;
        }
        *len = all.min(*len);
        if *len > 0 {
            get(&mut 1, families);
            let written = std::slice::from_raw_parts_mut(families, *len as usize);
            count(&mut written[0]);
            let first = written[0];
            written.fill(first);
        }
    }
}

pub unsafe extern "system" fn family_properties(
    physical: vk::PhysicalDevice,
    len: *mut u32,
    families: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: the caller's own arguments; of the structs the first is passed on.
    unsafe {
        if let Some(get) = of_instance(|table| table.get_queue_family_properties) {
            let get = |len, families| get(physical, len, families);
            repeat(len, families, get, count);
        }
    }
}

pub unsafe extern "system" fn family_properties2(
    physical: vk::PhysicalDevice,
    len: *mut u32,
    families: *mut vk::QueueFamilyProperties2<'_>,
) {
    // SAFETY: as for `family_properties`.
    unsafe {
        if let Some(get) = of_instance(|table| table.get_queue_family_properties2).flatten() {
            let get = |len, families| get(physical, len, families);
            repeat(len, families, get, |family| {
                count(&mut family.queue_family_properties);
            });
        }
    }
}

/// Why this vkQueueBindSparse is to be refused, if it is.
pub fn refusal_of_bind() -> Option<vk::Result> {
    static BINDS: AtomicU32 = AtomicU32::new(1);
    let nth = BINDS.fetch_add(1, Ordering::Relaxed);
    let refused =
        number("PANVK_SPARSE_TEST_REFUSE_BINDS").is_some_and(|every| nth % every.max(1) == 0);
    let lost = is_lost().then_some(vk::Result::ERROR_DEVICE_LOST);
    lost.or(refused.then_some(vk::Result::ERROR_OUT_OF_HOST_MEMORY))
}

static SUBMITS: AtomicU32 = AtomicU32::new(0);

/// Whether so many vkQueueSubmit have come that the device is lost.
fn is_lost() -> bool {
    let submits = SUBMITS.load(Ordering::Relaxed);
    number("PANVK_SPARSE_TEST_LOST").is_some_and(|nth| submits >= nth)
}

pub unsafe extern "system" fn wait_for_fences(
    device: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    all: vk::Bool32,
    timeout: u64,
) -> vk::Result {
    if is_lost() {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    // SAFETY: the caller's own arguments, passed on.
    unsafe {
        match of_device(device) {
            Some(table) => (table.wait_for_fences)(device, count, fences, all, timeout),
            None => vk::Result::ERROR_UNKNOWN,
        }
    }
}

pub unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let nth = SUBMITS.fetch_add(1, Ordering::Relaxed) + 1;
    if number("PANVK_SPARSE_TEST_REFUSE") == Some(nth) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if is_lost() {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    let device = locked(&QUEUES).get(&queue.as_raw()).copied();
    // SAFETY: the caller's own arguments, passed on.
    unsafe {
        match device.and_then(|device| of_device(device)) {
            Some(table) => (table.queue_submit)(queue, count, submits, fence),
            None => vk::Result::ERROR_UNKNOWN,
        }
    }
}
