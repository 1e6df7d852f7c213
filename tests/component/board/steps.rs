//! The program of steps that panvk with the component in it runs, too.

use super::{Driver, mesa_is, on_a_board, wrong_pages};
use crate::panvk::oracle::Held;
use crate::panvk::steps::program;

/// panvk 26.1.6 binds null ranges elsewhere than it is told to.
fn alone_is_right() -> bool {
    !mesa_is("26.1.6")
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_panvk_alone_binds_what_is_asked_for_but_for_null_of_26_1_6() {
    let test = common::name_of!(board_panvk_alone_binds_what_is_asked_for_but_for_null_of_26_1_6);
    for kernel in ["1.9", "1.8-repeat", "1.5"] {
        let body = || program(true, false, Held::ToNothing);
        let Some(left) = on_a_board(test, Driver::Alone, kernel, &[], body) else {
            return;
        };
        let wrong = wrong_pages(&left.stdout);
        assert_eq!(
            wrong == 0,
            alone_is_right(),
            "{kernel}: {wrong} wrong pages"
        );
    }
}
