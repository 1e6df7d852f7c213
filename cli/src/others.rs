//! What kernels other than panthor are asked: `compare --kernel xe`, and the table of them that `replay` has, too.

use std::fmt::Display;

use kernels::{Counts, Encoder};
use panvk_sparse::bind::{Memory, SparseRange};
use panvk_sparse::drm::probe;
use panvk_sparse::lower::{PlannedBatch, Strategy};
use panvk_sparse::uapi::BO_NO_MMAP;
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vm::{Initial, SparseVm};
use serde::Serialize;
use vpanthor::{Flavour, KernelSpec};

use super::kernel::Kernel;
use super::measure::Subject;
use super::scenario::Scenario;
use super::size::thousands;
use super::stop::{Error, Stop};
use super::table::render;

/// Where the buffer lies.
const BUFFER: Va = Va(4 << 30);

/// What one kernel is asked. Names and order are relied on by scripts: new fields go last.
#[derive(Debug, Serialize)]
pub struct Row {
    pub kernel: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// As JSON.
#[derive(Serialize)]
struct Report {
    bytes: u64,
    scenario: String,
    kernels: Vec<Row>,
}

/// Compares, and returns what goes to stdout.
pub fn compare(
    kernels: &[kernels::Kernel],
    scenario: Scenario,
    bytes: u64,
    json: bool,
    stop: &Stop,
) -> Result<String, Error> {
    let mut rows = vec![panthor(scenario, bytes, stop)?];
    for &kernel in kernels {
        stop.check()?;
        rows.push(Row {
            kernel: kernel.to_string(),
            counts: other(kernel, scenario, bytes)?,
        });
    }
    if json {
        let report = Report {
            bytes,
            scenario: scenario.to_string(),
            kernels: rows,
        };
        return Ok(super::json(&report)?);
    }
    let size = bytes.next_multiple_of(SZ_4K);
    Ok(format!(
        "{}\nThe same plan for each kernel, counted. Nothing runs on those other than panthor.\n\n{}",
        scenario.describe(bytes, size),
        table(&rows)
    ))
}

/// The kernels side by side.
pub fn table(rows: &[Row]) -> String {
    let header = "kernel|>ops|>map|>null|>unmap|>ioctls|>to kernel|>waits|>signals";
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|Row { kernel, counts }| {
            let mut row = vec![kernel.clone()];
            row.extend(
                [
                    counts.ops,
                    counts.map_ops,
                    counts.null_ops,
                    counts.unmap_ops,
                    counts.ioctls,
                ]
                .map(thousands),
            );
            row.push(format!("{} B", thousands(counts.bytes_to_kernel)));
            row.extend([counts.host_waits, counts.host_signals].map(thousands));
            row
        })
        .collect();
    render(header, &rows)
}

const PANTHOR: KernelSpec = KernelSpec::Vpanthor(Flavour::V1_9);

/// The virtual panthor 1.9, as `compare` without these kernels has it.
fn panthor(scenario: Scenario, bytes: u64, stop: &Stop) -> Result<Row, Error> {
    let kernel = Kernel::choose(Some(&PANTHOR))?;
    let capabilities = probe(&kernel.open()?).map_err(|error| error.to_string())?;
    let subject = Subject {
        kernel: &kernel,
        capabilities: &capabilities,
        scenario,
        granularity: SZ_4K,
        bytes,
        memory: scenario.memory_size(bytes.next_multiple_of(SZ_4K)),
        stop,
    };
    let measured = subject.once(Strategy::Sparse)?;
    Ok(Row {
        kernel: "panthor 1.9".to_owned(),
        counts: Counts {
            ops: measured.vm_bind_ops,
            map_ops: measured.map_ops,
            null_ops: measured.null_ops,
            unmap_ops: measured.unmap_ops,
            ioctls: measured.vm_bind_ioctls,
            bytes_to_kernel: measured.bytes_to_kernel,
            ..Counts::default()
        },
    })
}

/// Another kernel: a virtual panthor takes the calls, and what they change is said to it.
fn other(kernel: kernels::Kernel, scenario: Scenario, bytes: u64) -> Result<Counts, Error> {
    let failed = |error: &dyn Display| Error::Run(format!("{kernel}: {error}"));
    let device = PANTHOR.open().map_err(|error| failed(&error))?;
    let capabilities = probe(&device).map_err(|error| failed(&error))?;
    let null = capabilities
        .null_map(&device, None)
        .map_err(|error| failed(&error))?;
    let page = kernel.limits().memory_page;
    let size = bytes.next_multiple_of(page);
    let mut vm = SparseVm::new(device.create_vm(0).map_err(|error| failed(&error))?, null);
    let range = SparseRange::new(BUFFER, size, page);
    vm.add_range(range, Initial::Unbound)
        .map_err(|error| failed(&error))?;
    let encoder = Encoder::to_count(kernel);
    let mut counts = Counts::default();
    // A new buffer is what the scenario is about, or it was made before.
    let created = encoder.create(&range);
    if scenario == Scenario::Init {
        counts.add(&created);
        created.map_err(|unfit| failed(&unfit))?;
        return Ok(counts);
    }
    let memory = device
        .create_bo(scenario.memory_size(size), BO_NO_MMAP, None)
        .map_err(|error| failed(&error))?;
    let memory = Memory {
        bo: vm.memory(memory.handle()),
        size: memory.size(),
    };
    for call in scenario.calls(BUFFER, size, Some(memory)) {
        let bound = vm.bind_now(&call).map_err(|error| failed(&error))?;
        let batch = PlannedBatch {
            runs: bound.changes.runs(),
            ..PlannedBatch::default()
        };
        let steps = encoder.call(&[batch], vm.ranges());
        counts.add(&steps);
        steps.map_err(|unfit| failed(&unfit))?;
    }
    Ok(counts)
}
