//! A kernel that fails, as an application meets it: the error of the call, the line in the log, and what is left.

use ash::vk;
use common::child::Outcome;
use common::config::{Config, failing_icd_manifest};
use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::{App, Batch, Buffer, Gpu, Memory, SZ_64K};

const SIZE: u64 = 64 * SZ_64K;
const CONFIG: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "repeat",
};

/// A buffer that is bound as a whole and holds pattern 1. Two operations: the new buffer's, and the bind's.
fn bound(gpu: &Gpu) -> (Buffer<'_>, Memory<'_>) {
    let buffer = gpu.sparse_buffer(SIZE);
    let memory = gpu.memory(&buffer, SIZE);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SIZE, &memory, 0)])]);
    buffer.shader_write(0, SIZE, 1);
    (buffer, memory)
}

/// Unbinds three pieces that are apart: three operations.
fn unbind_three(gpu: &Gpu, buffer: &Buffer<'_>) -> Result<(), vk::Result> {
    let pieces = [3, 5, 9].map(|i| unbind(i * SZ_64K, SZ_64K));
    gpu.try_bind(&[Batch::buffer(buffer, pieces)])
}

/// Runs `body` in a process of its own, whose ICD fails as `fault` says. The log has to say `line`.
#[track_caller]
fn run(test: &str, fault: &str, line: Option<&str>, body: fn(&Gpu)) {
    let manifest = failing_icd_manifest().to_string_lossy().into_owned();
    let extra = [
        ("VK_ICD_FILENAMES", &*manifest),
        ("PANVK_SPARSE_FAULT", fault),
    ];
    let check = |outcome: &Outcome| {
        let errors: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|l| l.starts_with("panvk-sparse: error:"))
            .collect();
        match line {
            Some(line) => assert!(
                errors.iter().any(|l| l.contains(line)),
                "{}",
                outcome.stderr
            ),
            None => assert!(errors.is_empty(), "{}", outcome.stderr),
        }
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    common::child::run(test, CONFIG, &extra, body, check);
}

fn the_third_op_is_refused(gpu: &Gpu, expected: vk::Result) {
    let (buffer, memory) = bound(gpu);
    assert_eq!(unbind_three(gpu, &buffer), Err(expected));
    // Everything is still bound: what shaders write through the buffer is in the memory.
    assert_pattern("as before", &buffer.shader_read(0, SIZE), 1, 0);
    buffer.shader_write(0, SIZE, 2);
    assert_pattern("in the memory", &memory.read(0, SIZE), 2, 0);
    // The fault is over, and the call works.
    assert_eq!(unbind_three(gpu, &buffer), Ok(()));
    buffer.shader_write(3 * SZ_64K, SZ_64K, 3);
    assert_pattern("the memory, unbound", &memory.read(0, SIZE), 2, 0);
}

#[test]
fn an_op_refused_for_want_of_memory_is_out_of_device_memory() {
    let body = |gpu: &Gpu| the_third_op_is_refused(gpu, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
    run(
        common::name_of!(an_op_refused_for_want_of_memory_is_out_of_device_memory),
        "op:5:prepare:ENOMEM",
        Some("ENOMEM"),
        body,
    );
}

#[test]
fn an_op_refused_as_invalid_is_an_unknown_error() {
    let body = |gpu: &Gpu| the_third_op_is_refused(gpu, vk::Result::ERROR_UNKNOWN);
    run(
        common::name_of!(an_op_refused_as_invalid_is_an_unknown_error),
        "op:3:prepare:EINVAL",
        Some("EINVAL"),
        body,
    );
}

fn nobody_notices(gpu: &Gpu) {
    let (buffer, memory) = bound(gpu);
    assert_eq!(unbind_three(gpu, &buffer), Ok(()));
    buffer.shader_write(3 * SZ_64K, SZ_64K, 3);
    assert_pattern("the memory, unbound", &memory.read(0, SIZE), 1, 0);
}

#[test]
fn an_interrupted_ioctl_is_made_again() {
    run(
        common::name_of!(an_interrupted_ioctl_is_made_again),
        "ioctl:3:EINTR",
        None,
        nobody_notices,
    );
}

#[test]
fn an_ioctl_that_is_to_be_made_again_is() {
    run(
        common::name_of!(an_ioctl_that_is_to_be_made_again_is),
        "ioctl:3:EAGAIN",
        None,
        nobody_notices,
    );
}

#[test]
fn an_op_that_fails_when_it_runs_loses_the_device() {
    let body = |gpu: &Gpu| {
        let (buffer, memory) = bound(gpu);
        for _ in 0..2 {
            assert_eq!(
                unbind_three(gpu, &buffer),
                Err(vk::Result::ERROR_DEVICE_LOST)
            );
        }
        // What was bound before is the base driver's, which is not lost.
        assert_pattern("as before", &memory.read(0, SIZE), 1, 0);
    };
    run(
        common::name_of!(an_op_that_fails_when_it_runs_loses_the_device),
        "op:4:run:ENOMEM",
        Some("unusable"),
        body,
    );
}
