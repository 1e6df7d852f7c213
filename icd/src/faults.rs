//! Faults on demand, in builds for tests: `PANVK_SPARSE_FAULT=op:N:STAGE:ERRNO` has the kernel of every new VkDevice fail
//! its N-th VM_BIND operation (from 1, those of new resources included), with STAGE `prepare` or `run` and ERRNO
//! `ENOMEM`, `EINVAL`, `EINTR` or `EAGAIN`. `ioctl:N:ERRNO` fails the N-th VM_BIND ioctl.
//!
//! And the control: `PANVK_SPARSE_CONTROL` makes the driver bind wrongly, so that one can see whether tests notice.
//! `drop` loses every bind of memory on its way to the base driver, `drop:N` every N-th, `shift:N` moves every N-th by
//! 64 KiB in its memory, `keep:N` loses every N-th of the others: what was unbound keeps its memory.

use std::sync::atomic::{AtomicU64, Ordering};

use hosted::BaseBatch;
use hosted::Hosted;
use panvk_sparse::units::SZ_64K;
use rustix::io::Errno;
use vpanthor::{Fault, OpStage, Virtual};
use vulkan::calls::{Bind, ImageBind};

const VARIABLE: &str = "PANVK_SPARSE_FAULT";
/// DRM_COMMAND_BASE + DRM_PANTHOR_VM_BIND.
const VM_BIND: u8 = 0x43;

/// Arms the kernel of a new device.
///
/// # Panics
/// The variable says something else: a test that asks for no fault must not pass.
pub fn arm(hosted: &Hosted) {
    let Ok(text) = std::env::var(VARIABLE) else {
        return;
    };
    let fault = parse(&text).unwrap_or_else(|| panic!("{VARIABLE}={text:?} is not understood"));
    if let Some(file) = hosted.kernel().vpanthor() {
        file.inject(fault);
    }
}

fn parse(text: &str) -> Option<Fault> {
    let words: Vec<&str> = text.split(':').collect();
    match words[..] {
        ["op", nth, stage, name] => Some(Fault::Op {
            nth: nth.parse().ok()?,
            stage: match stage {
                "prepare" => OpStage::Prepare,
                "run" => OpStage::Run,
                _ => return None,
            },
            errno: errno(name)?,
        }),
        ["ioctl", nth, name] => Some(Fault::Ioctl {
            number: VM_BIND,
            nth: nth.parse().ok()?,
            errno: errno(name)?,
        }),
        _ => None,
    }
}

fn errno(name: &str) -> Option<Errno> {
    Some(match name {
        "ENOMEM" => Errno::NOMEM,
        "EINVAL" => Errno::INVAL,
        "EINTR" => Errno::INTR,
        "EAGAIN" => Errno::AGAIN,
        _ => return None,
    })
}

/// What happens to every N-th bind of memory, or of none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    Drop(u64),
    Shift(u64),
    Keep(u64),
}

impl Control {
    fn asked() -> Option<Self> {
        const VARIABLE: &str = "PANVK_SPARSE_CONTROL";
        let text = std::env::var(VARIABLE).ok()?;
        let words: Vec<&str> = text.split(':').collect();
        let every = |n: &str| n.parse().ok().filter(|&n: &u64| n > 0);
        let control = match words[..] {
            ["drop"] => Some(Self::Drop(1)),
            ["drop", n] => every(n).map(Self::Drop),
            ["shift", n] => every(n).map(Self::Shift),
            ["keep", n] => every(n).map(Self::Keep),
            _ => None,
        };
        Some(control.unwrap_or_else(|| panic!("{VARIABLE}={text:?} is not understood")))
    }

    /// Whether the bind stays. May change it.
    fn keeps(
        self,
        memory: Option<u64>,
        memory_offset: &mut u64,
        size: Option<&mut u64>,
        is_dummy: &dyn Fn(u64) -> bool,
    ) -> bool {
        static BINDS: AtomicU64 = AtomicU64::new(0);
        let due = |every: u64| BINDS.fetch_add(1, Ordering::Relaxed) % every == every - 1;
        let unbinds = memory.is_none_or(is_dummy);
        match self {
            Self::Keep(every) => !(unbinds && due(every)),
            _ if unbinds => true,
            Self::Drop(every) => !due(every),
            Self::Shift(every) if *memory_offset >= SZ_64K => {
                if due(every) {
                    *memory_offset -= SZ_64K;
                }
                true
            }
            // What starts in the memory's first 64 KiB can only be shifted the other way, and must not run over its end.
            Self::Shift(every) => {
                if let Some(size) = size.filter(|size| **size > SZ_64K) {
                    if due(every) {
                        *memory_offset += SZ_64K;
                        *size -= SZ_64K;
                    }
                }
                true
            }
        }
    }
}

/// The batches as the control has them.
///
/// # Panics
/// The variable says something that is not understood.
pub fn distorted(batches: &[BaseBatch], is_dummy: &dyn Fn(u64) -> bool) -> Vec<BaseBatch> {
    let mut batches = batches.to_vec();
    let Some(control) = Control::asked() else {
        return batches;
    };
    for batch in &mut batches {
        for (_, binds) in &mut batch.binds {
            binds.retain_mut(
                |Bind {
                     memory,
                     memory_offset,
                     size,
                     ..
                 }| control.keeps(*memory, memory_offset, Some(size), is_dummy),
            );
        }
        for (_, binds) in &mut batch.image_binds {
            binds.retain_mut(
                |ImageBind {
                     memory,
                     memory_offset,
                     ..
                 }| { control.keeps(*memory, memory_offset, None, is_dummy) },
            );
        }
    }
    batches
}
