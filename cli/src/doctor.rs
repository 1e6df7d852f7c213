//! `panvk-sparse doctor`: what is found on this machine, what would be used, and what to do about what is missing.
//!
//! Drivers are tried in processes of their own: one that crashes or hangs is a finding, not the end of the command.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hosted::Hosted;
use hosted::config::{self, Config};
use panvk_sparse::drm::OpenError;
use serde::Serialize;
use vpanthor::{KernelSpec, nodes};
use vulkan::inventory::{self, Device, Inventory};
use vulkan::manifest;

use super::Failure;
use super::cts::driver::{base_manifest, manifest_of, own_manifest};
use super::stop::Error;

const DETAILS: &str = "\
Each driver is loaded in a process of its own and asked for its devices; nothing is bound, and no node is changed.

States:
  ok        found, and it works
  none      not found, and not needed
  missing   not found, and needed
  wrong     found, and it does not work

Exit status: 0 a program can run over the driver of this project; 1 it cannot, and what to do is said; 2 the command line
makes no sense.

Examples:
  panvk-sparse doctor
  panvk-sparse doctor --json | jq '.checks[] | select(.state != \"ok\")'";

/// What a driver may take to say which devices it has.
const PATIENCE: Duration = Duration::from_secs(60);
const LAYER: &str = "VK_LAYER_PANVK_sparse_trace";
const LAYER_MANIFEST: &str = "VkLayer_panvk_sparse_trace.json";
/// The variables without which the loader finds what every program is offered.
const LOOKED_FOR: [&str; 7] = [
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_LAYER_PATH",
    "VK_ADD_LAYER_PATH",
];
/// Those of them that name drivers.
const NAMES_DRIVERS: [&str; 3] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"];
/// The variables by which a user tells the loader what to load, in the order in which they are shown.
const LOADER_VARIABLES: [&str; 7] = [
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_LAYER_PATH",
    "VK_INSTANCE_LAYERS",
];

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Ask the Vulkan loader of this process, and print what it says as JSON: what the command runs itself with
    #[arg(long, hide = true, conflicts_with = "json")]
    ask_loader: bool,
}

/// What goes to stdout, and whether a program can run over the driver.
#[derive(Debug)]
pub struct Outcome {
    pub output: String,
    pub success: bool,
}

/// Names and order are relied on by scripts: new fields go last.
#[derive(Debug, Serialize)]
struct Report {
    usable: bool,
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_use: Option<WouldUse>,
    /// Variables of the environment that have a say in it, as `NAME=value`.
    environment: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    None,
    Missing,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    state: State,
    /// What was found, or what was looked for: a line or more.
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct WouldUse {
    mode: String,
    base_driver: PathBuf,
    kernel: String,
    /// How unbound ranges are mapped; `None` if that is the base driver's choice.
    strategy: Option<&'static str>,
    manifest: PathBuf,
    /// Whether every program is offered the driver, with nothing in the environment.
    offered_to_all: bool,
    layer: Option<PathBuf>,
    layer_offered_to_all: bool,
    /// What programs that are started with this environment get of the driver.
    in_this_environment: Share,
}

/// What of a program's devices are the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Share {
    None,
    Some,
    All,
}

impl Share {
    fn of(answer: &Result<Inventory, String>) -> Share {
        let devices = answer
            .as_ref()
            .ok()
            .and_then(|found| found.devices.as_ref().ok());
        let devices = devices.map_or(&[][..], Vec::as_slice);
        match devices.iter().filter(|device| is_ours(device)).count() {
            0 => Share::None,
            ours if ours == devices.len() => Share::All,
            _ => Share::Some,
        }
    }
}

impl Check {
    fn new(what: &'static str, state: State, found: impl Into<String>) -> Check {
        Check {
            what,
            state,
            found: found.into(),
            path: None,
            advice: None,
        }
    }

    fn at(mut self, path: &Path) -> Check {
        self.path = Some(path.to_owned());
        self
    }

    fn advise(mut self, advice: impl Into<String>) -> Check {
        self.advice = Some(advice.into());
        self
    }
}

/// Looks at everything, and returns what it says to people.
pub fn shown() -> Result<String, Error> {
    Ok(for_people(&examine()?))
}

/// Looks at everything, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    if args.ask_loader {
        return Ok(Outcome {
            output: super::json(&inventory::take())?,
            success: true,
        });
    }
    let report = examine()?;
    let output = match args.json {
        true => super::json(&report)?,
        false => for_people(&report),
    };
    Ok(Outcome {
        output,
        success: report.usable,
    })
}

