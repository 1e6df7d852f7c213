//! Queues: binds, and what marks the time between them.

use std::time::Instant;

use ash::vk::{self, Handle};
use panvk_sparse::trace::Event;
use panvk_sparse::vulkan::binds::slice;
use panvk_sparse::vulkan::guard::{guard, guard_result};

use crate::device::{Device, Table};
use crate::recorder::BindDone;
use crate::state::device_of;

pub unsafe extern "system" fn bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_result(|| {
        // SAFETY: a queue of a device that is alive.
        let Some(device) = (unsafe { device_of(queue) }) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(table) = device.table() else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let begin = Instant::now();
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (table.queue_bind_sparse)(queue, count, infos, fence) };
        let duration = begin.elapsed();
        if let Some(recorder) = device.recorder() {
            let done = BindDone {
                device: device.id(),
                queue: queue.as_raw(),
                result: result.as_raw(),
                duration,
            };
            // What the driver answered stands, whatever becomes of the record.
            guard((), || {
                // SAFETY: the application's structs are valid until this function returns.
                unsafe { recorder.record_bind(slice(infos, count), fence, done) }
            });
        }
        result
    })
}

/// Says that something was asked of the queue, and which device it is of.
///
/// # Safety
/// A queue of a device that is alive.
unsafe fn mark(
    queue: vk::Queue,
    event: impl FnOnce(u64) -> Event,
) -> Option<std::sync::Arc<Device>> {
    // SAFETY: the caller's promise.
    let device = unsafe { device_of(queue) }?;
    device.record(event(device.id()));
    Some(device)
}

pub unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_result(|| {
        let event = |device| Event::Submit {
            device,
            queue: queue.as_raw(),
            count,
        };
        // SAFETY: a queue of a device that is alive; the application's own arguments, passed on.
        unsafe {
            let device = mark(queue, event);
            let table = device.as_ref().and_then(|device| device.table());
            table.map_or(vk::Result::ERROR_UNKNOWN, |table| {
                (table.queue_submit)(queue, count, submits, fence)
            })
        }
    })
}

pub unsafe extern "system" fn submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    unsafe { submit2_by(Table::submit2, queue, count, submits, fence) }
}

pub unsafe extern "system" fn submit2_khr(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    unsafe { submit2_by(Table::submit2_khr, queue, count, submits, fence) }
}

/// # Safety
/// As `vkQueueSubmit2` asks.
unsafe fn submit2_by(
    function: impl FnOnce(&Table) -> Option<vk::PFN_vkQueueSubmit2>,
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_result(|| {
        let event = |device| Event::Submit {
            device,
            queue: queue.as_raw(),
            count,
        };
        // SAFETY: a queue of a device that is alive; the application's own arguments, passed on.
        unsafe {
            let device = mark(queue, event);
            let below = device.as_ref().and_then(|device| function(device.table()?));
            below.map_or(vk::Result::ERROR_UNKNOWN, |below| {
                below(queue, count, submits, fence)
            })
        }
    })
}

pub unsafe extern "system" fn present(
    queue: vk::Queue,
    info: *const vk::PresentInfoKHR<'_>,
) -> vk::Result {
    guard_result(|| {
        let event = |device| Event::Present {
            device,
            queue: queue.as_raw(),
        };
        // SAFETY: a queue of a device that is alive; the application's own arguments, passed on.
        unsafe {
            let device = mark(queue, event);
            let below = device
                .as_ref()
                .and_then(|device| device.table()?.queue_present);
            below.map_or(vk::Result::ERROR_UNKNOWN, |below| below(queue, info))
        }
    })
}
