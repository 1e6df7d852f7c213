//! VMs and buffer objects come and go.

use rustix::io::Errno;

use crate::bo::Bo;
use crate::kernel::File;
use crate::refusal::{ensure, refuse};
use crate::shared::lock;
use crate::user_memory::{Objects, UserMemory, read_string};
use crate::vm::Vm;
use panvk_sparse::uapi::*;

use super::Answer;

/// The least that the kernel keeps of it (`PANTHOR_VM_MIN_KERNEL_VA_SIZE`).
const MIN_KERNEL_VA_RANGE: u64 = 256 << 20;

/// The bytes, from address 0 on, that a VM's user gets who asks for `asked`; 0 asks for what the kernel thinks best. The
/// kernel's part is a power of two. `full`: all addresses there are.
fn user_va_range(full: u64, asked: u64) -> Result<u64, Errno> {
    let wanted = if asked == 0 { full / 2 } else { asked };
    if wanted > full - MIN_KERNEL_VA_RANGE {
        return Err(refuse(
            Errno::INVAL,
            "more addresses than the GPU has for users",
        ));
    }
    let kernel = 1u64 << (full - wanted).ilog2();
    Ok(full - kernel)
}

fn no_such_vm() -> Errno {
    refuse(Errno::INVAL, "no VM has this id")
}

fn no_such_bo() -> Errno {
    refuse(Errno::NOENT, "no buffer object has this handle")
}

pub(super) fn vm_create(file: &File, args: &mut VmCreate, _: &dyn UserMemory) -> Answer {
    ensure(args.flags == 0, "VM_CREATE takes no flags")?;
    let range = user_va_range(1 << file.kernel.identity().va_bits(), args.user_va_range)?;
    let kernel = &file.kernel;
    let vm = Vm::new(
        kernel.next_vm_serial(),
        range,
        kernel.flavour(),
        file.options.record_changes,
        file.options.small_pages,
        file.faults.clone(),
        kernel.count_vm(),
    );
    let id = lock(&file.vms).insert(vm);
    args.id = id.ok_or_else(|| refuse(Errno::BUSY, "the file has 32 VMs"))?;
    args.user_va_range = range;
    Ok(())
}

pub(super) fn vm_destroy(file: &File, args: &mut VmDestroy, _: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let removed = lock(&file.vms).remove(args.id);
    removed.ok_or_else(no_such_vm)?.destroy();
    Ok(())
}

pub(super) fn vm_get_state(file: &File, args: &mut VmGetState, _: &dyn UserMemory) -> Answer {
    let vm = file.vm(args.vm_id).ok_or_else(no_such_vm)?;
    args.state = if vm.is_unusable() {
        VM_STATE_UNUSABLE
    } else {
        VM_STATE_USABLE
    };
    Ok(())
}

pub(super) fn bo_create(file: &File, args: &mut BoCreate, _: &dyn UserMemory) -> Answer {
    let known = if file.kernel.flavour().has_bo_query_info() {
        BO_NO_MMAP | BO_WB_MMAP
    } else {
        BO_NO_MMAP
    };
    let both = BO_NO_MMAP | BO_WB_MMAP;
    ensure(args.size != 0, "a buffer object of size 0")?;
    ensure(args.pad == 0, "padding must be zero")?;
    ensure(
        args.flags & !known == 0 && args.flags & both != both,
        "flags that this kernel does not know, or NO_MMAP with WB_MMAP",
    )?;
    let exclusive = match args.exclusive_vm_id {
        0 => None,
        id => Some(file.vm(id).ok_or_else(no_such_vm)?.serial),
    };
    let small_pages = file.options.small_pages;
    let alive = file.kernel.count_bo();
    let bo = Bo::create(args.size, args.flags, exclusive, small_pages, alive)?;
    args.size = bo.size;
    args.handle = lock(&file.bos).handle_of(bo)?;
    Ok(())
}

pub(super) fn bo_mmap_offset(file: &File, args: &mut BoMmapOffset, _: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let bo = file.bo(args.handle).ok_or_else(no_such_bo)?;
    let refuses = file.kernel.flavour().refuses_offsets_of_unmappable_bos();
    if refuses && bo.flags & BO_NO_MMAP != 0 {
        return Err(refuse(Errno::PERM, "the buffer object is NO_MMAP"));
    }
    args.offset = file.kernel.mmap_offset(&bo);
    Ok(())
}

/// No buffer object is another driver's: the model imports none.
pub(super) fn bo_query_info(file: &File, args: &mut BoQueryInfo, _: &dyn UserMemory) -> Answer {
    let bo = file.bo(args.handle).ok_or_else(no_such_bo)?;
    args.pad = 0;
    args.create_flags = bo.flags;
    args.extra_flags = 0;
    Ok(())
}

/// The longest label, NUL included.
const MAX_LABEL: usize = 4096;

pub(super) fn bo_set_label(file: &File, args: &mut BoSetLabel, mem: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let bo = file.bo(args.handle).ok_or_else(no_such_bo)?;
    let label = match args.label {
        0 => None,
        addr => Some(
            read_string(mem, addr, MAX_LABEL).map_err(|errno| match errno {
                Errno::INVAL => refuse(Errno::TOOBIG, "a label has at most 4,096 bytes"),
                errno => errno,
            })?,
        ),
    };
    bo.set_label(label.map(|label| String::from_utf8_lossy(&label).into_owned()));
    Ok(())
}

pub(super) fn set_user_mmio_offset(
    file: &File,
    args: &mut SetUserMmioOffset,
    _: &dyn UserMemory,
) -> Answer {
    ensure(
        matches!(args.offset, USER_MMIO_OFFSET_32BIT | USER_MMIO_OFFSET_64BIT),
        "neither the 32-bit nor the 64-bit offset",
    )?;
    file.user_mmio_offset
        .store(args.offset, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// There is no cache between the model and its memory: all that shows is what is refused.
pub(super) fn bo_sync(file: &File, args: &mut BoSync, mem: &dyn UserMemory) -> Answer {
    let size = size_of::<BoSyncOp>();
    for bytes in Objects::read(mem, &args.ops, size, size)?.iter() {
        let op = BoSyncOp::from_prefix(bytes);
        let bo = file.bo(op.handle).ok_or_else(no_such_bo)?;
        ensure(
            matches!(
                op.r#type,
                BO_SYNC_CPU_CACHE_FLUSH | BO_SYNC_CPU_CACHE_FLUSH_AND_INVALIDATE
            ),
            "no such type of sync",
        )?;
        let end = op.offset.checked_add(op.size);
        ensure(
            end.is_some_and(|end| end <= bo.size),
            "the range exceeds the buffer object",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_keeps_a_power_of_two_of_the_address_space() {
        let table = [
            (0, Ok(1 << 47)),
            (1, Ok(1 << 47)),
            (1 << 47, Ok(1 << 47)),
            ((1 << 47) + 1, Ok((1 << 48) - (1 << 46))),
            ((1 << 48) - (256 << 20), Ok((1 << 48) - (256 << 20))),
            ((1 << 48) - (256 << 20) + 1, Err(Errno::INVAL)),
            (u64::MAX, Err(Errno::INVAL)),
        ];
        for (asked, range) in table {
            assert_eq!(user_va_range(1 << 48, asked), range, "asked for {asked:#x}");
        }
    }
}
