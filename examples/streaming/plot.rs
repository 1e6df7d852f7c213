//! The flight as a picture: which pages are resident over time, and what each strategy asks of the kernel for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::count::{Cost, Counted};
use crate::shared::turns;
use crate::world::{Frame, POOL, Texture, Tile};

const SIZE: (u32, u32) = (1200, 860);
// An opaque, nearly white sheet: the picture looks the same on a light and on a dark page.
const SHEET: RGBColor = RGBColor(250, 249, 246);
const INK: RGBColor = RGBColor(38, 42, 51);
const QUIET: RGBColor = RGBColor(106, 112, 124);
const GRID: RGBColor = RGBColor(222, 221, 215);
const FONT: &str = "sans-serif";
/// Rows of the map of pages.
const ROWS: u64 = 160;
/// The levels, the finest first; the last stands for all that are coarser.
const LEVELS: [RGBColor; 4] = [
    RGBColor(33, 74, 112),
    RGBColor(48, 122, 168),
    RGBColor(127, 179, 205),
    RGBColor(200, 214, 214),
];

/// A colour for each strategy, the same as in the pictures of `panvk-sparse compare`.
fn colour(strategy: &str) -> RGBColor {
    match strategy {
        "page" => RGBColor(196, 98, 45),
        "chunk" => RGBColor(214, 160, 48),
        "repeat" => RGBColor(48, 122, 168),
        "sparse" => RGBColor(38, 140, 112),
        _ => QUIET,
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Where tiles were resident in each frame.
#[derive(Debug, Default)]
pub struct History {
    /// For each frame, resident tiles by row of the map.
    frames: Vec<BTreeMap<u64, u64>>,
}

/// Tiles of all levels before `level`.
fn tiles_before(texture: &Texture, level: u32) -> u64 {
    (0..level)
        .map(|level| texture.tiles(level).map(u64::from).iter().product::<u64>())
        .sum()
}

impl History {
    pub fn note(&mut self, texture: &Texture, resident: &[Tile]) {
        let total = tiles_before(texture, texture.levels);
        let mut rows = BTreeMap::new();
        for tile in resident {
            let across = u64::from(texture.tiles(tile.level)[0]);
            let number =
                tiles_before(texture, tile.level) + u64::from(tile.y) * across + u64::from(tile.x);
            *rows.entry(number * ROWS / total).or_default() += 1;
        }
        self.frames.push(rows);
    }
}

/// Writes the picture.
pub fn write(
    path: &Path,
    texture: &Texture,
    frames: &[Frame],
    history: &History,
    counted: &[Counted],
) -> Drawn {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&SHEET)?;
        let gib = (tiles_before(texture, texture.levels) << 16) as f64 / f64::from(1 << 30);
        let title = format!(
            "Streaming a virtual texture of {0} x {0} texels over {1} frames",
            texture.side,
            frames.len()
        );
        let binds: usize = frames.iter().map(|frame| frame.binds.len()).sum();
        let unbinds: usize = frames.iter().map(|frame| frame.unbinds.len()).sum();
        let subtitle = format!(
            "RGBA8, {gib:.1} GiB with its mip chain, through a pool of {POOL} tiles of 64 KiB ({} MiB): {binds} tiles bound, \
             {unbinds} evicted",
            POOL / 16
        );
        text(&root, &title, (28, 32), 23, INK)?;
        text(&root, &subtitle, (28, 60), 15, QUIET)?;
        let (_, body) = root.split_vertically(80);
        let (left, right) = body.split_horizontally(590);
        let (top, bottom) = left.split_vertically(410);
        pages(&top, texture, history)?;
        levels(&bottom, frames)?;
        let (top, bottom) = right.split_vertically(410);
        let ops: fn(&Cost) -> u64 = |cost| cost.ops;
        lines(
            &top,
            "VM_BIND operations per frame (logarithmic)",
            counted,
            ops,
            true,
        )?;
        lines(
            &bottom,
            "VM_BIND ioctls per frame",
            counted,
            |cost| cost.ioctls,
            false,
        )?;
        root.present()?;
    }
    std::fs::write(path, svg).map_err(|error| format!("writing {}: {error}", path.display()))?;
    Ok(())
}

