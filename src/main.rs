//! The command `panvk-sparse`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
