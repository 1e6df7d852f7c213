//! Figures of images that are known, and what is refused.

use super::model::{COLOR, color};
use crate::layout::{
    ASPECT_METADATA, Aspect, Extent, FORMAT_SINGLE_MIPTAIL, Image, ImageError, MemoryChange,
    MipTail, Offset, Piece, Place, PlaceError, Region, RegionError, TileMap, tile_2d,
};
use crate::units::{SZ_4K, SZ_64K};

fn region(level: u32, offset: [i32; 2], width: u32, height: u32) -> Region {
    Region {
        aspect: COLOR,
        level,
        layer: 0,
        offset: Offset::new(offset[0], offset[1], 0),
        extent: Extent::new(width, height, 1),
    }
}

/// 4096x4096 RGBA8 with all its 13 levels, as a driver that starts the tail at `first_level` has it.
fn square_4096(first_level: u32) -> Image {
    let mut image = color(Extent::new(4096, 4096, 1), 13);
    image.aspects[0].tail = MipTail {
        first_level,
        size: SZ_64K,
        offset: 1371 * SZ_64K,
        stride: 0,
    };
    image
}

fn pieces(map: &TileMap, region: Region) -> Vec<Piece> {
    map.pieces(&region).unwrap().collect()
}

#[test]
fn a_4096_image_of_13_levels_takes_what_it_takes_on_a_mali_g610() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    assert_eq!(map.size(), 89_915_392);
    assert_eq!(map.tiles(COLOR, 0), Some(Extent::new(32, 32, 1)));
    for level in 5..12 {
        assert_eq!(map.tiles(COLOR, level), Some(Extent::new(1, 1, 1)));
    }
    assert_eq!(map.tiles(COLOR, 12), None);
    assert_eq!(map.tails().len(), 1);
    assert_eq!(map.tails()[0].at, 1371 * SZ_64K);
}

#[test]
fn a_tail_from_the_first_level_below_a_tile_saves_a_tile_a_level() {
    let map = TileMap::new(&square_4096(6)).unwrap();
    assert_eq!(map.size(), (1365 + 1) * SZ_64K);
}

#[test]
fn a_whole_level_is_one_piece_of_its_1024_tiles() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    assert_eq!(
        pieces(&map, region(0, [0, 0], 4096, 4096)),
        [Piece {
            at: 0,
            len: 1024 * SZ_64K,
            memory: 0
        }]
    );
    let level_1 = pieces(&map, region(1, [0, 0], 2048, 2048));
    assert_eq!(level_1.len(), 1);
    assert_eq!(level_1[0].at, 1024 * SZ_64K);
}

#[test]
fn four_by_four_tiles_in_the_middle_are_four_pieces_with_contiguous_memory() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    let pieces = pieces(&map, region(0, [512, 1024], 512, 512));
    let expected = [0, 1, 2, 3].map(|row| Piece {
        at: ((8 + row) * 32 + 4) * SZ_64K,
        len: 4 * SZ_64K,
        memory: row * 4 * SZ_64K,
    });
    assert_eq!(pieces, expected);
}

#[test]
fn level_0_of_a_16384_image_is_one_piece_of_1_gib() {
    let map = TileMap::new(&color(Extent::new(16384, 16384, 1), 1)).unwrap();
    let pieces = pieces(&map, region(0, [0, 0], 16384, 16384));
    assert_eq!(
        pieces,
        [Piece {
            at: 0,
            len: 1 << 30,
            memory: 0
        }]
    );
}

#[test]
fn a_region_may_end_at_the_edge_or_at_the_end_of_the_tile_that_the_edge_cuts() {
    let map = TileMap::new(&color(Extent::new(200, 100, 1), 1)).unwrap();
    let clipped = pieces(&map, region(0, [128, 0], 72, 100));
    assert_eq!(clipped, pieces(&map, region(0, [128, 0], 128, 128)));
    assert_eq!(clipped.len(), 1);
    assert_eq!(clipped[0].at, SZ_64K);
}

