//! A page table that takes operations one page at a time, and refuses what a kernel would refuse.

use std::collections::BTreeMap;

use crate::uapi::{
    VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_SYNC_ONLY,
    VM_BIND_OP_TYPE_UNMAP, VmBindOpRepeat,
};
use crate::units::SZ_4K;

/// The kernels in the field, as far as VM_BIND goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Mainline before 1.9: no null mapping of its own.
    Mainline,
    /// The repeat series, v4: a mapping may be split at any page.
    RepeatV4,
    /// The repeat series, v5: only at multiples of the range.
    RepeatV5,
    /// Mainline 1.9.
    Sparse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Of any dummy.
    Dummy,
    Memory {
        bo: u32,
        offset: u64,
    },
}

pub const DUMMY: u32 = 1;
const BIT_3: u32 = 1 << 3;

/// One VM. A mapping that repeats is remembered whole, for the rule of v5.
pub struct PageTable {
    pub kernel: Kernel,
    /// Size of each buffer object by handle.
    pub bos: BTreeMap<u32, u64>,
    pub pages: BTreeMap<u64, Page>,
    /// By start: end and repeat range.
    repeats: BTreeMap<u64, (u64, u64)>,
}

impl PageTable {
    pub fn new(kernel: Kernel, bos: BTreeMap<u32, u64>) -> Self {
        PageTable {
            kernel,
            bos,
            pages: BTreeMap::new(),
            repeats: BTreeMap::new(),
        }
    }

    /// Applies an operation of `stride` bytes, or says why the kernel would not.
    pub fn apply(&mut self, op: &VmBindOpRepeat, stride: usize) -> Result<(), String> {
        self.check(op, stride)
            .and_then(|()| self.cut_repeats(op))
            .map_err(|why| format!("{why}: {op:x?}"))?;
        let VmBindOpRepeat {
            op,
            bo_repeat_range,
        } = *op;
        for at in (op.va..op.va + op.size).step_by(SZ_4K as usize) {
            if op.flags & VM_BIND_OP_TYPE_MASK == VM_BIND_OP_TYPE_UNMAP {
                self.pages.remove(&at);
                continue;
            }
            let page = match op.bo_handle {
                0 | DUMMY => Page::Dummy,
                bo => Page::Memory {
                    bo,
                    offset: op.bo_offset + (at - op.va),
                },
            };
            self.pages.insert(at, page);
        }
        if op.flags & BIT_3 != 0 && bo_repeat_range != 0 {
            self.repeats
                .insert(op.va, (op.va + op.size, bo_repeat_range));
        }
        Ok(())
    }

