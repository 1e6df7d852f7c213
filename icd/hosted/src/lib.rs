//! Hosted: sparse binding over any Vulkan driver that has it, with a virtual kernel in this process.
//!
//! Each VkDevice has an open file of vpanthor and one VM in it ([`Space`]). A bind goes the whole way that it would go on a
//! board: requests, plan, operations, one VM_BIND. Then the *mirror* asks vpanthor's page tables what has changed, and
//! binds just that on the base driver. So what a shader reads has passed through all of it, or it is wrong.
//!
//! The kernel may have a real node beside it that is asked the same ([`vpanthor::Tee`]). Nothing here knows of that: the
//! kernel is a kernel.

#![forbid(unsafe_code)]

mod addresses;
mod base;
pub mod config;
mod error;
mod memories;
mod mirror;
mod order;
mod resolve;
mod setup;
mod space;
mod stand_ins;
pub mod stats;

pub use addresses::whole_slots;
pub use base::{BaseBatch, BaseQueue, DUMMY_BYTES, dummy_period};
pub use error::HostedError;
pub use resolve::Resolved;
pub use space::{Changed, Labels, Space, Work};
pub use stand_ins::StandIns;
pub use stats::Stats;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use panvk_sparse::drm;
use panvk_sparse::layout::Image;
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::SZ_2M;
use panvk_sparse::vm::Bound;
use vpanthor::{Change, Virtual};
use vulkan::calls::{BindCall, BindInfo, ResourceId};
use vulkan::handles::HandleHashMap;

use mirror::{Mirror, is_shown, parts};
use order::Order;

/// What a VkDevice has here. All methods may be called from any thread. No lock is held while the base driver is called.
#[derive(Debug)]
pub struct Hosted {
    device: drm::Device,
    strategy: Strategy,
    /// Apart from the rest: what is said of semaphores and fences need not wait for a bind.
    stand_ins: Mutex<StandIns>,
    order: Mutex<Order>,
    /// What has been said of memories while a bind had the books. Who gets them next enters it.
    news: Mutex<Vec<News>>,
    state: Mutex<Books>,
}

#[derive(Debug)]
enum News {
    Allocated { memory: u64, size: u64, bo: drm::Bo },
    Freed { memory: u64 },
}

/// What changes. One lock holds it all: a bind has to see, and leave, one state of the VM.
#[derive(Debug)]
struct Books {
    space: Space,
    /// Resources whose unbound ranges the base driver has not yet bound to their dummy.
    fresh: Vec<ResourceId>,
    /// Calls that the kernel has taken, and the base driver may yet refuse.
    in_flight: usize,
    /// What the latest operations have changed in the page tables.
    changed: Vec<Change>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held left the state as it was at some step of a bind. What the kernel has
    // is still asked of the kernel, so the worst is an error of a later bind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hosted {
    fn over(space: Space) -> Self {
        if let Some(file) = space.device.vpanthor() {
            // The base driver may have something else where the shadow has a hole, whatever the page tables say.
            file.record_rewrites(space.vm.vm().id().0, true);
        }
        Hosted {
            device: space.device.clone(),
            strategy: space.strategy(),
            stand_ins: Mutex::default(),
            order: Mutex::default(),
            news: Mutex::default(),
            state: Mutex::new(Books {
                space,
                fresh: Vec::new(),
                in_flight: 0,
                changed: Vec::new(),
            }),
        }
    }

    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The kernel, for tests that look at it or make it fail.
    pub fn kernel(&self) -> &drm::Device {
        &self.device
    }

    /// A look at the objects of the application.
    pub fn with_space<R>(&self, look: impl FnOnce(&Space) -> R) -> R {
        look(&self.state().space)
    }

    /// See [`Space::add_memory`]. Does not wait for a bind.
    ///
    /// # Errors
    /// As there.
    pub fn add_memory(&self, memory: u64, size: u64) -> Result<(), HostedError> {
        let bo = space::buffer_object(&self.device, memory, size)?;
        self.tell(News::Allocated { memory, size, bo });
        Ok(())
    }

    /// See [`Space::remove_memory`]. Does not wait for a bind.
    pub fn remove_memory(&self, memory: u64) {
        self.tell(News::Freed { memory });
    }

    fn tell(&self, news: News) {
        lock(&self.news).push(news);
        if let Ok(mut state) = self.state.try_lock() {
            state.enter(&self.news);
        }
    }

    /// See [`Space::add_resource`]. The base driver binds unbound ranges to `dummy`, a memory of [`DUMMY_BYTES`], with the
    /// next [`Hosted::start`], or the first [`Hosted::bind`] that names the resource.
    ///
    /// # Errors
    /// As there.
    pub fn add_resource(
        &self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        dummy: Option<u64>,
    ) -> Result<(), HostedError> {
        let mut state = self.state();
        let added = state.space.add_resource(id, size, granularity, dummy);
        state.note_new(&self.device, id, dummy.filter(|_| added.is_ok()));
        added
    }