fn examine() -> Result<Report, Error> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let here = ask(&[]).map(|answer| answer.inventory);
    // What every program is offered shows if no variable says what there is.
    let elsewhere = (LOOKED_FOR.iter())
        .any(|name| env::var_os(name).is_some())
        .then(|| ask(&LOOKED_FOR.map(|name| (name, OsString::new()))))
        .map(|answer| answer.map(|answer| answer.inventory));
    let everybody = elsewhere.as_ref().unwrap_or(&here);
    let (settings, config) = settings();
    let own_path = own_manifest();
    let (own, choice) = own(&own_path);
    // If the driver comes to no choice, the reason may be what it would choose from.
    let base = match (&choice, &config.base_icd) {
        (Some(choice), _) => base(
            &choice.base_driver,
            manifest_of(&choice.base_driver, scratch.path()),
        ),
        (None, Some(path)) => base(path, base_manifest(path, scratch.path())),
        (None, None) => match manifest::lavapipe(|name| env::var_os(name)) {
            Ok(path) => base(&path, Ok(path.clone())),
            Err(error) => Check::new(BASE, State::Missing, error.to_string()).advise(BASE_ADVICE),
        },
    };
    let (kernel, strategy) = kernel(&config, choice.as_ref());
    let (layer, layer_path) = layer();
    let checks = vec![
        loader(&here),
        settings,
        base,
        kernel,
        own,
        layer,
        node(nodes::find().map(|(path, _)| path)),
    ];
    let needed = ["loader", "settings", "base driver", "kernel", "driver"];
    let usable = (checks.iter())
        .filter(|check| needed.contains(&check.what))
        .all(|check| check.state == State::Ok);
    let would_use = match (choice, own_path) {
        (Some(choice), Ok(manifest)) if usable => Some(WouldUse {
            mode: choice.mode,
            base_driver: choice.base_driver,
            kernel: choice.kernel,
            strategy,
            manifest,
            offered_to_all: Share::of(everybody) != Share::None,
            layer_offered_to_all: (everybody.as_ref())
                .is_ok_and(|found| found.layers.iter().any(|name| name == LAYER)),
            layer: layer_path,
            in_this_environment: Share::of(&here),
        }),
        _ => None,
    };
    let has_a_say = |name: &OsString| {
        let text = name.to_string_lossy();
        text.starts_with("PANVK_SPARSE_") || LOADER_VARIABLES.contains(&&*text)
    };
    let mut environment: Vec<String> = (env::vars_os())
        .filter(|(name, _)| has_a_say(name))
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    environment.sort_unstable();
    Ok(Report {
        usable,
        checks,
        would_use,
        environment,
    })
}

/// What the driver chose, as it says itself.
struct Choice {
    base_driver: PathBuf,
    kernel: String,
    /// `hosted`: binds go to a kernel beside the base driver's.
    mode: String,
}

impl Choice {
    /// Reads what the driver logs once when it is loaded: `base driver <path>, kernel <kernel>`, and perhaps `, mode <mode>`.
    fn read(log: &str) -> Option<Choice> {
        log.lines().rev().find_map(|line| {
            let (path, rest) = line
                .split_once("base driver ")?
                .1
                .rsplit_once(", kernel ")?;
            let (kernel, mode) = rest.split_once(", mode ").unwrap_or((rest, "hosted"));
            Some(Choice {
                base_driver: path.into(),
                kernel: kernel.trim().to_owned(),
                mode: mode.trim().to_owned(),
            })
        })
    }
}

/// The driver says so of itself.
fn is_ours(device: &Device) -> bool {
    device.driver.contains("panvk-sparse")
}

fn loader(here: &Result<Inventory, String>) -> Check {
    match here {
        Ok(found) => Check::new(
            "loader",
            State::Ok,
            format!("libvulkan.so.1, Vulkan {}", found.loader),
        ),
        Err(error) if error.contains("No such file") || error.contains("cannot open") => {
            Check::new("loader", State::Missing, error).advise(
                "Install the Vulkan loader: apt install libvulkan1 (Debian, Ubuntu), dnf install vulkan-loader (Fedora)",
            )
        }
        Err(error) => Check::new("loader", State::Wrong, error).advise(
            "The Vulkan loader or one of the drivers of this machine fails; VK_DRIVER_FILES=<manifest> leaves the others out",
        ),
    }
}

fn settings() -> (Check, Config) {
    match Config::from_env() {
        Ok(config) => {
            let found = "each PANVK_SPARSE_ variable is understood";
            (Check::new("settings", State::Ok, found), config)
        }
        Err(error) => {
            let check = Check::new("settings", State::Wrong, error.to_string())
                .advise(format!("Correct {}, or unset it", error.variable));
            // What can be seen without it is still worth seeing.
            (check, Config::default())
        }
    }
}

