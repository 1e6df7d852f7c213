//! Runs a scenario on a kernel with one strategy, and counts.
//!
//! The way is that of the driver: requests, plan, lowering, one VM_BIND. Each repetition has an open file and a VM
//! of its own, so that nothing of an earlier one is in the page tables.

use std::fmt::Display;
use std::time::{Duration, Instant};

use panvk_sparse::bind::{Planner, Run, Shadow};
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::drm::{BindFailure, BindMode, Device, KernelSpec, Vm};
use panvk_sparse::lower::{Batch, Lowering, NullMap, Strategy};
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vpanthor::VmStats;

use super::Failure;
use super::kernel;
use super::scenario::{Call, Scenario};
use super::size::whole_pages;

/// Where the buffer lies: 4 GiB, so that huge pages line up as they do for a buffer that a driver places.
const BUFFER: Va = Va(4 << 30);
/// The bind granularity of a buffer, in bytes.
const GRANULARITY: u64 = SZ_4K;
/// Repetitions of a measurement, if they do not take longer than [`PATIENCE`].
const REPETITIONS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(2);

/// What the measured calls of a scenario cost with one strategy.
#[derive(Clone, Debug)]
pub struct Measurement {
    pub strategy: Strategy,
    /// VM_BIND ioctls.
    pub ioctls: u64,
    /// Operations in them.
    pub ops: u64,
    /// Operations that map memory, that map the dummy, and that unmap.
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    /// Size of one operation in the ioctl's array, in bytes.
    pub stride: u64,
    /// Bytes that the kernel copies in: structs, operations, sync operations.
    pub bytes_to_kernel: u64,
    /// What only the virtual kernel tells.
    pub tables: Option<Tables>,
    /// Median over the repetitions, in nanoseconds.
    pub elapsed_ns: u64,
    pub repetitions: usize,
}

/// What happened to the page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Entries written: 2 MiB and 4 KiB entries set, and those cleared.
    pub pte_writes: u64,
    /// Pages taken to hold tables.
    pub table_pages: u64,
    /// Calls into the kernel's page-table code: each writes or clears a piece of consecutive pages.
    pub calls: u64,
    /// Mappings (gpuvas) that the kernel keeps for the buffer at the end.
    pub mappings: u64,
}

/// One strategy on one kernel in one scenario, measured again and again.
#[derive(Debug)]
pub struct Subject<'a> {
    pub kernel: &'a KernelSpec,
    pub capabilities: &'a Capabilities,
    pub scenario: Scenario,
    /// Size that the buffer was asked with, in bytes.
    pub bytes: u64,
}

impl Subject<'_> {
    /// Measures `strategy`. `progress` is told the number of each repetition, from 1, and how many there may be.
    pub fn measure(
        &self,
        strategy: Strategy,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Measurement, Failure> {
        let begin = Instant::now();
        progress(1, REPETITIONS);
        let mut measurement = self.once(strategy)?;
        let mut times = vec![measurement.elapsed_ns];
        while times.len() < REPETITIONS && begin.elapsed() < PATIENCE {
            progress(times.len() + 1, REPETITIONS);
            times.push(self.once(strategy)?.elapsed_ns);
        }
        times.sort_unstable();
        measurement.elapsed_ns = times[times.len() / 2];
        measurement.repetitions = times.len();
        Ok(measurement)
    }

    /// One repetition: set-up, which is not measured, and the scenario's calls, which are.
    fn once(&self, strategy: Strategy) -> Result<Measurement, Failure> {
        let failed = |error: &dyn Display| format!("{}, strategy {strategy}: {error}", self.kernel);
        let device = kernel::open(self.kernel)?;
        let size = whole_pages(self.bytes);
        let vm = device.create_vm(0).map_err(|error| failed(&error))?;
        let backing = self
            .capabilities
            .null_map(&device, Some(strategy))
            .map_err(|error| failed(&error))?;
        let memory = match self.scenario.memory_size(size) {
            0 => None,
            bytes => Some(
                device
                    .create_bo(bytes, 0, Some(vm.id()))
                    .map_err(|error| failed(&error))?,
            ),
        };
        let mut driver = Driver::new(&vm, backing.map());
        for call in self.scenario.before(BUFFER, size) {
            driver.submit(&call).map_err(|error| failed(&error))?;
        }
        let calls = self
            .scenario
            .calls(BUFFER, size, memory.as_ref().map(|bo| bo.reference()));

        driver.stride = 0;
        let counted_before = device.counters();
        let tables_before = table_counts(&device, &vm);
        let begin = Instant::now();
        for call in &calls {
            driver.submit(call).map_err(|error| failed(&error))?;
        }
        let elapsed = begin.elapsed();
        let counted = device.counters().since(&counted_before);
        let tables = tables_before.zip(table_counts(&device, &vm));
        Ok(Measurement {
            strategy,
            ioctls: counted.vm_bind_ioctls,
            ops: counted.vm_bind_ops,
            map_ops: counted.map_ops,
            null_ops: counted.null_ops,
            unmap_ops: counted.unmap_ops,
            stride: driver.stride,
            bytes_to_kernel: counted.bytes_to_kernel,
            tables: tables.map(|(before, after)| Tables {
                pte_writes: after.pte_writes - before.pte_writes,
                table_pages: after.table_pages - before.table_pages,
                calls: after.calls - before.calls,
                mappings: after.mappings,
            }),
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            repetitions: 1,
        })
    }
}

/// The part of a driver that this command needs: a shadow and the way of one bind.
struct Driver<'a> {
    vm: &'a Vm,
    null: NullMap,
    shadow: Shadow,
    planner: Planner,
    lowering: Lowering,
    runs: Vec<Run>,
    /// The largest that a call has had since this was last set to 0, in bytes.
    stride: u64,
}

impl<'a> Driver<'a> {
    fn new(vm: &'a Vm, null: NullMap) -> Driver<'a> {
        Driver {
            vm,
            null,
            shadow: Shadow::new(),
            planner: Planner::new(),
            lowering: Lowering::new(),
            runs: Vec::new(),
            stride: 0,
        }
    }

    /// Plans, lowers and binds one call, synchronously and without semaphores.
    fn submit(&mut self, call: &Call) -> Result<(), BindFailure> {
        self.runs.clear();
        self.planner.plan(call, &self.shadow, &mut self.runs);
        let mut lowered = self.lowering.begin(&self.null, &|_, _| GRANULARITY);
        lowered.batch(
            &Batch {
                runs: &self.runs,
                ..Batch::default()
            },
            &self.shadow,
        );
        for ops in lowered.finish() {
            self.vm.bind(ops, BindMode::Sync)?;
            self.stride = self.stride.max(ops.array.stride() as u64);
        }
        self.shadow.apply(&self.runs);
        Ok(())
    }
}

/// What the virtual kernel has done to the VM's page tables so far; `None` for a real one, which does not tell.
fn table_counts(device: &Device, vm: &Vm) -> Option<Tables> {
    let VmStats { pt, mappings, .. } = device.vpanthor()?.vm_stats(vm.id().0)?;
    Some(Tables {
        pte_writes: pt.pte_writes(),
        table_pages: pt.table_pages,
        calls: pt.pt_calls,
        mappings: mappings as u64,
    })
}
