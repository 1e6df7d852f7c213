//! `panvk-sparse cts` with a deqp-vk that the test writes: what it says is counted, attributed and compared.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// On the bare driver (no PANVK_SPARSE_STATS) `t.differs` fails, `less` crashes, and `t.worse` and `mali` pass. `slow.hang` says nothing and
/// tells its processes' numbers in `deqp-vk.pids`; `once` fails the first time. Cases that begin are in `deqp-vk.ran`.
const FAKE: &str = r#"#!/bin/sh
echo "dEQP Core test"
echo "$*" > "$0.args"
for a in "$@"; do case "$a" in
--deqp-runmode=*)
  for c in t.pass t.fail t.skip t.crash t.after t.differs t.worse slow.odd slow.hang slow.next once mali less; do
    echo "TEST: dEQP-VK.$c"
  done; exit 0;;
--deqp-caselist-file=*) list=${a#*=};;
esac; done
if [ "$PANVK_SPARSE_KERNEL" = vpanthor:1.6-repeat ]; then echo "no such kernel" >&2; exit 3; fi
[ -z "$PANVK_SPARSE_STATS" ] || echo '{"device":"d","base_driver":"b","kernel":"'$PANVK_SPARSE_KERNEL'","strategy":"'$PANVK_SPARSE_NULL'","queue_bind_sparse_calls":1,"binds":2,"vm_bind_ioctls":3,"vm_bind_ops":4,"map_ops":2,"null_ops":1,"unmap_ops":1,"sync_ops":0,"binds_elided":0,"new_one":7}' >> "$PANVK_SPARSE_STATS"
while read -r c; do
  echo "Test case '$c'.."
  echo "$c" >> "$0.ran"
  case "$c" in
  *.fail) echo "  Fail (a <wrong> \"value\" & more)";;
  *.skip) echo "  NotSupported (no such thing at x.cpp:1)";;
  *.crash) kill -SEGV $$;;
  *.differs) if [ -z "$PANVK_SPARSE_STATS" ]; then echo "  Fail (bare)"; else echo "  Pass (ok)"; fi;;
  *.worse) if [ -z "$PANVK_SPARSE_STATS" ]; then echo "  Pass (bare)"; else echo "  Fail (ours)"; fi;;
  *.hang) sleep 600 & echo $$ $! > "$0.tmp"; mv "$0.tmp" "$0.pids"; wait;;
  *.mali) if [ -z "$PANVK_SPARSE_STATS" ]; then echo "  Pass (bare)"; else echo "  NotSupported (less)"; fi;;
  *.less) if [ -z "$PANVK_SPARSE_STATS" ]; then kill -SEGV $$; else echo "  NotSupported (less)"; fi;;
  *.once) if [ -e "$0.once" ]; then echo "  Pass (ok)"; else touch "$0.once"; echo "  Fail (once)"; fi;;
  *) echo "  Pass (ok)";;
  esac
done < "$list"
echo "DONE!"
"#;

