//! `vkQueueBindSparse`, with opaque binds of mip tails as binds of lavapipe's tiles.

use ash::vk::{self, Handle};
use vulkan::binds::slice;

use crate::{QUEUES, TAILS, locked, of_device, queues};

/// The binds of one info, of images.
#[derive(Default)]
struct Binds {
    opaque: Vec<(vk::Image, Vec<vk::SparseMemoryBind>)>,
    tiles: Vec<(vk::Image, Vec<vk::SparseImageMemoryBind>)>,
}

/// # Errors
/// Says what this driver does not take.
///
/// # Safety
/// The info is valid.
unsafe fn translate(info: &vk::BindSparseInfo<'_>) -> Result<Binds, String> {
    let tails = locked(&TAILS);
    let mut binds = Binds::default();
    // SAFETY: the caller's promise, for each of the arrays.
    unsafe {
        for of_image in slice(info.p_image_opaque_binds, info.image_opaque_bind_count) {
            let list = slice(of_image.p_binds, of_image.bind_count);
            let Some(tail) = tails.get(&of_image.image.as_raw()) else {
                binds.opaque.push((of_image.image, list.to_vec()));
                continue;
            };
            for bind in list {
                let tiles = tail
                    .binds(bind)
                    .ok_or_else(|| format!("an opaque bind that is in no mip tail: {bind:?}"))?;
                binds.tiles.push((of_image.image, tiles));
            }
        }
        for of_image in slice(info.p_image_binds, info.image_bind_count) {
            let list = slice(of_image.p_binds, of_image.bind_count);
            let first = tails
                .get(&of_image.image.as_raw())
                .map_or(u32::MAX, |tail| tail.first_level);
            if let Some(bind) = list.iter().find(|b| b.subresource.mip_level >= first) {
                return Err(format!("a bind of a region in the mip tail: {bind:?}"));
            }
            binds.tiles.push((of_image.image, list.to_vec()));
        }
    }
    Ok(binds)
}

pub unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let device = locked(&QUEUES).get(&queue.as_raw()).copied();
    // SAFETY: a device of the base driver.
    let table = device.and_then(|device| unsafe { of_device(device) });
    let Some(table) = table else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    if let Some(result) = queues::refusal_of_bind() {
        return result;
    }
    // SAFETY: `infos` points to `count` valid structs, by the function's specification.
    let (infos, translated) = unsafe {
        let infos = slice(infos, count);
        let all: Result<Vec<Binds>, String> = infos.iter().map(|info| translate(info)).collect();
        (infos, all)
    };
    let translated = match translated {
        Ok(translated) => translated,
        Err(why) => {
            eprintln!("tail_driver: vkQueueBindSparse: {why}");
            return vk::Result::ERROR_VALIDATION_FAILED_EXT;
        }
    };
    let lists: Vec<_> = translated
        .iter()
        .map(|binds| {
            let opaque = binds.opaque.iter().map(|(image, binds)| {
                vk::SparseImageOpaqueMemoryBindInfo::default()
                    .image(*image)
                    .binds(binds)
            });
            let tiles = binds.tiles.iter().map(|(image, binds)| {
                vk::SparseImageMemoryBindInfo::default()
                    .image(*image)
                    .binds(binds)
            });
            (opaque.collect::<Vec<_>>(), tiles.collect::<Vec<_>>())
        })
        .collect();
    let passed: Vec<_> = infos
        .iter()
        .zip(&lists)
        .map(|(info, (opaque, tiles))| info.image_opaque_binds(opaque).image_binds(tiles))
        .collect();
    // SAFETY: the caller's own arguments, with lists that live until the call returns.
    unsafe { (table.queue_bind_sparse)(queue, count, passed.as_ptr(), fence) }
}
