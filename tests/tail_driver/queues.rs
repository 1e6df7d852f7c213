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

pub unsafe extern "system" fn family_properties(
    physical: vk::PhysicalDevice,
    len: *mut u32,
    families: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: the caller's own arguments, passed on; `len` is then the number of structs that were written.
    unsafe {
        if let Some(get) = of_instance(|table| table.get_queue_family_properties) {
            get(physical, len, families);
            if !families.is_null() {
                let written = std::slice::from_raw_parts_mut(families, *len as usize);
                written.iter_mut().for_each(count);
            }
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
            get(physical, len, families);
            if !families.is_null() {
                let written = std::slice::from_raw_parts_mut(families, *len as usize);
                let families = written.iter_mut();
                families.for_each(|family| count(&mut family.queue_family_properties));
            }
        }
    }
}

/// Whether this vkQueueBindSparse is one that is to be refused.
pub fn refuses_bind() -> bool {
    static BINDS: AtomicU32 = AtomicU32::new(1);
    let nth = BINDS.fetch_add(1, Ordering::Relaxed);
    number("PANVK_SPARSE_TEST_REFUSE_BINDS").is_some_and(|every| nth % every.max(1) == 0)
}

static SUBMITS: AtomicU32 = AtomicU32::new(0);

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
    let device = locked(&QUEUES).get(&queue.as_raw()).copied();
    // SAFETY: the caller's own arguments, passed on.
    unsafe {
        match device.and_then(|device| of_device(device)) {
            Some(table) => (table.queue_submit)(queue, count, submits, fence),
            None => vk::Result::ERROR_UNKNOWN,
        }
    }
}
