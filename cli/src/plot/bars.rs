//! The comparison as a picture: one panel a quantity, one bar a strategy, logarithmic scales.

use std::path::Path;

use super::style::{
    Area, Drawn, GRID, QUIET, SHEET, colour, ink, line, picture, quiet, rectangle, save, text,
};

/// One panel: a quantity of every strategy.
#[derive(Debug)]
pub struct Panel {
    /// What is drawn.
    pub title: String,
    /// How the axis writes a power of ten, unit included.
    pub tick: fn(i32) -> String,
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug)]
pub struct Bar {
    /// The strategy.
    pub name: String,
    /// The quantity; `None` where the kernel does not tell.
    pub value: Option<f64>,
    /// The quantity as it is written beside the bar.
    pub label: String,
}

const WIDTH: i32 = 1080;
const MARGIN: i32 = 32;
const HEADER: i32 = 90;
const PANEL_TOP: i32 = 36;
const ROW: i32 = 46;
const BAR: i32 = 26;
const AXIS: i32 = 34;
const FOOTER: i32 = 40;
/// Pixels at the left of the first panel for the names of the strategies.
const NAMES: i32 = 78;
const PANEL_GAP: i32 = 30;

/// Writes the picture to `path`. The error says what the file system said.
pub fn write(
    path: &Path,
    title: &str,
    subtitle: &str,
    note: &str,
    panels: &[Panel],
) -> Result<(), String> {
    save(path, &render(title, subtitle, note, panels)?)
}

/// The picture as SVG text.
fn render(title: &str, subtitle: &str, note: &str, panels: &[Panel]) -> Result<String, String> {
    let rows = panels
        .iter()
        .map(|panel| panel.bars.len())
        .max()
        .unwrap_or(0) as i32;
    let height = HEADER + PANEL_TOP + rows * ROW + AXIS + FOOTER;
    picture((WIDTH, height), |root| {
        text(root, title, (MARGIN, MARGIN + 4), ink(24))?;
        text(root, subtitle, (MARGIN, MARGIN + 34), quiet(15))?;
        let count = panels.len().max(1) as i32;
        let width = (WIDTH - 2 * MARGIN - NAMES - (count - 1) * PANEL_GAP) / count;
        if let Some(first) = panels.first() {
            for (i, bar) in first.bars.iter().enumerate() {
                let y = HEADER + PANEL_TOP + i as i32 * ROW + ROW / 2;
                text(root, &bar.name, (MARGIN, y), ink(16))?;
            }
        }
        for (i, panel) in panels.iter().enumerate() {
            let left = MARGIN + NAMES + i as i32 * (width + PANEL_GAP);
            draw_panel(root, panel, left, width)?;
        }
        text(root, note, (MARGIN, height - FOOTER / 2 - 2), quiet(13))
    })
}

/// Where values lie between the edges of a panel: a scale from below the smallest to the largest.
struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// Half a decade below the smallest value, so that its bar, too, can be seen: a logarithmic scale has no zero.
    fn of(bars: &[Bar]) -> LogScale {
        let logs = || {
            bars.iter()
                .filter_map(|bar| bar.value)
                .filter(|v| *v > 0.0)
                .map(f64::log10)
        };
        let low = logs().fold(f64::INFINITY, f64::min);
        let high = logs().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return LogScale {
                low: -0.5,
                high: 1.0,
            };
        }
        LogScale {
            low: low.floor() - 0.5,
            high: high.max(low.floor() + 1.0),
        }
    }

    /// Pixels from the left edge, of `width`.
    fn position(&self, value: f64, width: i32) -> i32 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        (share.clamp(0.0, 1.0) * f64::from(width)).round() as i32
    }

    /// The powers of ten on the scale, at most six of them.
    fn decades(&self) -> impl Iterator<Item = i32> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        let step = ((last - first) / 6 + 1) as usize;
        (first..=last).step_by(step)
    }
}

fn draw_panel(root: &Area<'_>, panel: &Panel, left: i32, width: i32) -> Drawn {
    let scale = LogScale::of(&panel.bars);
    // Room at the right for the number beside the longest bar.
    let scale_width = width - 74;
    let top = HEADER + PANEL_TOP;
    let bottom = top + panel.bars.len() as i32 * ROW;
    text(root, &panel.title, (left, HEADER + 14), ink(16))?;
    for decade in scale.decades() {
        let x = left + scale.position(10f64.powi(decade), scale_width);
        line(root, (x, top), (x, bottom + 4), GRID)?;
        text(
            root,
            &(panel.tick)(decade),
            (x, bottom + 16),
            quiet(12).centred(),
        )?;
    }
    for (i, bar) in panel.bars.iter().enumerate() {
        let y = top + i as i32 * ROW + ROW / 2;
        let end = match bar.value {
            Some(value) if value > 0.0 => left + scale.position(value, scale_width),
            _ => left,
        };
        let (from, to) = ((left, y - BAR / 2), (end, y + BAR / 2));
        rectangle(root, from, to, colour(&bar.name))?;
        // A patch of the sheet, so that no grid line runs through the number.
        let width = bar.label.chars().count() as i32 * 8;
        rectangle(root, (end + 3, y - 9), (end + 9 + width, y + 9), SHEET)?;
        text(root, &bar.label, (end + 7, y), ink(14))?;
    }
    line(root, (left, top), (left, bottom + 4), QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, value: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            value: Some(value),
            label: format!("{value}"),
        }
    }

    #[test]
    fn a_value_ten_times_as_large_lies_one_decade_further() {
        let scale = LogScale::of(&[bar("page", 10_000.0), bar("repeat", 1.0)]);
        let at = |value| scale.position(value, 450);
        assert_eq!(
            [at(1.0), at(10.0), at(100.0), at(10_000.0)],
            [50, 150, 250, 450]
        );
    }

    #[test]
    fn the_picture_names_every_strategy_and_every_value_and_escapes_text() {
        let panels = [Panel {
            title: "ops & more".to_owned(),
            tick: super::super::count_tick,
            bars: vec![bar("page", 24415.0), bar("repeat", 1.0)],
        }];
        let svg = render("title <1>", "subtitle", "note", &panels).expect("drawn");
        for part in [
            "page",
            "repeat",
            "24415",
            "ops &amp; more",
            "title &lt;1&gt;",
            "note",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }

    #[test]
    fn values_that_are_not_known_or_zero_leave_a_picture_all_the_same() {
        let mut unknown = bar("page", 0.0);
        unknown.value = None;
        let panels = [Panel {
            title: "t".to_owned(),
            tick: super::super::nanoseconds_tick,
            bars: vec![unknown, bar("chunk", 0.0)],
        }];
        assert!(render("a", "b", "c", &panels).is_ok());
    }
}