#[test]
fn each_broken_rule_of_a_region_has_its_error() {
    let image = square_4096(6);
    let map = TileMap::new(&image).unwrap();
    let refused = |region: Region| map.pieces(&region).unwrap_err();
    let fine = region(0, [0, 0], 128, 128);
    for aspect in [0, 2, COLOR | 2] {
        assert_eq!(
            refused(Region { aspect, ..fine }),
            RegionError::NoAspect {
                aspect,
                aspects: COLOR
            }
        );
    }
    assert_eq!(
        refused(region(13, [0, 0], 1, 1)),
        RegionError::NoLevel {
            level: 13,
            levels: 13
        }
    );
    assert_eq!(
        refused(region(6, [0, 0], 64, 64)),
        RegionError::InMipTail { level: 6, tail: 6 }
    );
    assert_eq!(
        refused(Region { layer: 1, ..fine }),
        RegionError::NoLayer {
            layer: 1,
            layers: 1
        }
    );
    assert_eq!(
        refused(region(0, [0, 0], 128, 0)),
        RegionError::Empty {
            field: "extent.height"
        }
    );
    for value in [64, -128, i32::MIN] {
        assert_eq!(
            refused(region(0, [value, 0], 128, 128)),
            RegionError::Offset {
                field: "offset.x",
                value,
                granularity: 128
            }
        );
    }
    assert_eq!(
        refused(region(0, [0, 3968], 128, 100)),
        RegionError::Side {
            field: "extent.height",
            value: 100,
            granularity: 128,
            to_edge: 128
        }
    );
    for (offset, side) in [(3968, 256), (4096, 128), (0, u32::MAX)] {
        assert_eq!(
            refused(region(0, [0, offset], 128, side)),
            RegionError::BeyondLevel {
                field: "extent.height",
                offset,
                side,
                level_side: 4096
            }
        );
    }
}

#[test]
fn messages_name_the_field_the_value_and_what_was_expected() {
    let map = TileMap::new(&square_4096(6)).unwrap();
    let message = |region| map.pieces(&region).unwrap_err().to_string();
    assert_eq!(
        message(region(0, [64, 0], 128, 128)),
        "offset.x is 64, expected a multiple of 128"
    );
    assert_eq!(
        message(region(7, [0, 0], 32, 32)),
        "subresource.mipLevel is 7, expected one below 6, where the mip tail starts"
    );
    assert_eq!(
        map.opaque_pieces(map.size(), SZ_64K, false)
            .unwrap_err()
            .to_string(),
        format!(
            "resourceOffset is {0} and size is 65536, which reaches {0}; expected a range inside the {0} bytes of the image",
            map.size()
        )
    );
    assert_eq!(
        map.opaque_pieces(0, SZ_64K, true).unwrap_err().to_string(),
        "resourceOffset is 0 and size is 65536, which reaches 0; expected a range inside the metadata of the image"
    );
}

/// Two layers of one tile with a tail each, and metadata.
fn with_tails(stride: u64) -> Image {
    let mut image = color(Extent::new(128, 128, 1), 3);
    image.layers = 2;
    let tail = MipTail {
        first_level: 1,
        size: 2 * SZ_64K,
        offset: 8 * SZ_64K,
        stride,
    };
    image.aspects[0].tail = tail;
    image.aspects.push(Aspect {
        mask: ASPECT_METADATA,
        flags: FORMAT_SINGLE_MIPTAIL,
        tail: MipTail {
            size: SZ_4K,
            first_level: 0,
            ..tail
        },
        ..image.aspects[0]
    });
    image
}

#[test]
fn tails_lie_after_all_tiles_one_a_layer_and_metadata_after_them() {
    let map = TileMap::new(&with_tails(4 * SZ_64K)).unwrap();
    let tails: Vec<_> = map
        .tails()
        .iter()
        .map(|tail| {
            (
                tail.metadata,
                tail.layer,
                tail.offset / SZ_64K,
                tail.at / SZ_64K,
            )
        })
        .collect();
    assert_eq!(
        tails,
        [(false, 0, 8, 2), (false, 1, 12, 4), (true, 0, 8, 6)]
    );
    assert_eq!(map.size(), 7 * SZ_64K);
}

#[test]
fn an_opaque_range_beyond_the_image_reaches_over_tails_only_where_there_is_no_gap() {
    let gaps = TileMap::new(&with_tails(4 * SZ_64K)).unwrap();
    let error = gaps
        .opaque_pieces(8 * SZ_64K, 6 * SZ_64K, false)
        .unwrap_err();
    assert_eq!(error.outside, 10 * SZ_64K);
    let dense = TileMap::new(&with_tails(2 * SZ_64K)).unwrap();
    let pieces: Vec<_> = dense
        .opaque_pieces(9 * SZ_64K, 3 * SZ_64K, false)
        .unwrap()
        .collect();
    assert_eq!(
        pieces,
        [Piece {
            at: 3 * SZ_64K,
            len: 3 * SZ_64K,
            memory: 0
        }]
    );
}

#[test]
fn metadata_and_mip_tails_have_opaque_offsets_of_their_own() {
    let map = TileMap::new(&with_tails(2 * SZ_64K)).unwrap();
    let at = |metadata| {
        let mut pieces = map.opaque_pieces(8 * SZ_64K, SZ_4K, metadata).unwrap();
        pieces.next().unwrap().at / SZ_64K
    };
    assert_eq!((at(false), at(true)), (2, 6));
    assert!(map.opaque_pieces(u64::MAX, 2, true).is_err());
}

