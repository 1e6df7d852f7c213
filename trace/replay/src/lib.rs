//! What a recording would ask of a kernel: its events go through the plan, the operations and a virtual kernel, and what
//! that costs is counted.
//!
//! Each device of the recording gets a [`Space`] of its own, which does with each event what the driver does with the Vulkan
//! call that the event stands for. So replaying a recording made above this project's driver gives the counts that the
//! driver's own stats line has, and replaying one made above any other driver gives what this project's driver would have
//! asked of its kernel.
//!
//! A recording may speak of what this driver would have refused, or of objects that were made before it began. Then what
//! can be carried out is, what can't is counted, and [`Replay::remarks`] says the first reasons.

#![forbid(unsafe_code)]

mod counts;
mod image;
mod others;
mod residency;
mod side_by_side;
mod steps;

pub use counts::Counts;
pub use others::Other;
pub use residency::{Band, Residency};
pub use side_by_side::{Replayed, Stopped, Wanted, Way, side_by_side};
pub use steps::{Kept, MOST_KEPT, Series, Step, Steps};

use ash::vk;

use hosted::config::NullChoice;
use hosted::{Changed, HostedError, Labels, Space, StandIns, Stats};
use kernels::Kernel;
use panvk_sparse::bind::Ranges;
use panvk_sparse::layout::TileMap;
use panvk_sparse::lower::{PlannedBatch, Strategy};
use trace::{BufferCreated, DeviceCreated, Event, ImageCreated, Record};
use vpanthor::KernelSpec;
use vulkan::calls::{BindCall, BindInfo, ResourceId};
use vulkan::handles::HandleHashMap;

/// Reasons that are kept as text; the others are only counted.
const MOST_REMARKS: usize = 8;

/// Bytes of a resource at most. What is larger is left out: the virtual kernel keeps a page table for all of it.
const MOST_BYTES: u64 = 1 << 40;
/// Where each page is an operation and a mapping.
const MOST_BYTES_BY_PAGE: u64 = 32 << 30;

/// One recording on one kernel with one way to map unbound ranges.
#[derive(Debug)]
pub struct Replay {
    kernel: KernelSpec,
    choice: NullChoice,
    strategy: Strategy,
    devices: Vec<Device>,
    /// The latest device of each handle, by its place in `devices`.
    by_handle: HandleHashMap<usize>,
    /// Of devices that are gone, and of events of devices that are not known.
    gone: Counts,
    remarks: Vec<String>,
    others: Vec<Other>,
}

/// A device of the recording.
#[derive(Debug)]
struct Device {
    handle: u64,
    state: Life,
    counts: Counts,
}

#[derive(Debug)]
struct Alive {
    space: Space,
    stand_ins: StandIns,
}

#[derive(Debug)]
enum Life {
    /// Without the feature `sparseBinding`, or destroyed. Its counts stay.
    Ended(Box<Stats>),
    Alive(Box<Alive>),
}

impl Replay {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// The kernel is not a virtual one, or can't do what `choice` asks.
    pub fn new(kernel: &KernelSpec, choice: NullChoice) -> Result<Self, HostedError> {
        // Says now what would go wrong with the first device.
        let first = Alive::new(kernel, choice, &DeviceCreated::default())?;
        Ok(Self {
            kernel: kernel.clone(),
            choice,
            strategy: first.space.strategy(),
            devices: Vec::new(),
            by_handle: HandleHashMap::default(),
            gone: Counts::default(),
            remarks: Vec::new(),
            others: Vec::new(),
        })
    }

    /// Says what changes to these kernels, too.
    pub fn and_kernels(self, kernels: &[Kernel]) -> Self {
        Self {
            others: kernels.iter().copied().map(Other::new).collect(),
            ..self
        }
    }

