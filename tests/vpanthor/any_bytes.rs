//! No bytes given to VM_BIND break the virtual kernel.

use std::cell::Cell;

use crate::kit::bytes;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vpanthor::Flavour;

const CASES: u32 = 12_000;

#[test]
fn any_bytes_leave_mappings_page_tables_and_changes_in_agreement() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let inputs = (
        0..Flavour::ALL.len(),
        proptest::collection::vec(any::<u8>(), 0..1500),
    );
    let succeeded = Cell::new(0);
    runner
        .run(&inputs, |(flavour, data)| {
            let binds = bytes::run(Flavour::ALL[flavour], &data);
            succeeded.set(succeeded.get() + binds);
            Ok(())
        })
        .unwrap();
    // Else the cases would show little.
    assert!(succeeded.get() > CASES as usize / 2, "{succeeded:?}");
}
