// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hovers: what the word at a place means, with the values that it has.
//!
//! In: an [`Index`] and a place. Out: Markdown.

use std::fmt::Write;
use std::sync::Arc;

use attnc_diag::{FileId, SourceMap, Span};

use super::{Index, Meaning, Values};
use crate::coverage::uncovered;
use crate::words::word_list;
use crate::{Branch, Offsets, Operator, Segment};

/// Rows of a table of branches; an operator can have a thousand.
const MAX_ROWS: usize = 24;

/// What a word means.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The word.
    pub span: Span,
    /// What it means, in Markdown.
    pub markdown: String,
    /// The operator that it names, if it names one without mistakes.
    pub operator: Option<Arc<Operator>>,
}

impl Index {
    /// What the word at byte `offset` means: a constant and its values, an attention with heads, branches and coverage, a field, a
    /// function, a keyword.
    pub fn explain(&self, sources: &SourceMap, file: FileId, offset: usize) -> Option<Explanation> {
        let plain = |span, markdown| Explanation {
            span,
            markdown,
            operator: None,
        };
        let Some((span, meaning)) = self.word(file, offset) else {
            let (keyword, range) = attnc_syntax::keyword_at(sources.text(file), offset)?;
            let span = Span::new(file, range.start, range.end);
            let page = super::pages::keyword(keyword);
            return Some(plain(span, format!("{}\n\n{page}", code(keyword))));
        };
        let name = |span: Span| {
            let text = sources.text(span.file);
            text.get(span.range()).unwrap_or_default().to_owned()
        };
        let markdown = match meaning {
            Meaning::Constant { declared, value } => {
                let kind = if declared == value { "for" } else { "let" };
                let values = self.values(value);
                match kind {
                    "for" => code(&format!("for {} in {}", name(declared), values.list())),
                    _ => code(&format!(
                        "let {} = {}",
                        name(declared),
                        values.alternatives()
                    )),
                }
            }
            Meaning::Attention(declared) => {
                let noted = self.notes.attentions.get(&declared);
                let operator = noted.and_then(|n| n.operator.clone());
                let Some(op) = operator else {
                    let text = "This attention has mistakes.";
                    let head = code(&format!("attention {}", name(declared)));
                    return Some(plain(span, format!("{head}\n\n{text}")));
                };
                let markdown = attention(&op);
                return Some(Explanation {
                    span,
                    markdown,
                    operator: Some(op),
                });
            }
            Meaning::File(other) => {
                let file = sources.get(other).map_or("", |f| f.name());
                let of = self
                    .notes
                    .attentions
                    .iter()
                    .filter(|(s, _)| s.file == other);
                let names: Vec<String> = of.map(|(s, _)| format!("`{}`", name(*s))).collect();
                let brings = if names.is_empty() {
                    "declares no attention".to_owned()
                } else {
                    format!("brings {}", names.join(", "))
                };
                format!("`{file}` {brings}.")
            }
            Meaning::Field { field, value } => {
                let values = self.values(value);
                let head = code(&format!("{} = {}", field.name(), values.alternatives()));
                format!("{head}\n\n{}", super::pages::field(field))
            }
            Meaning::Own(field) => {
                let value = self
                    .attention_around(file, offset)
                    .and_then(|at| self.notes.attentions.get(&at)?.operator.clone())
                    .and_then(|op| own(&op, field));
                let value = value.map_or("unknown".to_owned(), |v| v.to_string());
                let head = code(&format!("{} = {value}", field.name()));
                format!("{head}\n\nThe operator's own final value.")
            }
            Meaning::Word(word) => {
                let field = word.field();
                let takes = word_list(field.words());
                let page = super::pages::word(word);
                format!(
                    "{}\n\n{page}\n\nA value of `{}`, which takes {takes}.",
                    code(word.name()),
                    field.name()
                )
            }
            Meaning::Function(function) => {
                let page = super::pages::function(function);
                format!("{}\n\n{page}", code(function.signature()))
            }
            Meaning::Branch => self.branch(span),
        };
        Some(plain(span, markdown))
    }

    fn values(&self, span: Span) -> Values {
        self.notes.values.get(&span).cloned().unwrap_or_default()
    }

    /// The branches that the word `branch` at `span` became.
    fn branch(&self, span: Span) -> String {
        let page = super::pages::keyword("branch");
        let made = self.notes.attentions.values().find_map(|noted| {
            let built = noted.branches.as_ref()?.iter().filter(|b| b.span == span);
            let made: Vec<Branch> = built.map(|b| b.branch).collect();
            (!made.is_empty()).then(|| (noted.operator.clone(), made))
        });
        let Some((operator, made)) = made else {
            return format!("{}\n\n{page}", code("branch"));
        };
        let table = match operator {
            Some(op) => table(&op, &made),
            None => {
                let pair = |b: &Branch| format!("({}, {})", b.segment, b.dilation);
                let pairs: Vec<String> = made.iter().take(MAX_ROWS).map(pair).collect();
                format!("(w, r): {}", pairs.join(", "))
            }
        };
        let count = match made.len() {
            1 => "1 branch".to_owned(),
            n => format!("{n} branches"),
        };
        format!("{}\n\n{count}:\n\n{table}\n{page}", code("branch"))
    }
}

