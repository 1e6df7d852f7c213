//! Mip tails, end to end: lavapipe has none, so the base driver is one in front of it that has them (`tests/tail_driver`).
//!
//! The tests take size, offset and stride of a tail from the driver's queries, and run over the driver with tails alone, too.

use common::config::{Config, base_manifest, failing_icd_manifest, tail_driver_manifest};
use common::gpu::{bind, unbind};
use common::objects::ImageShape;
use common::pattern::{assert_pattern, assert_words, words};
use common::texels::shader_loads;
use common::tiles::Contents;
use common::work::Work;
use common::{App, Batch, Gpu, Memory, Random, Tile, Tiled};

use ash::vk;

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
const MARK: u32 = 0x7A11_7A11;

/// A partially resident image with mip tails.
struct Tailed<'g> {
    tiled: Tiled<'g>,
    needs: vk::SparseImageMemoryRequirements,
    /// Tiles that are bound one by one, and those of the tails.
    tiles: Vec<Tile>,
    in_tails: Vec<Tile>,
}

impl<'g> Tailed<'g> {
    fn new(gpu: &'g Gpu, shape: &ImageShape) -> Self {
        let (tiled, needs) = Tiled::with_requirements(gpu, shape);
        Work::record(gpu, |r| r.image_start(&tiled.image)).run();
        let first = needs.image_mip_tail_first_lod;
        assert!(first < shape.levels, "{shape:?} has a tail: {needs:?}");
        let (tiles, in_tails) = tiled.tiles().into_iter().partition(|t| t.level < first);
        Self {
            tiled,
            needs,
            tiles,
            in_tails,
        }
    }

    fn single(&self) -> bool {
        let flags = self.needs.format_properties.flags;
        flags.contains(vk::SparseImageFormatFlags::SINGLE_MIPTAIL)
    }

    /// How many tails there are: one, or one for each layer.
    fn tails(&self) -> u64 {
        if self.single() {
            1
        } else {
            u64::from(self.tiled.image.layers)
        }
    }

    /// The opaque offset of a tail.
    fn offset(&self, tail: u64) -> u64 {
        // The stride of a single tail means nothing.
        let stride = if tail == 0 {
            0
        } else {
            self.needs.image_mip_tail_stride
        };
        self.needs.image_mip_tail_offset + tail * stride
    }

    fn size(&self) -> u64 {
        self.needs.image_mip_tail_size
    }

    /// Memory for all tails, with a tile more at both ends.
    fn tail_memory(&self) -> Memory<'g> {
        let tiles = self.tails() * self.size() / self.tiled.bytes;
        let memory = self.tiled.memory(tiles + 2);
        memory.write(0, &words(MARK, memory.size / 4));
        memory
    }

    /// Where a tail's memory starts in [`Tailed::tail_memory`].
    fn place(&self, tail: u64) -> u64 {
        self.tiled.bytes + tail * self.size()
    }

    /// Each tail gets the memory of another; `memory_of` says of which.
    fn bind_tails(&self, memory: &Memory<'_>, memory_of: impl Fn(u64) -> u64) {
        let binds = (0..self.tails()).map(|tail| {
            let from = self.place(memory_of(tail));
            bind(self.offset(tail), self.size(), memory, from)
        });
        self.opaque(binds.collect());
    }

    fn opaque(&self, binds: Vec<vk::SparseMemoryBind>) {
        let gpu = self.tiled.image.gpu;
        gpu.bind(&[Batch::image(&self.tiled.image, binds)]);
    }

    #[track_caller]
    fn assert_ends_untouched(&self, memory: &Memory<'_>) {
        let bytes = self.tiled.bytes;
        for at in [0, memory.size - bytes] {
            let held = memory.read(at, bytes);
            assert_pattern("beside the tails", &held, MARK, (at / 4) as u32);
        }
    }

    #[track_caller]
    fn assert_all(&self, what: &str, tiles: &Contents, tails: &Contents) {
        let got = self.tiled.download();
        self.tiled.assert_tiles(what, &got, tiles, &self.tiles);
        self.tiled.assert_tiles(what, &got, tails, &self.in_tails);
    }
}

