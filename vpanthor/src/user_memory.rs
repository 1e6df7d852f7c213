//! The caller's memory, as the kernel sees it: a place to copy from and to, where every access can fail.

use rustix::io::Errno;

use panvk_sparse::uapi::{ObjArray, Plain};

use super::refusal::refuse;

/// The address space of the process that calls an ioctl: `copy_from_user` and `copy_to_user`. No bytes at all can be copied
/// from and to everywhere.
pub trait UserMemory {
    /// Fills `buf` from `addr` on.
    ///
    /// # Errors
    /// `EFAULT` where some byte cannot be read.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno>;

    /// Writes `buf` to `addr`.
    ///
    /// # Errors
    /// `EFAULT` where some byte cannot be written.
    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno>;
}

/// The most that the kernel allocates for one array: `kvmalloc` refuses more than `INT_MAX` bytes.
const MAX_ARRAY_BYTES: u64 = i32::MAX as u64;

/// Arrays are read in pieces of this many bytes, so that a wrong count ends at the first unreadable address and not
/// with gigabytes allocated for nothing. The largest VM_BIND that makes sense fits into one piece.
const PIECE: usize = 4 << 20;

/// `count` objects of `T`'s size each, as bytes in a row.
///
/// # Errors
/// `ENOMEM` where the kernel could not allocate them, `EFAULT` where they cannot be read.
fn read_bytes(mem: &dyn UserMemory, addr: u64, bytes: u64) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    while (out.len() as u64) < bytes {
        let start = out.len();
        let len = (bytes - start as u64).min(PIECE as u64) as usize;
        out.resize(start + len, 0);
        let at = addr.checked_add(start as u64).ok_or(Errno::FAULT)?;
        mem.read(at, &mut out[start..])?;
    }
    Ok(out)
}

/// A C array of `count` values.
///
/// # Errors
/// `ENOMEM` where the kernel could not allocate it, `EFAULT` where it cannot be read.
pub(super) fn read_values<T: Plain>(
    mem: &dyn UserMemory,
    addr: u64,
    count: u32,
) -> Result<Vec<T>, Errno> {
    let bytes = u64::from(count) * size_of::<T>() as u64;
    if bytes > MAX_ARRAY_BYTES {
        return Err(Errno::NOMEM);
    }
    let bytes = read_bytes(mem, addr, bytes)?;
    Ok(bytes
        .chunks_exact(size_of::<T>())
        .map(T::from_prefix)
        .collect())
}

/// An array of objects that may be of another version than the kernel's, read but not yet taken apart.
///
/// # Invariants
/// `bytes` holds whole strides; what exceeds the kernel's object in each is zero.
#[derive(Debug)]
pub(super) struct Objects {
    bytes: Vec<u8>,
    stride: usize,
}

impl Objects {
    /// Reads the array that `array` names. The kernel's object has `size` bytes, of which the first `min_size` exist
    /// since the object was introduced (`panthor_get_uobj_array`).
    ///
    /// # Errors
    /// `EINVAL` for a stride below `min_size` (an empty array has no stride), `E2BIG` where a byte beyond the kernel's
    /// object is not zero, `ENOMEM` where the kernel could not allocate the objects, `EFAULT`.
    pub fn read(
        mem: &dyn UserMemory,
        array: &ObjArray,
        min_size: usize,
        size: usize,
    ) -> Result<Self, Errno> {
        let stride = array.stride as usize;
        if array.count == 0 {
            return Ok(Self {
                bytes: Vec::new(),
                stride: size,
            });
        }
        if stride < min_size {
            return Err(refuse(
                Errno::INVAL,
                "the stride is below the size of the first version of the object",
            ));
        }
        if u64::from(array.count) * size as u64 > MAX_ARRAY_BYTES {
            return Err(Errno::NOMEM);
        }
        let total = u64::from(array.count) * u64::from(array.stride);
        if stride <= size {
            let bytes = read_bytes(mem, array.array, total)?;
            return Ok(Self { bytes, stride });
        }
        // Objects are looked at one after another, so that the first fault decides. Only what is known is kept.
        let mut bytes = Vec::new();
        let mut surplus = Vec::new();
        for i in 0..u64::from(array.count) {
            let at = array
                .array
                .checked_add(i * u64::from(array.stride))
                .ok_or(Errno::FAULT)?;
            let start = bytes.len();
            bytes.resize(start + size, 0);
            check_zero(
                mem,
                at.checked_add(size as u64),
                stride - size,
                &mut surplus,
            )?;
            mem.read(at, &mut bytes[start..])?;
        }
        Ok(Self {
            bytes,
            stride: size,
        })
    }

