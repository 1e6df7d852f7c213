//! The flight on a Vulkan device: bind, upload, read back, with two frames under way as an engine has them.
//!
//! A frame's bind waits for the semaphore of the frame before, which may still use the tiles that are evicted, and signals
//! one that the frame's copies wait for. The host waits for a fence only when it needs a frame's buffers again.
//!
//! What a frame has evicted is written to all the same, after the uploads: if a tile still has its memory, then another one
//! that has it now is not what it should be.

use std::collections::BTreeSet;

use ash::vk;

use crate::Result;
use crate::gpu::{Gpu, HostBuffer};
use crate::world::{Frame, POOL, Texture, Tile};

const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;
const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
        | vk::ImageUsageFlags::TRANSFER_DST.as_raw()
        | vk::ImageUsageFlags::SAMPLED.as_raw(),
);
const UNDER_WAY: usize = 2;
/// Tiles that are read back each frame, beside the new ones.
const SAMPLES: usize = 16;
/// What is written to tiles without memory.
const STRAY: u32 = 0x0BAD_CAFE;

/// What was read back.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Tiles.
    pub checked: u32,
    pub wrong: u32,
    pub first_wrong: Option<String>,
}

impl Outcome {
    pub fn right(&self) -> bool {
        self.wrong == 0
    }
}

/// Texel `i` of a tile.
fn texel(tile: Tile, i: usize) -> u32 {
    let place = (tile.level << 24 | tile.y << 12 | tile.x).wrapping_mul(0x85EB_CA6B);
    (i as u32).wrapping_mul(0x9E37_79B1) ^ place
}

/// A frame under way.
struct Flight {
    commands: vk::CommandBuffer,
    fence: vk::Fence,
    bound: vk::Semaphore,
    drawn: vk::Semaphore,
    /// As many tiles as the pool has, then [`STRAY`].
    upload: HostBuffer,
    back: HostBuffer,
    /// What is read back; `None` where nothing is under way.
    sampled: Option<Vec<Tile>>,
}

/// The image, its memory and the frames. Freed by [`Stream::destroy`].
pub struct Stream<'g> {
    gpu: &'g Gpu,
    pub texture: Texture,
    pub tile_bytes: u64,
    image: vk::Image,
    pool: vk::DeviceMemory,
    tail: Option<vk::DeviceMemory>,
    command_pool: vk::CommandPool,
    flights: Vec<Flight>,
    frames: usize,
    /// Tiles that have had memory, and have none.
    evicted: BTreeSet<Tile>,
}

impl<'g> Stream<'g> {
    /// The largest texture of at most `side` texels that the device takes.
    pub fn new(gpu: &'g Gpu, side: u32) -> Result<Self> {
        let mut side = side;
        let image = loop {
            match image(gpu, side) {
                Err(_) if side > 1024 => side /= 2,
                other => break other?,
            }
        };
        let device = &gpu.device;
        // SAFETY: the image was made right here.
        let (needs, sparse) = unsafe {
            (
                device.get_image_memory_requirements(image),
                device.get_image_sparse_memory_requirements(image),
            )
        };
        let color = sparse
            .iter()
            .find(|s| {
                let aspect = s.format_properties.aspect_mask;
                aspect.contains(vk::ImageAspectFlags::COLOR)
            })
            .ok_or("the image has no sparse requirements for COLOR")?;
        let tile = color.format_properties.image_granularity;
        let texture = Texture {
            side,
            tile: [tile.width, tile.height],
            levels: color.image_mip_tail_first_lod.min(side.ilog2() + 1),
        };
        if texture.levels == 0 {
            return Err("the whole image is mip tail".into());
        }
        let any = vk::MemoryPropertyFlags::empty();
        let tile_bytes = needs.alignment;
        let bits = needs.memory_type_bits;
        let has_tail = texture.levels <= side.ilog2() && color.image_mip_tail_size > 0;
        let tail = has_tail
            .then(|| gpu.memory(color.image_mip_tail_size, bits, any))
            .transpose()?;
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(gpu.family)
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: the device is alive.
        let command_pool = unsafe { device.create_command_pool(&info, None) }?;
        let mut stream = Self {
            gpu,
            texture,
            tile_bytes,
            image,
            pool: gpu.memory(tile_bytes * u64::from(POOL), bits, any)?,
            tail,
            command_pool,
            flights: Vec::new(),
            frames: 0,
            evicted: BTreeSet::new(),
        };
        for _ in 0..UNDER_WAY {
            let flight = stream.flight()?;
            stream.flights.push(flight);
        }
        stream.begin(color)?;
        Ok(stream)
    }

