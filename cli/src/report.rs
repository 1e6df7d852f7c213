//! `panvk-sparse report`: one file that says how sparse binding goes on this machine, for somebody else to read.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hosted::config;
use vpanthor::KernelSpec;

use super::Failure;
use super::doctor;
use super::kernel::Kernel;
use super::probe;
use super::stop::{Error, Stop};

const DETAILS: &str = "\
The file is plain text: look through it before you send it. It has the versions of this project, of the system, of the
kernel and of the Vulkan drivers; what `panvk-sparse doctor` says, and `panvk-sparse probe` of the panthor node; the lines of vulkaninfo that are
about sparse binding; and the counters and messages of the driver, for vulkaninfo and for PROGRAM, if one is given.
It has no host name and no user name: the home folder is written as ~. Of PROGRAM it has only how it ended and what the
driver said. Nothing is sent anywhere.

Examples:
  panvk-sparse report
  panvk-sparse report --out sparse.txt -- vkcube --c 100";

const NOT_IN_USE: &str =
    "panvk-sparse was not in use: set VK_ICD_FILENAMES first, see docs/board.md";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "panvk-sparse-report.txt")]
    out: PathBuf,

    /// A program that shows what is wrong, and its arguments: it is run, and what the driver says of it comes into the report
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Writes the file, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<String, Error> {
    let stop = Stop::on_first_signal()?;
    let vulkaninfo = vulkaninfo()?;
    stop.check()?;
    let note = match vulkaninfo.is_without_us {
        true => format!("Note: {NOT_IN_USE}\n"),
        false => String::new(),
    };
    let mut report = format!(
        "panvk-sparse report\n{note}Look through this file before you send it. It was written on this machine and sent nowhere.\n\n\
         == Versions\n{}\n== Settings\n{}\n== Drivers that the Vulkan loader finds\n{}\n== panvk-sparse doctor\n{}\n\
         == The kernel: panvk-sparse probe --kernel auto\n{}\n",
        versions(),
        settings(),
        manifests(),
        doctor::shown().or_else(unless_stopped)?,
        probed(&stop)?,
    );
    stop.check()?;
    let _ = write!(report, "== vulkaninfo\n{}\n", vulkaninfo.text);
    stop.check()?;
    if let Some((program, arguments)) = args.program.split_first() {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let ran = ran(&mut command, "it")?;
        let _ = write!(report, "== The program\n{}", ran.outcome);
        report += &ran.driver;
    }
    let report = without_names(&report, env::var("HOME").ok().as_deref(), &user_names());
    let out = args.out.display();
    std::fs::write(&args.out, &report).map_err(|error| format!("{out}: {error}"))?;
    if vulkaninfo.is_without_us {
        eprintln!("panvk-sparse: note: {NOT_IN_USE}");
    }
    Ok(format!(
        "{out}: {} lines. Nothing was sent anywhere; look through the file before you do.\n",
        report.lines().count()
    ))
}

/// The first line of a file that begins with this, without it.
fn line_of(file: &str, begin: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(begin));
    found.unwrap_or("unknown").trim_matches('"').to_owned()
}

fn versions() -> String {
    format!(
        "panvk-sparse  {}\nsystem        {}, {}\nLinux         {}\n",
        env!("CARGO_PKG_VERSION"),
        line_of("/etc/os-release", "PRETTY_NAME="),
        env::consts::ARCH,
        line_of("/proc/sys/kernel/osrelease", ""),
    )
}

/// What the environment says to drivers, layers and the loader.
fn settings() -> String {
    const OURS: [&str; 5] = ["PANVK_SPARSE_", "VK_", "MESA_", "PANVK_", "VPANTHOR"];
    let mut set: Vec<_> = env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| OURS.iter().any(|begin| name.starts_with(begin)))
        .map(|(name, value)| format!("{name}={}\n", value.to_string_lossy()))
        .collect();
    set.sort();
    if set.is_empty() {
        "none is set\n".to_owned()
    } else {
        set.concat()
    }
}

fn manifests() -> String {
    let mut list = String::new();
    for folder in vulkan::manifest::folders(|name| env::var_os(name)) {
        let Ok(files) = std::fs::read_dir(&folder) else {
            continue;
        };
        let names: BTreeSet<_> = files.flatten().map(|file| file.path()).collect();
        for path in names
            .iter()
            .filter(|path| path.extension().is_some_and(|of| of == "json"))
        {
            let _ = writeln!(list, "{}", path.display());
        }
    }
    if list.is_empty() {
        "none\n".to_owned()
    } else {
        list
    }
}

fn probed(stop: &Stop) -> Result<String, Error> {
    // Whatever is wrong with the kernel is just what the report is for.
    match Kernel::choose(Some(&KernelSpec::Auto)) {
        Ok(kernel) => probe::shown(&kernel, stop).or_else(unless_stopped),
        Err(failure) => Ok(failure + "\n"),
    }
}

/// What went wrong, as a part of the report.
fn unless_stopped(error: Error) -> Result<String, Error> {
    match error {
        Error::Run(failure) => Ok(failure + "\n"),
        error => Err(error),
    }
}

