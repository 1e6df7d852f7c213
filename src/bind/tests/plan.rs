use proptest::prelude::*;

use super::model::{
    PAGES, Pages, as_run, continues, pages, pages_of, requests, shadow_of, va, write,
};
use crate::bind::{Planner, Request, Run, Shadow, Target};
use crate::units::{BoHandle, BoRef, SZ_4K, Va};

/// Last writer wins, one page after another. Also who wrote each page last.
fn naive(before: &Pages, requests: &[Request]) -> (Pages, Vec<Option<usize>>) {
    let mut after = before.clone();
    let mut writers = vec![None; PAGES];
    for (index, request) in requests.iter().enumerate() {
        write(&mut after, as_run(request));
        pages_of(as_run(request)).for_each(|(page, _)| writers[page] = Some(index));
    }
    (after, writers)
}

/// Number of maximal ranges that change: the fewest runs there can be.
fn lower_bound(before: &Pages, after: &Pages) -> usize {
    let changes = |page: usize| before[page] != after[page];
    (0..PAGES)
        .filter(|&page| {
            changes(page)
                && !(page > 0 && changes(page - 1) && continues(after[page - 1], after[page]))
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_plan_keeps_its_five_guarantees_with_the_fewest_runs(before in pages(), requests in requests()) {
        let shadow = shadow_of(&before);
        let (after, writers) = naive(&before, &requests);
        // What is in the list already is nobody's neighbour.
        let earlier = Run { va: va(7), len: SZ_4K, target: Target::Null };
        let mut runs = vec![earlier];
        let mut planner = Planner::new();
        let stats = planner.plan(&requests, &shadow, &mut runs);
        prop_assert_eq!(runs.remove(0), earlier);

        let mut covered: Pages = vec![None; PAGES];
        runs.iter().for_each(|&run| write(&mut covered, run));

        // 1. Sorted and disjoint.
        prop_assert!(runs.iter().all(|run| run.len > 0));
        prop_assert!(runs.windows(2).all(|pair| pair[0].end() <= pair[1].va));
        for page in 0..PAGES {
            // 2. Every byte that changes is in a run.
            prop_assert!(before[page] == after[page] || covered[page].is_some(), "page {} is left out", page);
            // 3. It has the value of the last request that names it.
            prop_assert!(covered[page].is_none() || covered[page] == after[page], "page {} is wrong", page);
            // 5. No byte is in a run that was so already.
            prop_assert!(covered[page].is_none() || before[page] != after[page], "page {} was so", page);
        }
        // 4. No two neighbours could be one.
        for pair in runs.windows(2) {
            let [last, first] = [pages_of(pair[0]).last(), pages_of(pair[1]).next()].map(Option::unwrap);
            prop_assert!(last.0 + 1 < first.0 || !continues(Some(last.1), Some(first.1)), "{:?}", pair);
        }
        prop_assert_eq!(runs.len(), lower_bound(&before, &after));

        // A gap is named if requests name all of its pages, and one mapping could go on through it.
        let last_page = |run: Run| pages_of(run).last().map_or(0, |(page, _)| page);
        let named = |&position: &usize| {
            let [low, high] = [position - 1, position].map(|index| last_page(runs[index]));
            let from = pages_of(runs[position]).next().map_or(high, |(page, _)| page);
            (low + 1..=from).all(|page| writers[page].is_some() && continues(after[page - 1], after[page]))
        };
        let after_named_gap: Vec<usize> = (1..runs.len()).filter(named).collect();
        prop_assert_eq!(planner.after_named_gap(), &after_named_gap);

        let contributed = |index: usize| {
            (0..PAGES).any(|page| writers[page] == Some(index) && before[page] != after[page])
        };
        let elided = (0..requests.len()).filter(|&index| !contributed(index)).count();
        prop_assert_eq!(stats.elided, elided as u64);
        let mut again = Vec::new();
        let marked = planner.plan_marking(&requests, &shadow, &mut again).to_vec();
        prop_assert_eq!(planner.after_named_gap(), after_named_gap);
        prop_assert_eq!(again, runs);
        prop_assert_eq!(marked, (0..requests.len()).map(contributed).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_binds_again_change_nothing(before in pages(), requests in requests()) {
        let mut shadow = shadow_of(&before);
        let (mut planner, mut runs) = (Planner::new(), Vec::new());
        planner.plan(&requests, &shadow, &mut runs);
        shadow.apply(&runs);
        runs.clear();
        let stats = planner.plan(&requests, &shadow, &mut runs);
        prop_assert_eq!(runs, []);
        prop_assert_eq!(stats.elided, requests.len() as u64);
    }
}

fn memory(serial: u32, offset: u64) -> Target {
    Target::memory(
        BoRef {
            handle: BoHandle(1),
            serial,
        },
        offset,
    )
}

fn plan(requests: &[Request], shadow: &Shadow) -> Vec<Run> {
    let mut runs = Vec::new();
    Planner::new().plan(requests, shadow, &mut runs);
    runs
}

#[test]
fn a_new_object_with_an_old_handle_is_another_mapping() {
    let request = |serial| Request {
        va: va(0),
        len: SZ_4K,
        target: memory(serial, 0),
    };
    let mut shadow = Shadow::new();
    shadow.apply(&plan(&[request(1)], &shadow));
    assert_eq!(plan(&[request(1)], &shadow), []);
    assert_eq!(plan(&[request(2)], &shadow).len(), 1);
}

#[test]
fn addresses_at_the_very_top_do_not_wrap() {
    let top = u64::MAX - SZ_4K + 1;
    let request = Request {
        va: Va(top),
        len: SZ_4K,
        target: Target::Null,
    };
    let beyond = Request {
        va: Va(top),
        len: u64::MAX,
        target: memory(0, u64::MAX),
    };
    let runs = plan(&[request, beyond, request], &Shadow::new());
    assert_eq!(
        runs,
        [Run {
            va: Va(top),
            len: SZ_4K - 1,
            target: Target::Null
        }]
    );
}

#[test]
fn requests_of_no_bytes_are_elided() {
    let empty = Request {
        va: va(1),
        len: 0,
        target: Target::Null,
    };
    let page = Request {
        va: va(0),
        len: SZ_4K,
        target: Target::Null,
    };
    let mut runs = Vec::new();
    let stats = Planner::new().plan(&[empty, page, empty], &Shadow::new(), &mut runs);
    assert_eq!((runs.len(), stats.elided), (1, 2));
}

#[test]
fn nested_binds_by_the_thousand_leave_the_last_writer() {
    // Each bind lies inside the one before, then each around the one before.
    let nested = |i: u64| Request {
        va: Va(i * SZ_4K),
        len: (4001 - 2 * i) * SZ_4K,
        target: memory(i as u32, 0),
    };
    let inwards: Vec<_> = (0..2000).map(nested).collect();
    let runs = plan(&inwards, &Shadow::new());
    assert_eq!(runs.len(), 2 * 1999 + 1);
    let outwards: Vec<_> = (0..2000).rev().map(nested).collect();
    assert_eq!(plan(&outwards, &Shadow::new()), [as_run(&nested(0))]);
}
