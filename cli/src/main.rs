//! The command: what a kernel can do (`probe`), what each of its ways to leave a range unbound costs (`compare`), what a
//! recorded application asks of it (`replay`), and whether the driver passes the conformance tests (`cts`).
//!
//! Everything is written to stdout at once when it is known; progress and errors go to stderr. The exit status is 0
//! for success, 1 for something that went wrong while running, 2 for a command line that makes no sense, 130 for
//! Ctrl-C.

#![forbid(unsafe_code)]

mod compare;
mod costs;
mod cts;
mod doctor;
mod generate;
mod kernel;
mod measure;
mod memory;
mod others;
mod plot;
mod probe;
mod progress;
mod recording;
mod replay;
mod report;
mod scenario;
mod size;
mod stop;
mod table;
mod trace;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::stop::Error;

const ABOUT: &str =
    "Vulkan sparse binds as the fewest panthor VM_BIND operations: counted, compared, probed";

const LONG_ABOUT: &str = "\
panvk-sparse turns vkQueueBindSparse into the fewest VM_BIND operations of panthor, the kernel driver of Arm Mali
GPUs. The Vulkan driver (libvulkan_panvk_sparse.so and panvk_sparse_icd.json) does that for any application; this
command shows what it costs on each kernel, with no GPU at hand.";

/// What someone gets who types the name and nothing else.
const START: &str = "\
panvk-sparse: vkQueueBindSparse as the fewest VM_BIND operations of panthor, the kernel driver of Arm Mali GPUs.
The Vulkan driver does that for any application; this command shows what it costs, with no GPU at hand.

Start here:
  panvk-sparse doctor      what of it is there on this machine, what would be used, how a program gets the driver
  panvk-sparse compare     what a sparse buffer costs with each way to leave it unbound

Then:
  panvk-sparse probe       what a kernel can do; --kernel auto is the panthor of this machine
  panvk-sparse replay      what a recorded application asks of each kernel
  panvk-sparse trace       what is in a recording
  panvk-sparse cts         the sparse conformance tests through the driver

panvk-sparse --help has all commands with examples, panvk-sparse <command> --help one of them.
";

const EXAMPLES: &str = "\
Examples:
  panvk-sparse doctor
      what of loader, drivers, layer and node is found on this machine, and what would be used
  panvk-sparse compare
      what a new sparse buffer of 100,000,000 bytes costs with each strategy
  panvk-sparse compare --bytes 1GiB --kernel vpanthor:1.9 --scenario fragmented --plot cost.svg
  panvk-sparse compare --json | jq '.strategies[] | {strategy, vm_bind_ops}'
  panvk-sparse probe --kernel /dev/dri/renderD128
      what the panthor kernel of this machine can do
  panvk-sparse replay game.pvst --plot cost.svg --map residency.svg
      what the sparse binds of an application, recorded by the layer VK_LAYER_PANVK_sparse_trace, ask of each kernel
  panvk-sparse report -- vulkaninfo
      one file with all that somebody else has to know when something is wrong on a board
  panvk-sparse trace info game.pvst
      what a recording is of
  panvk-sparse cts --deqp-vk ~/VK-GL-CTS/build/external/vulkancts/modules/vulkan/deqp-vk --baseline
      the sparse conformance tests, through the driver and on the bare base driver

Kernels:
  vpanthor:1.0 vpanthor:1.5 vpanthor:1.8 vpanthor:1.9
                                              mainline panthor of that uAPI version, modelled in this process
  vpanthor:1.6-repeat vpanthor:1.8-repeat     panthor with the OP_MAP_REPEAT series, v4 and v5
  /dev/dri/renderD<N>                         the real thing
  auto                                        the first node of /dev/dri that is panthor's
  xe xe-64k msm asahi nouveau amdgpu          other drivers: compare and replay count what they would be asked

Environment:
  PANVK_SPARSE_KERNEL    the kernel, where --kernel is not given

Exit status: 0 success, 1 the command failed, 2 the command line makes no sense, 130 stopped by Ctrl-C.";

