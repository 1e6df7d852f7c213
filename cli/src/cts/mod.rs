//! `panvk-sparse cts`: the sparse groups of the Vulkan conformance tests, run through our driver.

mod chunk;
mod deqp;
pub mod driver;
mod expect;
mod junit;
mod lists;
mod output;
mod pool;
mod process;
mod report;
mod stats;
mod status;
mod text;
mod verdict;
mod ways;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hosted::config::{self, NullChoice};
use vpanthor::KernelSpec;

use self::chunk::Setting;
use self::deqp::Deqp;
use self::driver::TestedDriver;
use self::expect::{Expectations, Verdict};
use self::process::Watch;
use self::report::{Ours, Report};
use self::verdict::{Compared, Judged};
use self::ways::Way;
use super::stop::{Error, Stop};

const DEFAULT_LIST: &str = include_str!("../../../cts-lists/sparse.txt");

const DETAILS: &str = "\
deqp-vk is the program of the Vulkan conformance tests (VK-GL-CTS). It is asked for its cases, runs them in several
processes, and is started anew behind a case that crashes or hangs. Expected failures, skips and flakes are in the
formats of deqp-runner; those of lavapipe are built in and hold where it is the base driver.

--kernel and --null may be given several times: the cases are run with each kernel and each strategy.

With a render node as the kernel, the operations go to it beside the virtual kernel. How often it answered otherwise
is counted; the driver says to which operations.

Mesa's cache of shaders is off, so that no run profits from the one before it.

Examples:
  panvk-sparse cts --deqp-vk ~/VK-GL-CTS/build/external/vulkancts/modules/vulkan/deqp-vk --fraction 100
      every hundredth case: a first look, in seconds
  panvk-sparse cts --deqp-vk deqp-vk --baseline --all-kernels --junit results.xml

Exit status: 0 every result is as expected, none is worse than on the bare base driver where --baseline is given (noted
are a better one, an expected failure that passes, and what is taken back: not supported by PANVK_SPARSE_PROFILE=mali,
by PANVK_SPARSE_DUMMY=alias, or by the list of what lavapipe can't do), and the kernel answered as its model; 1 something
is not, or a run could not be finished; 2 the command line makes no sense; 130 stopped, after what was found till then.";

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

    /// Run every N-th case only, from the first or from the K-th on
    #[arg(long, value_name = "N[:K]", default_value = "1")]
    fraction: Fraction,

    /// Processes at a time [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Seconds without a word from deqp-vk after which the case counts as timed out
    #[arg(long, value_name = "S", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// A kernel: vpanthor:<flavour>, a render node, or auto [default: PANVK_SPARSE_KERNEL, else vpanthor:1.8-repeat]
    #[arg(long, value_name = "K")]
    kernel: Vec<KernelSpec>,

    /// How unbound ranges are mapped: auto, sparse, repeat, chunk, page [default: PANVK_SPARSE_NULL, else auto]
    #[arg(long, value_name = "S", value_parser = null)]
    null: Vec<String>,

    /// Four runs: vpanthor:1.5 with page and with chunk, vpanthor:1.8-repeat with repeat, vpanthor:1.9 with sparse
    #[arg(long, conflicts_with_all = ["kernel", "null"])]
    all_kernels: bool,

    /// The manifest of our driver [default: panvk_sparse_icd.json beside this program or in ../share]
    #[arg(long, value_name = "PATH")]
    icd: Option<PathBuf>,

    /// Run the cases on the bare base driver first, and compare
    #[arg(long)]
    baseline: bool,

    /// Expected failures, one `case,Fail` or `case,Crash` a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    fails: Option<PathBuf>,

    /// What fails on the bare base driver in addition, in the same format [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    bare_fails: Option<PathBuf>,

    /// Cases not to run, one regular expression a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    skips: Option<PathBuf>,

    /// Cases whose result does not count, one regular expression a line [default: those known of lavapipe]
    #[arg(long, value_name = "F")]
    flakes: Option<PathBuf>,

    /// Cases that may be not supported where the bare base driver passes, one regular expression a line [default: those
    /// known of lavapipe]
    #[arg(long, value_name = "F")]
    taken_back: Option<PathBuf>,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Write JUnit XML to F
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
}

/// Every how many-th case is run, and which is the first, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    every: usize,
    first: usize,
}

impl FromStr for Fraction {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (every, first) = s.split_once(':').unwrap_or((s, "1"));
        match (every.parse::<usize>(), first.parse::<usize>()) {
            (Ok(every), Ok(first)) if (1..=every).contains(&first) => Ok(Self {
                every,
                first: first - 1,
            }),
            _ => Err("expected a number N from 1, or N:K with K from 1 to N".to_owned()),
        }
    }
}

