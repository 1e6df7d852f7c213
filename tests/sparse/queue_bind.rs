//! Every form of a `vkQueueBindSparse` call between two pieces of other work: no, one or several waits; no, one or several
//! signals; of either kind of semaphore; with and without a fence; of one or several infos, with and without binds.
//!
//! Each piece of work writes where the bind before it and none after it has the buffer. Where all semaphores are timelines, the
//! first bind waits for the host, and all that follows is queued before the host signals: a bind that does not wait, for all
//! that it should, signals its fence or lets work run too early. (A binary semaphore may be waited for only when all that
//! its signal depends on is submitted, so there the host's signal can't come last.)

use common::gpu::{Point, bind};
use common::pattern::pattern;
use common::work::Work;
use common::{Batch, Buffer, Fence, Gpu, Memory, SZ_64K, Semaphore};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Binary,
    Timeline,
    /// Every second one.
    Both,
}

/// One row of the table. All numbers are for each info of a call.
#[derive(Debug, Clone, Copy)]
struct Form {
    kind: Kind,
    waits: usize,
    signals: usize,
    fence: bool,
    infos: usize,
    /// Whether the infos bind anything.
    binds: bool,
}

fn forms(fence: bool) -> Vec<Form> {
    let mut forms = Vec::new();
    for kind in [Kind::Binary, Kind::Timeline, Kind::Both] {
        for (waits, signals) in [0, 1, 3].map(|w| [0, 1, 3].map(|s| (w, s))).concat() {
            // Of no semaphores there is one kind, and of one there are not both.
            let sorts = match waits.max(signals) {
                0 => 1,
                1 => 2,
                _ => 3,
            };
            if kind as usize >= sorts {
                continue;
            }
            for (infos, binds) in [(1, true), (1, false), (3, true), (3, false)] {
                forms.push(Form {
                    kind,
                    waits,
                    signals,
                    fence,
                    infos,
                    binds,
                });
            }
        }
    }
    forms
}

/// Nothing is asserted about how long anything takes; this only gives what is wrong the time to show.
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(2));
}

/// What all rows share.
struct Stage<'g> {
    gpu: &'g Gpu,
    buffer: Buffer<'g>,
    /// What the buffer has at first, what the first bind gives it, and what the second one gives it.
    memories: [Memory<'g>; 3],
}

/// Thirds of the buffer: one for each of three infos.
const PART: u64 = SZ_64K;
const SIZE: u64 = 3 * PART;

/// The semaphores between two neighbours of a chain.
struct Link<'g> {
    semaphores: Vec<(Semaphore<'g>, Point)>,
    /// How many each info takes.
    each: usize,
}

impl<'g> Link<'g> {
    fn new(gpu: &'g Gpu, kind: Kind, each: usize, infos: usize) -> Self {
        let semaphores = (0..each * infos).map(|i| {
            let timeline = match kind {
                Kind::Binary => false,
                Kind::Timeline => true,
                Kind::Both => i % 2 == 1,
            };
            let value = if timeline { 10 + i as u64 } else { 0 };
            let semaphore = Semaphore::new(gpu, timeline.then_some(3));
            let point = semaphore.at(value);
            (semaphore, point)
        });
        Self {
            semaphores: semaphores.collect(),
            each,
        }
    }

    fn all(&self) -> Vec<Point> {
        self.semaphores.iter().map(|&(_, point)| point).collect()
    }

    fn of(&self, info: usize) -> Vec<Point> {
        self.all()[info * self.each..][..self.each].to_vec()
    }

    fn exists(&self) -> bool {
        !self.semaphores.is_empty()
    }
}

