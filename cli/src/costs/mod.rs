//! `panvk-sparse probe --costs`: what each part of a bind costs on this kernel, and how well the sum tells a bind's time.
//!
//! A kernel tells how long a bind takes, not what it does for it. That tells the model of this kernel, which carries out the same
//! binds. Costs are what makes times of work.

mod binds;
mod fit;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use panvk_sparse::bind::{Request, SparseRange, Target};
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::drm::{BindMode, Device, Syncobj};
use panvk_sparse::lower::{Attach, Costs, OpArray, OpCounts, Ops, Work};
use panvk_sparse::uapi::{
    BO_NO_MMAP, SyncOp, VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_TYPE_MAP, VmBindOp,
};
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vm::{Batch, Initial, SparseVm};
use serde::Serialize;
use vpanthor::{OpenOptions, Virtual, model_of};

use crate::kernel::Kernel;
use crate::measure::in_vm_bind;
use crate::progress::Line;
use crate::size::{duration, thousands};
use crate::stop::{Error, Stop};
use crate::table::render;
use binds::{BUFFER_SIZE, Bind, MEMORY_SIZE, Way};

const BUFFER: Va = Va(4 << 30);
/// Of which the fastest counts: whatever else the machine does makes a bind slower, never faster.
const REPETITIONS: usize = 15;

/// Operations that Mesa's panvk 26 puts into one ioctl.
const PANVK_OPS: usize = 16;

const PARTS: usize = 9;
const NAMES: [&str; PARTS] = [
    "ioctl",
    "operation",
    "page-table call",
    "repetition",
    "4 KiB entry",
    "2 MiB entry",
    "table",
    "asynchronous ioctl, more",
    "asynchronous operation, more",
];

/// Names and order are those of the JSON.
#[derive(Serialize)]
struct Report {
    kernel: String,
    /// As `1.9`.
    version: String,
    strategy: &'static str,
    /// Whether times fit better if no memory is mapped with 2 MiB entries.
    small_pages: bool,
    costs: Vec<Cost>,
    binds: Vec<Measured>,
    here: Agreement,
    compiled_in: Agreement,
}

#[derive(Serialize)]
struct Cost {
    part: &'static str,
    /// Nanoseconds. `None`: no bind had any of it.
    here_ns: Option<f64>,
    compiled_in_ns: f64,
}

#[derive(Serialize)]
struct Measured {
    what: String,
    ops: u64,
    pt_calls: u64,
    entries: u64,
    large_entries: u64,
    tables: u64,
    measured_ns: u64,
    here_ns: u64,
    compiled_in_ns: u64,
}

/// How well costs tell the times of the binds.
#[derive(Serialize)]
struct Agreement {
    /// Spearman's: 1 is the same order.
    rank_correlation: f64,
    /// By how much of the measured time the sum is off, in the median and at most.
    median_error: f64,
    worst_error: f64,
}

/// Measures, and returns what goes to stdout.
pub fn run(
    kernel: &Kernel,
    capabilities: &Capabilities,
    json: bool,
    stop: &Stop,
) -> Result<String, Error> {
    if !kernel.is_node() {
        return Err(Error::Usage(format!(
            "probe --costs takes the time of a kernel, and {kernel} is a model, whose time is not that of one: name a render \
             node with --kernel (see docs/real-kernel.md for one without a GPU)"
        )));
    }
    let device = kernel.open()?;
    let mut progress = Line::new();
    let measured = carry_out(&device, capabilities, REPETITIONS, stop, |what| {
        progress.show(|| format!("measuring {what}"));
    });
    progress.clear();
    let measured = measured?;
    let fitted = [false, true].map(|small_pages| {
        let options = OpenOptions {
            small_pages,
            ..OpenOptions::default()
        };
        let model = vpanthor::Kernel::new(model_of(capabilities));
        let model = vpanthor::device(model.open(options)).map_err(|error| error.to_string())?;
        let counted = carry_out(&model, capabilities, 1, stop, |_| {})?;
        Ok::<_, Error>(report(
            kernel,
            capabilities,
            small_pages,
            &measured,
            &counted,
        ))
    });
    let [large, small] = fitted;
    let (large, small) = (large?, small?);
    let report = if small.here.median_error < large.here.median_error {
        small
    } else {
        large
    };
    if json {
        return Ok(crate::json(&report)?);
    }
    Ok(for_people(&report))
}

/// A bind that was carried out.
struct Done {
    what: String,
    way: Way,
    fastest: Duration,
    work: Work,
}

