//! A process with more rights than its user: the user's variables choose nothing, least of all what is loaded.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use ash::vk;
use hosted::config::Config;
use vulkan::base::Base;

const CHILD: &str = "PANVK_SPARSE_TEST_CHILD";
const TEST: &str = "raised_rights::the_users_variables_choose_nothing";

unsafe extern "system" fn own(_: *mut u32) -> vk::Result {
    vk::Result::SUCCESS
}

#[test]
fn the_users_variables_choose_nothing() {
    if std::env::var_os(CHILD).is_some() {
        let config = Config::from_env().expect("the variables are not read");
        match Base::load(config.base_icd.as_deref(), own) {
            Ok(base) => println!("loaded {}", base.path().display()),
            Err(error) => println!("error: {error}"),
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("vulkan/icd.d");
    std::fs::create_dir_all(&manifests).unwrap();
    std::fs::write(
        manifests.join("lvp_icd.json"),
        r#"{"ICD":{"library_path":"/nowhere/chosen.so"}}"#,
    )
    .unwrap();

    // Run by a user who is not in the file's group, a setgid program has raised rights.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let group = std::fs::metadata(&program).unwrap().gid();
    let raised = chown(&program, None, Some(group + 1)).is_ok();
    if !raised {
        eprintln!("not tested: only root can give a file to another group");
        return;
    }
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o2755)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, TEST)
        .env("PANVK_SPARSE_KERNEL", "no such kernel")
        .env("PANVK_SPARSE_BASE_ICD", "/nowhere/chosen.so")
        .env("XDG_CONFIG_DIRS", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .env("XDG_DATA_DIRS", folder.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{output:?}"
    );
    assert!(!stdout.contains("chosen"), "{stdout}");
}
