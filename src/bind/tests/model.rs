//! A VM as an array of pages, and how to make up requests for it.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::bind::{Request, Run, Shadow, Target};
use crate::units::{BoHandle, BoRef, SZ_4K, Va};

pub const PAGES: usize = 160;
/// Where page 0 lies.
pub const BASE: u64 = 1 << 32;

/// What each page is mapped to, by the offset of the page; `None` is a hole.
pub type Pages = Vec<Option<Target>>;

pub fn va(page: usize) -> Va {
    Va(BASE + page as u64 * SZ_4K)
}

pub fn page_of(va: Va) -> usize {
    ((va.0 - BASE) / SZ_4K) as usize
}

/// The pages of a range and what each is mapped to.
pub fn pages_of(run: Run) -> impl Iterator<Item = (usize, Target)> {
    assert_eq!(
        (run.va.0 % SZ_4K, run.len % SZ_4K),
        (0, 0),
        "{run:?} is not made of pages"
    );
    (0..run.len / SZ_4K).map(move |i| {
        let target = match run.target {
            Target::Null => Target::Null,
            Target::Memory { .. } => run.target.advanced(i * SZ_4K),
        };
        (page_of(run.va) + i as usize, target)
    })
}

pub fn write(pages: &mut Pages, run: Run) {
    for (page, target) in pages_of(run) {
        pages[page] = Some(target);
    }
}

pub fn as_run(request: &Request) -> Run {
    Run {
        va: request.va,
        len: request.len,
        target: request.target,
    }
}

/// Whether the page `next` could belong to the same extent as the page before it.
pub fn continues(before: Option<Target>, next: Option<Target>) -> bool {
    match (before, next) {
        (Some(Target::Null), Some(Target::Null)) => true,
        (
            Some(Target::Memory {
                bo: a, offset: x, ..
            }),
            Some(Target::Memory {
                bo: b, offset: y, ..
            }),
        ) => a == b && x + SZ_4K == y,
        _ => false,
    }
}

pub fn shadow_of(pages: &Pages) -> Shadow {
    let mut shadow = Shadow::new();
    for (page, target) in pages.iter().enumerate() {
        if let &Some(target) = target {
            shadow.apply(&[Run {
                va: va(page),
                len: SZ_4K,
                target,
            }]);
        }
    }
    shadow
}

/// Memory on few diagonals, so that neighbours often continue each other; handles that return with another serial.
pub fn target(page: usize) -> impl Strategy<Value = Target> {
    let memory = (0u32..2, 0u32..2, prop_oneof![4 => Just(0u64), 1 => 0u64..4]).prop_map(
        move |(bo, serial, shift)| {
            let bo = BoRef {
                handle: BoHandle(1 + bo),
                serial,
            };
            Target::memory(bo, (page as u64 + shift) * SZ_4K)
        },
    );
    prop_oneof![1 => Just(Target::Null), 3 => memory]
}

fn request_at(page: usize, most: usize) -> impl Strategy<Value = Request> {
    (1..=most.min(PAGES - page), target(page)).prop_map(move |(len, target)| Request {
        va: va(page),
        len: len as u64 * SZ_4K,
        target,
    })
}

/// Anywhere, overlapping as they please.
pub fn wild_requests() -> impl Strategy<Value = Vec<Request>> {
    vec((0..PAGES).prop_flat_map(|page| request_at(page, 24)), 0..24)
}

/// Sorted and disjoint.
pub fn tidy_requests() -> impl Strategy<Value = Vec<Request>> {
    vec((0usize..5, 1usize..5, target(0)), 0..48).prop_map(|pieces| {
        let mut at = 0;
        let mut requests = Vec::new();
        for (gap, len, target) in pieces {
            // Mostly no gap.
            at += gap.saturating_sub(2);
            if at + len > PAGES {
                break;
            }
            let target = target.advanced(at as u64 * SZ_4K);
            requests.push(Request {
                va: va(at),
                len: len as u64 * SZ_4K,
                target,
            });
            at += len;
        }
        requests
    })
}

pub fn requests() -> impl Strategy<Value = Vec<Request>> {
    prop_oneof![
        wild_requests(),
        tidy_requests(),
        tidy_requests().prop_shuffle()
    ]
}

/// A state that some binds left, with holes; sometimes one extent a page.
pub fn pages() -> impl Strategy<Value = Pages> {
    let bound =
        (wild_requests(), vec((0..PAGES, 1..PAGES / 4), 0..4)).prop_map(|(requests, holes)| {
            let mut pages = vec![Some(Target::Null); PAGES];
            requests
                .iter()
                .for_each(|request| write(&mut pages, as_run(request)));
            for (start, len) in holes {
                pages[start..PAGES.min(start + len)].fill(None);
            }
            pages
        });
    let dense = Just(()).prop_map(|()| {
        let bo = BoRef {
            handle: BoHandle(1),
            serial: 0,
        };
        (0..PAGES as u64)
            .map(|page| Some(Target::memory(bo, (page ^ 1) * SZ_4K)))
            .collect()
    });
    prop_oneof![4 => bound, 1 => dense]
}
