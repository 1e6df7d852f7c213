//! Runs a scenario on a kernel with one strategy, and counts.
//!
//! The way is that of the driver, a [`SparseVm`]. Each repetition has an open file and a VM
//! of its own, so that nothing of an earlier one is in the page tables.

use std::fmt::Display;
use std::time::{Duration, Instant};
use vpanthor::Virtual;

use panvk_sparse::bind::{Memory, Request, SparseRange, Target};
use panvk_sparse::drm::Tally;
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::lower::{Costs, Strategy, Work};
use panvk_sparse::uapi::{BO_NO_MMAP, IOCTL_VM_BIND, ioctl_nr};
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vm::{Initial, SparseVm, VmError};
use serde::Serialize;
use vpanthor::VmStats;

use super::kernel::Kernel;
use super::scenario::{Call, Scenario};
use super::size::whole_pages;
use super::stop::{Error, Stop};

/// Where the buffer lies: 4 GiB, so that huge pages line up as they do for a buffer that a driver places.
const BUFFER: Va = Va(4 << 30);
/// Repetitions of a measurement, if they do not take longer than [`PATIENCE`].
const REPETITIONS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(2);

/// What the measured calls of a scenario cost with one strategy. Names and order are those of the JSON, relied on by
/// scripts: new fields go last.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub strategy: &'static str,
    pub vm_bind_ioctls: u64,
    /// Operations in them.
    pub vm_bind_ops: u64,
    /// Bytes that the kernel copies in: structs, operations, sync operations.
    pub bytes_to_kernel: u64,
    /// Page-table entries written: 2 MiB and 4 KiB entries set, and those cleared. Only the virtual kernel tells.
    pub pte_writes: Option<u64>,
    /// Pages taken to hold page tables; as above.
    pub table_pages: Option<u64>,
    /// Median over the repetitions, in nanoseconds.
    pub elapsed_ns: u64,
    /// Operations that map memory, that map the dummy, and that unmap.
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    /// Size of one operation in the ioctl's array, in bytes.
    pub op_stride: u64,
    /// Calls into the kernel's page-table code: each writes or clears a piece of consecutive pages. As above.
    pub pt_calls: Option<u64>,
    /// Mappings that the kernel keeps for the buffer at the end. As above.
    pub gpuvas: Option<u64>,
    pub repetitions: usize,
    /// Of `elapsed_ns`, time in the ioctls: a median as well.
    pub ioctl_ns: u64,
    pub ns_per_ioctl: Option<u64>,
    pub ns_per_op: Option<u64>,
    /// Time that the work takes by the cost model ([`Costs::PANTHOR`]), as the virtual kernel counts it. For a node that is the
    /// model of its kernel.
    pub estimated_ns: Option<u64>,
    /// What that is the time of. Only the virtual kernel tells.
    #[serde(skip)]
    pub work: Option<Work>,
}

/// One strategy on one kernel in one scenario, measured again and again.
#[derive(Debug)]
pub struct Subject<'a> {
    pub kernel: &'a Kernel,
    pub capabilities: &'a Capabilities,
    pub scenario: Scenario,
    /// The bind granularity of the buffer, in bytes.
    pub granularity: u64,
    /// Size that the buffer was asked with, in bytes.
    pub bytes: u64,
    /// Size of the memory that is bound, in bytes: at most what the scenario wants.
    pub memory: u64,
    pub stop: &'a Stop,
}

