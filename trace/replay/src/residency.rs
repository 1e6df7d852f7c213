//! How much of each resource is bound, over time.

use std::collections::HashMap;
use std::ops::Range;

use super::Replay;
use trace::Event;
use vulkan::calls::ResourceId;

/// Moments that are kept.
const MOST_SAMPLES: usize = 960;
/// Resources that are kept one by one: the largest.
const MOST_BANDS: usize = 10;
/// Ranges of addresses that one resource is divided into.
const MOST_BINS: u64 = 96;
/// No range is smaller, in bytes.
const LEAST_BIN: u64 = 64 << 10;

/// The residency of the resources of a recording, in no more moments and resources than a picture can show.
///
/// A moment is the end of a step ([`Step`](super::Step)). Every `stride`-th is kept; where they become too many, every
/// second one goes. Where there are too many resources, the smallest go into one band together.
#[derive(Debug)]
pub struct Residency {
    /// Steps from one moment to the next.
    pub stride: u64,
    /// Moments.
    pub samples: usize,
    /// In the order of creation.
    pub bands: Vec<Band>,
    /// All others, together; it has one bin.
    pub others: Band,
    /// Resources in `others`.
    pub other_count: u64,
    /// Bytes of `others` at each moment: bound, and in all.
    other_bytes: Vec<[u64; 2]>,
    /// Sizes of those of `others` that are alive.
    other_alive: HashMap<(u64, ResourceId), u64>,
    /// Bands that are alive.
    alive: HashMap<(u64, ResourceId), usize>,
    steps: u64,
    frames: bool,
}

/// One resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Band {
    /// As messages name it.
    pub name: String,
    /// Bytes of address space.
    pub size: u64,
    /// The moment that `shares` begins with.
    pub first: usize,
    /// By moment while the resource was there: of each bin, the share of its bytes that is bound, 0 to 1.
    pub shares: Vec<Vec<f32>>,
}

impl Band {
    fn bins(&self) -> u64 {
        self.size.div_ceil(LEAST_BIN).clamp(1, MOST_BINS)
    }

    /// The bytes of bin `bin`.
    fn bin(&self, bin: u64) -> Range<u64> {
        let at =
            |bin: u64| (u128::from(self.size) * u128::from(bin) / u128::from(self.bins())) as u64;
        at(bin)..at(bin + 1)
    }

    /// The highest share that any bin ever has.
    pub fn most(&self) -> f32 {
        self.shares.iter().flatten().copied().fold(0.0, f32::max)
    }
}

impl Default for Residency {
    fn default() -> Self {
        Self {
            stride: 1,
            samples: 0,
            bands: Vec::new(),
            others: Band::default(),
            other_count: 0,
            other_bytes: Vec::new(),
            other_alive: HashMap::new(),
            alive: HashMap::new(),
            steps: 0,
            frames: false,
        }
    }
}

impl Residency {
    pub fn new() -> Self {
        Self::default()
    }

    /// `event` has been replayed.
    pub fn note(&mut self, event: &Event, replay: &Replay) {
        match event {
            Event::BufferCreated(buffer) => {
                self.create(buffer.device, ResourceId::Buffer(buffer.buffer), replay);
            }
            Event::ImageCreated(image) => {
                self.create(image.device, ResourceId::Image(image.image), replay);
            }
            Event::ResourceDestroyed { device, resource } => self.forget(&(*device, *resource)),
            Event::DeviceCreated(created) => self.forget_all(created.device),
            Event::DeviceDestroyed { device } => self.forget_all(*device),
            Event::Present { .. } => {
                if !std::mem::replace(&mut self.frames, true) {
                    self.begin_anew();
                }
                self.step(replay);
            }
            Event::BindSparse { .. } if !self.frames => self.step(replay),
            _ => {}
        }
    }

    /// The recording ends here. Resources that were never seen at a moment go, and so does what `others` needs no more.
    pub fn finish(&mut self) {
        self.bands.retain(|band| !band.shares.is_empty());
        self.others.name = format!("{} smaller", self.other_count);
        self.others.size = self
            .other_bytes
            .iter()
            .map(|[_, all]| *all)
            .max()
            .unwrap_or(0);
        let share = |&[bound, all]: &[u64; 2]| vec![bound as f32 / all.max(1) as f32];
        self.others.shares = self.other_bytes.iter().map(share).collect();
    }

    /// What was seen call by call goes: there are frames.
    fn begin_anew(&mut self) {
        (self.stride, self.steps, self.samples) = (1, 0, 0);
        self.other_bytes.clear();
        for band in &mut self.bands {
            band.first = 0;
            band.shares.clear();
        }
    }

