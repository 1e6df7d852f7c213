//! The uAPI as Rust knows it against the kernel's own headers: a C program that the system's compiler builds with
//! `drm/panthor_drm.h` and those of the crate `kernels` prints sizes, offsets and values, and every one must be ours.

use panvk_sparse::uapi::{self, Constant, Ioctl, Plain, StructLayout};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds `drm/panthor_drm.h`.
fn include_dir() -> PathBuf {
    let dir = std::env::var_os("PANVK_SPARSE_UAPI_INCLUDE").map_or_else(
        || Path::new(common::cargo::ROOT).join("target/uapi/usr/include"),
        PathBuf::from,
    );
    assert!(
        dir.join("drm/panthor_drm.h").is_file(),
        "no drm/panthor_drm.h in {}: run scripts/uapi-header.sh, which fetches it, or set PANVK_SPARSE_UAPI_INCLUDE \
         to a folder that has it (uAPI 1.9, Linux 7.3)",
        dir.display()
    );
    dir
}

/// Panthor's and DRM's, and those of the other kernels.
fn structs() -> impl Iterator<Item = &'static StructLayout> {
    uapi::structs().chain(kernels::structs())
}

fn constants() -> impl Iterator<Item = &'static Constant> {
    uapi::constants().chain(kernels::constants())
}

fn ioctls() -> impl Iterator<Item = &'static Ioctl> {
    uapi::ioctls().chain(kernels::ioctls())
}

const WORDS: [u32; 3] = [0xffff_ffff, 0x1234_5678, 0xa867_0002];

/// What C says, a line a fact: the key is what was asked.
fn facts_of_the_header() -> BTreeMap<String, u64> {
    let mut c = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <fcntl.h>\n#include <drm/drm.h>\n#include <drm/panthor_drm.h>\n\
         #include <drm/amdgpu_drm.h>\n#include <drm/asahi_drm.h>\n#include <drm/msm_drm.h>\n\
         #include <drm/nouveau_drm.h>\n#include <drm/xe_drm.h>\n\
         /* What the repeat series makes of the op: v5, and v2 to v4. */\n\
         struct op_v5 { struct drm_panthor_vm_bind_op op; __u64 bo_repeat_range; };\n\
         struct op_v4 { struct drm_panthor_vm_bind_op op; __u32 bo_repeat_range; __u32 pad; };\n\
         #define FACT(key, value) printf(\"%s\\t%llu\\n\", key, (unsigned long long)(value))\n\
         int main(void)\n{\n",
    );
    let mut ask = |key: &str, value: &str| writeln!(c, "    FACT({key:?}, {value});").unwrap();
    for layout in structs() {
        let name = layout.c_name;
        ask(&format!("sizeof {name}"), &format!("sizeof(struct {name})"));
        ask(
            &format!("alignof {name}"),
            &format!("_Alignof(struct {name})"),
        );
        for field in layout.fields.iter().filter(|f| !f.name.starts_with('_')) {
            let field = c_field(field.name);
            ask(
                &format!("offset {name}.{field}"),
                &format!("offsetof(struct {name}, {field})"),
            );
            ask(
                &format!("size {name}.{field}"),
                &format!("sizeof(((struct {name} *)0)->{field})"),
            );
        }
    }
    for constant in constants() {
        ask(constant.c_name, constant.c_name);
    }
    for ioctl in ioctls() {
        ask(ioctl.c_name, &format!("(unsigned int){}", ioctl.c_name));
    }
    for field in uapi::bit_fields() {
        for word in WORDS {
            ask(
                &format!("{}({word:#x})", field.c_name),
                &format!("{}({word:#x}u)", field.c_name),
            );
        }
    }
    for version in ["v5", "v4"] {
        ask(
            &format!("sizeof {version}"),
            &format!("sizeof(struct op_{version})"),
        );
        ask(
            &format!("offset {version}"),
            &format!("offsetof(struct op_{version}, bo_repeat_range)"),
        );
    }
    c.push_str("    return 0;\n}\n");

    let dir = tempfile::tempdir().unwrap();
    let (source, probe) = (dir.path().join("probe.c"), dir.path().join("probe"));
    std::fs::write(&source, c).unwrap();
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(&cc)
        .args(["-std=gnu11", "-Wall", "-Werror", "-I"])
        .arg(include_dir())
        .arg("-o")
        .args([&probe, &source])
        .output()
        .unwrap_or_else(|error| panic!("cannot run the C compiler {cc:?}: {error}"));
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let run = Command::new(&probe).output().unwrap();
    assert!(run.status.success(), "the probe ended with {}", run.status);
    String::from_utf8(run.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (key, value) = line.split_once('\t').unwrap();
            (key.to_string(), value.parse().unwrap())
        })
        .collect()
}

