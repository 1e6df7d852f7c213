//! The functions that the base driver calls instead of libdrm's and the C library's, and what they do.

use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::fmt;
use std::mem::take;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use panvk_sparse::uapi::{
    BoCreate, GemClose, IOCTL_BASE, IOCTL_BO_CREATE, IOCTL_BO_MMAP_OFFSET, IOCTL_BO_QUERY_INFO,
    IOCTL_BO_SET_LABEL, IOCTL_BO_SYNC, IOCTL_DEV_QUERY, IOCTL_GEM_CLOSE, IOCTL_VERSION,
    IOCTL_VM_BIND, IOCTL_VM_CREATE, IOCTL_VM_DESTROY, SyncOp, VM_BIND_ASYNC, VmBind, VmCreate,
    VmDestroy,
};
use panvk_sparse::units::{BoHandle, VmId};
use rustix::io::Errno;
use vulkan::guard::guard;

use crate::calls::{Call, Look, Spare, flush, here};
use crate::held::{Held, ends};
use crate::op::{self, Read, is_signal};
use crate::slots::{Library, keep_loaded};
use crate::vm::{self, BoardVm, NewVm, Wanted};

/// Why nobody stands at a base driver's border, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoBorder(String);

impl fmt::Display for NoBorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the library that `address` is an address of is panvk, by the name that it was linked with.
pub fn is_panvk(address: usize) -> bool {
    let library = Library::at(address);
    let name = library.as_ref().and_then(Library::name);
    name.is_some_and(|name| name.to_bytes().starts_with(b"libvulkan_panfrost.so"))
}

/// Stands at the border of the library that `address` is an address of, for good. There can be one such library.
///
/// # Errors
/// It calls the kernel in no way that is known here, or its table can't be changed. Nothing of it is changed then.
pub fn stand_at(address: usize) -> Result<(), NoBorder> {
    static STOOD: OnceLock<Result<(), NoBorder>> = OnceLock::new();
    STOOD.get_or_init(|| install(address)).clone()
}

fn install(address: usize) -> Result<(), NoBorder> {
    let refuse = |what: String| Err(NoBorder(what));
    let Some(library) = Library::at(address) else {
        return refuse("it is not among the libraries of this process".to_owned());
    };
    let mut found = Vec::new();
    for hook in HOOKS {
        for slot in library.slots(hook.name) {
            let Some(function) = library.function(slot, hook.name) else {
                return refuse(format!("its function {:?} leads nowhere", hook.name));
            };
            hook.below.store(function, Ordering::Release);
            found.push((hook, slot, slot.get()));
        }
    }
    if !found
        .iter()
        .any(|(hook, ..)| hook.name == c"drmIoctl" || hook.name == c"ioctl")
    {
        return refuse("it imports neither drmIoctl nor ioctl".to_owned());
    }
    // SAFETY: a handler that only sets a flag, of a library that stays loaded.
    if !keep_loaded(install as *const () as usize)
        || unsafe { libc::pthread_atfork(None, None, Some(forked)) } != 0
    {
        return refuse("this driver can't be kept in memory".to_owned());
    }
    for (i, (hook, slot, _)) in found.iter().enumerate() {
        // SAFETY: the functions have the types of those whose names they bear, and stay loaded.
        if let Err(error) = unsafe { slot.set(hook.function as usize) } {
            for (_, slot, before) in &found[..i] {
                // SAFETY: what was there.
                let _ = unsafe { slot.set(*before) };
            }
            return refuse(format!(
                "its function {:?} can't be replaced: {error}",
                hook.name
            ));
        }
    }
    Ok(())
}

/// Whether this process is a child of one that follows VMs. Locks may be held for ever by threads that it does not have, and the
/// VMs are its parent's: all passes.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn forked() {
    if vm::are_followed() {
        IS_CHILD.store(true, Ordering::Relaxed);
    }
}

/// Whether this process is a child, and everything passes.
pub fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

struct Hook {
    name: &'static CStr,
    function: *const c_void,
    /// The function that was called before.
    below: &'static AtomicUsize,
}

// SAFETY: the pointers are of functions.
unsafe impl Sync for Hook {}

