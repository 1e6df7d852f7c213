//! Binds of a partially resident image, checked and turned into requests: of regions of tiles, and of ranges of bytes.
//!
//! Each becomes as few requests as its addresses have gaps. As for a buffer, all that Vulkan promises about the numbers is
//! checked before there is a request.

use std::fmt;

use super::request::{aligned, sum};
use super::{BindErrorKind, Memory, MemoryBind, Request, Resource, Target};
use crate::layout::{OpaqueError, Piece, Region, RegionError, TileMap};
use crate::units::{SZ_4K, Va};

/// A `VkSparseImageMemoryBind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileBind {
    /// Subresource, offset and extent.
    pub region: Region,
    /// `None` unbinds; the memory offset means nothing then.
    pub memory: Option<Memory>,
    /// Bytes from the start of the memory.
    pub memory_offset: u64,
}

/// A bind that breaks a rule, with the image that it was meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBindError {
    /// [`Resource::name`].
    pub resource: String,
    pub kind: ImageBindErrorKind,
}

/// The rule that a bind of an image breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBindErrorKind {
    /// The region is none of the image's.
    Region(RegionError),
    /// The range of opaque offsets is not in the image.
    Opaque(OpaqueError),
    /// A rule about bytes, as for any sparse resource.
    Bytes(BindErrorKind),
}

impl fmt::Display for ImageBindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ImageBindErrorKind::Region(error) => write!(f, "{}: {error}", self.resource),
            ImageBindErrorKind::Opaque(error) => write!(f, "{}: {error}", self.resource),
            ImageBindErrorKind::Bytes(kind) => {
                let (resource, kind) = (self.resource.clone(), *kind);
                super::BindError { resource, kind }.fmt(f)
            }
        }
    }
}

impl std::error::Error for ImageBindError {}

impl From<RegionError> for ImageBindErrorKind {
    fn from(error: RegionError) -> Self {
        Self::Region(error)
    }
}

impl From<OpaqueError> for ImageBindErrorKind {
    fn from(error: OpaqueError) -> Self {
        Self::Opaque(error)
    }
}

impl From<BindErrorKind> for ImageBindErrorKind {
    fn from(kind: BindErrorKind) -> Self {
        Self::Bytes(kind)
    }
}

/// Checks a bind of tiles and appends its requests, in the order of their addresses. `resource` has the size and the
/// granularity of `map`.
///
/// # Errors
/// Then nothing is appended. The region breaks a rule ([`TileMap::pieces`]); the memory's offset is no multiple of
/// the granularity; the memory ends before the region's tiles do, each of them taken whole.
pub fn resolve_image(
    resource: &Resource,
    map: &TileMap,
    bind: &TileBind,
    requests: &mut Vec<Request>,
) -> Result<(), ImageBindError> {
    append_tiles(resource, map, bind, requests).map_err(|kind| ImageBindError {
        resource: resource.name.clone(),
        kind,
    })
}

/// Checks an opaque bind of a partially resident image and appends its requests, in the order of its bytes.
/// `metadata`: whether it has `VK_SPARSE_MEMORY_BIND_METADATA_BIT`.
///
/// # Errors
/// Then nothing is appended. A size of 0; a byte outside the image; offsets that are no multiples of the granularity; a
/// size that is none, unless the range ends where a tail or the image ends; a range that isn't wholly inside the memory.
pub fn resolve_image_opaque(
    resource: &Resource,
    map: &TileMap,
    bind: &MemoryBind,
    metadata: bool,
    requests: &mut Vec<Request>,
) -> Result<(), ImageBindError> {
    append_opaque(resource, map, bind, metadata, requests).map_err(|kind| ImageBindError {
        resource: resource.name.clone(),
        kind,
    })
}

fn append_tiles(
    resource: &Resource,
    map: &TileMap,
    bind: &TileBind,
    requests: &mut Vec<Request>,
) -> Result<(), ImageBindErrorKind> {
    let pieces = map.pieces(&bind.region)?;
    check_addresses(resource, map)?;
    let target = target(resource, bind.memory, bind.memory_offset, pieces.total())?;
    append(resource, target, pieces, requests);
    Ok(())
}

fn append_opaque(
    resource: &Resource,
    map: &TileMap,
    bind: &MemoryBind,
    metadata: bool,
    requests: &mut Vec<Request>,
) -> Result<(), ImageBindErrorKind> {
    let MemoryBind {
        resource_offset,
        size,
        memory,
        memory_offset,
    } = *bind;
    if size == 0 {
        return Err(BindErrorKind::Empty.into());
    }
    let pieces = map.opaque_pieces(resource_offset, size, metadata)?;
    aligned("resourceOffset", resource_offset, resource.granularity)?;
    // The last tile of a tail may be a part of one, but the kernel maps whole pages.
    let end = resource_offset + size;
    let ends_a_tail = map.tails().iter().any(|tail| {
        tail.offset + tail.size == end && (tail.metadata == metadata || tail.offset == tail.at)
    });
    let granularity = if ends_a_tail {
        SZ_4K
    } else {
        resource.granularity
    };
    aligned("size", size, granularity)?;
    check_addresses(resource, map)?;
    let target = target(resource, memory, memory_offset, size)?;
    append(resource, target, pieces, requests);
    Ok(())
}

