//! Queues: binds, and what marks the time between them.

use std::time::Instant;

use ash::vk::{self, Handle};
use trace::Event;
use vulkan::below::DeviceTable;
use vulkan::binds::slice;
use vulkan::guard::{guard, guard_some};

use crate::device::device_of;
use crate::recorder::BindDone;

pub unsafe extern "system" fn bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        // SAFETY: a queue of a device that is alive.
        let device = unsafe { device_of(queue) }?;
        let table = device.table()?;
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
        Some(result)
    })
}

/// Records what is asked of the queue, and asks the function below, if it is there.
///
/// # Safety
/// A queue of a device that is alive; `ask` may be called with the table of it.
unsafe fn pass(
    queue: vk::Queue,
    event: impl FnOnce(u64) -> Event,
    ask: impl FnOnce(&DeviceTable) -> Option<vk::Result>,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        // SAFETY: the caller's promise.
        let device = unsafe { device_of(queue) }?;
        device.record(event(device.id()));
        device.table().and_then(ask)
    })
}

fn submitted(queue: vk::Queue, count: u32) -> impl FnOnce(u64) -> Event {
    move |device| Event::Submit {
        device,
        queue: queue.as_raw(),
        count,
    }
}

pub unsafe extern "system" fn submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: a queue of a device that is alive; the application's own arguments, passed on.
    unsafe {
        pass(queue, submitted(queue, count), |table| {
            Some((table.queue_submit)(queue, count, submits, fence))
        })
    }
}

pub unsafe extern "system" fn submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let ask = |table: &DeviceTable| {
        // SAFETY: the application's own arguments, passed on.
        unsafe { Some(table.submit2()?(queue, count, submits, fence)) }
    };
    // SAFETY: as in `submit`.
    unsafe { pass(queue, submitted(queue, count), ask) }
}

pub unsafe extern "system" fn submit2_khr(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let ask = |table: &DeviceTable| {
        // SAFETY: the application's own arguments, passed on.
        unsafe { Some(table.submit2_khr()?(queue, count, submits, fence)) }
    };
    // SAFETY: as in `submit`.
    unsafe { pass(queue, submitted(queue, count), ask) }
}

pub unsafe extern "system" fn present(
    queue: vk::Queue,
    info: *const vk::PresentInfoKHR<'_>,
) -> vk::Result {
    let event = |device| Event::Present {
        device,
        queue: queue.as_raw(),
    };
    // SAFETY: as in `submit`.
    unsafe {
        pass(queue, event, |table| {
            table.queue_present.map(|below| below(queue, info))
        })
    }
}