/// What goes to stdout, and what follows from it.
pub struct Outcome {
    pub output: String,
    /// Whether every result is as it should be.
    pub success: bool,
    /// Whether somebody asked to end before all was run.
    pub stopped: bool,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let stop = Stop::on_signals()?;
    if let Some(path) = &args.junit {
        // Before the cases, which may take hours.
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).open(path);
        opened.map_err(|error| Error::Usage(format!("--junit {}: {error}", path.display())))?;
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
    let ways = Way::all(args);
    let ours = ways
        .iter()
        .enumerate()
        .map(|(n, way)| {
            let stats = folder.path().join(format!("stats-{n}.jsonl"));
            Ok((way.clone(), TestedDriver::ours(args, way, &stats)?, stats))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let bare = match args.baseline {
        true => Some(TestedDriver::bare(folder.path())?),
        false => None,
    };
    let watch = Watch {
        patience: Duration::from_secs(args.timeout),
        stop: &stop,
    };
    let icd = &ours[0].1;
    let cases = cases(args, &text, &deqp, icd, folder.path(), watch)?;
    let (skipped, cases): (Vec<String>, Vec<String>) = cases
        .into_iter()
        .skip(args.fraction.first)
        .step_by(args.fraction.every)
        .partition(|case| expectations.skips(case));

    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok());
    let jobs = jobs.map_or(1, NonZeroUsize::get).min(cases.len().max(1));
    let on = |driver: &TestedDriver, label: &str, expectations: &Expectations| {
        let setting = Setting {
            deqp: &deqp,
            driver,
            watch,
        };
        let is_expected =
            |case: &str, status| expectations.verdict(case, status) != Verdict::Unexpected;
        pool::run(&setting, &cases, jobs, folder.path(), label, &is_expected)
    };
    let began = Instant::now();
    let mut report = Report {
        deqp: deqp.program().to_owned(),
        icd: icd.manifest.clone(),
        cases: cases.len(),
        skipped,
        baseline: bare.map(|driver| {
            let on_bare = expectations.on_bare();
            let run = on(&driver, "bare base driver", &on_bare);
            let judged = Judged::of(&run, &on_bare);
            (run, judged)
        }),
        runs: Vec::new(),
        wall: Duration::ZERO,
    };
    // As the driver reads it.
    let is = |variable, value| std::env::var_os(variable).is_some_and(|given| given == value);
    let narrow = is(config::PROFILE, "mali") || is(config::DUMMY, "alias");
    for (way, driver, stats) in ours {
        if report.is_stopped() {
            break;
        }
        // What listing the cases may have counted is no part of the run.
        let _ = fs::remove_file(&stats);
        let run = on(&driver, &way.to_string(), &expectations);
        let baseline = report.baseline.as_ref();
        report.runs.push(Ours {
            way,
            judged: Judged::of(&run, &expectations),
            compared: baseline.map(|(bare, _)| Compared::of(&run, bare, &expectations, narrow)),
            stats: stats::sum(&stats),
            run,
        });
    }
    report.wall = began.elapsed();
    if let Some(error) = report.failure() {
        return Err(error);
    }
    if let Some(path) = &args.junit {
        fs::write(path, junit::xml(&report))
            .map_err(|error| Error::Run(format!("--junit {}: {error}", path.display())))?;
    }
    let output = match args.json {
        true => report.json().map_err(Error::Run)?,
        false => text::text(&report),
    };
    Ok(Outcome {
        output,
        success: report.is_success(),
        stopped: report.is_stopped(),
    })
}

/// The cases of a list. One that the command line names must be right in every line; our own covers groups that a
/// deqp-vk may not have.
fn cases(
    args: &Args,
    text: &str,
    deqp: &Deqp,
    driver: &TestedDriver,
    folder: &Path,
    watch: Watch,
) -> Result<Vec<String>, Error> {
    let patterns: Vec<&str> = lists::lines(text).collect();
    let (cases, unknown) = deqp.cases(&patterns, folder, driver, watch)?;
    let (wild, plain): (Vec<&str>, Vec<&str>) =
        unknown.iter().copied().partition(|p| p.contains('*'));
    let is_error = args.list.is_some() && (cases.is_empty() || !plain.is_empty());
    if let (Some(path), false) = (&args.list, is_error) {
        for pattern in wild {
            let path = path.display();
            eprintln!("{path}: {pattern} matches no case of this deqp-vk");
        }
    }
    let unknown = if plain.is_empty() { unknown } else { plain };
    match &args.list {
        Some(path) if is_error && !unknown.is_empty() => {
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
