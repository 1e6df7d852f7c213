//! Asynchronous VM_BINDs of one call, held until the last of them is there.

use std::sync::Arc;

use rustix::io::Errno;

use crate::parts::Parts;
use crate::vm::BoardVm;

/// Operations that an ioctl of the base driver has room for. One with fewer is the last of its submission.
const FULL: usize = 16;

/// What a thread holds for one VM.
#[derive(Debug)]
pub struct Held {
    pub vm: Arc<BoardVm>,
    pub parts: Parts,
}

impl Held {
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
