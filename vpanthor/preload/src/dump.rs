//! The state of the nodes as JSON: at the end of the process, and on SIGUSR1.
//!
//! A signal handler may do next to nothing, so ours only wakes a thread. Thread and handler are there from the moment when
//! the process first opens a node, and only if `VPANTHOR_DUMP` is set; a handler that the program had before is called too.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::io::Write;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use serde::Serialize;
use vpanthor::snapshot::BindCounts;

use crate::config;
use crate::gate::Pass;
use crate::open_file::{Calls, Record};
use crate::state::Process;
use crate::sys::{errno, set_errno};

#[derive(Serialize)]
struct Dump {
    pid: u32,
    nodes: Vec<NodeDump>,
}

#[derive(Serialize)]
struct NodeDump {
    path: String,
    kernel: String,
    gpu: String,
    /// Of all files together.
    ioctls: BTreeMap<String, Calls>,
    vm_bind: BindCounts,
    refused: u64,
    files: Vec<Record>,
}

/// Whether this process itself has opened a node, or called one that it had from its parent.
static USED: AtomicBool = AtomicBool::new(false);
/// An eventfd that wakes the thread, -1 where there is none.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// What was to be done on SIGUSR1 before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A node is in use: from now on there is something to dump.
pub fn prepare() {
    if USED.swap(true, Ordering::Relaxed) || Process::get().dump.is_none() {
        return;
    }
    // SAFETY: no preconditions.
    let wake = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if wake < 0 {
        return;
    }
    WAKE.store(wake, Ordering::Release);
    let spawned = with_signals_blocked(|| {
        let thread = std::thread::Builder::new().name("vpanthor-dump".into());
        thread.spawn(move || wait_for_signals(wake)).is_ok()
    });
    if spawned {
        handle_signal();
    }
}

/// Runs `f` while this thread gets no signals: a thread that it starts never does.
fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: room for sets, of which the first is filled before it is used, and the second restored as it was given.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let result = f();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        result
    }
}

fn handle_signal() {
    // SAFETY: zeroed is a sigaction without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `action` names a handler of the type that SA_SIGINFO asks for; `before` has room for what was there.
    unsafe {
        if libc::sigaction(libc::SIGUSR1, std::ptr::null(), before.as_mut_ptr()) == 0 {
            let before = before.assume_init();
            // A forked child has our handler already.
            if before.sa_sigaction != action.sa_sigaction {
                // Where there is one, it is the same.
                let _ = BEFORE.set(before);
            }
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        }
    }
}

/// Async-signal-safe: writes to a file descriptor, and does what was done before.
unsafe extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = errno();
    let one = 1u64;
    // SAFETY: eight bytes. A full eventfd or none at all changes nothing.
    unsafe { libc::write(WAKE.load(Ordering::Acquire), (&raw const one).cast(), 8) };
    set_errno(before);
    let Some(action) = BEFORE.get() else {
        return;
    };
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {}
        // SAFETY: the program's handler, of the type that its flags say, with what the kernel gave us.
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => unsafe {
            let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        },
        // SAFETY: as above.
        handler => unsafe {
            let handler: unsafe extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        },
    }
}

fn wait_for_signals(wake: c_int) {
    let mut count = 0u64;
    loop {
        // SAFETY: room for eight bytes.
        let read = unsafe { libc::read(wake, (&raw mut count).cast(), 8) };
        match read {
            8 => {
                if let Some(_pass) = Pass::enter() {
                    write();
                }
            }
            _ if errno() == libc::EINTR => {}
            _ => return,
        }
    }
}

/// A forked child has neither the thread nor anything to tell.
pub fn after_fork() {
    USED.store(false, Ordering::Relaxed);
    WAKE.store(-1, Ordering::Release);
}

/// The process ends.
pub fn at_exit() {
    if USED.load(Ordering::Relaxed) {
        write();
    }
}

fn add(sum: &mut BTreeMap<String, Calls>, ioctls: &BTreeMap<String, Calls>) {
    for (name, calls) in ioctls {
        let sum = sum.entry(name.clone()).or_default();
        sum.calls += calls.calls;
        sum.refused += calls.refused;
    }
}

fn gather(state: &Process) -> Dump {
    let records = state.records();
    let nodes = (state.nodes().iter().enumerate())
        .map(|(index, node)| {
            let files: Vec<Record> = records
                .iter()
                .filter(|record| record.node == index)
                .cloned()
                .collect();
            let (mut ioctls, mut vm_bind) = (BTreeMap::new(), BindCounts::default());
            for file in &files {
                add(&mut ioctls, &file.ioctls);
                vm_bind.add(&file.holds.vm_bind);
            }
            NodeDump {
                path: node.path(),
                kernel: node.spec.flavour.to_string(),
                gpu: node.spec.gpu.to_string(),
                refused: ioctls.values().map(|calls| calls.refused).sum(),
                ioctls,
                vm_bind,
                files,
            }
        })
        .collect();
    Dump {
        pid: std::process::id(),
        nodes,
    }
}

/// Writes the file anew, whole: who reads it never sees a half.
fn write() {
    let state = Process::get();
    let Some(pattern) = &state.dump else {
        return;
    };
    let path = config::dump_path(pattern, std::process::id());
    let result = serde_json::to_vec_pretty(&gather(state))
        .map_err(std::io::Error::other)
        .and_then(|json| {
            let mut next = path.clone().into_os_string();
            next.push(".part");
            let mut file = std::fs::File::create(&next)?;
            file.write_all(&json)?;
            file.write_all(b"\n")?;
            std::fs::rename(&next, &path)
        });
    if let Err(error) = result {
        eprintln!(
            "libvpanthor_preload: VPANTHOR_DUMP={pattern:?}: {}: {error}",
            path.display()
        );
    }
}