#[derive(Debug, Parser)]
#[command(name = "panvk-sparse", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what sparse binds cost with each strategy that the kernel allows
    Compare(compare::Args),
    /// Show what the kernel can do: what was tried, what it said, the strategy chosen
    Probe(probe::Args),
    /// Show what a recording of an application's sparse binds asks of each kernel
    Replay(replay::Args),
    /// Look into recordings of sparse binds, and merge them
    Trace(trace::Args),
    /// Run the sparse groups of the Vulkan conformance tests through the driver
    Cts(Box<cts::Args>),
    /// Write a file that says how sparse binding goes on this machine, to send with a problem
    Report(report::Args),
    /// Show what of loader, drivers, layer and node is found here, what would be used, and what to do about what is missing
    Doctor(doctor::Args),
    /// Print a completion script for a shell
    Completions(generate::CompletionsArgs),
    /// Print the man page, or write those of all subcommands
    Man(generate::ManArgs),
}

/// Why a command failed: one line for stderr.
type Failure = String;

/// Runs the command line of this process.
fn main() -> ExitCode {
    let output = match Cli::parse().command {
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Probe(args)) => probe::run(&args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Trace(args)) => return trace::run(&args),
        Some(Command::Cts(args)) => return conformance(&args),
        Some(Command::Report(args)) => report::run(&args),
        Some(Command::Doctor(args)) => return doctor(&args),
        Some(Command::Completions(args)) => generate::completions(&args).map_err(Error::from),
        Some(Command::Man(args)) => generate::man(&args).map_err(Error::from),
        None => Ok(START.to_owned()),
    };
    end(output.and_then(|output| Ok(print(&output)?)))
}

/// `cts`, whose exit status says more than whether it could be run.
fn conformance(args: &cts::Args) -> ExitCode {
    let printed = cts::run(args).and_then(|outcome| {
        print(&outcome.output)?;
        Ok(outcome)
    });
    match printed {
        Ok(outcome) if outcome.stopped => end(Err(Error::Stopped)),
        Ok(outcome) => ExitCode::from(u8::from(!outcome.success)),
        Err(error) => end(Err(error)),
    }
}

/// `doctor`, whose exit status says whether a program can run over the driver.
fn doctor(args: &doctor::Args) -> ExitCode {
    let printed = doctor::run(args).and_then(|outcome| {
        print(&outcome.output)?;
        Ok(outcome.success)
    });
    match printed {
        Ok(success) => ExitCode::from(u8::from(!success)),
        Err(error) => end(Err(error)),
    }
}

/// The end of a command: what went wrong goes to stderr.
fn end(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.status()),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("panvk-sparse: {message}");
    ExitCode::from(status)
}

/// One line of JSON, for scripts.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(value).map_err(|error| format!("writing JSON: {error}"))?;
    Ok(line + "\n")
}

/// Writes `output` to stdout. A reader that has seen enough (`panvk-sparse compare | head`) is no failure.
fn print(output: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(output.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("writing to stdout: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The lines of a text that call this command, as words, up to a pipe or a redirection.
    fn calls(text: &str) -> Vec<Vec<&str>> {
        let words = |line: &str| {
            line.split_whitespace()
                .position(|word| ["|", ">"].contains(&word))
        };
        (text.lines())
            .filter(|line| line.starts_with("  panvk-sparse"))
            .map(|line| {
                let end = words(line).unwrap_or(usize::MAX);
                line.split_whitespace().take(end).collect()
            })
            .collect()
    }

    #[test]
    fn every_help_text_has_examples_and_each_of_them_is_understood() {
        fn look(command: &mut clap::Command, path: &str) {
            let text = command.render_long_help().to_string();
            let examples = text
                .split_once("\nExamples:\n")
                .map(|(_, examples)| calls(examples));
            let examples = examples.unwrap_or_else(|| panic!("{path}: no examples in {text}"));
            assert!(!examples.is_empty(), "{path}: {text}");
            assert!(
                examples[0].join(" ").starts_with(path),
                "{path}: {examples:?}"
            );
            for call in examples {
                let parsed = Cli::try_parse_from(&call);
                assert!(parsed.is_ok(), "{call:?}: {}", parsed.unwrap_err());
            }
            for sub in command.get_subcommands_mut() {
                if sub.get_name() != "help" {
                    let path = format!("{path} {}", sub.get_name());
                    look(sub, &path);
                }
            }
        }
        look(&mut Cli::command(), "panvk-sparse");
    }

    #[test]
    fn what_one_gets_without_arguments_names_commands_that_there_are() {
        let named: Vec<_> = (calls(START).iter()).map(|call| call[1]).collect();
        assert!(named.len() >= 6, "{named:?}");
        for name in named {
            assert!(Cli::command().find_subcommand(name).is_some(), "{name}");
        }
    }
}
