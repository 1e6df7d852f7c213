//! The creation of sparse buffers and images. All others pass.

use ash::vk;
use board::calls;
use vulkan::below::DeviceTable;

use crate::guard::guard_some;
use crate::state::{Board, device_of};

/// Has the base driver create a sparse resource with `create`, and maps it to the dummy. `needs` asks for the memory
/// requirements of what was created; where it can't be mapped, `destroy` destroys it.
fn created(
    name: &str,
    board: &Board,
    create: impl FnOnce() -> vk::Result,
    needs: impl FnOnce(&mut vk::MemoryRequirements),
    destroy: impl FnOnce(),
) -> vk::Result {
    let (result, maps) = calls::create(&board.vm, create);
    if result != vk::Result::SUCCESS || maps.is_empty() {
        return result;
    }
    let mut requirements = vk::MemoryRequirements::default();
    needs(&mut requirements);
    match board.vm.add(&maps, requirements.alignment) {
        Ok(()) => result,
        Err(error) => {
            log::error!("{name}: {error}");
            destroy();
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
        }
    }
}

pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let known = device_of(device)?;
        let table: &DeviceTable = &known.table;
        // SAFETY: the application's own arguments, passed on.
        let create = || unsafe { (table.create_buffer)(device, info, allocator, buffer) };
        // SAFETY: `info` is valid, by the function's specification.
        let flags = unsafe { (*info).flags };
        let board = known.board.as_ref();
        let Some(board) = board.filter(|_| flags.contains(vk::BufferCreateFlags::SPARSE_BINDING))
        else {
            return Some(create());
        };
        Some(created(
            "vkCreateBuffer",
            board,
            create,
            // SAFETY: the buffer was just created.
            |needs| unsafe { (table.get_buffer_memory_requirements)(device, *buffer, needs) },
            // SAFETY: as above, and nobody else has it.
            || unsafe {
                (table.destroy_buffer)(device, *buffer, allocator);
                *buffer = vk::Buffer::null();
            },
        ))
    })
}

pub unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let known = device_of(device)?;
        let table: &DeviceTable = &known.table;
        // SAFETY: the application's own arguments, passed on.
        let create = || unsafe { (table.create_image)(device, info, allocator, image) };
        // SAFETY: `info` is valid, by the function's specification.
        let flags = unsafe { (*info).flags };
        let board = known.board.as_ref();
        let Some(board) = board.filter(|_| flags.contains(vk::ImageCreateFlags::SPARSE_BINDING))
        else {
            return Some(create());
        };
        Some(created(
            "vkCreateImage",
            board,
            create,
            // SAFETY: the image was just created.
            |needs| unsafe { (table.get_image_memory_requirements)(device, *image, needs) },
            // SAFETY: as above, and nobody else has it.
            || unsafe {
                (table.destroy_image)(device, *image, allocator);
                *image = vk::Image::null();
            },
        ))
    })
}
