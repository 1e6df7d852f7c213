//! The conformance tests' program: where it is, how it is started, which cases it has.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::driver::Driver;
use super::{Error, lists};

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
    pub fn command(&self, folder: &Path, driver: &Driver) -> Command {
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
        driver: &Driver,
    ) -> Result<(Vec<String>, Vec<&'p str>), Error> {
        let output = self
            .command(folder, driver)
            .arg("--deqp-runmode=stdout-caselist")
            .arg(format!("--deqp-case={}", lists::groups(patterns).join(",")))
            .output()
            .map_err(|error| self.does_not_start(&error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let said = [text.as_ref(), &String::from_utf8_lossy(&output.stderr)].concat();
            return Err(self.does_not_start(&format!(
                "asked for its cases, it ended with {}: {}",
                output.status,
                tail(&said)
            )));
        }
        let known: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("TEST: "))
            .map(|name| name.trim().to_owned())
            .collect();
        Ok(lists::select(patterns, known))
    }

    /// An error for a program that can't run a case at all.
    pub fn does_not_start(&self, why: &str) -> Error {
        Error::Run(format!("{}: does not start: {why}", self.program.display()))
    }
}

/// The last lines of what a process said, as one line.
pub fn tail(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        n => lines[n.saturating_sub(3)..].join(" / "),
    }
}
