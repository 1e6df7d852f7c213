//! Shares over time, as colours: a band for each thing, one above the other.

use plotters::prelude::*;

use super::style::{
    Area, Drawn, GRID, QUIET, SHEET, heading, ink, line, picture, quiet, rectangle, text,
};
use super::ticks::whole_steps;

/// The picture.
#[derive(Debug)]
pub struct Heat {
    pub title: String,
    pub subtitle: String,
    pub note: String,
    /// What the horizontal axis counts.
    pub x_name: String,
    /// What a colour means.
    pub legend: String,
    /// Steps from one moment to the next.
    pub stride: u64,
    /// Moments.
    pub moments: usize,
    pub bands: Vec<HeatBand>,
}

/// One thing.
#[derive(Debug)]
pub struct HeatBand {
    pub name: String,
    pub detail: String,
    /// Rows are given by weight, with at least room for the name.
    pub weight: f64,
    /// The moment that `shares` begins with.
    pub first: usize,
    /// By moment, of each row of the thing, 0 to 1.
    pub shares: Vec<Vec<f32>>,
}

const WIDTH: i32 = 1200;
const MARGIN: i32 = 32;
const HEADER: i32 = 84;
const LEFT: i32 = 232;
const RIGHT: i32 = 1076;
/// Where the scale of colours is.
const SCALE: i32 = 1104;
const FOOTER: i32 = 92;
/// Pixels that the bands share, and those between two.
const HEIGHT: i32 = 460;
const GAP: i32 = 6;
const LEAST_BAND: i32 = 34;
/// Pixels of a row at least.
const ROW: i32 = 3;
/// More columns than the picture shows would only make the file large.
const MOST_COLUMNS: usize = 240;
const LEVELS: u32 = 12;

/// Nothing is bound, all is bound.
const COLD: RGBColor = RGBColor(228, 232, 232);
const WARM: RGBColor = RGBColor(92, 161, 196);
const HOT: RGBColor = RGBColor(18, 44, 84);

/// The level of a share: finer steps for small ones, and only nothing is 0. A level is of shares up to
/// [`share_of`] it.
fn level(share: f32) -> u32 {
    (share.clamp(0.0, 1.0).sqrt() * LEVELS as f32).ceil() as u32
}

/// The largest share of a level, in percent.
fn share_of(level: u32) -> u32 {
    (100 * level * level).div_ceil(LEVELS * LEVELS)
}

fn colour(level: u32) -> RGBColor {
    let mix = |from: RGBColor, to: RGBColor, share: f64| {
        let part =
            |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share) as u8;
        RGBColor(part(from.0, to.0), part(from.1, to.1), part(from.2, to.2))
    };
    if level == 0 {
        return COLD;
    }
    // From the first level on clearly darker than nothing.
    let share = 0.12 + 0.88 * f64::from(level) / f64::from(LEVELS);
    if share < 0.5 {
        mix(COLD, WARM, share * 2.0)
    } else {
        mix(WARM, HOT, share * 2.0 - 1.0)
    }
}

impl Heat {
    /// The picture as SVG text.
    pub fn render(&self) -> Result<String, String> {
        let heights = self.heights();
        let body: i32 = heights.iter().map(|height| height + GAP).sum();
        let body = body.max(LEAST_BAND);
        let height = HEADER + body + FOOTER;
        picture((WIDTH, height), |root| {
            heading(root, MARGIN, &self.title, &self.subtitle)?;
            let mut top = HEADER;
            for (band, height) in self.bands.iter().zip(heights) {
                self.band(root, band, top, height)?;
                top += height + GAP;
            }
            self.axis(root, HEADER + body)?;
            self.scale(root)?;
            let note_at = (MARGIN, HEADER + body + FOOTER - 20);
            text(root, &self.note, note_at, quiet(13))
        })
    }

    /// Pixels of each band.
    fn heights(&self) -> Vec<i32> {
        let sum: f64 = self.bands.iter().map(|band| band.weight).sum();
        let room = HEIGHT - (LEAST_BAND + GAP) * self.bands.len() as i32;
        let share = |band: &HeatBand| {
            let more = f64::from(room.max(0)) * band.weight / sum.max(f64::MIN_POSITIVE);
            LEAST_BAND + more as i32
        };
        self.bands.iter().map(share).collect()
    }

    fn x(&self, moment: usize) -> i32 {
        LEFT + (moment as i64 * i64::from(RIGHT - LEFT) / self.moments.max(1) as i64) as i32
    }