/// Carries out each bind so many times, and once before, in which the kernel makes the memory. Work is only counted by a model.
fn carry_out(
    device: &Device,
    capabilities: &Capabilities,
    repetitions: usize,
    stop: &Stop,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Done>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::from(format!("probe --costs: {error}"));
    let memory = device
        .create_bo(MEMORY_SIZE, BO_NO_MMAP, None)
        .map_err(|error| failed(&error))?;
    let open = || -> Result<SparseVm, Error> {
        let vm = device.create_vm(0).map_err(|error| failed(&error))?;
        let null = capabilities.null_map(device, None);
        Ok(SparseVm::new(vm, null.map_err(|error| failed(&error))?))
    };
    let count = binds::all(BUFFER, open()?.memory(memory.handle())).len();
    let tally = device.tally();
    let mut done = Vec::new();
    for index in 0..count {
        let mut vm = open()?;
        let bind = binds::all(BUFFER, vm.memory(memory.handle())).swap_remove(index);
        let Bind {
            what,
            before,
            call,
            way,
        } = bind;
        progress(&what);
        let (mut fastest, mut more) = (Duration::MAX, Work::default());
        for repetition in 0..=repetitions {
            stop.check()?;
            let range = SparseRange::new(BUFFER, BUFFER_SIZE, SZ_4K);
            vm.add_range(range, Initial::Unknown)
                .map_err(|error| failed(&error))?;
            for call in &before {
                vm.bind_now(call).map_err(|error| failed(&error))?;
            }
            let (asked, spent) = (device.counters(), in_vm_bind(&tally));
            let counted = work(&vm, 0, 0);
            let signal = match way {
                Way::Ours | Way::AsItIs => None,
                Way::Asynchronously | Way::AsPanvk => {
                    Some((device.create_syncobj(false)).map_err(|error| failed(&error))?)
                }
            };
            let signals: Vec<SyncOp> = signal.iter().map(Syncobj::signal_op).collect();
            match way {
                Way::Ours => vm.bind_now(&call).map_err(|error| failed(&error)).map(drop),
                Way::AsItIs => (vm.vm().bind(&mut one_each(&call), BindMode::Sync))
                    .map_err(|error| failed(&error)),
                Way::Asynchronously => {
                    let batch = Batch {
                        requests: &call,
                        signals: &signals,
                        ..Batch::default()
                    };
                    vm.bind(&[batch]).map_err(|error| failed(&error)).map(drop)
                }
                Way::AsPanvk => {
                    let mut calls: Vec<Ops> = call.chunks(PANVK_OPS).map(one_each).collect();
                    if let Some(last) = calls.last_mut() {
                        last.attach = vec![Attach {
                            op: last.array.len() - 1,
                            syncs: 0..signals.len(),
                        }];
                        last.syncs = signals;
                    }
                    (calls.iter_mut())
                        .try_for_each(|ops| vm.vm().bind(ops, BindMode::Async))
                        .map_err(|error| failed(&error))
                }
            }?;
            let begin = Instant::now();
            if let Some(signal) = signal {
                signal.wait(None).map_err(|error| failed(&error))?;
            }
            let waited = begin.elapsed();
            let asked = device.counters().since(&asked);
            let spent = Duration::from_nanos(in_vm_bind(&tally) - spent) + waited;
            if repetition > 0 {
                fastest = fastest.min(spent);
            }
            let after = work(&vm, asked.vm_bind_ioctls, asked.vm_bind_ops);
            if let Some((before, after)) = counted.zip(after) {
                more = after.since(&before);
                if matches!(way, Way::Asynchronously | Way::AsPanvk) {
                    more = more.asynchronously();
                }
            }
            vm.remove_range(BUFFER).map_err(|error| failed(&error))?;
        }
        done.push(Done {
            what,
            way,
            fastest,
            work: more,
        });
    }
    Ok(done)
}

/// The requests, which are for memory, as an operation each.
fn one_each(call: &[Request]) -> Ops {
    let op = |request: &Request| match request.target {
        Target::Memory { bo, offset, .. } => Some(VmBindOp {
            flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC,
            bo_handle: bo.handle.0,
            bo_offset: offset,
            va: request.va.0,
            size: request.len,
            ..VmBindOp::default()
        }),
        Target::Null => None,
    };
    let ops: Vec<VmBindOp> = call.iter().filter_map(op).collect();
    Ops {
        counts: OpCounts {
            map: ops.len() as u64,
            ..OpCounts::default()
        },
        array: OpArray::Plain(ops),
        ..Ops::default()
    }
}

/// What the VM's page tables took until now, and so many ioctls and operations. Only the virtual kernel tells.
fn work(vm: &SparseVm, ioctls: u64, ops: u64) -> Option<Work> {
    let stats = vm.vm().device().vpanthor()?.vm_stats(vm.vm().id().0)?;
    Some(stats.pt.work(ioctls, ops))
}

fn parts(work: &Work) -> [f64; PARTS] {
    [
        work.ioctls,
        work.ops,
        work.calls,
        work.repetitions,
        work.entries,
        work.large_entries,
        work.tables,
        work.async_ioctls,
        work.async_ops,
    ]
    .map(|count| count as f64)
}

