//! `panvk-sparse completions` and `panvk-sparse man`: what a package installs beside the command, made from the same
//! description of the command line that parses it.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure};

const NAME: &str = "panvk-sparse";

const COMPLETIONS: &str = "\
Examples:
  panvk-sparse completions bash > ~/.local/share/bash-completion/completions/panvk-sparse
  panvk-sparse completions fish > ~/.config/fish/completions/panvk-sparse.fish
  panvk-sparse completions zsh > ~/.zfunc/_panvk-sparse
      with fpath+=~/.zfunc before compinit in ~/.zshrc";

const MAN: &str = "\
Examples:
  panvk-sparse man | man -l -
  panvk-sparse man --out ~/.local/share/man/man1
      the pages of all commands, for man panvk-sparse-compare and so on";

#[derive(Debug, clap::Args)]
#[command(after_long_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell that the script is for
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = MAN)]
pub struct ManArgs {
    /// Write the pages of the command and of each subcommand into this folder, which must exist
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The completion script, for stdout.
pub fn completions(args: &CompletionsArgs) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    text(script)
}

/// The command's own page, for stdout, or all pages as files.
pub fn man(args: &ManArgs) -> Result<String, Failure> {
    let command = Cli::command();
    if let Some(folder) = &args.out {
        return clap_mangen::generate_to(command, folder)
            .map(|()| String::new())
            .map_err(|error| format!("{}: writing man pages: {error}", folder.display()));
    }
    let mut roff = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut roff)
        .map_err(|error| format!("making the man page: {error}"))?;
    text(roff)
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| format!("a generated text is not UTF-8: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_subcommand_has_a_page_that_names_its_options() {
        let folder = tempfile::tempdir().unwrap();
        man(&ManArgs {
            out: Some(folder.path().to_owned()),
        })
        .unwrap();
        let compare = fs::read_to_string(folder.path().join("panvk-sparse-compare.1")).unwrap();
        assert!(compare.starts_with(".ie "), "a roff preamble: {compare}");
        assert!(compare.contains(".TH panvk-sparse-compare 1"), "{compare}");
        assert!(compare.contains("\\-\\-scenario"), "{compare}");
        for sub in Cli::command().get_subcommands() {
            let page = folder
                .path()
                .join(format!("panvk-sparse-{}.1", sub.get_name()));
            assert!(page.exists(), "{}", page.display());
        }
    }

    #[test]
    fn completions_know_the_subcommands_and_the_scenarios() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(&CompletionsArgs { shell }).unwrap();
            assert!(script.contains("compare"), "{shell}: {script}");
            assert!(script.contains("fragmented"), "{shell}: {script}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = man(&ManArgs {
            out: Some("/nowhere/at/all".into()),
        })
        .unwrap_err();
        assert!(error.starts_with("/nowhere/at/all: "), "{error}");
    }
}
