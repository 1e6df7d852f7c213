//! Tiles in three dimensions, numbered row by row and slice by slice.

/// How many tiles lie along x, y and z. Each number is at least 1, and their product fits in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid(pub [u64; 3]);

/// The tiles from `from` up to, but without, `to`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileBox {
    pub from: [u64; 3],
    pub to: [u64; 3],
}

impl TileBox {
    pub fn sides(&self) -> [u64; 3] {
        [0, 1, 2].map(|axis| self.to[axis] - self.from[axis])
    }

    /// Number of tiles.
    pub fn count(&self) -> u64 {
        self.sides().iter().product()
    }
}

/// Tiles whose numbers follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Number of the first tile.
    pub first: u64,
    /// How many tiles.
    pub count: u64,
}

impl Grid {
    /// Number of tiles.
    pub fn count(self) -> u64 {
        self.0.iter().product()
    }

    fn number(self, [x, y, z]: [u64; 3]) -> u64 {
        let [width, height, _] = self.0;
        (z * height + y) * width + x
    }

    fn tile(self, number: u64) -> [u64; 3] {
        let [width, height, _] = self.0;
        [
            number % width,
            number / width % height,
            number / (width * height),
        ]
    }

    /// The tiles of a box in as few runs as can be, ascending: rows that span the grid follow one another
    /// without a gap, and so do slices that do.
    pub fn runs(self, part: TileBox) -> Runs {
        let [width, height, _] = self.0;
        let [columns, rows, slices] = part.sides();
        let (count, rows, slices) = match (columns == width, rows == height) {
            (true, true) => (columns * rows * slices, 1, 1),
            (true, false) => (columns * rows, 1, slices),
            (false, _) => (columns, rows, slices),
        };
        Runs {
            first: self.number(part.from),
            count,
            pitch: [width, width * height],
            rows,
            row: 0,
            left: rows * slices,
        }
    }

    /// A run as few boxes, in its order, each row by row and slice by slice: a part of a row, the rest of a slice,
    /// whole slices, whole rows, a part of a row. There are at most these five.
    pub fn boxes(self, run: Run) -> Boxes {
        Boxes {
            grid: self,
            at: run.first,
            end: run.first + run.count,
        }
    }
}

/// See [`Grid::runs`].
#[derive(Clone, Debug)]
pub(super) struct Runs {
    first: u64,
    count: u64,
    /// From a row to the next, and from a slice to the next.
    pitch: [u64; 2],
    /// In each slice.
    rows: u64,
    /// Of the next run, in its slice.
    row: u64,
    left: u64,
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.left = self.left.checked_sub(1)?;
        let run = Run {
            first: self.first + self.row * self.pitch[0],
            count: self.count,
        };
        self.row += 1;
        if self.row == self.rows {
            self.row = 0;
            self.first += self.pitch[1];
        }
        Some(run)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).ok();
        (left.unwrap_or(usize::MAX), left)
    }
}

/// See [`Grid::boxes`].
#[derive(Clone, Debug)]
pub(super) struct Boxes {
    grid: Grid,
    at: u64,
    end: u64,
}

impl Iterator for Boxes {
    type Item = TileBox;

    fn next(&mut self) -> Option<TileBox> {
        let [width, height, _] = self.grid.0;
        let left = self.end - self.at;
        if left == 0 {
            return None;
        }
        let from @ [x, y, z] = self.grid.tile(self.at);
        let to = if x > 0 || left < width {
            [width.min(x + left), y + 1, z + 1]
        } else if y > 0 || left < width * height {
            [width, height.min(y + left / width), z + 1]
        } else {
            [width, height, z + left / (width * height)]
        };
        let part = TileBox { from, to };
        self.at += part.count();
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(grid: [u64; 3], first: u64, count: u64) -> Vec<([u64; 3], [u64; 3])> {
        Grid(grid)
            .boxes(Run { first, count })
            .map(|part| (part.from, part.to))
            .collect()
    }

    fn runs(grid: [u64; 3], from: [u64; 3], to: [u64; 3]) -> Vec<(u64, u64)> {
        Grid(grid)
            .runs(TileBox { from, to })
            .map(|run| (run.first, run.count))
            .collect()
    }

    #[test]
    fn a_box_of_whole_slices_is_one_run_and_of_whole_rows_one_a_slice() {
        assert_eq!(runs([4, 3, 5], [0, 0, 1], [4, 3, 4]), [(12, 36)]);
        assert_eq!(
            runs([4, 3, 5], [0, 1, 1], [4, 3, 3]),
            [(12 + 4, 8), (24 + 4, 8)]
        );
    }

    #[test]
    fn another_box_is_one_run_a_row() {
        assert_eq!(
            runs([8, 8, 1], [2, 2, 0], [6, 6, 1]),
            [(18, 4), (26, 4), (34, 4), (42, 4)]
        );
    }

    #[test]
    fn a_run_in_a_volume_is_five_boxes_at_most() {
        assert_eq!(
            boxes([4, 3, 5], 6, 12 * 3 + 3),
            [
                ([2, 1, 0], [4, 2, 1]),
                ([0, 2, 0], [4, 3, 1]),
                ([0, 0, 1], [4, 3, 3]),
                ([0, 0, 3], [4, 2, 4]),
                ([0, 2, 3], [1, 3, 4]),
            ]
        );
    }

    #[test]
    fn a_run_of_whole_rows_or_slices_is_one_box() {
        assert_eq!(boxes([4, 3, 5], 4, 8), [([0, 1, 0], [4, 3, 1])]);
        assert_eq!(boxes([4, 3, 5], 12, 24), [([0, 0, 1], [4, 3, 3])]);
        assert_eq!(boxes([4, 3, 5], 5, 2), [([1, 1, 0], [3, 2, 1])]);
        assert_eq!(boxes([4, 3, 5], 0, 0), []);
    }
}
