//! What panthor looks at in one `VM_BIND` op before it touches the VM, and in which order.
//!
//! Every refusal is `EINVAL`, so the order shows in two places only: a sync op on a synchronous bind is refused even where
//! the size is 0, and a synchronous op of size 0 is a success whatever else it says.

use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use panvk_sparse::uapi::{
    VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_READONLY, VM_BIND_OP_MAP_REPEAT, VM_BIND_OP_MAP_SPARSE,
    VM_BIND_OP_MAP_UNCACHED, VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_SYNC_ONLY,
    VM_BIND_OP_TYPE_UNMAP,
};
use panvk_sparse::units::SZ_4K;

use super::bo::Bo;
use super::flavour::{Flavour, RepeatRule};
use super::gpuvm::Gpuvm;
use super::mapping::{MapFlags, Source};
use super::refusal::{ensure, refuse};

/// The fields of a `struct drm_panthor_vm_bind_op` that are looked at here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOp {
    /// Type and flags, raw.
    pub flags: u32,
    /// GEM handle, 0 for none.
    pub bo_handle: u32,
    /// Bytes.
    pub bo_offset: u64,
    /// Where it starts.
    pub va: u64,
    /// Bytes.
    pub size: u64,
    /// How many sync ops there are.
    pub sync_count: u32,
    /// Bytes; 0 where the op is too short to have the field.
    pub repeat_range: u64,
}

/// How the ops of a `VM_BIND` run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One after another, before the ioctl returns.
    Sync,
    /// Queued, with sync ops.
    Async,
}

/// The VM that an op is for, and what surrounds it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The kernel.
    pub flavour: Flavour,
    /// Told from others because a buffer object can be exclusive to one.
    pub vm_id: u32,
    /// Bytes, see [`Gpuvm::user_va_range`].
    pub user_va_range: u64,
    /// The buffer object of a handle. Never asked for handle 0.
    pub bo: &'a dyn Fn(u32) -> Option<Arc<Bo>>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("flavour", &self.flavour)
            .field("vm_id", &self.vm_id)
            .field("user_va_range", &self.user_va_range)
            .finish_non_exhaustive()
    }
}

/// An op that passed.
#[derive(Clone, Debug)]
pub enum Validated {
    /// A synchronous op of size 0.
    Nothing,
    /// Arguments of [`Gpuvm::map`].
    Map {
        /// Where it starts.
        va: u64,
        /// Bytes.
        size: u64,
        /// What it shows.
        source: Source,
        /// How the GPU may use it.
        flags: MapFlags,
    },
    /// Arguments of [`Gpuvm::unmap`].
    Unmap {
        /// Where it starts.
        va: u64,
        /// Bytes.
        size: u64,
    },
    /// Only the sync ops count.
    SyncOnly,
}

impl Validated {
    /// Does what the op asks for.
    ///
    /// # Errors
    /// As [`Gpuvm::map`] and [`Gpuvm::unmap`]; nothing has changed then.
    pub fn apply(self, vm: &mut Gpuvm) -> Result<(), Errno> {
        match self {
            Validated::Map {
                va,
                size,
                source,
                flags,
            } => vm.map(va, size, source, flags),
            Validated::Unmap { va, size } => vm.unmap(va, size),
            Validated::Nothing | Validated::SyncOnly => Ok(()),
        }
    }
}