/// The kernel that is bound to, and the strategy for unbound ranges, if the driver chooses it.
fn kernel(config: &Config, choice: Option<&Choice>) -> (Check, Option<&'static str>) {
    const WHAT: &str = "kernel";
    if let Some(choice) = choice.filter(|choice| choice.mode != "hosted") {
        let found = format!("{}, which the base driver binds on", choice.kernel);
        return (Check::new(WHAT, State::Ok, found), None);
    }
    let spec = match &config.kernel {
        KernelSpec::Auto => nodes::find().map(|(path, _)| KernelSpec::Node(path)),
        spec => Ok(spec.clone()),
    };
    let opened = spec.map_err(|error| error.to_string()).and_then(|spec| {
        Hosted::new(&spec, config.null, String::new(), String::new())
            .map(|hosted| (spec, hosted.strategy().name()))
            .map_err(|error| error.to_string())
    });
    match opened {
        Ok((spec, strategy)) => {
            let kind = match spec {
                KernelSpec::Node(_) => "a node, asked beside a model of it",
                _ => "a model in the same process",
            };
            let found = format!("{spec}, {kind}; unbound ranges by {strategy}");
            (Check::new(WHAT, State::Ok, found), Some(strategy))
        }
        Err(error) => {
            let advice = format!(
                "Unset {} and {}: a model of the kernel needs no node. panvk-sparse probe says what a kernel can do",
                config::KERNEL,
                config::NULL
            );
            (Check::new(WHAT, State::Wrong, error).advise(advice), None)
        }
    }
}

const BASE: &str = "base driver";
const BASE_ADVICE: &str = "Install Mesa's lavapipe 25.0 or later: apt install mesa-vulkan-drivers (Debian 12: apt install -t \
                           bookworm-backports mesa-vulkan-drivers); or name the manifest of another driver with sparse binding in \
                           PANVK_SPARSE_BASE_ICD";

fn base(path: &Path, manifest: Result<PathBuf, Error>) -> Check {
    let wrong = |found: String| {
        Check::new(BASE, State::Wrong, found)
            .at(path)
            .advise(BASE_ADVICE)
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(error) => return wrong(error.to_string()),
    };
    match ask(&drivers(&manifest)).and_then(|answer| answer.inventory.devices) {
        Err(error) => wrong(error),
        Ok(devices) => match devices.iter().find(|device| device.sparse_binding) {
            Some(device) => Check::new(BASE, State::Ok, describe(device)).at(path),
            None if devices.is_empty() => wrong("it has no device".to_owned()),
            None => wrong(format!("{}: no sparse binding", describe(&devices[0]))),
        },
    }
}

/// The driver of this project, and what it chose.
fn own(path: &Result<PathBuf, Failure>) -> (Check, Option<Choice>) {
    const WHAT: &str = "driver";
    const ADVICE: &str = "What is said of the settings, the base driver and the kernel comes first; PANVK_SPARSE_LOG=debug says more";
    let path = match path {
        Ok(path) => path,
        Err(error) => {
            let check = Check::new(WHAT, State::Missing, error).advise(
                "Build it with cargo build --release --workspace and use target/release/panvk-sparse, or install it",
            );
            return (check, None);
        }
    };
    let [a, b, c, d, e] = drivers(path);
    let answer = ask(&[a, b, c, d, e, (config::LOG, "info".into())]);
    let wrong = |found: String| {
        Check::new(WHAT, State::Wrong, found)
            .at(path)
            .advise(ADVICE)
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (wrong(error), None),
    };
    let check = match &answer.inventory.devices {
        Err(error) => wrong(error.clone()),
        Ok(devices) => match devices.iter().find(|device| is_ours(device)) {
            Some(device) => Check::new(WHAT, State::Ok, describe(device)).at(path),
            None => wrong("the loader finds no device of it".to_owned()),
        },
    };
    match (check.state, Choice::read(&answer.log)) {
        (State::Ok, None) => (
            wrong("it does not say what it stands in front of".to_owned()),
            None,
        ),
        (_, choice) => (check, choice),
    }
}

