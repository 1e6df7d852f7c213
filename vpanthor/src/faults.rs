//! Faults on demand: the kernel's refusals that a test cannot bring about by being wrong.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::shared::lock;

/// One refusal to come. Each happens once; several can be armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The `nth` VM_BIND op from now (1 is the next one) fails with `errno`.
    Op {
        nth: u64,
        stage: OpStage,
        errno: Errno,
    },
    /// The `nth` ioctl with this number from now (1 is the next one) fails with `errno` before it looks at anything.
    Ioctl {
        /// The low eight bits of the request: 0x43 is VM_BIND.
        number: u8,
        nth: u64,
        errno: Errno,
    },
    /// The VM becomes unusable now, as after an asynchronous op that failed.
    VmUnusable { vm_id: u32 },
}

/// When a VM_BIND op fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpStage {
    /// While it is checked and its page tables are allocated: an asynchronous bind is refused as a whole.
    Prepare,
    /// While it changes the VM: an asynchronous bind has long been accepted, and the VM becomes unusable.
    Run,
}

/// The faults armed on one open file.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Number of entries in `list`, so that nobody pays for a lock where nothing is armed.
    armed: AtomicUsize,
    list: Mutex<Vec<Fault>>,
}

impl Faults {
    pub fn arm(&self, fault: Fault) {
        let mut list = lock(&self.list);
        list.push(fault);
        self.armed.store(list.len(), Ordering::Release);
    }

    /// Counts one event for all faults that `matches`; the first that is due goes off.
    fn count(
        &self,
        mut matches: impl FnMut(&mut Fault) -> Option<(&mut u64, Errno)>,
    ) -> Result<(), Errno> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut list = lock(&self.list);
        let mut due = None;
        list.retain_mut(|fault| {
            let Some((nth, errno)) = matches(fault) else {
                return true;
            };
            *nth = nth.saturating_sub(1);
            if *nth > 0 {
                return true;
            }
            due.get_or_insert(errno);
            false
        });
        self.armed.store(list.len(), Ordering::Release);
        due.map_or(Ok(()), Err)
    }

    /// An op reaches `at`.
    pub fn op(&self, at: OpStage) -> Result<(), Errno> {
        self.count(|fault| match fault {
            Fault::Op { nth, stage, errno } if *stage == at => Some((nth, *errno)),
            _ => None,
        })
    }

    /// An ioctl is called.
    pub fn ioctl(&self, called: u8) -> Result<(), Errno> {
        self.count(|fault| match fault {
            Fault::Ioctl { number, nth, errno } if *number == called => Some((nth, *errno)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_op_fails_once() {
        let faults = Faults::default();
        faults.arm(Fault::Op {
            nth: 3,
            stage: OpStage::Run,
            errno: Errno::NOMEM,
        });
        assert_eq!(faults.op(OpStage::Prepare), Ok(()));
        let ran: Vec<_> = (0..5).map(|_| faults.op(OpStage::Run)).collect();
        assert_eq!(ran, [Ok(()), Ok(()), Err(Errno::NOMEM), Ok(()), Ok(())]);
    }

    #[test]
    fn faults_of_one_kind_count_side_by_side() {
        let faults = Faults::default();
        for (nth, errno) in [(1, Errno::INTR), (2, Errno::AGAIN)] {
            faults.arm(Fault::Ioctl {
                number: 0x43,
                nth,
                errno,
            });
        }
        assert_eq!(faults.ioctl(0x41), Ok(()));
        assert_eq!(faults.ioctl(0x43), Err(Errno::INTR));
        assert_eq!(faults.ioctl(0x43), Err(Errno::AGAIN));
        assert_eq!(faults.ioctl(0x43), Ok(()));
    }
}
