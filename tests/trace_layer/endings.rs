//! How a process may end, or divide, and what is in the file then.

use crate::kit::{BARE, FILE, Trace, is_child, recorded};
use common::gpu::unbind;
use common::{App, Batch, Gpu, SZ_2M, SZ_64K};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// A recording is readable up to this long before the process is killed.
const AGE: Duration = Duration::from_secs(1);

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
    fn kill(pid: i32, signal: i32) -> i32;
}

fn binds_on(gpu: &Gpu, calls: usize) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    for _ in 0..calls {
        gpu.bind(&[Batch::buffer(&buffer, [unbind(0, SZ_64K)])]);
    }
}

/// Binds for a while and kills itself, and says how many calls it had made a second before.
#[test]
fn killed_it_leaves_all_but_the_last_second() {
    let test = common::name_of!(killed_it_leaves_all_but_the_last_second);
    let body = || {
        // The outer application starts the one that is killed, so that it can end as a test should.
        if std::env::var_os("PANVK_SPARSE_TEST_KILLED").is_none() {
            let mut command = Command::new(std::env::current_exe().expect("the test"));
            let name = test.split_once("::").expect("a path").1;
            command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
            command.env("PANVK_SPARSE_TEST_KILLED", "1");
            let (status, stdout, _) = common::child::finish(command);
            assert!(!status.success());
            print!("{stdout}");
            return;
        }
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let mut calls = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < AGE + Duration::from_millis(300) {
            binds_on(&gpu, 1);
            calls.push(Instant::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        let now = Instant::now();
        let old = calls.iter().filter(|&&call| now - call >= AGE).count();
        println!("OLD {old}");
        std::io::stdout().flush().expect("stdout");
        // SAFETY: SIGKILL to this process: nothing of it runs any more.
        unsafe { kill(std::process::id() as i32, 9) };
    };
    recorded(test, BARE, &[], body, |recorded| {
        let stdout = &recorded.outcome.stdout;
        let (_, old) = stdout.split_once("OLD ").expect("a number");
        let old: usize = old.lines().next().unwrap_or("").parse().expect("a number");
        let trace = recorded.trace.as_ref().expect("a recording");
        assert!(!trace.ended_cleanly, "nobody could mark the end");
        assert!(
            old > 0 && trace.binds() >= old,
            "{} of {old}",
            trace.binds()
        );
    });
}

#[test]
fn an_exit_without_a_farewell_leaves_everything() {
    let test = common::name_of!(an_exit_without_a_farewell_leaves_everything);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        binds_on(&gpu, 5);
        // Neither device nor instance is destroyed; the process ends by exit(3) when the test is over.
        std::mem::forget(gpu);
        std::mem::forget(app);
    };
    recorded(test, BARE, &[], body, |recorded| {
        assert_eq!(recorded.trace().binds(), 5);
    });
}

/// In the child of a fork the parent's file is not the child's; an instance of its own gets a file of its own.
#[test]
fn a_forked_child_does_not_write_into_its_parents_file() {
    let test = common::name_of!(a_forked_child_does_not_write_into_its_parents_file);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        binds_on(&gpu, 5);
        gpu.wait_idle();
        // SAFETY: the child calls what it may: functions of Vulkan that wait for no thread of the parent's.
        let child = unsafe { fork() };
        if child == 0 {
            let buffer = gpu.sparse_buffer(SZ_2M);
            drop(buffer);
            let own = App::new().expect("vkCreateInstance");
            let gpu = Gpu::new(&own);
            gpu.sparse_buffer(SZ_2M);
            drop(gpu);
            drop(own);
            // SAFETY: the end of the child.
            unsafe { _exit(0) };
        }
        let mut status = -1;
        // SAFETY: the child of this process, a number that is written.
        unsafe { waitpid(child, &mut status, 0) };
        assert_eq!(status, 0, "the child ends as it should");
        binds_on(&gpu, 2);
        println!("CHILD {child}");
    };
    recorded(test, BARE, &[], body, |recorded| {
        let trace = recorded.trace();
        assert_eq!(trace.binds(), 7);
        let buffers =
            |trace: &Trace| trace.count(|event| matches!(event, trace::Event::BufferCreated(_)));
        assert_eq!(buffers(trace), 2, "none of the child's");
        let stdout = &recorded.outcome.stdout;
        let (_, child) = stdout.split_once("CHILD ").expect("a number");
        let child = child.lines().next().unwrap_or("");
        let entries = std::fs::read_dir(&recorded.folder).expect("the folder");
        let names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        let own = names
            .iter()
            .find(|path| path.to_string_lossy().contains(child))
            .unwrap_or_else(|| panic!("{names:?}"));
        let own = Trace::read(own);
        assert_eq!(
            (own.header.pid.to_string(), buffers(&own)),
            (child.into(), 1)
        );
        assert!(own.ended_cleanly);
    });
}

/// A process that inherits the variable of one that still records.
#[test]
fn two_processes_never_share_a_file() {
    let test = common::name_of!(two_processes_never_share_a_file);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        binds_on(&gpu, 3);
        if std::env::var_os("PANVK_SPARSE_TEST_SECOND").is_none() {
            let mut command = Command::new(std::env::current_exe().expect("the test"));
            let name = test.split_once("::").expect("a path").1;
            command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
            command.env("PANVK_SPARSE_TEST_SECOND", "1");
            let (status, stdout, stderr) = common::child::finish(command);
            assert!(status.success(), "{stdout}{stderr}");
            assert!(
                stderr.contains("another process records into it"),
                "{stderr}"
            );
        }
        binds_on(&gpu, 1);
    };
    assert!(!is_child() || std::env::var_os(FILE).is_some());
    recorded(test, BARE, &[], body, |recorded| {
        let entries = std::fs::read_dir(&recorded.folder).expect("the folder");
        let mut binds: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|e| e == "pvst"))
            .map(|path| Trace::read(&path))
            .map(|trace| (trace.ended_cleanly, trace.binds()))
            .collect();
        binds.sort_unstable();
        assert_eq!(binds, [(true, 4), (true, 4)]);
        assert_eq!(recorded.trace().binds(), 4);
    });
}