/// All that one can do with tails, of one image.
fn exercise(gpu: &Gpu, shape: &ImageShape) {
    println!("{shape:?}");
    let image = Tailed::new(gpu, shape);
    let tiled = &image.tiled;
    // Levels with tiles: scattered.
    let n = image.tiles.len() as u64;
    let memory = tiled.memory(n.max(1));
    let mut order: Vec<u64> = (0..n).collect();
    Random::new(n).shuffle(&mut order);
    let binds = image.tiles.iter().zip(&order);
    let binds: Vec<_> = binds.map(|(&t, &i)| tiled.bind(t, &memory, i)).collect();
    let tails = [image.tail_memory(), image.tail_memory()];
    if n > 0 {
        tiled.call(binds);
    }
    image.bind_tails(&tails[0], |tail| tail);
    let contents = [1, 2, 3].map(|seed| tiled.pattern(seed));
    let levels = image.needs.image_mip_tail_first_lod..shape.levels;
    tiled.upload(&contents[0]);
    image.assert_all("bound once", &contents[0], &contents[0]);
    image.assert_ends_untouched(&tails[0]);

    // Other memory: the tails change, and nothing else.
    image.bind_tails(&tails[1], |tail| tail);
    tiled.upload_levels(&contents[1], levels.clone());
    image.assert_all("other tails", &contents[0], &contents[1]);
    image.bind_tails(&tails[0], |tail| tail);
    image.assert_all("the first tails again", &contents[0], &contents[0]);

    // Tile by tile of the opaque range, from both memories.
    let per_tail = image.size() / tiled.bytes;
    let pieces: Vec<_> = (0..image.tails())
        .flat_map(|tail| (0..per_tail).map(move |i| (tail, i * tiled.bytes)))
        .collect();
    let piece = |(tail, at): (u64, u64), memory| {
        bind(
            image.offset(tail) + at,
            tiled.bytes,
            memory,
            image.place(tail) + at,
        )
    };
    let mut mixed: Vec<_> = pieces
        .iter()
        .enumerate()
        .map(|(i, &p)| piece(p, &tails[i % 2]))
        .collect();
    Random::new(9).shuffle(&mut mixed);
    image.opaque(mixed);
    tiled.upload_levels(&contents[2], levels.clone());
    image.assert_all("in pieces", &contents[0], &contents[2]);
    // The pieces' other halves are what they were: put together, they are neither.
    image.opaque(pieces.iter().map(|&p| piece(p, &tails[0])).collect());
    tiled.upload_levels(&contents[0], levels.clone());

    // Two layers exchange their tails.
    let last = image.tails() - 1;
    if last > 0 {
        let swapped = |tail| match tail {
            0 => last,
            t if t == last => 0,
            t => t,
        };
        image.bind_tails(&tails[0], swapped);
        let got = tiled.download();
        tiled.assert_tiles("of layers", &got, &contents[0], &image.tiles);
        for &tile in &image.in_tails {
            let from = Tile {
                layer: swapped(u64::from(tile.layer)) as u32,
                ..tile
            };
            tiled.assert_tile("exchanged", &got, tile, &contents[0], from);
        }
        image.bind_tails(&tails[0], |tail| tail);
    }

    // One tail unbound: its memory keeps what it has, the others and the other levels stay.
    let held = tails[0].read(0, tails[0].size);
    image.opaque(vec![unbind(image.offset(last), image.size())]);
    tiled.upload(&contents[1]);
    let after = tails[0].read(0, tails[0].size);
    let own = (image.place(last) / 4) as usize..((image.place(last) + image.size()) / 4) as usize;
    assert_words(
        "of the unbound tail",
        0,
        &after[own.clone()],
        &held[own.clone()],
    );
    if last > 0 {
        assert!(
            after[..own.start] != held[..own.start],
            "the others are bound"
        );
    }
    let got = tiled.download();
    tiled.assert_tiles("beside the tail", &got, &contents[1], &image.tiles);
    image.bind_tails(&tails[0], |tail| tail);
    let got = tiled.download();
    for &tile in &image.in_tails {
        let unbound = image.single() || u64::from(tile.layer) == last;
        let want = &contents[usize::from(!unbound)];
        tiled.assert_tile("bound again", &got, tile, want, tile);
    }
    image.assert_ends_untouched(&tails[0]);

    // What shaders see, level by level.
    if shape.kind == vk::ImageType::TYPE_2D && shape.format == vk::Format::R32_UINT {
        tiled.upload(&contents[2]);
        let all = (0..shape.levels).flat_map(|l| (0..shape.layers).map(move |layer| (layer, l)));
        let loaded = all.flat_map(|(layer, level)| shader_loads(tiled, layer, level));
        let loaded: Vec<u32> = loaded.collect();
        assert_pattern("what shaders load", &loaded, 3, 0);
    }
}

fn arrays(gpu: &Gpu) {
    let flat = ImageShape {
        levels: 6,
        ..ImageShape::flat(512, 400)
    };
    exercise(gpu, &flat);
    exercise(gpu, &ImageShape { layers: 3, ..flat });
    exercise(
        gpu,
        &ImageShape {
            format: RGBA8,
            layers: 2,
            levels: 3,
            ..ImageShape::flat(300, 260)
        },
    );
}

fn cube(gpu: &Gpu) {
    exercise(
        gpu,
        &ImageShape {
            format: vk::Format::R16_UINT,
            flags: vk::ImageCreateFlags::CUBE_COMPATIBLE,
            layers: 6,
            levels: 4,
            ..ImageShape::flat(520, 520)
        },
    );
}

fn volume(gpu: &Gpu) {
    exercise(
        gpu,
        &ImageShape {
            kind: vk::ImageType::TYPE_3D,
            format: RGBA8,
            extent: [96, 80, 40],
            levels: 4,
            ..ImageShape::flat(1, 1)
        },
    );
}

