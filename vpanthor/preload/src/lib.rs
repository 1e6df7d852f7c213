//! `libvpanthor_preload.so`: panthor render nodes for a program that knows nothing of it.
//!
//! ```text
//! LD_PRELOAD=libvpanthor_preload.so VPANTHOR=1.9,gpu=g610 vulkaninfo
//! ```
//!
//! In the program's process, `/dev/dri/renderD128` and what `/sys` says of it appear, with the virtual kernel of
//! [`vpanthor`] behind them. What the machine has in `/dev/dri` stays where it is; the new nodes get the first
//! free numbers. Everything else goes to the C library as before.
//!
//! | variable | |
//! |---|---|
//! | `VPANTHOR` | the nodes, separated by `;`: for each the kernel (`1.0`, `1.5`, `1.8`, `1.6-repeat`, `1.8-repeat`, `1.9`) and `gpu=g610`, separated by `,`. What is left out is `1.8-repeat` and `g610`. With `fault=VM_BIND:3:ENODEV` the third such ioctl of every open file fails, with `fault=op:3:prepare:EINVAL` its third operation (`run`: when it is run); there can be several. A value that is not understood ends the process with status 1 before `main`, and a message that says what is expected |
//! | `VPANTHOR_DUMP` | a file that gets the state of the nodes as JSON when the process ends and on SIGUSR1; `%p` in it becomes the process's id. A process that opens no node writes none |
//!
//! # How it works
//! The library defines some functions of the C library, finds the real ones with `dlsym(RTLD_NEXT)`, and passes on what does
//! not concern a node.
//!
//! | module | what |
//! |---|---|
//! | `hooks` | the functions |
//! | `tree` | a folder that looks like parts of `/dev` and `/sys`, into which paths are redirected |
//! | `state`, `open_file` | nodes and open files; the pipe that stands for an open file |
//! | `memory` | the program's memory: a wrong pointer is `EFAULT` |
//! | `gate` | forks |
//! | `dump`, `config` | `VPANTHOR_DUMP`, `VPANTHOR` |
//!
//! # Limits
//! - What does not call the C library is not seen: static programs, raw system calls, the C library's own calls of itself.
//! - Each process has a kernel of its own. A forked child has a copy of its parent's, at that moment; memory of buffer
//!   objects is shared with the parent, what is created or bound later is not. A program that is started gets a new one, and
//!   a descriptor that it inherits is of no use to it.
//! - Group priorities above medium go by CAP_SYS_NICE of the calling thread, as in the kernel, but in whatever user namespace
//!   it is.
//! - Work on the GPU ends at once and does nothing; see [`vpanthor`].
//! - A buffer object that was ever mapped takes a file descriptor of the process. Where they run out, the library raises
//!   RLIMIT_NOFILE to its hard limit.
//! - `write` on a node is `EBADF`, and `fdopen` takes it for reading only.
//! - A process that ends by a signal or with `_exit` writes no dump and leaves its folder behind, which the next one removes.
//! - A handler that the program sets for SIGUSR1 after it has opened a node takes the place of ours.

#![deny(unsafe_op_in_unsafe_fn)]
// In the unit tests' process, nothing stands in front of the C library.
#![cfg_attr(test, allow(dead_code, unused_imports, unused_macros))]

mod config;
mod dump;
mod gate;
#[cfg(not(test))]
mod hooks;
mod memory;
mod open_file;
mod real;
mod state;
mod sys;
mod tree;

use state::Process;

/// Runs when the library is loaded, before `main`.
extern "C" fn start() {
    let Some(_pass) = gate::Pass::enter() else {
        return;
    };
    // A wrong value is said now.
    Process::get();
    // SAFETY: handlers that take nothing and return nothing, and stay loaded. Without memory for three pointers, forks work
    // as long as no thread is in a call of ours.
    unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
}

extern "C" fn before_fork() {
    gate::close();
}

extern "C" fn after_fork_in_parent() {
    gate::open();
}

extern "C" fn after_fork_in_child() {
    gate::open();
    dump::after_fork();
    if let (Some(state), Some(_pass)) = (Process::if_any(), gate::Pass::enter()) {
        state.after_fork();
    }
}

/// Runs when the process ends by `exit` or by returning from `main`.
extern "C" fn end() {
    let Some(_pass) = gate::Pass::enter() else {
        return;
    };
    let caught = std::panic::catch_unwind(|| {
        dump::at_exit();
        if let Some(state) = Process::if_any() {
            state.remove_tree();
        }
    });
    if caught.is_err() {
        eprintln!("libvpanthor_preload: a bug; there may be no dump");
    }
}

#[cfg(not(test))]
const _: () = {
    // SAFETY: the linker puts functions of this type there; they run once each.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static START: extern "C" fn() = start;
    // SAFETY: as above.
    #[used]
    #[unsafe(link_section = ".fini_array")]
    static END: extern "C" fn() = end;
};