    fn check(&self, op: &VmBindOpRepeat, stride: usize) -> Result<(), &'static str> {
        let VmBindOpRepeat {
            op,
            bo_repeat_range: range,
        } = *op;
        let repeats = matches!(self.kernel, Kernel::RepeatV4 | Kernel::RepeatV5);
        let rule = |holds: bool, why| if holds { Ok(()) } else { Err(why) };
        rule(stride == 48 || stride == 56 && repeats, "stride")?;
        rule(
            stride == 56 || range == 0,
            "a range that 48 bytes don't hold",
        )?;
        let kind = op.flags & VM_BIND_OP_TYPE_MASK;
        if kind == VM_BIND_OP_TYPE_SYNC_ONLY {
            return rule(
                op.va == 0 && op.size == 0 && op.syncs.count > 0,
                "SYNC_ONLY",
            );
        }
        rule(op.size > 0, "size 0")?;
        rule((op.va | op.size | op.bo_offset) % SZ_4K == 0, "alignment")?;
        rule(
            op.va.checked_add(op.size).is_some_and(|end| end <= 1 << 47),
            "beyond the VM",
        )?;
        if kind == VM_BIND_OP_TYPE_UNMAP {
            return rule(
                op.flags == kind && op.bo_handle == 0 && op.bo_offset == 0 && range == 0,
                "UNMAP",
            );
        }
        rule(kind == VM_BIND_OP_TYPE_MAP, "type")?;
        rule(
            op.flags & VM_BIND_OP_MAP_NOEXEC != 0,
            "a mapping that can be executed",
        )?;
        rule(op.flags & !(VM_BIND_OP_MAP_NOEXEC | BIT_3) == 0, "flags")?;
        if op.flags & BIT_3 == 0 {
            let size = self.bos.get(&op.bo_handle).ok_or("handle")?;
            rule(
                op.bo_offset
                    .checked_add(op.size)
                    .is_some_and(|end| end <= *size),
                "beyond the BO",
            )?;
            return rule(range == 0, "a range without the flag");
        }
        match self.kernel {
            Kernel::Mainline => Err("unknown flag"),
            Kernel::Sparse => rule(op.bo_handle == 0 && op.bo_offset == 0, "SPARSE"),
            Kernel::RepeatV4 | Kernel::RepeatV5 => {
                let size = self.bos.get(&op.bo_handle).ok_or("handle")?;
                rule(range > 0 && range % SZ_4K == 0, "a range that is no pages")?;
                rule(
                    op.bo_offset
                        .checked_add(range)
                        .is_some_and(|end| end <= *size),
                    "range beyond the BO",
                )?;
                rule(op.size % range == 0, "size is no multiple of the range")
            }
        }
    }

    /// What an operation leaves of the repeating mappings under it.
    fn cut_repeats(&mut self, op: &VmBindOpRepeat) -> Result<(), &'static str> {
        let (from, to) = (op.op.va, op.op.va + op.op.size);
        let under: Vec<_> = self
            .repeats
            .range(..to)
            .map(|(&start, &(end, range))| (start, end, range))
            .filter(|&(_, end, _)| end > from)
            .collect();
        for &(start, end, range) in &under {
            let cut_well = |at: u64| at <= start || at >= end || (at - start) % range == 0;
            if self.kernel == Kernel::RepeatV5 && !(cut_well(from) && cut_well(to)) {
                return Err("splits a repeated mapping inside the range");
            }
        }
        for (start, end, range) in under {
            self.repeats.remove(&start);
            if start < from {
                self.repeats.insert(start, (from, range));
            }
            if end > to {
                self.repeats.insert(to, (end, range));
            }
        }
        Ok(())
    }
}

#[test]
fn the_page_table_refuses_what_kernels_refuse() {
    use crate::uapi::VmBindOp;
    let op = |flags, bo_handle, size, range| VmBindOpRepeat {
        op: VmBindOp {
            flags,
            bo_handle,
            va: 1 << 20,
            size,
            ..VmBindOp::default()
        },
        bo_repeat_range: range,
    };
    let table = |kernel| PageTable::new(kernel, [(DUMMY, 4 * SZ_4K)].into());
    let mut v5 = table(Kernel::RepeatV5);
    assert!(
        v5.apply(&op(BIT_3 | 2, DUMMY, 8 * SZ_4K, 4 * SZ_4K), 56)
            .is_ok()
    );
    assert!(
        v5.apply(&op(2, DUMMY, SZ_4K, 0), 48)
            .unwrap_err()
            .contains("splits")
    );
    assert!(v5.apply(&op(2, DUMMY, 4 * SZ_4K, 0), 48).is_ok());
    assert!(
        v5.apply(&op(BIT_3 | 2, DUMMY, 6 * SZ_4K, 4 * SZ_4K), 56)
            .is_err()
    );
    assert!(
        v5.apply(&op(BIT_3 | 2, DUMMY, 16 * SZ_4K, 8 * SZ_4K), 56)
            .is_err()
    );
    assert!(v5.apply(&op(0, DUMMY, SZ_4K, 0), 48).is_err());
    assert!(v5.apply(&op(2, DUMMY, 0, 0), 48).is_err());
    assert!(
        table(Kernel::Mainline)
            .apply(&op(BIT_3 | 2, 0, SZ_4K, 0), 48)
            .is_err()
    );
    assert!(
        table(Kernel::Mainline)
            .apply(&op(2, DUMMY, SZ_4K, 0), 56)
            .is_err()
    );
    assert!(
        table(Kernel::Mainline)
            .apply(&op(2, DUMMY, 5 * SZ_4K, 0), 48)
            .is_err()
    );
    assert!(
        table(Kernel::Sparse)
            .apply(&op(BIT_3 | 2, DUMMY, SZ_4K, 0), 48)
            .is_err()
    );
    assert!(
        table(Kernel::Sparse)
            .apply(&op(BIT_3 | 2, 0, SZ_4K, 0), 48)
            .is_ok()
    );
}
