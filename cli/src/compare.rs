//! `panvk-sparse compare`: the strategies of one kernel side by side.

use std::fmt::Write as _;
use std::path::PathBuf;

use panvk_sparse::drm::probe::{Capabilities, probe};
use panvk_sparse::units::SZ_4K;
use serde::Serialize;

use super::kernel::{self, Asked, Kernel, Named};
use super::measure::{Measurement, Subject};
use super::memory::Budget;
use super::others;
use super::plot::{self, Bar, Panel};
use super::probe::{unavailable, why_not};
use super::progress::Line;
use super::scenario::Scenario;
use super::size::{duration, parse_bytes, thousands, whole_pages};
use super::stop::{Error, Stop};
use super::table::render;

const DETAILS: &str = "\
What is counted, over the calls of the scenario and nothing before them:
  ioctls       VM_BIND ioctls
  ops          operations in them
  to kernel    bytes that the kernel copies in: the ioctl's struct and its operations (48 bytes each, or
               56 where they carry a repeat range)
  PTE writes   page-table entries written, of 4 KiB and of 2 MiB: those set and those cleared
  PT calls     calls into the kernel's page-table code, each for a piece of consecutive pages; a repeated mapping
               costs one a repetition
  tables       pages of memory taken to hold page tables
  mappings     what the kernel's list of mappings (gpuvas) holds for the buffer at the end
  estimated    time that these counts take a real kernel, by the cost model (docs/performance.md)
  in ioctls    time measured in the ioctls, shown for a real kernel beside the estimate
  time         planning, lowering and the ioctls, by this machine's monotonic clock: the median of up to 15
               repetitions, each on a new VM. The ioctls of a virtual kernel take the model's time, which is not
               a board's: there, every PTE write and every PT call costs.
  per ioctl    of this time, that in the ioctls, for each of them; and for each operation. Shown for a real kernel

A real kernel (--kernel /dev/dri/renderD<N>, or auto for the first node of /dev/dri that is panthor's) does not tell
the four page-table numbers: null as JSON. The estimate is then that of the model of this kernel. A real kernel takes
all of a buffer object's memory when it is first mapped, which happens before anything is measured. So that it finds
that memory, at most half of what the machine has free is bound, again and again if the scenario wants more; the output says so. When the command ends, also by Ctrl-C, no VM and no
buffer object is left. The JSON's \"ioctls\" are all of the run, by name, as the kernel would count them.

Other kernels (--kernel xe, msm, asahi, nouveau, amdgpu; xe-64k is xe on GPUs whose own memory is bound in 64 KiB): the same
plan is said to them in the bytes of their ioctls, and counted beside panthor 1.9. Nothing runs there, and no time is known. The
buffer takes whole pages of the kernel: 16 KiB on asahi.
  waits, signals   syncobjs that the driver has to wait for or to signal itself, for the ioctl cannot

Scenarios:
  init         a new buffer is mapped to the dummy: what every sparse buffer starts with
  rebind       after init, three calls: all of it bound to memory, all of it unbound, all of it bound again
  fragmented   after init, two calls: every second 64 KiB piece bound to memory, the same pieces unbound

Sizes: a plain number is bytes; K, M and G are powers of 1000; KiB, MiB and GiB powers of 1024. The buffer takes
whole pages of 4 KiB; at most 16 GiB.

Examples:
  panvk-sparse compare
  panvk-sparse compare --bytes 1GiB --kernel vpanthor:1.9 --scenario fragmented --plot cost.svg
  panvk-sparse compare --kernel auto
      on the panthor of this machine
  panvk-sparse compare --json | jq '.strategies[] | {strategy, vm_bind_ops}'";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// Size of the sparse buffer: bytes, or with one of the suffixes K, M, G, KiB, MiB, GiB
    #[arg(long, value_name = "N", default_value = "100000000", value_parser = parse_bytes, allow_negative_numbers = true)]
    bytes: u64,

    /// The kernel: vpanthor:<flavour>, a render node, or auto [default: PANVK_SPARSE_KERNEL, else vpanthor:1.8-repeat]; or xe,
    /// xe-64k, msm, asahi, nouveau, amdgpu, which may be given several times
    #[arg(long, value_name = "K")]
    kernel: Vec<Named>,

    /// What is done with the buffer
    #[arg(long, value_name = "S", default_value = "init")]
    scenario: Scenario,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Write a picture of the comparison to this file (SVG)
    #[arg(long, value_name = "F.svg")]
    plot: Option<PathBuf>,
}

