//! The command `panvk-sparse`.
fn main() {}
