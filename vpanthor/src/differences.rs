//! Where a node was not what its model is: said in the log with the operation, and counted.

use std::fmt;

use rustix::io::Errno;

use panvk_sparse::drm::{BindFailure, errno_name};
use panvk_sparse::lower::Ops;
use panvk_sparse::uapi::{
    VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_UNMAP, VmBindOpRepeat,
};

/// Differences that are said one by one; those after them are counted.
const LISTED: u64 = 16;

/// What a kernel said to a bind.
pub(super) type Answer = Result<(), BindFailure>;

/// Operation `index` as a message shows it.
pub(super) struct Shown<'a> {
    pub ops: &'a Ops,
    pub index: usize,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} of {}", self.index, self.ops.array.len())?;
        let Some(VmBindOpRepeat {
            op,
            bo_repeat_range,
        }) = self.ops.array.get(self.index)
        else {
            return Ok(());
        };
        let kind = match op.flags & VM_BIND_OP_TYPE_MASK {
            VM_BIND_OP_TYPE_MAP => "map",
            VM_BIND_OP_TYPE_UNMAP => "unmap",
            _ => "sync only",
        };
        write!(
            f,
            " ({kind}, flags {:#x}, BO {}, offset {:#x}, va {:#x}, size {:#x}, repeat range {bo_repeat_range:#x}, \
             {} syncs)",
            op.flags, op.bo_handle, op.bo_offset, op.va, op.size, op.syncs.count
        )
    }
}

/// What one of the two said of an operation: that it took it, or an errno.
#[derive(Clone, Copy)]
pub(super) struct Said(pub Option<Errno>);

pub(super) const TOOK: Said = Said(None);

impl From<Answer> for Said {
    fn from(answer: Answer) -> Said {
        Said(answer.err().map(|failure| failure.errno))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("took it"),
            Some(errno) => write!(f, "said {}", errno_name(errno)),
        }
    }
}

/// Where the node was not what its model is.
#[derive(Debug)]
pub(super) struct Differences {
    /// Such as `/dev/dri/renderD128`.
    pub node: String,
    /// Such as `vpanthor:1.9`.
    pub model: String,
    pub count: u64,
}

impl Differences {
    /// The two said different things to the same.
    pub fn answers(&mut self, what: impl fmt::Display, node: Said, model: Said) {
        let text = format!("{what}: {} {node}, {} {model}", self.node, self.model);
        self.say(text);
    }

    /// In the log, as long as there are few, and counted.
    pub fn say(&mut self, what: impl fmt::Display) {
        self.count += 1;
        match self.count {
            ..=LISTED => log::error!("the kernel and its model differ: {what}"),
            n if n == LISTED + 1 => {
                log::error!(
                    "the kernel and its model differ again: from now on this is counted, and not said"
                );
            }
            _ => {}
        }
    }
}
