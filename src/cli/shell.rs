//! `headstart completions` and `headstart man`: what a shell and `man` know of this program, from its own definition.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::console;
use super::error::CliError;

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell that is to complete commands.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The directory, which is created; pages of the same names are replaced.
    directory: PathBuf,
}

/// Prints a script that a shell sources.
pub(super) fn completions(arguments: &CompletionsArguments, mut program: Command) {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, name, &mut script);
    console::out(String::from_utf8_lossy(&script).trim_end());
}

/// Writes a manual page for the program and one for each command.
pub(super) fn man(arguments: &ManArguments, program: Command) -> Result<(), CliError> {
    let ManArguments { directory } = arguments;
    let failed = |error| CliError::Write { path: directory.clone(), error };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let program = program.disable_help_subcommand(true);
    clap_mangen::generate_to(program, directory).map_err(failed)?;
    console::out(&format!("manual pages: {0}; read one with man -l {0}/headstart.1", directory.display()));
    Ok(())
}