    /// Texels of a whole tile.
    fn tile_texels(&self) -> usize {
        (self.texture.tile[0] * self.texture.tile[1]) as usize
    }

    fn flight(&self) -> Result<Flight> {
        let gpu = self.gpu;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(self.command_pool)
            .command_buffer_count(1);
        let tile = self.tile_texels() as u64 * 4;
        let mut upload = HostBuffer::new(gpu, tile * u64::from(POOL + 1))?;
        let stray = POOL as usize * self.tile_texels();
        upload.words()[stray..][..self.tile_texels()].fill(STRAY);
        Ok(Flight {
            // SAFETY: device and pool are alive.
            commands: unsafe { gpu.device.allocate_command_buffers(&info) }?[0],
            // SAFETY: as above.
            fence: unsafe {
                gpu.device
                    .create_fence(&vk::FenceCreateInfo::default(), None)
            }?,
            bound: gpu.semaphore()?,
            drawn: gpu.semaphore()?,
            upload,
            back: HostBuffer::new(gpu, tile * u64::from(POOL + SAMPLES as u32))?,
            sampled: None,
        })
    }

    /// Binds the mip tail and gives the whole image its layout, once.
    fn begin(&mut self, needs: &vk::SparseImageMemoryRequirements) -> Result<()> {
        let device = &self.gpu.device;
        let Flight {
            commands, fence, ..
        } = self.flights[0];
        let binds = [vk::SparseMemoryBind::default()
            .resource_offset(needs.image_mip_tail_offset)
            .size(needs.image_mip_tail_size)
            .memory(self.tail.unwrap_or_default())];
        let opaque = [vk::SparseImageOpaqueMemoryBindInfo::default()
            .image(self.image)
            .binds(&binds)];
        let infos = [vk::BindSparseInfo::default().image_opaque_binds(&opaque)];
        let barrier = vk::ImageMemoryBarrier::default()
            .image(self.image)
            .new_layout(vk::ImageLayout::GENERAL)
            .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .subresource_range(
                vk::ImageSubresourceRange::default()
                    .aspect_mask(vk::ImageAspectFlags::COLOR)
                    .level_count(vk::REMAINING_MIP_LEVELS)
                    .layer_count(1),
            );
        // SAFETY: all handles are alive, the structs outlive the calls, and the fence is waited for.
        unsafe {
            if self.tail.is_some() {
                device.queue_bind_sparse(self.gpu.bind_queue, &infos, fence)?;
                self.wait(fence)?;
            }
            device.begin_command_buffer(commands, &vk::CommandBufferBeginInfo::default())?;
            device.cmd_pipeline_barrier(
                commands,
                vk::PipelineStageFlags::TOP_OF_PIPE,
                vk::PipelineStageFlags::TRANSFER,
                vk::DependencyFlags::empty(),
                &[],
                &[],
                &[barrier],
            );
            device.end_command_buffer(commands)?;
            let commands = [commands];
            let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
            device.queue_submit(self.gpu.queue, &submit, fence)?;
        }
        self.wait(fence)
    }

