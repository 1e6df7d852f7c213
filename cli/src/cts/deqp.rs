//! The conformance tests' program: where it is, how it is started, which cases it has.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::driver::TestedDriver;
use super::process::{End, Watch};
use super::{Error, lists};

/// How many of the last lines of a program that does not work are told.
const TAIL: usize = 3;

/// A deqp-vk that can be started.
#[derive(Clone, Debug)]
pub struct Deqp {
    program: PathBuf,
    archive: PathBuf,
}

impl Deqp {
    /// `archive` is the folder of the data files; by default the program's own.
    pub fn new(program: &Path, archive: Option<&Path>) -> Result<Self, Error> {
        let usage = |text: String| Error::Usage(format!("{}: {text}", program.display()));
        let found = program
            .canonicalize()
            .map_err(|error| usage(format!("{error}; expected the path of deqp-vk")))?;
        let metadata = found.metadata().map_err(|error| usage(error.to_string()))?;
        if !metadata.is_file() {
            return Err(usage("not a file; expected the path of deqp-vk".to_owned()));
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(usage("not executable".to_owned()));
        }
        let archive = match archive {
            Some(folder) => folder
                .canonicalize()
                .ok()
                .filter(|folder| folder.is_dir())
                .ok_or_else(|| {
                    Error::Usage(format!("--archive-dir {}: not a folder", folder.display()))
                })?,
            None => found.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        Ok(Self {
            program: found,
            archive,
        })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command that runs in `folder`, where it may leave files, with `driver`.
    pub fn command(&self, folder: &Path, driver: &TestedDriver) -> Command {
        let mut command = Command::new(&self.program);
        let mut archive = std::ffi::OsString::from("--deqp-archive-dir=");
        archive.push(&self.archive);
        command
            .arg(archive)
            .arg("--deqp-log-filename=TestResults.qpa")
            .args([
                "--deqp-log-images=disable",
                "--deqp-log-shader-sources=disable",
            ])
            .current_dir(folder)
            .stdin(Stdio::null());
        driver.set(&mut command);
        command
    }

    /// The cases that `patterns` name, in deqp-vk's order, and the patterns that name none.
    pub fn cases<'p>(
        &self,
        patterns: &[&'p str],
        folder: &Path,
        driver: &TestedDriver,
        watch: Watch,
    ) -> Result<(Vec<String>, Vec<&'p str>), Error> {
        let failed = |error: std::io::Error| Error::Run(format!("{}: {error}", folder.display()));
        let mut command = self.command(folder, driver);
        command
            .arg("--deqp-runmode=stdout-caselist")
            .arg(format!("--deqp-case={}", lists::groups(patterns).join(",")))
            .stderr(File::create(folder.join("stderr")).map_err(failed)?);
        let mut known: Vec<String> = Vec::new();
        let mut is_deqp = false;
        let mut other: VecDeque<String> = VecDeque::new();
        let end = watch.run(self, &mut command, |line| {
            let name = line.strip_prefix("TEST: ");
            known.extend(name.map(|name| name.trim().to_owned()));
            let says = ["TEST: ", "GROUP: ", "dEQP Core "];
            let sign = says.iter().any(|said| line.starts_with(said));
            is_deqp |= sign;
            if !sign {
                other.truncate(TAIL - 1);
                other.push_front(line.to_owned());
            }
            sign
        })?;
        let said = || {
            let lines: Vec<&str> = other.iter().rev().map(String::as_str).collect();
            said(folder, &lines.join("\n"))
        };
        match end {
            End::Exited(status) if status.success() && is_deqp => {
                Ok(lists::select(patterns, known))
            }
            End::Exited(status) if status.success() => Err(Error::Run(format!(
                "{}: is not deqp-vk: asked for its cases, it named none: {}",
                self.program.display(),
                said()
            ))),
            End::Exited(status) => Err(self.does_not_start(&format!(
                "asked for its cases, it ended with {status}: {}",
                said()
            ))),
            End::Hung => Err(self.does_not_start(&format!(
                "asked for its cases, it named none for {} s: {}",
                watch.patience.as_secs(),
                said()
            ))),
        }
    }

    /// An error for a program that can't run a case at all.
    pub fn does_not_start(&self, why: &str) -> Error {
        Error::Run(format!("{}: does not start: {why}", self.program.display()))
    }
}

/// The last lines of what the last process in `folder` said, on stdout (`stdout`) and on stderr, as one line.
pub fn said(folder: &Path, stdout: &str) -> String {
    let stderr = fs::read(folder.join("stderr")).unwrap_or_default();
    let said = format!("{stdout}\n{}", String::from_utf8_lossy(&stderr));
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        n => lines[n.saturating_sub(TAIL)..].join(" / "),
    }
}
