// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the diagnostics of a run gather: each mistake once, a bounded number, in the order of the source.

use std::collections::HashSet;

use crate::{Code, Diagnostic, Severity, Span};

/// More errors than this are not reported in one run (the last one says so), nor more warnings.
pub const MAX_DIAGNOSTICS: usize = 10_000;

/// Gathers diagnostics. The same code at the same span is kept once: a loop that runs a wrong line a thousand times says so once.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    list: Vec<Diagnostic>,
    seen: HashSet<(Code, Span)>,
    errors: usize,
    warnings: usize,
}

impl Sink {
    /// An empty sink.
    pub fn new() -> Sink {
        Sink::default()
    }

    /// Adds a diagnostic unless it is there already or the sink is full.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        let span = diagnostic.primary.span;
        if *count >= MAX_DIAGNOSTICS || !self.seen.insert((diagnostic.code, span)) {
            return;
        }
        *count += 1;
        if self.errors == MAX_DIAGNOSTICS && diagnostic.severity() == Severity::Error {
            let message = format!("more than {} mistakes", MAX_DIAGNOSTICS - 1);
            self.list.push(
                Diagnostic::new(
                    Code::TooManyMistakes,
                    span,
                    message,
                    "the next one would stand here",
                )
                .with_help("repair the first ones and check again"),
            );
            return;
        }
        self.list.push(diagnostic);
    }

    /// Adds all of `diagnostics`.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            self.push(diagnostic);
        }
    }

    /// Whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Number of diagnostics.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The diagnostics, by file and place; the one that says there were too many comes last.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.list
            .sort_by_key(|d| (d.code == Code::TooManyMistakes, d.primary.span, d.code));
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileId;

    fn mistake(at: usize) -> Diagnostic {
        Diagnostic::new(
            Code::UnexpectedCharacter,
            Span::new(FileId::new(0), at, at + 1),
            "m",
            "l",
        )
    }

    #[test]
    fn keeps_each_mistake_once_and_sorts_by_place() {
        let mut sink = Sink::new();
        sink.extend([mistake(5), mistake(1), mistake(5)]);
        let starts: Vec<u32> = sink
            .into_sorted()
            .iter()
            .map(|d| d.primary.span.start)
            .collect();
        assert_eq!(starts, [1, 5]);
    }

    #[test]
    fn stops_at_the_limit_and_says_so_last() {
        let mut sink = Sink::new();
        sink.extend((0..2 * MAX_DIAGNOSTICS).rev().map(mistake));
        let list = sink.into_sorted();
        assert_eq!(list.len(), MAX_DIAGNOSTICS);
        assert_eq!(list[MAX_DIAGNOSTICS - 1].code, Code::TooManyMistakes);
    }
}