    /// Those of [`Replay::and_kernels`].
    pub fn others(&self) -> &[Other] {
        &self.others
    }

    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The next event of the recording.
    ///
    /// # Errors
    /// A new device can't have its kernel. What else goes wrong is counted.
    pub fn feed(&mut self, record: &Record) -> Result<(), HostedError> {
        match &record.event {
            Event::DeviceCreated(device) => self.add_device(device)?,
            Event::DeviceDestroyed { device } => self.end(*device),
            Event::MemoryAllocated {
                device,
                memory,
                size,
                ..
            } => {
                let added = self.on(*device, |alive| alive.space.add_memory(*memory, *size));
                self.note_object(added);
            }
            Event::MemoryFreed { device, memory } => {
                self.on(*device, |alive| alive.space.remove_memory(*memory));
            }
            Event::BufferCreated(buffer) => {
                let id = ResourceId::Buffer(buffer.buffer);
                let added = self.on_resource(buffer.device, id, |space| add_buffer(space, buffer));
                self.note_object(added);
            }
            Event::ImageCreated(image) => {
                let id = ResourceId::Image(image.image);
                let added = self.on_resource(image.device, id, |space| add_image(space, image));
                self.note_object(added);
            }
            Event::ResourceDestroyed { device, resource } => {
                self.on_resource(*device, *resource, |space| {
                    space.remove_resource(*resource);
                    space.settle();
                    Ok(())
                });
            }
            Event::TimelineCreated { device, semaphore } => {
                self.on(*device, |alive| alive.stand_ins.add_timeline(*semaphore));
            }
            Event::SemaphoreDestroyed { device, semaphore } => {
                self.on(*device, |alive| {
                    alive.stand_ins.remove_semaphore(*semaphore)
                });
            }
            Event::FenceDestroyed { device, fence } => {
                self.on(*device, |alive| alive.stand_ins.remove_fence(*fence));
            }
            Event::BindSparse {
                device,
                call,
                result,
                ..
            } => self.bind(*device, call, *result),
            Event::Lost { events } => self.gone.lost_events += events,
            Event::Present { .. } | Event::Submit { .. } => {}
        }
        Ok(())
    }

    /// The counters of the latest device of that handle, as the driver's stats line has them. `None`: there was none.
    pub fn stats(&self, device: u64) -> Option<Stats> {
        let &index = self.by_handle.get(&device)?;
        Some(self.devices.get(index)?.stats())
    }

    /// All devices together, up to now.
    pub fn totals(&self) -> Counts {
        let alive = self.devices.iter().filter_map(Device::counts);
        alive.fold(self.gone, |sum, counts| sum + counts)
    }

    /// The first reasons why something was not carried out as it was recorded.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Bytes of address space of a resource. `None`: there is no such resource now.
    pub fn resource_size(&self, device: u64, id: ResourceId) -> Option<u64> {
        let &index = self.by_handle.get(&device)?;
        match &self.devices.get(index)?.state {
            Life::Alive(alive) => alive.space.resource_size(id),
            Life::Ended(_) => None,
        }
    }

    /// Every range that is bound to memory now: device, resource, bytes from its start. See [`Space::each_bound`].
    pub fn each_bound(&self, visit: &mut dyn FnMut(u64, ResourceId, std::ops::Range<u64>)) {
        for device in &self.devices {
            if let Life::Alive(alive) = &device.state {
                alive
                    .space
                    .each_bound(&mut |id, range| visit(device.handle, id, range));
            }
        }
    }

    fn add_device(&mut self, device: &DeviceCreated) -> Result<(), HostedError> {
        // A handle that comes again without its end having been seen is a new object.
        self.end(device.device);
        let state = if device.sparse_binding {
            Life::Alive(Box::new(Alive::new(&self.kernel, self.choice, device)?))
        } else {
            Life::Ended(Box::new(Stats {
                device: device.name.clone(),
                base_driver: device.driver_name.clone(),
                kernel: self.kernel.to_string(),
                strategy: self.strategy.to_string(),
                ..Stats::default()
            }))
        };
        self.by_handle.insert(device.device, self.devices.len());
        self.devices.push(Device {
            handle: device.device,
            state,
            counts: Counts::default(),
        });
        Ok(())
    }

    fn end(&mut self, handle: u64) {
        let Some(device) = find(&self.by_handle, &mut self.devices, handle) else {
            return;
        };
        if let Some(counts) = device.counts() {
            self.gone = self.gone + counts;
            device.state = Life::Ended(Box::new(device.stats()));
        }
    }

