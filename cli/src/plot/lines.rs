//! Quantities over time: one panel a quantity, one line a way.

use plotters::prelude::*;

use super::shared::turns;
use super::style::{
    Area, Drawn, GRID, QUIET, colour, failed, heading, ink, line, picture, quiet, rectangle, text,
};
use super::ticks::{count_tick, whole_steps};

/// The picture.
#[derive(Debug)]
pub struct Lines {
    pub title: String,
    pub subtitle: String,
    pub note: String,
    /// What the horizontal axis counts.
    pub x_name: String,
    /// Steps from one point to the next, and the number of the first.
    pub stride: u64,
    pub first: u64,
    /// Panels, from top to bottom.
    pub panels: Vec<Values>,
}

/// One panel.
#[derive(Debug)]
pub struct Values {
    pub title: String,
    pub lines: Vec<Line>,
}

#[derive(Debug)]
pub struct Line {
    /// The strategy, which has the colour.
    pub strategy: String,
    /// Beside the colour.
    pub name: String,
    /// Below the name.
    pub detail: String,
    pub values: Vec<u64>,
}

const WIDTH: i32 = 1200;
const MARGIN: i32 = 32;
const HEADER: i32 = 84;
const PANEL: i32 = 300;
const PLOT: i32 = 226;
const LEFT: i32 = 104;
/// Where the legend begins.
const LEGEND: i32 = 916;
const FOOTER: i32 = 44;
const STROKE: u32 = 3;
/// Where largest and smallest differ by this factor, the scale is logarithmic.
const LOGARITHMIC_FROM: u64 = 20;

impl Lines {
    /// The picture as SVG text.
    pub fn render(&self) -> Result<String, String> {
        let height = HEADER + PANEL * self.panels.len() as i32 + FOOTER;
        picture((WIDTH, height), |root| {
            heading(root, MARGIN, &self.title, &self.subtitle)?;
            for (i, panel) in self.panels.iter().enumerate() {
                self.panel(root, panel, HEADER + PANEL * i as i32)?;
            }
            let note_at = (MARGIN, height - FOOTER / 2);
            text(root, &self.note, note_at, quiet(13))
        })
    }

    fn panel(&self, root: &Area<'_>, panel: &Values, top: i32) -> Drawn {
        let scale = Scale::of(&panel.lines);
        let title = match scale {
            Scale::Linear(_) => panel.title.clone(),
            Scale::Logarithmic(_) => format!("{} (logarithmic)", panel.title),
        };
        text(root, &title, (MARGIN, top + 12), ink(17))?;
        let (from, to) = (top + 32, top + 32 + PLOT);
        let right = LEGEND - 28;
        for (value, name) in scale.ticks() {
            let y = to - scale.pixel(value);
            line(root, (LEFT, y), (right, y), GRID)?;
            text(root, &name, (LEFT - 8, y), quiet(13).right())?;
        }
        let points = panel.lines.iter().map(|line| line.values.len()).max();
        let points = points.unwrap_or(0).max(1);
        let last = (points - 1).max(1) as f64;
        let x_of = |i: f64| LEFT + (i / last * f64::from(right - LEFT)).round() as i32;
        let end = self.first + (points as u64 - 1) * self.stride;
        for step in whole_steps(self.first, end, 9) {
            let x = x_of((step - self.first) as f64 / self.stride as f64);
            line(root, (x, to), (x, to + 5), QUIET)?;
            text(root, &step.to_string(), (x, to + 15), quiet(13).centred())?;
        }
        line(root, (LEFT, from), (LEFT, to), QUIET)?;
        line(root, (LEFT, to), (right, to), QUIET)?;
        let middle = ((LEFT + right) / 2, to + 32);
        text(root, &self.x_name, middle, quiet(14).centred())?;

        let path = |line: &Line| -> Vec<(i32, i32)> {
            let values = line.values.iter().enumerate();
            values
                .map(|(i, &value)| (x_of(i as f64), to - scale.pixel(value)))
                .collect()
        };
        let paths: Vec<_> = panel.lines.iter().map(path).collect();
        for (i, pieces) in turns(&paths).into_iter().enumerate() {
            let ink = self.ink(panel, i);
            if let [only] = paths[i][..] {
                // Points that lie on each other are rings.
                let above = paths[i + 1..].iter();
                let covered = above.filter(|path| path[..] == [only]).count();
                let ring = Circle::new(only, 3 + 3 * covered as i32, ink.filled());
                root.draw(&ring).map_err(failed)?;
            }
            for piece in pieces {
                root.draw(&PathElement::new(piece, ink.stroke_width(STROKE)))
                    .map_err(failed)?;
            }
        }
        let row = 44.min(PLOT / panel.lines.len().max(1) as i32);
        for (i, drawn) in panel.lines.iter().enumerate() {
            let y = from + 8 + row * i as i32;
            rectangle(
                root,
                (LEGEND, y - 3),
                (LEGEND + 22, y + 3),
                self.ink(panel, i),
            )?;
            text(root, &drawn.name, (LEGEND + 32, y), ink(14))?;
            text(root, &drawn.detail, (LEGEND + 32, y + 17), quiet(12))?;
        }
        Ok(())
    }

