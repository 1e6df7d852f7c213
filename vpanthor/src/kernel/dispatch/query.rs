//! DEV_QUERY: what the GPU and its firmware say of themselves.

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::flavour::Flavour;
use crate::kernel::File;
use crate::kernel::monotonic_ns;
use crate::user_memory::{UserMemory, check_zero};
use panvk_sparse::uapi::*;

use super::Answer;
use super::group::permit;
use panvk_sparse::units::{SZ_2M, SZ_4K};

/// The timer that counts for GPU and CPU, Hz.
const TIMER_HZ: u64 = 24_000_000;

/// Bytes of `drm_panthor_timestamp_info` before 1.8.
const TIMESTAMP_INFO_SIZE_BEFORE_1_8: usize = 24;

/// Whether a timestamp query says what it wants. The fifth revision of the repeat series, which took the number 1.8 for
/// itself, grew from a 1.7 kernel.
fn has_timestamp_flags(flavour: Flavour) -> bool {
    flavour.version() >= (1, 8) && flavour.repeat_rule().is_none()
}

fn clock(id: ClockId) -> (u64, u64) {
    let now = clock_gettime(id);
    (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs())
}

/// The clocks asked for. The GPU has been idle since the beginning: its cycle counter stands at 0.
fn timestamp_info(flags: u32) -> Result<TimestampInfo, Errno> {
    const KNOWN: u32 = TIMESTAMP_GPU
        | TIMESTAMP_CPU_TYPE_MASK
        | TIMESTAMP_GPU_OFFSET
        | TIMESTAMP_GPU_CYCLE_COUNT
        | TIMESTAMP_FREQ
        | TIMESTAMP_DURATION;
    if flags & !KNOWN != 0 {
        return Err(Errno::INVAL);
    }
    let wanted = if flags == 0 {
        TIMESTAMP_GPU | TIMESTAMP_GPU_OFFSET | TIMESTAMP_FREQ
    } else {
        flags
    };
    let start = monotonic_ns();
    let mut info = TimestampInfo {
        flags,
        ..TimestampInfo::default()
    };
    if wanted & TIMESTAMP_FREQ != 0 {
        info.timestamp_frequency = TIMER_HZ;
    }
    if wanted & TIMESTAMP_GPU != 0 {
        let ticks = u128::from(start.unsigned_abs()) * u128::from(TIMER_HZ) / 1_000_000_000;
        info.current_timestamp = ticks as u64;
    }
    let cpu = match wanted & TIMESTAMP_CPU_TYPE_MASK {
        TIMESTAMP_CPU_NONE => (0, 0),
        TIMESTAMP_CPU_MONOTONIC => clock(ClockId::Monotonic),
        TIMESTAMP_CPU_MONOTONIC_RAW => clock(ClockId::MonotonicRaw),
        _ => return Err(Errno::INVAL),
    };
    (info.cpu_timestamp_sec, info.cpu_timestamp_nsec) = cpu;
    if wanted & TIMESTAMP_DURATION != 0 {
        let duration = monotonic_ns().saturating_sub(start);
        info.duration_nsec = u32::try_from(duration).unwrap_or(u32::MAX);
    }
    Ok(info)
}

/// The GPU as this kernel describes it: which coherency was selected is said since 1.7, and the first version's struct
/// ends before `gpu_features`.
fn gpu_info(file: &File) -> Vec<u8> {
    let flavour = file.kernel.flavour();
    let mut info = file.kernel.identity().gpu_info();
    if !flavour.has_bo_query_info() {
        info.selected_coherency = 0;
    }
    let mut bytes = info.as_bytes().to_vec();
    if flavour == Flavour::V1_0 {
        bytes.truncate(std::mem::offset_of!(GpuInfo, gpu_features));
    }
    bytes
}