fn compiled_in() -> [f64; PARTS] {
    let costs = Costs::PANTHOR;
    [
        costs.ioctl,
        costs.op,
        costs.call,
        costs.repetition,
        costs.entry,
        costs.large_entry,
        costs.table,
        costs.async_ioctl,
        costs.async_op,
    ]
    .map(|picoseconds| picoseconds as f64 / 1000.0)
}

/// `measured` has the times, `counted` the work, of the same binds.
fn report(
    kernel: &Kernel,
    capabilities: &Capabilities,
    small_pages: bool,
    measured: &[Done],
    counted: &[Done],
) -> Report {
    // Panvk's ioctls go on while the kernel carries out those before, so that no sum of their parts tells their time.
    let work: Vec<([f64; PARTS], f64)> = (measured.iter().zip(counted))
        .filter(|(time, _)| time.way != Way::AsPanvk)
        .map(|(time, count)| (parts(&count.work), time.fastest.as_nanos() as f64))
        .collect();
    let given = compiled_in();
    let here = fit::fit(&work, given);
    let cost = |part: usize| Cost {
        part: NAMES[part],
        here_ns: work
            .iter()
            .any(|(parts, _)| parts[part] > 0.0)
            .then_some(here[part]),
        compiled_in_ns: given[part],
    };
    let bind = |(time, count): (&Done, &Done)| {
        let ns = |costs: &[f64; PARTS]| fit::dot(&parts(&count.work), costs).round() as u64;
        Measured {
            what: time.what.clone(),
            ops: count.work.ops,
            pt_calls: count.work.calls + count.work.repetitions,
            entries: count.work.entries,
            large_entries: count.work.large_entries,
            tables: count.work.tables,
            measured_ns: time.fastest.as_nanos() as u64,
            here_ns: ns(&here),
            compiled_in_ns: ns(&given),
        }
    };
    let (major, minor) = capabilities.version;
    Report {
        kernel: kernel.to_string(),
        version: format!("{major}.{minor}"),
        strategy: capabilities
            .strategies
            .first()
            .map_or("none", |best| best.name()),
        small_pages,
        costs: (0..PARTS).map(cost).collect(),
        binds: measured.iter().zip(counted).map(bind).collect(),
        here: agreement(&work, &here),
        compiled_in: agreement(&work, &given),
    }
}

fn agreement(work: &[([f64; PARTS], f64)], costs: &[f64; PARTS]) -> Agreement {
    let times: Vec<f64> = work.iter().map(|&(_, time)| time).collect();
    let sums: Vec<f64> = work
        .iter()
        .map(|(parts, _)| fit::dot(parts, costs))
        .collect();
    let mut errors: Vec<f64> = (sums.iter().zip(&times))
        .map(|(sum, time)| (sum / time - 1.0).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    Agreement {
        rank_correlation: fit::rank_correlation(&times, &sums),
        median_error: errors.get(errors.len() / 2).copied().unwrap_or(0.0),
        worst_error: errors.last().copied().unwrap_or(0.0),
    }
}

fn for_people(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "Kernel    {}, panthor uAPI {}",
        report.kernel, report.version
    );
    let _ = writeln!(
        out,
        "Measured  {} binds, strategy {}; the fastest of {REPETITIONS} times each, in the ioctl",
        report.binds.len(),
        report.strategy
    );
    let pages = match report.small_pages {
        true => "only 4 KiB entries: these fit the times better than 2 MiB entries",
        false => "2 MiB entries where they can be",
    };
    let _ = writeln!(out, "Memory    {pages}\n");
    let ns = |ns: f64| match ns {
        1000.0.. => format!("{:.1} µs", ns / 1000.0),
        _ => format!("{ns:.1} ns"),
    };
    let costs: Vec<Vec<String>> = (report.costs.iter())
        .map(|cost| {
            let here = cost.here_ns.map_or("not seen".to_owned(), ns);
            vec![cost.part.to_owned(), here, ns(cost.compiled_in_ns)]
        })
        .collect();
    out.push_str(&render(
        "a part of the work|>costs here|>compiled in",
        &costs,
    ));
    out.push('\n');
    let binds: Vec<Vec<String>> = (report.binds.iter())
        .map(|bind| {
            vec![
                bind.what.clone(),
                thousands(bind.ops),
                thousands(bind.entries + bind.large_entries),
                duration(bind.measured_ns),
                duration(bind.here_ns),
                duration(bind.compiled_in_ns),
            ]
        })
        .collect();
    let header = "bind|>ops|>entries|>measured|>costs here|>compiled in";
    out.push_str(&render(header, &binds));
    out.push('\n');
    for (costs, agreement) in [
        ("The costs here", &report.here),
        ("Those compiled in", &report.compiled_in),
    ] {
        let _ = writeln!(
            out,
            "{costs} order the binds with a rank correlation of {:.3} (1: as measured); they are off by {:.0} % in the \
             median, {:.0} % at most.",
            agreement.rank_correlation,
            agreement.median_error * 100.0,
            agreement.worst_error * 100.0
        );
    }
    out
}