impl Values {
    /// `a`, or `a | b | ...` where loops give several.
    fn alternatives(&self) -> String {
        self.joined(" | ")
    }

    fn list(&self) -> String {
        format!("[{}]", self.joined(", "))
    }

    fn joined(&self, between: &str) -> String {
        if self.first.is_empty() {
            return "?".to_owned();
        }
        let more = if self.more {
            format!("{between}...")
        } else {
            String::new()
        };
        self.first.join(between) + &more
    }
}

fn code(text: &str) -> String {
    format!("```attn\n{text}\n```")
}

fn own(op: &Operator, field: crate::words::Field) -> Option<u32> {
    use crate::words::Field;
    match field {
        Field::Heads => Some(op.heads),
        Field::KvHeads => Some(op.kv_heads),
        Field::HeadDim => Some(op.head_dim),
        Field::DType
        | Field::Precision
        | Field::Causal
        | Field::Scale
        | Field::Semantics
        | Field::Offsets
        | Field::Ragged
        | Field::Rows
        | Field::Gradient
        | Field::ZeroLse
        | Field::Segment
        | Field::Dilation => None,
    }
}

/// An attention with everything resolved.
fn attention(op: &Operator) -> String {
    let mut out = code(&format!("attention {}", op.name));
    let p = &op.profile;
    let words = format!(
        "{:?} offsets, {:?} ragged, {:?} rows",
        p.offsets, p.ragged, p.rows
    );
    let causal = if op.causal { "causal" } else { "not causal" };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "\n\nheads {}, kv_heads {}, head_dim {}, {}, {causal}, scale {:?}  \n{}\n\n{}\n",
        op.heads,
        op.kv_heads,
        op.head_dim,
        op.dtype,
        op.scale,
        words.to_lowercase(),
        table(op, &op.branches)
    );
    let covered = match uncovered(op) {
        Some((head, position)) => {
            format!("Head {head} is not covered at position {position} by any branch (W03).")
        }
        None => "Every head is covered at every position.".to_owned(),
    };
    out.push_str(&covered);
    out
}

/// Branches with their offsets and what part of the positions of a long sequence each covers, head by head.
fn table(op: &Operator, branches: &[Branch]) -> String {
    let mut out = String::from(
        "| segment w | dilation r | offsets of the heads | covers |\n|--:|--:|---|---|\n",
    );
    for b in branches.iter().take(MAX_ROWS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            b.segment,
            b.dilation,
            offsets(op, b.dilation),
            covers(op, *b)
        );
    }
    if branches.len() > MAX_ROWS {
        let _ = writeln!(out, "\n... {} more", branches.len() - MAX_ROWS);
    }
    out
}

fn offsets(op: &Operator, r: u64) -> String {
    let last = op.offset(op.heads - 1, r);
    match op.profile.offsets {
        _ if r == 1 || op.heads == 1 => "0".to_owned(),
        Offsets::Modulo if u64::from(op.heads) > r => format!("h mod {r}: 0..{r}"),
        Offsets::Modulo => format!("h: 0..{}", op.heads),
        Offsets::Blocked => {
            let each = u64::from(op.heads).div_ceil(r);
            format!("h div {each}: 0..{}", last + 1)
        }
    }
}

/// The part of the positions of a full segment that each head sees, heads of one part together.
fn covers(op: &Operator, b: Branch) -> String {
    let r = b.dilation;
    let Segment::Finite(w) = b.segment else {
        return if r == 1 {
            "everything".to_owned()
        } else {
            format!("1/{r}")
        };
    };
    if r == 1 {
        return "everything".to_owned();
    }
    let places = |head: u32| {
        let o = op.offset(head, r);
        w.saturating_sub(o).div_ceil(r)
    };
    // Neighbouring heads that see equally many.
    let mut groups: Vec<(u32, u32, u64)> = Vec::new();
    for head in 0..op.heads {
        let n = places(head);
        match groups.last_mut() {
            Some((_, last, m)) if *m == n => *last = head,
            _ => groups.push((head, head, n)),
        }
    }
    let share = |n: u64| match n {
        0 => "nothing".to_owned(),
        n if w.is_multiple_of(n) => format!("1/{}", w / n),
        n => format!("{n}/{w}"),
    };
    match &groups[..] {
        [(_, _, n)] => share(*n),
        groups if groups.len() <= 4 => {
            let one = |(a, b, n): &(u32, u32, u64)| {
                let heads = if a == b {
                    format!("head {a}")
                } else {
                    format!("heads {a}-{b}")
                };
                format!("{heads}: {}", share(*n))
            };
            groups.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        groups => {
            let least = groups.iter().map(|g| g.2).min().unwrap_or(0);
            let most = groups.iter().map(|g| g.2).max().unwrap_or(0);
            format!("{} to {} by head", share(least), share(most))
        }
    }
}