/// Copies an answer out. A caller whose struct is shorter gets less, but not less than the first version had; one whose
/// struct is longer gets zeros at the end (`panthor_set_uobj`).
fn answer(
    args: &DevQuery,
    mem: &dyn UserMemory,
    min_size: usize,
    ours: &[u8],
) -> Result<(), Errno> {
    let size = args.size as usize;
    if size < min_size {
        return Err(Errno::INVAL);
    }
    mem.write(args.pointer, &ours[..ours.len().min(size)])?;
    const ZEROS: [u8; 256] = [0; 256];
    let mut at = ours.len();
    while at < size {
        let len = (size - at).min(ZEROS.len());
        let addr = args.pointer.checked_add(at as u64).ok_or(Errno::FAULT)?;
        mem.write(addr, &ZEROS[..len])?;
        at += len;
    }
    Ok(())
}

/// The flags that a caller of 1.8 passes in the struct that it wants filled.
fn timestamp_flags(args: &DevQuery, mem: &dyn UserMemory) -> Result<u32, Errno> {
    let size = args.size as usize;
    let common = size.min(size_of::<TimestampInfo>());
    let mut info = TimestampInfo::default();
    if size > common {
        let surplus = args.pointer.checked_add(common as u64);
        check_zero(mem, surplus, size - common, &mut Vec::new())?;
    }
    mem.read(args.pointer, &mut info.as_bytes_mut()[..common])?;
    Ok(info.flags)
}

pub(super) fn dev_query(file: &File, args: &mut DevQuery, mem: &dyn UserMemory) -> Answer {
    let flavour = file.kernel.flavour();
    let full_timestamp = has_timestamp_flags(flavour);
    let gpu_info = gpu_info(file);
    let size = match args.r#type {
        DEV_QUERY_GPU_INFO => gpu_info.len(),
        DEV_QUERY_CSIF_INFO => size_of::<CsifInfo>(),
        DEV_QUERY_TIMESTAMP_INFO if full_timestamp => size_of::<TimestampInfo>(),
        DEV_QUERY_TIMESTAMP_INFO if flavour.version() >= (1, 1) => TIMESTAMP_INFO_SIZE_BEFORE_1_8,
        DEV_QUERY_GROUP_PRIORITIES_INFO if flavour.version() >= (1, 2) => {
            size_of::<GroupPrioritiesInfo>()
        }
        DEV_QUERY_MMU_INFO if flavour.has_mmu_info() => size_of::<MmuInfo>(),
        _ => return Err(Errno::INVAL),
    };
    if args.pointer == 0 {
        args.size = size as u32;
        return Ok(());
    }
    match args.r#type {
        DEV_QUERY_GPU_INFO => {
            let min = std::mem::offset_of!(GpuInfo, core_features);
            answer(args, mem, min, &gpu_info)?;
        }
        DEV_QUERY_CSIF_INFO => answer(
            args,
            mem,
            size,
            file.kernel.identity().csif_info().as_bytes(),
        )?,
        DEV_QUERY_TIMESTAMP_INFO => {
            let min = std::mem::offset_of!(TimestampInfo, timestamp_offset);
            let flags = if full_timestamp {
                timestamp_flags(args, mem)?
            } else {
                0
            };
            let info = timestamp_info(flags)?;
            answer(args, mem, min, &info.as_bytes()[..size])?;
        }
        DEV_QUERY_GROUP_PRIORITIES_INFO => {
            let allowed = (0..=GROUP_PRIORITY_REALTIME).filter(|one| permit(file, *one).is_ok());
            let info = GroupPrioritiesInfo {
                allowed_mask: allowed.fold(0, |mask, one| mask | 1 << one),
                pad: [0; 3],
            };
            answer(args, mem, size, info.as_bytes())?;
        }
        _ => {
            let info = MmuInfo {
                page_size_bitmap: SZ_4K | SZ_2M,
            };
            answer(args, mem, size, info.as_bytes())?;
        }
    }
    Ok(())
}
