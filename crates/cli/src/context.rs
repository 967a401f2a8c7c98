// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every verb needs: the common options, notes and failures on standard error, text on standard output.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use attnc::files::DiskLoader;
use attnc::{Attention, AttentionFile};
use attnc_diag::{Diagnostic, Severity, SourceMap, render_json, render_text};
use attnc_spec::{Operator, Resolution, resolve};

use crate::args::{Color, Common, ErrorFormat};
use crate::failure::Failure;
use crate::loader::{Read, read_named};
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

    /// A warning on standard error that is about no file of the user's; silent under `-q`.
    pub(crate) fn warn(&self, message: &str) {
        if !self.options.quiet {
            report::stderr(&report::message_line(
                "warning",
                message,
                self.options.error_format,
            ));
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

    /// Reads and checks files and prints their diagnostics.
    ///
    /// # Errors
    /// [`Failure::Reported`] if there were mistakes, or warnings under `--deny-warnings`.
    pub(crate) fn resolve(&self, files: &[PathBuf]) -> Result<Resolution, Failure> {
        self.resolve_loaded(files.iter().map(|path| read_named(path)).collect())
    }

    fn resolve_loaded(&self, files: Vec<Read>) -> Result<Resolution, Failure> {
        let resolution = resolve(files, &mut DiskLoader);
        for (_, file) in resolution.sources.files() {
            tracing::info!(file = file.name(), bytes = file.text().len(), "read");
        }
        for operator in resolution.operators() {
            tracing::debug!(
                name = operator.name,
                branches = operator.branches.len(),
                "checked"
            );
        }
        self.print_diagnostics(&resolution.diagnostics, &resolution.sources)?;
        Ok(resolution)
    }

    /// Prints diagnostics on standard error.
    ///
    /// # Errors
    /// [`Failure::Reported`] if there were mistakes, or warnings under `--deny-warnings`.
    pub(crate) fn print_diagnostics(
        &self,
        list: &[Diagnostic],
        sources: &SourceMap,
    ) -> Result<(), Failure> {
        let deny = self.options.deny_warnings;
        let is_error = |d: &&Diagnostic| d.severity() == Severity::Error;
        let errors = list.iter().filter(is_error).count();
        let warnings = list.len() - errors;
        let shown = list
            .iter()
            .filter(|d| is_error(d) || deny || !self.options.quiet);
        match self.options.error_format {
            ErrorFormat::Json => {
                report::stderr(
                    &shown
                        .map(|d| render_json(d, sources) + "\n")
                        .collect::<String>(),
                );
            }
            ErrorFormat::Text => {
                let mut text = render_text(shown, sources, self.color);
                text.push_str(&summary(errors, warnings, deny));
                if !(self.options.quiet && errors == 0 && !deny) {
                    report::stderr(&text);
                }
            }
        }
        if errors > 0 || deny && warnings > 0 {
            Err(Failure::Reported)
        } else {
            Ok(())
        }
    }

    /// The operators of a verb that works on all of a file: the one of `--name`, else every attention of the file, or of what it imports
    /// where it has none.
    ///
    /// # Errors
    /// [`Failure::Reported`] for a file with mistakes, [`Failure::Attention`].
    pub(crate) fn attentions(&self, file: &Path) -> Result<Vec<Attention>, Failure> {
        let file = AttentionFile::new(self.resolve_loaded(vec![read_named(file)])?)?;
        Ok(match &self.options.name {
            Some(name) => vec![file.get(name)?],
            None => {
                file.first()?;
                file.attentions().to_vec()
            }
        })
    }

    /// The operator that a verb works on: `--name`, else the file's first attention, with a note naming the others.
    ///
    /// # Errors
    /// [`Failure::Reported`] for a file with mistakes, [`Failure::Attention`].
    pub(crate) fn operator(&self, file: &Path) -> Result<Arc<Operator>, Failure> {
        self.operator_of(read_named(file))
    }

    /// [`Context::operator`] of a file that has been read.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn operator_of(&self, read: Read) -> Result<Arc<Operator>, Failure> {
        let file = AttentionFile::new(self.resolve_loaded(vec![read])?)?;
        if let Some(name) = &self.options.name {
            return Ok(file.get(name)?.into());
        }
        let first = file.first()?;
        let others: Vec<String> = (file.attentions().iter().skip(1))
            .map(|a| a.operator().name.clone())
            .collect();
        if !others.is_empty() {
            let list = report::name_list(&others);
            self.note(&format!(
                "taking `{}`, the first attention; --name chooses another: {list}",
                first.operator().name
            ));
        }
        Ok(first.into())
    }
}

/// `2 errors, 1 warning`, or nothing.
fn summary(errors: usize, warnings: usize, deny: bool) -> String {
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts: Vec<String> = [count(errors, "error"), count(warnings, "warning")]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    let denied = if deny && warnings > 0 {
        " (denied)"
    } else {
        ""
    };
    format!("{}{denied}\n", parts.join(", "))
}
