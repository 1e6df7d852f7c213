//! Mesa's panvk with the component in it, on the virtual node: `scripts/panvk.sh test` builds the driver and runs these.
//!
//! A test runs itself again in a process under the preload. There it binds through Vulkan. After each step the node writes down
//! what the VM maps, and all of it has to be what the Vulkan calls ask for.

mod hook;
mod in_front;
pub mod oracle;
pub mod recorded;
mod reports;
pub mod steps;

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use common::app::VALIDATION;
use common::preload;

/// Names the driver's manifest.
const DRIVER: &str = "PANVK_SPARSE_TEST_PANVK";
/// Set in a test's own child process, to the name of the test that it runs.
const CHILD: &str = "PANVK_SPARSE_TEST_CHILD";

/// Runs `body` with the driver on a virtual Mali-G610, in a process of its own: this test again.
fn on_a_virtual_mali(test: &str, kernel: &str, body: impl FnOnce()) {
    on_a_virtual_mali_with(test, kernel, &[], body);
}

/// The same, with more variables. Gives what the process printed, or nothing in that process.
fn on_a_virtual_mali_with(
    test: &str,
    kernel: &str,
    variables: &[(&str, &OsStr)],
    body: impl FnOnce(),
) -> Option<String> {
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return None;
    }
    let driver = std::env::var(DRIVER)
        .unwrap_or_else(|_| panic!("{DRIVER} is not set; scripts/panvk.sh test sets it"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(std::env::current_exe().expect("the test's executable"));
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("VK_ICD_FILENAMES", &driver)
        .env("VK_DRIVER_FILES", &driver)
        .env(VALIDATION, "1")
        // It has timeline semaphores as an extension, and our programs call them by their names in Vulkan 1.2.
        .env("MESA_VK_VERSION_OVERRIDE", "1.3")
        .env(CHILD, test)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    let dump = folder.path().join("dump.json");
    preload::apply(&mut command, &format!("{kernel},gpu=g610"), &dump);
    let output = command.output().expect("the test starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{kernel}: {}\n{stdout}\n{stderr}",
        output.status
    );
    println!("{kernel}\n{stdout}");
    preload::Dump::read(&dump).nodes[0].assert_all_closed();
    Some(stdout)
}