impl Stage<'_> {
    /// The call's infos: together they give the buffer this memory.
    fn batches(
        &self,
        form: Form,
        to: &Memory<'_>,
        before: &Link<'_>,
        after: &Link<'_>,
    ) -> Vec<Batch> {
        let infos = form.infos as u64;
        let part = SIZE / infos;
        let batch = |i: u64| {
            let mut batch = if form.binds {
                Batch::buffer(&self.buffer, [bind(i * part, part, to, i * part)])
            } else {
                Batch::default()
            };
            batch.waits = before.of(i as usize);
            batch.signals = after.of(i as usize);
            batch
        };
        (0..infos).map(batch).collect()
    }

    /// work, bind, work, bind, work.
    fn play(&self, form: Form, seed: u32) {
        let gpu = self.gpu;
        let [first, second, third] = &self.memories;
        gpu.bind(&[Batch::buffer(&self.buffer, [bind(0, SIZE, first, 0)])]);
        let link = |each| Link::new(gpu, form.kind, each, form.infos);
        // Before and after each of the binds.
        let links = [form.waits, form.signals, form.waits, form.signals].map(link);
        let works =
            [0, 1, 2].map(|i| Work::record(gpu, |r| r.fill(&self.buffer, 0, SIZE, seed + i)));
        let fences = [0, 1].map(|_| form.fence.then(|| Fence::new(gpu)));
        let mut held = form.kind == Kind::Timeline && form.waits > 0;
        let release = || {
            let mut left = links[0].semaphores.len();
            for (semaphore, point) in &links[0].semaphores {
                pause();
                let early = fences.iter().flatten().any(Fence::signalled)
                    || works[1..].iter().any(Work::done);
                assert!(!early, "{form:?}: done while {left} waits are left");
                semaphore.signal(point.value);
                left -= 1;
            }
        };
        if held || !links[0].exists() {
            works[0].submit(&[], &[]);
            works[0].wait();
        } else {
            works[0].submit(&[], &links[0].all());
        }
        for (i, memory) in [second, third].into_iter().enumerate() {
            let (before, after) = (&links[2 * i], &links[2 * i + 1]);
            if i > 0 && !before.exists() {
                // Nothing but the host puts the bind behind the work.
                works[i].wait();
            }
            let batches = self.batches(form, memory, before, after);
            gpu.bind_async(&batches, fences[i].as_ref())
                .unwrap_or_else(|error| panic!("{form:?}: bind {i}: {error}"));
            if !after.exists() {
                if std::mem::take(&mut held) {
                    release();
                }
                match &fences[i] {
                    Some(fence) => fence.wait(),
                    None => gpu.wait_idle(),
                }
            }
            let next = links.get(2 * i + 2).map_or(vec![], Link::all);
            works[i + 1].submit(&after.all(), &next);
        }
        if held {
            release();
        }
        works.iter().for_each(Work::wait);
        fences.iter().flatten().for_each(Fence::wait);
        // Timelines have the values that were signalled.
        for (semaphore, point) in links.iter().flat_map(|link| &link.semaphores) {
            if point.value > 0 {
                semaphore.wait(point.value);
            }
        }
        // Without binds, all work is on the first memory.
        let expected: &[(&Memory<'_>, u32)] = if form.binds {
            &[(first, seed), (second, seed + 1), (third, seed + 2)]
        } else {
            &[(first, seed + 2)]
        };
        for (memory, seed) in expected {
            let held = memory.read(0, SIZE);
            let wrong = (0..)
                .zip(&held)
                .find(|&(i, &word)| word != pattern(*seed, i));
            assert!(
                wrong.is_none(),
                "{form:?}: a memory has not what was written while it was bound: {wrong:x?}"
            );
        }
    }
}

fn play_all(gpu: &Gpu, fence: bool) {
    let buffer = gpu.sparse_buffer(SIZE);
    let memories = [0, 1, 2].map(|_| gpu.memory(&buffer, SIZE));
    let stage = Stage {
        gpu,
        buffer,
        memories,
    };
    let forms = forms(fence);
    assert_eq!(forms.len(), (1 + 3 * 2 + 5 * 3) * 4);
    for (form, i) in forms.into_iter().zip(1..) {
        stage.play(form, i * 8);
    }
}

pub fn all_forms_with_a_fence(gpu: &Gpu) {
    play_all(gpu, true);
}

pub fn all_forms_without_a_fence(gpu: &Gpu) {
    play_all(gpu, false);
}

/// A call of several calls' length: each waits for the one before it, and only the last has a fence; nothing in between
/// is other work.
pub fn a_chain_of_binds_alone(gpu: &Gpu) {
    const LINKS: usize = 12;
    for kind in [Kind::Binary, Kind::Timeline, Kind::Both] {
        let buffer = gpu.sparse_buffer(SIZE);
        let memory = gpu.memory(&buffer, SIZE * LINKS as u64);
        let gate = gpu.timeline(0);
        let links: Vec<Link<'_>> = (0..LINKS).map(|_| Link::new(gpu, kind, 2, 1)).collect();
        let fence = Fence::new(gpu);
        for (i, after) in links.iter().enumerate() {
            let place = i as u64 * SIZE;
            let mut batch = Batch::buffer(&buffer, [bind(0, SIZE, &memory, place)]);
            batch.waits = match i.checked_sub(1) {
                None => vec![gate.at(1)],
                Some(before) => links[before].all(),
            };
            batch.signals = after.all();
            if i == 0 && kind != Kind::Timeline {
                gate.signal(1);
            }
            gpu.bind_async(&[batch], None).expect("bind");
        }
        let write = Work::record(gpu, |r| r.fill(&buffer, 0, SIZE, 7));
        write.submit(&links[LINKS - 1].all(), &[]);
        gpu.bind_async(&[], Some(&fence)).expect("a fence alone");
        if kind == Kind::Timeline {
            pause();
            assert!(!fence.signalled() && !write.done(), "the first bind waits");
            gate.signal(1);
        }
        write.wait();
        fence.wait();
        gpu.wait_idle();
        let held = memory.read((LINKS as u64 - 1) * SIZE, SIZE);
        common::pattern::assert_pattern("the last memory", &held, 7, 0);
    }
}