#[test]
fn an_opaque_offset_in_no_tail_is_an_address() {
    let mut image = with_tails(2 * SZ_64K);
    image.aspects[0].tail.offset = SZ_64K;
    let map = TileMap::new(&image).unwrap();
    // Tile 0, both tails under their own offsets, and the last two tiles' worth of addresses.
    let pieces: Vec<_> = map.opaque_pieces(0, 7 * SZ_64K, false).unwrap().collect();
    let piece = |at, len, memory| Piece {
        at: at * SZ_64K,
        len: len * SZ_64K,
        memory: memory * SZ_64K,
    };
    assert_eq!(pieces, [piece(0, 1, 0), piece(2, 4, 1), piece(5, 2, 5)]);
    let error = map.opaque_pieces(0, 8 * SZ_64K, false).unwrap_err();
    assert_eq!(error.outside, 7 * SZ_64K);
}

#[test]
fn a_tile_that_a_tails_offsets_cut_can_not_be_named() {
    let mut image = with_tails(2 * SZ_64K);
    image.aspects[0].tail.offset = SZ_64K + SZ_4K;
    let map = TileMap::new(&image).unwrap();
    let error = map.opaque_pieces(0, 7 * SZ_64K, false).unwrap_err();
    assert_eq!(error.outside, SZ_64K + SZ_4K);
}

#[test]
fn by_address_every_tail_has_its_address_for_an_offset() {
    let image = with_tails(4 * SZ_64K);
    let (map, own) = [&image, &image.by_address().unwrap()]
        .map(|image| TileMap::new(image).unwrap())
        .into();
    assert_eq!(own.size(), map.size());
    for (tail, own) in map.tails().iter().zip(own.tails()) {
        assert_eq!((own.at, own.offset), (tail.at, tail.at));
    }
}

#[test]
fn a_part_of_a_tile_is_an_error_and_a_page_of_a_tail_is_not() {
    let map = TileMap::new(&with_tails(2 * SZ_64K)).unwrap();
    for (at, len) in [(SZ_4K, SZ_64K), (0, SZ_4K)] {
        let tile_bytes = SZ_64K;
        assert_eq!(
            map.places(at, len),
            Err(PlaceError::PartOfTile {
                at,
                len,
                tile_bytes
            })
        );
    }
    assert_eq!(
        map.places(2 * SZ_64K + SZ_4K, SZ_4K),
        Ok(vec![Place::Opaque {
            at: 2 * SZ_64K + SZ_4K,
            offset: 8 * SZ_64K + SZ_4K,
            size: SZ_4K,
            metadata: false
        }])
    );
    let (at, len) = (2 * SZ_64K + 1, SZ_4K);
    assert_eq!(map.places(at, len), Err(PlaceError::PartOfPage { at, len }));
    for (at, len) in [(0, map.size() + SZ_64K), (u64::MAX, 2)] {
        let image_size = map.size();
        assert_eq!(
            map.places(at, len),
            Err(PlaceError::Beyond {
                at,
                len,
                image_size
            })
        );
    }
}

#[test]
fn what_is_left_of_a_tails_last_tile_is_no_place() {
    let map = TileMap::new(&with_tails(2 * SZ_64K)).unwrap();
    assert_eq!(
        map.places(6 * SZ_64K, SZ_64K),
        Ok(vec![Place::Opaque {
            at: 6 * SZ_64K,
            offset: 8 * SZ_64K,
            size: SZ_4K,
            metadata: true
        }])
    );
    assert_eq!(map.places(6 * SZ_64K + SZ_4K, SZ_4K), Ok(vec![]));
}

/// Rows of `columns` tiles from column 4, row 8, of a level that is 32 tiles wide.
fn rows(columns: u64, memory: impl Fn(u64) -> Option<(u64, u64)>) -> Vec<MemoryChange> {
    (0..4)
        .map(|row| MemoryChange {
            at: ((8 + row) * 32 + 4) * SZ_64K,
            len: columns * SZ_64K,
            memory: memory(row),
        })
        .collect()
}

#[test]
fn rows_with_the_memory_of_a_box_are_one_bind_and_so_are_unbound_rows() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    for bound in [true, false] {
        let memory = |row| bound.then_some((7, (100 + row * 4) * SZ_64K));
        let binds = map.binds(&rows(4, memory)).unwrap();
        assert_eq!(binds.len(), 1);
        assert_eq!(binds[0].memory, memory(0));
        let Place::Tiles { at, region: found } = binds[0].place else {
            panic!("{:?}", binds[0]);
        };
        assert_eq!(at, (8 * 32 + 4) * SZ_64K);
        assert_eq!(found, region(0, [512, 1024], 512, 512));
    }
}

