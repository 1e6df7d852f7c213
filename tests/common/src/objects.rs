//! Buffers, images, memory, semaphores and fences; each is destroyed when it is dropped.
//!
//! They borrow the device, so they can't outlive it. Dropping one that the device still uses is a mistake of the test.

use crate::gpu::{Gpu, Point};
use crate::work::Work;
use ash::vk;

pub struct Memory<'g> {
    pub gpu: &'g Gpu,
    pub raw: vk::DeviceMemory,
    pub size: u64,
}

impl<'g> Memory<'g> {
    pub fn new(gpu: &'g Gpu, size: u64, memory_type: u32) -> Self {
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(memory_type);
        // SAFETY: the device is alive.
        let raw = unsafe { gpu.device.allocate_memory(&info, None) }.expect("vkAllocateMemory");
        Self { gpu, raw, size }
    }

    /// What the memory holds, seen through a buffer of its own that is not sparse.
    pub fn read(&self, offset: u64, bytes: u64) -> Vec<u32> {
        let plain = Buffer::new(self.gpu, self.size, vk::BufferCreateFlags::empty());
        plain.attach(self);
        plain.copy_read(offset, bytes)
    }

    /// Writes through a buffer that is not sparse.
    pub fn write(&self, offset: u64, words: &[u32]) {
        let plain = Buffer::new(self.gpu, self.size, vk::BufferCreateFlags::empty());
        plain.attach(self);
        plain.copy_write(offset, words);
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is alive; the test has waited for what used the memory.
        unsafe { self.gpu.device.free_memory(self.raw, None) }
    }
}

pub struct Buffer<'g> {
    pub gpu: &'g Gpu,
    pub raw: vk::Buffer,
    /// As asked for, in bytes; `requirements.size` is this, rounded up by the driver.
    pub size: u64,
    pub requirements: vk::MemoryRequirements,
}

impl<'g> Buffer<'g> {
    /// For shaders and copies.
    pub fn new(gpu: &'g Gpu, size: u64, flags: vk::BufferCreateFlags) -> Self {
        Self::with_usage(gpu, size, flags, vk::BufferUsageFlags::empty())
    }

    /// For shaders, copies, and this.
    pub fn with_usage(
        gpu: &'g Gpu,
        size: u64,
        flags: vk::BufferCreateFlags,
        usage: vk::BufferUsageFlags,
    ) -> Self {
        let mut info = vk::BufferCreateInfo::default()
            .flags(flags)
            .size(size)
            .usage(
                usage
                    | vk::BufferUsageFlags::STORAGE_BUFFER
                    | vk::BufferUsageFlags::TRANSFER_SRC
                    | vk::BufferUsageFlags::TRANSFER_DST,
            );
        if gpu.families.len() > 1 {
            info = info
                .sharing_mode(vk::SharingMode::CONCURRENT)
                .queue_family_indices(&gpu.families);
        }
        // SAFETY: the device is alive, the buffer is made right here.
        let (raw, requirements) = unsafe {
            let raw = gpu
                .device
                .create_buffer(&info, None)
                .expect("vkCreateBuffer");
            (raw, gpu.device.get_buffer_memory_requirements(raw))
        };
        Self {
            gpu,
            raw,
            size,
            requirements,
        }
    }

    /// The bind granularity, in bytes.
    pub fn granularity(&self) -> u64 {
        self.requirements.alignment
    }

    /// Binds all of a buffer that is not sparse.
    pub fn attach(&self, memory: &Memory<'_>) {
        // SAFETY: both are alive; the buffer has no memory yet.
        unsafe { self.gpu.device.bind_buffer_memory(self.raw, memory.raw, 0) }
            .expect("vkBindBufferMemory");
    }

    /// A shader writes the pattern `seed` from `offset` on; its index starts at 0.
    pub fn shader_write(&self, offset: u64, bytes: u64, seed: u32) {
        Work::record(self.gpu, |r| r.fill(self, offset, bytes, seed)).run();
    }

