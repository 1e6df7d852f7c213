//! Runs a scenario on a kernel with one strategy, and counts.
//!
//! The way is that of the driver: requests, plan, lowering, one VM_BIND. Each repetition has an open file and a VM
//! of its own, so that nothing of an earlier one is in the page tables.

use std::fmt::Display;
use std::time::{Duration, Instant};

use panvk_sparse::bind::{Memory, Planner, Run, Shadow, Target};
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::drm::uapi::{BO_NO_MMAP, IOCTL_VM_BIND, ioctl_nr};
use panvk_sparse::drm::{BindFailure, BindMode, Bo, Device, Tally, Vm};
use panvk_sparse::lower::{Batch, Lowering, NullMap, Ops, Strategy};
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vpanthor::VmStats;

use super::kernel::Kernel;
use super::scenario::{Call, Scenario};
use super::size::whole_pages;
use super::stop::{Error, Stop};

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
    /// Of this, time in the ioctls: a median as well.
    pub ioctl_ns: u64,
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
    pub kernel: &'a Kernel,
    pub capabilities: &'a Capabilities,
    pub scenario: Scenario,
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
        Ok(measurement)
    }

    /// One repetition: set-up, which is not measured, and the scenario's calls, which are.
    fn once(&self, strategy: Strategy) -> Result<Measurement, Error> {
        let failed = |error: &dyn Display| -> Error {
            format!("{}, strategy {strategy}: {error}", self.kernel).into()
        };
        self.stop.check()?;
        let device = self.kernel.open()?;
        let tally = device.tally();
        let size = whole_pages(self.bytes);
        let vm = device.create_vm(0).map_err(|error| failed(&error))?;
        let backing = self
            .capabilities
            .null_map(&device, Some(strategy))
            .map_err(|error| failed(&error))?;
        let memory = match self.memory {
            0 => None,
            // Nobody reads or writes it.
            bytes => Some(
                device
                    .create_bo(bytes, BO_NO_MMAP, Some(vm.id()))
                    .map_err(|error| failed(&error))?,
            ),
        };
        let mut driver = Driver::new(&vm, backing.map(), self.stop);
        let submit = |driver: &mut Driver<'_>, call: &Call| {
            driver
                .submit(call)
                .map_err(|interruption| match interruption {
                    Interruption::Stopped(end) => end,
                    Interruption::Failed(failure) => failed(&failure),
                })
        };
        if let Some(bo) = &memory {
            populate(&vm, bo).map_err(|error| failed(&error))?;
        }
        for call in self.scenario.before(BUFFER, size) {
            submit(&mut driver, &call)?;
        }
        let memory = memory.as_ref().map(|bo| Memory {
            bo: bo.reference(),
            size: bo.size(),
        });
        let calls = self.scenario.calls(BUFFER, size, memory);

        driver.stride = 0;
        let counted_before = device.counters();
        let ioctl_ns_before = in_vm_bind(&tally);
        let tables_before = table_counts(&device, &vm);
        let begin = Instant::now();
        for call in &calls {
            submit(&mut driver, call)?;
        }
        let elapsed = begin.elapsed();
        let ioctl_ns = in_vm_bind(&tally) - ioctl_ns_before;
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
            ioctl_ns,
            repetitions: 1,
        })
    }
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nanoseconds in VM_BIND.
fn in_vm_bind(tally: &Tally) -> u64 {
    let nanoseconds = tally.nanoseconds();
    nanoseconds
        .get(&ioctl_nr(IOCTL_VM_BIND))
        .copied()
        .unwrap_or(0)
}

/// Maps a page of the memory and unmaps it. A real kernel allocates all of a buffer object, page by page, when
/// something of it is mapped for the first time; that is not what binding costs.
fn populate(vm: &Vm, memory: &Bo) -> Result<(), BindFailure> {
    let run = Run {
        va: BUFFER,
        len: SZ_4K,
        target: Target::Memory {
            bo: memory.reference(),
            offset: 0,
        },
    };
    let mut lowering = Lowering::new();
    // No run is to be mapped to a dummy, so it does not matter to which.
    let mut lowered = lowering.begin(&NullMap::Sparse, &|_, _| GRANULARITY);
    lowered.batch(
        &Batch {
            runs: &[run],
            ..Batch::default()
        },
        &Shadow::new(),
    );
    for ops in lowered.finish() {
        vm.bind(ops, BindMode::Sync)?;
    }
    vm.bind(&mut Ops::unmap(BUFFER, SZ_4K), BindMode::Sync)
}

/// Why a call was not carried out, or not to its end.
enum Interruption {
    Stopped(Error),
    Failed(BindFailure),
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
    stop: &'a Stop,
}

impl<'a> Driver<'a> {
    fn new(vm: &'a Vm, null: NullMap, stop: &'a Stop) -> Driver<'a> {
        Driver {
            vm,
            null,
            shadow: Shadow::new(),
            planner: Planner::new(),
            lowering: Lowering::new(),
            runs: Vec::new(),
            stride: 0,
            stop,
        }
    }

    /// Plans, lowers and binds one call, synchronously and without semaphores. A call of many ioctls can be stopped
    /// between them.
    fn submit(&mut self, call: &Call) -> Result<(), Interruption> {
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
            self.stop.check().map_err(Interruption::Stopped)?;
            (self.vm.bind(ops, BindMode::Sync)).map_err(Interruption::Failed)?;
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
