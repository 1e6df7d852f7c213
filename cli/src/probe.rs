//! `panvk-sparse probe`: what a kernel can do, and how that was found out.

use std::fmt::Write as _;

use panvk_sparse::drm::probe::{Capabilities, Outcome, probe};
use panvk_sparse::lower::{Costs, Strategy, Work};
use panvk_sparse::units::SZ_64K;
use serde::Serialize;
use vpanthor::KernelSpec;

use super::kernel::{Asked, Kernel};
use super::measure::Subject;
use super::scenario::Scenario;
use super::size::{binary, duration, thousands};
use super::stop::{Error, Stop};
use super::table::render;

const DETAILS: &str = "\
A version number alone does not tell what a kernel can do: the OP_MAP_REPEAT series calls itself 1.6 or 1.8, which
mean other things in mainline. So everything is tried on a scratch VM, which is gone afterwards, and the version
only says what is worth trying. The best strategy that works is what the driver takes, unless PANVK_SPARSE_NULL
asks for another.

auto is the first node of /dev/dri that is panthor's. On a node the ioctls are listed with the time that they took;
--json has them for every kernel. When the command ends, also by Ctrl-C, no VM and no buffer object is left.

Examples:
  panvk-sparse probe --kernel vpanthor:1.9
  panvk-sparse probe --kernel auto
      the panthor of this machine
  panvk-sparse probe --kernel auto --costs
  panvk-sparse probe --json | jq .chosen";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The kernel: vpanthor:<flavour>, a render node, or auto [default: PANVK_SPARSE_KERNEL, else vpanthor:1.8-repeat]
    #[arg(long, value_name = "K")]
    kernel: Option<KernelSpec>,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Measure instead what an operation, a page-table entry and other parts of a bind cost on this render node, and how well
    /// that tells the time of a bind. Takes a few seconds and 100 MB
    #[arg(long)]
    costs: bool,
}

/// What the probe found, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    kernel: String,
    /// As `1.8`.
    version: String,
    /// A bit for each size in bytes.
    page_sizes: u64,
    tried: Vec<Tried<'a>>,
    /// Best first.
    strategies: Vec<&'static str>,
    repeat_max_range: u64,
    chosen: Option<&'static str>,
    unavailable: Vec<Unavailable>,
    #[serde(flatten)]
    asked: Asked,
    new_buffer: Vec<NewBuffer>,
}

/// What a sparse buffer of [`BUFFER_SIZE`] bytes takes with a strategy, by the model of the kernel.
#[derive(Serialize)]
struct NewBuffer {
    strategy: &'static str,
    /// Of its creation.
    ops: u64,
    /// Of its creation, by the cost model.
    estimated_ns: u64,
    /// Of its life, by the cost model.
    life_ns: u64,
}

/// Whole pieces of [`GRANULARITY`].
const BUFFER_SIZE: u64 = 100_007_936;
/// The first line about a kernel that is not this machine's.
const A_MODEL: &str = "This is a model (PANVK_SPARSE_KERNEL or --kernel choose it), not this machine's kernel: \
                       panvk-sparse probe --kernel auto asks that.\n\n";
/// What this driver asks of applications: the size of a sparse block.
const GRANULARITY: u64 = SZ_64K;
/// What costs so many times as much is worth a word.
const MUCH: f64 = 1.15;