#[test]
fn rows_with_other_memory_stay_rows() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    let backwards = |row| Some((7, (100 - row * 4) * SZ_64K));
    assert_eq!(map.binds(&rows(4, backwards)).unwrap().len(), 4);
    let two_memories = |row| Some((row / 2, row * 4 * SZ_64K));
    assert_eq!(map.binds(&rows(4, two_memories)).unwrap().len(), 2);
}

#[test]
fn every_second_tile_is_one_bind_unbound_a_column_and_bound_a_tile() {
    let map = TileMap::new(&square_4096(12)).unwrap();
    let every_second = |memory: fn(u64) -> Option<(u64, u64)>| -> Vec<MemoryChange> {
        (0..512)
            .map(|i| MemoryChange {
                at: 2 * i * SZ_64K,
                len: SZ_64K,
                memory: memory(i),
            })
            .collect()
    };
    assert_eq!(map.binds(&every_second(|_| None)).unwrap().len(), 16);
    let scattered = every_second(|i| Some((1, i * SZ_64K)));
    assert_eq!(map.binds(&scattered).unwrap().len(), 512);
}

#[test]
fn a_box_of_a_volume_is_one_bind() {
    let mut image = color(Extent::new(256, 256, 256), 1);
    image.aspects[0].granularity = Extent::new(32, 32, 16);
    let map = TileMap::new(&image).unwrap();
    let region = Region {
        aspect: COLOR,
        level: 0,
        layer: 0,
        offset: Offset::new(32, 64, 16),
        extent: Extent::new(96, 64, 80),
    };
    let changes: Vec<_> = map
        .pieces(&region)
        .unwrap()
        .map(|piece| MemoryChange {
            at: piece.at,
            len: piece.len,
            memory: Some((1, piece.memory)),
        })
        .collect();
    assert_eq!(changes.len(), 2 * 5);
    let binds = map.binds(&changes).unwrap();
    assert_eq!(binds.len(), 1);
    assert!(matches!(binds[0].place, Place::Tiles { region: found, .. } if found == region));
}

#[test]
fn mip_tails_without_a_gap_are_one_bind_but_never_metadata() {
    let bytes = 2 * SZ_64K;
    let mut image = with_tails(bytes);
    image.aspects[1].flags = 0;
    image.aspects[1].tail = MipTail {
        offset: 0,
        ..image.aspects[0].tail
    };
    let map = TileMap::new(&image).unwrap();
    let all = MemoryChange {
        at: 0,
        len: map.size(),
        memory: Some((1, 0)),
    };
    let binds = map.binds(&[all]).unwrap();
    let opaque: Vec<_> = binds
        .iter()
        .filter_map(|bind| match bind.place {
            Place::Opaque {
                offset,
                size,
                metadata,
                ..
            } => Some((metadata, offset / bytes, size / bytes)),
            Place::Tiles { .. } => None,
        })
        .collect();
    assert_eq!(opaque, [(false, 4, 2), (true, 0, 1), (true, 1, 1)]);
}

#[test]
fn a_description_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Image)| {
        let mut image = with_tails(2 * SZ_64K);
        change(&mut image);
        TileMap::new(&image).unwrap_err()
    };
    assert_eq!(
        refused(|image| image.extent.height = 0),
        ImageError::Number {
            field: "extent.height",
            value: 0,
            most: i32::MAX as u32
        }
    );
    assert!(matches!(
        refused(|image| image.levels = 33),
        ImageError::Number {
            field: "mipLevels",
            ..
        }
    ));
    assert_eq!(
        refused(|image| image.tile_bytes = 3 * SZ_64K),
        ImageError::TileBytes { value: 3 * SZ_64K }
    );
    assert_eq!(
        refused(|image| image.aspects[1].mask = COLOR),
        ImageError::AspectTwice {
            mask: COLOR,
            seen: COLOR
        }
    );
    assert!(matches!(
        refused(|image| image.aspects[0].granularity.depth = 0),
        ImageError::NoShape { .. }
    ));
    assert!(matches!(
        refused(|image| image.aspects[0].tail.size = 0),
        ImageError::NoTail { .. }
    ));
    assert!(matches!(
        refused(|image| image.aspects[0].tail.size += 1),
        ImageError::TailSize { .. }
    ));
    assert!(matches!(
        refused(|image| image.aspects[0].tail.stride = SZ_64K),
        ImageError::OverlappingTails { .. }
    ));
    assert_eq!(
        refused(|image| image.aspects[0].tail.offset = u64::MAX - SZ_64K),
        ImageError::TooLarge
    );
    assert_eq!(
        refused(|image| {
            image.extent = Extent::new(i32::MAX as u32, i32::MAX as u32, 4096);
            image.aspects[0].granularity = tile_2d(16).unwrap();
        }),
        ImageError::TooLarge
    );
}