fn text(area: &Area<'_>, what: &str, at: (i32, i32), size: i32, ink: RGBColor) -> Drawn {
    let style = (FONT, size)
        .into_text_style(area)
        .color(&ink)
        .pos(Pos::new(HPos::Left, VPos::Center));
    Ok(area.draw(&Text::new(what, at, style))?)
}

/// A panel with its title, axes and grid.
fn panel<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    (x, y): (Range<f64>, Range<f64>),
    y_name: &str,
    y_tick: &dyn Fn(&f64) -> String,
    right: i32,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    text(area, title, (28, 16), 17, INK)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(34)
        .margin_right(right)
        .margin_left(20)
        .margin_bottom(6)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y.clone())?;
    let quiet = |size| (FONT, size).into_font().color(&QUIET);
    chart
        .configure_mesh()
        .x_desc("frame")
        .y_desc(y_name)
        .x_labels(7)
        .y_labels(6)
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(QUIET)
        .label_style(quiet(13))
        .axis_desc_style(quiet(14))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| y_tick(y))
        .draw()?;
    Ok(chart)
}

/// The map of pages: addresses over frames.
fn pages(area: &Area<'_>, texture: &Texture, history: &History) -> Drawn {
    let total = tiles_before(texture, texture.levels);
    let gib = |tiles: f64| tiles * 65536.0 / f64::from(1 << 30);
    let top = gib(total as f64);
    let count = history.frames.len() as f64;
    let mut chart = panel(
        area,
        "Resident pages, by address in the image (darker: more)",
        // Address 0 at the top, as the texture has its first row.
        (0.0..count, top..0.0),
        "address (GiB)",
        &|y| format!("{y:.1}"),
        84,
    )?;
    let most = history.frames.iter().flat_map(|rows| rows.values()).max();
    let most = most.copied().unwrap_or(1) as f64;
    let row_height = top / ROWS as f64;
    for (n, rows) in history.frames.iter().enumerate() {
        for (&row, &tiles) in rows {
            // Dark from the first tile on, so that a row with few of them is seen.
            let share = 0.25 + 0.75 * (tiles as f64 / most).sqrt();
            let from = (n as f64, row as f64 * row_height);
            let to = (n as f64 + 1.0, (row + 1) as f64 * row_height);
            let fill = mix(share).filled();
            chart.draw_series([Rectangle::new([from, to], fill)])?;
        }
    }
    let edge = chart.plotting_area().get_x_axis_pixel_range().end;
    for level in 0..texture.levels.min(3) {
        let (first, end) = (
            tiles_before(texture, level),
            tiles_before(texture, level + 1),
        );
        let start = gib(first as f64);
        let line = [(0.0, start), (count, start)];
        chart.draw_series([PathElement::new(line, QUIET.stroke_width(1))])?;
        let middle = gib((first + end) as f64 / 2.0);
        let (_, y) = chart.backend_coord(&(0.0, middle));
        let (x0, y0) = area.get_base_pixel();
        let name = if level == 2 {
            "levels 2+".to_owned()
        } else {
            format!("level {level}")
        };
        text(area, &name, (edge - x0 + 8, y - y0), 13, QUIET)?;
    }
    Ok(())
}

fn mix(share: f64) -> RGBColor {
    let part =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share) as u8;
    RGBColor(
        part(SHEET.0, LEVELS[0].0),
        part(SHEET.1, LEVELS[0].1),
        part(SHEET.2, LEVELS[0].2),
    )
}

