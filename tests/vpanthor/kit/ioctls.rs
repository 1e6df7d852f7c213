//! Any bytes as a series of ioctls of any kind, and what has to hold after each. Shared by the property test and the fuzzer.

use std::os::fd::{FromRawFd, OwnedFd};

use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::gpuvm::Gpuvm;
use vpanthor::{Arena, File, Flavour, Kernel, Objects, OpenOptions, UserMemory};

const PAGE: u64 = 4096;
const BASE: u64 = 0x10_0000;
const LEN: usize = 64 << 10;
/// Where the ops of a VM_BIND are.
const OPS: u64 = BASE + 0x1000;
const MAX_OPS: u32 = 8;
/// The most bytes that one call fills the memory with.
const FILL: usize = 512;
/// A map may take time in proportion to its size. Larger ones that might be valid are cut to this.
const MAX_SIZE: u64 = 8 << 20;
/// What no VM has, so that such ops are refused quickly.
const BEYOND: u64 = 1 << 48;
const MAX_CALLS: usize = 300;

/// Takes `N` bytes off the front, zeros where there are none left.
fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let len = N.min(data.len());
    let (front, rest) = data.split_at(len);
    *data = rest;
    let mut out = [0; N];
    out[..len].copy_from_slice(front);
    out
}

/// Words of eight bytes as the data says, each made likely to mean something: as it is, two small numbers, an address,
/// or pages.
fn words(data: &mut &[u8], bytes: &mut [u8]) {
    for chunk in bytes.chunks_exact_mut(8) {
        let [mode] = take(data);
        let word = match mode & 7 {
            0 => u64::from_ne_bytes(take(data)),
            1 | 2 => u64::from(mode >> 3 & 3) | u64::from(mode >> 5) << 32,
            3 => BASE + (u64::from(mode >> 3) << 8),
            4 => u64::from(mode >> 3) * PAGE,
            5 => u64::from(mode >> 3) << 32 | u64::from(take::<1>(data)[0]),
            _ => 0,
        };
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
}

struct Caller {
    file: File,
    mem: Arena,
    /// What the kernel has handed out.
    fds: Vec<OwnedFd>,
}

impl Caller {
    fn read<T: Plain>(&self, addr: u64) -> T {
        let mut value = T::default();
        self.mem.read(addr, value.as_bytes_mut()).unwrap();
        value
    }

    /// Keeps a call from taking for ever, by what it takes time for.
    fn restrain(&self, number: u8) {
        let at = |offset: usize| BASE + offset as u64;
        if number == ioctl_nr(IOCTL_SYNCOBJ_WAIT) {
            self.mem.write(at(8), &0i64.to_ne_bytes()).unwrap();
        } else if number == ioctl_nr(IOCTL_SYNCOBJ_TIMELINE_WAIT) {
            self.mem.write(at(16), &0i64.to_ne_bytes()).unwrap();
        } else if number == ioctl_nr(IOCTL_SYNCOBJ_TRANSFER) {
            let flags: u32 = self.read(at(24));
            let flags = flags & !SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
            self.mem.write(at(24), &flags.to_ne_bytes()).unwrap();
        } else if number == ioctl_nr(IOCTL_VM_BIND) {
            let mut args: VmBind = self.read(BASE);
            args.ops.array = OPS;
            args.ops.count %= MAX_OPS + 1;
            self.mem.write(BASE, args.as_bytes()).unwrap();
            for op in 0..u64::from(args.ops.count) {
                let size = OPS + op * u64::from(args.ops.stride) + 24;
                let mut bytes = [0; 8];
                if self.mem.read(size, &mut bytes).is_ok() {
                    let value = u64::from_ne_bytes(bytes);
                    if (MAX_SIZE..BEYOND).contains(&value) {
                        self.mem
                            .write(size, &(value % MAX_SIZE).to_ne_bytes())
                            .unwrap();
                    }
                }
            }
        }
    }

    /// Owns the file descriptor that a call has returned, and gives an earlier one to a call that takes one.
    fn take_fd(&mut self, number: u8) {
        if GIVES_FD.iter().any(|code| ioctl_nr(*code) == number) {
            let fd: u32 = self.read(BASE + 8);
            // SAFETY: the kernel has just given this number to us, and nothing else owns it.
            self.fds.push(unsafe { OwnedFd::from_raw_fd(fd as i32) });
            if self.fds.len() > 8 {
                self.fds.remove(0);
            }
        }
    }

    fn give_fd(&self, number: u8, which: u8) {
        use std::os::fd::AsRawFd;
        if number == ioctl_nr(IOCTL_PRIME_FD_TO_HANDLE)
            || number == ioctl_nr(IOCTL_SYNCOBJ_FD_TO_HANDLE)
        {
            let fd = self
                .fds
                .get(usize::from(which) % 9)
                .map_or(-1, |fd| fd.as_raw_fd());
            self.mem.write(BASE + 8, &fd.to_ne_bytes()).unwrap();
        }
    }
}

/// The calls that return a file descriptor, all of them in the third word.
const GIVES_FD: [u32; 2] = [IOCTL_PRIME_HANDLE_TO_FD, IOCTL_SYNCOBJ_HANDLE_TO_FD];

/// Whether a request is the same call as `code`, but so small or so one-sided that its third word would not come back.
fn is_cut(request: u32, code: u32) -> bool {
    const BOTH: u32 = 3 << 30;
    let returns_it = request & BOTH == BOTH && ioctl_size(request) >= 12;
    ioctl_nr(request) == ioctl_nr(code) && !returns_it
}

/// Runs `data` on a kernel of this flavour. Panics where something does not hold.
///
/// Returns how many calls succeeded.
pub fn run(flavour: Flavour, mut data: &[u8]) -> usize {
    let codes: Vec<u32> = ioctls().map(|ioctl| ioctl.code).collect();
    let kernel = Kernel::new(flavour);
    let mut caller = Caller {
        file: kernel.open(OpenOptions::default()),
        mem: Arena::new(BASE, LEN),
        fds: Vec::new(),
    };
    let (mut succeeded, mut pending) = (0, None);
    for _ in 0..MAX_CALLS {
        if data.is_empty() {
            break;
        }
        let [which, how, extra] = take(&mut data);
        let mut request = match codes.get(usize::from(which) % (codes.len() + 1)) {
            Some(code) => *code,
            None => u32::from_ne_bytes(take(&mut data)) & !0xff00 | u32::from(IOCTL_BASE) << 8,
        };
        if how & 0xf == 0xf {
            // Another size.
            request = request & !(0x3fff << 16)
                | u32::from(u16::from_ne_bytes(take(&mut data)) & 0x3fff) << 16;
        }
        if let Some(whole) = GIVES_FD.into_iter().find(|code| is_cut(request, *code)) {
            // A file descriptor that comes back nowhere is never closed.
            request = whole;
        }
        let number = ioctl_nr(request);
        let mut args = [0; 64];
        words(&mut data, &mut args);
        caller.mem.write(BASE, &args).unwrap();
        if how & 0x30 == 0 {
            let mut fill = [0; FILL];
            let len = 64 << (how >> 6);
            words(&mut data, &mut fill[..len]);
            // Arrays, wherever the words above point to.
            let at = if extra & 1 == 0 {
                OPS
            } else {
                BASE + (u64::from(extra) << 7)
            };
            caller.mem.write(at, &fill[..len]).unwrap();
        }
        if extra == 0xfe {
            // Work that does not end for now, so that there is something to wait for.
            pending = caller.file.attach_foreign_fence(1, 0);
        }
        caller.restrain(number);
        caller.give_fd(number, extra);
        let arg = if how == 0x2e { u64::from(extra) } else { BASE };
        let result = caller.file.ioctl(request, arg, &caller.mem);
        assert_ne!(result, Err(Errno::NOSYS));
        if result.is_ok() {
            succeeded += 1;
            caller.take_fd(number);
        }
        let mapped = caller.file.mmap(u64::from(extra) << 32, PAGE);
        assert!(
            mapped.is_ok()
                || mapped.is_err_and(|errno| errno == Errno::INVAL || errno == Errno::ACCESS)
        );
        for vm in 1..=4 {
            if number == ioctl_nr(IOCTL_VM_BIND) || number == ioctl_nr(IOCTL_VM_DESTROY) {
                caller.file.with_gpuvm(vm, check);
            }
        }
    }
    drop(pending);
    for vm in caller.file.snapshot().vms {
        assert_eq!(vm.queued_ops, 0, "nothing is left to wait for");
        caller.file.with_gpuvm(vm.id, check);
    }
    caller.fds.clear();
    drop(caller);
    assert_eq!(kernel.objects(), Objects::default());
    succeeded
}

/// The mappings are whole, in order and disjoint; the page table shows their ends, and nothing beside them.
fn check(vm: &Gpuvm) {
    let mut end = 0;
    for mapping in vm.mappings() {
        assert!(mapping.va >= end && mapping.size > 0);
        assert!((mapping.va | mapping.size | mapping.offset) % PAGE == 0);
        if mapping.va > end {
            assert_eq!(vm.translate(mapping.va - PAGE), None);
        }
        end = mapping.va + mapping.size;
        assert!(end <= vm.user_va_range());
        for at in [0, mapping.size - PAGE] {
            let va = mapping.va + at;
            let offset = match mapping.repeat {
                Some(repeat) => mapping.offset + (repeat.phase + at) % repeat.range,
                None if mapping.bo == 0 => va % (2 << 20),
                None => mapping.offset + at,
            };
            let entry = vm.translate(va).unwrap();
            assert_eq!(
                (entry.bo, entry.offset, entry.flags),
                (mapping.bo, offset, mapping.flags),
                "{va:#x}"
            );
        }
    }
    if end < vm.user_va_range() {
        assert_eq!(vm.translate(end), None);
    }
}
