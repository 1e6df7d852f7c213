//! Runs a scenario on a kernel with one strategy, and counts.
//!
//! The way is that of the driver: requests, plan, lowering, one VM_BIND. Each repetition has an open file and a VM
//! of its own, so that nothing of an earlier one is in the page tables.

use std::time::{Duration, Instant};

use panvk_sparse::bind::{Planner, Run, Shadow};
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::drm::{BindMode, Bo, Device, Vm};
use panvk_sparse::lower::{Batch, Lowering, NullMap, OpArray, Ops, Strategy};
use panvk_sparse::units::{BoRef, SZ_2M, SZ_4K, Va};
use panvk_sparse::vpanthor::VmStats;

use super::Failure;
use super::kernel::Kernel;
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
    /// Page-table calls: each maps or unmaps one range of pages.
    pub calls: u64,
    /// Mappings (gpuvas) that the kernel keeps for the buffer at the end.
    pub mappings: u64,
}

/// One strategy on one kernel in one scenario, measured again and again.
#[derive(Debug)]
pub struct Subject<'a> {
    pub kernel: &'a Kernel,
    pub capabilities: &'a Capabilities,
    pub scenario: Scenario,
    /// Size that the buffer was asked with, in bytes.
    pub bytes: u64,
}

impl Subject<'_> {
    /// Measures `strategy`. `progress` is told the number of each repetition, from 1, and how many there may be.
    pub fn measure(&self, strategy: Strategy, mut progress: impl FnMut(usize, usize)) -> Result<Measurement, Failure> {
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
        let device = self.kernel.open()?;
        let size = whole_pages(self.bytes);
        let what = |error: &dyn std::fmt::Display| format!("{}: {error}", self.kernel.name());
        let vm = device.create_vm(0).map_err(|e| what(&e))?;
        let (null, _dummy) = null_map(&device, &vm, strategy, self.capabilities).map_err(|e| what(&e))?;
        let memory_size = self.scenario.memory_size(size);
        let memory = match memory_size {
            0 => None,
            _ => Some(device.create_bo(memory_size, 0, Some(&vm)).map_err(|e| what(&e))?),
        };
        let memory_ref = memory.as_ref().map(|bo| BoRef {
            handle: bo.handle(),
            serial: 1,
        });
        let mut driver = Driver {
            vm: &vm,
            null: &null,
            shadow: Shadow::new(),
            planner: Planner::default(),
            lowering: Lowering::default(),
            runs: Vec::new(),
            stride: 0,
        };
        for call in self.scenario.before(BUFFER, size) {
            driver.submit(&call).map_err(|e| what(&e))?;
        }
        let calls = self.scenario.calls(BUFFER, size, memory_ref);

        let counters = device.counters();
        let tables = table_counts(&device, &vm);
        let begin = Instant::now();
        for call in &calls {
            driver.submit(call).map_err(|e| what(&e))?;
        }
        let elapsed = begin.elapsed();
        let stride = driver.stride;
        let counted = device.counters();
        Ok(Measurement {
            strategy,
            ioctls: counted.vm_bind_ioctls - counters.vm_bind_ioctls,
            ops: counted.vm_bind_ops - counters.vm_bind_ops,
            map_ops: counted.map_ops - counters.map_ops,
            null_ops: counted.null_ops - counters.null_ops,
            unmap_ops: counted.unmap_ops - counters.unmap_ops,
            stride,
            bytes_to_kernel: counted.bytes_to_kernel - counters.bytes_to_kernel,
            tables: tables.zip(table_counts(&device, &vm)).map(|(before, after)| Tables {
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
    null: &'a NullMap,
    shadow: Shadow,
    planner: Planner,
    lowering: Lowering,
    runs: Vec<Run>,
    stride: u64,
}

impl Driver<'_> {
    /// Plans, lowers and binds one call, synchronously and without semaphores.
    fn submit(&mut self, call: &Call) -> Result<(), BindFailure> {
        self.runs.clear();
        self.planner.plan(call, &self.shadow, &mut self.runs);
        let mut lowered = self.lowering.begin(self.null, &|_, _| GRANULARITY);
        lowered.batch(&Batch { runs: &self.runs, ..Batch::default() }, &self.shadow);
        for ops in lowered.finish() {
            self.vm.bind(ops, BindMode::Sync)?;
            self.stride = self.stride.max(ops.array.stride() as u64);
        }
        self.shadow.apply(&self.runs);
        Ok(())
    }
}

/// The strategy with a dummy of its own on this VM. The dummy lives as long as the second value.
fn null_map(
    device: &Device,
    vm: &Vm,
    strategy: Strategy,
    capabilities: &Capabilities,
) -> Result<(NullMap, Option<Bo>), Errno> {
    let max_range = capabilities.repeat_max_range;
    let dummy_size = match strategy {
        Strategy::Sparse => return Ok((NullMap::Sparse, None)),
        Strategy::Repeat => max_range.max(GRANULARITY),
        Strategy::Chunk => SZ_2M,
        Strategy::Page => SZ_4K,
    };
    let bo = device.create_bo(dummy_size, 0, Some(vm))?;
    let dummy = bo.handle();
    let null = match strategy {
        Strategy::Repeat => NullMap::Repeat { dummy, dummy_size, max_range },
        Strategy::Chunk => NullMap::Chunk { dummy, dummy_size },
        _ => NullMap::Page { dummy },
    };
    Ok((null, Some(bo)))
}

/// What the virtual kernel has done to the VM's page tables so far; `None` for a real one, which does not tell.
fn table_counts(device: &Device, vm: &Vm) -> Option<Tables> {
    let VmStats { pt, mappings, .. } = device.vpanthor()?.vm_stats(vm.id())?;
    Some(Tables {
        pte_writes: pt.map_2m + pt.map_4k + pt.clear_2m_block + pt.clear_2m_table + pt.clear_4k,
        table_pages: pt.table_pages,
        calls: pt.pt_calls,
        mappings: mappings as u64,
    })
}
