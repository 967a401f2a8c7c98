// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Spans, diagnostics, the table of codes, and their rendering.
//!
//! In: source texts ([`SourceMap`]) and mistakes found by other crates ([`Diagnostic`]).
//! Out: text for people ([`render_text`]) and one JSON object a line for tools ([`render_json`]).
//! Nothing here knows anything of attention, reads a file or prints.

mod code;
mod diagnostic;
mod json;
mod render;
mod sink;
mod source;

pub use code::Code;
pub use diagnostic::{Diagnostic, Label, Severity};
pub use json::render_json;
pub use render::render_text;
pub use sink::{MAX_DIAGNOSTICS, Sink};
pub use source::{FileId, LineColumn, SourceFile, SourceMap, Span};
