//! What holds for every image, tile by tile.

use std::collections::HashMap;

use proptest::prelude::*;

use super::model::{Tile, images, levels, tiles, tiles_of};
use crate::layout::{Image, MemoryChange, Piece, Place, PlaceBind, Region, Tail, TileMap};
use crate::units::{SZ_4K, SZ_64K};

/// A number below `end`, of a number that may be anything.
fn below(end: u64, any: u64) -> u64 {
    any % end
}

/// A region of the image, if it has tiles at all.
fn some_region(image: &Image, seed: &[u64; 8]) -> Option<Region> {
    let levels = levels(image);
    if levels.is_empty() {
        return None;
    }
    let shape = levels[below(levels.len() as u64, seed[0]) as usize];
    let (mut from, mut to) = ([0; 3], [0; 3]);
    for axis in 0..3 {
        let side = u64::from(shape.tiles()[axis]);
        from[axis] = below(side, seed[1 + axis]) as u32;
        to[axis] = from[axis] + 1 + below(side - u64::from(from[axis]), seed[4 + axis]) as u32;
    }
    let layer = below(u64::from(image.layers), seed[7]) as u32;
    Some(shape.region(layer, from, to))
}

/// A range of whole tiles in addresses, and of pages in the tails.
fn some_range(map: &TileMap, tiles: u64, seed: [u64; 2]) -> (u64, u64) {
    let [a, b] = seed.map(|any| {
        let at = below(map.size() / SZ_4K + 1, any) * SZ_4K;
        if at < tiles * SZ_64K {
            at / SZ_64K * SZ_64K
        } else {
            at
        }
    });
    (a.min(b), a.max(b) - a.min(b))
}

/// For each tile and each page of a tail, by what binds call it: the byte of memory that it has.
type Effect = HashMap<Name, Option<(u64, u64)>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Tile(Tile),
    Page { metadata: bool, offset: u64 },
}

fn effect(image: &Image, binds: &[PlaceBind]) -> Effect {
    let levels = levels(image);
    let mut effect = HashMap::new();
    for bind in binds {
        let (names, bytes): (Vec<Name>, u64) = match bind.place {
            Place::Tiles { region, .. } => (
                tiles_of(&region, &levels)
                    .into_iter()
                    .map(Name::Tile)
                    .collect(),
                SZ_64K,
            ),
            Place::Opaque {
                offset,
                size,
                metadata,
                ..
            } => (
                (0..size / SZ_4K)
                    .map(|page| Name::Page {
                        metadata,
                        offset: offset + page * SZ_4K,
                    })
                    .collect(),
                SZ_4K,
            ),
        };
        for (i, name) in names.into_iter().enumerate() {
            let memory = bind
                .memory
                .map(|(id, offset)| (id, offset + i as u64 * bytes));
            assert_eq!(effect.insert(name, memory), None, "{name:?} is bound twice");
        }
    }
    effect
}

/// The same, by addresses.
fn effect_of_changes(image: &Image, map: &TileMap, changes: &[MemoryChange]) -> Effect {
    let tiles = tiles(image);
    let mut effect = HashMap::new();
    for change in changes {
        for page in 0..change.len / SZ_4K {
            let at = change.at + page * SZ_4K;
            let name = match tiles.get((at / SZ_64K) as usize) {
                Some(&tile) if at % SZ_64K == 0 => Name::Tile(tile),
                Some(_) => continue,
                None => {
                    let tail = map
                        .tails()
                        .iter()
                        .find(|tail| (tail.at..tail.at + tail.size).contains(&at));
                    let Some(tail) = tail else { continue };
                    Name::Page {
                        metadata: tail.metadata,
                        offset: tail.offset + (at - tail.at),
                    }
                }
            };
            let memory = change
                .memory
                .map(|(id, offset)| (id, offset + page * SZ_4K));
            effect.insert(name, memory);
        }
    }
    effect
}

/// Rows of tiles in which the changes lie, each change for itself; for tails the tails.
fn rows(image: &Image, map: &TileMap, changes: &[MemoryChange]) -> usize {
    let tiles = tiles(image);
    let row = |index: u64| {
        tiles.get(index as usize).map(|tile| {
            (
                tile.aspect,
                tile.layer,
                tile.level,
                tile.zyx[0],
                tile.zyx[1],
            )
        })
    };
    let mut count = 0;
    for change in changes {
        let mut rows: Vec<_> = (change.at / SZ_64K..(change.at + change.len).div_ceil(SZ_64K))
            .filter_map(row)
            .collect();
        rows.dedup();
        count += rows.len();
        count += map
            .tails()
            .iter()
            .filter(|tail| change.at < tail.at + tail.size && tail.at < change.at + change.len)
            .count();
    }
    count
}

