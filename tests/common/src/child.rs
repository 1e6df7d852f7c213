//! A test that runs itself in a process of its own.

use crate::config::Config;
use crate::preload::Dump;
use crate::stats::{self, Stats};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Set in the child process, to the name of the test that it runs.
pub const CHILD: &str = "PANVK_SPARSE_TEST_CHILD";

/// A child that never ends is a failure too; far beyond what a busy machine needs.
const HANGS: Duration = Duration::from_secs(900);

/// What a child that succeeded left behind.
#[derive(Debug)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    /// One for each VkDevice, in the order of destruction. Empty under [`Config::Bare`].
    pub stats: Vec<Stats>,
    /// What the nodes of [`Config::Node`] have to tell; `None` where none was opened.
    pub dump: Option<Dump>,
}

/// Runs `body` under `config` in a process of its own, and hands what it left to `check` in this one.
///
/// `test` is the full path of the libtest test that calls this, with the crate's name in front (see [`name_of!`]).
///
/// [`name_of!`]: crate::name_of
pub fn run(
    test: &str,
    config: Config,
    extra: &[(&str, &str)],
    body: impl FnOnce(),
    check: impl FnOnce(&Outcome),
) {
    // A case that sets the counters' file itself leaves none to read.
    let own_file = extra.iter().any(|(name, _)| *name == stats::FILE);
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stats_file = folder.path().join("stats.jsonl");
    let mut command = Command::new(std::env::current_exe().expect("the test knows its executable"));
    // The test that runs may be one that is ignored where nobody asks for it: so it would be in its child.
    command.args([
        "--exact",
        test,
        "--include-ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    config.apply(&mut command);
    command.env(CHILD, test);
    if config.is_icd() {
        command.env(stats::FILE, &stats_file);
    }
    let dump = folder.path().join("dump.json");
    let on_node = matches!(config, Config::Node { .. });
    if on_node {
        command.env("VPANTHOR_DUMP", &dump);
    }
    command.envs(extra.iter().copied());
    let (status, stdout, stderr) = finish(command);
    let one_ran = stdout.contains("1 passed");
    assert!(
        status.success() && one_ran,
        "{test} under {config:?}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
    );
    assert!(
        !stderr.contains("panicked at"),
        "{test} under {config:?} passed, but something panicked:\n{stderr}"
    );
    let stats = if config.is_icd() && !own_file {
        stats::read(&stats_file)
    } else {
        Vec::new()
    };
    check(&Outcome {
        stdout,
        stderr,
        stats,
        dump: dump.exists().then(|| Dump::read(&dump)),
    });
}

/// Runs a command to its end, with both outputs collected.
pub fn finish(mut command: Command) -> (ExitStatus, String, String) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the process starts");
    let id = child.id();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(HANGS) {
        Ok(output) => {
            let output = output.expect("the process ends");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status, text(&output.stdout), text(&output.stderr))
        }
        Err(_) => {
            let _ = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
            panic!("{command:?} has not ended after {HANGS:?}");
        }
    }
}

/// The path of the test `$name` in the module of the call, as libtest names it, behind the crate's name.
#[macro_export]
macro_rules! name_of {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}
