//! Asynchronous VM_BINDs of one call, held until the last of them is there.

use std::sync::Arc;

use panvk_sparse::uapi::SyncOp;
use rustix::io::Errno;

use crate::op::{Kind, Op, Part, is_signal};
use crate::vm::BoardVm;

/// Operations that an ioctl of the base driver has room for. One with fewer is the last of its submission.
const FULL: usize = 16;

/// What a thread holds for one VM.
#[derive(Debug)]
pub struct Held {
    vm: Arc<BoardVm>,
    parts: Vec<Part>,
}

impl Held {
    pub fn new(vm: Arc<BoardVm>) -> Held {
        Held {
            vm,
            parts: vec![Part::default()],
        }
    }

    pub fn is_of(&self, vm: &Arc<BoardVm>) -> bool {
        Arc::ptr_eq(&self.vm, vm)
    }

    /// Whether an operation with these syncs can go to the kernel with what is held: no ioctl may wait for a syncobj that it
    /// signals.
    pub fn goes_with(&self, syncs: &[SyncOp]) -> bool {
        syncs.is_empty()
            || self.parts.iter().all(|part| {
                let clash = |sync: &SyncOp| {
                    let others = if is_signal(sync) {
                        &part.waits
                    } else {
                        &part.signals
                    };
                    others.iter().any(|other| other.handle == sync.handle)
                };
                !syncs.iter().any(clash)
            })
    }

    /// Adds an operation with its waits and signals, which [go with](Held::goes_with) the others.
    pub fn add(&mut self, op: Op, syncs: &[SyncOp]) {
        let waits = syncs.iter().filter(|sync| !is_signal(sync));
        let signals = syncs.iter().filter(|sync| is_signal(sync));
        let has_waits = waits.clone().next().is_some();
        let begins = self
            .parts
            .last()
            .is_none_or(|part| !part.signals.is_empty() || (has_waits && !part.ops.is_empty()));
        if begins {
            self.parts.push(Part::default());
        }
        if let Some(part) = self.parts.last_mut() {
            part.waits.extend(waits);
            if op.kind != Kind::SyncOnly {
                part.ops.push(op);
            }
            part.signals.extend(signals);
        }
    }

    /// # Errors
    /// See [`BoardVm::bind`].
    pub fn carry_out(self) -> Result<(), Errno> {
        self.vm.bind(&self.parts)
    }
}

/// Whether an ioctl of that many operations, the last of which signals or not, ends its submission.
pub fn ends(ops: usize, signals: bool) -> bool {
    signals || ops < FULL
}