/// The layer, and its manifest if it works.
fn layer() -> (Check, Option<PathBuf>) {
    const WHAT: &str = "layer";
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Ok(program) = env::current_exe() {
        let folder = program.parent().unwrap_or(Path::new("/"));
        let prefix = folder.parent().unwrap_or(folder);
        folders.push(folder.to_owned());
        folders.push(prefix.join("share/vulkan/explicit_layer.d"));
    }
    let of_drivers = manifest::folders(|name| env::var_os(name));
    folders.extend((of_drivers.iter()).map(|folder| folder.with_file_name("explicit_layer.d")));
    let mut paths = folders.iter().map(|folder| folder.join(LAYER_MANIFEST));
    let Some(path) = paths.find(|path| path.is_file()) else {
        let check = Check::new(WHAT, State::None, format!("no {LAYER_MANIFEST}")).advise(
            "To record applications, build it with cargo build --release --workspace, or install vulkan-layer-panvk-sparse",
        );
        return (check, None);
    };
    let path = path.canonicalize().unwrap_or(path);
    match ask(&[("VK_LAYER_PATH", path.clone().into())]) {
        Ok(answer) if answer.inventory.layers.iter().any(|name| name == LAYER) => {
            (Check::new(WHAT, State::Ok, LAYER).at(&path), Some(path))
        }
        Ok(_) => {
            let check = Check::new(WHAT, State::Wrong, format!("the loader does not list {LAYER}"))
                .at(&path)
                .advise("Look at its library_path: VK_LOADER_DEBUG=layer vulkaninfo says what the loader thinks of it");
            (check, None)
        }
        Err(error) => (Check::new(WHAT, State::Wrong, error).at(&path), None),
    }
}

const NODE: &str = "node";

fn node(found: Result<PathBuf, OpenError>) -> Check {
    match found {
        Ok(path) => Check::new(NODE, State::Ok, "a render node of panthor")
            .at(&path)
            .advise("panvk-sparse probe --kernel auto says what it can do; PANVK_SPARSE_KERNEL=auto lets the driver ask it too"),
        Err(error) => Check::new(NODE, State::None, error.to_string())
            .advise(
                "On a board: lsmod | grep panthor says whether panthor is loaded; groups says whether you are in the group render \
                 (sudo usermod -aG render $USER, then log in again). Elsewhere none is needed",
            ),
    }
}

fn describe(device: &Device) -> String {
    let mut can = vec![];
    for (has, what) in [
        (device.sparse_binding, "sparse binding"),
        (device.sparse_residency_buffer, "partial buffers"),
        (device.sparse_residency_image_2d, "partial 2D images"),
    ] {
        if has {
            can.push(what);
        }
    }
    let can = match can.is_empty() {
        true => String::new(),
        false => format!(" ({})", can.join(", ")),
    };
    format!("{}, {}{can}", device.name, device.driver)
}