/// Checks one op as `panthor_vm_bind_exec_sync_op`, `panthor_vm_bind_prepare_op_ctx` and what they call do.
///
/// The state of the VM does not matter here: that an unusable VM takes no maps is its owner's to say.
///
/// # Errors
/// `EINVAL`, whatever the reason. A repeat range that is no multiple of 4 KiB, or of 4 GiB or more, is refused too: the
/// series' kernels let the one pass and then write a broken page table, and keep the other in 32 bits.
pub fn validate(op: &BindOp, mode: Mode, context: &Context<'_>) -> Result<Validated, Errno> {
    if mode == Mode::Sync {
        ensure(op.sync_count == 0, "a synchronous bind takes no sync ops")?;
        if op.size == 0 {
            return Ok(Validated::Nothing);
        }
    }
    let &BindOp { va, size, .. } = op;
    ensure(
        (va | size | op.bo_offset) % SZ_4K == 0,
        "va, size and bo_offset must be multiples of 4 KiB",
    )?;
    ensure(
        va < context.user_va_range && size <= context.user_va_range - va,
        "the range exceeds the VM's user addresses",
    )?;

    let repeats = op.flags & VM_BIND_OP_MAP_REPEAT != 0;
    if context.flavour.repeat_rule() == Some(RepeatRule::V5) {
        ensure(
            repeats || op.repeat_range == 0,
            "bo_repeat_range without the REPEAT flag",
        )?;
    }
    let flags = op.flags & !VM_BIND_OP_TYPE_MASK;
    let names_bo = op.bo_handle != 0 || op.bo_offset != 0;
    match op.flags & VM_BIND_OP_TYPE_MASK {
        VM_BIND_OP_TYPE_MAP => {
            let source = validate_map(op, flags, context)?;
            Ok(Validated::Map {
                va,
                size,
                source,
                flags: MapFlags::from_op_flags(flags),
            })
        }
        VM_BIND_OP_TYPE_UNMAP => {
            ensure(
                flags == 0 && !names_bo,
                "an UNMAP takes no flags, handle or offset",
            )?;
            Ok(Validated::Unmap { va, size })
        }
        VM_BIND_OP_TYPE_SYNC_ONLY if mode == Mode::Async => {
            ensure(
                flags == 0 && !names_bo,
                "a SYNC_ONLY takes no flags, handle or offset",
            )?;
            ensure(
                va == 0 && size == 0 && op.sync_count != 0,
                "a SYNC_ONLY takes sync ops and no range",
            )?;
            Ok(Validated::SyncOnly)
        }
        _ => Err(refuse(
            Errno::INVAL,
            "no such type of op in this kind of bind",
        )),
    }
}

