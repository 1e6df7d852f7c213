//! Which Vulkan call this thread is in, and what the border has seen of it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use panvk_sparse::units::BoHandle;
use rustix::io::Errno;

use crate::held::Held;
use crate::op::{Op, Read};
use crate::parts::Parts;
use crate::vm::{BoardVm, NewVm};

/// What the base driver asks of the kernel during a call of the driver in front, which is made to find that out.
#[derive(Debug, Default)]
pub struct Look {
    /// The VMs that were created.
    pub vms: Vec<NewVm>,
    /// The buffer objects that were created.
    pub bos: Vec<BoHandle>,
    /// The operations of synchronous VM_BINDs. They have happened.
    pub now: Vec<Op>,
    /// The operations of asynchronous VM_BINDs.
    pub later: Vec<Op>,
    /// Whether these are kept from the kernel, unless one waits or signals.
    pub keeps: bool,
    /// Whether there was an operation that is not known.
    pub is_strange: bool,
}

/// How the application's call has to look at the border.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Submissions with a signal, at least: `VkBindSparseInfo`s with semaphores, and the fence if the last has none.
    pub signals: usize,
    /// Whether a submission of the call may end without a signal. If the base driver submits it later, nobody can tell
    /// where it ends.
    pub may_end_silently: bool,
}

/// The call of the application that a thread is in.
#[derive(Debug)]
pub enum Call {
    /// It is seen and noted.
    Look(Box<Look>),
    /// It creates a sparse resource. What maps the new resource to the dummy is noted, for the driver in front to carry out.
    Create { vm: Arc<BoardVm>, maps: Vec<Op> },
    /// `vkQueueBindSparse`.
    Bind(Bind),
}

/// A `vkQueueBindSparse` of the application.
#[derive(Debug)]
pub struct Bind {
    /// The device's VM, which [`bind`] borrows until the call is over: to count it once more and less would cost as much as a
    /// short plan.
    pub vm: *const Arc<BoardVm>,
    pub expected: Expected,
    /// Operations with signals, so far.
    pub signals: usize,
    /// A refusal that the base driver has not been told of.
    pub refused: Option<Errno>,
}

/// What is known of a thread.
#[derive(Debug)]
pub struct Here {
    pub call: Option<Call>,
    /// Asynchronous VM_BINDs that the kernel has not got yet.
    pub held: Option<Held>,
    /// Buffers of an earlier VM_BIND, empty.
    pub spare: Option<Box<Spare>>,
}

/// What a VM_BIND needs memory for.
#[derive(Debug, Default)]
pub struct Spare {
    pub ops: Read<'static>,
    pub parts: Parts,
}

thread_local! {
    static HERE: RefCell<Here> = const {
        RefCell::new(Here {
            call: None,
            held: None,
            spare: None,
        })
    };
}

/// Runs `body`, which calls nothing of others, with what is known of this thread. `None`: the thread is ending.
pub fn here<R>(body: impl FnOnce(&mut Here) -> R) -> Option<R> {
    HERE.try_with(|here| Some(body(&mut *here.try_borrow_mut().ok()?)))
        .ok()
        .flatten()
}

/// Runs `body`, a call of the base driver, as part of `call`, and gives both.
pub fn within<R>(call: Call, body: impl FnOnce() -> R) -> (R, Option<Call>) {
    let outer = here(|here| here.call.replace(call));
    let result = body();
    let call = here(|here| std::mem::replace(&mut here.call, outer.flatten())).flatten();
    (result, call)
}

/// Runs `body`, a call of the base driver, and gives what it asked of the kernel.
pub fn look<R>(body: impl FnOnce() -> R) -> (R, Look) {
    look_with(Look::default(), body)
}

/// As [`look`], for a `vkQueueBindSparse` that is not to happen.
pub fn look_at_bind<R>(body: impl FnOnce() -> R) -> (R, Look) {
    let look = Look {
        keeps: true,
        ..Look::default()
    };
    look_with(look, body)
}

fn look_with<R>(look: Look, body: impl FnOnce() -> R) -> (R, Look) {
    match within(Call::Look(Box::new(look)), body) {
        (result, Some(Call::Look(look))) => (result, *look),
        (result, _) => (result, Look::default()),
    }
}

/// Runs `body`, which has the base driver create a sparse resource in `vm`, and gives what it mapped to the dummy. None of
/// that has happened.
pub fn create<R>(vm: &Arc<BoardVm>, body: impl FnOnce() -> R) -> (R, Vec<Op>) {
    let call = Call::Create {
        vm: Arc::clone(vm),
        maps: Vec::new(),
    };
    match within(call, body) {
        (result, Some(Call::Create { maps, .. })) => (result, maps),
        (result, _) => (result, Vec::new()),
    }
}

/// Runs `body`, a `vkQueueBindSparse` of the base driver, and then what it has left undone.
///
/// # Errors
/// What the kernel refused, and the base driver does not know of.
pub fn bind<R>(
    vm: &Arc<BoardVm>,
    expected: Expected,
    body: impl FnOnce() -> R,
) -> Result<R, Errno> {
    if expected.may_end_silently {
        vm.let_end_silently();
    }
    let call = Call::Bind(Bind {
        vm,
        expected,
        signals: 0,
        refused: None,
    });
    let outer = here(|here| here.call.replace(call));
    // No panic may leave the borrowed VM behind.
    let result = catch_unwind(AssertUnwindSafe(body));
    let end = here(|here| {
        let call = std::mem::replace(&mut here.call, outer.flatten());
        let refused = match call {
            Some(Call::Bind(bind)) => bind.refused,
            _ => None,
        };
        (refused, here.held.take())
    });
    let (refused, held) = end.unwrap_or_default();
    let left = || held.map_or(Ok(()), Held::carry_out);
    match refused.map_or_else(left, Err) {
        Ok(()) => Ok(result.unwrap_or_else(|panic| resume_unwind(panic))),
        Err(errno) => {
            vm.give_up();
            Err(errno)
        }
    }
}

/// Hands the kernel what this thread holds.
///
/// # Errors
/// The kernel refused. Nothing of it has happened.
pub fn flush() -> Result<(), Errno> {
    match here(|here| here.held.take()).flatten() {
        Some(held) => held.carry_out(),
        None => Ok(()),
    }
}
