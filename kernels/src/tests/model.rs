//! A VM as an array of pages, and an ioctl's bytes in an address space of their own.

use std::collections::BTreeMap;

use panvk_sparse::uapi::Plain;

use crate::{Ioctl, Kernel, Names};
use panvk_sparse::units::BoHandle;

/// The pages of the model: the smallest that any of the kernels has.
pub const PAGE: u64 = 4 << 10;

pub const SCRATCH: u32 = 9;
pub const NAMES: Names = Names {
    vm: 3,
    queue: 5,
    pat_index: 2,
    scratch: BoHandle(SCRATCH),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The GPU reads what it likes there and does not fault.
    Null,
    Memory {
        bo: u32,
        offset: u64,
        readonly: bool,
    },
}

/// A syncobj as an ioctl names it; the point is 0 for a binary one.
pub type Sync = (u32, u64);

/// What one ioctl came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub waits: Vec<Sync>,
    pub signals: Vec<Sync>,
    pub ops: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub kernel: Kernel,
    /// Size of each buffer object by handle, in bytes.
    pub bos: BTreeMap<u32, u64>,
    /// What is not here faults.
    pub pages: BTreeMap<u64, Page>,
    /// nouveau's sparse regions: their ends by their starts.
    pub regions: BTreeMap<u64, u64>,
}

pub type Checked<T> = Result<T, String>;

/// A rule of a driver.
pub fn rule(holds: bool, why: &str) -> Checked<()> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

impl Vm {
    pub fn new(kernel: Kernel, bos: BTreeMap<u32, u64>) -> Self {
        Vm {
            kernel,
            bos,
            pages: BTreeMap::new(),
            regions: BTreeMap::new(),
        }
    }

    /// Carries out an ioctl, or says why the driver would not. Its bytes lie at an address that they do not know.
    pub fn ioctl(&mut self, ioctl: &Ioctl) -> Checked<Done> {
        self.bytes(ioctl.request, &ioctl.at(BASE))
    }

    /// The same for bytes that are made for [`BASE`].
    pub fn bytes(&mut self, request: u32, bytes: &[u8]) -> Checked<Done> {
        let user = User { bytes };
        rule(request == number(self.kernel), "request")?;
        match self.kernel {
            Kernel::Xe | Kernel::Xe64k => super::xe::vm_bind(self, &user),
            Kernel::Msm => super::msm::vm_bind(self, &user),
            Kernel::Asahi => super::asahi::vm_bind(self, &user),
            Kernel::Nouveau => super::nouveau::vm_bind(self, &user),
            Kernel::Amdgpu => super::amdgpu::gem_va(self, &user),
        }
    }

    /// Whether the range of a buffer object is inside of it.
    pub fn inside(&self, bo: u32, offset: u64, len: u64) -> Checked<()> {
        let size = self.bos.get(&bo).ok_or("no such handle")?;
        let end = offset.checked_add(len).ok_or("offset overflows")?;
        rule(end <= *size, "beyond the buffer object")
    }

    /// Whether addresses and lengths are what the kernel takes.
    pub fn range(&self, va: u64, len: u64, page: u64, (first, end): (u64, u64)) -> Checked<()> {
        rule((va | len) % page == 0, "alignment")?;
        rule(len > 0, "no bytes")?;
        rule(len <= 64 << 20, "more pages than this model has room for")?;
        let range_end = va.checked_add(len).ok_or("range overflows")?;
        rule(va >= first && range_end <= end, "outside the VM")
    }

    pub fn map_null(&mut self, va: u64, len: u64) {
        for at in pages(va, len) {
            self.pages.insert(at, Page::Null);
        }
    }

    pub fn map(&mut self, va: u64, len: u64, bo: u32, offset: u64, readonly: bool) {
        for at in pages(va, len) {
            let offset = offset + (at - va);
            let page = Page::Memory {
                bo,
                offset,
                readonly,
            };
            self.pages.insert(at, page);
        }
    }

    pub fn unmap(&mut self, va: u64, len: u64) {
        for at in pages(va, len) {
            self.pages.remove(&at);
        }
    }
}

pub fn pages(va: u64, len: u64) -> impl Iterator<Item = u64> {
    (va..va + len).step_by(PAGE as usize)
}

fn number(kernel: Kernel) -> u32 {
    match kernel {
        Kernel::Xe | Kernel::Xe64k => crate::xe::IOCTL.code,
        Kernel::Msm => crate::msm::IOCTL.code,
        Kernel::Asahi => crate::asahi::IOCTL.code,
        Kernel::Nouveau => crate::nouveau::IOCTL.code,
        Kernel::Amdgpu => crate::amdgpu::IOCTL.code,
    }
}

/// Where the bytes lie.
pub const BASE: u64 = 0x7f12_3456_7000;

/// The memory of the process, of which only the ioctl's bytes can be read.
pub struct User<'a> {
    bytes: &'a [u8],
}

impl User<'_> {
    /// The ioctl's struct.
    pub fn argument<T: Plain>(&self) -> Checked<T> {
        Ok(self.array(BASE, 1)?[0])
    }

    /// As `copy_from_user`. An array without elements has no address.
    pub fn array<T: Plain>(&self, address: u64, count: u32) -> Checked<Vec<T>> {
        if count == 0 {
            rule(address == 0, "the address of nothing")?;
            return Ok(Vec::new());
        }
        rule(address % align_of::<T>() as u64 == 0, "misaligned")?;
        let start = address.checked_sub(BASE).ok_or("bad address")? as usize;
        let len = size_of::<T>() * count as usize;
        let end = start.checked_add(len).ok_or("bad address")?;
        let bytes = self.bytes.get(start..end).ok_or("bad address")?;
        Ok(bytes.chunks(size_of::<T>()).map(T::from_prefix).collect())
    }
}
