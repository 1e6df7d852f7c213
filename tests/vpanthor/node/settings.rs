//! What `VPANTHOR` takes.

use std::process::Command;

use super::kit;

#[test]
fn a_wrong_value_ends_the_process_with_what_is_expected() {
    for (value, what) in [
        ("2.0", "unknown kernel \"2.0\""),
        ("1.9,gpu=t860", "unknown GPU \"t860\""),
        (
            "1.9;1.8,1.5",
            "\"1.5\" says the same thing twice of one node",
        ),
    ] {
        let ran = kit::run(&mut Command::new("true"), value);
        assert_eq!(ran.status.code(), Some(1), "{value}");
        let begin = format!(
            "libvpanthor_preload: VPANTHOR={value:?}: {what}; expected nodes separated by \";\""
        );
        assert!(ran.stderr.starts_with(&begin), "{}", ran.stderr);
    }
}
