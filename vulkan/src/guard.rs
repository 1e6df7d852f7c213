//! The border between Vulkan and Rust: no panic crosses it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ash::vk;

/// Runs `body`, called from outside; where it panics, says so in the log and gives `otherwise`.
pub fn guard<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        log::error!("a bug in panvk-sparse: {message}");
        otherwise
    })
}

/// [`guard`] for functions that return a `VkResult`.
pub fn guard_result(body: impl FnOnce() -> vk::Result) -> vk::Result {
    guard(vk::Result::ERROR_UNKNOWN, body)
}

/// [`guard`] for a `body` that gives up with `None`, which gives `otherwise` too.
pub fn guard_some<R: Copy>(otherwise: R, body: impl FnOnce() -> Option<R>) -> R {
    guard(otherwise, || body().unwrap_or(otherwise))
}