/// Functions that the base driver calls, and the one below each.
macro_rules! hooks {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $body:expr;)*) => {
        // Not a constant: before Rust 1.86 no constant could refer to what changes.
        static HOOKS: &[Hook] = &[$(Hook {
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            function: $name as *const c_void,
            below: &below::$name,
        }),*];

        #[allow(non_upper_case_globals)]
        mod below {
            use std::sync::atomic::AtomicUsize;
            $(pub static $name: AtomicUsize = AtomicUsize::new(0);)*
        }

        $($(#[$meta])* #[allow(non_snake_case)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> c_int {
            type Function = unsafe extern "C" fn($($ty),*) -> c_int;
            let address = below::$name.load(Ordering::Relaxed);
            // SAFETY: the function that the slot of this name led to.
            let function = unsafe { std::mem::transmute::<usize, Function>(address) };
            // SAFETY: the base driver's own arguments, passed on.
            let pass = || unsafe { function($($arg),*) };
            let enter: fn($($ty,)* &dyn Fn() -> c_int) -> c_int = $body;
            enter($($arg,)* &pass)
        })*
    };
}

hooks! {
    // Both take more arguments if they are declared with `...`; the kernel reads one.
    fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) cross;
    fn drmIoctl(fd: c_int, request: c_ulong, arg: *mut c_void) cross;
    fn drmCloseBufferHandle(fd: c_int, handle: u32) |_, handle, pass| {
        if !is_child() {
            guard((), || close(BoHandle(handle)));
        }
        pass()
    };
    fn drmSyncobjDestroy(fd: c_int, handle: u32) |_, _, pass| after_held(pass);
    fn drmSyncobjReset(fd: c_int, handles: *const u32, count: u32) |_, _, _, pass| after_held(pass);
    fn drmSyncobjSignal(fd: c_int, handles: *const u32, count: u32) |_, _, _, pass| after_held(pass);
    fn drmSyncobjTimelineSignal(fd: c_int, handles: *const u32, points: *mut u64, count: u32)
        |_, _, _, _, pass| after_held(pass);
    fn drmSyncobjTransfer(fd: c_int, to: u32, to_point: u64, from: u32, from_point: u64, flags: u32)
        |_, _, _, _, _, _, pass| after_held(pass);
    fn drmSyncobjHandleToFD(fd: c_int, handle: u32, to: *mut c_int) |_, _, _, pass| after_held(pass);
    fn drmSyncobjFDToHandle(fd: c_int, from: c_int, handle: *mut u32) |_, _, _, pass| after_held(pass);
    fn drmSyncobjImportSyncFile(fd: c_int, handle: u32, from: c_int) |_, _, _, pass| after_held(pass);
    fn drmSyncobjExportSyncFile(fd: c_int, handle: u32, to: *mut c_int) |_, _, _, pass| after_held(pass);
    fn drmSyncobjQuery(fd: c_int, handles: *mut u32, points: *mut u64, count: u32)
        |_, _, _, _, pass| after_held(pass);
    fn drmSyncobjQuery2(fd: c_int, handles: *mut u32, points: *mut u64, count: u32, flags: u32)
        |_, _, _, _, _, pass| after_held(pass);
    fn drmSyncobjWait(fd: c_int, handles: *mut u32, count: c_uint, until: i64, flags: c_uint, first: *mut u32)
        |_, _, _, _, _, _, pass| wait_after_held(pass);
    fn drmSyncobjTimelineWait(
        fd: c_int, handles: *mut u32, points: *mut u64, count: c_uint, until: i64, flags: c_uint, first: *mut u32
    )
        |_, _, _, _, _, _, _, pass| wait_after_held(pass);
}

/// What becomes of an ioctl of the base driver.
enum Answer {
    Pass,
    /// The base driver gets this, and the kernel does not hear of it.
    Own(Result<(), Errno>),
}

fn set_errno(errno: Errno) {
    // SAFETY: the C library's place for this thread's errno.
    unsafe { *libc::__errno_location() = errno.raw_os_error() };
}

/// An ioctl.
fn cross(fd: c_int, request: c_ulong, arg: *mut c_void, pass: &dyn Fn() -> c_int) -> c_int {
    let request = request as u32;
    if (request >> 8) as u8 != IOCTL_BASE || is_child() {
        return pass();
    }
    // SAFETY: the base driver's request and its argument.
    match guard(Answer::Pass, || unsafe { before(fd, request, arg) }) {
        Answer::Own(Ok(())) => 0,
        Answer::Own(Err(errno)) => {
            set_errno(errno);
            -1
        }
        Answer::Pass => {
            let result = pass();
            if result == 0 && matches!(request, IOCTL_VM_CREATE | IOCTL_BO_CREATE) {
                // SAFETY: as above, and the kernel has answered.
                guard((), || unsafe { note(fd, request, arg) });
            }
            result
        }
    }
}