    /// Does something with a device that is alive. `None`: it is not known, or without sparse binding.
    fn on<R>(&mut self, handle: u64, act: impl FnOnce(&mut Alive) -> R) -> Option<R> {
        let device = find(&self.by_handle, &mut self.devices, handle)?;
        match &mut device.state {
            Life::Alive(alive) => Some(act(alive)),
            Life::Ended(_) => None,
        }
    }

    /// As [`Self::on`], where a resource may come or go.
    fn on_resource(
        &mut self,
        handle: u64,
        id: ResourceId,
        act: impl FnOnce(&mut Space) -> Result<(), HostedError>,
    ) -> Option<Result<(), HostedError>> {
        let (was, done, is) = self.on(handle, |alive| {
            let was = alive.space.resource_range(id);
            let done = act(&mut alive.space);
            (was, done, alive.space.resource_range(id))
        })?;
        if done.is_err() && was == is {
            return Some(done);
        }
        for other in &mut self.others {
            // A handle that comes again without its end having been seen is a new object.
            was.iter().for_each(|range| other.destroy(range));
            is.iter().for_each(|range| other.create(range));
        }
        Some(done)
    }

    /// An object that the kernel has no room for, or that contradicts itself, is not there for later binds.
    fn note_object(&mut self, added: Option<Result<(), HostedError>>) {
        if let Some(Err(error)) = added {
            self.gone.unplaced += 1;
            self.remark(|| format!("left out: {error}"));
        }
    }

    fn remark(&mut self, what: impl FnOnce() -> String) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.push(what());
        }
    }

    fn bind(&mut self, handle: u64, call: &BindCall, result: i32) {
        let device = find(&self.by_handle, &mut self.devices, handle);
        let Some((alive, counts)) = device.and_then(Device::alive) else {
            let binds = binds_of(call);
            self.gone.skipped += binds;
            self.remark(|| {
                format!("skipped {binds} binds: VkDevice {handle:#x} is not known or has no sparse binding")
            });
            return;
        };
        let result = vk::Result::from_raw(result);
        let others = &mut self.others;
        let mut changed = |batches: &[PlannedBatch<'_>], ranges: &Ranges| {
            for other in others.iter_mut() {
                other.call(batches, ranges);
            }
        };
        if let Some(why) = replay(alive, call, result, counts, &mut changed) {
            self.remark(|| why);
        }
    }
}

impl Alive {
    fn new(
        kernel: &KernelSpec,
        choice: NullChoice,
        device: &DeviceCreated,
    ) -> Result<Alive, HostedError> {
        let labels = Labels {
            device: device.name.clone(),
            base_driver: device.driver_name.clone(),
            kernel: String::new(),
        };
        Ok(Alive {
            space: Space::open(kernel, choice, labels, false)?,
            stand_ins: StandIns::default(),
        })
    }

    fn bind(
        &mut self,
        call: &BindCall,
        taken: bool,
        changed: Changed<'_>,
    ) -> Result<(), HostedError> {
        self.space
            .bind_alone(&mut self.stand_ins, call, taken, changed)
    }
}