/// The map fits in the resource's addresses, so no sum of the two can go wrong.
fn check_addresses(resource: &Resource, map: &TileMap) -> Result<(), BindErrorKind> {
    if map.size() > resource.size {
        return Err(BindErrorKind::BeyondResource {
            resource_offset: 0,
            size: map.size(),
            resource_size: resource.size,
        });
    }
    sum("address of the resource", resource.va.0, map.size()).map(|_| ())
}

/// What the first byte of a bind that takes `size` bytes of memory is mapped to.
fn target(
    resource: &Resource,
    memory: Option<Memory>,
    memory_offset: u64,
    size: u64,
) -> Result<Target, BindErrorKind> {
    let Some(memory) = memory else {
        return Ok(Target::Null);
    };
    if sum("memoryOffset", memory_offset, size)? > memory.size {
        return Err(BindErrorKind::BeyondMemory {
            memory_offset,
            size,
            memory_size: memory.size,
        });
    }
    aligned("memoryOffset", memory_offset, resource.granularity)?;
    Ok(Target::memory(memory.bo, memory_offset))
}

fn append(
    resource: &Resource,
    target: Target,
    pieces: impl Iterator<Item = Piece>,
    requests: &mut Vec<Request>,
) {
    requests.extend(pieces.map(|piece| Request {
        va: Va(resource.va.0 + piece.at),
        len: piece.len,
        target: target.advanced(piece.memory),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Aspect, Extent, Image, MipTail, Offset, tile_2d};
    use crate::units::{BoHandle, BoRef, SZ_64K};

    const BASE: u64 = 1 << 30;
    const BO: BoRef = BoRef {
        handle: BoHandle(3),
        serial: 7,
    };

    /// RGBA8 of 1024x1000 texels, 8x8 tiles on level 0, and a mip tail from level 3.
    fn map() -> TileMap {
        TileMap::new(&image()).unwrap()
    }

    fn image() -> Image {
        Image {
            extent: Extent::new(1024, 1000, 1),
            levels: 11,
            layers: 1,
            tile_bytes: SZ_64K,
            aspects: vec![Aspect {
                mask: 1,
                granularity: tile_2d(4).unwrap(),
                flags: 0,
                subsampling: [1, 1],
                tail: MipTail {
                    first_level: 3,
                    size: SZ_64K + SZ_4K,
                    offset: 1 << 32,
                    stride: 0,
                },
            }],
        }
    }

    fn resource(map: &TileMap) -> Resource {
        Resource {
            name: "image 0x2a".into(),
            va: Va(BASE),
            size: map.size(),
            granularity: map.tile_bytes(),
        }
    }

    fn memory(tiles: u64) -> Option<Memory> {
        let size = tiles * SZ_64K;
        Some(Memory { bo: BO, size })
    }

    fn bind(offset: [i32; 2], extent: [u32; 2], memory: Option<Memory>) -> TileBind {
        TileBind {
            region: Region {
                aspect: 1,
                level: 0,
                layer: 0,
                offset: Offset::new(offset[0], offset[1], 0),
                extent: Extent::new(extent[0], extent[1], 1),
            },
            memory,
            memory_offset: 2 * SZ_64K,
        }
    }

    fn resolve(bind: &TileBind) -> Result<Vec<Request>, ImageBindError> {
        let (map, mut requests) = (map(), Vec::new());
        resolve_image(&resource(&map), &map, bind, &mut requests)
            .inspect_err(|_| assert_eq!(requests, []))
            .map(|()| requests)
    }

    fn resolve_opaque(bind: &MemoryBind) -> Result<Vec<Request>, ImageBindErrorKind> {
        let (map, mut requests) = (map(), Vec::new());
        resolve_image_opaque(&resource(&map), &map, bind, false, &mut requests)
            .map(|()| requests)
            .map_err(|error| error.kind)
    }

    #[test]
    fn a_region_is_a_request_a_row_and_its_memory_goes_on_from_row_to_row() {
        let requests = resolve(&bind([256, 128], [256, 256], memory(6))).unwrap();
        let expected = [0, 1].map(|row| Request {
            va: Va(BASE + ((1 + row) * 8 + 2) * SZ_64K),
            len: 2 * SZ_64K,
            target: Target::memory(BO, (2 + 2 * row) * SZ_64K),
        });
        assert_eq!(requests, expected);
    }

    #[test]
    fn a_region_of_whole_rows_is_one_request_and_tiles_at_the_edge_count_whole() {
        let requests = resolve(&bind([0, 768], [1024, 232], memory(18))).unwrap();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].len, 16 * SZ_64K);
    }

    #[test]
    fn a_null_bind_ignores_the_offset_in_memory() {
        let null = TileBind {
            memory_offset: 12345,
            ..bind([0, 0], [1024, 1000], None)
        };
        let expected = Request {
            va: Va(BASE),
            len: 64 * SZ_64K,
            target: Target::Null,
        };
        assert_eq!(resolve(&null), Ok(vec![expected]));
    }

    #[test]
    fn memory_must_hold_every_tile_of_the_region_whole() {
        let edge = |tiles| resolve(&bind([896, 896], [128, 104], memory(tiles)));
        assert!(edge(3).is_ok());
        assert_eq!(
            edge(2).unwrap_err().to_string(),
            "image 0x2a: memoryOffset is 131072 and size is 65536, expected a range inside the 131072 bytes of the memory"
        );
    }

    #[test]
    fn offsets_in_memory_are_multiples_of_a_tile_and_do_not_wrap() {
        let at = |memory_offset| {
            let bind = TileBind {
                memory_offset,
                ..bind([0, 0], [128, 128], memory(9))
            };
            resolve(&bind).unwrap_err().kind
        };
        assert_eq!(
            at(SZ_4K),
            ImageBindErrorKind::Bytes(BindErrorKind::Misaligned {
                field: "memoryOffset",
                value: SZ_4K,
                granularity: SZ_64K
            })
        );
        let top = u64::MAX - SZ_4K;
        assert_eq!(
            at(top),
            ImageBindErrorKind::Bytes(BindErrorKind::Overflow {
                field: "memoryOffset",
                value: top,
                size: SZ_64K
            })
        );
    }

    #[test]
    fn a_region_outside_the_image_is_named_with_the_image() {
        let error = resolve(&bind([64, 0], [128, 128], None)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image 0x2a: offset.x is 64, expected a multiple of 128"
        );
    }

    #[test]
    fn a_mip_tail_is_bound_by_its_opaque_offset() {
        let tail = map().tails()[0];
        let bind = MemoryBind {
            resource_offset: tail.offset,
            size: tail.size,
            memory: memory(2),
            memory_offset: 0,
        };
        let expected = Request {
            va: Va(BASE + tail.at),
            len: tail.size,
            target: Target::memory(BO, 0),
        };
        assert_eq!(resolve_opaque(&bind), Ok(vec![expected]));
    }

    #[test]
    fn an_opaque_bind_reaches_over_tiles_and_tail() {
        let map = map();
        let tail = map.tails()[0];
        let own = image().by_address().unwrap();
        let bind = MemoryBind {
            resource_offset: tail.at - SZ_64K,
            size: SZ_64K + tail.size,
            memory: memory(3),
            memory_offset: 0,
        };
        let expected = Request {
            va: Va(BASE + bind.resource_offset),
            len: bind.size,
            target: Target::memory(BO, 0),
        };
        let mut requests = Vec::new();
        let own = TileMap::new(&own).unwrap();
        resolve_image_opaque(&resource(&own), &own, &bind, false, &mut requests).unwrap();
        assert_eq!(requests, [expected]);
        // Under another driver's offsets the same addresses are no part of the tail: whole tiles only.
        assert_eq!(
            resolve_opaque(&bind),
            Err(ImageBindErrorKind::Bytes(BindErrorKind::Misaligned {
                field: "size",
                value: bind.size,
                granularity: SZ_64K
            }))
        );
    }

    #[test]
    fn opaque_binds_keep_the_rules_of_bytes() {
        let tail = map().tails()[0];
        let kind = |from, size| {
            resolve_opaque(&MemoryBind {
                resource_offset: tail.offset + from,
                size,
                memory: None,
                memory_offset: 0,
            })
        };
        assert!(kind(0, SZ_64K).is_ok());
        assert!(kind(SZ_64K, SZ_4K).is_ok());
        let bytes = |kind| Err(ImageBindErrorKind::Bytes(kind));
        assert_eq!(kind(0, 0), bytes(BindErrorKind::Empty));
        for (field, from, size, value) in [
            ("size", 0, SZ_4K, SZ_4K),
            ("resourceOffset", SZ_4K, SZ_64K, tail.offset + SZ_4K),
        ] {
            let granularity = SZ_64K;
            assert_eq!(
                kind(from, size),
                bytes(BindErrorKind::Misaligned {
                    field,
                    value,
                    granularity
                })
            );
        }
        assert!(matches!(
            kind(0, 2 * SZ_64K),
            Err(ImageBindErrorKind::Opaque(OpaqueError { outside, .. })) if outside == tail.offset + tail.size
        ));
    }

    #[test]
    fn a_map_that_is_larger_than_the_resources_addresses_is_refused() {
        let map = map();
        let small = Resource {
            size: map.size() - SZ_64K,
            ..resource(&map)
        };
        let high = Resource {
            va: Va(u64::MAX - SZ_64K + 1),
            ..resource(&map)
        };
        for (resource, beyond) in [(small, true), (high, false)] {
            let bind = bind([0, 0], [128, 128], None);
            let error = resolve_image(&resource, &map, &bind, &mut Vec::new()).unwrap_err();
            let ImageBindErrorKind::Bytes(kind) = error.kind else {
                panic!("{error}");
            };
            let is_beyond = matches!(kind, BindErrorKind::BeyondResource { .. });
            assert_eq!(is_beyond, beyond, "{error}");
        }
    }
}