    fn band(&self, root: &Area<'_>, band: &HeatBand, top: i32, height: i32) -> Drawn {
        let middle = top + height / 2;
        text(root, &band.name, (LEFT - 12, middle - 9), ink(14).right())?;
        text(
            root,
            &band.detail,
            (LEFT - 12, middle + 9),
            quiet(12).right(),
        )?;
        let bins = band.shares.first().map_or(1, Vec::len).max(1);
        let rows = bins.min((height / ROW) as usize).max(1);
        let each = self.moments.div_ceil(MOST_COLUMNS).max(1);
        let y = |row: usize| top + (row as i64 * i64::from(height) / rows as i64) as i32;
        for row in 0..rows {
            let of_row = row * bins / rows..((row + 1) * bins / rows).max(row * bins / rows + 1);
            // A column stands for the last of its moments, and is as wide as all of them.
            let mut from = band.first;
            let mut pending: Option<(u32, i32)> = None;
            let mut end = self.x(from);
            while from < band.first + band.shares.len() {
                let next = ((from / each + 1) * each).min(band.first + band.shares.len());
                let shares = &band.shares[next - 1 - band.first];
                let part = shares.get(of_row.clone()).unwrap_or(&[]);
                let share = part.iter().sum::<f32>() / part.len().max(1) as f32;
                let now = level(share);
                let x = self.x(from);
                match pending {
                    Some((level, _)) if level == now => {}
                    _ => {
                        if let Some((level, begin)) = pending {
                            rectangle(root, (begin, y(row)), (x, y(row + 1)), colour(level))?;
                        }
                        pending = Some((now, x));
                    }
                }
                end = self.x(next);
                from = next;
            }
            if let Some((level, begin)) = pending {
                rectangle(root, (begin, y(row)), (end, y(row + 1)), colour(level))?;
            }
        }
        line(root, (LEFT, top), (LEFT, top + height), QUIET)
    }

    fn axis(&self, root: &Area<'_>, top: i32) -> Drawn {
        line(root, (LEFT, top), (RIGHT, top), QUIET)?;
        let end = self.moments as u64 * self.stride;
        for step in whole_steps(0, end, 9) {
            let share = step as f64 / end.max(1) as f64;
            let x = LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32;
            line(root, (x, top), (x, top + 5), QUIET)?;
            text(root, &step.to_string(), (x, top + 15), quiet(13).centred())?;
        }
        let middle = ((LEFT + RIGHT) / 2, top + 34);
        text(root, &self.x_name, middle, quiet(14).centred())
    }

    fn scale(&self, root: &Area<'_>) -> Drawn {
        let (top, step) = (HEADER + 34, 15);
        for (i, part) in self.legend.split('\n').enumerate() {
            let at = (SCALE, HEADER + 4 + 16 * i as i32);
            text(root, part, at, ink(12))?;
        }
        for level in 0..=LEVELS {
            let y = top + 8 + step * (LEVELS - level) as i32;
            rectangle(root, (SCALE, y), (SCALE + 22, y + step), colour(level))?;
            if level % (LEVELS / 4) == 0 {
                let name = match level {
                    0 => "0 %".to_owned(),
                    _ => format!("≤ {} %", share_of(level)),
                };
                text(root, &name, (SCALE + 30, y + step / 2), quiet(12))?;
            }
        }
        let y = top + 8 + step * (LEVELS as i32 + 2);
        rectangle(root, (SCALE, y), (SCALE + 22, y + step), GRID)?;
        rectangle(root, (SCALE + 1, y + 1), (SCALE + 21, y + step - 1), SHEET)?;
        text(root, "not there", (SCALE + 30, y + step / 2), quiet(12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_told_from_nothing_and_all_from_nearly_all() {
        assert_eq!([0.0, 1e-6, 0.25, 1.0].map(level), [0, 1, 6, 12]);
        assert_eq!([0, 6, 12].map(share_of), [0, 25, 100]);
        assert_ne!(colour(0), colour(1));
        assert_ne!(colour(11), colour(12));
    }

    #[test]
    fn neighbours_of_one_colour_are_one_rectangle_and_long_recordings_make_small_files() {
        let picture = |moments: usize, share: fn(usize) -> f32| Heat {
            title: "title".into(),
            subtitle: String::new(),
            note: String::new(),
            x_name: "frame".into(),
            legend: "bound".into(),
            stride: 1,
            moments,
            bands: vec![HeatBand {
                name: "VkBuffer 0x1".into(),
                detail: "1 GiB".into(),
                weight: 1.0,
                first: 0,
                shares: (0..moments).map(|i| vec![share(i); 4]).collect(),
            }],
        };
        let rectangles = |heat: Heat| heat.render().expect("drawn").matches("<rect").count();
        let empty = rectangles(picture(0, |_| 0.0));
        assert_eq!(rectangles(picture(900, |_| 1.0)), empty + 4);
        let wild = rectangles(picture(900, |i| if i / 8 % 2 == 0 { 0.0 } else { 1.0 }));
        assert!(
            wild > empty + 4 && wild <= empty + 4 * MOST_COLUMNS,
            "{wild}"
        );
    }
}
