//! What an open file holds at one moment, to be looked at or written down.

use serde::Serialize;

use super::file::File;
use crate::gpuvm::Gpuvm;
use crate::mapping::MappingView;
use crate::shared::lock;
use crate::vm::Vm;

/// Everything that has a handle on one open file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    pub vms: Vec<VmSnapshot>,
    pub bos: Vec<BoSnapshot>,
    /// How many there are.
    pub syncobjs: usize,
    /// How many there are.
    pub groups: usize,
    pub vm_bind: BindCounts,
}

/// One address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmSnapshot {
    pub id: u32,
    /// Bytes, from address 0.
    pub user_va_range: u64,
    pub usable: bool,
    /// Asynchronous ops that have not run yet.
    pub queued_ops: usize,
    /// Page-table entries written or cleared so far.
    pub pte_writes: u64,
    pub tiler_heaps: usize,
    /// In ascending order.
    pub mappings: Vec<MappingSnapshot>,
}

/// One mapping, see [`MappingView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappingSnapshot {
    pub va: u64,
    pub size: u64,
    /// The id of the buffer object, 0 for the kernel's dummy.
    pub bo: u64,
    pub offset: u64,
    /// As in a VM_BIND op.
    pub flags: u32,
    /// Of a repeated mapping, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_range: Option<u64>,
}

/// One buffer object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoSnapshot {
    pub handle: u32,
    /// Unlike the handle, never used again.
    pub id: u64,
    /// Bytes.
    pub size: u64,
    /// Of BO_CREATE.
    pub flags: u32,
    /// Only one VM may map it.
    pub exclusive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The ops of the VM_BINDs that a file has had accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BindCounts {
    /// All of them.
    pub ops: u64,
    /// Maps of a buffer object, once.
    pub map: u64,
    /// Maps of a part of a buffer object, over and over.
    pub repeat: u64,
    /// Maps of the kernel's dummy.
    pub sparse: u64,
    pub unmap: u64,
    pub sync_only: u64,
    /// Synchronous ops of size 0.
    pub nothing: u64,
}

impl BindCounts {
    /// Adds what another file has had.
    pub fn add(&mut self, other: &BindCounts) {
        self.ops += other.ops;
        self.map += other.map;
        self.repeat += other.repeat;
        self.sparse += other.sparse;
        self.unmap += other.unmap;
        self.sync_only += other.sync_only;
        self.nothing += other.nothing;
    }
}

impl From<MappingView> for MappingSnapshot {
    fn from(view: MappingView) -> Self {
        Self {
            va: view.va,
            size: view.size,
            bo: view.bo,
            offset: view.offset,
            flags: view.flags.bits(),
            repeat_range: view.repeat.map(|repeat| repeat.range),
        }
    }
}

fn vm(id: u32, vm: &Vm) -> VmSnapshot {
    let stats = vm.stats();
    VmSnapshot {
        id,
        user_va_range: vm.user_va_range(),
        usable: !vm.is_unusable(),
        queued_ops: stats.queued_ops,
        pte_writes: stats.pt.pte_writes(),
        tiler_heaps: vm.heaps.len(),
        mappings: vm.with_gpuvm(|gpuvm: &Gpuvm| gpuvm.mappings().map(Into::into).collect()),
    }
}

pub(crate) fn take(file: &File) -> Snapshot {
    let vms = lock(&file.vms).entries();
    let bos = lock(&file.bos).entries();
    Snapshot {
        vms: vms.iter().map(|(id, one)| vm(*id, one)).collect(),
        bos: (bos.iter())
            .map(|(handle, bo)| BoSnapshot {
                handle: *handle,
                id: bo.id,
                size: bo.size,
                flags: bo.flags,
                exclusive: bo.exclusive_vm.is_some(),
                label: bo.label(),
            })
            .collect(),
        syncobjs: lock(&file.syncobjs).len(),
        groups: lock(&file.groups).len(),
        vm_bind: *lock(&file.bind_counts),
    }
}
