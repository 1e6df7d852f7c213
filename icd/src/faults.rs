//! Faults on demand, in builds for tests: `PANVK_SPARSE_FAULT=op:N:STAGE:ERRNO` has the kernel of every new VkDevice fail
//! its N-th VM_BIND operation (from 1, those of new resources included), with STAGE `prepare` or `run` and ERRNO
//! `ENOMEM`, `EINVAL`, `EINTR` or `EAGAIN`. `ioctl:N:ERRNO` fails the N-th VM_BIND ioctl.

use panvk_sparse::backend::hosted::Hosted;
use panvk_sparse::vpanthor::{Fault, OpStage};
use rustix::io::Errno;

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