    fn create(&mut self, device: u64, id: ResourceId, replay: &Replay) {
        let key = (device, id);
        self.forget(&key);
        // What can't be placed has no addresses.
        let Some(size) = replay.resource_size(device, id) else {
            return;
        };
        if self.bands.len() >= MOST_BANDS {
            let smallest = (0..self.bands.len()).min_by_key(|&i| self.bands[i].size);
            match smallest {
                Some(i) if self.bands[i].size < size => self.push_out(i),
                _ => {
                    self.other_count += 1;
                    self.other_alive.insert(key, size);
                    return;
                }
            }
        }
        self.alive.insert(key, self.bands.len());
        self.bands.push(Band {
            name: id.to_string(),
            size,
            first: self.samples,
            shares: Vec::new(),
        });
    }

    /// Band `i` becomes one of the others, with its past.
    fn push_out(&mut self, i: usize) {
        let band = self.bands.remove(i);
        self.other_count += 1;
        self.other_bytes.resize(self.samples, [0; 2]);
        for (moment, shares) in (band.first..).zip(&band.shares) {
            let bound = (0..).zip(shares).map(|(bin, &share)| {
                let range = band.bin(bin);
                f64::from(share) * (range.end - range.start) as f64
            });
            if let Some([other_bound, all]) = self.other_bytes.get_mut(moment) {
                *other_bound += bound.sum::<f64>().round() as u64;
                *all += band.size;
            }
        }
        let was = self.alive.iter().find(|(_, at)| **at == i);
        if let Some(key) = was.map(|(key, _)| *key) {
            self.alive.remove(&key);
            self.other_alive.insert(key, band.size);
        }
        for at in self.alive.values_mut().filter(|at| **at > i) {
            *at -= 1;
        }
    }

    fn forget(&mut self, key: &(u64, ResourceId)) {
        self.alive.remove(key);
        self.other_alive.remove(key);
    }

    fn forget_all(&mut self, device: u64) {
        self.alive.retain(|(of, _), _| *of != device);
        self.other_alive.retain(|(of, _), _| *of != device);
    }

    fn step(&mut self, replay: &Replay) {
        self.steps += 1;
        if self.steps % self.stride != 0 {
            return;
        }
        if self.samples == MOST_SAMPLES {
            self.thin();
            if self.steps % self.stride != 0 {
                return;
            }
        }
        self.sample(replay);
    }

    /// Every second moment goes.
    fn thin(&mut self) {
        self.stride *= 2;
        self.samples /= 2;
        let mut moment = 0;
        self.other_bytes.retain(|_| {
            moment += 1;
            moment % 2 == 0
        });
        for band in &mut self.bands {
            let mut moment = band.first;
            band.shares.retain(|_| {
                moment += 1;
                moment % 2 == 0
            });
            band.first /= 2;
        }
    }

    fn sample(&mut self, replay: &Replay) {
        let mut bytes: HashMap<usize, Vec<u64>> = (self.alive.values())
            .map(|&at| (at, vec![0; self.bands[at].bins() as usize]))
            .collect();
        let mut others = 0;
        let mut latest = None;
        replay.each_bound(&mut |device, id, range| {
            let key = (device, id);
            let at = match latest {
                Some((known, at)) if known == key => at,
                _ => latest.insert((key, self.alive.get(&key).copied())).1,
            };
            let Some((at, bins)) = at.and_then(|at| Some((at, bytes.get_mut(&at)?))) else {
                others += range.end - range.start;
                return;
            };
            let band = &self.bands[at];
            let count = bins.len() as u128;
            let bin_of = |byte: u64| u128::from(byte) * count / u128::from(band.size.max(1));
            for bin in bin_of(range.start)..=bin_of(range.end.saturating_sub(1)) {
                let part = band.bin(bin as u64);
                let bound = range
                    .end
                    .min(part.end)
                    .saturating_sub(range.start.max(part.start));
                if let Some(sum) = bins.get_mut(bin as usize) {
                    *sum += bound;
                }
            }
        });
        for (at, bins) in bytes {
            let band = &mut self.bands[at];
            let share = |(bin, sum): (u64, &u64)| {
                let part = band.bin(bin);
                *sum as f32 / (part.end - part.start).max(1) as f32
            };
            let shares = (0..).zip(&bins).map(share).collect();
            band.shares.push(shares);
        }
        self.other_bytes.resize(self.samples, [0; 2]);
        self.other_bytes
            .push([others, self.other_alive.values().sum()]);
        self.samples += 1;
    }
}