/// With ALIGNED_MIP_SIZE, the tail starts at the first level that is no whole number of blocks.
fn aligned(gpu: &Gpu) {
    let of = |width, height, levels| ImageShape {
        levels,
        layers: 2,
        ..ImageShape::flat(width, height)
    };
    // Blocks of 128x128: 1024x512 is cut at level 3 (128x64), 768x768 at level 2 (192x192), 300x256 at once.
    for (shape, first) in [
        (of(1024, 512, 6), 3),
        (of(768, 768, 5), 2),
        (of(300, 256, 3), 0),
    ] {
        let image = Tailed::new(gpu, &shape);
        let flags = image.needs.format_properties.flags;
        assert!(flags.contains(vk::SparseImageFormatFlags::ALIGNED_MIP_SIZE));
        assert_eq!(image.tiled.shape, [128, 128, 1]);
        assert_eq!(image.needs.image_mip_tail_first_lod, first, "{shape:?}");
        drop(image);
        exercise(gpu, &shape);
    }
}

type Environment<'a> = &'a [(&'a str, &'a str)];

fn under(test: &str, config: Config, more: Environment<'_>, tail: &str, case: fn(&Gpu)) {
    let driver = tail_driver_manifest().to_string_lossy().into_owned();
    let lavapipe = base_manifest().to_string_lossy().into_owned();
    let driver_of = if config.is_icd() {
        "PANVK_SPARSE_BASE_ICD"
    } else {
        "VK_ICD_FILENAMES"
    };
    let mut extra = vec![
        ("PANVK_SPARSE_TEST_TAIL", tail),
        ("PANVK_SPARSE_TEST_TAIL_BASE", &lavapipe),
        (driver_of, &driver),
    ];
    extra.extend(more);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        case(&Gpu::new(&app));
    };
    common::child::run(test, config, &extra, body, |outcome| {
        for stats in &outcome.stats {
            assert!(stats.map_ops > 0, "{stats:?}");
        }
    });
}

macro_rules! tests {
    ($($module:ident: $config:expr, $more:expr;)*) => {
        $(mod $module {
            use super::{Config, aligned, arrays, cube, under, volume};

            #[test]
            fn arrays_with_a_single_tail() {
                let test = common::name_of!(arrays_with_a_single_tail);
                under(test, $config, $more, "2:single", arrays);
            }

            #[test]
            fn arrays_with_a_tail_a_layer() {
                let test = common::name_of!(arrays_with_a_tail_a_layer);
                under(test, $config, $more, "1:layer", arrays);
            }

            #[test]
            fn arrays_that_are_all_tail() {
                let test = common::name_of!(arrays_that_are_all_tail);
                under(test, $config, $more, "0:layer", arrays);
            }

            #[test]
            fn a_cube_with_a_single_tail() {
                let test = common::name_of!(a_cube_with_a_single_tail);
                under(test, $config, $more, "2:single", cube);
            }

            #[test]
            fn a_cube_with_a_tail_a_layer() {
                let test = common::name_of!(a_cube_with_a_tail_a_layer);
                under(test, $config, $more, "2:layer", cube);
            }

            #[test]
            fn a_volume_with_a_tail() {
                let test = common::name_of!(a_volume_with_a_tail);
                under(test, $config, $more, "1:single", volume);
            }

            #[test]
            fn aligned_mip_sizes() {
                let test = common::name_of!(aligned_mip_sizes);
                under(test, $config, $more, "9:layer:aligned", aligned);
            }
        })*
    };
}

tests! {
    driver_with_tails_alone: Config::Bare, &[];
    v1_5_chunk: Config::Icd { kernel: "1.5", null: "chunk" }, &[];
    v1_8_repeat: Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[];
    v1_9_sparse: Config::Icd { kernel: "1.9", null: "sparse" }, &[];
    v1_8_repeat_alias: Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[("PANVK_SPARSE_DUMMY", "alias")];
}

/// As `tests/sparse/control.rs` has it for all other cases.
fn without_binds(test: &str, tail: &str, case: fn(&Gpu)) {
    let manifest = failing_icd_manifest().to_string_lossy().into_owned();
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "repeat",
    };
    let lost = [
        ("VK_ICD_FILENAMES", &*manifest),
        ("PANVK_SPARSE_DUMMY", "alias"),
        ("PANVK_SPARSE_CONTROL", "drop"),
    ];
    let ran = std::panic::catch_unwind(|| under(test, config, &lost, tail, case));
    let Err(panic) = ran else {
        // In the process that runs the case, this is the end; in the one that started it, nobody noticed.
        let child = std::env::var_os(common::child::CHILD).is_some();
        assert!(child, "{test}: the case passes without any bind");
        return;
    };
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    if std::env::var_os(common::child::CHILD).is_some() {
        std::panic::resume_unwind(panic);
    }
    assert!(said.contains("differ)"), "not for its data: {said}");
}

#[test]
fn losing_every_bind_is_noticed_in_arrays() {
    let test = common::name_of!(losing_every_bind_is_noticed_in_arrays);
    without_binds(test, "0:layer", arrays);
}

#[test]
fn losing_every_bind_is_noticed_in_volumes() {
    let test = common::name_of!(losing_every_bind_is_noticed_in_volumes);
    without_binds(test, "0:single", volume);
}