    fn wait(&self, fence: vk::Fence) -> Result<()> {
        let device = &self.gpu.device;
        // SAFETY: the fence belongs to work that was submitted.
        unsafe {
            device.wait_for_fences(&[fence], true, 60_000_000_000)?;
            Ok(device.reset_fences(&[fence])?)
        }
    }

    /// One frame. Gives what was read back in the frame whose buffers this one takes over, if there was one.
    ///
    /// `resident`: all tiles that are resident after the frame's binds.
    pub fn frame(&mut self, frame: &Frame, resident: &[Tile]) -> Result<Option<Outcome>> {
        let at = self.frames % UNDER_WAY;
        let outcome = self.land(at)?;
        self.bind(frame, at)?;
        // The new ones, which have the memory of those that were evicted, and other tiles each frame, all over the resident ones.
        let new: Vec<_> = frame.binds.iter().map(|&(tile, _)| tile).collect();
        let count = SAMPLES.min(resident.len());
        let others = (0..count)
            .map(|i| resident[(i * resident.len() / count + self.frames * 7) % resident.len()]);
        let sampled: Vec<_> = new.iter().copied().chain(others).collect();
        self.copy(at, &new, &frame.unbinds, &sampled)?;
        self.evicted.extend(&frame.unbinds);
        for tile in &new {
            self.evicted.remove(tile);
        }
        self.flights[at].sampled = Some(sampled);
        self.frames += 1;
        Ok(outcome)
    }

