// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The one diagnostic type: what is wrong, where, and what to do about it.

use crate::{Code, Span};

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file has no meaning until this is repaired.
    Error,
    /// The file has a meaning, probably not the one that was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A place and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is wrong there, or what the place has to do with it.
    pub text: String,
}

/// A mistake of the user's, or something that looks like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of mistake.
    pub code: Code,
    /// One line, complete without the source.
    pub message: String,
    /// Where it is and what is wrong there.
    pub primary: Label,
    /// Other places that belong to it (where a name was given first).
    pub secondary: Vec<Label>,
    /// The likely repair.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic of that code; `label` says what is wrong at `span`.
    pub fn new(
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            code,
            message: message.into(),
            primary: Label {
                span,
                text: label.into(),
            },
            secondary: Vec::new(),
            help: None,
        }
    }

    /// Adds a place that belongs to the mistake.
    pub fn with_secondary(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.secondary.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Names the likely repair.
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// The severity, which goes by the code.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}
