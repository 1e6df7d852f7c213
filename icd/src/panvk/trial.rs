//! The trial of a new device: a scratch buffer is made, bound once and destroyed, and [`board::trial`] says whether the base
//! driver does that as expected. None of its binds reaches the kernel.

use ash::vk::{self, Handle};
use board::Nulls;
use board::calls::{look, look_at_bind};
use board::trial::{self, BUFFER, MEMORY_BIND, NULL_BIND, Unexpected};
use panvk_sparse::units::{BoHandle, SZ_64K};
use vulkan::below::DeviceTable;

/// What a trial has shown.
pub struct Shown {
    /// The base driver's own dummy, if it has one.
    pub dummy: Option<BoHandle>,
    /// Memory to bind instead of nothing, with its buffer object, if the base driver binds nothing at the wrong place.
    pub stand_in: Option<(vk::DeviceMemory, BoHandle)>,
}

/// A device that nobody else has yet.
pub struct Trial<'a> {
    pub table: &'a DeviceTable,
    pub device: vk::Device,
    /// One that binds sparse resources.
    pub queue: vk::Queue,
}

fn failed(what: &str) -> impl FnOnce(vk::Result) -> Unexpected + '_ {
    move |result| Unexpected(format!("{what} fails: {result}"))
}

impl Trial<'_> {
    /// # Errors
    /// The base driver does not do as expected.
    pub fn run(&self) -> Result<Shown, Unexpected> {
        let info = vk::BufferCreateInfo::default()
            .flags(vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY)
            .size(BUFFER)
            .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        let mut buffer = vk::Buffer::null();
        // SAFETY: a device of the base driver, structs that outlive the call.
        let (created, seen) = look(|| unsafe {
            (self.table.create_buffer)(self.device, &info, std::ptr::null(), &mut buffer)
        });
        created
            .result()
            .map_err(failed("creating a sparse buffer"))?;
        let created = trial::creation(&seen);
        let shown = created
            .clone()
            .and_then(|created| self.bind(buffer, created));
        // SAFETY: nobody uses the buffer.
        let ((), seen) =
            look(|| unsafe { (self.table.destroy_buffer)(self.device, buffer, std::ptr::null()) });
        let destroyed = created.and_then(|created| trial::destruction(&seen, created));
        match (shown, destroyed) {
            (Ok(shown), Err(error)) => {
                self.free(shown.stand_in.map(|(memory, _)| memory));
                Err(error)
            }
            (shown, _) => shown,
        }
    }

    fn bind(&self, buffer: vk::Buffer, created: trial::Created) -> Result<Shown, Unexpected> {
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: a buffer of the device, and a struct to write to.
        unsafe { (self.table.get_buffer_memory_requirements)(self.device, buffer, &mut needs) };
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(SZ_64K)
            .memory_type_index(needs.memory_type_bits.trailing_zeros());
        let mut memory = vk::DeviceMemory::null();
        // SAFETY: a device of the base driver, structs that outlive the call.
        let (allocated, seen) = look(|| unsafe {
            (self.table.allocate_memory)(self.device, &info, std::ptr::null(), &mut memory)
        });
        allocated.result().map_err(failed("allocating memory"))?;
        let shown = match seen.bos[..] {
            [bo] => self.bind_memory(buffer, created, memory, bo),
            _ => Err(Unexpected(format!(
                "allocating memory makes {} buffer objects",
                seen.bos.len()
            ))),
        };
        if !matches!(
            shown,
            Ok(Shown {
                stand_in: Some(_),
                ..
            })
        ) {
            self.free(Some(memory));
        }
        shown
    }

    fn bind_memory(
        &self,
        buffer: vk::Buffer,
        created: trial::Created,
        memory: vk::DeviceMemory,
        bo: BoHandle,
    ) -> Result<Shown, Unexpected> {
        let at = |(offset, size), memory| {
            vk::SparseMemoryBind::default()
                .resource_offset(offset)
                .size(size)
                .memory(memory)
        };
        let nothing = vk::DeviceMemory::null();
        let seen = self.submit(buffer, &[at(MEMORY_BIND, memory), at(NULL_BIND, nothing)])?;
        let stand_in = match trial::bind(&seen, created, bo)? {
            Nulls::Right => None,
            Nulls::Stray => {
                let seen = self.submit(buffer, &[at(NULL_BIND, memory)])?;
                trial::stand_in_bind(&seen, created, bo, NULL_BIND)?;
                Some((memory, bo))
            }
        };
        Ok(Shown {
            dummy: created.dummy,
            stand_in,
        })
    }

    fn submit(
        &self,
        buffer: vk::Buffer,
        binds: &[vk::SparseMemoryBind],
    ) -> Result<board::Look, Unexpected> {
        let binds = [vk::SparseBufferMemoryBindInfo::default()
            .buffer(buffer)
            .binds(binds)];
        let info = vk::BindSparseInfo::default().buffer_binds(&binds);
        let submit = self.table.queue_bind_sparse;
        // SAFETY: a queue of the device that nobody else has, structs that outlive the call.
        let (bound, seen) =
            look_at_bind(|| unsafe { submit(self.queue, 1, &info, vk::Fence::null()) });
        if seen.later.is_empty() {
            // Another thread binds, or nobody does. Nothing that is bound may go before that is over.
            // SAFETY: nobody else has the device.
            let _ = unsafe { (self.table.device_wait_idle)(self.device) };
        }
        bound.result().map_err(failed("vkQueueBindSparse"))?;
        Ok(seen)
    }

    /// Frees memory that was allocated here.
    pub fn free(&self, memory: Option<vk::DeviceMemory>) {
        if let Some(memory) = memory.filter(|memory| !memory.is_null()) {
            // SAFETY: memory of the device that nobody else has, and that nothing is bound to.
            unsafe { (self.table.free_memory)(self.device, memory, std::ptr::null()) };
        }
    }
}