    /// Waits for all frames. Gives what they read back, in their order.
    pub fn finish(&mut self) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for n in self.frames..self.frames + UNDER_WAY {
            outcomes.extend(self.land(n % UNDER_WAY)?);
        }
        Ok(outcomes)
    }

    /// After [`Stream::finish`]: writes to all that was evicted, and reads every one of `tiles`.
    pub fn read_all(&mut self, tiles: &[Tile]) -> Result<Outcome> {
        let mut all = Outcome::default();
        let evicted: Vec<_> = std::mem::take(&mut self.evicted).into_iter().collect();
        let evicted = evicted.chunks(POOL as usize).map(|some| (some, &[][..]));
        for (evicted, some) in evicted.chain(tiles.chunks(SAMPLES).map(|some| (&[][..], some))) {
            self.record(0, &[], evicted, some)?;
            let commands = [self.flights[0].commands];
            let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
            // SAFETY: nothing else is under way.
            unsafe {
                let (queue, fence) = (self.gpu.queue, self.flights[0].fence);
                self.gpu.device.queue_submit(queue, &submit, fence)?;
            }
            self.flights[0].sampled = Some(some.to_vec());
            if let Some(outcome) = self.land(0)? {
                all.checked += outcome.checked;
                all.wrong += outcome.wrong;
                all.first_wrong = all.first_wrong.or(outcome.first_wrong);
            }
        }
        Ok(all)
    }

    /// One `vkQueueBindSparse`: what is evicted and what is new.
    fn bind(&self, frame: &Frame, at: usize) -> Result<()> {
        let unbinds = frame
            .unbinds
            .iter()
            .map(|&tile| self.region(tile).memory(vk::DeviceMemory::null()));
        let binds = frame.binds.iter().map(|&(tile, slot)| {
            self.region(tile)
                .memory(self.pool)
                .memory_offset(u64::from(slot) * self.tile_bytes)
        });
        let binds: Vec<_> = unbinds.chain(binds).collect();
        let images = [vk::SparseImageMemoryBindInfo::default()
            .image(self.image)
            .binds(&binds)];
        let before = [self.flights[(at + UNDER_WAY - 1) % UNDER_WAY].drawn];
        let bound = [self.flights[at].bound];
        let mut info = vk::BindSparseInfo::default().signal_semaphores(&bound);
        if self.frames > 0 {
            info = info.wait_semaphores(&before);
        }
        if !binds.is_empty() {
            info = info.image_binds(&images);
        }
        let queue = self.gpu.bind_queue;
        // SAFETY: image and memory are alive; each semaphore is waited for once each time that it is signalled.
        unsafe {
            let none = vk::Fence::null();
            Ok(self.gpu.device.queue_bind_sparse(queue, &[info], none)?)
        }
    }

    fn region(&self, tile: Tile) -> vk::SparseImageMemoryBind {
        let (offset, extent) = self.place(tile);
        vk::SparseImageMemoryBind::default()
            .subresource(vk::ImageSubresource {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: tile.level,
                array_layer: 0,
            })
            .offset(offset)
            .extent(extent)
    }

    /// The texels of a tile, without what sticks out of its level.
    fn place(&self, tile: Tile) -> (vk::Offset3D, vk::Extent3D) {
        let side = self.texture.level_side(tile.level);
        let [width, height] = self.texture.tile;
        let (x, y) = (tile.x * width, tile.y * height);
        let extent = vk::Extent3D {
            width: width.min(side - x),
            height: height.min(side - y),
            depth: 1,
        };
        let (x, y) = (x as i32, y as i32);
        (vk::Offset3D { x, y, z: 0 }, extent)
    }

    fn texels(&self, tile: Tile) -> usize {
        let (_, extent) = self.place(tile);
        (extent.width * extent.height) as usize
    }

    /// Uploads `new`, writes to `evicted` and reads `sampled` back, after the bind.
    fn copy(&mut self, at: usize, new: &[Tile], evicted: &[Tile], sampled: &[Tile]) -> Result<()> {
        let step = self.tile_texels();
        for (n, &tile) in new.iter().enumerate() {
            let texels = self.texels(tile);
            let words = &mut self.flights[at].upload.words()[n * step..][..texels];
            for (i, word) in words.iter_mut().enumerate() {
                *word = texel(tile, i);
            }
        }
        self.record(at, new, evicted, sampled)?;
        let flight = &self.flights[at];
        let (commands, wait, signal) = ([flight.commands], [flight.bound], [flight.drawn]);
        let submit = [vk::SubmitInfo::default()
            .command_buffers(&commands)
            .wait_semaphores(&wait)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::TRANSFER])
            .signal_semaphores(&signal)];
        let queue = self.gpu.queue;
        // SAFETY: all handles are alive; the buffers are not touched before the fence.
        unsafe { Ok(self.gpu.device.queue_submit(queue, &submit, flight.fence)?) }
    }

    fn record(&self, at: usize, new: &[Tile], evicted: &[Tile], sampled: &[Tile]) -> Result<()> {
        let device = &self.gpu.device;
        let flight = &self.flights[at];
        // Tile after tile in the buffer, or one place of it for all.
        let copies = |tiles: &[Tile], place: Option<u64>| -> Vec<_> {
            let bytes = self.tile_texels() as u64 * 4;
            let copy = |(&tile, n)| {
                let (offset, extent) = self.place(tile);
                vk::BufferImageCopy::default()
                    .buffer_offset(place.unwrap_or(n) * bytes)
                    .image_offset(offset)
                    .image_extent(extent)
                    .image_subresource(vk::ImageSubresourceLayers {
                        aspect_mask: vk::ImageAspectFlags::COLOR,
                        mip_level: tile.level,
                        base_array_layer: 0,
                        layer_count: 1,
                    })
            };
            tiles.iter().zip(0..).map(copy).collect()
        };
        let (up, back) = (copies(new, None), copies(sampled, None));
        let stray = copies(evicted, Some(u64::from(POOL)));
        let general = vk::ImageLayout::GENERAL;
        let barrier = |stage, access| {
            let seen = [vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(access)];
            let from = vk::PipelineStageFlags::TRANSFER;
            let none = vk::DependencyFlags::empty();
            // SAFETY: the commands are being recorded.
            unsafe {
                device.cmd_pipeline_barrier(flight.commands, from, stage, none, &seen, &[], &[]);
            }
        };
        // SAFETY: the commands have ended; all handles are alive, the copies lie within image and buffers.
        unsafe {
            let c = flight.commands;
            device.begin_command_buffer(c, &vk::CommandBufferBeginInfo::default())?;
            for copies in [&up, &stray] {
                if !copies.is_empty() {
                    let from = flight.upload.buffer;
                    device.cmd_copy_buffer_to_image(c, from, self.image, general, copies);
                }
                barrier(
                    vk::PipelineStageFlags::TRANSFER,
                    vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE,
                );
            }
            if !back.is_empty() {
                device.cmd_copy_image_to_buffer(c, self.image, general, flight.back.buffer, &back);
            }
            barrier(vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ);
            Ok(device.end_command_buffer(c)?)
        }
    }

    /// Waits for a frame, and compares what it read back.
    fn land(&mut self, at: usize) -> Result<Option<Outcome>> {
        let Some(sampled) = self.flights[at].sampled.take() else {
            return Ok(None);
        };
        self.wait(self.flights[at].fence)?;
        let step = self.tile_texels();
        let mut outcome = Outcome::default();
        for (n, &tile) in sampled.iter().enumerate() {
            let texels = self.texels(tile);
            let words = &self.flights[at].back.words()[n * step..][..texels];
            outcome.checked += 1;
            if let Some(i) = (0..texels).find(|&i| words[i] != texel(tile, i)) {
                outcome.wrong += 1;
                outcome.first_wrong.get_or_insert_with(|| {
                    format!(
                        "tile {},{} of level {}: texel {i} is {:#010x}, expected {:#010x}",
                        tile.x,
                        tile.y,
                        tile.level,
                        words[i],
                        texel(tile, i)
                    )
                });
            }
        }
        Ok(Some(outcome))
    }

    pub fn destroy(self) {
        let device = &self.gpu.device;
        // SAFETY: after the wait nothing is under way.
        unsafe {
            let _ = device.device_wait_idle();
            for flight in self.flights {
                device.destroy_fence(flight.fence, None);
                device.destroy_semaphore(flight.bound, None);
                device.destroy_semaphore(flight.drawn, None);
                flight.upload.destroy(self.gpu);
                flight.back.destroy(self.gpu);
            }
            device.destroy_command_pool(self.command_pool, None);
            device.destroy_image(self.image, None);
            for memory in [Some(self.pool), self.tail].into_iter().flatten() {
                device.free_memory(memory, None);
            }
        }
    }
}

