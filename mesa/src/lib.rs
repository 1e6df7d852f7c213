//! The C ABI of the component: `panvk_sparse.h` says what each function does. Here are the functions.
//!
//! The component has no lock, so each [`PvsVm`] has one.
#![deny(unsafe_op_in_unsafe_fn)]

mod bind;
mod border;
pub mod types;

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use panvk_sparse::bind::SparseRange;
use panvk_sparse::drm::{Capabilities, Device, probe};
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::{BoHandle, Va, VmId};
use panvk_sparse::vm::{Initial, SparseVm, VmError};
use rustix::io::Errno;

use bind::Scratch;
use border::{Failure, Logger, enter};
use types::{PVS_ABI, PVS_RANGE_RESIDENT, PvsBatch, PvsDeviceInfo, PvsRange, PvsStats, PvsVmInfo};

/// `struct pvs_device`.
#[derive(Debug)]
pub struct PvsDevice {
    logger: Logger,
    capabilities: Capabilities,
    strategy: Strategy,
}

/// `struct pvs_vm`.
#[derive(Debug)]
pub struct PvsVm {
    logger: Logger,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    vm: SparseVm,
    scratch: Scratch,
}

impl PvsVm {
    /// Runs `body` with the lock. Once one has panicked, nobody knows the state of the VM.
    fn locked<R>(&self, body: impl FnOnce(&mut State) -> Result<R, Failure>) -> Result<R, Failure> {
        let lost = |_| VmError::Lost("the VM is in an unknown state after a panic".to_owned());
        body(&mut *self.state.lock().map_err(lost)?)
    }
}

const NO_LOG: Logger = Logger {
    log: None,
    data: std::ptr::null_mut(),
};

fn null(argument: &str) -> Failure {
    Failure::invalid(format!("{argument} is NULL"))
}

fn check_abi(of: &str, abi: u32, reserved: u32) -> Result<(), Failure> {
    if abi != PVS_ABI {
        return Err(Failure::invalid(format!(
            "{of}.abi is {abi}, expected {PVS_ABI}"
        )));
    }
    if reserved != 0 {
        return Err(Failure::invalid(format!(
            "{of}.reserved is {reserved}, expected 0"
        )));
    }
    Ok(())
}

fn strategy_of(number: u32) -> Result<Option<Strategy>, Failure> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Strategy::Sparse)),
        2 => Ok(Some(Strategy::Repeat)),
        3 => Ok(Some(Strategy::Chunk)),
        4 => Ok(Some(Strategy::Page)),
        _ => Err(Failure::invalid(format!(
            "pvs_device_info.strategy is {number}, expected 0 to 4"
        ))),
    }
}

fn number_of(strategy: Strategy) -> u32 {
    match strategy {
        Strategy::Sparse => 1,
        Strategy::Repeat => 2,
        Strategy::Chunk => 3,
        Strategy::Page => 4,
    }
}

/// A file of our own of the caller's open node.
///
/// # Safety
/// `fd` is negative, or an open file during this call.
unsafe fn adopt(fd: RawFd) -> Result<Device, Failure> {
    if fd < 0 {
        return Err(Failure::invalid(format!(
            "fd is {fd}, expected an open render node"
        )));
    }
    // SAFETY: the caller's contract.
    let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
    let ours = theirs.try_clone_to_owned().map_err(|error| Failure {
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        message: format!("cannot duplicate the file descriptor {fd}: {error}"),
    })?;
    Ok(Device::adopt(
        ours,
        &PathBuf::from(format!("file descriptor {fd}")),
    )?)
}

/// # Safety
/// `info` and `out` are NULL or valid, and what `info` says is so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_device_create(
    info: *const PvsDeviceInfo,
    out: *mut *mut PvsDevice,
) -> c_int {
    // SAFETY: the caller's contract.
    let (info, out) = unsafe { (info.as_ref(), out.as_mut()) };
    let logger = info.map_or(NO_LOG, |info| Logger {
        log: info.log,
        data: info.log_data,
    });
    enter(logger, || {
        let info = info.ok_or_else(|| null("info"))?;
        let out = out.ok_or_else(|| null("device"))?;
        check_abi("pvs_device_info", info.abi, info.reserved)?;
        let choice = strategy_of(info.strategy)?;
        // SAFETY: the caller's contract.
        let capabilities = probe(&unsafe { adopt(info.fd) }?)?;
        let strategy = capabilities.choose(choice)?;
        *out = Box::into_raw(Box::new(PvsDevice {
            logger,
            capabilities,
            strategy,
        }));
        Ok(())
    })
}

/// # Safety
/// `device` is NULL, or of `pvs_device_create` and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_device_destroy(device: *mut PvsDevice) {
    if !device.is_null() {
        // SAFETY: the caller's contract.
        let device = unsafe { Box::from_raw(device) };
        enter(device.logger, || {
            drop(device);
            Ok(())
        });
    }
}