    /// See [`Space::add_image`]. The dummy is as for [`Hosted::add_resource`].
    ///
    /// # Errors
    /// As there.
    pub fn add_image(
        &self,
        image: u64,
        layout: &Image,
        dummy: Option<u64>,
    ) -> Result<(), HostedError> {
        let mut state = self.state();
        let added = state.space.add_image(image, layout, dummy);
        let dummy = dummy.filter(|_| added.is_ok());
        state.note_new(&self.device, ResourceId::Image(image), dummy);
        added
    }

    /// See [`Space::remove_resource`].
    pub fn remove_resource(&self, id: ResourceId) {
        let mut state = self.state();
        state.fresh.retain(|&fresh| fresh != id);
        state.space.remove_resource(id);
        if state.in_flight == 0 {
            state.space.settle();
        }
        lock(&self.order).remove_resource(id);
        state.take_changes(&self.device);
    }

    /// A timeline semaphore was created. Any other semaphore is taken for a binary one.
    pub fn add_timeline(&self, semaphore: u64) {
        lock(&self.stand_ins).add_timeline(semaphore);
        lock(&self.order).add_timeline(semaphore);
    }

    /// A semaphore is destroyed.
    pub fn remove_semaphore(&self, semaphore: u64) {
        lock(&self.stand_ins).remove_semaphore(semaphore);
        lock(&self.order).remove_semaphore(semaphore);
    }

    /// A fence is destroyed.
    pub fn remove_fence(&self, fence: u64) {
        lock(&self.stand_ins).remove_fence(fence);
    }

    /// Has the base driver bind the unbound ranges of new resources to their dummies: one batch, which stands for an
    /// info that is the caller's own. Calls it only where there are new resources with a dummy.
    ///
    /// # Errors
    /// The base driver's, or the VM is lost. New resources stay new then.
    pub fn start(&self, base: BaseQueue<'_>) -> Result<(), HostedError> {
        let (fresh, batch) = {
            let mut state = self.state();
            state.space.vm.alive()?;
            if state.fresh.is_empty() {
                return Ok(());
            }
            let fresh = std::mem::take(&mut state.fresh);
            let mut batch = BaseBatch::default();
            Mirror::of(&state.space).start(&fresh, &mut batch);
            (fresh, batch)
        };
        base(&[batch]).map_err(|result| {
            self.state().put_back(fresh);
            HostedError::Base(result)
        })
    }

    /// Carries out one `vkQueueBindSparse` on the only queue that binds.
    ///
    /// # Errors
    /// [`HostedError::Invalid`] where a bind of the call can't be carried out: nothing of the call has
    /// happened then. The other errors are the kernel's or the base driver's.
    pub fn bind(&self, call: &BindCall, base: BaseQueue<'_>) -> Result<(), HostedError> {
        self.carry_out(None, call, base)
    }

    /// Carries out one `vkQueueBindSparse` on one of several queues. `value` gives the value that a timeline semaphore of the
    /// base driver has: 0 if the application has destroyed it, which it may do meanwhile unless the call waits for it.
    ///
    /// # Errors
    /// As of [`Hosted::bind`].
    pub fn bind_on(
        &self,
        queue: u64,
        value: &dyn Fn(u64) -> u64,
        call: &BindCall,
        base: BaseQueue<'_>,
    ) -> Result<(), HostedError> {
        let timelines = lock(&self.order).timelines_of(queue, call);
        let values = timelines
            .into_iter()
            .map(|timeline| (timeline, value(timeline)));
        self.carry_out(Some((queue, values.collect())), call, base)
    }

    /// `on`: which of several queues it is on, and the values of timelines.
    fn carry_out(
        &self,
        on: Option<(u64, HandleHashMap<u64>)>,
        call: &BindCall,
        base: BaseQueue<'_>,
    ) -> Result<(), HostedError> {
        // 1. The virtual kernel carries it out, and its page tables say what the base driver has to do.
        let (batches, undo, fresh, placed) = {
            let mut state = self.state();
            let mut resolved = state.space.resolve(call)?;
            lock(&self.stand_ins).attach(&self.device, call, &mut resolved)?;
            let placed = on.map(|(queue, values)| {
                lock(&self.order).place(queue, call, &mut resolved, &values)
            });
            let bound = state.space.carry_out(&resolved);
            state.take_changes(&self.device);
            let bound = bound?;
            let fresh = state.take_fresh(call);
            let Books { space, changed, .. } = &mut *state;
            let batches = mirrored(space, call, &resolved, &bound, changed, &fresh);
            state.in_flight += 1;
            (batches, bound.changes, fresh, placed)
        };
        // 2. The base driver does it.
        let answer = base(&batches);
        // 3. Where it refuses, the kernel goes back.
        let mut state = self.state();
        let back = match answer {
            Ok(()) => {
                state.space.vm.keep(undo);
                if let Some(placed) = placed {
                    lock(&self.order).taken(placed);
                }
                Ok(())
            }
            Err(_) => {
                state.put_back(fresh);
                state.space.take_back(undo)
            }
        };
        state.in_flight -= 1;
        state.take_changes(&self.device);
        if state.in_flight == 0 {
            state.space.settle();
        }
        back.and(answer.map_err(HostedError::Base))
    }

