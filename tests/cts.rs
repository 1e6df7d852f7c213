//! `panvk-sparse cts` with a deqp-vk that the test writes: what it says is counted, attributed and compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Has seven cases. On the bare driver (no PANVK_SPARSE_STATS) `t.differs` fails.
const FAKE: &str = r#"#!/bin/sh
for a in "$@"; do case "$a" in
--deqp-runmode=*) for c in pass fail skip crash after differs odd; do echo "TEST: dEQP-VK.t.$c"; done; exit 0;;
--deqp-caselist-file=*) list=${a#*=};;
esac; done
[ -z "$PANVK_SPARSE_STATS" ] || echo '{"device":"d","base_driver":"b","kernel":"k","strategy":"repeat","queue_bind_sparse_calls":1,"binds":2,"vm_bind_ioctls":3,"vm_bind_ops":4,"map_ops":2,"null_ops":1,"unmap_ops":1,"sync_ops":0,"binds_elided":0}' >> "$PANVK_SPARSE_STATS"
while read -r c; do
  echo "Test case '$c'.."
  case "$c" in
  *.fail) echo "  Fail (a <wrong> value)";;
  *.skip) echo "  NotSupported (no such thing at x.cpp:1)";;
  *.crash) kill -SEGV $$;;
  *.differs) if [ -z "$PANVK_SPARSE_STATS" ]; then echo "  Fail (bare)"; else echo "  Pass (ok)"; fi;;
  *) echo "  Pass (ok)";;
  esac
done < "$list"
echo "DONE!"
"#;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.write("deqp-vk", FAKE);
        fs::set_permissions(bench.path("deqp-vk"), PermissionsExt::from_mode(0o755)).unwrap();
        bench.write("icd.json", "{\"ICD\":{\"library_path\":\"./x.so\"}}");
        fs::create_dir(bench.path("tmp")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn cts(&self, list: &str, fails: &str, more: &[&str]) -> Output {
        self.start(&self.path("deqp-vk"), list, fails, more)
    }

    fn start(&self, deqp: &Path, list: &str, fails: &str, more: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_panvk-sparse"))
            .args(["cts", "--jobs", "2", "--deqp-vk"])
            .arg(deqp)
            .arg("--icd")
            .arg(self.path("icd.json"))
            .arg("--list")
            .arg(self.write("list.txt", list))
            .arg("--fails")
            .arg(self.write("fails.txt", fails))
            .args(more)
            .env("TMPDIR", self.path("tmp"))
            .env("PANVK_SPARSE_BASE_ICD", self.path("icd.json"))
            .output()
            .unwrap();
        let left = fs::read_dir(self.path("tmp")).unwrap().count();
        assert_eq!(left, 0, "temporary files are left");
        output
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_crash_is_that_of_the_running_case_and_the_others_still_run() {
    let bench = Bench::new();
    let junit = bench.path("j.xml");
    let more = ["--json", "--junit", junit.to_str().unwrap()];
    let output = bench.cts("dEQP-VK.t.*", "dEQP-VK.t.fail,Fail", &more);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    let counts = &report["counts"];
    for (key, n) in [
        ("passed", 4),
        ("failed", 1),
        ("not_supported", 1),
        ("crashed", 1),
    ] {
        assert_eq!(counts[key], n, "{key} in {report}");
    }
    assert_eq!(report["expected_failures"], 1);
    assert_eq!(report["unexpected"].as_array().unwrap().len(), 1);
    assert_eq!(report["unexpected"][0]["case"], "dEQP-VK.t.crash");
    assert_eq!(report["stats"][0]["strategy"], "repeat");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"7\" failures=\"1\""), "{xml}");
}

#[test]
fn as_expected_is_success_and_an_expected_failure_that_passes_is_not() {
    let bench = Bench::new();
    let fails = "dEQP-VK.t.fail,Fail\ndEQP-VK.t.crash,Crash\n";
    let output = bench.cts("dEQP-VK.t.*", fails, &[]);
    assert_eq!(output.status.code(), Some(0));
    let output = bench.cts("dEQP-VK.t.pass", "dEQP-VK.t.pass,Fail", &[]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_differs_from_the_bare_driver_is_named() {
    let bench = Bench::new();
    let output = bench.cts(
        "dEQP-VK.t.differs\ndEQP-VK.t.odd",
        "",
        &["--baseline", "--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let differences = &json(&output)["baseline"]["differences"];
    assert_eq!(differences.as_array().unwrap().len(), 1);
    assert_eq!(differences[0]["bare"], "Fail");
}

#[test]
fn what_is_wrong_with_the_command_line_is_said() {
    let bench = Bench::new();
    let plain = bench.write("plain", "no program");
    let dumb = bench.write("dumb", "#!/bin/sh\necho no driver >&2\nexit 3\n");
    fs::set_permissions(&dumb, PermissionsExt::from_mode(0o755)).unwrap();
    let real = bench.path("deqp-vk");
    for (deqp, list, fails, status, said) in [
        (&bench.path("gone"), "dEQP-VK.t.*", "", 2, "gone"),
        (&plain, "dEQP-VK.t.*", "", 2, "not executable"),
        (&dumb, "dEQP-VK.t.*", "", 1, "no driver"),
        (&real, "dEQP-VK.t.nope", "", 2, "dEQP-VK.t.nope is no case"),
        (&real, "dEQP-VK.u.*", "", 2, "dEQP-VK.u.* matches no case"),
        (&real, "dEQP-VK.t.*", "dEQP-VK.t.fail", 2, "not understood"),
    ] {
        let output = bench.start(deqp, list, fails, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(output.status.code(), Some(status), "{stderr}");
    }
}

#[test]
fn a_kernel_that_answers_otherwise_than_its_model_is_said_and_fails_the_run() {
    let bench = Bench::new();
    let differing = |name: &str, differences: u64| {
        let counted = format!("\"binds_elided\":0,\"differences\":{differences}}}");
        let path = bench.write(name, &FAKE.replace("\"binds_elided\":0}", &counted));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    for (differences, status) in [(0, 0), (2, 1)] {
        let deqp = differing("deqp-differing", differences);
        let output = bench.start(&deqp, "dEQP-VK.t.pass\n", "", &["--json"]);
        assert_eq!(output.status.code(), Some(status));
        let report = json(&output);
        assert_eq!(report["stats"][0]["differences"], differences);
        assert_eq!(report["success"], status == 0);
        let output = bench.start(&deqp, "dEQP-VK.t.pass\n", "", &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = format!("the kernel answered otherwise than its model {differences} times");
        assert!(text.contains(&line), "{text}");
    }
    let output = bench.cts("dEQP-VK.t.pass\n", "", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("otherwise than its model"), "{text}");
}
