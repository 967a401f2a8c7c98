// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Diagnostics for tools: one JSON object a line, keys in a fixed order.

use serde::Serialize;

use crate::{Diagnostic, SourceMap};

#[derive(Serialize)]
struct Line<'a> {
    code: &'a str,
    severity: &'a str,
    message: &'a str,
    label: &'a str,
    help: Option<&'a str>,
    file: &'a str,
    byte_start: u32,
    byte_end: u32,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

/// The diagnostic as one line of JSON without the newline: bytes from 0, lines and columns from 1 in characters, the end
/// exclusive; `help` is null where there is none.
pub fn render_json(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let span = diagnostic.primary.span;
    let file = sources.get(span.file);
    let place = |offset: u32| {
        file.map_or((1, 1), |f| {
            (
                f.line_column(offset as usize).line,
                f.line_column(offset as usize).column,
            )
        })
    };
    let (line, column) = place(span.start);
    let (end_line, end_column) = place(span.end);
    let line = Line {
        code: diagnostic.code.id(),
        severity: diagnostic.severity().name(),
        message: &diagnostic.message,
        label: &diagnostic.primary.text,
        help: diagnostic.help.as_deref(),
        file: file.map_or("", |f| f.name()),
        byte_start: span.start,
        byte_end: span.end,
        line,
        column,
        end_line,
        end_column,
    };
    // Strings and integers always serialise; an empty line would be the answer to the impossible.
    serde_json::to_string(&line).unwrap_or_default()
}
