use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{
    PAGES, Pages, as_run, continues, page_of, pages, pages_of, shadow_of, target, tidy_requests,
    va, write,
};
use crate::bind::{Run, Shadow};
use crate::units::{SZ_4K, Va};

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Run>),
    Forget(usize, usize),
    /// Batches on trial, and whether they are kept.
    Try(Vec<Vec<Run>>, bool),
}

/// A plan as planners make them, or one run for every second page: enough to have the map built anew.
fn plan() -> impl Strategy<Value = Vec<Run>> {
    let tidy = tidy_requests().prop_map(|requests| requests.iter().map(as_run).collect());
    let many = target(0).prop_map(|target| {
        (0..PAGES / 2)
            .map(|i| Run {
                va: va(2 * i),
                len: SZ_4K,
                target: target.advanced(2 * i as u64 * SZ_4K),
            })
            .collect()
    });
    prop_oneof![6 => tidy, 1 => many]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => plan().prop_map(Step::Apply),
        2 => (0..PAGES, 1..PAGES).prop_map(|(start, len)| Step::Forget(start, len.min(PAGES - start))),
        3 => (vec(plan(), 0..4), any::<bool>()).prop_map(|(plans, keep)| Step::Try(plans, keep)),
    ]
}

/// The extents of a range of pages, found page by page.
fn extents_of(pages: &Pages, start: usize, end: usize) -> Vec<Run> {
    let mut extents: Vec<Run> = Vec::new();
    for page in start..end {
        let Some(target) = pages[page] else { continue };
        match extents.last_mut() {
            Some(last) if last.end() == va(page) && continues(pages[page - 1], pages[page]) => {
                last.len += SZ_4K
            }
            _ => extents.push(Run {
                va: va(page),
                len: SZ_4K,
                target,
            }),
        }
    }
    extents
}

fn check(shadow: &Shadow, model: &Pages, from: usize, to: usize) -> Result<(), TestCaseError> {
    for (page, &target) in model.iter().enumerate() {
        prop_assert_eq!(shadow.get(va(page)), target);
        let last = shadow.get(Va(va(page).0 + SZ_4K - 1));
        prop_assert_eq!(last, target.map(|target| target.advanced(SZ_4K - 1)));
    }
    let found: Vec<Run> = shadow
        .extents(va(from), (to - from) as u64 * SZ_4K)
        .collect();
    prop_assert_eq!(found, extents_of(model, from, to));
    prop_assert_eq!(
        shadow.extents(Va(0), u64::MAX).count(),
        extents_of(model, 0, PAGES).len()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_shadow_is_an_array_of_pages(
        before in pages(),
        steps in vec(step(), 1..6),
        range in (0..PAGES, 0..PAGES),
    ) {
        let (from, to) = (range.0.min(range.1), range.0.max(range.1));
        let (mut shadow, mut model) = (shadow_of(&before), before);
        for step in steps {
            match step {
                Step::Apply(runs) => {
                    shadow.apply(&runs);
                    runs.iter().for_each(|&run| write(&mut model, run));
                }
                Step::Forget(start, len) => {
                    shadow.forget(va(start), len as u64 * SZ_4K);
                    model[start..start + len].fill(None);
                }
                Step::Try(plans, keep) => {
                    let (shadow_before, model_before) = (shadow.clone(), model.clone());
                    let mut tentative = shadow.tentative();
                    for runs in &plans {
                        tentative.apply(runs);
                        runs.iter().for_each(|&run| write(&mut model, run));
                        check(tentative.shadow(), &model, from, to)?;
                    }
                    if keep {
                        tentative.commit();
                    } else {
                        drop(tentative);
                        prop_assert_eq!(&shadow, &shadow_before);
                        model = model_before;
                    }
                }
            }
            check(&shadow, &model, from, to)?;
        }
    }

    #[test]
    fn runs_one_by_one_and_all_at_once_leave_the_same_shadow(before in pages(), runs in plan()) {
        let mut at_once = shadow_of(&before);
        let mut one_by_one = at_once.clone();
        at_once.apply(&runs);
        runs.iter().for_each(|&run| one_by_one.apply(&[run]));
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn a_cursor_finds_what_a_search_from_the_start_finds(before in pages(), mut stops in vec(0..PAGES, 0..12)) {
        let shadow = shadow_of(&before);
        stops.sort_unstable();
        let mut cursor = shadow.cursor();
        for stop in stops {
            let expected = shadow.extents(va(stop), u64::MAX).next();
            let found = cursor.seek(va(stop));
            // The cursor tells of the whole extent, also of what lies before the stop.
            prop_assert_eq!(found.and_then(|extent| extent.clipped(va(stop), extent.end())), expected);
            if let Some(extent) = found {
                prop_assert!(pages_of(*extent).all(|(page, target)| before[page] == Some(target)));
                let whole = cursor.has(va(stop), SZ_4K, extent.target.advanced(va(stop).0.saturating_sub(extent.va.0)));
                prop_assert_eq!(whole, page_of(extent.va) <= stop);
            }
        }
    }
}
