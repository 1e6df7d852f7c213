//! `PANVK_SPARSE_DUMMY=alias`: unbound ranges are one piece of memory, over and over, as on a Mali GPU.

use common::config::Config;
use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::{App, Batch, Gpu, SZ_2M, SZ_64K};

fn under(test: &str, kernel: &'static str, body: fn(&Gpu)) {
    let config = Config::Icd {
        kernel,
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    common::child::run(
        test,
        config,
        &[("PANVK_SPARSE_DUMMY", "alias")],
        body,
        |_| {},
    );
}

/// What is written to one unbound place is read at the others, and what is bound is not touched.
fn stray_writes(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(4 * SZ_2M);
    let other = gpu.sparse_buffer(2 * SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    gpu.bind(&[Batch::buffer(&buffer, [bind(SZ_2M, SZ_2M, &memory, 0)])]);
    buffer.shader_write(SZ_2M, SZ_2M, 1);
    buffer.shader_write(0, SZ_64K, 7);
    for (what, there) in [
        ("in the next 64 KiB", buffer.shader_read(SZ_64K, SZ_64K)),
        ("far away", buffer.shader_read(2 * SZ_2M, SZ_64K)),
        ("copied from far away", buffer.copy_read(3 * SZ_2M, SZ_64K)),
        ("in another buffer", other.shader_read(SZ_2M, SZ_64K)),
    ] {
        assert_pattern(what, &there, 7, 0);
    }
    assert_pattern("what is bound", &buffer.shader_read(SZ_2M, SZ_2M), 1, 0);

    // Unbound again it is the dummy, and the memory has kept its data.
    gpu.bind(&[Batch::buffer(&buffer, [unbind(SZ_2M, SZ_2M)])]);
    assert_pattern("unbound again", &buffer.shader_read(SZ_2M, SZ_64K), 7, 0);
    assert_pattern("in the memory", &memory.read(0, SZ_2M), 1, 0);
}

#[test]
fn stray_writes_alias_with_chunks() {
    under(
        common::name_of!(stray_writes_alias_with_chunks),
        "1.5",
        stray_writes,
    );
}

#[test]
fn stray_writes_alias_with_repeat() {
    under(
        common::name_of!(stray_writes_alias_with_repeat),
        "1.8-repeat",
        stray_writes,
    );
}

#[test]
fn stray_writes_alias_with_sparse() {
    under(
        common::name_of!(stray_writes_alias_with_sparse),
        "1.9",
        stray_writes,
    );
}

/// A shader can't be told that a range is unbound when it is bound to the dummy.
#[test]
fn there_is_no_residency_feedback() {
    under(
        common::name_of!(there_is_no_residency_feedback),
        "1.9",
        |gpu| {
            assert_eq!(gpu.app.features().shader_resource_residency, ash::vk::FALSE);
        },
    );
}
