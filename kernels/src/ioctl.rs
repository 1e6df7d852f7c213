//! One ioctl as bytes, and the steps of a call.

use panvk_sparse::lower::OpCounts;
use panvk_sparse::uapi::{Plain, SyncOp};

/// The ioctl's struct, followed by the arrays that it points to.
///
/// The bytes can lie anywhere: a pointer in them counts from their beginning until [`Ioctl::at`] says where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ioctl {
    /// The request number.
    pub request: u32,
    /// Its operations by what they do, however the kernel calls that.
    pub counts: OpCounts,
    bytes: Vec<u8>,
    /// Where in `bytes` pointers are.
    pointers: Vec<usize>,
}

impl Ioctl {
    pub(crate) fn new(request: u32, argument: &impl Plain) -> Self {
        Ioctl {
            request,
            counts: OpCounts::default(),
            bytes: argument.as_bytes().to_vec(),
            pointers: Vec::new(),
        }
    }

    /// Appends an array, if it has elements, and has the pointer at `pointer` point to it.
    pub(crate) fn attach<T: Plain>(mut self, pointer: usize, array: &[T]) -> Self {
        if !array.is_empty() {
            let start = self.bytes.len() as u64;
            self.bytes[pointer..pointer + 8].copy_from_slice(&start.to_ne_bytes());
            self.bytes.extend_from_slice(T::slice_as_bytes(array));
            self.pointers.push(pointer);
        }
        self
    }

    /// Bytes that the kernel copies in: struct and arrays.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes as they are at `address`, the struct first.
    pub fn at(&self, address: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &pointer in &self.pointers {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[pointer..pointer + 8]);
            let target = u64::from_ne_bytes(field).wrapping_add(address);
            bytes[pointer..pointer + 8].copy_from_slice(&target.to_ne_bytes());
        }
        bytes
    }
}

/// What a driver has to do for a call, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for this syncobj: the ioctl cannot.
    Wait(SyncOp),
    Ioctl(Ioctl),
    /// Signal this syncobj once the ioctls before it have taken effect: they cannot.
    Signal(SyncOp),
}
