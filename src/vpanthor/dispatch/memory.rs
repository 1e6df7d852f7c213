//! VMs and buffer objects come and go.

use rustix::io::Errno;

use crate::drm::uapi::*;
use crate::vpanthor::bo::Bo;
use crate::vpanthor::file::File;
use crate::vpanthor::kernel::lock;
use crate::vpanthor::user_memory::UserMemory;
use crate::vpanthor::vm::Vm;

use super::query::VA_BITS;

/// Bytes of GPU address space.
const FULL_VA_RANGE: u64 = 1 << VA_BITS;
/// The least that the kernel keeps of it (`PANTHOR_VM_MIN_KERNEL_VA_SIZE`).
const MIN_KERNEL_VA_RANGE: u64 = 256 << 20;

/// The bytes, from address 0 on, that a VM's user gets who asks for `asked`; 0 asks for what the kernel thinks best. The
/// kernel's part is a power of two.
fn user_va_range(asked: u64) -> Result<u64, Errno> {
    let wanted = if asked == 0 { FULL_VA_RANGE / 2 } else { asked };
    if wanted > FULL_VA_RANGE - MIN_KERNEL_VA_RANGE {
        return Err(Errno::INVAL);
    }
    let kernel = 1u64 << (FULL_VA_RANGE - wanted).ilog2();
    Ok(FULL_VA_RANGE - kernel)
}

pub(super) fn vm_create(
    file: &File,
    args: &mut VmCreate,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    if args.flags != 0 {
        return Err(Errno::INVAL);
    }
    let range = user_va_range(args.user_va_range)?;
    let kernel = &file.kernel;
    let vm = Vm::new(
        kernel.next_vm_serial(),
        range,
        kernel.flavour().repeat_rule(),
        file.options.record_changes,
        file.faults.clone(),
        kernel.count_vm(),
    );
    args.id = lock(&file.vms).insert(vm).ok_or(Errno::BUSY)?;
    args.user_va_range = range;
    Ok(0)
}

pub(super) fn vm_destroy(
    file: &File,
    args: &mut VmDestroy,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    if args.pad != 0 {
        return Err(Errno::INVAL);
    }
    let removed = lock(&file.vms).remove(args.id);
    removed.ok_or(Errno::INVAL)?.destroy();
    Ok(0)
}

pub(super) fn vm_get_state(
    file: &File,
    args: &mut VmGetState,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    let vm = file.vm(args.vm_id).ok_or(Errno::INVAL)?;
    args.state = if vm.is_unusable() {
        VM_STATE_UNUSABLE
    } else {
        VM_STATE_USABLE
    };
    Ok(0)
}

pub(super) fn bo_create(
    file: &File,
    args: &mut BoCreate,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    let known = if file.kernel.flavour().has_bo_query_info() {
        BO_NO_MMAP | BO_WB_MMAP
    } else {
        BO_NO_MMAP
    };
    let both = BO_NO_MMAP | BO_WB_MMAP;
    if args.size == 0 || args.pad != 0 || args.flags & !known != 0 || args.flags & both == both {
        return Err(Errno::INVAL);
    }
    let exclusive = match args.exclusive_vm_id {
        0 => None,
        id => Some(file.vm(id).ok_or(Errno::INVAL)?.serial),
    };
    let bo = Bo::create(args.size, args.flags, exclusive, file.kernel.count_bo())?;
    args.size = bo.size;
    args.handle = lock(&file.bos).handle_of(bo)?;
    Ok(0)
}

pub(super) fn bo_mmap_offset(
    file: &File,
    args: &mut BoMmapOffset,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    if args.pad != 0 {
        return Err(Errno::INVAL);
    }
    let bo = file.bo(args.handle).ok_or(Errno::NOENT)?;
    if bo.flags & BO_NO_MMAP != 0 {
        return Err(Errno::PERM);
    }
    args.offset = file.kernel.mmap_offset(&bo);
    Ok(0)
}

/// No buffer object is another driver's: the model imports none.
pub(super) fn bo_query_info(
    file: &File,
    args: &mut BoQueryInfo,
    _: &dyn UserMemory,
) -> Result<u32, Errno> {
    let bo = file.bo(args.handle).ok_or(Errno::NOENT)?;
    args.pad = 0;
    args.create_flags = bo.flags;
    args.extra_flags = 0;
    Ok(0)
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
            assert_eq!(user_va_range(asked), range, "asked for {asked:#x}");
        }
    }
}