/// All that end.
const SOON: &str = "dEQP-VK.t.*";
const FAILS: &str = "dEQP-VK.t.fail,Fail\ndEQP-VK.t.crash,Crash\ndEQP-VK.t.worse,Fail\n";

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.program("deqp-vk", FAKE);
        bench.write("icd.json", "{\"ICD\":{\"library_path\":\"./x.so\"}}");
        fs::create_dir(bench.path("tmp")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn command(&self, deqp: &Path, list: &str, fails: &str, more: &[&str]) -> Command {
        let mut command = Command::new(common::command::binary());
        command
            .args(["cts", "--deqp-vk"])
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
            .env_remove("PANVK_SPARSE_KERNEL")
            .env_remove("PANVK_SPARSE_NULL")
            .env_remove("PANVK_SPARSE_PROFILE");
        command
    }

    fn start(&self, deqp: &Path, list: &str, fails: &str, more: &[&str]) -> Output {
        let output = self.command(deqp, list, fails, more).output().unwrap();
        self.is_clean();
        output
    }

    fn cts(&self, list: &str, fails: &str, more: &[&str]) -> Output {
        self.start(&self.path("deqp-vk"), list, fails, more)
    }

    fn is_clean(&self) {
        let left = fs::read_dir(self.path("tmp")).unwrap().count();
        assert_eq!(left, 0, "temporary files are left");
    }

    /// What `slow.hang` started, once it hangs.
    fn hanging(&self) -> Vec<i32> {
        let pids = self.read("deqp-vk.pids");
        pids.split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect()
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn names(list: &Value) -> Vec<&str> {
    let cases = list.as_array().unwrap().iter();
    cases.map(|found| found["case"].as_str().unwrap()).collect()
}

/// Waits until none of `pids` runs any more. One that nobody has waited for has ended all the same.
fn have_ended(pids: &[i32]) {
    assert_eq!(pids.len(), 2, "deqp-vk has not hung");
    let runs = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    for _ in 0..500 {
        if !pids.iter().any(runs) {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("a process is left");
}

#[test]
fn a_crash_is_that_of_the_running_case_and_the_others_still_run() {
    // Ten cases for one job are three a process: `after` is of that which crashes.
    let list = "dEQP-VK.t.*\ndEQP-VK.slow.odd\ndEQP-VK.slow.next\ndEQP-VK.once";
    let fails = "dEQP-VK.t.fail,Fail\ndEQP-VK.t.worse,Fail\ndEQP-VK.once,Fail";
    let output = Bench::new().cts(list, fails, &["--json", "--jobs", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    let run = &report["runs"][0];
    for (key, n) in [
        ("passed", 5),
        ("failed", 3),
        ("not_supported", 1),
        ("crashed", 1),
    ] {
        assert_eq!(run["counts"][key], n, "{key} in {report}");
    }
    assert_eq!(run["results"]["dEQP-VK.t.after"]["status"], "Pass");
    assert_eq!(run["expected_failures"], 3);
    assert_eq!(names(&run["unexpected"]), ["dEQP-VK.t.crash"]);
}

#[test]
fn json_has_every_case_of_every_run_with_its_reason() {
    let report = json(&Bench::new().cts(SOON, FAILS, &["--json", "--baseline"]));
    for key in [
        "deqp_vk", "icd", "success", "stopped", "cases", "skipped", "wall_s",
    ] {
        assert!(!report[key].is_null(), "{key} in {report}");
    }
    assert_eq!(report["cases"], 7);
    for run in [&report["baseline"], &report["runs"][0]] {
        let results = run["results"].as_object().unwrap();
        assert_eq!(results.len(), 7);
        assert!(
            results
                .values()
                .all(|result| !result["reason"].as_str().unwrap().is_empty())
        );
        let counts = run["counts"].as_object().unwrap().values();
        assert_eq!(counts.map(|n| n.as_u64().unwrap()).sum::<u64>(), 7);
        assert!(run["wall_s"].is_f64() && run["cut"].is_null());
    }
}

#[test]
fn as_expected_is_success_and_an_expected_failure_that_passes_a_note() {
    let bench = Bench::new();
    let output = bench.cts(SOON, FAILS, &[]);
    assert_eq!(output.status.code(), Some(0));
    let list = "dEQP-VK.t.pass,Fail";
    let output = bench.cts("dEQP-VK.t.pass", list, &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        names(&json(&output)["runs"][0]["improved"]),
        ["dEQP-VK.t.pass"]
    );
    let text = bench.cts("dEQP-VK.t.pass", list, &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("1 expected to fail, but did not"), "{text}");
}

#[test]
fn better_than_the_bare_driver_is_said_and_worse_is_a_failure() {
    let bench = Bench::new();
    let bare = bench.write("bare.txt", "dEQP-VK.t.differs,Fail");
    let bare = bare.to_str().unwrap();
    let differs = "dEQP-VK.t.differs\ndEQP-VK.t.pass";
    for (options, better, unlisted, surprises) in [
        (&["--baseline", "--json", "--bare-fails", bare][..], 1, 0, 0),
        (&["--baseline", "--json"], 0, 1, 1),
    ] {
        let output = bench.cts(differs, "", options);
        let report = json(&output);
        let compared = &report["runs"][0]["compared"];
        assert_eq!(names(&compared["better"]).len(), better);
        assert_eq!(names(&compared["better_unlisted"]).len(), unlisted);
        assert_eq!(names(&report["baseline"]["unexpected"]).len(), surprises);
        assert_eq!(output.status.code(), Some(0), "{report}");
    }
    let output = bench.cts(differs, "", &["--baseline", "--bare-fails", bare]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("1 better than the bare base driver, 0 of them not"),
        "{text}"
    );

    // Expected to fail or not: it passes without us.
    let output = bench.cts(
        "dEQP-VK.t.worse",
        "dEQP-VK.t.worse,Fail",
        &["--baseline", "--json"],
    );
    let report = json(&output);
    assert_eq!(
        names(&report["runs"][0]["compared"]["worse"]),
        ["dEQP-VK.t.worse"]
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_is_taken_back_is_named_and_only_worse_where_nobody_says_so() {
    let bench = Bench::new();
    let deqp = bench.path("deqp-vk");
    let known = bench.write("known.txt", "VK.ma.i$\n");
    let known = ["--taken-back", known.to_str().unwrap()];
    for (variable, value, more, list, status) in [
        ("PANVK_SPARSE_PROFILE", "mali", &[][..], "taken_back", 0),
        ("PANVK_SPARSE_DUMMY", "alias", &[], "taken_back", 0),
        ("PANVK_SPARSE_PROFILE", "base", &known, "taken_back", 0),
        ("PANVK_SPARSE_PROFILE", "base", &[], "worse", 1),
    ] {
        let more = [&["--baseline", "--json"], more].concat();
        let mut command = bench.command(&deqp, "dEQP-VK.mali", "", &more);
        let output = command.env(variable, value).output().unwrap();
        let compared = &json(&output)["runs"][0]["compared"];
        assert_eq!(names(&compared[list]), ["dEQP-VK.mali"]);
        assert_eq!(output.status.code(), Some(status));
    }
    // A crash that nobody can see any more is not better.
    let output = bench.cts(
        "dEQP-VK.less\ndEQP-VK.t.pass",
        "",
        &["--baseline", "--json"],
    );
    let compared = &json(&output)["runs"][0]["compared"];
    assert_eq!(names(&compared["taken_back"]), ["dEQP-VK.less"]);
    assert_eq!(names(&compared["better_unlisted"]).len(), 0);
    assert_eq!(output.status.code(), Some(0));
    let output = bench.cts("dEQP-VK.less\ndEQP-VK.t.pass", "", &["--baseline"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 taken back"), "{text}");
    assert!(text.contains("dEQP-VK.less: Skip, bare Crash"), "{text}");
}

#[test]
fn a_fraction_of_the_cases_starts_where_it_is_told() {
    let bench = Bench::new();
    let ran = |fraction: &str| {
        let report = json(&bench.cts(SOON, FAILS, &["--json", "--fraction", fraction]));
        let results = report["runs"][0]["results"].as_object().unwrap().clone();
        results
            .into_iter()
            .map(|(case, _)| case)
            .collect::<Vec<_>>()
    };
    assert_eq!(ran("4"), ["dEQP-VK.t.after", "dEQP-VK.t.pass"]);
    assert_eq!(ran("4:2"), ["dEQP-VK.t.differs", "dEQP-VK.t.fail"]);
    for wrong in ["0", "4:0", "4:5", "x"] {
        let output = bench.cts(SOON, FAILS, &["--fraction", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_report_that_can_not_be_written_is_said_before_the_cases_are_run() {
    let bench = Bench::new();
    let output = bench.cts(SOON, FAILS, &["--junit", "/gone/j.xml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(bench.read("deqp-vk.ran"), "");
    // That there is no room is only seen in the end. The command line made sense.
    let output = bench.cts("dEQP-VK.t.pass", "", &["--junit", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning_where_others_match() {
    let output = Bench::new().cts("dEQP-VK.t.pass\ndEQP-VK.u.*", "", &[]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("dEQP-VK.u.* matches no case"), "{stderr}");
}

#[test]
fn every_kernel_and_strategy_is_a_run_with_its_own_counters() {
    let bench = Bench::new();
    let list = "dEQP-VK.t.pass\ndEQP-VK.t.after";
    let report = json(&bench.cts(list, "", &["--json", "--jobs", "1", "--all-kernels"]));
    let ways = [
        ("vpanthor:1.5", "page"),
        ("vpanthor:1.5", "chunk"),
        ("vpanthor:1.8-repeat", "repeat"),
        ("vpanthor:1.9", "sparse"),
    ];
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), ways.len());
    for (run, (kernel, null)) in runs.iter().zip(ways) {
        assert_eq!(
            (&run["kernel"], &run["null"]),
            (&kernel.into(), &null.into())
        );
        let [stats] = &run["stats"].as_array().unwrap()[..] else {
            panic!("{run}");
        };
        assert_eq!(stats["kernel"], kernel);
        assert_eq!(stats["strategy"], null);
        // Two cases, two processes.
        assert_eq!(stats["devices"], 2);
        assert_eq!(stats["vm_bind_ioctls"], 6);
        assert_eq!(stats["new_one"], 14);
    }
    let more = [
        "--kernel",
        "vpanthor:1.9",
        "--kernel",
        "vpanthor:1.5",
        "--null",
        "page",
        "--null",
        "chunk",
    ];
    let text = bench.cts(list, "", &more);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let table: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("vpanthor") && line.ends_with(" s"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let rows = [
        ("1.9", "page"),
        ("1.9", "chunk"),
        ("1.5", "page"),
        ("1.5", "chunk"),
    ];
    assert_eq!(table.len(), rows.len(), "{text}");
    for (row, (kernel, null)) in table.iter().zip(rows) {
        assert_eq!(row[0], format!("vpanthor:{kernel}"));
        // Strategy, passed, failed, crashed, not supported, unexpected, worse, better, taken back, ioctls, ops.
        assert_eq!(
            row[1..12],
            [null, "2", "0", "0", "0", "0", "-", "-", "-", "6", "8"],
            "{text}"
        );
    }
}

#[test]
fn a_run_that_cannot_go_on_does_not_take_the_others_with_it() {
    let kernels = [
        "--json",
        "--kernel",
        "vpanthor:1.6-repeat",
        "--kernel",
        "vpanthor:1.5",
    ];
    let output = Bench::new().cts("dEQP-VK.t.pass", "", &kernels);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    let said = report["runs"][0]["cut"].as_str().unwrap();
    assert!(said.contains("no such kernel"), "{said}");
    assert_eq!(report["runs"][1]["counts"]["passed"], 1);
}

#[test]
fn a_case_that_hangs_times_out_and_the_next_one_is_run() {
    let bench = Bench::new();
    // Two cases a process: `hang` and `next`.
    let list =
        "dEQP-VK.t.pass\ndEQP-VK.t.after\ndEQP-VK.slow.hang\ndEQP-VK.slow.next\ndEQP-VK.once";
    let more = ["--json", "--timeout", "1", "--jobs", "1"];
    let output = bench.cts(list, "dEQP-VK.once,Fail", &more);
    assert_eq!(output.status.code(), Some(1));
    let results = &json(&output)["runs"][0]["results"];
    assert_eq!(results["dEQP-VK.slow.hang"]["status"], "Timeout");
    assert_eq!(results["dEQP-VK.slow.next"]["status"], "Pass");
    have_ended(&bench.hanging());
}

/// Starts all cases, and sends `signal` while `slow.hang` hangs.
fn interrupted(bench: &Bench, signal: Signal, more: &[&str]) -> Output {
    let all = "dEQP-VK.t.*\ndEQP-VK.slow.*";
    let mut command = bench.command(&bench.path("deqp-vk"), all, FAILS, more);
    let mut child: Child = command
        .args(["--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while bench.hanging().is_empty() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it was asked to"
        );
        sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn ctrl_c_ends_every_process_leaves_no_file_and_says_what_was_found() {
    for (signal, way) in [(Signal::INT, "--json"), (Signal::TERM, "--baseline")] {
        let bench = Bench::new();
        let junit = bench.path("j.xml");
        let output = interrupted(&bench, signal, &[way, "--junit", junit.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8_lossy(&output.stderr).contains("stopped"));
        bench.is_clean();
        have_ended(&bench.hanging());
        let _ = xml::tags(&bench.read("j.xml"));
        if way == "--json" {
            let report = json(&output);
            let run = &report["runs"][0];
            assert_eq!(report["stopped"], true);
            assert_eq!(run["cut"], "stopped");
            // The case before it is of the same process; the interrupted one has no result, nor has the next.
            assert_eq!(run["results"]["dEQP-VK.slow.odd"]["status"], "Pass");
            assert_eq!((&report["cases"], &run["cases"]), (&10.into(), &8.into()));
            assert_eq!(names(&run["unexpected"]).len(), 0);
        } else {
            // It was stopped on the bare driver; nothing else was begun.
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                text.contains("ended after 8 of 10 cases: stopped"),
                "{text}"
            );
            assert!(!text.contains("vpanthor"), "{text}");
        }
    }
}

#[test]
fn what_is_in_the_list_of_skips_is_not_run() {
    let bench = Bench::new();
    let skips = bench.write("skips.txt", "# why\n\\.(crash|after)$\n");
    let more = ["--json", "--skips", skips.to_str().unwrap()];
    let report = json(&bench.cts(SOON, FAILS, &more));
    assert_eq!(
        report["skipped"],
        serde_json::json!(["dEQP-VK.t.crash", "dEQP-VK.t.after"])
    );
    assert_eq!(report["runs"][0]["counts"]["crashed"], 0);
    let ran = bench.read("deqp-vk.ran");
    assert!(
        ran.contains("t.pass") && !ran.contains("t.crash") && !ran.contains("t.after"),
        "{ran}"
    );
}

#[test]
fn a_flake_may_fail_once_and_pass_then() {
    let bench = Bench::new();
    let flakes = bench.write("flakes.txt", "dEQP-VK.o.ce\n");
    let more = ["--json", "--flakes", flakes.to_str().unwrap()];
    for (key, n) in [("failed", 1), ("passed", 1)] {
        let output = bench.cts("dEQP-VK.once", "", &more);
        assert_eq!(json(&output)["runs"][0]["counts"][key], n);
        assert_eq!(output.status.code(), Some(0));
    }
    // Of the two runs only the first fails, which is ours where the bare driver is not asked.
    for (options, status) in [(&["--baseline", more[1], more[2]][..], 0), (&[], 1)] {
        fs::remove_file(bench.path("deqp-vk.once")).unwrap();
        let output = bench.cts("dEQP-VK.once", "", options);
        assert_eq!(output.status.code(), Some(status), "{options:?}");
    }
}

#[test]
fn junit_is_well_formed_and_has_a_suite_a_run() {
    let bench = Bench::new();
    let junit = bench.path("j.xml");
    let skips = bench.write("skips.txt", "after");
    let (junit, skips) = (junit.to_str().unwrap(), skips.to_str().unwrap());
    let kernels = ["--kernel", "vpanthor:1.5", "--kernel", "vpanthor:1.9"];
    let more = [&kernels[..], &["--junit", junit, "--skips", skips]].concat();
    bench.cts(SOON, "dEQP-VK.t.worse,Fail", &more);
    let text = bench.read("j.xml");
    let tags = xml::tags(&text);
    let count = |name| tags.iter().filter(|tag| tag.as_str() == name).count();
    assert_eq!(
        (count("testsuites"), count("testsuite"), count("testcase")),
        (1, 2, 14)
    );
    // `fail` and `crash`; what is not supported, what is not run, and what fails as it is expected to.
    assert_eq!((count("failure"), count("skipped")), (4, 6));
    assert!(
        text.contains("tests=\"7\" failures=\"2\" errors=\"0\" skipped=\"3\""),
        "{text}"
    );
    assert!(text.contains("<skipped message=\"expected Fail: ours\"/>"));
    assert!(text.contains("name=\"panvk-sparse cts vpanthor:1.5 auto\""));
    assert_eq!(
        text.matches("<testcase").count(),
        text.matches("\" time=\"").count() - 2
    );
    assert!(
        text.contains("a &lt;wrong&gt; &quot;value&quot; &amp; more"),
        "{text}"
    );
}

#[test]
fn junit_says_the_same_as_the_exit_status() {
    let bench = Bench::new();
    let junit = bench.path("j.xml");
    let junit = ["--junit", junit.to_str().unwrap(), "--baseline"];
    let differing = FAKE.replace(
        "\"binds_elided\":0,",
        "\"binds_elided\":0,\"differences\":2,",
    );
    let differing = bench.program("deqp-differing", &differing);
    let real = bench.path("deqp-vk");
    let lost = ["--kernel", "vpanthor:1.6-repeat"];
    for (deqp, list, fails, more, status, suites) in [
        (&real, "dEQP-VK.t.pass", "", &[][..], 0, 2),
        (&real, "dEQP-VK.t.fail", "dEQP-VK.t.fail,Fail", &[], 0, 2),
        (&real, "dEQP-VK.t.differs", "", &[], 0, 2),
        (&real, "dEQP-VK.t.worse", "dEQP-VK.t.worse,Fail", &[], 1, 2),
        (&real, "dEQP-VK.t.crash", "", &[], 1, 2),
        (&differing, "dEQP-VK.t.pass", "", &[], 1, 2),
        (&real, "dEQP-VK.t.pass", "", &lost, 1, 2),
    ] {
        let output = bench.start(deqp, list, fails, &[&junit, more].concat());
        assert_eq!(output.status.code(), Some(status), "{list}");
        let text = bench.read("j.xml");
        let tags = xml::tags(&text);
        let count = |name| tags.iter().filter(|tag| tag.as_str() == name).count();
        assert_eq!(count("testsuite"), suites, "{text}");
        assert_eq!(count("failure") + count("error") > 0, status == 1, "{text}");
        for (attribute, element) in [(" skipped=\"", "skipped"), (" failures=\"", "failure")] {
            let said = text.split(attribute).skip(1).map(|rest| {
                let number = rest.split('"').next().unwrap_or_default();
                number.parse::<usize>().expect("a number")
            });
            assert_eq!(said.sum::<usize>(), count(element), "{attribute}: {text}");
        }
    }
}

/// As much of XML as is needed to see that a file is some.
mod xml {
    /// The names of all elements of `text`, which must be well-formed.
    pub fn tags(text: &str) -> Vec<String> {
        let body = text
            .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
            .expect("no prolog");
        let (mut open, mut tags) = (Vec::new(), Vec::new());
        let mut parts = body.split('<');
        assert_eq!(
            parts.next().map(str::trim),
            Some(""),
            "text before the first element"
        );
        for part in parts {
            let (tag, data) = part.split_once('>').expect("a tag is not closed");
            is_text(data);
            assert!(!open.is_empty() || data.trim().is_empty() || !tag.starts_with('/'));
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
                continue;
            }
            let (tag, empty) = tag
                .strip_suffix('/')
                .map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut quoted = attributes.split('"');
            while let Some(key) = quoted.next().filter(|key| !key.is_empty()) {
                assert!(key.trim().ends_with('='), "{key:?} in {tag}");
                is_text(quoted.next().unwrap_or_else(|| panic!("no value in {tag}")));
            }
            tags.push(name.to_owned());
            if !empty {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} are not closed");
        tags
    }

    fn is_text(text: &str) {
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
        for reference in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;"];
            assert!(
                known.iter().any(|name| reference.starts_with(name)),
                "{text}"
            );
        }
    }
}

#[test]
fn the_data_files_are_beside_the_program_that_a_link_leads_to() {
    let bench = Bench::new();
    fs::create_dir(bench.path("bin")).unwrap();
    let link = bench.path("bin/deqp-vk");
    symlink(bench.path("deqp-vk"), &link).unwrap();
    for (options, folder) in [(&[][..], ""), (&["--archive-dir", "/usr"], "/usr")] {
        let output = bench.start(&link, "dEQP-VK.t.pass", "", options);
        assert_eq!(output.status.code(), Some(0));
        let folder = match folder {
            "" => bench.0.path().canonicalize().unwrap(),
            given => given.into(),
        };
        let said = format!("--deqp-archive-dir={} ", folder.display());
        let args = bench.read("deqp-vk.args");
        assert!(args.contains(&said), "{args}");
    }
}

#[test]
fn what_is_wrong_with_the_command_line_is_said() {
    let bench = Bench::new();
    let plain = bench.write("plain", "no program");
    let data = bench.program("data", "no program");
    let dumb = bench.program("dumb", "#!/bin/sh\necho no driver >&2\nexit 3\n");
    let other = bench.program("other", "#!/bin/sh\necho Hello\n");
    let endless = bench.program(
        "endless",
        "#!/bin/sh\nwhile :; do echo y; sleep 0.1; done\n",
    );
    let real = bench.path("deqp-vk");
    for (deqp, list, fails, status, said) in [
        (&bench.path("gone"), SOON, "", 2, "gone"),
        (&bench.path("tmp"), SOON, "", 2, "not a file"),
        (&plain, SOON, "", 2, "not executable"),
        (&data, SOON, "", 1, "does not start"),
        (&dumb, SOON, "", 1, "no driver"),
        (
            &other,
            SOON,
            "",
            1,
            "is not deqp-vk: asked for its cases, it named none: Hello",
        ),
        (&endless, SOON, "", 1, "it named none for 1 s: y / y / y"),
        (&real, "dEQP-VK.t.nope", "", 2, "dEQP-VK.t.nope is no case"),
        (
            &real,
            "dEQP-VK.t.nope\ndEQP-VK.t.no",
            "",
            2,
            "dEQP-VK.t.nope and 1 more is no case",
        ),
        (&real, "dEQP-VK.u.*", "", 2, "dEQP-VK.u.* matches no case"),
        (&real, "# nothing", "", 2, "no cases"),
        (&real, SOON, "dEQP-VK.t.fail", 2, "not understood"),
    ] {
        let output = bench.start(deqp, list, fails, &["--timeout", "1"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(output.status.code(), Some(status), "{stderr}");
    }
    for more in [
        ["--kernel", "vpanthor:9"],
        ["--null", "some"],
        ["--skips", "/gone"],
    ] {
        let output = bench.cts(SOON, "", &more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
    }
}

#[test]
fn a_kernel_that_answers_otherwise_than_its_model_is_said_and_fails_the_run() {
    let bench = Bench::new();
    let differing = |name: &str, differences: u64| {
        let counted = format!("\"binds_elided\":0,\"differences\":{differences},");
        bench.program(name, &FAKE.replace("\"binds_elided\":0,", &counted))
    };
    for (differences, status) in [(0, 0), (2, 1)] {
        let deqp = differing("deqp-differing", differences);
        let output = bench.start(&deqp, "dEQP-VK.t.pass\n", "", &["--json"]);
        assert_eq!(output.status.code(), Some(status));
        let report = json(&output);
        assert_eq!(report["runs"][0]["stats"][0]["differences"], differences);
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
