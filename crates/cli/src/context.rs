// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every verb needs: the common options, notes and failures on standard error, text on standard output.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::args::{Color, Common, ErrorFormat};
use crate::failure::Failure;
use crate::report;

/// The common options and what they decide.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options as given.
    pub(crate) options: Common,
    /// Whether standard error gets colours.
    pub(crate) color: bool,
}

impl Context {
    /// The context of a run.
    pub(crate) fn new(options: Common) -> Context {
        let color = match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Context { options, color }
    }

    /// Sends the log to standard error: `ATTNC_LOG` if set, else by `-v` and `-q`.
    pub(crate) fn start_logging(&self) {
        let level = match (self.options.quiet, self.options.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, 2) => "debug",
            (false, _) => "trace",
        };
        let filter = std::env::var("ATTNC_LOG")
            .ok()
            .and_then(|text| tracing_subscriber::EnvFilter::try_new(text).ok())
            .unwrap_or_else(|| tracing_subscriber::EnvFilter::new(level));
        // A second initialisation cannot happen; if it did, the first one's log would do.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(self.color)
            .with_writer(io::stderr)
            .try_init();
    }

    /// Writes `text` to standard output.
    ///
    /// # Errors
    /// [`Failure::ClosedPipe`] if nobody reads it, [`Failure::Stdout`] if the system refuses.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
                _ => Failure::Stdout(error),
            })
    }

    /// A remark on standard error, silent under `-q` and for tools.
    pub(crate) fn note(&self, message: &str) {
        if !self.options.quiet && self.options.error_format == ErrorFormat::Text {
            report::stderr(&report::message_line("note", message, ErrorFormat::Text));
        }
    }

    /// Prints the message of a failure and gives the exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        if !failure.is_silent() {
            report::stderr(&report::message_line(
                "error",
                &failure.to_string(),
                self.options.error_format,
            ));
        }
        ExitCode::from(failure.exit_code())
    }
}