/// What a map shows.
fn validate_map(op: &BindOp, flags: u32, context: &Context<'_>) -> Result<Source, Errno> {
    let flavour = context.flavour;
    let (can_repeat, can_sparse) = (flavour.repeat_rule().is_some(), flavour.has_sparse());
    let mut known = VM_BIND_OP_MAP_READONLY | VM_BIND_OP_MAP_NOEXEC | VM_BIND_OP_MAP_UNCACHED;
    if can_repeat {
        known |= VM_BIND_OP_MAP_REPEAT;
    }
    if can_sparse {
        known |= VM_BIND_OP_MAP_SPARSE;
    }
    ensure(flags & !known == 0, "a flag that this kernel does not know")?;

    if can_sparse && flags & VM_BIND_OP_MAP_SPARSE != 0 {
        ensure(
            flags & VM_BIND_OP_MAP_NOEXEC != 0,
            "a SPARSE map must be NOEXEC",
        )?;
        ensure(
            op.bo_handle == 0 && op.bo_offset == 0,
            "a SPARSE map takes no handle or offset",
        )?;
        return Ok(Source::Sparse);
    }

    let bo = match op.bo_handle {
        0 => None,
        handle => (context.bo)(handle),
    };
    let bo = bo.ok_or_else(|| refuse(Errno::INVAL, "no buffer object has this handle"))?;
    ensure(
        bo.exclusive_vm.is_none_or(|vm| vm == context.vm_id),
        "the buffer object is exclusive to another VM",
    )?;
    let offset = op.bo_offset;
    let fits = |len: u64| offset <= bo.size && len <= bo.size - offset;
    if can_repeat && flags & VM_BIND_OP_MAP_REPEAT != 0 {
        let range = op.repeat_range;
        ensure(
            range != 0 && range % SZ_4K == 0 && u32::try_from(range).is_ok(),
            "bo_repeat_range must be pages, at least one, below 4 GiB",
        )?;
        ensure(
            fits(range) && op.size % range == 0,
            "bo_repeat_range must lie in the buffer object and divide size",
        )?;
        return Ok(Source::Repeat { bo, offset, range });
    }
    ensure(fits(op.size), "the range exceeds the buffer object")?;
    Ok(Source::Bo { bo, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use panvk_sparse::uapi::VM_BIND_OP_TYPE_SYNC_ONLY;
    use panvk_sparse::units::SZ_64K;

    const USER: u64 = 1 << 47;
    const NOEXEC: u32 = VM_BIND_OP_MAP_NOEXEC;
    const BIT_3: u32 = VM_BIND_OP_MAP_REPEAT;

    /// A map of all of BO 1, which has 64 KiB.
    fn map() -> BindOp {
        BindOp {
            flags: NOEXEC,
            bo_handle: 1,
            va: SZ_64K,
            size: SZ_64K,
            ..BindOp::default()
        }
    }

    /// BO 1, of which 4 KiB are repeated.
    fn repeat() -> BindOp {
        BindOp {
            flags: NOEXEC | BIT_3,
            repeat_range: SZ_4K,
            ..map()
        }
    }

    fn sparse() -> BindOp {
        BindOp {
            flags: NOEXEC | BIT_3,
            bo_handle: 0,
            ..map()
        }
    }

    fn unmap() -> BindOp {
        BindOp {
            flags: VM_BIND_OP_TYPE_UNMAP,
            bo_handle: 0,
            ..map()
        }
    }

    fn sync_only() -> BindOp {
        BindOp {
            flags: VM_BIND_OP_TYPE_SYNC_ONLY,
            sync_count: 1,
            ..BindOp::default()
        }
    }

    fn check(flavour: Flavour, mode: Mode, op: &BindOp) -> Result<Validated, Errno> {
        let bo = |handle: u32| match handle {
            1 => Some(Arc::new(Bo::new(1, SZ_64K, None))),
            2 => Some(Arc::new(Bo::new(2, SZ_64K, Some(2)))),
            3 => Some(Arc::new(Bo::new(3, SZ_64K, Some(3)))),
            _ => None,
        };
        let context = Context {
            flavour,
            vm_id: 2,
            user_va_range: USER,
            bo: &bo,
        };
        validate(op, mode, &context)
    }

    fn passes(flavour: Flavour, op: &BindOp) -> bool {
        let results = [Mode::Sync, Mode::Async].map(|mode| check(flavour, mode, op));
        assert_eq!(results[0].is_ok(), results[1].is_ok(), "{flavour} {op:x?}");
        if let Err(errno) = &results[0] {
            assert_eq!(*errno, Errno::INVAL);
        }
        results[0].is_ok()
    }

    #[test]
    fn each_flavour_takes_its_own_null_map_only() {
        for flavour in Flavour::ALL {
            assert!(passes(flavour, &map()), "{flavour}");
            assert!(passes(flavour, &unmap()), "{flavour}");
            let repeats = matches!(flavour, Flavour::V1_6Repeat | Flavour::V1_8Repeat);
            assert_eq!(passes(flavour, &repeat()), repeats, "{flavour}");
            assert_eq!(passes(flavour, &sparse()), flavour == Flavour::V1_9);
        }
    }

    #[test]
    fn what_is_wrong_with_any_op_is_refused() {
        let wrong: [(&str, BindOp); 16] = [
            ("va", BindOp { va: 1, ..map() }),
            ("size", BindOp { size: 1, ..map() }),
            (
                "offset",
                BindOp {
                    bo_offset: 1,
                    ..map()
                },
            ),
            ("va at the end", BindOp { va: USER, ..map() }),
            (
                "va + size beyond the end",
                BindOp {
                    va: USER - SZ_4K,
                    ..map()
                },
            ),
            (
                "va + size overflows",
                BindOp {
                    va: SZ_64K,
                    size: 0u64.wrapping_sub(SZ_4K),
                    ..map()
                },
            ),
            (
                "handle 0",
                BindOp {
                    bo_handle: 0,
                    ..map()
                },
            ),
            (
                "unknown handle",
                BindOp {
                    bo_handle: 9,
                    ..map()
                },
            ),
            (
                "other VM's",
                BindOp {
                    bo_handle: 3,
                    ..map()
                },
            ),
            (
                "beyond the BO",
                BindOp {
                    bo_offset: SZ_4K,
                    ..map()
                },
            ),
            (
                "offset + size overflows",
                BindOp {
                    bo_offset: 0u64.wrapping_sub(SZ_64K),
                    ..map()
                },
            ),
            (
                "unknown flag",
                BindOp {
                    flags: 1 << 4,
                    ..map()
                },
            ),
            (
                "unknown type",
                BindOp {
                    flags: 3 << 28,
                    ..map()
                },
            ),
            (
                "unmap with a handle",
                BindOp {
                    bo_handle: 1,
                    ..unmap()
                },
            ),
            (
                "unmap with an offset",
                BindOp {
                    bo_offset: SZ_4K,
                    ..unmap()
                },
            ),
            (
                "unmap with a flag",
                BindOp {
                    flags: VM_BIND_OP_TYPE_UNMAP | NOEXEC,
                    ..unmap()
                },
            ),
        ];
        for flavour in Flavour::ALL {
            for (what, op) in &wrong {
                assert!(!passes(flavour, op), "{flavour}: {what}");
            }
        }
        let own = BindOp {
            bo_handle: 2,
            ..map()
        };
        let last_page = BindOp {
            va: USER - SZ_4K,
            size: SZ_4K,
            ..map()
        };
        assert!(passes(Flavour::V1_9, &own) && passes(Flavour::V1_9, &last_page));
    }

    #[test]
    fn what_is_wrong_with_a_sparse_map_is_refused() {
        for op in [
            BindOp {
                flags: BIT_3,
                ..sparse()
            },
            BindOp {
                bo_handle: 1,
                ..sparse()
            },
            BindOp {
                bo_offset: SZ_4K,
                ..sparse()
            },
        ] {
            assert!(!passes(Flavour::V1_9, &op), "{op:x?}");
        }
        assert!(passes(
            Flavour::V1_9,
            &BindOp {
                flags: 0b1111,
                ..sparse()
            }
        ));
    }

    #[test]
    fn what_is_wrong_with_a_repeat_range_is_refused() {
        for flavour in [Flavour::V1_6Repeat, Flavour::V1_8Repeat] {
            for range in [0, 512, 3 * SZ_4K, 2 * SZ_64K, (1 << 32) + SZ_4K] {
                let op = BindOp {
                    repeat_range: range,
                    ..repeat()
                };
                assert!(!passes(flavour, &op), "{flavour} {range:#x}");
            }
            let at_the_end = BindOp {
                bo_offset: SZ_64K - SZ_4K,
                ..repeat()
            };
            let beyond = BindOp {
                bo_offset: SZ_64K,
                ..repeat()
            };
            assert!(passes(flavour, &at_the_end) && !passes(flavour, &beyond));
        }
    }

    #[test]
    fn a_range_without_the_flag_is_ignored_by_v4_and_refused_by_v5() {
        let op = BindOp {
            flags: NOEXEC,
            ..repeat()
        };
        assert!(passes(Flavour::V1_6Repeat, &op) && !passes(Flavour::V1_8Repeat, &op));
    }

    #[test]
    fn a_synchronous_op_takes_no_syncs_and_nothing_of_size_0_matters() {
        let nothing = BindOp {
            flags: !0,
            bo_handle: 9,
            va: 1,
            size: 0,
            ..map()
        };
        let result = check(Flavour::V1_5, Mode::Sync, &nothing);
        assert!(matches!(result, Ok(Validated::Nothing)));
        let synced = BindOp {
            sync_count: 1,
            ..nothing
        };
        assert_eq!(
            check(Flavour::V1_5, Mode::Sync, &synced).err(),
            Some(Errno::INVAL)
        );
        assert_eq!(
            check(Flavour::V1_5, Mode::Async, &nothing).err(),
            Some(Errno::INVAL)
        );
    }

    #[test]
    fn sync_only_is_for_asynchronous_binds_and_must_be_just_that() {
        let run = |mode, op: BindOp| check(Flavour::V1_8Repeat, mode, &op);
        assert!(matches!(
            run(Mode::Async, sync_only()),
            Ok(Validated::SyncOnly)
        ));
        for op in [
            BindOp {
                sync_count: 0,
                ..sync_only()
            },
            BindOp {
                va: SZ_4K,
                ..sync_only()
            },
            BindOp {
                size: SZ_4K,
                ..sync_only()
            },
            BindOp {
                bo_handle: 1,
                ..sync_only()
            },
            BindOp {
                flags: VM_BIND_OP_TYPE_SYNC_ONLY | NOEXEC,
                ..sync_only()
            },
        ] {
            assert_eq!(run(Mode::Async, op).err(), Some(Errno::INVAL), "{op:x?}");
        }
        let unsynced = BindOp {
            sync_count: 0,
            size: SZ_4K,
            ..sync_only()
        };
        assert_eq!(run(Mode::Sync, unsynced).err(), Some(Errno::INVAL));
    }
}
