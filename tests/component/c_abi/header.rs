//! `panvk_sparse.h` against the compilers and against the Rust structs.

use std::fmt::Write;
use std::mem::offset_of;
use std::process::Command;

use panvk_sparse_c::types::*;

use super::{include, succeed};

#[test]
fn c_and_cpp_compile_the_header_without_a_warning() {
    for (compiler, language, standards) in [
        ("cc", "c", &["c99", "c11", "c17", "gnu11"][..]),
        ("c++", "c++", &["c++11", "c++17", "c++20"]),
    ] {
        for standard in standards {
            succeed(
                Command::new(compiler)
                    .args(["-x", language, &format!("-std={standard}")])
                    .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"])
                    .arg(include().join("panvk_sparse.h")),
            );
        }
    }
}

/// For each struct its name in C, its size, and each field with offset and size.
type Layout = (&'static str, usize, Vec<(&'static str, usize, usize)>);

macro_rules! layout {
    ($c:literal, $rust:ident: $($field:ident),*) => {{
        fn size<T, F>(_: impl Fn(&T) -> &F) -> usize {
            size_of::<F>()
        }
        // Every field is named here, or this does not compile.
        let _ = |$rust { $($field: _),* }: $rust| ();
        let fields = vec![$((stringify!($field), offset_of!($rust, $field), size(|s: &$rust| &s.$field))),*];
        ($c, size_of::<$rust>(), fields)
    }};
}

fn layouts() -> Vec<Layout> {
    vec![
        layout!("pvs_device_info", PvsDeviceInfo: abi, fd, strategy, reserved, log, log_data),
        layout!("pvs_vm_info", PvsVmInfo: abi, fd, vm_id, reserved, va_end),
        layout!("pvs_range", PvsRange: va, size, reserved, granularity, flags, pad),
        layout!("pvs_bind", PvsBind: va, size, bo_offset, row_stride, slice_stride, rows, slices, bo_handle, flags),
        layout!("pvs_sync", PvsSync: handle, pad, point),
        layout!("pvs_batch", PvsBatch: waits, signals, binds, wait_count, signal_count, bind_count, pad),
        layout!(
            "pvs_stats", PvsStats: ioctls, ops, map_ops, null_ops, unmap_ops, sync_ops, calls, binds, elided, strategy, pad
        ),
    ]
}

#[test]
fn structs_and_constants_are_the_same_in_c_and_rust() {
    let (mut c, mut expected) = (String::new(), String::new());
    let mut fact = |what: &str, value: usize| {
        writeln!(c, "FACT({what})").unwrap();
        writeln!(expected, "{what} {value}").unwrap();
    };
    for (name, size, fields) in layouts() {
        fact(&format!("sizeof(struct {name})"), size);
        for (field, offset, size) in fields {
            fact(&format!("offsetof(struct {name}, {field})"), offset);
            fact(&format!("sizeof(((struct {name} *)0)->{field})"), size);
        }
    }
    for (name, value) in [
        ("PVS_ABI", PVS_ABI),
        ("PVS_RANGE_RESIDENT", PVS_RANGE_RESIDENT),
        ("PVS_BIND_READONLY", PVS_BIND_READONLY),
        ("PVS_BIND_UNCACHED", PVS_BIND_UNCACHED),
    ] {
        fact(name, value as usize);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
    let text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"panvk_sparse.h\"\n\
         #define FACT(...) printf(\"%s %zu\\n\", #__VA_ARGS__, (size_t)(__VA_ARGS__));\n\
         int main(void)\n{{\n{c}return 0;\n}}\n"
    );
    std::fs::write(&source, text).expect("a file");
    succeed(
        Command::new("cc")
            .args(["-Werror", "-I"])
            .arg(include())
            .arg(&source)
            .arg("-o")
            .arg(&program),
    );
    let (said, _) = succeed(&mut Command::new(&program));
    assert_eq!(said, expected);
}