    /// The strategy's colour; darker each time that it comes again.
    fn ink(&self, panel: &Values, i: usize) -> RGBColor {
        let RGBColor(r, g, b) = colour(&panel.lines[i].strategy);
        let before = panel.lines[..i].iter();
        let again = before.filter(|line| line.strategy == panel.lines[i].strategy);
        let darker = 0.62f64.powi(again.count() as i32);
        let part = |part: u8| (f64::from(part) * darker) as u8;
        RGBColor(part(r), part(g), part(b))
    }
}

/// From a value to pixels above the axis.
enum Scale {
    /// Up to this value.
    Linear(u64),
    /// Up to this power of ten. 0 lies half a decade below 1.
    Logarithmic(u32),
}

const HALF: f64 = 0.5;

impl Scale {
    fn of(lines: &[Line]) -> Scale {
        let values = || lines.iter().flat_map(|line| line.values.iter().copied());
        let most = values().max().unwrap_or(0);
        // Peaks that every line has are no reason: it is the lines that shall be told apart.
        let peaks = lines.iter().map(|line| line.values.iter().max().copied());
        let lowest_peak = peaks.map(|peak| peak.unwrap_or(0).max(1)).min();
        if most / lowest_peak.unwrap_or(1) >= LOGARITHMIC_FROM {
            Scale::Logarithmic(most.ilog10() + 1)
        } else {
            Scale::Linear(round_up(most))
        }
    }

    fn pixel(&self, value: u64) -> i32 {
        let share = match *self {
            Scale::Linear(top) => value as f64 / top as f64,
            Scale::Logarithmic(top) => {
                let at = if value == 0 {
                    -HALF
                } else {
                    (value as f64).log10()
                };
                (at + HALF) / (f64::from(top) + HALF)
            }
        };
        (share * f64::from(PLOT)).round() as i32
    }

    fn ticks(&self) -> Vec<(u64, String)> {
        match *self {
            Scale::Linear(top) => whole_steps(0, top, 5)
                .into_iter()
                .map(|value| (value, crate::size::thousands(value)))
                .collect(),
            Scale::Logarithmic(top) => {
                let decades =
                    (0..=top).map(|decade| (10u64.pow(decade), count_tick(decade as i32)));
                [(0, "0".to_owned())].into_iter().chain(decades).collect()
            }
        }
    }
}

/// The top of a linear scale: a number of one or two digits and zeros.
fn round_up(most: u64) -> u64 {
    let most = most.max(1);
    let unit = 10u64.pow(most.ilog10().saturating_sub(1));
    most.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(strategy: &str, values: &[u64]) -> Line {
        Line {
            strategy: strategy.to_owned(),
            name: format!("{strategy} & co"),
            detail: "detail".to_owned(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn orders_of_magnitude_make_a_scale_logarithmic_and_each_decade_takes_the_same_room() {
        let lines = [drawn("page", &[5, 100_000]), drawn("sparse", &[5, 40])];
        let scale = Scale::of(&lines);
        assert!(matches!(scale, Scale::Logarithmic(6)));
        assert_eq!(scale.pixel(0), 0);
        let decade = scale.pixel(1000) - scale.pixel(100);
        assert!((scale.pixel(10_000) - scale.pixel(1000) - decade).abs() <= 1);
        assert!(matches!(Scale::of(&lines[1..]), Scale::Linear(40)));
    }

    #[test]
    fn a_picture_names_its_ways_and_can_be_of_nothing() {
        for values in [&[][..], &[0], &[1, 2, 3]] {
            let lines = Lines {
                title: "title".into(),
                subtitle: "subtitle".into(),
                note: "note".into(),
                x_name: "frame".into(),
                stride: 1,
                first: 0,
                panels: vec![Values {
                    title: "ops".into(),
                    lines: vec![drawn("page", values)],
                }],
            };
            let svg = lines.render().expect("drawn");
            assert!(svg.contains("page &amp; co") && svg.contains("frame"));
        }
    }
}
