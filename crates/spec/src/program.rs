// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One file, its imports at hand: top-level `let`s and attentions in the order in which they need each other.

use attnc_diag::{Code, Diagnostic, Sink, Span};
use attnc_syntax::Parsed;

use crate::attention::{Built, build};
use crate::coverage::{Places, warn};
use crate::eval::{Evaluator, NoOwn};
use crate::files::MAX_CHAIN;
use crate::hir::Base;
use crate::index::Notes;
use crate::lower::{Global, ImportedName, Lowered, lower};
use crate::value::Value;

/// An attention of a file.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Its name where it is declared.
    pub(crate) span: Span,
    pub(crate) built: Built,
}

/// The attentions of a file, in their order, each name once.
pub(crate) fn resolve_file(
    parsed: &Parsed,
    names: &[ImportedName],
    imported: &[Built],
    complete: bool,
    named: bool,
    sink: &mut Sink,
    notes: &mut Notes,
) -> Vec<Declared> {
    let mut warnings = Sink::new();
    let lowered = lower(parsed, names, complete, sink, notes);
    let mut eval = Evaluator::new(sink, notes);
    globals(&lowered.globals, &mut eval);
    let built = attentions(&lowered, imported, &mut eval);
    if named {
        // What cannot be read may be just what is missed.
        for (hir, built) in lowered
            .attentions
            .iter()
            .zip(&built)
            .filter(|(hir, _)| hir.complete)
        {
            if let (Some(op), Some(branches)) = (&built.operator, &built.branches) {
                let base = match hir.base {
                    Base::Own(_, span) | Base::Imported(_, span) => Some(span),
                    Base::None | Base::Error => None,
                };
                warn(
                    op,
                    &Places {
                        name: hir.name_span,
                        base,
                        branches,
                    },
                    &mut warnings,
                );
            }
        }
        // What could not be read may use it.
        if parsed.diagnostics.is_empty() {
            for (name, span) in &lowered.unused {
                let message = format!("`{name}` is never used");
                warnings.push(
                    Diagnostic::new(Code::UnusedLet, *span, message, "nothing reads this")
                        .with_help("remove it"),
                );
            }
        }
    }
    sink.extend(warnings.into_sorted());
    let mut list: Vec<Declared> = Vec::with_capacity(built.len());
    let mut seen = std::collections::HashSet::new();
    for (hir, built) in lowered.attentions.iter().zip(built) {
        if seen.insert(&hir.name) {
            list.push(Declared {
                name: hir.name.clone(),
                span: hir.name_span,
                built,
            });
        }
    }
    list
}

/// Splits `0..n` into an order in which everything follows what it needs, and circles: `needs(i)` are what i needs.
fn order(n: usize, needs: impl Fn(usize) -> Vec<usize>) -> (Vec<usize>, Vec<Vec<usize>>) {
    let needed: Vec<Vec<usize>> = (0..n).map(needs).collect();
    let mut waiting: Vec<usize> = needed.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (i, list) in needed.iter().enumerate() {
        list.iter().for_each(|j| readers[*j].push(i));
    }
    let mut sorted: Vec<usize> = (0..n).filter(|i| waiting[*i] == 0).collect();
    let mut next = 0;
    while next < sorted.len() {
        for reader in &readers[sorted[next]] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                sorted.push(*reader);
            }
        }
        next += 1;
    }
    // What is left needs something that is left: following that leads into a circle, or to where a walk has been before.
    let mut walked = vec![usize::MAX; n];
    let mut circles = Vec::new();
    for start in (0..n).filter(|i| waiting[*i] > 0) {
        let (mut at, mut path) = (start, Vec::new());
        while walked[at] == usize::MAX {
            walked[at] = start;
            path.push(at);
            match needed[at].iter().find(|j| waiting[**j] > 0) {
                Some(j) => at = *j,
                None => break,
            }
        }
        if walked[at] == start
            && let Some(from) = path.iter().position(|i| *i == at)
        {
            let mut circle = path.split_off(from);
            let least = circle
                .iter()
                .enumerate()
                .min_by_key(|(_, i)| **i)
                .map_or(0, |(place, _)| place);
            circle.rotate_left(least);
            circles.push(circle);
        }
    }
    (sorted, circles)
}

/// Evaluates the top-level `let`s, whatever their order.
fn globals(list: &[Global], eval: &mut Evaluator<'_>) {
    eval.globals = vec![Value::Poison; list.len()];
    let (sorted, circles) = order(list.len(), |i| {
        list[i].reads.iter().map(|(j, _)| *j).collect()
    });
    for index in sorted {
        let value = eval.named(&list[index].value, &mut NoOwn);
        eval.globals[index] = value;
    }
    for circle in circles {
        let first = &list[circle[0]];
        let next = circle.get(1).copied().unwrap_or(circle[0]);
        let mut diagnostic = Diagnostic::new(
            Code::LetCycle,
            first.name_span,
            format!("`{}` depends on itself", first.name),
            "its value is needed to compute it",
        )
        .with_help("break the circle by writing one of the values out");
        if let Some((_, span)) = first.reads.iter().find(|(j, _)| *j == next) {
            diagnostic =
                diagnostic.with_secondary(*span, format!("it reads `{}` here", list[next].name));
        }
        eval.sink.push(diagnostic);
    }
}

/// Builds the attentions of a file, each after the one it copies.
fn attentions(lowered: &Lowered, imported: &[Built], eval: &mut Evaluator<'_>) -> Vec<Built> {
    let list = &lowered.attentions;
    let (sorted, circles) = order(list.len(), |i| match list[i].base {
        Base::Own(j, _) => vec![j],
        Base::None | Base::Imported(..) | Base::Error => Vec::new(),
    });
    for circle in circles {
        let first = &list[circle[0]];
        let (Base::Own(_, span) | Base::Imported(_, span)) = first.base else {
            continue;
        };
        let message = format!("the attention `{}` copies itself", first.name);
        eval.sink.push(
            Diagnostic::new(
                Code::WithCycle,
                span,
                message,
                "following this leads back here",
            )
            .with_help("one attention of the circle must be written out"),
        );
    }
    let mut built: Vec<Built> = vec![Built::unknown(0); list.len()];
    let mut in_all = 0;
    for index in sorted {
        let hir = &list[index];
        let (base, span) = match hir.base {
            Base::None | Base::Error => (None, hir.name_span),
            Base::Own(j, span) => (Some(built[j].clone()), span),
            Base::Imported(j, span) => (imported.get(j).cloned(), span),
        };
        let depth = base.as_ref().map_or(0, |base| base.depth + 1);
        if depth > MAX_CHAIN {
            // Those that copy it in turn are its consequences.
            if depth == MAX_CHAIN + 1 {
                let message = format!("more than {MAX_CHAIN} `with` on top of each other");
                eval.fail(
                    Code::WithTooDeep,
                    span,
                    message,
                    "one too many",
                    "copy an attention further down",
                );
            }
            built[index] = Built::unknown(depth);
            continue;
        }
        built[index] = build(hir, base.as_ref(), eval, &mut in_all);
    }
    built
}