    /// What a shader reads.
    pub fn shader_read(&self, offset: u64, bytes: u64) -> Vec<u32> {
        let staging = Staging::new(self.gpu, bytes);
        Work::record(self.gpu, |r| {
            r.shader_copy(self, offset, &staging.buffer, 0, bytes)
        })
        .run();
        staging.read()
    }

    /// A copy command writes `words` at `offset`.
    pub fn copy_write(&self, offset: u64, words: &[u32]) {
        let staging = Staging::new(self.gpu, words.len() as u64 * 4);
        staging.write(words);
        Work::record(self.gpu, |r| {
            r.copy(&staging.buffer, 0, self, offset, words.len() as u64 * 4)
        })
        .run();
    }

    /// What a copy command reads.
    pub fn copy_read(&self, offset: u64, bytes: u64) -> Vec<u32> {
        let staging = Staging::new(self.gpu, bytes);
        Work::record(self.gpu, |r| {
            r.copy(self, offset, &staging.buffer, 0, bytes)
        })
        .run();
        staging.read()
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is alive; the test has waited for what used the buffer.
        unsafe { self.gpu.device.destroy_buffer(self.raw, None) }
    }
}

/// A buffer that the host can see.
pub struct Staging<'g> {
    pub buffer: Buffer<'g>,
    memory: Memory<'g>,
}

impl<'g> Staging<'g> {
    pub fn new(gpu: &'g Gpu, bytes: u64) -> Self {
        let buffer = Buffer::new(gpu, bytes, vk::BufferCreateFlags::empty());
        let flags = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let memory_type = gpu.memory_type(buffer.requirements.memory_type_bits, flags);
        let memory = Memory::new(gpu, buffer.requirements.size, memory_type);
        buffer.attach(&memory);
        Self { buffer, memory }
    }

    fn with_words<R>(&self, f: impl FnOnce(&mut [u32]) -> R) -> R {
        let device = &self.memory.gpu.device;
        // SAFETY: the memory is host-visible and coherent, is at least buffer.size long, and no other slice of it exists.
        unsafe {
            let at = device
                .map_memory(
                    self.memory.raw,
                    0,
                    vk::WHOLE_SIZE,
                    vk::MemoryMapFlags::empty(),
                )
                .expect("vkMapMemory");
            let result = f(std::slice::from_raw_parts_mut(
                at.cast::<u32>(),
                (self.buffer.size / 4) as usize,
            ));
            device.unmap_memory(self.memory.raw);
            result
        }
    }

    pub fn write(&self, words: &[u32]) {
        self.with_words(|w| w.copy_from_slice(words));
    }

    pub fn read(&self) -> Vec<u32> {
        self.with_words(|w| w.to_vec())
    }
}

pub struct Image<'g> {
    pub gpu: &'g Gpu,
    pub raw: vk::Image,
    pub extent: vk::Extent3D,
    pub layers: u32,
    pub levels: u32,
    /// Bytes of a texel.
    pub texel: u64,
    pub requirements: vk::MemoryRequirements,
}

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub struct ImageShape {
    pub kind: vk::ImageType,
    pub format: vk::Format,
    /// Beyond SPARSE_BINDING.
    pub flags: vk::ImageCreateFlags,
    pub tiling: vk::ImageTiling,
    pub extent: [u32; 3],
    pub layers: u32,
    pub levels: u32,
}

