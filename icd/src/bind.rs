//! `vkQueueBindSparse`: from Vulkan structs to plain numbers, and on to [`Hosted`](hosted::Hosted).

use ash::vk::{self, Handle};
use hosted::{BaseBatch, HostedError};
use vulkan::binds::{read_call, slice};

use crate::guard::guard_result;
use crate::state::{QUEUES, fail, submit};

pub unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_result(|| {
        let Some(of) = QUEUES.get(queue.as_raw()) else {
            log::error!(
                "vkQueueBindSparse: VkQueue {:#x} is not known",
                queue.as_raw()
            );
            return vk::Result::ERROR_UNKNOWN;
        };
        let device = &of.device;
        let Some(hosted) = &device.hosted else {
            // SAFETY: the application's own arguments, passed on.
            return unsafe { (device.table.queue_bind_sparse)(queue, count, infos, fence) };
        };
        // SAFETY: `infos` points to `count` valid structs, by the function's specification.
        let infos = unsafe { slice(infos, count) };
        // SAFETY: the structs are valid, and so is all they point to.
        let call = match unsafe { read_call(infos, fence) } {
            Ok(call) => call,
            Err(error) => return fail(&"vkQueueBindSparse", &HostedError::from(error)),
        };
        if device.aliases() {
            if let Err(error) = device.starts.begin(device, queue, &of) {
                return error;
            }
        }
        // SAFETY: `infos` is what `call` was read from, and the batches are of that call.
        let mut base =
            |batches: &[BaseBatch]| unsafe { submit(device, queue, infos, batches, fence) };
        let bound = if device.binds_on_one_queue {
            hosted.bind(&call, &mut base)
        } else {
            let timelines = &device.timelines;
            let value = |timeline| timelines.value(device, vk::Semaphore::from_raw(timeline));
            hosted.bind_on(queue.as_raw(), &value, &call, &mut base)
        };
        match bound {
            Ok(()) => vk::Result::SUCCESS,
            Err(error) => fail(&"vkQueueBindSparse", &error),
        }
    })
}
