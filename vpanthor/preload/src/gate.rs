//! No lock is held across a fork.
//!
//! A forked child has the memory of its parent and one thread. A lock that another thread held at that moment would stay
//! locked for good. So every call that may take one passes through the gate, and a fork waits until nobody is inside and
//! nobody can go in. A call that sleeps in the kernel holds no lock and waits outside.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vpanthor::Sleeper;

/// Calls that are inside.
static INSIDE: Mutex<u64> = Mutex::new(0);
static EMPTY: Condvar = Condvar::new();

thread_local! {
    /// This thread is in work of the library itself: what it calls meanwhile is meant for the real functions.
    static BUSY: Cell<bool> = const { Cell::new(false) };
    /// Held by a thread that forks.
    static CLOSED: Cell<Option<MutexGuard<'static, u64>>> = const { Cell::new(None) };
}

fn count() -> MutexGuard<'static, u64> {
    INSIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter() {
    *count() += 1;
}

fn leave() {
    let mut inside = count();
    *inside -= 1;
    if *inside == 0 {
        EMPTY.notify_all();
    }
}

/// A stay inside.
#[derive(Debug)]
pub struct Pass(());

impl Pass {
    /// Goes in; `None` for a call that the library makes itself.
    pub fn enter() -> Option<Self> {
        if BUSY.replace(true) {
            return None;
        }
        enter();
        Some(Self(()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        leave();
        BUSY.set(false);
    }
}

/// Whether this thread is in work of the library itself.
pub fn is_busy() -> bool {
    BUSY.get()
}

/// A sleep is a stay outside.
#[derive(Debug)]
pub struct Outside;

impl Sleeper for Outside {
    fn asleep(&self, sleep: &mut dyn FnMut()) {
        leave();
        sleep();
        enter();
    }
}

/// Before a fork: waits until nobody is inside, and keeps everybody out.
pub fn close() {
    // A signal handler that forks in the middle of a call of ours cannot wait for itself.
    if BUSY.get() {
        return;
    }
    let mut inside = count();
    while *inside > 0 {
        inside = EMPTY.wait(inside).unwrap_or_else(PoisonError::into_inner);
    }
    CLOSED.set(Some(inside));
}

/// After a fork, in parent and child.
pub fn open() {
    drop(CLOSED.take());
}
