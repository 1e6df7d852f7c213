//! What the application submits, on a device with `PANVK_SPARSE_DUMMY=alias`: after the starts of new resources.

use ash::vk::{self, Handle};

use crate::guard::guard_result;
use crate::state::{Device, QUEUES};

/// Starts new resources, then has `pass` submit what the application does.
fn after_start(queue: vk::Queue, pass: impl FnOnce(&Device) -> vk::Result) -> vk::Result {
    guard_result(|| {
        let Some(of) = QUEUES.get(queue.as_raw()) else {
            log::error!("VkQueue {:#x} is not known", queue.as_raw());
            return vk::Result::ERROR_UNKNOWN;
        };
        let device = &of.device;
        if device.aliases() {
            if let Err(error) = device.starts.begin(device, queue, &of) {
                return error;
            }
        }
        pass(device)
    })
}

pub unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    after_start(queue, |device| unsafe {
        (device.table.queue_submit)(queue, count, submits, fence)
    })
}

pub unsafe extern "system" fn queue_submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    after_start(queue, |device| match device.table.submit2() {
        // SAFETY: the application's own arguments, passed on.
        Some(submit) => unsafe { submit(queue, count, submits, fence) },
        None => vk::Result::ERROR_UNKNOWN,
    })
}
