//! Devices: creation, with the [trial](super::trial), and destruction.

use std::sync::{Arc, Mutex};

use ash::vk::{self, Handle};
use board::calls::look;
use board::{BoardVm, NewVm};
use hosted::Stats;
use hosted::config::NullChoice;
use hosted::stats::Mode;
use panvk_sparse::drm::{Capabilities, probe};
use panvk_sparse::vm::SparseVm;
use vulkan::below::DeviceTable;
use vulkan::binds::slice;
use vulkan::features;
use vulkan::handles::HandleMap;

use super::trial::Trial;
use crate::device::device_table;
use crate::guard::{guard_result, guard_some};
use crate::physical_device::{base_driver_name, binding_families, device_properties};
use crate::state::{
    self, Board, DEVICES, Device, Instance, QUEUES, Starts, Timelines, instance_of,
};

pub unsafe extern "system" fn create_device(
    physical_device: vk::PhysicalDevice,
    create_info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    guard_result(|| {
        let Some(instance) = instance_of(physical_device) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let create = || {
            // SAFETY: the application's own arguments, passed on.
            unsafe {
                (instance.table.create_device)(physical_device, create_info, allocator, device)
            }
        };
        // SAFETY: `create_info` is valid, by the function's specification.
        let (enabled, families) = unsafe {
            let info = &*create_info;
            let families = slice(info.p_queue_create_infos, info.queue_create_info_count);
            (features::enabled(info), families)
        };
        let sparse = enabled.sparse_binding != vk::FALSE;
        let (result, seen) = if sparse {
            look(create)
        } else {
            (create(), board::Look::default())
        };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the base driver has succeeded, so it has written the handle.
        let handle = unsafe { *device };
        // SAFETY: the device was just created and nobody else has it.
        let Some(table) = (unsafe { device_table(&instance, handle, allocator) }) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let binding_families = binding_families(&instance, physical_device);
        let binds = |family: &&vk::DeviceQueueCreateInfo<'_>| {
            let binds = binding_families.get(family.queue_family_index as usize);
            family.queue_count > 0 && binds.copied().unwrap_or(false)
        };
        let mut untouched = Stats {
            mode: Mode::Board,
            device: device_properties(&instance, physical_device).0,
            base_driver: base_driver_name(&instance, physical_device),
            kernel: instance.driver.kernel(),
            ..Stats::default()
        };
        let new = New {
            instance: &instance,
            physical_device,
            table: &table,
            device: handle,
        };
        let made = match families.iter().find(binds) {
            Some(family) if sparse => new.board(family, &seen.vms).map(Some),
            _ => Ok(None),
        };
        let board = match made {
            Ok(board) => board,
            Err(Failure::Untouched(why)) => {
                log::warn!(
                    "{}: {why}; everything passes untouched",
                    untouched.base_driver
                );
                untouched.untouched = Some(why);
                None
            }
            Err(Failure::Refused(why)) => {
                log::error!("vkCreateDevice: {why}");
                // SAFETY: the device was just created and nobody else has it.
                unsafe { (table.destroy_device)(handle, allocator) };
                return vk::Result::ERROR_INITIALIZATION_FAILED;
            }
        };
        DEVICES.insert(
            handle.as_raw(),
            Arc::new(Device {
                handle,
                instance,
                table,
                hosted: None,
                board,
                sparse: Mutex::default(),
                images: HandleMap::default(),
                dummies: Mutex::default(),
                starts: Starts::default(),
                timelines: Timelines::default(),
                binding_families,
                binds_on_one_queue: false,
                has_timelines: false,
                untouched,
            }),
        );
        vk::Result::SUCCESS
    })
}

/// Why there is no [`Board`].
enum Failure {
    /// The base driver, or its kernel, is none that is known.
    Untouched(String),
    /// What was asked for can't be had.
    Refused(String),
}

impl Failure {
    fn untouched(why: impl ToString) -> Failure {
        Failure::Untouched(why.to_string())
    }
}

/// A device that was just created.
struct New<'a> {
    instance: &'a Instance,
    physical_device: vk::PhysicalDevice,
    table: &'a DeviceTable,
    device: vk::Device,
}