    /// The objects' bytes in order; each may be shorter than the kernel's object, whose rest is then zero.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.stride)
    }
}

/// `E2BIG` unless the `len` bytes at `addr` are all zero (`check_zeroed_user`). The first byte that is not, or that can't be read,
/// decides.
pub(super) fn check_zero(
    mem: &dyn UserMemory,
    addr: Option<u64>,
    len: usize,
    buf: &mut Vec<u8>,
) -> Result<(), Errno> {
    const STEP: usize = 4096;
    const WORD: usize = 8;
    let mut addr = addr.ok_or(Errno::FAULT)?;
    let end = addr.checked_add(len as u64).ok_or(Errno::FAULT)?;
    let mut longest = STEP;
    while addr < end {
        // Up to the next border, so that a word is never in two pages.
        let step = (end - addr).min((longest as u64) - addr % (longest as u64));
        buf.resize(step as usize, 0);
        if let Err(errno) = mem.read(addr, buf) {
            if longest == WORD {
                return Err(errno);
            }
            longest = WORD;
            continue;
        }
        if buf.iter().any(|byte| *byte != 0) {
            return Err(refuse(
                Errno::TOOBIG,
                "a field that this kernel does not know is not zero",
            ));
        }
        addr += step;
    }
    Ok(())
}

/// A C string of at most `max` bytes, NUL included (`strndup_user`), without the NUL.
///
/// # Errors
/// `EINVAL` where it is longer, `EFAULT` where it ends in memory that cannot be read.
pub(super) fn read_string(mem: &dyn UserMemory, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < max {
        let at = addr.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
        let mut byte = [0];
        mem.read(at, &mut byte)?;
        if byte[0] == 0 {
            return Ok(text);
        }
        text.push(byte[0]);
    }
    Err(Errno::INVAL)
}

/// An array of plain memory at a fixed address: all that a test or a fuzzer needs to call ioctls.
///
/// Everything outside it faults.
#[derive(Debug)]
pub struct Arena {
    base: u64,
    bytes: std::cell::RefCell<Vec<u8>>,
}

impl Arena {
    /// `len` bytes, zero, from `base` on.
    pub fn new(base: u64, len: usize) -> Self {
        Self {
            base,
            bytes: std::cell::RefCell::new(vec![0; len]),
        }
    }

    /// The address of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The places of `len` bytes at `addr`, if all of them lie in the arena.
    fn range(&self, addr: u64, len: usize) -> Result<std::ops::Range<usize>, Errno> {
        if len == 0 {
            return Ok(0..0);
        }
        let start = addr.checked_sub(self.base).ok_or(Errno::FAULT)?;
        let start = usize::try_from(start).map_err(|_| Errno::FAULT)?;
        let end = start.checked_add(len).ok_or(Errno::FAULT)?;
        if end > self.bytes.borrow().len() {
            return Err(Errno::FAULT);
        }
        Ok(start..end)
    }
}

impl UserMemory for Arena {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let range = self.range(addr, buf.len())?;
        buf.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        let range = self.range(addr, buf.len())?;
        self.bytes.borrow_mut()[range].copy_from_slice(buf);
        Ok(())
    }
}