/// A partially resident image with all its levels, if the device takes one of this size.
fn image(gpu: &Gpu, side: u32) -> Result<vk::Image> {
    let flags = vk::ImageCreateFlags::SPARSE_BINDING | vk::ImageCreateFlags::SPARSE_RESIDENCY;
    let levels = side.ilog2() + 1;
    // SAFETY: instance and device are alive.
    unsafe {
        let most = gpu.instance.get_physical_device_image_format_properties(
            gpu.physical,
            FORMAT,
            vk::ImageType::TYPE_2D,
            vk::ImageTiling::OPTIMAL,
            USAGE,
            flags,
        )?;
        // A mip chain takes a third more.
        let bytes = u64::from(side) * u64::from(side) * 4 / 3 * 4;
        let room = most
            .max_resource_size
            .min(gpu.limits.sparse_address_space_size);
        if most.max_extent.width.min(most.max_extent.height) < side
            || most.max_mip_levels < levels
            || room < bytes
        {
            return Err(format!("the device takes no image of {side} texels a side").into());
        }
        let info = vk::ImageCreateInfo::default()
            .flags(flags)
            .image_type(vk::ImageType::TYPE_2D)
            .format(FORMAT)
            .extent(vk::Extent3D {
                width: side,
                height: side,
                depth: 1,
            })
            .mip_levels(levels)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .usage(USAGE);
        Ok(gpu.device.create_image(&info, None)?)
    }
}