impl New<'_> {
    /// `family` has queues that bind, `vms` are the VMs that the base driver has created for the device.
    fn board(
        &self,
        family: &vk::DeviceQueueCreateInfo<'_>,
        vms: &[NewVm],
    ) -> Result<Board, Failure> {
        if let state::Mode::Board(Err(why)) = &self.instance.driver.mode {
            return Err(Failure::untouched(why));
        }
        let &[vm] = vms else {
            let why = format!(
                "creating a device makes {} VMs at its border, expected one",
                vms.len()
            );
            return Err(Failure::Untouched(why));
        };
        let queue = self.queue(family);
        if queue.is_null() {
            return Err(Failure::untouched("it has no queue that was asked for"));
        }
        let trial = Trial {
            table: self.table,
            device: self.device,
            queue,
        };
        let shown = trial.run().map_err(Failure::untouched)?;
        let made = self.follow(
            vm,
            shown
                .dummy
                .into_iter()
                .chain(shown.stand_in.map(|(_, bo)| bo))
                .collect(),
        );
        let memory = shown.stand_in.map(|(memory, _)| memory);
        match made {
            Ok(vm) => Ok(Board::new(vm, memory)),
            Err(failure) => {
                trial.free(memory);
                Err(failure)
            }
        }
    }

    /// The first queue of a family.
    fn queue(&self, family: &vk::DeviceQueueCreateInfo<'_>) -> vk::Queue {
        let mut queue = vk::Queue::null();
        let index = family.queue_family_index;
        // SAFETY: a queue that the device was created with, and a handle to write to.
        unsafe {
            match self.table.get_device_queue2 {
                Some(get) if !family.flags.is_empty() => {
                    let info = vk::DeviceQueueInfo2::default()
                        .flags(family.flags)
                        .queue_family_index(index);
                    get(self.device, &info, &mut queue);
                }
                _ => (self.table.get_device_queue)(self.device, index, 0, &mut queue),
            }
        }
        queue
    }

    fn follow(
        &self,
        new: NewVm,
        dummies: Vec<panvk_sparse::units::BoHandle>,
    ) -> Result<Arc<BoardVm>, Failure> {
        let device = new.open().map_err(Failure::untouched)?;
        let known = self.instance.probed.get(self.physical_device.as_raw());
        let capabilities: Arc<Capabilities> = match known {
            Some(known) => known,
            None => {
                let probed = Arc::new(probe(&device).map_err(Failure::untouched)?);
                self.instance
                    .probed
                    .insert(self.physical_device.as_raw(), Arc::clone(&probed));
                probed
            }
        };
        let wanted = match self.instance.driver.config.null {
            NullChoice::Auto => None,
            NullChoice::Fixed(strategy) => Some(strategy),
        };
        let null = capabilities
            .null_map_of(&device, wanted, Some(new.id))
            .map_err(|error| match wanted {
                Some(_) => Failure::Refused(format!("{}: {error}", hosted::config::NULL)),
                None => Failure::untouched(error),
            })?;
        log::info!(
            "VkDevice {:#x}: panthor {}.{}, unbound ranges by {}",
            self.device.as_raw(),
            capabilities.version.0,
            capabilities.version.1,
            null.strategy()
        );
        let vm = device.adopt_vm(new.id, new.user_va_range);
        Ok(BoardVm::follow(new, SparseVm::new(vm, null), dummies))
    }
}

pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard_some((), || {
        // Null is no device, and never in there.
        let known = DEVICES.remove(device.as_raw())?;
        QUEUES.remove_where(|of| of.device.handle == device);
        if let Some(memory) = known.board.as_ref().and_then(|board| board.stand_in) {
            // SAFETY: memory that was allocated by this driver. The kernel never heard of a bind to it.
            unsafe { (known.table.free_memory)(device, memory, std::ptr::null()) };
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_device)(device, allocator) };
        let stats = match &known.board {
            Some(board) => {
                board.vm.leave();
                board.stats(&known.untouched)
            }
            None => known.untouched.clone(),
        };
        if let Some(sink) = &known.instance.driver.config.stats {
            if let Err(error) = stats.write_to(sink) {
                log::error!("{}: {error}", hosted::config::STATS);
            }
        }
        Some(())
    });
}
