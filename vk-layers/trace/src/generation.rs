//! Which process this is, among one and its forks.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between the process that began the first recording and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A process, told from those that are forks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    pub fn of_this() -> Self {
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// One load of memory: a system call would be most of what a record costs.
    pub fn is_this(self) -> bool {
        self == Self::of_this()
    }

    /// Whether it is the process that began the first recording.
    pub fn is_first(self) -> bool {
        self.0 == 0
    }
}

/// To be called in the child, right after a fork.
pub fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