/// Resident tiles of each level, stacked, the coarsest at the bottom.
fn levels(area: &Area<'_>, frames: &[Frame]) -> Drawn {
    let last = frames.len().saturating_sub(1).max(1) as f64;
    let top = f64::from(POOL);
    let mut chart = panel(
        area,
        "Resident tiles, by mip level",
        (0.0..last, 0.0..top * 1.02),
        "tiles of 64 KiB",
        &|y| format!("{y:.0}"),
        84,
    )?;
    // From the whole stack down, each over the one before.
    for (finest, colour) in LEVELS.iter().enumerate() {
        let points = frames.iter().enumerate().map(|(n, frame)| {
            let tiles: u32 = frame.resident.iter().skip(finest).sum();
            (n as f64, f64::from(tiles))
        });
        chart.draw_series(AreaSeries::new(points, 0.0, *colour))?;
    }
    let edge = chart.plotting_area().get_x_axis_pixel_range().end - area.get_base_pixel().0;
    for (i, (name, colour)) in ["level 0", "level 1", "level 2", "coarser"]
        .iter()
        .zip(LEVELS)
        .enumerate()
    {
        let y = 48 + 22 * i as i32;
        area.draw(&Rectangle::new(
            [(edge + 8, y - 6), (edge + 20, y + 6)],
            colour.filled(),
        ))?;
        text(area, name, (edge + 25, y), 13, QUIET)?;
    }
    Ok(())
}

/// One line a strategy. Lines that are the same take turns.
fn lines(
    area: &Area<'_>,
    title: &str,
    counted: &[Counted],
    value: fn(&Cost) -> u64,
    logarithmic: bool,
) -> Drawn {
    let last = counted
        .iter()
        .map(|way| way.frames.len())
        .max()
        .unwrap_or(0);
    let last = last.saturating_sub(1).max(1) as f64;
    let values = || counted.iter().flat_map(|way| way.frames.iter().map(value));
    let most = values().max().unwrap_or(1).max(1) as f64;
    let range = if logarithmic {
        let least = values().filter(|&v| v > 0).min().unwrap_or(1) as f64;
        // Above, room for the legend.
        least.log10().floor()..most.log10().ceil() + 1.0
    } else {
        0.0..most + 1.0
    };
    let scale = move |v: u64| {
        if logarithmic {
            (v.max(1) as f64).log10()
        } else {
            v as f64
        }
    };
    let tick = move |y: &f64| match (logarithmic, y.fract().abs() < 1e-6) {
        (_, false) => String::new(),
        (true, _) => thousands(10u64.pow(y.max(0.0) as u32)),
        (false, _) => format!("{y:.0}"),
    };
    let name = if logarithmic { "operations" } else { "ioctls" };
    let chart = panel(area, title, (0.0..last, range), name, &tick, 28)?;
    let (left, top) = area.get_base_pixel();
    let path = |way: &Counted| -> Vec<(i32, i32)> {
        let costs = way.frames.iter().enumerate();
        costs
            .map(|(n, cost)| chart.backend_coord(&(n as f64, scale(value(cost)))))
            .map(|(x, y)| (x - left, y - top))
            .collect()
    };
    let paths: Vec<_> = counted.iter().map(path).collect();
    for (way, pieces) in counted.iter().zip(turns(&paths)) {
        for piece in pieces {
            let stroke = colour(&way.strategy).stroke_width(3);
            area.draw(&PathElement::new(piece, stroke))?;
        }
    }
    for (i, way) in counted.iter().enumerate() {
        let y = 50 + 20 * i as i32;
        let x = 270;
        let ink = colour(&way.strategy).filled();
        area.draw(&Rectangle::new([(x, y - 3), (x + 22, y + 3)], ink))?;
        let label = format!(
            "{}, {}: {} + {} at creation",
            way.strategy,
            way.kernel.trim_start_matches("vpanthor:"),
            thousands(value(&way.sum())),
            thousands(value(&way.creation))
        );
        text(area, &label, (x + 30, y), 13, INK)?;
    }
    if logarithmic {
        let note = "where lines are the same, their colours take turns";
        text(area, note, (318, 17), 12, QUIET)?;
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