impl ImageShape {
    const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
        vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
            | vk::ImageUsageFlags::TRANSFER_DST.as_raw()
            | vk::ImageUsageFlags::SAMPLED.as_raw(),
    );

    /// One layer and one level of R32_UINT.
    pub fn flat(width: u32, height: u32) -> Self {
        Self {
            kind: vk::ImageType::TYPE_2D,
            format: vk::Format::R32_UINT,
            flags: vk::ImageCreateFlags::empty(),
            tiling: vk::ImageTiling::OPTIMAL,
            extent: [width, height, 1],
            layers: 1,
            levels: 1,
        }
    }

    /// Bytes of a texel, for the formats that the tests use.
    pub fn texel(&self) -> u64 {
        match self.format {
            vk::Format::R8_UINT => 1,
            vk::Format::R16_UINT => 2,
            vk::Format::R32_UINT | vk::Format::R8G8B8A8_UNORM => 4,
            vk::Format::R32G32_UINT => 8,
            vk::Format::R32G32B32A32_UINT => 16,
            other => panic!("bytes of a texel of {other:?}"),
        }
    }

    /// Whether the driver takes it with `flags`.
    pub fn supported(&self, gpu: &Gpu, flags: vk::ImageCreateFlags) -> bool {
        // SAFETY: handles are alive.
        let answer = unsafe {
            gpu.app
                .instance
                .get_physical_device_image_format_properties(
                    gpu.app.physical,
                    self.format,
                    self.kind,
                    self.tiling,
                    Self::USAGE,
                    flags,
                )
        };
        answer.is_ok_and(|p| p.max_array_layers >= self.layers && p.max_mip_levels >= self.levels)
    }
}

impl<'g> Image<'g> {
    /// A sparse image: bound opaquely, as a whole, unless the shape's flags have SPARSE_RESIDENCY.
    pub fn sparse(gpu: &'g Gpu, shape: &ImageShape) -> Self {
        let [width, height, depth] = shape.extent;
        let extent = vk::Extent3D {
            width,
            height,
            depth,
        };
        let mut info = vk::ImageCreateInfo::default()
            .flags(vk::ImageCreateFlags::SPARSE_BINDING | shape.flags)
            .image_type(shape.kind)
            .format(shape.format)
            .extent(extent)
            .mip_levels(shape.levels)
            .array_layers(shape.layers)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(shape.tiling)
            .usage(ImageShape::USAGE);
        if gpu.families.len() > 1 {
            info = info
                .sharing_mode(vk::SharingMode::CONCURRENT)
                .queue_family_indices(&gpu.families);
        }
        // SAFETY: the device is alive, the image is made right here.
        let (raw, requirements) = unsafe {
            let raw = gpu.device.create_image(&info, None).expect("vkCreateImage");
            (raw, gpu.device.get_image_memory_requirements(raw))
        };
        Self {
            gpu,
            raw,
            extent,
            layers: shape.layers,
            levels: shape.levels,
            texel: shape.texel(),
            requirements,
        }
    }

    pub fn level_extent(&self, level: u32) -> vk::Extent3D {
        let e = self.extent;
        vk::Extent3D {
            width: (e.width >> level).max(1),
            height: (e.height >> level).max(1),
            depth: (e.depth >> level).max(1),
        }
    }

    /// One buffer-image copy for each level, one after another, each from a whole word and a whole texel on; and the
    /// words of all.
    pub fn regions(&self) -> (Vec<vk::BufferImageCopy>, u64) {
        let mut bytes: u64 = 0;
        let regions = (0..self.levels)
            .map(|level| {
                let e = self.level_extent(level);
                bytes = bytes.next_multiple_of(self.texel.max(4));
                let region = vk::BufferImageCopy::default()
                    .buffer_offset(bytes)
                    .image_subresource(vk::ImageSubresourceLayers {
                        aspect_mask: vk::ImageAspectFlags::COLOR,
                        mip_level: level,
                        base_array_layer: 0,
                        layer_count: self.layers,
                    })
                    .image_extent(e);
                bytes += self.texel
                    * u64::from(e.width)
                    * u64::from(e.height)
                    * u64::from(e.depth)
                    * u64::from(self.layers);
                region
            })
            .collect();
        (regions, bytes.div_ceil(4))
    }