/// For each strategy that works, best first.
///
/// The life of a buffer: it is created; all of it is bound, unbound and bound again; it is bound and unbound in scattered pieces.
/// A driver creates it synchronously and does all else asynchronously.
fn new_buffers(capabilities: &Capabilities, stop: &Stop) -> Result<Vec<NewBuffer>, Error> {
    let kernel = Kernel::model_of(capabilities);
    let once = |scenario: Scenario, strategy| {
        let subject = Subject {
            kernel: &kernel,
            capabilities,
            scenario,
            granularity: GRANULARITY,
            bytes: BUFFER_SIZE,
            memory: scenario.memory_size(BUFFER_SIZE),
            stop,
        };
        subject.once(strategy)
    };
    let measure = |&strategy: &Strategy| {
        let time = |work: Work| Costs::PANTHOR.time(&work).as_nanos() as u64;
        let created = once(Scenario::Init, strategy)?;
        let created_ns = created.work.map_or(0, time);
        let mut life_ns = created_ns;
        for scenario in [Scenario::Rebind, Scenario::Fragmented] {
            let work = once(scenario, strategy)?.work;
            life_ns += work.map_or(0, |work| time(work.asynchronously()));
        }
        Ok(NewBuffer {
            strategy: strategy.name(),
            ops: created.vm_bind_ops,
            estimated_ns: created_ns,
            life_ns,
        })
    };
    capabilities.strategies.iter().map(measure).collect()
}

#[derive(Serialize)]
struct Tried<'a> {
    strategy: Option<&'static str>,
    what: &'a str,
    outcome: String,
    meaning: &'a str,
}

#[derive(Serialize)]
struct Unavailable {
    strategy: &'static str,
    why: String,
}

/// Probes, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<String, Error> {
    let stop = Stop::on_first_signal()?;
    let kernel = Kernel::choose(args.kernel.as_ref())?;
    let capabilities = probe(&kernel.open()?).map_err(|error| format!("{}: {error}", kernel))?;
    stop.check()?;
    if args.costs {
        return super::costs::run(&kernel, &capabilities, args.json, &stop);
    }
    let new_buffer = new_buffers(&capabilities, &stop)?;
    if args.json {
        let report = Report {
            kernel: kernel.to_string(),
            version: format!("{}.{}", capabilities.version.0, capabilities.version.1),
            page_sizes: capabilities.page_sizes,
            tried: (capabilities.tried.iter())
                .map(|trial| Tried {
                    strategy: trial.strategy.map(Strategy::name),
                    what: &trial.what,
                    outcome: trial.outcome.to_string(),
                    meaning: &trial.meaning,
                })
                .collect(),
            strategies: (capabilities.strategies.iter())
                .map(|strategy| strategy.name())
                .collect(),
            repeat_max_range: capabilities.repeat_max_range,
            chosen: capabilities
                .strategies
                .first()
                .map(|strategy| strategy.name()),
            unavailable: unavailable(&capabilities)
                .map(|strategy| Unavailable {
                    strategy: strategy.name(),
                    why: why_not(strategy, &capabilities),
                })
                .collect(),
            asked: kernel.asked(),
            new_buffer,
        };
        return Ok(super::json(&report)?);
    }
    Ok(for_people(&kernel, &capabilities, &new_buffer))
}

/// Probes, and returns what it says to people.
pub fn shown(kernel: &Kernel, stop: &Stop) -> Result<String, Error> {
    let capabilities = probe(&kernel.open()?).map_err(|error| format!("{kernel}: {error}"))?;
    let new_buffer = new_buffers(&capabilities, stop)?;
    Ok(for_people(kernel, &capabilities, &new_buffer))
}

/// The strategies that do not work on this kernel, best first.
pub fn unavailable(capabilities: &Capabilities) -> impl Iterator<Item = Strategy> {
    Strategy::ALL
        .into_iter()
        .filter(|strategy| !capabilities.strategies.contains(strategy))
}

/// Why `strategy` does not work: the first trial of it that the kernel did not accept.
pub fn why_not(strategy: Strategy, capabilities: &Capabilities) -> String {
    capabilities
        .tried
        .iter()
        .find(|trial| trial.strategy == Some(strategy) && trial.outcome != Outcome::Accepted)
        .map_or_else(
            || "nothing of it was tried".to_owned(),
            |trial| match trial.outcome {
                Outcome::Refused(_) => {
                    format!("{} (the kernel said {})", trial.meaning, trial.outcome)
                }
                _ => trial.meaning.clone(),
            },
        )
}