/// The comparison as JSON. Names and order are relied on by scripts: new fields go last.
#[derive(Serialize)]
struct Report<'a> {
    bytes: u64,
    kernel: String,
    scenario: String,
    strategies: &'a [Measurement],
    mapped_bytes: u64,
    /// Size of the buffer object that is bound, in bytes; 0 where the scenario binds none.
    memory_bytes: u64,
    #[serde(flatten)]
    asked: Asked,
}

/// Compares, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<String, Error> {
    let stop = Stop::on_first_signal()?;
    let (panthor, other) = kernel::sort(&args.kernel);
    if !other.is_empty() {
        if !panthor.is_empty() || args.plot.is_some() {
            let why = "--kernel xe, xe-64k, msm, asahi, nouveau and amdgpu are compared with panthor 1.9, without --plot";
            return Err(Error::Usage(why.to_owned()));
        }
        return others::compare(&other, args.scenario, args.bytes, args.json, &stop);
    }
    if panthor.len() > 1 {
        let why = "--kernel: the strategies of one kernel are compared, expected one";
        return Err(Error::Usage(why.to_owned()));
    }
    let kernel = Kernel::choose(panthor.first())?;
    let capabilities = {
        let device = kernel.open()?;
        probe(&device).map_err(|error| format!("{}: {error}", kernel))?
    };
    let wanted = args.scenario.memory_size(whole_pages(args.bytes));
    let memory = Budget::new(&kernel, wanted);
    let measured = measure_all(args, &kernel, &capabilities, memory, &stop)?;
    if let Some(path) = &args.plot {
        let title = format!("What sparse binds cost on {}", kernel);
        let note = match kernel.is_node() {
            true => {
                "Shorter is better; logarithmic scales. Time: planning, lowering and ioctls on this machine."
            }
            false => {
                "Shorter is better; logarithmic scales. Time: what these counts take a real kernel, by the cost model of docs/performance.md."
            }
        };
        plot::write(
            path,
            &title,
            &args.scenario.describe(args.bytes, whole_pages(args.bytes)),
            note,
            &panels(&measured, kernel.is_node()),
        )?;
    }
    if args.json {
        let report = Report {
            bytes: args.bytes,
            kernel: kernel.to_string(),
            scenario: args.scenario.to_string(),
            strategies: &measured,
            mapped_bytes: whole_pages(args.bytes),
            memory_bytes: memory.bytes,
            asked: kernel.asked(),
        };
        return Ok(super::json(&report)?);
    }
    Ok(for_people(args, &kernel, &capabilities, memory, &measured))
}

/// Measures every strategy that works on the kernel, the slowest first.
fn measure_all(
    args: &Args,
    kernel: &Kernel,
    capabilities: &Capabilities,
    memory: Budget,
    stop: &Stop,
) -> Result<Vec<Measurement>, Error> {
    let subject = Subject {
        kernel,
        capabilities,
        scenario: args.scenario,
        granularity: SZ_4K,
        bytes: args.bytes,
        memory: memory.bytes,
        stop,
    };
    let mut progress = Line::new();
    let measured = capabilities
        .strategies
        .iter()
        .rev()
        .map(|&strategy| {
            subject.measure(strategy, |i, n| {
                progress.show(|| format!("measuring {strategy}: repetition {i} of up to {n}"));
            })
        })
        .collect();
    progress.clear();
    measured
}

fn for_people(
    args: &Args,
    kernel: &Kernel,
    capabilities: &Capabilities,
    memory: Budget,
    measured: &[Measurement],
) -> String {
    let size = whole_pages(args.bytes);
    let mut out = format!("{}\n", args.scenario.describe(args.bytes, size));
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "It takes {} pages of 4 KiB{}. Kernel: {}.\n",
        thousands(size >> 12),
        if size == args.bytes {
            String::new()
        } else {
            format!(", {} bytes", thousands(size))
        },
        kernel
    );
    out.push_str(&table(measured, kernel.is_node()));
    out.push('\n');
    out.push_str(&conclusion(measured));
    for strategy in unavailable(capabilities) {
        let _ = writeln!(
            out,
            "Not compared: {strategy}, {}.",
            why_not(strategy, capabilities)
        );
    }
    if let Some(note) = memory.note() {
        let _ = writeln!(out, "{note}");
    }
    if let Some(path) = &args.plot {
        let _ = writeln!(out, "Plot: {}", path.display());
    }
    out
}

