// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Warnings: what is allowed but probably not meant. In: an operator and where its branches stand. Out: diagnostics.
//!
//! Coverage is judged for long sequences (N at least every finite segment), by arithmetic alone, never by walking positions:
//!
//! * Offsets. `modulo`: the heads have the offsets 0..min(H, r). `blocked`: 0..=floor((H-1) / ceil(H/r)). Offsets beyond have no head.
//! * A head with offset o is never covered by a finite branch (w, r) when no place u < w has u mod r = o, that is when o >= w. (Displaced
//!   rows with zero keys: padding rows of every phase count as covered.)
//! * Every (h, n) is covered exactly if some branch has r = 1, or H = 1, rows are aligned and some w = 1. Why: o(0, r) = 0 for every r,
//!   and n = 1 has place 1 in every segment longer than 1, so with all r > 1 head 0 is not covered at n = 1 - unless w = 1, where every
//!   place is 0. Then a head h with o(h, r) > 0 for every r > 1 is not covered at n = 0: head 1 (modulo: 1 mod r = 1) or head H-1
//!   (blocked: ceil(H/r) <= H-1 for H >= 2). Displaced rows have place n mod g, g a multiple of r, so there n = 1 is not covered even for w = 1.

use std::collections::HashMap;

use attnc_diag::{Code, Diagnostic, Sink, Span};

use crate::attention::BuiltBranch;
use crate::{Branch, Offsets, Operator, Ragged, Rows, Segment};

/// Where the warnings of an operator go.
pub(crate) struct Places<'a> {
    /// The operator's name.
    pub(crate) name: Span,
    /// The name it copies, if any: where a copied branch of another file is complained about.
    pub(crate) base: Option<Span>,
    /// Its branches.
    pub(crate) branches: &'a [BuiltBranch],
}

/// The first offset of dilation r that no head has, if any.
fn first_free_offset(op: &Operator, r: u64) -> Option<u64> {
    let heads = u64::from(op.heads);
    let used = match op.profile.offsets {
        Offsets::Modulo => heads.min(r),
        Offsets::Blocked => (heads - 1) / heads.div_ceil(r) + 1,
    };
    (used < r).then_some(used)
}

/// The first head that the branch never covers and how many there are, if any.
fn never_covered(op: &Operator, branch: Branch) -> Option<(u32, u64)> {
    let Segment::Finite(w) = branch.segment else {
        return None;
    };
    if op.profile.rows == Rows::Displaced && op.profile.ragged == Ragged::ZeroKeys {
        return None;
    }
    let (heads, r) = (u64::from(op.heads), branch.dilation);
    let (first, count) = match op.profile.offsets {
        Offsets::Modulo => {
            // Of r heads in a row, those with h mod r >= w.
            let full = heads / r;
            (
                w,
                full * r.saturating_sub(w) + (heads % r).saturating_sub(w),
            )
        }
        Offsets::Blocked => {
            let first = w.saturating_mul(heads.div_ceil(r));
            (first, heads.saturating_sub(first))
        }
    };
    (count > 0).then_some((first as u32, count))
}

/// A head and a position that no branch covers, if any.
pub(crate) fn uncovered(op: &Operator) -> Option<(u32, u64)> {
    if op.branches.iter().any(|b| b.dilation == 1) {
        return None;
    }
    if op.profile.rows == Rows::Displaced
        || op.branches.iter().all(|b| b.segment != Segment::Finite(1))
    {
        return Some((0, 1));
    }
    match op.profile.offsets {
        _ if op.heads == 1 => None,
        Offsets::Modulo => Some((1, 0)),
        Offsets::Blocked => Some((op.heads - 1, 0)),
    }
}

/// Reports what is probably not meant.
pub(crate) fn warn(op: &Operator, places: &Places<'_>, sink: &mut Sink) {
    let mut first_with: HashMap<Branch, Span> = HashMap::new();
    for built in places.branches {
        let Branch {
            segment,
            dilation: r,
        } = built.branch;
        let mut say = |code,
                       span: Span,
                       message: String,
                       label: String,
                       help: &str,
                       other: Option<(Span, String)>| {
            let mut diagnostic = if span.file == places.name.file {
                Diagnostic::new(code, span, message, label)
            } else {
                let here = places.base.unwrap_or(places.name);
                Diagnostic::new(code, here, message, "in a branch that is copied here")
                    .with_secondary(span, label)
            };
            if let Some((span, text)) = other.filter(|(other, _)| *other != span) {
                diagnostic = diagnostic.with_secondary(span, text);
            }
            sink.push(diagnostic.with_help(help));
        };
        if let Some((head, count)) = never_covered(op, built.branch) {
            let others = if count > 1 {
                format!(" (and {} more)", count - 1)
            } else {
                String::new()
            };
            say(
                Code::HeadNeverCovered,
                built.dilation,
                format!(
                    "head {head}{others} of `{}` is never covered by the branch ({segment}, {r})",
                    op.name
                ),
                format!(
                    "offset {} lies beyond the segment of {segment}",
                    op.offset(head, r)
                ),
                "use a smaller dilation or a longer segment",
                Some((built.segment, "the segment".to_owned())),
            );
        }
        if let Some(offset) = first_free_offset(op, r) {
            let heads = if op.heads == 1 {
                "1 head has".to_owned()
            } else {
                format!("{} heads have", op.heads)
            };
            say(
                Code::OffsetWithoutHead,
                built.dilation,
                format!(
                    "no head of `{}` has the offset {offset} of dilation {r}",
                    op.name
                ),
                format!("the {heads} only the offsets below {offset}"),
                "those positions are seen by no head in this branch; use more heads or a smaller dilation",
                None,
            );
        }
        if let Segment::Finite(w) = segment {
            if r >= w && r > 1 {
                say(
                    Code::DilationBeyondSegment,
                    built.dilation,
                    format!("the dilation {r} leaves at most one key of each segment of {w}"),
                    format!("not smaller than the segment of {w}"),
                    "use a smaller dilation or a longer segment",
                    Some((built.segment, "the segment".to_owned())),
                );
            } else if !w.is_multiple_of(r) {
                say(
                    Code::SegmentNotDivided,
                    built.segment,
                    format!("the dilation {r} does not divide the segment {w}"),
                    format!("{w} = {} * {r} + {}", w / r, w % r),
                    "some heads see one key more than others in every segment; use a multiple of the dilation",
                    Some((built.dilation, "the dilation".to_owned())),
                );
            }
        }
        match first_with.get(&built.branch) {
            Some(first) => say(
                Code::DuplicateBranch,
                built.span,
                format!(
                    "the branch ({segment}, {r}) of `{}` stands there twice",
                    op.name
                ),
                "the same segment and dilation as before".to_owned(),
                "its keys count twice and lse grows by ln 2; remove one of them if that is not meant",
                Some((*first, "the first one".to_owned())),
            ),
            None => {
                first_with.insert(built.branch, built.span);
            }
        }
    }
    if let Some((head, position)) = uncovered(op) {
        let message = format!(
            "no branch of `{}` covers head {head} at position {position}",
            op.name
        );
        let label = format!("position {position} of head {head} has out = 0 and lse = -inf");
        sink.push(
            Diagnostic::new(Code::UncoveredPosition, places.name, message, label)
                .with_help("a branch of dilation 1 covers every head and position"),
        );
    }
}