/// # Safety
/// `arg` is the argument of the request.
unsafe fn before(fd: RawFd, request: u32, arg: *mut c_void) -> Answer {
    match request {
        IOCTL_VM_BIND => {
            // SAFETY: the caller's promise.
            if let Some(bind) = unsafe { arg.cast::<VmBind>().as_ref() } {
                // SAFETY: as above.
                return unsafe { vm_bind(fd, bind) };
            }
        }
        IOCTL_GEM_CLOSE => {
            // SAFETY: the caller's promise.
            if let Some(gone) = unsafe { arg.cast::<GemClose>().as_ref() } {
                close(BoHandle(gone.handle));
            }
        }
        IOCTL_VM_DESTROY => {
            hand_over();
            // SAFETY: the caller's promise.
            if let Some(gone) = unsafe { arg.cast::<VmDestroy>().as_ref() } {
                if let Some(vm) = vm::find(fd, VmId(gone.id)) {
                    vm.leave();
                }
            }
        }
        // These have nothing to do with what is held.
        IOCTL_VM_CREATE | IOCTL_BO_CREATE | IOCTL_BO_MMAP_OFFSET | IOCTL_BO_SET_LABEL
        | IOCTL_BO_SYNC | IOCTL_BO_QUERY_INFO | IOCTL_DEV_QUERY | IOCTL_VERSION => {}
        _ => hand_over(),
    }
    Answer::Pass
}

/// What the kernel has created.
///
/// # Safety
/// `arg` is the argument of the request.
unsafe fn note(fd: RawFd, request: u32, arg: *mut c_void) {
    here(|here| {
        let Some(Call::Look(look)) = &mut here.call else {
            return;
        };
        if request == IOCTL_VM_CREATE {
            // SAFETY: the caller's promise.
            look.vms
                .extend(unsafe { arg.cast::<VmCreate>().as_ref() }.map(|vm| NewVm {
                    fd,
                    id: VmId(vm.id),
                    user_va_range: vm.user_va_range,
                }));
        } else {
            // SAFETY: the caller's promise.
            let bo = unsafe { arg.cast::<BoCreate>().as_ref() };
            look.bos.extend(bo.map(|bo| BoHandle(bo.handle)));
        }
    });
}

/// Hands the kernel what this thread holds, before something else that the base driver asks for. A refusal is kept for the
/// next bind of the call, or its end.
fn hand_over() {
    if let Err(errno) = flush() {
        here(|here| match &mut here.call {
            Some(Call::Bind(bind)) => bind.refused = Some(errno),
            _ => log::error!(
                "a bind was refused after the base driver was told that it was taken: {errno}"
            ),
        });
    }
}

fn after_held(pass: &dyn Fn() -> c_int) -> c_int {
    if !is_child() {
        guard((), hand_over);
    }
    pass()
}

/// A wait for something that will never be signalled does not begin.
fn wait_after_held(pass: &dyn Fn() -> c_int) -> c_int {
    let refused = || {
        here(|here| match &here.call {
            Some(Call::Bind(bind)) => bind.refused,
            _ => None,
        })
    };
    if !is_child() {
        guard((), hand_over);
        if let Some(errno) = guard(None, refused).flatten() {
            set_errno(errno);
            return -errno.raw_os_error();
        }
    }
    pass()
}

/// A buffer object is closed.
fn close(handle: BoHandle) {
    hand_over();
    vm::memory_gone(handle);
}

/// # Safety
/// The base driver is calling VM_BIND with `bind`.
unsafe fn vm_bind(fd: RawFd, bind: &VmBind) -> Answer {
    let is_async = bind.flags & VM_BIND_ASYNC != 0;
    let id = VmId(bind.vm_id);
    let begin = here(|here| match &mut here.call {
        // SAFETY: the caller's promise.
        Some(Call::Look(look)) => Err(note_bind(look, is_async, unsafe {
            op::read(bind, Vec::new())
        })),
        Some(Call::Bind(of)) => Ok((Some(of.vm), take(&mut here.spare))),
        _ => Ok((None, take(&mut here.spare))),
    });
    let (lent, spare) = match begin {
        Some(Err(answer)) => return answer,
        Some(Ok(begin)) => begin,
        None => Default::default(),
    };
    // SAFETY: the call that this thread is in lends its VM until it is over.
    let lent = lent.and_then(|vm| unsafe { vm.as_ref() });
    let lent = lent.filter(|vm| vm.is(fd, id));
    let found = match lent {
        None => vm::find(fd, id),
        Some(_) => None,
    };
    let Some(vm) = lent.or(found.as_ref()) else {
        return Answer::Pass;
    };
    let mut spare = spare.unwrap_or_default();
    // SAFETY: the caller's promise.
    let ops = unsafe { op::read(bind, take(&mut spare.ops)) };
    if is_async && vm.is_given_up() {
        return Answer::Own(Err(Errno::IO));
    }
    let Some(ops) = ops else {
        hand_over();
        if is_async {
            vm.count_asked((1, bind.ops.count.into()));
        }
        vm.passes_unread(bind.ops.count);
        return Answer::Pass;
    };
    let plain = || ops.iter().map(|(op, _)| *op);
    if !is_async {
        hand_over();
        let creates = here(|here| match &mut here.call {
            Some(Call::Create { vm: of, maps }) if Arc::ptr_eq(of, vm) => {
                let all_null = plain().all(|op| vm.target(&op) == Some(Wanted::Null));
                if all_null {
                    maps.extend(plain());
                }
                all_null
            }
            _ => false,
        });
        if creates == Some(true) {
            return Answer::Own(Ok(()));
        }
        vm.passes(&plain().collect::<Vec<_>>(), false);
        return Answer::Pass;
    }
    let is_map_or_sync = |op: &op::Op| op.kind == op::Kind::SyncOnly || vm.target(op).is_some();
    if !plain().all(|op| is_map_or_sync(&op)) {
        hand_over();
        vm.count_asked((1, bind.ops.count.into()));
        vm.passes(&plain().collect::<Vec<_>>(), true);
        return Answer::Pass;
    }
    Answer::Own(hold(vm, ops, spare))
}

