// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `attnc` command: arguments come in, text and files go out.
//!
//! `args` is the whole surface, `verbs/` has one file a verb (its arguments and what it does), `context` what every verb needs
//! (operators read and checked, notes, standard output), `output` files that appear complete or not at all, `failure` the ways to
//! fail. The crate is a library so that the tests can build the command too; `main.rs` calls [`main`]. Only this crate reads arguments, the environment and the terminal, and only `main` decides the exit code:
//! 0 done, 1 the work failed, 2 usage.

mod args;
mod bar;
mod choices;
mod context;
mod count;
mod draw;
mod failure;
mod loader;
mod output;
mod report;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

/// Runs the command: arguments and environment in, exit code out.
pub fn main() -> ExitCode {
    output::remove_unfinished_on_interrupt();
    let matches = match args::Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return report::clap_message(&error),
    };
    let cli = match args::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return report::clap_message(&error),
    };
    let context = context::Context::new(cli.common);
    context.start_logging();
    match verbs::run(cli.verb, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => context.fail(&failure),
    }
}
