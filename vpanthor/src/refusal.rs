//! Why the last ioctl of this thread was refused, in words: a kernel only says `EINVAL`, the model can say more.
//!
//! Kept per thread, as errno is. Not every refusal has words of its own.

use std::cell::Cell;

use rustix::io::Errno;

thread_local! {
    static LAST: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The rule that the last ioctl of this thread broke, where it was refused and the model has words for it.
pub fn last_refusal() -> Option<&'static str> {
    LAST.get()
}

/// A new ioctl begins.
pub(super) fn forget() {
    LAST.set(None);
}

/// The errno, and what it means here.
pub(super) fn refuse(errno: Errno, why: &'static str) -> Errno {
    LAST.set(Some(why));
    errno
}

/// `EINVAL` unless the rule holds.
pub(super) fn ensure(holds: bool, rule: &'static str) -> Result<(), Errno> {
    if holds {
        Ok(())
    } else {
        Err(refuse(Errno::INVAL, rule))
    }
}
