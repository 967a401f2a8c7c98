// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages on standard error and what clap has to say. A closed standard error is nobody's failure.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::ErrorFormat;

/// Writes to standard error and ignores that it may be closed.
pub(crate) fn stderr(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// What clap has to say: help and version on standard output (0, or 1 if it cannot be written), usage errors on standard error (2).
pub(crate) fn clap_message(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let text = error.render().to_string();
        stderr(&match asked_format(std::env::args_os()) {
            ErrorFormat::Text => text,
            // The first paragraph says what is wrong; what follows is usage for people.
            ErrorFormat::Json => {
                let what = text.split("\n\n").next().unwrap_or(&text);
                let what = what.strip_prefix("error: ").unwrap_or(what);
                message_line("error", what, ErrorFormat::Json)
            }
        });
        return ExitCode::from(2);
    }
    let mut out = io::stdout().lock();
    match out
        .write_all(error.render().to_string().as_bytes())
        .and_then(|()| out.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            stderr(&format!(
                "error: cannot write to standard output: {error}\n"
            ));
            ExitCode::from(1)
        }
    }
}

/// The form of messages that a command line asks for which clap could not read.
fn asked_format(args: impl Iterator<Item = OsString>) -> ErrorFormat {
    let args: Vec<OsString> = args.take_while(|arg| arg != "--").collect();
    let json = args.iter().any(|arg| arg == "--error-format=json")
        || args
            .windows(2)
            .any(|pair| pair[0] == "--error-format" && pair[1] == "json");
    if json {
        ErrorFormat::Json
    } else {
        ErrorFormat::Text
    }
}

/// The line of a message that is no diagnostic: `severity: message`, or an object with the keys of a diagnostic.
pub(crate) fn message_line(severity: &str, message: &str, format: ErrorFormat) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        code: Option<&'a str>,
        severity: &'a str,
        message: &'a str,
        label: Option<&'a str>,
        help: Option<&'a str>,
        file: Option<&'a str>,
        byte_start: Option<u32>,
        byte_end: Option<u32>,
        line: Option<u32>,
        column: Option<u32>,
        end_line: Option<u32>,
        end_column: Option<u32>,
    }
    match format {
        ErrorFormat::Text => format!("{severity}: {message}\n"),
        ErrorFormat::Json => {
            let line = Line {
                code: None,
                severity,
                message,
                label: None,
                help: None,
                file: None,
                byte_start: None,
                byte_end: None,
                line: None,
                column: None,
                end_line: None,
                end_column: None,
            };
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        }
    }
}

/// `a`, `b` and 3 more.
pub(crate) fn name_list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