/// How a program ended, and what the driver in it said.
struct Ran {
    has_started: bool,
    outcome: String,
    stdout: String,
    driver: String,
}

/// Runs a program with the driver's log and counters on. The report calls it `name`.
fn ran(command: &mut Command, name: &str) -> Result<Ran, Failure> {
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let stats = folder.path().join("stats.json");
    let output = command
        .env(config::LOG, "info")
        .env(config::STATS, &stats)
        .output();
    let has_started = output.is_ok();
    let (outcome, stdout, stderr) = match output {
        Ok(output) => (
            format!("it ended with {}\n", output.status),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => (
            format!("{} was not found\n", name),
            String::new(),
            String::new(),
        ),
        Err(error) => (
            format!("{} did not start: {error}\n", name),
            String::new(),
            String::new(),
        ),
    };
    let mut driver = String::from("what the driver said:\n");
    // What others write there is none of the report's business.
    for line in stderr
        .lines()
        .filter(|line| line.starts_with("panvk-sparse"))
    {
        let _ = writeln!(driver, "  {line}");
    }
    driver += "its counters, a line for each device:\n";
    for line in std::fs::read_to_string(&stats).unwrap_or_default().lines() {
        let _ = writeln!(driver, "  {line}");
    }
    Ok(Ran {
        has_started,
        outcome,
        stdout,
        driver,
    })
}

/// What vulkaninfo says.
struct Vulkaninfo {
    text: String,
    /// It ran, and no device of it is this driver's.
    is_without_us: bool,
}

fn vulkaninfo() -> Result<Vulkaninfo, Failure> {
    let mut command = Command::new("vulkaninfo");
    let ran = ran(&mut command, "vulkaninfo")?;
    let is_ours = |line: &str| {
        let name = line
            .split_once('=')
            .filter(|(key, _)| key.trim() == "driverInfo");
        name.is_some_and(|(_, value)| value.contains("panvk-sparse"))
    };
    Ok(Vulkaninfo {
        is_without_us: ran.has_started && !ran.stdout.lines().any(is_ours),
        text: format!("{}{}{}", ran.outcome, sparse_part(&ran.stdout), ran.driver),
    })
}

/// The lines of vulkaninfo that are about sparse binding, or say which driver it is.
fn sparse_part(text: &str) -> String {
    const WANTED: [&str; 15] = [
        "Vulkan Instance Version",
        "apiVersion",
        "driverVersion",
        "vendorID",
        "deviceID",
        "deviceType",
        "deviceName",
        "driverID",
        "driverName",
        "driverInfo",
        "conformanceVersion",
        "queueCount",
        "queueFlags",
        "shaderResourceResidency",
        "maxBufferSize",
    ];
    let is_wanted = |line: &&str| {
        let key = line.split(['=', ':']).next().unwrap_or_default().trim();
        WANTED.contains(&key)
            || key.starts_with("sparse")
            || key.starts_with("residency")
            || key.starts_with("queueProperties[")
            || key
                .strip_prefix("GPU")
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    text.lines()
        .filter(is_wanted)
        .map(|line| format!("  {}\n", line.trim_end()))
        .collect()
}

/// Names of the user that may stand in paths and messages.
fn user_names() -> Vec<String> {
    let names = ["USER", "LOGNAME", "SUDO_USER"]
        .into_iter()
        .filter_map(|name| env::var(name).ok());
    // The name of root is a word of the system.
    names
        .filter(|name| !name.is_empty() && name != "root")
        .collect()
}

/// Writes the home folder as `~`, and the user's names as `USER` if they stand as words.
fn without_names(text: &str, home: Option<&str>, names: &[String]) -> String {
    let mut text = match home.map(|home| home.trim_end_matches('/')) {
        Some(home) if !home.is_empty() => text.replace(home, "~"),
        _ => text.to_owned(),
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for name in names {
        let mut rest = text.as_str();
        let mut kept = String::new();
        while let Some(at) = rest.find(name.as_str()) {
            let (before, after) = (&rest[..at], &rest[at + name.len()..]);
            let stands_alone = !before.ends_with(is_word) && !after.starts_with(is_word);
            kept += before;
            kept += if stands_alone { "USER" } else { name };
            rest = after;
        }
        kept += rest;
        text = kept;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_as_words_only() {
        let names = ["ann".to_owned()];
        let text = "/home/ann/x /mnt/ann: channel ann_2 ann";
        assert_eq!(
            without_names(text, Some("/home/ann/"), &names),
            "~/x /mnt/USER: channel ann_2 USER"
        );
        assert_eq!(without_names("/a", Some("/"), &[]), "/a");
    }

    #[test]
    fn of_vulkaninfo_only_what_is_about_sparse_binding_remains() {
        let text = "Instance Layers: count = 1\nGPU0:\n\tdeviceName = Mali\n\tmaxImageDimension2D = 8\n\tsparseBinding = true\n\
                    GPU id : 0\n\tresidencyStandard2DBlockShape = true\n";
        assert_eq!(
            sparse_part(text),
            "  GPU0:\n  \tdeviceName = Mali\n  \tsparseBinding = true\n  \tresidencyStandard2DBlockShape = true\n"
        );
    }
}
