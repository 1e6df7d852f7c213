//! What is behind a process of these tests: the model, with memory of its own, or a node, with this process's.

use std::ffi::c_void;
use std::fs::File as StdFile;
use std::ops::Deref;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use vpanthor::{Arena, File, Flavour, UserMemory};

pub enum Backend {
    Model(Box<File>),
    Node(StdFile),
}

impl Backend {
    /// The node of a flavour, where there is one for each.
    pub fn node(flavour: Flavour) -> Self {
        let index = Flavour::ALL.iter().position(|one| *one == flavour).unwrap();
        let path = format!("/dev/dri/renderD{}", 128 + index);
        let file = StdFile::options().read(true).write(true).open(path);
        Self::Node(file.unwrap())
    }

    pub fn ioctl(&self, request: u32, arg: u64, mem: &Memory) -> Result<u32, Errno> {
        match self {
            Self::Model(file) => file.ioctl(request, arg, mem),
            // SAFETY: the node reads and writes what it can reach from `arg`, and that is in `mem`, which lives as long as
            // the process; what is not there, it refuses.
            Self::Node(file) => unsafe { rustix::ioctl::ioctl(file, Call(request, arg)) },
        }
    }
}

/// A look inside.
impl Deref for Backend {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Model(file) => file,
            Self::Node(_) => panic!("a test that looks inside takes Process::model"),
        }
    }
}

struct Call(u32, u64);

// SAFETY: the argument goes to the node as it is, and nothing else touches it.
unsafe impl Ioctl for Call {
    type Output = u32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.0.into()
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.1 as usize)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        Ok(out as u32)
    }
}

pub enum Memory {
    Arena(Arena),
    /// This process's own. Tests end soon, so it is never freed.
    Real(*mut [u64]),
}

impl Memory {
    /// The address of the first byte.
    pub fn base(&self) -> u64 {
        match self {
            Self::Arena(arena) => arena.base(),
            Self::Real(words) => words.cast::<u64>().expose_provenance() as u64,
        }
    }

    /// Where `len` bytes at `addr` are in the process's own memory.
    fn at(words: *mut [u64], addr: u64, len: usize) -> Result<*mut u8, Errno> {
        let start = words.cast::<u8>();
        if len == 0 {
            return Ok(start);
        }
        let offset = addr
            .checked_sub(start.expose_provenance() as u64)
            .ok_or(Errno::FAULT)?;
        let end = offset.checked_add(len as u64).ok_or(Errno::FAULT)?;
        if end > words.len() as u64 * 8 {
            return Err(Errno::FAULT);
        }
        Ok(start.wrapping_add(offset as usize))
    }
}

impl UserMemory for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        match self {
            Self::Arena(arena) => arena.read(addr, buf),
            Self::Real(words) => {
                let from = Self::at(*words, addr, buf.len())?;
                // SAFETY: `at` gives a pointer to that many bytes of memory that is never freed, and not `buf`.
                unsafe { std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) };
                Ok(())
            }
        }
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Arena(arena) => arena.write(addr, buf),
            Self::Real(words) => {
                let to = Self::at(*words, addr, buf.len())?;
                // SAFETY: as above; nobody has a reference to it.
                unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr(), to, buf.len()) };
                Ok(())
            }
        }
    }
}
