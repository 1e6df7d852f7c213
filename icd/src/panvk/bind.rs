//! `vkQueueBindSparse`.

use ash::vk::{self, Handle};
use board::{Expected, border, calls};
use vulkan::binds::slice;
use vulkan::call_copy::CallCopy;

use crate::guard::guard_result;
use crate::state::QUEUES;

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
        let submit = of.device.table.queue_bind_sparse;
        let board = of.device.board.as_ref();
        let Some(board) = board.filter(|_| !border::is_child()) else {
            // SAFETY: the application's own arguments, passed on.
            return unsafe { submit(queue, count, infos, fence) };
        };
        // SAFETY: `infos` points to `count` valid structs, by the function's specification.
        let structs = unsafe { slice(infos, count) };
        // SAFETY: the structs are valid, and so is all they point to.
        let (binds, unbinds) = unsafe { counts(structs) };
        let pass = |infos: *const vk::BindSparseInfo<'_>| {
            // SAFETY: the application's own arguments, passed on, or a copy of the structs.
            calls::bind(&board.vm, expected(structs, fence), || unsafe {
                submit(queue, count, infos, fence)
            })
        };
        let bound = match board.stand_in.filter(|_| unbinds) {
            None => pass(infos),
            Some(stand_in) => {
                // SAFETY: the structs are valid, and so is all they point to.
                let mut copy =
                    unsafe { CallCopy::new(structs, fence, Vec::new(), CallCopy::words(structs)) };
                pass(with_stand_in(&mut copy, structs, stand_in))
            }
        };
        match bound {
            Ok(vk::Result::SUCCESS) => {
                board.count(binds);
                vk::Result::SUCCESS
            }
            Ok(result) => result,
            // As the base driver says whatever the kernel refuses.
            Err(_) => vk::Result::ERROR_DEVICE_LOST,
        }
    })
}

/// How the call has to look at the border. Mesa submits infos together until one signals.
fn expected(infos: &[vk::BindSparseInfo<'_>], fence: vk::Fence) -> Expected {
    let signals = |info: &vk::BindSparseInfo<'_>| info.signal_semaphore_count > 0;
    let has_fence = fence != vk::Fence::null();
    let last_signals = infos.last().is_some_and(signals);
    let cut =
        |pair: &[vk::BindSparseInfo<'_>]| !signals(&pair[0]) && pair[1].wait_semaphore_count > 0;
    Expected {
        signals: infos.iter().filter(|info| signals(info)).count()
            + usize::from(has_fence && !last_signals),
        may_end_silently: !last_signals && !has_fence || infos.windows(2).any(cut),
    }
}

/// How many binds there are, and whether one of them is of no memory.
///
/// # Safety
/// All structs are valid, and so is all they point to.
unsafe fn counts(infos: &[vk::BindSparseInfo<'_>]) -> (u64, bool) {
    let (mut count, mut unbinds) = (0, false);
    for info in infos {
        // SAFETY: the caller's promise.
        unsafe {
            let buffers = slice(info.p_buffer_binds, info.buffer_bind_count);
            let opaque = slice(info.p_image_opaque_binds, info.image_opaque_bind_count);
            let lists = buffers.iter().map(|list| (list.p_binds, list.bind_count));
            for (first, len) in
                lists.chain(opaque.iter().map(|list| (list.p_binds, list.bind_count)))
            {
                count += u64::from(len);
                unbinds |= slice(first, len).iter().any(|bind| bind.memory.is_null());
            }
            for list in slice(info.p_image_binds, info.image_bind_count) {
                count += u64::from(list.bind_count);
                unbinds |= slice(list.p_binds, list.bind_count)
                    .iter()
                    .any(|bind| bind.memory.is_null());
            }
        }
    }
    (count, unbinds)
}

/// The structs with memory in place of none.
fn with_stand_in<'a>(
    copy: &'a mut CallCopy,
    infos: &'a [vk::BindSparseInfo<'_>],
    stand_in: vk::DeviceMemory,
) -> *const vk::BindSparseInfo<'a> {
    let place = |memory: &mut vk::DeviceMemory, offset: &mut vk::DeviceSize| {
        if memory.is_null() {
            (*memory, *offset) = (stand_in, 0);
        }
    };
    let changed = copy.changed(
        infos,
        |bind| place(&mut bind.memory, &mut bind.memory_offset),
        |bind| place(&mut bind.memory, &mut bind.memory_offset),
    );
    changed.as_ptr()
}