/// The numbers side by side: of page tables where the kernel is a virtual one, which tells, and of time in ioctls where
/// it is a real one, whose time means something.
fn table(measured: &[Measurement], real: bool) -> String {
    let own = match real {
        false => "|>PTE writes|>PT calls|>tables|>mappings|>estimated|>time",
        true => "|>estimated|>in ioctls|>time|>per ioctl|>per op",
    };
    let header = "strategy|>ioctls|>ops|>fewer ops|>to kernel".to_owned() + own;
    let most_ops = measured.iter().map(|m| m.vm_bind_ops).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|m| {
            let tables = |n: Option<u64>| n.map_or("-".to_owned(), thousands);
            let each = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
            let mut cells = vec![
                m.strategy.to_string(),
                thousands(m.vm_bind_ioctls),
                thousands(m.vm_bind_ops),
                ratio(most_ops, m.vm_bind_ops),
                format!("{} B", thousands(m.bytes_to_kernel)),
            ];
            cells.extend(match real {
                false => vec![
                    tables(m.pte_writes),
                    tables(m.pt_calls),
                    tables(m.table_pages),
                    tables(m.gpuvas),
                    each(m.estimated_ns),
                    duration(m.elapsed_ns),
                ],
                true => vec![
                    each(m.estimated_ns),
                    duration(m.ioctl_ns),
                    duration(m.elapsed_ns),
                    each(m.ns_per_ioctl),
                    each(m.ns_per_op),
                ],
            });
            cells
        })
        .collect();
    render(&header, &rows)
}

/// `most / n` as a factor: `24,415x`, `3.2x`, `1x`.
fn ratio(most: u64, n: u64) -> String {
    if n == 0 {
        return "-".to_owned();
    }
    let factor = most as f64 / n as f64;
    if most % n == 0 || factor >= 99.5 {
        format!("{}x", thousands(factor.round() as u64))
    } else {
        format!("{factor:.1}x")
    }
}

/// What the table shows, in a sentence or two.
fn conclusion(measured: &[Measurement]) -> String {
    let (Some(worst), Some(best)) = (measured.first(), measured.last()) else {
        return "No strategy works on this kernel.\n".to_owned();
    };
    let mut out = if best.vm_bind_ops < worst.vm_bind_ops {
        format!(
            "{} needs {} where {} needs {}: {} fewer.",
            best.strategy,
            operations(best.vm_bind_ops),
            worst.strategy,
            thousands(worst.vm_bind_ops),
            ratio(worst.vm_bind_ops, best.vm_bind_ops),
        )
    } else {
        format!("Every strategy needs {}.", operations(best.vm_bind_ops))
    };
    // Fewer operations are not everything: say so where another strategy costs the kernel less.
    let cheapest = measured.iter().min_by_key(|m| m.estimated_ns);
    let compared = cheapest.and_then(|m| Some((m, m.estimated_ns?, best.estimated_ns?)));
    if let Some((cheapest, least, own)) = compared.filter(|(_, least, own)| least < own) {
        let entries = |m: &Measurement| m.pte_writes.map_or("-".to_owned(), thousands);
        let _ = write!(
            out,
            "\nThe kernel's time is another matter: {} takes it about {} ({} page-table entries), {} {} ({}).",
            best.strategy,
            duration(own),
            entries(best),
            cheapest.strategy,
            duration(least),
            entries(cheapest),
        );
    }
    out.push('\n');
    out
}

fn operations(n: u64) -> String {
    format!(
        "{} operation{}",
        thousands(n),
        if n == 1 { "" } else { "s" }
    )
}

/// What the picture shows: the time of a real kernel is measured, that of a modelled one is estimated.
fn panels(measured: &[Measurement], real: bool) -> Vec<Panel> {
    type Value = fn(&Measurement) -> Option<u64>;
    let panel = |title: &str, tick, value: Value, label: fn(u64) -> String| Panel {
        title: title.to_owned(),
        tick,
        bars: measured
            .iter()
            .map(|m| Bar {
                name: m.strategy.to_string(),
                value: value(m).map(|v| v as f64),
                label: value(m).map_or("not known".to_owned(), label),
            })
            .collect(),
    };
    let (time, value): (_, Value) = match real {
        true => ("time", |m| Some(m.elapsed_ns)),
        false => ("the kernel's time, estimated", |m| m.estimated_ns),
    };
    vec![
        panel(
            "VM_BIND operations",
            plot::count_tick,
            |m| Some(m.vm_bind_ops),
            thousands,
        ),
        panel(time, plot::nanoseconds_tick, value, duration),
        panel(
            "page-table entries written",
            plot::count_tick,
            |m| m.pte_writes,
            thousands,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_whole_where_they_are_and_short_where_they_are_not() {
        assert_eq!(ratio(24_415, 1), "24,415x");
        assert_eq!(ratio(24_415, 24_415), "1x");
        assert_eq!(ratio(24_415, 48), "509x");
        assert_eq!(ratio(10, 3), "3.3x");
        assert_eq!(ratio(10, 0), "-");
    }
}
