//! `panvk-sparse cts`: the sparse groups of the Vulkan conformance tests, run through our driver.

mod chunk;
mod deqp;
mod driver;
mod expect;
mod junit;
mod lists;
mod output;
mod pool;
mod report;
mod stats;
mod status;
mod verdict;

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use panvk_sparse::config::NullChoice;
use panvk_sparse::drm::KernelSpec;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::chunk::Setting;
use self::deqp::Deqp;
use self::driver::Driver;
use self::expect::Expectations;
use self::report::Report;

const DEFAULT_LIST: &str = include_str!("../../../cts-lists/sparse.txt");

const DETAILS: &str = "\
deqp-vk is the program of the Vulkan conformance tests (VK-GL-CTS). It is asked for its cases, runs them in several
processes, and is started anew behind a case that crashes or hangs. Expected failures, skips and flakes are in the
formats of deqp-runner; those of lavapipe are built in and hold where it is the base driver.

With a render node as the kernel, the operations go to it beside the virtual kernel. How often it answered otherwise
is counted; the driver says to which operations.

Exit status: 0 every result is as expected, as on the bare base driver where --baseline is given, and the kernel
answered as its model; 1 something is not, or the run failed; 2 the command line makes no sense; 130 stopped.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The program of the conformance tests
    #[arg(long, value_name = "PATH")]
    deqp_vk: PathBuf,

    /// The folder of its data files [default: the folder of deqp-vk]
    #[arg(long, value_name = "DIR")]
    archive_dir: Option<PathBuf>,

    /// Cases and patterns with *, one a line [default: the sparse groups]
    #[arg(long, value_name = "F")]
    list: Option<PathBuf>,

    /// Run every N-th case only
    #[arg(long, value_name = "N", default_value = "1")]
    fraction: NonZeroUsize,

    /// Processes at a time [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Seconds without a word from deqp-vk after which the case counts as timed out
    #[arg(long, value_name = "S", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// The kernel: vpanthor:<flavour>, a render node, or auto [default: PANVK_SPARSE_KERNEL, else vpanthor:1.8-repeat]
    #[arg(long, value_name = "K")]
    kernel: Option<KernelSpec>,

    /// How unbound ranges are mapped: auto, sparse, repeat, chunk, page [default: PANVK_SPARSE_NULL, else auto]
    #[arg(long, value_name = "S", value_parser = null)]
    null: Option<String>,

    /// The manifest of our driver [default: panvk_sparse_icd.json beside this program or in ../share]
    #[arg(long, value_name = "PATH")]
    icd: Option<PathBuf>,

    /// Run the cases on the bare base driver first, and compare
    #[arg(long)]
    baseline: bool,

    /// Expected failures, one `case,Fail` or `case,Crash` a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    fails: Option<PathBuf>,

    /// Cases not to run, one regular expression a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    skips: Option<PathBuf>,

    /// Cases whose result does not count, one regular expression a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    flakes: Option<PathBuf>,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Write JUnit XML to F
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Error {
    /// The command line names something that is not there or not understood.
    Usage(String),
    Run(String),
    /// Ctrl-C, or another signal that asks to end.
    Stopped,
}

/// What goes to stdout, and whether every result is as it should be.
pub struct Outcome {
    pub output: String,
    pub success: bool,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Error::Run(format!("signal handler: {error}")))?;
    }
    let deqp = Deqp::new(&args.deqp_vk, args.archive_dir.as_deref())?;
    let expectations = Expectations::of(args)?;
    let text = match &args.list {
        Some(path) => lists::read(path)?,
        None => DEFAULT_LIST.to_owned(),
    };
    let folder = tempfile::Builder::new()
        .prefix("panvk-sparse-cts-")
        .tempdir()
        .map_err(|error| Error::Run(format!("temporary folder: {error}")))?;
    let stats = folder.path().join("stats.jsonl");
    let ours = Driver::ours(args, &stats)?;

    let cases = cases(args, &text, &deqp, &ours, folder.path())?;
    let (skipped, cases): (Vec<String>, Vec<String>) = cases
        .into_iter()
        .step_by(args.fraction.get())
        .partition(|case| expectations.skips(case));

    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok());
    let jobs = jobs.map_or(1, NonZeroUsize::get).min(cases.len().max(1));
    let on = |driver: &Driver, label: &str| {
        let setting = Setting {
            deqp: &deqp,
            driver,
            patience: Duration::from_secs(args.timeout),
            stop: &stop,
        };
        pool::run(&setting, &cases, jobs, folder.path(), label)
    };
    let bare = match args.baseline {
        true => Some(on(&Driver::bare(folder.path())?, "baseline")?),
        false => None,
    };
    // What listing the cases may have counted is no part of the run.
    let _ = fs::remove_file(&stats);
    let results = on(&ours, "cts")?;
    let report = Report {
        deqp: deqp.program().to_owned(),
        icd: ours.manifest,
        skipped,
        expected_failures: verdict::expected_failures(&results, &expectations),
        unexpected: verdict::unexpected(&results, &expectations),
        baseline: bare.map(|bare| {
            let differences = verdict::differences(&results, &bare, &expectations);
            (bare, differences)
        }),
        stats: stats::sum(&stats),
        ours: results,
    };
    if let Some(path) = &args.junit {
        fs::write(path, junit::xml(&report))
            .map_err(|error| Error::Run(format!("--junit {}: {error}", path.display())))?;
    }
    let output = match args.json {
        true => report.json().map_err(Error::Run)?,
        false => report.text(),
    };
    Ok(Outcome {
        output,
        success: report.is_success(),
    })
}

/// The cases of a list. One that the command line names must be right in every line; our own covers groups that a
/// deqp-vk may not have.
fn cases(
    args: &Args,
    text: &str,
    deqp: &Deqp,
    driver: &Driver,
    folder: &std::path::Path,
) -> Result<Vec<String>, Error> {
    let patterns: Vec<&str> = lists::lines(text).collect();
    let (cases, unknown) = deqp.cases(&patterns, folder, driver)?;
    match &args.list {
        Some(path) if !unknown.is_empty() => {
            let rest = match unknown.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let what = match unknown[0].contains('*') {
                true => "matches no case of this deqp-vk",
                false => "is no case of this deqp-vk",
            };
            Err(Error::Usage(format!(
                "{}: {}{rest} {what}",
                path.display(),
                unknown[0]
            )))
        }
        Some(path) if cases.is_empty() => {
            Err(Error::Usage(format!("{}: no cases", path.display())))
        }
        None if cases.is_empty() => Err(Error::Run(format!(
            "{}: has no sparse cases",
            deqp.program().display()
        ))),
        _ => Ok(cases),
    }
}

/// Checks a value of `--null`; the driver reads it.
fn null(value: &str) -> Result<String, String> {
    match value.parse::<NullChoice>() {
        Ok(_) => Ok(value.to_owned()),
        Err(expected) => Err(format!("expected {expected}")),
    }
}