/// Notes a VM_BIND, whose operations are known or not.
fn note_bind(look: &mut Look, is_async: bool, ops: Option<Read<'_>>) -> Answer {
    let Some(ops) = ops else {
        look.is_strange = true;
        return Answer::Pass;
    };
    let seen = if is_async {
        &mut look.later
    } else {
        &mut look.now
    };
    seen.extend(ops.iter().map(|(op, _)| *op));
    let alone = ops.iter().all(|(_, syncs)| syncs.is_empty());
    if is_async && alone && look.keeps {
        Answer::Own(Ok(()))
    } else {
        Answer::Pass
    }
}

/// Holds asynchronous operations, or carries them out with all that is held where they are the last of it.
fn hold(vm: &Arc<BoardVm>, ops: Read<'_>, mut spare: Box<Spare>) -> Result<(), Errno> {
    let before = here(|here| {
        let refused = match &here.call {
            Some(Call::Bind(bind)) => bind.refused,
            _ => None,
        };
        (here.held.take(), refused)
    });
    let (held, refused) = before.unwrap_or_default();
    // What was refused before, in this call, ends it.
    if let Some(errno) = refused {
        if let Some(held) = held {
            held.vm.count_asked(held.parts.asked);
        }
        vm.count_asked((1, ops.len() as u64));
        return Err(errno);
    }
    match held {
        Some(held) if Arc::ptr_eq(&held.vm, vm) => spare.parts = held.parts,
        Some(apart) => apart.carry_out()?,
        None => {}
    }
    let parts = &mut spare.parts;
    parts.asked.0 += 1;
    parts.asked.1 += ops.len() as u64;
    for (op, syncs) in &ops {
        if !parts.goes_with(syncs) {
            vm.bind(parts)?;
            parts.clear();
        }
        parts.add(*op, syncs);
    }
    let signalling = |(_, syncs): &&(op::Op, &[SyncOp])| syncs.iter().any(is_signal);
    let signals = ops.iter().filter(signalling).count();
    let ends = ends(ops.len(), ops.last().is_some_and(|op| signalling(&op)));
    let is_last = here(|here| match &mut here.call {
        Some(Call::Bind(bind)) => {
            bind.signals += signals;
            ends && bind.signals >= bind.expected.signals
        }
        _ => ends || vm.may_end_silently(),
    });
    let is_last = is_last.unwrap_or(true);
    let carried_out = if !is_last {
        Ok(())
    } else if parts.is_empty() {
        vm.count_asked(parts.asked);
        Ok(())
    } else {
        vm.bind(parts)
    };
    here(|here| {
        if is_last {
            spare.parts.clear();
        } else if !spare.parts.is_empty() {
            here.held = Some(Held {
                vm: Arc::clone(vm),
                parts: take(&mut spare.parts),
            });
        }
        spare.ops = op::emptied(ops);
        here.spare = Some(spare);
    });
    carried_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_calls_the_kernel_in_no_known_way_is_left_as_it_is() {
        // Not `getppid`: the test of the slots leads this program's slot for it elsewhere for a while.
        let of_libc = libc::getuid as *const () as usize;
        let refused = install(of_libc).expect_err("the C library calls no ioctl of others");
        assert!(
            refused.0.contains("neither drmIoctl nor ioctl"),
            "{refused}"
        );
        assert!(!is_panvk(of_libc));
        let nowhere = install(8).expect_err("nothing is there");
        assert!(nowhere.0.contains("not among the libraries"), "{nowhere}");
    }
}
