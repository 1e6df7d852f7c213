//! A Vulkan device with partially resident 2D images, a queue that copies and one that binds.

use ash::vk;

use crate::Result;

/// The device. Freed by [`Gpu::destroy`].
pub struct Gpu {
    _entry: ash::Entry,
    pub instance: ash::Instance,
    pub physical: vk::PhysicalDevice,
    pub device: ash::Device,
    /// Copies.
    pub queue: vk::Queue,
    /// Binds: the same queue where it can, else one of a family that does.
    pub bind_queue: vk::Queue,
    pub family: u32,
    pub driver: String,
    pub limits: vk::PhysicalDeviceLimits,
    memory_types: vk::PhysicalDeviceMemoryProperties,
}

impl Gpu {
    pub fn new() -> Result<Self> {
        // SAFETY: libvulkan is a well-behaved library; below, each handle is used while its parent is alive, and each
        // struct outlives the call that it is given to.
        unsafe {
            let entry = ash::Entry::load()?;
            let application = vk::ApplicationInfo::default()
                .application_name(c"streaming")
                .api_version(vk::API_VERSION_1_2);
            let instance = entry.create_instance(
                &vk::InstanceCreateInfo::default().application_info(&application),
                None,
            )?;
            // A queue of graphics or compute copies too.
            let copies = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
            let (physical, family, bind_family) = instance
                .enumerate_physical_devices()?
                .into_iter()
                .find_map(|p| {
                    let features = instance.get_physical_device_features(p);
                    let families = instance.get_physical_device_queue_family_properties(p);
                    let first = |fits: &dyn Fn(vk::QueueFlags) -> bool| {
                        let index = families.iter().position(|f| fits(f.queue_flags))?;
                        u32::try_from(index).ok()
                    };
                    let can_bind = |f: vk::QueueFlags| f.contains(vk::QueueFlags::SPARSE_BINDING);
                    let can_copy = |f: vk::QueueFlags| f.intersects(copies);
                    // Many drivers bind in every family, others in one that does nothing else.
                    let (family, bind_family) = match first(&|f| can_bind(f) && can_copy(f)) {
                        Some(both) => (both, both),
                        None => (first(&can_copy)?, first(&can_bind)?),
                    };
                    (features.sparse_binding == vk::TRUE
                        && features.sparse_residency_image2_d == vk::TRUE)
                        .then_some((p, family, bind_family))
                })
                .ok_or(
                    "no device has sparseResidencyImage2D, a queue that copies and one that binds",
                )?;

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let limits = properties.properties.limits;
            let name = properties
                .properties
                .device_name_as_c_str()?
                .to_string_lossy()
                .into_owned();
            let driver = format!(
                "{name}: {}",
                driver.driver_info_as_c_str()?.to_string_lossy()
            );

            let priorities = [1.0];
            let mut families = vec![family, bind_family];
            families.dedup();
            let queues: Vec<_> = families
                .iter()
                .map(|&family| {
                    vk::DeviceQueueCreateInfo::default()
                        .queue_family_index(family)
                        .queue_priorities(&priorities)
                })
                .collect();
            let features = vk::PhysicalDeviceFeatures {
                sparse_binding: vk::TRUE,
                sparse_residency_image2_d: vk::TRUE,
                ..Default::default()
            };
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features);
            let device = instance.create_device(physical, &info, None)?;
            Ok(Self {
                queue: device.get_device_queue(family, 0),
                bind_queue: device.get_device_queue(bind_family, 0),
                memory_types: instance.get_physical_device_memory_properties(physical),
                _entry: entry,
                instance,
                physical,
                device,
                family,
                driver,
                limits,
            })
        }
    }

    pub fn memory(
        &self,
        bytes: u64,
        bits: u32,
        flags: vk::MemoryPropertyFlags,
    ) -> Result<vk::DeviceMemory> {
        let types = self.memory_types.memory_types_as_slice();
        let index = (0..types.len())
            .find(|&i| bits & (1 << i) != 0 && types[i].property_flags.contains(flags))
            .ok_or_else(|| format!("no memory type with {flags:?}"))?;
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(bytes)
            .memory_type_index(index as u32);
        // SAFETY: the device is alive.
        Ok(unsafe { self.device.allocate_memory(&info, None) }?)
    }

    pub fn semaphore(&self) -> Result<vk::Semaphore> {
        let info = vk::SemaphoreCreateInfo::default();
        // SAFETY: the device is alive.
        Ok(unsafe { self.device.create_semaphore(&info, None) }?)
    }

    /// Destroys everything that [`Gpu::new`] made.
    pub fn destroy(self) {
        // SAFETY: nothing runs any more, and what was made with the device is gone.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// A buffer that the host reads and writes.
pub struct HostBuffer {
    pub buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    at: *mut u32,
    words: usize,
}

impl HostBuffer {
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Self> {
        let info = vk::BufferCreateInfo::default()
            .size(bytes)
            .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST);
        let host = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        // SAFETY: the device is alive, the memory is host-visible.
        unsafe {
            let buffer = gpu.device.create_buffer(&info, None)?;
            let needs = gpu.device.get_buffer_memory_requirements(buffer);
            let memory = gpu.memory(needs.size, needs.memory_type_bits, host)?;
            gpu.device.bind_buffer_memory(buffer, memory, 0)?;
            let flags = vk::MemoryMapFlags::empty();
            let at = gpu.device.map_memory(memory, 0, vk::WHOLE_SIZE, flags)?;
            Ok(Self {
                buffer,
                memory,
                at: at.cast(),
                words: (bytes / 4) as usize,
            })
        }
    }

    /// What is in it. Only while no command reads or writes it.
    pub fn words(&mut self) -> &mut [u32] {
        // SAFETY: mapped for as long as the buffer lives, which has at least this many words; coherent.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.words) }
    }

    pub fn destroy(self, gpu: &Gpu) {
        // SAFETY: no command uses it any more; freeing unmaps.
        unsafe {
            gpu.device.destroy_buffer(self.buffer, None);
            gpu.device.free_memory(self.memory, None);
        }
    }
}