    /// Fills every level and layer with the pattern `seed`. The contents before are lost.
    pub fn write(&self, seed: u32) {
        let words = crate::pattern::words(seed, self.regions().1);
        let staging = Staging::new(self.gpu, words.len() as u64 * 4);
        staging.write(&words);
        Work::record(self.gpu, |r| r.image_write(&staging.buffer, self)).run();
    }

    /// Every level and layer, in the order of [`Image::regions`].
    pub fn read(&self) -> Vec<u32> {
        let staging = Staging::new(self.gpu, self.regions().1 * 4);
        Work::record(self.gpu, |r| r.image_read(self, &staging.buffer)).run();
        staging.read()
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is alive; the test has waited for what used the image.
        unsafe { self.gpu.device.destroy_image(self.raw, None) }
    }
}

pub struct Semaphore<'g> {
    gpu: &'g Gpu,
    pub raw: vk::Semaphore,
}

impl<'g> Semaphore<'g> {
    /// Binary, or a timeline that starts at the value.
    pub fn new(gpu: &'g Gpu, timeline: Option<u64>) -> Self {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(timeline.unwrap_or(0));
        let mut info = vk::SemaphoreCreateInfo::default();
        if timeline.is_some() {
            info = info.push_next(&mut kind);
        }
        // SAFETY: the device is alive.
        let raw = unsafe { gpu.device.create_semaphore(&info, None) }.expect("vkCreateSemaphore");
        Self { gpu, raw }
    }

    /// For a binary semaphore.
    pub fn point(&self) -> Point {
        self.at(0)
    }

    pub fn at(&self, value: u64) -> Point {
        Point {
            semaphore: self.raw,
            value,
        }
    }

    pub fn signal(&self, value: u64) {
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(self.raw)
            .value(value);
        // SAFETY: a timeline semaphore of this device.
        unsafe { self.gpu.device.signal_semaphore(&info) }.expect("vkSignalSemaphore");
    }

    pub fn wait(&self, value: u64) {
        let (semaphores, values) = ([self.raw], [value]);
        let info = vk::SemaphoreWaitInfo::default()
            .semaphores(&semaphores)
            .values(&values);
        // SAFETY: a timeline semaphore of this device.
        unsafe { self.gpu.device.wait_semaphores(&info, TIMEOUT_NS) }.expect("vkWaitSemaphores");
    }

    pub fn value(&self) -> u64 {
        // SAFETY: a timeline semaphore of this device.
        unsafe { self.gpu.device.get_semaphore_counter_value(self.raw) }
            .expect("vkGetSemaphoreCounterValue")
    }
}

impl Drop for Semaphore<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is alive; the test has waited for what used it.
        unsafe { self.gpu.device.destroy_semaphore(self.raw, None) }
    }
}

pub struct Fence<'g> {
    gpu: &'g Gpu,
    pub raw: vk::Fence,
}

/// Long enough for a machine under load; reached only when something never ends.
const TIMEOUT_NS: u64 = 60_000_000_000;

impl<'g> Fence<'g> {
    pub fn new(gpu: &'g Gpu) -> Self {
        // SAFETY: the device is alive.
        let raw = unsafe {
            gpu.device
                .create_fence(&vk::FenceCreateInfo::default(), None)
        }
        .expect("vkCreateFence");
        Self { gpu, raw }
    }

    #[track_caller]
    pub fn wait(&self) {
        // SAFETY: the fence is alive.
        unsafe {
            self.gpu
                .device
                .wait_for_fences(&[self.raw], true, TIMEOUT_NS)
        }
        .expect("vkWaitForFences");
    }

    pub fn signalled(&self) -> bool {
        // SAFETY: the fence is alive.
        unsafe { self.gpu.device.get_fence_status(self.raw) }.expect("vkGetFenceStatus")
    }
}

impl Drop for Fence<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is alive; the test has waited for it or never submitted it.
        unsafe { self.gpu.device.destroy_fence(self.raw, None) }
    }
}