/// # Safety
/// All pointers are NULL or valid, `device` is of `pvs_device_create`, and what `info` says is so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_vm_create(
    device: *const PvsDevice,
    info: *const PvsVmInfo,
    out: *mut *mut PvsVm,
) -> c_int {
    // SAFETY: the caller's contract.
    let (device, info, out) = unsafe { (device.as_ref(), info.as_ref(), out.as_mut()) };
    let logger = device.map_or(NO_LOG, |device| device.logger);
    enter(logger, || {
        let device = device.ok_or_else(|| null("device"))?;
        let info = info.ok_or_else(|| null("info"))?;
        let out = out.ok_or_else(|| null("vm"))?;
        check_abi("pvs_vm_info", info.abi, info.reserved)?;
        // SAFETY: the caller's contract.
        let file = unsafe { adopt(info.fd) }?;
        let id = VmId(info.vm_id);
        let null = device
            .capabilities
            .null_map_of(&file, Some(device.strategy), Some(id))?;
        let vm = SparseVm::new(file.adopt_vm(id, info.va_end), null);
        let scratch = Scratch::default();
        *out = Box::into_raw(Box::new(PvsVm {
            logger,
            state: Mutex::new(State { vm, scratch }),
        }));
        Ok(())
    })
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create` and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_vm_destroy(vm: *mut PvsVm) {
    if !vm.is_null() {
        // SAFETY: the caller's contract.
        let vm = unsafe { Box::from_raw(vm) };
        enter(vm.logger, || {
            drop(vm);
            Ok(())
        });
    }
}

/// Runs `body` with the lock of `vm`.
///
/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`.
unsafe fn with_vm(vm: *const PvsVm, body: impl FnOnce(&mut State) -> Result<(), Failure>) -> c_int {
    // SAFETY: the caller's contract.
    match unsafe { vm.as_ref() } {
        Some(vm) => enter(vm.logger, || vm.locked(body)),
        None => -Errno::INVAL.raw_os_error(),
    }
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`; `range` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_range_add(vm: *mut PvsVm, range: *const PvsRange) -> c_int {
    // SAFETY: the caller's contract.
    let range = unsafe { range.as_ref() };
    let body = |state: &mut State| {
        let range = range.ok_or_else(|| null("range"))?;
        if range.flags & !PVS_RANGE_RESIDENT != 0 || range.pad != 0 {
            return Err(Failure::invalid(format!(
                "pvs_range.flags is {:#x} and pad is {}, expected no flag beside PVS_RANGE_RESIDENT, and 0",
                range.flags, range.pad
            )));
        }
        let initial = match range.flags & PVS_RANGE_RESIDENT {
            0 => Initial::Unknown,
            _ => Initial::Unbound,
        };
        let reserved = match range.reserved {
            0 => range.size,
            reserved => reserved,
        };
        let range = SparseRange::new(Va(range.va), range.size, range.granularity);
        Ok(state.vm.add_range(range.reserving(reserved), initial)?)
    };
    // SAFETY: the caller's contract.
    unsafe { with_vm(vm, body) }
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_range_remove(vm: *mut PvsVm, va: u64) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { with_vm(vm, |state| Ok(state.vm.remove_range(Va(va))?)) }
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_bo_gone(vm: *mut PvsVm, bo_handle: u32) {
    let body = |state: &mut State| {
        state.vm.memory_gone(BoHandle(bo_handle));
        Ok(())
    };
    // SAFETY: the caller's contract.
    unsafe { with_vm(vm, body) };
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`. The arrays are NULL, or as long as the counts say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_bind(
    vm: *mut PvsVm,
    batches: *const PvsBatch,
    batch_count: u32,
) -> c_int {
    let body = |state: &mut State| {
        // SAFETY: the caller's contract.
        let batches = unsafe { bind::slice("batches", batches, batch_count) }?;
        // SAFETY: the caller's contract.
        unsafe { state.scratch.bind(&mut state.vm, batches) }
    };
    // SAFETY: the caller's contract.
    unsafe { with_vm(vm, body) }
}

/// # Safety
/// `vm` is NULL, or of `pvs_vm_create`; `stats` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvs_vm_stats(vm: *mut PvsVm, stats: *mut PvsStats) {
    // SAFETY: the caller's contract.
    let (Some(vm), Some(stats)) = (unsafe { vm.as_ref() }, unsafe { stats.as_mut() }) else {
        return;
    };
    enter(vm.logger, || {
        // Counts are right even after a panic.
        let state = vm.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (counters, totals) = (state.vm.kernel_counters(), state.vm.totals());
        *stats = PvsStats {
            ioctls: counters.vm_bind_ioctls,
            ops: counters.vm_bind_ops,
            map_ops: counters.map_ops,
            null_ops: counters.null_ops,
            unmap_ops: counters.unmap_ops,
            sync_ops: counters.sync_ops,
            calls: totals.calls,
            binds: totals.binds,
            elided: totals.elided,
            strategy: number_of(state.vm.strategy()),
            pad: 0,
        };
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_panic_with_its_lock_a_vm_is_lost_and_its_counts_can_still_be_read() {
        let device = vpanthor::device(
            vpanthor::Kernel::new(vpanthor::Flavour::V1_9).open(Default::default()),
        )
        .unwrap();
        let null = probe(&device).unwrap().null_map(&device, None).unwrap();
        let state = State {
            vm: SparseVm::new(device.create_vm(0).unwrap(), null),
            scratch: Scratch::default(),
        };
        let mut vm = PvsVm {
            logger: NO_LOG,
            state: Mutex::new(state),
        };
        let lost = -Errno::IO.raw_os_error();
        // SAFETY: `vm` lives until the end, as one of `pvs_vm_create` would.
        unsafe {
            assert_eq!(with_vm(&vm, |_| Ok(())), 0);
            assert_eq!(with_vm(&vm, |_| panic!("on purpose")), lost);
            assert_eq!(with_vm(&vm, |_| Ok(())), lost);
            assert_eq!(pvs_range_remove(&raw mut vm, 0), lost);
            let mut stats = PvsStats::default();
            pvs_vm_stats(&raw mut vm, &raw mut stats);
            assert_eq!(stats.strategy, 1);
        }
    }
}
