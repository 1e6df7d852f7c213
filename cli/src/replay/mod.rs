//! `panvk-sparse replay`: what a recording asks of each kernel.

mod frames;
mod pictures;
mod report;
pub mod ways;

use std::path::PathBuf;

use hosted::config::NullChoice;
use replay::{Replayed, Stopped, Wanted, side_by_side};
use trace::Record;
use vpanthor::{Flavour, KernelSpec};

use self::frames::Frames;
use self::report::Report;
use super::kernel::{self, Named};
use super::plot;
use super::progress::Bar;
use super::recording::Recording;
use super::stop::{Error, Stop};

const DETAILS: &str = "\
A recording is made by the layer VK_LAYER_PANVK_sparse_trace, with any application on any driver. Here its sparse binds
go through the plan and the operations of each strategy into a virtual kernel, as this project's driver would have it,
and what that costs is counted. Without --kernel and --strategy: page and chunk on 1.5, repeat on 1.8-repeat, sparse
on 1.9. With kernels alone, the best strategy of each; with both, every pair.

With --kernel xe, xe-64k, msm, asahi, nouveau or amdgpu, what changes in the first of these ways (1.9 if no other is named)
is said to that kernel, too, in the bytes of its ioctls. Nothing runs there, and neither its page tables nor its time are known.
Resources and binds keep the sizes that they were recorded with; a call that its pages do not allow is left out and counted.

What is counted:
  calls        vkQueueBindSparse calls that were carried out
  binds        binds in them; elided: those of them that changed nothing
  runs         ranges that really changed: the fewest operations that there can be, where one can do a range
  ops          VM_BIND operations, those at the creation and destruction of resources among them
  ioctls       VM_BIND ioctls
  PTE writes   page-table entries written and cleared, of 4 KiB and of 2 MiB
  to kernel    bytes that the kernel copies in
  estimated    time that these counts take a real kernel, by the cost model (docs/performance.md)
  refused      calls that this project's driver had refused in the recording; nothing of them happened
  failed       calls that failed otherwise; what was done for them is taken back
  skipped      binds that can't be placed: of objects that were made before the recording began, or against the rules
  waits, signals   of other kernels: syncobjs that the driver waits for or signals itself, for the ioctl cannot

A frame ends with a vkQueuePresentKHR. A recording without one is reported call by call. All that comes before --frames is
replayed, too; the totals, the table and --plot are then of these frames alone. --map is always of the whole recording,
and of at most 960 moments of it and the 10 largest resources; --plot of a long recording shows the highest of several
frames as one point; no more than 65,536 frames are listed one by one.

Examples:
  panvk-sparse replay game.pvst
  panvk-sparse replay game.pvst --plot cost.svg --map residency.svg
  panvk-sparse replay game.pvst --kernel vpanthor:1.8 --kernel vpanthor:1.9
  panvk-sparse replay game.pvst --kernel xe --kernel msm --kernel asahi --kernel nouveau --kernel amdgpu
  panvk-sparse replay game.pvst --strategy sparse --frames 100..110
  panvk-sparse replay game.pvst --json | jq '.strategies[] | {strategy, ops: .totals.vm_bind_ops}'

Exit status: 0 success; 1 the recording can't be read or replayed; 2 the command line makes no sense; 130 stopped.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The recording
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// A virtual kernel, vpanthor:<flavour>, or xe, xe-64k, msm, asahi, nouveau, amdgpu; may be given several times
    #[arg(long, value_name = "K")]
    kernel: Vec<Named>,

    /// How unbound ranges are mapped: auto, sparse, repeat, chunk, page; may be given several times
    #[arg(long, value_name = "S", value_parser = strategy)]
    strategy: Vec<NullChoice>,

    /// Report these frames alone, and each of them: A..B (without B), A.., ..B, or one
    #[arg(long, value_name = "A..B", allow_hyphen_values = true)]
    frames: Option<Frames>,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Write a picture of operations and ioctls over time to this file (SVG)
    #[arg(long, value_name = "F.svg")]
    plot: Option<PathBuf>,

    /// Write a picture of what is bound over time to this file (SVG)
    #[arg(long, value_name = "F.svg")]
    map: Option<PathBuf>,

    /// Replay a damaged recording up to the damage
    #[arg(long)]
    salvage: bool,
}

fn strategy(value: &str) -> Result<NullChoice, String> {
    value
        .parse()
        .map_err(|expected| format!("expected {expected}"))
}

/// Replays, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<String, Error> {
    let (mut panthor, others) = kernel::sort(&args.kernel);
    if !others.is_empty() && args.frames.is_some() {
        let why = "--frames: other kernels than panthor are counted over the whole recording";
        return Err(Error::Usage(why.to_owned()));
    }
    if !others.is_empty() && panthor.is_empty() && args.strategy.is_empty() {
        panthor.push(KernelSpec::Vpanthor(Flavour::V1_9));
    }
    let ways = ways::choose(&panthor, &args.strategy).map_err(Error::Usage)?;
    let stop = Stop::on_signals()?;
    let mut recording = Recording::open(&args.trace, args.salvage)?;

    let all = 0..u64::MAX;
    let wanted = Wanted {
        steps: args.frames.as_ref().map_or(all, Frames::range),
        residency: args.map.is_some(),
        others,
    };
    let mut progress = Bar::new("replaying", recording.size());
    let next = |used: &mut Vec<Record>| -> Result<Option<Record>, Error> {
        stop.check()?;
        progress.show(recording.reader().offset());
        for record in used.drain(..) {
            recording.recycle(record);
        }
        Ok(recording.next()?)
    };
    let replayed = side_by_side(&ways, &wanted, next);
    progress.clear();
    let replayed = replayed.map_err(|stopped| match stopped {
        Stopped::Source(error) => error,
        Stopped::Kernel(error) => Error::Run(error.to_string()),
        Stopped::Thread(message) => Error::Run(message),
    })?;
    stop.check()?;
    let report = Report {
        path: &args.trace,
        process: &recording.header().process,
        damage: recording.reader().damage().map(ToString::to_string),
        cut_off: !recording.reader().ended_cleanly(),
        frames: frames_of(args, &replayed)?,
        replayed: &replayed,
    };
    if let Some(path) = &args.plot {
        let picture = pictures::costs(&report).render();
        picture
            .and_then(|svg| plot::save(path, &svg))
            .map_err(Error::Run)?;
    }
    if let Some(path) = &args.map {
        let picture = pictures::residency(&report).render();
        picture
            .and_then(|svg| plot::save(path, &svg))
            .map_err(Error::Run)?;
    }
    if args.json {
        return report.json().map_err(Error::Run);
    }
    let mut out = report.text();
    for (name, path) in [("Plot", &args.plot), ("Map", &args.map)] {
        if let Some(path) = path {
            out.push_str(&format!("{name}: {}\n", path.display()));
        }
    }
    Ok(out)
}

/// The frames that were asked for, where some were.
fn frames_of(args: &Args, replayed: &[Replayed]) -> Result<Option<std::ops::Range<u64>>, Error> {
    let (Some(frames), Some(first)) = (&args.frames, replayed.first()) else {
        return Ok(None);
    };
    frames
        .within(first.kept.count, first.kept.step.name())
        .map(Some)
        .map_err(Error::Run)
}