impl Subject<'_> {
    /// Measures `strategy`. `progress` is told the number of each repetition, from 1, and how many there may be.
    pub fn measure(
        &self,
        strategy: Strategy,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Measurement, Error> {
        let begin = Instant::now();
        progress(1, REPETITIONS);
        let mut measurement = self.once(strategy)?;
        if self.kernel.is_node() {
            let model = Subject {
                kernel: &Kernel::model_of(self.capabilities),
                ..*self
            };
            measurement.estimated_ns = model.once(strategy)?.estimated_ns;
        }
        let mut times = vec![measurement.elapsed_ns];
        let mut in_ioctls = vec![measurement.ioctl_ns];
        while times.len() < REPETITIONS && begin.elapsed() < PATIENCE {
            progress(times.len() + 1, REPETITIONS);
            let again = self.once(strategy)?;
            times.push(again.elapsed_ns);
            in_ioctls.push(again.ioctl_ns);
        }
        measurement.repetitions = times.len();
        measurement.elapsed_ns = median(times);
        measurement.ioctl_ns = median(in_ioctls);
        let each = |n| measurement.ioctl_ns.checked_div(n);
        (measurement.ns_per_ioctl, measurement.ns_per_op) = (
            each(measurement.vm_bind_ioctls),
            each(measurement.vm_bind_ops),
        );
        Ok(measurement)
    }

    /// One repetition: set-up, which is not measured, and the scenario's calls, which are.
    pub fn once(&self, strategy: Strategy) -> Result<Measurement, Error> {
        let failed = |error: &dyn Display| -> Error {
            format!("{}, strategy {strategy}: {error}", self.kernel).into()
        };
        self.stop.check()?;
        let device = self.kernel.open()?;
        let tally = device.tally();
        let size = whole_pages(self.bytes);
        let vm = device.create_vm(0).map_err(|error| failed(&error))?;
        let vm_id = vm.id();
        let backing = self
            .capabilities
            .null_map(&device, Some(strategy))
            .map_err(|error| failed(&error))?;
        let memory = match self.memory {
            0 => None,
            // Nobody reads or writes it.
            bytes => Some(
                device
                    .create_bo(bytes, BO_NO_MMAP, Some(vm_id))
                    .map_err(|error| failed(&error))?,
            ),
        };
        let mut vm = SparseVm::new(vm, backing);
        let reference = memory.as_ref().map(|bo| vm.memory(bo.handle()));
        let mut populate = |target| populate(&mut vm, target).map_err(|error| failed(&error));
        if let Some(memory) = reference {
            populate(Target::memory(memory, 0))?;
        }
        if self.kernel.is_node() {
            populate(Target::Null)?;
        }
        // What a range starts with is a call of the scenario, which is measured.
        // As a driver that chooses the addresses does.
        let reserved = hosted::whole_slots(size);
        let buffer = SparseRange::new(BUFFER, size, self.granularity).reserving(reserved);
        vm.add_range(buffer, Initial::Unknown)
            .map_err(|error| failed(&error))?;
        let submit = |vm: &mut SparseVm, call: &Call| {
            self.stop.check()?;
            vm.bind_now(call).map_err(|error| failed(&error))
        };
        for call in self.scenario.before(BUFFER, size) {
            submit(&mut vm, &call)?;
        }
        let memory = memory
            .as_ref()
            .zip(reference)
            .map(|(bo, reference)| Memory {
                bo: reference,
                size: bo.size(),
            });
        let calls = self.scenario.calls(BUFFER, size, memory);

        let mut stride = 0;
        let counted_before = device.counters();
        let ioctl_ns_before = in_vm_bind(&tally);
        // A real kernel does not tell.
        let stats = |vm: &SparseVm| device.vpanthor()?.vm_stats(vm.vm().id().0);
        let stats_before = stats(&vm);
        let begin = Instant::now();
        for call in &calls {
            stride = submit(&mut vm, call)?.stride.max(stride);
        }
        let elapsed = begin.elapsed();
        let ioctl_ns = in_vm_bind(&tally) - ioctl_ns_before;
        let counted = device.counters().since(&counted_before);
        let stats = stats_before.zip(stats(&vm));
        let more = |of: fn(&VmStats) -> u64| {
            let (before, after) = stats.as_ref()?;
            Some(of(after) - of(before))
        };
        let work = stats.as_ref().map(|(before, after)| {
            let (ioctls, ops) = (counted.vm_bind_ioctls, counted.vm_bind_ops);
            after.pt.work(ioctls, ops).since(&before.pt.work(0, 0))
        });
        Ok(Measurement {
            strategy: strategy.name(),
            vm_bind_ioctls: counted.vm_bind_ioctls,
            vm_bind_ops: counted.vm_bind_ops,
            bytes_to_kernel: counted.bytes_to_kernel,
            pte_writes: more(|stats| stats.pt.pte_writes()),
            table_pages: more(|stats| stats.pt.table_pages),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            map_ops: counted.map_ops,
            null_ops: counted.null_ops,
            unmap_ops: counted.unmap_ops,
            op_stride: stride as u64,
            pt_calls: more(|stats| stats.pt.pt_calls),
            gpuvas: stats.as_ref().map(|(_, after)| after.mappings as u64),
            repetitions: 1,
            ioctl_ns,
            ns_per_ioctl: None,
            ns_per_op: None,
            estimated_ns: work.map(|work| Costs::PANTHOR.time(&work).as_nanos() as u64),
            work,
        })
    }
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nanoseconds in VM_BIND.
pub fn in_vm_bind(tally: &Tally) -> u64 {
    let nanoseconds = tally.nanoseconds();
    nanoseconds
        .get(&ioctl_nr(IOCTL_VM_BIND))
        .copied()
        .unwrap_or(0)
}

/// Maps a page of the memory, or of the dummy, and unmaps it. A real kernel allocates all of a buffer object, page by page, when
/// something of it is mapped for the first time; that is not what binding costs.
fn populate(vm: &mut SparseVm, target: Target) -> Result<(), VmError> {
    let page = SparseRange::new(BUFFER, SZ_4K, SZ_4K);
    vm.add_range(page, Initial::Unknown)?;
    vm.bind_now(&[Request {
        va: page.va,
        len: page.len,
        target,
    }])?;
    vm.remove_range(page.va)
}