/// Does with a call what the driver does, and counts it where it was not carried out. Gives a reason, where there is one.
fn replay(
    device: &mut Alive,
    call: &BindCall,
    result: vk::Result,
    counts: &mut Counts,
    changed: Changed<'_>,
) -> Option<String> {
    // This driver says so where a bind breaks a rule; then nothing of the call has happened.
    if result == vk::Result::ERROR_VALIDATION_FAILED_EXT {
        counts.refused += 1;
        return None;
    }
    // What the driver below said, it says again: the operations are then taken back.
    let taken = result.as_raw() >= 0;
    let lost = match device.bind(call, taken, changed) {
        Ok(()) => {
            counts.failed += u64::from(!taken);
            return None;
        }
        Err(HostedError::Invalid(_)) if !taken => {
            counts.refused += 1;
            return None;
        }
        Err(HostedError::Invalid(why)) => {
            // The driver of the recording took it. So will this one, but for those binds that it can't place.
            let (rest, skipped) = only_possible(&device.space, call);
            counts.skipped += skipped;
            match device.bind(&rest, taken, changed) {
                Ok(()) => {
                    let all = binds_of(call);
                    return Some(format!("skipped {skipped} of {all} binds of a call: {why}"));
                }
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    counts.not_taken += 1;
    Some(lost.to_string())
}

/// The call without the binds that can't be carried out, each looked at alone, and how many these are.
fn only_possible(space: &Space, call: &BindCall) -> (BindCall, u64) {
    let possible = |info: BindInfo| {
        let alone = BindCall {
            infos: vec![info],
            fence: None,
        };
        space.check(&alone).is_ok()
    };
    let mut rest = call.clone();
    for info in &mut rest.infos {
        for (id, binds) in &mut info.binds {
            binds.retain(|&bind| {
                let mut alone = BindInfo::default();
                alone.binds.push((*id, vec![bind]));
                possible(alone)
            });
        }
        info.binds.retain(|(_, binds)| !binds.is_empty());
        for (image, binds) in &mut info.image_binds {
            binds.retain(|&bind| {
                let mut alone = BindInfo::default();
                alone.image_binds.push((*image, vec![bind]));
                possible(alone)
            });
        }
        info.image_binds.retain(|(_, binds)| !binds.is_empty());
    }
    let skipped = binds_of(call) - binds_of(&rest);
    (rest, skipped)
}

/// `VkSparseMemoryBind` and `VkSparseImageMemoryBind` structs of a call.
fn binds_of(call: &BindCall) -> u64 {
    let of_info = |info: &BindInfo| {
        let opaque: usize = info.binds.iter().map(|(_, binds)| binds.len()).sum();
        let tiles: usize = info.image_binds.iter().map(|(_, binds)| binds.len()).sum();
        (opaque + tiles) as u64
    };
    call.infos.iter().map(of_info).sum()
}

fn find<'a>(
    by_handle: &HandleHashMap<usize>,
    devices: &'a mut [Device],
    handle: u64,
) -> Option<&'a mut Device> {
    devices.get_mut(*by_handle.get(&handle)?)
}

fn add_buffer(space: &mut Space, buffer: &BufferCreated) -> Result<(), HostedError> {
    let id = ResourceId::Buffer(buffer.buffer);
    let needs = &buffer.requirements;
    fits(space, id, needs.size)?;
    space.add_resource(id, needs.size, needs.alignment, None)
}

fn add_image(space: &mut Space, image: &ImageCreated) -> Result<(), HostedError> {
    let id = ResourceId::Image(image.image);
    let flags = vk::ImageCreateFlags::from_raw(image.flags);
    if flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        let layout = image::layout(image);
        if let Ok(tiles) = TileMap::new(&layout) {
            fits(space, id, tiles.size())?;
        }
        return space.add_image(image.image, &layout, None);
    }
    let needs = &image.requirements;
    fits(space, id, needs.size)?;
    space.add_resource(id, needs.size, needs.alignment, None)
}

fn fits(space: &Space, id: ResourceId, size: u64) -> Result<(), HostedError> {
    let strategy = space.strategy();
    let most = match strategy {
        Strategy::Page => MOST_BYTES_BY_PAGE,
        _ => MOST_BYTES,
    };
    if size <= most {
        return Ok(());
    }
    Err(HostedError::Refused(format!(
        "{id} of {size} bytes: expected at most {most} where {strategy} is replayed"
    )))
}

impl Device {
    fn alive(&mut self) -> Option<(&mut Alive, &mut Counts)> {
        match &mut self.state {
            Life::Alive(alive) => Some((alive, &mut self.counts)),
            Life::Ended(_) => None,
        }
    }

    fn stats(&self) -> Stats {
        match &self.state {
            Life::Ended(stats) => (**stats).clone(),
            Life::Alive(alive) => alive.space.stats(),
        }
    }

    /// `None` once it has ended: they are counted elsewhere.
    fn counts(&self) -> Option<Counts> {
        match &self.state {
            Life::Ended(_) => None,
            Life::Alive(alive) => Some(self.counts + Counts::of(&alive.space)),
        }
    }
}