/// The environment of a process that has this driver and no other, and no layer.
fn drivers(manifest: &Path) -> [(&'static str, OsString); 5] {
    [
        // The loader's new name and its old one.
        ("VK_DRIVER_FILES", manifest.into()),
        ("VK_ICD_FILENAMES", manifest.into()),
        ("VK_ADD_DRIVER_FILES", OsString::new()),
        ("VK_LOADER_DRIVERS_SELECT", OsString::new()),
        ("VK_LOADER_DRIVERS_DISABLE", OsString::new()),
    ]
}

/// What a process said that asked the loader.
struct Answer {
    inventory: Inventory,
    log: String,
}

/// What the loader says to a process with these variables; an empty value unsets one.
fn ask(variables: &[(&str, OsString)]) -> Result<Answer, String> {
    let program = env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command
        .args(["doctor", "--ask-loader"])
        .env_remove("VK_INSTANCE_LAYERS")
        .env_remove("VK_LOADER_LAYERS_ENABLE")
        // What the driver says goes to its stderr; statistics would be somebody's file.
        .env_remove(config::STATS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in variables {
        match value.is_empty() {
            true => command.env_remove(name),
            false => command.env(name, value),
        };
    }
    let started = command
        .spawn()
        .map_err(|error| format!("a process of its own: {error}"))?;
    let ended = finish(started)?;
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    let said = log.lines().rev().find(|line| !line.trim().is_empty());
    let said = said.map_or(String::new(), |line| format!(" ({})", line.trim()));
    let Some(status) = ended.status else {
        return Err(format!("no answer within {} s{said}", PATIENCE.as_secs()));
    };
    if !status.success() {
        return Err(format!("the process that asked ended with {status}{said}"));
    }
    // A driver may write to stdout, too.
    let answers = String::from_utf8_lossy(&ended.stdout);
    let answer = (answers.lines().rev())
        .find_map(|line| serde_json::from_str::<Result<Inventory, String>>(line).ok());
    let mut inventory =
        answer.ok_or_else(|| format!("the process that asked said nothing of use{said}"))??;
    inventory.devices = inventory.devices.map_err(|error| error + &said);
    Ok(Answer { inventory, log })
}

/// How a process ended.
struct Ended {
    /// `None`: it took too long.
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Waits for `child`, which is ended if it takes too long.
fn finish(mut child: Child) -> Result<Ended, String> {
    fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read till an error is what there is.
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        })
    }
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                // It may end this very moment; then there is nobody to end.
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            Err(error) => return Err(format!("waiting for a process: {error}")),
        }
    };
    Ok(Ended {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// What a program has to know first if it runs on the CPU.
fn no_gpu(report: &Report, used: &WouldUse) -> String {
    let mut nodes = report.checks.iter().filter(|check| check.what == NODE);
    let has_node = nodes.any(|check| check.state == State::Ok);
    let library = used.base_driver.file_name().unwrap_or_default();
    let is_lavapipe = library.to_string_lossy().contains("lvp");
    match (has_node, is_lavapipe) {
        (false, true) => "  No Mali GPU with the panthor driver was found: programs run on the CPU (lavapipe), and the kernel is a model.\n",
        (false, false) => "  No Mali GPU with the panthor driver was found: the kernel is a model.\n",
        (true, true) => "  Programs run on the CPU (lavapipe), although there is a Mali GPU: \"Which base driver\" in docs/board.md says when.\n",
        (true, false) => "",
    }
    .to_owned()
}

/// That variables of this shell, and nothing that is installed, give its programs the driver.
fn by_variable(share: Share, environment: &[String]) -> String {
    let names: Vec<&str> = (environment.iter())
        .filter_map(|variable| Some(variable.split_once('=')?.0))
        .filter(|name| NAMES_DRIVERS.contains(name))
        .collect();
    let has = match share {
        Share::All => "this driver and no other",
        _ => "this driver as one more device",
    };
    format!(
        "  This shell sets {}: its programs have {has}. `unset {}` undoes that.\n",
        names.join(", "),
        names.join(" ")
    )
}

fn for_people(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for check in &report.checks {
        let state = match check.state {
            State::Ok => "ok",
            State::None => "none",
            State::Missing => "missing",
            State::Wrong => "wrong",
        };
        let _ = writeln!(out, "{:<12} {state:<8} {}", check.what, check.found);
        if let Some(path) = &check.path {
            let _ = writeln!(out, "{:21} {}", "", path.display());
        }
    }
    for variable in &report.environment {
        let _ = writeln!(out, "{:<12} {:8} {variable}", "environment", "set");
    }
    let _ = writeln!(out, "\nWhat would be used");
    match &report.would_use {
        None => out.push_str("  Nothing: a program cannot run over the driver here.\n"),
        Some(used) => {
            let base = used.base_driver.display();
            let strategy = (used.strategy).map_or(String::new(), |name| format!(" with {name}"));
            out.push_str(&no_gpu(report, used));
            let _ = writeln!(
                out,
                "  {}: shaders run on the base driver, binds go to {}{strategy}.\n  Base driver: {base}",
                used.mode, used.kernel
            );
            if !used.offered_to_all && used.in_this_environment != Share::None {
                out.push_str(&by_variable(used.in_this_environment, &report.environment));
            }
            match used.offered_to_all {
                true => out.push_str("  The loader offers the driver to every program, as one more device. A program that is to have no other:\n"),
                false => out.push_str("  A program gets the driver by\n"),
            }
            let _ = writeln!(
                out,
                "    VK_DRIVER_FILES={} your-program",
                used.manifest.display()
            );
            if let Some(layer) = &used.layer {
                let path = match used.layer_offered_to_all {
                    true => String::new(),
                    false => format!("VK_LAYER_PATH={} ", layer.display()),
                };
                let _ = writeln!(
                    out,
                    "  Any program, on any driver, is recorded by\n    {path}VK_INSTANCE_LAYERS={LAYER} PANVK_SPARSE_TRACE_FILE=run.pvst your-program"
                );
            }
        }
    }
    let advised = |optional: bool| {
        (report.checks.iter())
            .filter(move |check| matches!(check.state, State::Ok | State::None) == optional)
    };
    for (title, optional) in [("What to do", false), ("What else you may do", true)] {
        let mut lines = advised(optional)
            .filter_map(|check| Some((check.what, check.advice.as_ref()?)))
            .peekable();
        if lines.peek().is_some() {
            let _ = writeln!(out, "\n{title}");
        }
        for (what, advice) in lines {
            let _ = writeln!(out, "  {what}: {advice}");
        }
    }
    out
}
