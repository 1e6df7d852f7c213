//! A call of `vkQueueBindSparse`, with its handles turned into addresses, buffer objects and syncobjs.

use panvk_sparse::bind::{
    Memory, MemoryBind, Request, Resource, TileBind, resolve, resolve_image, resolve_image_opaque,
};
use panvk_sparse::uapi::SyncOp;
use panvk_sparse::vm::Batch;
use vulkan::calls::{Bind, BindCall, ImageBind, ResourceId};

use crate::HostedError;
use crate::addresses::Addresses;
use crate::memories::Memories;

/// What a call asks of the VM.
#[derive(Debug, Default)]
pub struct Resolved {
    pub(crate) batches: Vec<ResolvedBatch>,
}

/// The infos `first..=last` of a call: no semaphore stands between them, so they are one batch.
#[derive(Debug, Default)]
pub(crate) struct ResolvedBatch {
    pub first: usize,
    pub last: usize,
    pub waits: Vec<SyncOp>,
    pub signals: Vec<SyncOp>,
    /// See [`Batch::unordered`].
    pub unordered: bool,
    requests: Vec<Request>,
    /// For each bind, the number of requests that it and those before it became. A bind of tiles can become several.
    ends: Vec<usize>,
}

impl ResolvedBatch {
    /// There are going to be so many binds more. Most become one request.
    fn reserve(&mut self, binds: usize) {
        self.requests.reserve(binds);
        self.ends.reserve(binds);
    }

    pub fn as_batch(&self) -> Batch<'_> {
        Batch {
            waits: &self.waits,
            signals: &self.signals,
            requests: &self.requests,
            ends: &self.ends,
            unordered: self.unordered,
        }
    }
}

impl Resolved {
    pub(crate) fn new(
        addresses: &Addresses,
        memories: &Memories,
        call: &BindCall,
    ) -> Result<Resolved, HostedError> {
        let resolver = Resolver {
            addresses,
            memories,
        };
        let mut batches: Vec<ResolvedBatch> = Vec::new();
        for (i, info) in call.infos.iter().enumerate() {
            let joins = i > 0
                && info.joins_previous
                && info.waits.is_empty()
                && call.infos[i - 1].signals.is_empty();
            let mut batch = match batches.pop() {
                Some(latest) if joins => latest,
                latest => {
                    batches.extend(latest);
                    ResolvedBatch {
                        first: i,
                        ..ResolvedBatch::default()
                    }
                }
            };
            batch.last = i;
            for (id, binds) in &info.binds {
                batch.reserve(binds.len());
                resolver.binds(*id, binds, &mut batch)?;
            }
            for (image, binds) in &info.image_binds {
                batch.reserve(binds.len());
                resolver.image_binds(*image, binds, &mut batch)?;
            }
            batches.push(batch);
        }
        if batches.is_empty() && call.fence.is_some() {
            batches.push(ResolvedBatch::default());
        }
        Ok(Resolved { batches })
    }
}

/// The latest memory that was looked up: neighbouring binds name the same one as a rule.
#[derive(Default)]
struct Latest(Option<(u64, Memory)>);

impl Latest {
    /// `what` says which bind names the memory.
    fn find(
        &mut self,
        memories: &Memories,
        memory: Option<u64>,
        what: impl FnOnce() -> String,
    ) -> Result<Option<Memory>, HostedError> {
        match (memory, self.0) {
            (None, _) => Ok(None),
            (Some(handle), Some((known, memory))) if handle == known => Ok(Some(memory)),
            (Some(handle), _) => {
                let found = memories.get(handle).ok_or_else(|| {
                    HostedError::Invalid(format!(
                        "{} names VkDeviceMemory {handle:#x}, which is not a memory of this device; expected one \
                         that is not freed",
                        what()
                    ))
                })?;
                self.0 = Some((handle, found));
                Ok(Some(found))
            }
        }
    }
}

struct Resolver<'a> {
    addresses: &'a Addresses,
    memories: &'a Memories,
}

impl<'a> Resolver<'a> {
    fn binds(
        &self,
        id: ResourceId,
        binds: &[Bind],
        batch: &mut ResolvedBatch,
    ) -> Result<(), HostedError> {
        let resource = self.resource(id)?;
        let tiles = self.addresses.tiles(id);
        let mut latest = Latest::default();
        for bind in binds {
            let what = (bind.resource_offset, bind.size);
            let resolved = MemoryBind {
                resource_offset: bind.resource_offset,
                size: bind.size,
                memory: latest.find(self.memories, bind.memory, || {
                    format!(
                        "{id}: bind of {} bytes at resourceOffset {}",
                        what.1, what.0
                    )
                })?,
                memory_offset: bind.memory_offset,
            };
            if let Some(tiles) = tiles {
                resolve_image_opaque(
                    resource,
                    tiles,
                    &resolved,
                    bind.metadata,
                    &mut batch.requests,
                )
                .map_err(|error| HostedError::Invalid(error.to_string()))?;
                batch.ends.push(batch.requests.len());
                continue;
            }
            if bind.metadata {
                return Err(HostedError::Invalid(format!(
                    "{id}: bind with VK_SPARSE_MEMORY_BIND_METADATA_BIT, but it has no metadata"
                )));
            }
            let request = resolve(resource, &resolved)
                .map_err(|error| HostedError::Invalid(error.to_string()))?;
            batch.requests.push(request);
            batch.ends.push(batch.requests.len());
        }
        Ok(())
    }

    fn image_binds(
        &self,
        image: u64,
        binds: &[ImageBind],
        batch: &mut ResolvedBatch,
    ) -> Result<(), HostedError> {
        let id = ResourceId::Image(image);
        let resource = self.resource(id)?;
        let tiles = self.addresses.tiles(id).ok_or_else(|| {
            HostedError::Invalid(format!(
                "{id}: imageBinds, but it was created without VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT; expected \
                 imageOpaqueBinds"
            ))
        })?;
        let mut latest = Latest::default();
        for bind in binds {
            let resolved = TileBind {
                region: bind.region,
                memory: latest.find(self.memories, bind.memory, || {
                    format!("{id}: bind of {:?}", bind.region)
                })?,
                memory_offset: bind.memory_offset,
            };
            resolve_image(resource, tiles, &resolved, &mut batch.requests)
                .map_err(|error| HostedError::Invalid(error.to_string()))?;
            batch.ends.push(batch.requests.len());
        }
        Ok(())
    }

    fn resource(&self, id: ResourceId) -> Result<&'a Resource, HostedError> {
        self.addresses.get(id).ok_or_else(|| {
            HostedError::Invalid(format!(
                "{id}: not a sparse resource of this device; expected one that is not destroyed"
            ))
        })
    }
}
