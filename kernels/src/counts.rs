//! What calls ask of a kernel, in numbers.

use serde::Serialize;

use crate::encode::Unfit;
use crate::ioctl::Step;

/// Names and order are relied on by scripts: new fields go last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ops: u64,
    /// Of these, operations that map memory.
    pub map_ops: u64,
    /// Operations that leave a range unbound, readable all the same.
    pub null_ops: u64,
    /// Operations that leave a range without any mapping.
    pub unmap_ops: u64,
    pub ioctls: u64,
    /// Bytes that the kernel copies in for them.
    pub bytes_to_kernel: u64,
    /// Syncobjs that the driver waits for itself, because the ioctl cannot.
    pub host_waits: u64,
    /// Syncobjs that the driver signals itself.
    pub host_signals: u64,
    /// Calls of which a part cannot be said to this kernel: nothing of them is counted.
    pub unfit: u64,
}

impl Counts {
    pub fn add(&mut self, steps: &Result<Vec<Step>, Unfit>) {
        let Ok(steps) = steps else {
            self.unfit += 1;
            return;
        };
        for step in steps {
            match step {
                Step::Wait(_) => self.host_waits += 1,
                Step::Signal(_) => self.host_signals += 1,
                Step::Ioctl(ioctl) => {
                    let ops = ioctl.counts;
                    self.ops += ops.map + ops.null + ops.unmap;
                    self.map_ops += ops.map;
                    self.null_ops += ops.null;
                    self.unmap_ops += ops.unmap;
                    self.ioctls += 1;
                    self.bytes_to_kernel += ioctl.size() as u64;
                }
            }
        }
    }
}
