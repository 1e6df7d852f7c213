//! The command as scripts and people use it: the built binary, its output, its exit status.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use vpanthor::Flavour;

fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let mut command = Command::new(common::command::binary());
    command
        .args(args)
        .env_remove("PANVK_SPARSE_KERNEL")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("the command starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("stdout is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("stderr is UTF-8")
}

fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output).to_owned()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args)).expect("one JSON value")
}

/// Strategy, ioctls and ops of each row, in order.
fn rows(report: &Value) -> Vec<(String, u64, u64)> {
    let rows = report["strategies"]
        .as_array()
        .expect("an array of strategies");
    rows.iter()
        .map(|row| {
            let number = |name: &str| {
                row[name]
                    .as_u64()
                    .unwrap_or_else(|| panic!("{name} in {row}"))
            };
            let strategy = row["strategy"].as_str().expect("a name");
            (
                strategy.to_owned(),
                number("vm_bind_ioctls"),
                number("vm_bind_ops"),
            )
        })
        .collect()
}

fn expected(rows: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    rows.iter()
        .map(|&(s, ioctls, ops)| (s.to_owned(), ioctls, ops))
        .collect()
}

#[test]
fn a_new_buffer_of_100e6_bytes_takes_24415_ops_or_48_or_1() {
    let report = json(&["compare", "--bytes", "100000000", "--json"]);
    assert_eq!(report["bytes"], 100_000_000);
    assert_eq!(report["kernel"], "vpanthor:1.8-repeat");
    assert_eq!(report["scenario"], "init");
    assert_eq!(
        rows(&report),
        expected(&[("page", 1, 24_415), ("chunk", 1, 48), ("repeat", 1, 1)])
    );
}

#[test]
fn each_kernel_is_compared_with_the_strategies_that_it_has() {
    let page_and_chunk = [("page", 1, 24_415), ("chunk", 1, 48)];
    for (kernel, best) in [
        ("vpanthor:1.0", None),
        ("vpanthor:1.5", None),
        ("vpanthor:1.8", None),
        ("vpanthor:1.6-repeat", Some(("repeat", 1, 1))),
        ("vpanthor:1.8-repeat", Some(("repeat", 1, 1))),
        ("vpanthor:1.9", Some(("sparse", 1, 1))),
    ] {
        let report = json(&["compare", "--kernel", kernel, "--json"]);
        let wanted: Vec<_> = page_and_chunk.into_iter().chain(best).collect();
        assert_eq!(rows(&report), expected(&wanted), "{kernel}");
    }
}

#[test]
fn a_rebind_adds_one_op_for_each_bind_of_memory() {
    let report = json(&[
        "compare",
        "--kernel",
        "vpanthor:1.9",
        "--scenario",
        "rebind",
        "--json",
    ]);
    assert_eq!(
        rows(&report),
        expected(&[("page", 3, 24_417), ("chunk", 3, 50), ("sparse", 3, 3)])
    );
    for row in report["strategies"].as_array().expect("rows") {
        assert_eq!(row["map_ops"], 2, "{row}");
        assert_eq!(
            row["gpuvas"],
            if row["strategy"] == "page" { 1 } else { 2 },
            "the buffer ends as one mapping of memory, and the dummy stays behind it: {row}"
        );
    }
}

#[test]
fn every_second_piece_is_one_call_and_unbinding_them_all_is_one_op() {
    let report = json(&["compare", "--scenario", "fragmented", "--json"]);
    let rows = rows(&report);
    assert_eq!(rows[0], ("page".to_owned(), 2, 763 + 763 * 16));
    assert_eq!(rows[1], ("chunk".to_owned(), 2, 763 + 48));
    assert_eq!(rows[2], ("repeat".to_owned(), 2, 763 + 1));
}

#[test]
fn more_ops_than_an_ioctl_takes_go_into_the_next() {
    // 262,145 pages, 65,536 in an ioctl.
    let report = json(&["compare", "--bytes", "1073745920", "--json"]);
    assert_eq!(rows(&report)[0], ("page".to_owned(), 5, 262_145));
    assert_eq!(rows(&report)[2], ("repeat".to_owned(), 1, 1));
}