fn for_people(kernel: &Kernel, capabilities: &Capabilities, buffers: &[NewBuffer]) -> String {
    let (major, minor) = capabilities.version;
    let sizes: Vec<String> = (0..u64::BITS)
        .map(|bit| capabilities.page_sizes & (1 << bit))
        .filter(|&size| size != 0)
        .map(binary)
        .collect();
    let mut out = String::new();
    if !kernel.is_node() {
        out.push_str(A_MODEL);
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Kernel      {}, panthor uAPI {major}.{minor}", kernel);
    let _ = writeln!(out, "Page sizes  {}", sizes.join(", "));
    if capabilities.strategies.contains(&Strategy::Repeat) {
        let range = match capabilities.repeat_max_range {
            0 => "as large as the bind granularity; this kernel refuses to cut inside a larger one"
                .to_owned(),
            range => format!("up to {}", binary(range)),
        };
        let _ = writeln!(out, "Repeating   {range}");
    }

    out.push_str("\nWhat was tried, what the kernel said, and what follows\n");
    for trial in &capabilities.tried {
        let _ = writeln!(out, "  {:<9}  {}", trial.outcome, trial.what);
        let _ = writeln!(out, "  {:<9}    {}", "", trial.meaning);
    }

    out.push_str("\nStrategies for unbound ranges, best first\n");
    for strategy in Strategy::ALL {
        let verdict = match capabilities.strategies.first() {
            Some(&best) if best == strategy => "chosen".to_owned(),
            _ if capabilities.strategies.contains(&strategy) => "works".to_owned(),
            _ => format!("not available: {}", why_not(strategy, capabilities)),
        };
        let _ = writeln!(
            out,
            "  {:<6}  {:<37}  {verdict}",
            strategy.name(),
            gist(strategy)
        );
    }
    let rows: Vec<Vec<String>> = (buffers.iter())
        .map(|buffer| {
            let [created, life] = [buffer.estimated_ns, buffer.life_ns].map(duration);
            let ops = thousands(buffer.ops);
            vec![buffer.strategy.to_owned(), ops, created, life]
        })
        .collect();
    let _ = writeln!(
        out,
        "\nWhat a sparse buffer of {} bytes takes when it is created, and until it has been bound and unbound as a whole\nand \
         in pieces: kernel time by the cost model, of work that the model of this kernel counts",
        thousands(BUFFER_SIZE)
    );
    for line in render("strategy|>ops, created|>time, created|>time, life", &rows).lines() {
        let _ = writeln!(out, "  {line}");
    }
    for (when, of) in [
        (
            "over its life",
            (|buffer| buffer.life_ns) as fn(&NewBuffer) -> u64,
        ),
        ("when it is created", |buffer| buffer.estimated_ns),
    ] {
        let cheapest = buffers.iter().min_by_key(|buffer| of(buffer));
        let Some((chosen, cheapest)) = buffers.first().zip(cheapest) else {
            continue;
        };
        let _ = match of(chosen) as f64 / of(cheapest).max(1) as f64 {
            ..=MUCH => writeln!(
                out,
                "  {} is within {MUCH} of the cheapest {when}.",
                chosen.strategy
            ),
            ratio => writeln!(
                out,
                "  {} costs {ratio:.1} times what {} costs {when}; PANVK_SPARSE_NULL={} asks for that.",
                chosen.strategy, cheapest.strategy, cheapest.strategy
            ),
        };
    }
    if kernel.is_node() {
        out.push_str("\nWhat the kernel was asked\n");
        for line in kernel.asked().table().lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// What a strategy does, in a few words.
fn gist(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Sparse => "one operation, the kernel's own dummy",
        Strategy::Repeat => "one operation, our dummy repeated",
        Strategy::Chunk => "one operation for each 2 MiB",
        Strategy::Page => "one operation for each 4 KiB",
    }
}
