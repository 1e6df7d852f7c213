//! A recording step by step: frame by frame, or call by call where it has no frames.

use std::ops::Range;

use super::Counts;
use trace::Event;

/// What one step of a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Up to and with a `vkQueuePresentKHR`. What follows the last one is a frame, too, if anything was counted in it.
    Frame,
    /// A `vkQueueBindSparse`, with what came before it: nothing was presented.
    Call,
}

impl Step {
    /// As it is written in front of a number.
    pub fn name(self) -> &'static str {
        match self {
            Step::Frame => "frame",
            Step::Call => "call",
        }
    }
}

/// Points of a [`Series`].
const MOST_POINTS: usize = 2048;

/// Steps that are kept one by one.
pub const MOST_KEPT: usize = 1 << 16;

/// Operations and ioctls over the steps, in no more points than a picture can show: each stands for `stride` steps, the
/// last one for those that are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub stride: u64,
    /// Of each point, the most operations and the most ioctls that one of its steps has.
    pub points: Vec<[u64; 2]>,
    /// Steps in the last point.
    filled: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            stride: 1,
            points: Vec::new(),
            filled: 1,
        }
    }
}

impl Series {
    fn push(&mut self, step: [u64; 2]) {
        match self.points.last_mut() {
            Some(last) if self.filled < self.stride => {
                *last = most(*last, step);
                self.filled += 1;
                return;
            }
            _ => {}
        }
        if self.points.len() == MOST_POINTS {
            let pairs = self.points.chunks(2);
            self.points = pairs
                .map(|pair| pair.iter().copied().fold([0; 2], most))
                .collect();
            self.stride *= 2;
        }
        self.points.push(step);
        self.filled = 1;
    }
}

fn most(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0].max(other[0]), one[1].max(other[1])]
}

/// What is known of the steps at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub step: Step,
    /// Steps of the whole recording.
    pub count: u64,
    /// Of the whole recording.
    pub series: Series,
    /// The steps that were asked for one by one, up to [`MOST_KEPT`] of them.
    pub steps: Vec<Counts>,
    /// All steps that were asked for, together.
    pub sum: Counts,
}

/// Collects the counts of each step while a recording is replayed.
#[derive(Debug)]
pub struct Steps {
    wanted: Range<u64>,
    frames: Track,
    /// `None` once there was a frame.
    calls: Option<Track>,
}

#[derive(Debug, Default)]
struct Track {
    last: Counts,
    count: u64,
    series: Series,
    kept: Vec<Counts>,
    sum: Counts,
}

impl Track {
    fn step(&mut self, totals: Counts, wanted: &Range<u64>) {
        let counts = totals - self.last;
        self.last = totals;
        self.series
            .push([counts.vm_bind_ops, counts.vm_bind_ioctls]);
        if wanted.contains(&self.count) {
            self.sum = self.sum + counts;
            if self.kept.len() < MOST_KEPT {
                self.kept.push(counts);
            }
        }
        self.count += 1;
    }
}

impl Steps {
    /// `wanted`: the steps that are kept one by one and summed up, from 0.
    pub fn new(wanted: Range<u64>) -> Self {
        Self {
            wanted,
            frames: Track::default(),
            calls: Some(Track::default()),
        }
    }

    /// `event` has been replayed, and the counts of the whole replay are `totals` now.
    pub fn note(&mut self, event: &Event, totals: impl FnOnce() -> Counts) {
        match (event, &mut self.calls) {
            (Event::Present { .. }, _) => {
                self.calls = None;
                self.frames.step(totals(), &self.wanted);
            }
            (Event::BindSparse { .. }, Some(calls)) => calls.step(totals(), &self.wanted),
            _ => {}
        }
    }

    /// The recording ends here.
    pub fn finish(self, totals: Counts) -> Kept {
        let (step, mut track) = match self.calls {
            Some(calls) => (Step::Call, calls),
            None => (Step::Frame, self.frames),
        };
        if totals != track.last {
            track.step(totals, &self.wanted);
        }
        Kept {
            step,
            count: track.count,
            series: track.series,
            steps: track.kept,
            sum: track.sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_any_length_has_few_points_and_keeps_its_peaks() {
        let mut series = Series::default();
        let steps = 3 * MOST_POINTS as u64 + 5;
        for i in 0..steps {
            series.push([i % 7, if i == 5000 { 99 } else { 1 }]);
        }
        assert_eq!(series.stride, 4);
        assert_eq!(series.points.len() as u64, steps.div_ceil(4));
        assert_eq!(series.points[5000 / 4][1], 99);
        assert!(series.points[..100].iter().all(|point| point[0] >= 3));
        assert_eq!(series.filled, steps % 4);
    }
}