/// Changes as a shadow of the page tables would give them: ascending and disjoint; memory of one or two objects, from
/// one place for all, so that much of it continues, or from another for each.
fn changes(map: &TileMap, tiles: u64, cuts: &[(u64, u8)]) -> Vec<MemoryChange> {
    let mut edges: Vec<u64> = cuts
        .iter()
        .map(|&(any, _)| some_range(map, tiles, [any, 0]).1)
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
        .windows(2)
        .zip(cuts)
        .filter_map(|(edge, &(any, kind))| {
            let memory = match kind % 5 {
                0 => return None,
                1 => None,
                2 => Some((1, edge[0])),
                3 => Some((2, edge[0])),
                _ => Some((1, below(64, any) * SZ_64K)),
            };
            Some(MemoryChange {
                at: edge[0],
                len: edge[1] - edge[0],
                memory,
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn tiles_and_tails_are_dense_in_the_order_of_the_board(image in images()) {
        let map = TileMap::new(&image).unwrap();
        let tiles = tiles(&image);
        let mut at = 0;
        for tile in &tiles {
            let shape = levels(&image)
                .into_iter()
                .find(|shape| (shape.aspect, shape.level) == (tile.aspect, tile.level))
                .unwrap();
            let [z, y, x] = tile.zyx;
            let region = shape.region(tile.layer, [x, y, z], [x + 1, y + 1, z + 1]);
            let pieces: Vec<_> = map.pieces(&region).unwrap().collect();
            prop_assert_eq!(pieces.len(), 1);
            prop_assert_eq!((pieces[0].at, pieces[0].len), (at, SZ_64K));
            prop_assert_eq!(map.places(at, SZ_64K).unwrap(), [Place::Tiles { at, region }]);
            at += SZ_64K;
        }
        for tail in map.tails() {
            prop_assert_eq!(tail.at, at);
            at += tail.size.next_multiple_of(SZ_64K);
        }
        prop_assert_eq!(map.size(), at);
    }

    #[test]
    fn a_region_is_its_tiles_in_as_few_pieces_as_there_are_gaps(image in images(), seed: [u64; 8]) {
        let map = TileMap::new(&image).unwrap();
        let Some(region) = some_region(&image, &seed) else { return Ok(()) };
        let all = tiles(&image);
        let pieces = map.pieces(&region).unwrap();
        let total = pieces.total();
        let pieces: Vec<_> = pieces.collect();

        prop_assert!(pieces.windows(2).all(|pair| pair[0].at + pair[0].len < pair[1].at));
        let mut covered = Vec::new();
        for piece in &pieces {
            prop_assert_eq!(piece.memory, covered.len() as u64 * SZ_64K);
            let first = (piece.at / SZ_64K) as usize;
            covered.extend_from_slice(&all[first..first + (piece.len / SZ_64K) as usize]);
        }
        prop_assert_eq!(covered.len() as u64 * SZ_64K, total);
        prop_assert_eq!(covered, tiles_of(&region, &levels(&image)));

        // And back: the same region, in one bind of contiguous memory.
        let changes: Vec<_> = pieces
            .iter()
            .map(|piece| MemoryChange { at: piece.at, len: piece.len, memory: Some((1, piece.memory)) })
            .collect();
        let expected = PlaceBind {
            place: Place::Tiles { at: pieces[0].at, region },
            memory: Some((1, 0)),
        };
        prop_assert_eq!(map.binds(&changes).unwrap(), [expected]);
    }

    #[test]
    fn the_places_of_a_range_lead_back_to_it(image in images(), seed: [u64; 2]) {
        let map = TileMap::new(&image).unwrap();
        let count = tiles(&image).len() as u64;
        let (at, len) = some_range(&map, count, seed);
        let mut next = at;
        let mut boxes: HashMap<_, u32> = HashMap::new();
        for place in map.places(at, len).unwrap() {
            let pieces: Vec<_> = match place {
                Place::Tiles { region, .. } => {
                    *boxes.entry((region.aspect, region.layer, region.level)).or_default() += 1;
                    map.pieces(&region).unwrap().collect()
                }
                Place::Opaque { offset, size, metadata, .. } => {
                    map.opaque_pieces(offset, size, metadata).unwrap().collect()
                }
            };
            prop_assert_eq!(pieces.len(), 1);
            let (Place::Tiles { at: start, .. } | Place::Opaque { at: start, .. }) = place;
            prop_assert_eq!(pieces[0].at, start);
            // Only what is left of a tail's last tile is passed over.
            let no_place = |page| {
                let in_tail = map.tails().iter().any(|tail| (tail.at..tail.at + tail.size).contains(&page));
                page >= count * SZ_64K && !in_tail
            };
            prop_assert!((next..start).step_by(SZ_4K as usize).all(no_place));
            next = start + pieces[0].len;
        }
        prop_assert!(next <= at + len);
        prop_assert!(boxes.values().all(|&boxes| boxes <= 5));
    }

    #[test]
    fn opaque_offsets_of_a_tail_lead_to_it_and_back(image in images(), which: u64, seed: [u64; 2]) {
        let map = TileMap::new(&image).unwrap();
        if map.tails().is_empty() {
            return Ok(());
        }
        let tail = map.tails()[below(map.tails().len() as u64, which) as usize];
        let pages = tail.size / SZ_4K;
        let from = below(pages, seed[0]);
        let size = (1 + below(pages - from, seed[1])) * SZ_4K;
        let offset = tail.offset + from * SZ_4K;
        let pieces: Vec<_> = map.opaque_pieces(offset, size, tail.metadata).unwrap().collect();
        prop_assert_eq!(pieces.len(), 1);
        prop_assert_eq!((pieces[0].at, pieces[0].len), (tail.at + from * SZ_4K, size));
        let place = Place::Opaque { at: pieces[0].at, offset, size, metadata: tail.metadata };
        prop_assert_eq!(map.places(pieces[0].at, size).unwrap(), [place]);
    }

    #[test]
    fn an_opaque_offset_is_its_tail_or_else_an_address(image in images(), own: bool, metadata: bool, seed: [u64; 2]) {
        let image = if own { image.by_address().unwrap() } else { image };
        let map = TileMap::new(&image).unwrap();
        let highest = map.tails().iter().map(|tail| tail.offset + tail.size).max().unwrap_or(0);
        let pages = highest.max(map.size()) / SZ_4K + 2;
        let [a, b] = seed.map(|any| below(pages, any));
        let (from, to) = (a.min(b), a.max(b) + 1);
        let address = |page: u64| {
            let offset = page * SZ_4K;
            let inside = |tail: &&Tail| {
                tail.metadata == metadata && (tail.offset..tail.offset + tail.size).contains(&offset)
            };
            match map.tails().iter().find(inside) {
                Some(tail) => Some(tail.at + offset - tail.offset),
                None => (!metadata && offset < map.size()).then_some(offset),
            }
        };
        let expected: Option<Vec<u64>> = (from..to).map(address).collect();
        let got = map.opaque_pieces(from * SZ_4K, (to - from) * SZ_4K, metadata);
        let mut memory = 0;
        let mut end = None;
        let pages = got.ok().map(|pieces| {
            let pages = pieces.flat_map(|piece| {
                assert_eq!(piece.memory, memory);
                assert_ne!(end, Some(piece.at));
                memory += piece.len;
                end = Some(piece.at + piece.len);
                (piece.at..piece.at + piece.len).step_by(SZ_4K as usize)
            });
            pages.collect::<Vec<_>>()
        });
        prop_assert_eq!(pages, expected);
    }

    #[test]
    fn by_address_all_of_an_image_is_one_opaque_range(image in images()) {
        let own = image.by_address().unwrap();
        prop_assert_eq!(own.by_address().unwrap(), own.clone());
        let (map, size) = (TileMap::new(&own).unwrap(), TileMap::new(&image).unwrap().size());
        prop_assert_eq!(map.size(), size);
        let all = Piece { at: 0, len: size, memory: 0 };
        if size > 0 {
            prop_assert_eq!(map.opaque_pieces(0, size, false).unwrap().collect::<Vec<_>>(), [all]);
        }
    }

    #[test]
    fn binds_have_the_effect_of_the_changes_and_are_no_more_than_rows(
        image in images(),
        cuts in prop::collection::vec(any::<(u64, u8)>(), 2..24),
    ) {
        let map = TileMap::new(&image).unwrap();
        let changes = changes(&map, tiles(&image).len() as u64, &cuts);
        let binds = map.binds(&changes).unwrap();
        prop_assert_eq!(effect(&image, &binds), effect_of_changes(&image, &map, &changes));
        prop_assert!(binds.len() <= rows(&image, &map, &changes));
    }

    #[test]
    fn no_region_whatever_makes_the_map_panic(image in images(), numbers: [u32; 6], offset: [i32; 3]) {
        let map = TileMap::new(&image).unwrap();
        let region = Region {
            aspect: numbers[0] % 0x50,
            level: numbers[1] % 6,
            layer: numbers[2] % 4,
            offset: crate::layout::Offset::new(offset[0], offset[1] % 512 / 64 * 64, offset[2] % 2),
            extent: crate::layout::Extent::new(numbers[3], numbers[4], numbers[5]),
        };
        if let Ok(pieces) = map.pieces(&region) {
            prop_assert!(pieces.map(|piece| piece.at + piece.len).max() <= Some(map.size()));
        }
    }
}