    /// The counters, from the creation of the device up to now.
    pub fn stats(&self) -> Stats {
        self.state().space.stats()
    }

    fn state(&self) -> MutexGuard<'_, Books> {
        let mut state = lock(&self.state);
        state.enter(&self.news);
        state
    }
}

impl Books {
    /// Enters what was said of memories meanwhile.
    fn enter(&mut self, news: &Mutex<Vec<News>>) {
        let news = std::mem::take(&mut *lock(news));
        let is_any = !news.is_empty();
        for news in news {
            match news {
                News::Allocated { memory, size, bo } => {
                    self.space.add_memory_with(memory, size, bo);
                }
                News::Freed { memory } => self.space.memories.free(memory),
            }
        }
        if is_any && self.in_flight == 0 {
            self.space.settle();
        }
    }

    /// A resource is new, or could not be made (then without a dummy). What that has changed in the page tables is none of
    /// the base driver's business.
    fn note_new(&mut self, device: &drm::Device, id: ResourceId, dummy: Option<u64>) {
        self.fresh.extend(dummy.map(|_| id));
        self.take_changes(device);
    }

    /// The new resources that the call binds: they start with it.
    fn take_fresh(&mut self, call: &BindCall) -> Vec<ResourceId> {
        if self.fresh.is_empty() {
            return Vec::new();
        }
        let named: HashSet<ResourceId> = call.infos.iter().flat_map(BindInfo::resources).collect();
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let (named, others) = fresh.partition(|id| named.contains(id));
        self.fresh = others;
        named
    }

    /// New resources are as new as before, but for those that have been destroyed since.
    fn put_back(&mut self, fresh: Vec<ResourceId>) {
        let space = &self.space;
        let alive = fresh
            .into_iter()
            .filter(|&id| space.resource_size(id).is_some());
        self.fresh.extend(alive);
    }

    /// Notes what has changed in the page tables since this was last asked.
    fn take_changes(&mut self, device: &drm::Device) {
        self.changed.clear();
        if let Some(file) = device.vpanthor() {
            file.take_changes_into(self.space.vm.vm().id().0, &mut self.changed);
        }
    }
}

/// What the base driver has to do for each batch of a call: what has changed in the page tables, and what was planned. `fresh`
/// are the new resources that it names, which start with the first batch.
fn mirrored(
    space: &Space,
    call: &BindCall,
    resolved: &Resolved,
    bound: &Bound,
    mut changed: &mut [Change],
    fresh: &[ResourceId],
) -> Vec<BaseBatch> {
    if call.infos.is_empty() {
        // The batch that only carries the fence is none of the base driver's.
        return Vec::new();
    }
    let mut mirror = Mirror::of(space);
    let mut batches = Vec::with_capacity(resolved.batches.len());
    let positions = bound.ops.iter().zip(&bound.runs);
    for (batch, (ops, runs)) in resolved.batches.iter().zip(positions) {
        let mut base = BaseBatch {
            first: batch.first,
            last: batch.last,
            ..BaseBatch::default()
        };
        if batches.is_empty() {
            mirror.start(fresh, &mut base);
        }
        let count = changed.partition_point(|change| change.op < ops.end as u64);
        let (own, later) = std::mem::take(&mut changed).split_at_mut(count);
        changed = later;
        in_order_of_addresses(own);
        let runs = &bound.changes.runs()[runs.clone()];
        for change in own {
            if is_shown(change) {
                mirror.reflect(change, &mut base);
            } else {
                let planned = parts(change, runs);
                planned.for_each(|part| mirror.reflect(&part, &mut base));
            }
        }
        mirror.finish(&mut base);
        batches.push(base);
    }
    if let Some(change) = changed.first() {
        log::error!("a change of no batch is not mirrored: {change:?}");
    }
    batches
}

/// Operations, and so their changes, come in the order that suits the kernel: one 2 MiB slot after another, but shuffled
/// inside a slot.
fn in_order_of_addresses(changes: &mut [Change]) {
    for slot in changes.chunk_by_mut(|one, next| one.va / SZ_2M == next.va / SZ_2M) {
        slot.sort_unstable_by_key(|change| change.va);
    }
    // An operation that crosses from one slot into the next comes before the others of both.
    if !changes.is_sorted_by_key(|change| change.va) {
        changes.sort_by_key(|change| change.va);
    }
}