#[test]
fn bytes_to_the_kernel_are_the_ioctl_and_its_operations() {
    let report = json(&["compare", "--json"]);
    let bytes = |row: usize| report["strategies"][row]["bytes_to_kernel"].as_u64();
    assert_eq!(bytes(0), Some(24 + 24_415 * 48));
    assert_eq!(bytes(1), Some(24 + 48 * 48));
    assert_eq!(bytes(2), Some(24 + 56));
}

#[test]
fn page_table_entries_are_those_of_the_kernel() {
    // The buffer reserves 48 blocks of 2 MiB, and each of them is one entry.
    let report = json(&["compare", "--kernel", "vpanthor:1.9", "--json"]);
    let sparse = &report["strategies"][2];
    assert_eq!(sparse["pte_writes"], 48);
    assert_eq!(sparse["gpuvas"], 1);
    assert_eq!(report["strategies"][0]["pte_writes"], 24_415);
}

#[test]
fn fields_come_in_the_documented_order() {
    let text = succeed(&["compare", "--json"]);
    assert_eq!(text.lines().count(), 1, "one line");
    let positions = |names: &[&str], text: &str| {
        let found: Vec<usize> = names
            .iter()
            .map(|name| {
                text.find(&format!("\"{name}\":"))
                    .unwrap_or_else(|| panic!("{name} in {text}"))
            })
            .collect();
        assert!(found.is_sorted(), "{names:?} in {text}");
    };
    assert!(text.starts_with("{\"bytes\":"), "{text}");
    positions(&["bytes", "kernel", "scenario", "strategies"], &text);
    let row = text.split("{\"strategy\"").nth(1).expect("a row");
    positions(
        &[
            "vm_bind_ioctls",
            "vm_bind_ops",
            "bytes_to_kernel",
            "pte_writes",
            "table_pages",
            "elapsed_ns",
        ],
        row,
    );
}

#[test]
fn a_size_that_is_no_whole_page_is_rounded_up_and_the_table_says_so() {
    let text = succeed(&["compare", "--bytes", "5000"]);
    assert!(text.contains("2 pages of 4 KiB, 8,192 bytes"), "{text}");
    let report = json(&["compare", "--bytes", "5000", "--json"]);
    assert_eq!(
        (&report["bytes"], &report["mapped_bytes"]),
        (&5000.into(), &8192.into())
    );
    assert_eq!(rows(&report)[0].2, 2);
}

#[test]
fn suffixes_of_sizes_are_decimal_or_binary() {
    assert_eq!(
        json(&["compare", "--bytes", "100M", "--json"])["bytes"],
        100_000_000
    );
    assert_eq!(
        json(&["compare", "--bytes", "64KiB", "--json"])["bytes"],
        65_536
    );
}