fn c_field(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}

#[test]
fn every_size_offset_and_value_is_that_of_the_header() {
    let header = facts_of_the_header();
    let mut ours = BTreeMap::new();
    for layout in structs() {
        let name = layout.c_name;
        ours.insert(format!("sizeof {name}"), layout.size as u64);
        ours.insert(format!("alignof {name}"), layout.align as u64);
        for field in layout.fields.iter().filter(|f| !f.name.starts_with('_')) {
            ours.insert(
                format!("offset {name}.{}", c_field(field.name)),
                field.offset as u64,
            );
            ours.insert(
                format!("size {name}.{}", c_field(field.name)),
                field.size as u64,
            );
        }
    }
    let mut header_masked = header.clone();
    for constant in constants() {
        ours.insert(constant.c_name.into(), constant.value);
        // Flags with bit 31 are negative enumerators in C.
        let value = header_masked.get_mut(constant.c_name).unwrap();
        if constant.size == 4 {
            assert!(
                *value >> 32 == 0 || *value >> 31 == (1 << 33) - 1,
                "{} = {value:#x}",
                constant.c_name
            );
            *value &= 0xffff_ffff;
        }
    }
    for ioctl in ioctls() {
        ours.insert(ioctl.c_name.into(), ioctl.code.into());
    }
    for field in uapi::bit_fields() {
        for word in WORDS {
            ours.insert(
                format!("{}({word:#x})", field.c_name),
                ((word >> field.shift) & field.mask).into(),
            );
        }
    }
    for version in ["v5", "v4"] {
        ours.insert(
            format!("sizeof {version}"),
            size_of::<uapi::VmBindOpRepeat>() as u64,
        );
        ours.insert(
            format!("offset {version}"),
            std::mem::offset_of!(uapi::VmBindOpRepeat, bo_repeat_range) as u64,
        );
    }
    assert!(ours.len() > 600, "only {} facts were compared", ours.len());
    assert_eq!(ours["sizeof drm_panthor_vm_bind_op"], 48);
    assert_eq!(ours["sizeof v5"], 56);
    for (key, value) in &ours {
        assert_eq!(
            Some(value),
            header_masked.get(key),
            "{key}: ours on the left, the header's on the right"
        );
    }
    assert_eq!(ours.len(), header_masked.len());
}

#[test]
fn nothing_of_the_panthor_header_is_left_out() {
    let text = std::fs::read_to_string(include_dir().join("drm/panthor_drm.h")).unwrap();
    let code: String = text
        .split("/*")
        .enumerate()
        .map(|(i, part)| {
            if i == 0 {
                part
            } else {
                part.split_once("*/").map_or("", |(_, code)| code)
            }
        })
        .collect();
    let ours: BTreeSet<&str> = (uapi::structs().map(|s| s.c_name))
        .chain(uapi::constants().map(|c| c.c_name))
        .chain(uapi::ioctls().map(|i| i.c_name))
        .chain(uapi::bit_fields().map(|b| b.c_name))
        .collect();
    // Ways of writing things in C, and the names of enums.
    let other = ["DRM_PANTHOR_", "DRM_PANTHOR_OBJ_ARRAY", "DRM_IOCTL_PANTHOR"];
    let mut seen = 0;
    let words: Vec<&str> = code
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .collect();
    for pair in words.windows(2) {
        let is_number = ["DRM_PANTHOR", "DRM_IOCTL_PANTHOR", "PANTHOR_"]
            .iter()
            .any(|p| pair[1].starts_with(p));
        let is_struct =
            pair[0] == "struct" && pair[1].starts_with("drm_panthor_") && pair[1] != "drm_panthor_";
        if (is_number && !other.contains(&pair[1])) || is_struct {
            assert!(
                ours.contains(pair[1]),
                "the header has {}, src/uapi has not",
                pair[1]
            );
            seen += 1;
        }
    }
    assert!(seen > 120, "only {seen} names were found in the header");
}

#[test]
fn a_value_read_from_a_short_prefix_ends_in_zeros() {
    let op = uapi::VmBindOpRepeat {
        op: uapi::VmBindOp {
            flags: 8,
            va: 0x1000,
            size: 0x2000,
            ..Default::default()
        },
        bo_repeat_range: 4096,
    };
    let bytes = op.as_bytes();
    assert_eq!(bytes.len(), 56);
    assert_eq!(uapi::VmBindOpRepeat::from_prefix(bytes), op);
    assert_eq!(
        uapi::VmBindOpRepeat::from_prefix(&bytes[..48]),
        uapi::VmBindOpRepeat {
            op: op.op,
            bo_repeat_range: 0
        }
    );
    assert_eq!(uapi::VmBindOp::from_prefix(bytes), op.op);
}
