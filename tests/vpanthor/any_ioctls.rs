//! No ioctl of any number, size and bytes breaks the virtual kernel.

use std::cell::Cell;

use crate::kit::ioctls;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vpanthor::Flavour;

const CASES: u32 = 3000;

#[test]
fn any_ioctls_with_any_bytes_leave_mappings_whole_and_nothing_behind() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let inputs = (
        0..Flavour::ALL.len(),
        proptest::collection::vec(any::<u8>(), 0..4000),
    );
    let succeeded = Cell::new(0);
    runner
        .run(&inputs, |(flavour, data)| {
            let calls = ioctls::run(Flavour::ALL[flavour], &data);
            succeeded.set(succeeded.get() + calls);
            Ok(())
        })
        .unwrap();
    // Else the cases would show little.
    assert!(succeeded.get() > CASES as usize, "{succeeded:?}");
}
