//! A C program that was compiled without knowing of the preload: `program.c`, case by case.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::kit::{self, NODE, Ran};

pub fn compiled() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tmp = common::cargo::target_dir().join("tmp");
        let path = tmp.join(format!("node-program-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/vpanthor/node/program.c");
        let built = Command::new("cc")
            // Fortified as distributions do: then open becomes __open_2, realpath __realpath_chk.
            .args([
                "-O1",
                "-Wall",
                "-Werror",
                "-D_FORTIFY_SOURCE=2",
                "-pthread",
                source,
                "-o",
            ])
            .arg(&path)
            .status();
        assert!(built.expect("a C compiler").success());
        path
    })
}

fn run(case: &str) -> Ran {
    kit::run(Command::new(compiled()).args([case, NODE]), "1.9").succeeded()
}

#[test]
fn a_descriptor_says_of_itself_what_a_render_nodes_does() {
    if kit::machine_has_no_nodes() {
        run("descriptor");
    }
}

#[test]
fn duplicates_are_one_file_until_the_last_is_closed() {
    if kit::machine_has_no_nodes() {
        let dump = run("duplicates").dump();
        let files = dump["nodes"][0]["files"].as_array().unwrap();
        let open: Vec<_> = files
            .iter()
            .map(|file| file["open"].as_bool().unwrap())
            .collect();
        assert_eq!(open, [false; 3]);
    }
}

#[test]
fn two_maps_of_a_buffer_object_show_the_same_memory() {
    if kit::machine_has_no_nodes() {
        run("maps");
    }
}

#[test]
fn an_exported_buffer_object_is_idle_memory_and_comes_back() {
    if kit::machine_has_no_nodes() {
        run("exports");
    }
}

#[test]
fn a_wrong_pointer_is_efault() {
    if kit::machine_has_no_nodes() {
        run("wrong_pointers");
    }
}

#[test]
fn eight_threads_may_use_a_file_at_once() {
    if kit::machine_has_no_nodes() {
        let dump = run("threads").dump();
        let node = &dump["nodes"][0];
        let expected = [
            ("BO_CREATE", 1600),
            ("GEM_CLOSE", 1600),
            ("VM_BIND", 3200),
            ("VM_CREATE", 1),
        ];
        assert_eq!(
            kit::calls(node),
            expected.map(|(name, calls)| (name.to_owned(), calls))
        );
        assert_eq!(
            (node["refused"].as_u64(), node["vm_bind"]["unmap"].as_u64()),
            (Some(0), Some(1600))
        );
        let file = &node["files"][0];
        assert_eq!(
            file["bos"].as_array().map(Vec::len),
            Some(0),
            "all are closed"
        );
        assert_eq!(file["vms"][0]["mappings"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn a_child_goes_on_with_the_file_of_its_parent_though_threads_were_in_calls() {
    if kit::machine_has_no_nodes() {
        run("forks");
    }
}

#[test]
fn no_call_of_any_number_size_and_bytes_ends_the_program() {
    if kit::machine_has_no_nodes() {
        let dump = run("any_calls").dump();
        let node = &dump["nodes"][0];
        assert!(
            node["refused"].as_u64() > Some(100_000),
            "{}",
            node["refused"]
        );
        // Of all files together; the last has its one mapping.
        assert!(
            node["vm_bind"]["map"].as_u64() > Some(1),
            "{}",
            node["vm_bind"]
        );
    }
}