#[test]
fn the_table_shows_the_numbers_and_says_what_is_not_compared() {
    let text = succeed(&["compare"]);
    for part in [
        "24,415x",
        "repeat needs 1 operation where page needs 24,415",
        "Not compared: sparse",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(
        text.lines().all(|line| line == line.trim_end()),
        "no spaces at line ends"
    );
}

#[test]
fn the_probe_says_why_mainline_1_8_has_neither_repeat_nor_sparse() {
    let report = json(&["probe", "--kernel", "vpanthor:1.8", "--json"]);
    assert_eq!(report["kernel"], "vpanthor:1.8");
    assert_eq!(report["version"], "1.8");
    assert_eq!(report["strategies"], serde_json::json!(["chunk", "page"]));
    assert_eq!(report["chosen"], "chunk");
    let unavailable = report["unavailable"].as_array().expect("an array");
    let why = |strategy: &str| {
        let found = unavailable
            .iter()
            .find(|entry| entry["strategy"] == strategy);
        found
            .and_then(|entry| entry["why"].as_str())
            .unwrap_or_else(|| panic!("{strategy} in {report}"))
    };
    assert!(why("repeat").contains("E2BIG"), "{}", why("repeat"));
    assert!(why("sparse").contains("1.9"), "{}", why("sparse"));

    let text = succeed(&["probe", "--kernel", "vpanthor:1.8"]);
    assert!(
        text.starts_with("This is a model (PANVK_SPARSE_KERNEL or --kernel choose it), not this machine's kernel: "),
        "{text}"
    );
    for part in [
        "panthor uAPI 1.8",
        "4 KiB, 2 MiB",
        "E2BIG",
        "chosen",
        "not available",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_probe_chooses_the_best_that_works() {
    for (kernel, chosen) in [
        ("vpanthor:1.5", "chunk"),
        ("vpanthor:1.6-repeat", "repeat"),
        ("vpanthor:1.8-repeat", "repeat"),
        ("vpanthor:1.9", "sparse"),
    ] {
        let report = json(&["probe", "--kernel", kernel, "--json"]);
        assert_eq!(report["chosen"], chosen, "{kernel}");
        assert_eq!(report["strategies"][0], chosen, "{kernel}");
    }
}

#[test]
fn what_auto_takes_costs_at_most_1_15_times_the_cheapest_over_the_life_of_a_buffer() {
    for flavour in Flavour::ALL {
        let report = json(&[
            "probe",
            "--kernel",
            &format!("vpanthor:{flavour}"),
            "--json",
        ]);
        let buffers = report["new_buffer"].as_array().expect("an array");
        let life = |buffer: &Value| buffer["life_ns"].as_u64().expect("a number");
        let least = buffers.iter().map(life).min().expect("a strategy");
        assert_eq!(buffers[0]["strategy"], report["chosen"], "{flavour}");
        assert!(
            least > 0 && life(&buffers[0]) * 100 <= least * 115,
            "{report}"
        );
    }
}

#[test]
fn the_environment_names_the_kernel_and_the_option_wins() {
    let kernel = |args: &[&str]| {
        let output = command(args)
            .env("PANVK_SPARSE_KERNEL", "vpanthor:1.9")
            .output()
            .expect("runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        report["kernel"].as_str().map(str::to_owned)
    };
    assert_eq!(
        kernel(&["probe", "--json"]).as_deref(),
        Some("vpanthor:1.9")
    );
    assert_eq!(
        kernel(&["probe", "--json", "--kernel", "vpanthor:1.5"]).as_deref(),
        Some("vpanthor:1.5")
    );
}

#[test]
fn a_variable_that_is_not_understood_is_named_with_what_is() {
    let output = command(["probe"])
        .env("PANVK_SPARSE_KERNEL", "vpanthor:2.0")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "PANVK_SPARSE_KERNEL",
        "vpanthor:2.0",
        "vpanthor:1.8-repeat",
        "/dev/dri/renderD",
    ] {
        assert!(
            stderr(&output).contains(part),
            "{part} in {}",
            stderr(&output)
        );
    }
}

#[test]
fn other_kernels_are_asked_for_as_many_operations_and_amdgpu_for_an_ioctl_each() {
    let kernels = ["xe", "xe-64k", "msm", "asahi", "nouveau", "amdgpu"];
    let named = kernels.iter().flat_map(|kernel| ["--kernel", kernel]);
    let named: Vec<_> = named.collect();
    // Panthor 1.9 unbinds the 763 pieces with one operation, because what lies between them is unbound already.
    for (scenario, panthor, ops, ioctls) in [
        ("init", 1, 1, 1),
        ("rebind", 3, 3, 3),
        ("fragmented", 764, 1526, 2),
    ] {
        let args = ["compare", "--json", "--scenario", scenario];
        let report = json(&[&args[..], &named].concat());
        let rows = report["kernels"].as_array().expect("rows");
        let names: Vec<_> = rows.iter().map(|row| &row["kernel"]).collect();
        assert_eq!(names[0], "panthor 1.9");
        assert_eq!(names[1..], kernels);
        assert_eq!(rows[0]["ops"], panthor, "{scenario}");
        for row in &rows[1..] {
            let ioctls = if row["kernel"] == "amdgpu" {
                ops
            } else {
                ioctls
            };
            assert_eq!(row["ops"], ops, "{row}");
            assert_eq!(row["ioctls"], ioctls, "{row}");
            assert_eq!(row["unfit"], 0, "{row}");
        }
    }
    // The size of the struct, and of the operation where that is not inside of it.
    let report = json(&[&["compare", "--json"], &named[..]].concat());
    let bytes = |row: &Value| row["bytes_to_kernel"].as_u64().expect("bytes");
    let bytes: Vec<_> = (report["kernels"].as_array().expect("rows").iter())
        .map(bytes)
        .collect();
    assert_eq!(bytes, [72, 136, 136, 88, 24 + 32, 40 + 40, 64]);
    let text = succeed(&["compare", "--kernel", "asahi", "--bytes", "5000"]);
    assert!(
        text.contains("Nothing runs") && text.contains("asahi"),
        "{text}"
    );
}

#[test]
fn command_lines_that_make_no_sense_exit_with_2_and_say_what_would() {
    for (args, parts) in [
        (
            &["compare", "--bytes", "0"][..],
            &["--bytes", "at least 1 byte"][..],
        ),
        (
            &["compare", "--bytes", "-4096"],
            &["--bytes", "whole number"],
        ),
        (
            &["compare", "--bytes", "99999999999999999999"],
            &["--bytes", "16 GiB"],
        ),
        (&["compare", "--bytes", "17GiB"], &["--bytes", "16 GiB"]),
        (&["compare", "--bytes", "5furlongs"], &["furlongs", "KiB"]),
        (
            &["compare", "--kernel", "vpanthor"],
            &["vpanthor:1.8-repeat", "vpanthor:1.9", "/dev/dri/renderD"],
        ),
        (
            &["compare", "--kernel", "i915"],
            &["i915", "vpanthor:1.9", "xe, xe-64k, msm, asahi"],
        ),
        (
            &["compare", "--kernel", "xe", "--kernel", "vpanthor:1.9"],
            &["panthor 1.9"],
        ),
        (
            &[
                "compare",
                "--kernel",
                "vpanthor:1.8",
                "--kernel",
                "vpanthor:1.9",
            ],
            &["one kernel"],
        ),
        (&["probe", "--kernel", "xe"], &["--kernel", "vpanthor:1.9"]),
        (&["probe", "--kernel", ""], &["--kernel"]),
        (
            &["probe", "--costs", "--kernel", "vpanthor:1.9"],
            &["vpanthor:1.9 is a model", "render node"],
        ),
        (
            &["compare", "--scenario", "chaos"],
            &["init", "rebind", "fragmented"],
        ),
        (&["compair"], &["compare"]),
        (&["compare", "--quick"], &["--quick"]),
    ] {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{args:?}");
        for part in parts {
            assert!(
                stderr(&output).contains(part),
                "{args:?}: {part} in {}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn a_kernel_that_is_not_there_fails_with_1_and_one_line() {
    for args in [
        ["probe", "--kernel", "/nonexistent/renderD128"],
        ["compare", "--kernel", "/dev/null"],
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(stdout(&output), "");
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains(args[2]), "{}", stderr(&output));
    }
}

#[test]
fn alone_it_says_what_to_type_next() {
    let text = succeed(&[]);
    for part in [
        "vkQueueBindSparse",
        "panvk-sparse doctor",
        "panvk-sparse compare",
        "panvk-sparse <command> --help",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().count() < 24, "it fits a terminal: {text}");
}

#[test]
fn its_help_explains_it() {
    let text = succeed(&["--help"]);
    for part in [
        "vkQueueBindSparse",
        "compare",
        "probe",
        "Examples",
        "vpanthor:1.8-repeat",
        "PANVK_SPARSE_KERNEL",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(
        succeed(&["--version"]),
        concat!("panvk-sparse ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn the_plot_is_an_svg_with_every_strategy_and_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cost.svg");
    let path = file.to_str().expect("UTF-8");
    let text = succeed(&["compare", "--plot", path]);
    assert!(text.contains(path), "{text}");
    let svg = fs::read_to_string(&file).expect("written");
    assert!(svg.starts_with("<svg"), "{svg}");
    for part in [
        "page",
        "chunk",
        "repeat",
        "24,415",
        "48",
        "vpanthor:1.8-repeat",
        "VM_BIND operations",
    ] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
}

#[test]
fn a_plot_that_cannot_be_written_fails_with_its_path() {
    let output = run(&[
        "compare",
        "--bytes",
        "4096",
        "--plot",
        "/nonexistent/cost.svg",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/nonexistent/cost.svg"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command(["compare"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // Closed long before the comparison is done and written.
    drop(child.stdout.take());
    let mut errors = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut errors)
        .expect("UTF-8");
    assert_eq!(errors, "");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}
