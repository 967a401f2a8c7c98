// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a resolved attention to an operator: its fields, what it copies, its defaults, its branches.
//!
//! In: the resolved attention and, after `with`, what it copies. Out: [`Built`]: the fields written (already evaluated, for whoever copies
//! it), the branches, and the operator if nothing is wrong. Block `let`s come first (they cannot read fields), then the fields, each
//! when it is needed, then branches and loops in their order.

mod branches;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use attnc_diag::{Code, Diagnostic, Span};
use attnc_tensor::DType;

use crate::eval::{Evaluator, Own};
use crate::fields::{Setting, check};
use crate::hir::{self, Expr, Item};
use crate::value::Value;
use crate::words::{Field, Word};
use crate::{Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, ZeroLse};

/// Most branches of the attentions of a file together.
pub(crate) const MAX_BRANCHES_IN_ALL: usize = 1 << 20;

/// A branch with where its values stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltBranch {
    pub(crate) branch: Branch,
    pub(crate) span: Span,
    pub(crate) segment: Span,
    pub(crate) dilation: Span,
}

/// An attention after evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The fields written, here or in what it copies; `None` for those whose value is a mistake.
    explicit: BTreeMap<Field, Option<(Setting, Span)>>,
    /// `None` if one of them is a mistake.
    pub(crate) branches: Option<Rc<[BuiltBranch]>>,
    pub(crate) operator: Option<Arc<Operator>>,
    /// Number of `with` below it.
    pub(crate) depth: u32,
}

impl Built {
    /// An attention of which nothing is known but that it has been complained about.
    pub(crate) fn unknown(depth: u32) -> Built {
        let explicit = Field::ATTENTION
            .into_iter()
            .map(|field| (field, None))
            .collect();
        Built {
            explicit,
            branches: None,
            operator: None,
            depth,
        }
    }
}

/// Evaluates an attention; `base`: what it copies. `in_all` counts the branches of the file.
pub(crate) fn build(
    hir: &hir::Attention,
    base: Option<&Built>,
    eval: &mut Evaluator<'_>,
    in_all: &mut usize,
) -> Built {
    eval.frame = vec![Value::Poison; hir.frame];
    let mut fields = Fields {
        hir,
        base,
        state: BTreeMap::new(),
        complained: false,
    };
    for item in &hir.items {
        if let Item::Let(slot, value) = item {
            let value = eval.named(value, &mut fields);
            eval.frame[*slot] = value;
        }
    }
    for field in Field::ATTENTION {
        fields.get(field, eval);
    }
    let branches = branches::branches(hir, base, &mut fields, eval);
    let depth = base.map_or(0, |base| base.depth + 1);
    let operator = operator(hir, &mut fields, branches.as_deref(), eval, in_all);
    let explicit = fields
        .state
        .into_iter()
        .filter_map(|(field, state)| match state {
            State::Known(Some(setting)) => Some((field, Some(setting))),
            State::Known(None) => None,
            State::Wrong | State::Busy => Some((field, None)),
        })
        .collect();
    Built {
        explicit,
        branches,
        operator: operator.map(Arc::new),
        depth,
    }
}

/// How far a field has come.
#[derive(Clone, Copy)]
enum State {
    /// It is being evaluated.
    Busy,
    /// Its value is a mistake that has been reported.
    Wrong,
    /// Written, or not.
    Known(Option<(Setting, Span)>),
}

struct Fields<'a> {
    hir: &'a hir::Attention,
    base: Option<&'a Built>,
    state: BTreeMap<Field, State>,
    /// Whether something about the fields together has been complained about.
    complained: bool,
}

impl Fields<'_> {
    fn written(&self, field: Field) -> Option<&Expr> {
        self.hir
            .fields
            .iter()
            .find(|(f, _)| *f == field)
            .map(|(_, expr)| expr)
    }

    /// The field as written here or in the base.
    fn get(&mut self, field: Field, eval: &mut Evaluator<'_>) -> State {
        if let Some(state) = self.state.get(&field) {
            return *state;
        }
        // Copied, so that evaluation can read other fields.
        let hir = self.hir;
        let state = match hir.fields.iter().find(|(f, _)| *f == field) {
            Some((_, expr)) => {
                self.state.insert(field, State::Busy);
                let value = eval.named(expr, self);
                match check(field, &value, expr.span, eval.sink) {
                    Some(setting) => State::Known(Some((setting, expr.span))),
                    None => State::Wrong,
                }
            }
            None => match (
                self.base.and_then(|base| base.explicit.get(&field)),
                hir.base,
            ) {
                (Some(Some(setting)), _) => State::Known(Some(*setting)),
                (Some(None), _) | (None, hir::Base::Error) => State::Wrong,
                (None, _) => State::Known(None),
            },
        };
        self.state.insert(field, state);
        state
    }

    fn word(&mut self, field: Field, default: Word, eval: &mut Evaluator<'_>) -> Option<Word> {
        match self.get(field, eval) {
            State::Known(None) => Some(default),
            State::Known(Some((Setting::Word(word), _))) => Some(word),
            State::Known(Some(_)) | State::Wrong | State::Busy => None,
        }
    }

    fn int(&mut self, field: Field, eval: &mut Evaluator<'_>) -> Option<u32> {
        match self.get(field, eval) {
            State::Known(Some((Setting::Int(n), _))) => u32::try_from(n).ok(),
            State::Known(_) | State::Wrong | State::Busy => None,
        }
    }

    /// Reports the fields that must be written and are not, unless a mistake before explains that: one mistake, whatever their number.
    fn report_missing(&mut self, eval: &mut Evaluator<'_>) {
        let mut missing = Vec::new();
        for (field, example) in [
            (Field::Heads, "heads = 8"),
            (Field::HeadDim, "head_dim = 64"),
        ] {
            if matches!(self.get(field, eval), State::Known(None))
                && !self.hir.forgiven.contains(&field)
            {
                missing.push((field.name(), example));
            }
        }
        if missing.is_empty() || self.base.is_some() || !self.hir.complete {
            return;
        }
        let join = |with: &str| {
            let names: Vec<String> = missing.iter().map(|(n, _)| format!("`{n}`")).collect();
            names.join(with)
        };
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let examples: Vec<&str> = missing.iter().map(|&(_, example)| example).collect();
        eval.sink.push(
            Diagnostic::new(
                Code::MissingField,
                self.hir.name_span,
                format!(
                    "the attention `{}` has no {}",
                    self.hir.name,
                    join(" and no ")
                ),
                format!("{} {verb} missing", join(" and ")),
            )
            .with_help(format!("add for instance `{}`", examples.join(", "))),
        );
    }
}

impl Own for Fields<'_> {
    fn own(&mut self, field: Field, span: Span, eval: &mut Evaluator<'_>) -> Value {
        match self.get(field, eval) {
            State::Known(Some((Setting::Int(n), _))) => Value::Int(n as i64),
            State::Known(None) if field == Field::KvHeads => self.own(Field::Heads, span, eval),
            State::Known(_) | State::Wrong => Value::Poison,
            State::Busy => {
                let name = field.name();
                let message = format!("the field `{name}` depends on itself");
                let label = format!(
                    "`{name}` means the operator's own final value, which is being computed"
                );
                let help = "give the value a name of its own with `let`";
                eval.fail(Code::FieldCycle, span, message, &label, help);
                Value::Poison
            }
        }
    }
}

fn operator(
    hir: &hir::Attention,
    fields: &mut Fields<'_>,
    branches: Option<&[BuiltBranch]>,
    eval: &mut Evaluator<'_>,
    in_all: &mut usize,
) -> Option<Operator> {
    fields.report_missing(eval);
    let heads = fields.int(Field::Heads, eval);
    let head_dim = fields.int(Field::HeadDim, eval);
    let kv_heads = kv_heads(fields, heads, eval);
    let scale = match fields.get(Field::Scale, eval) {
        State::Known(Some((Setting::Number(scale), _))) => Some(scale),
        State::Known(_) => head_dim.map(|d| 1.0 / f64::from(d).sqrt()),
        State::Wrong | State::Busy => None,
    };
    let dtype = fields.word(Field::DType, Word::F32, eval);
    let precision = fields.word(Field::Precision, Word::Standard, eval);
    let causal = fields.word(Field::Causal, Word::False, eval);
    let profile = profile(fields, eval);
    if fields.complained {
        return None;
    }
    let branches = branches?;
    let before = *in_all;
    *in_all = before.saturating_add(branches.len());
    if before > MAX_BRANCHES_IN_ALL {
        return None;
    }
    if *in_all > MAX_BRANCHES_IN_ALL {
        let message = format!(
            "the attentions up to `{}` have more than {MAX_BRANCHES_IN_ALL} branches together",
            hir.name
        );
        eval.fail(
            Code::TooManyBranchesInAll,
            hir.name_span,
            message,
            "too many from here on",
            "split the file",
        );
        return None;
    }
    Some(Operator {
        name: hir.name.clone(),
        heads: heads?,
        kv_heads: kv_heads?,
        head_dim: head_dim?,
        dtype: match dtype? {
            Word::Bf16 => DType::Bf16,
            Word::F16 => DType::F16,
            _ => DType::F32,
        },
        precision: match precision? {
            Word::Fast => Precision::Fast,
            Word::Tf32 => Precision::Tf32,
            _ => Precision::Standard,
        },
        causal: causal? == Word::True,
        scale: scale?,
        profile: profile?,
        branches: branches.iter().map(|b| b.branch).collect(),
    })
}

fn kv_heads(fields: &mut Fields<'_>, heads: Option<u32>, eval: &mut Evaluator<'_>) -> Option<u32> {
    let (kv_heads, kv_span) = match fields.get(Field::KvHeads, eval) {
        State::Known(None) => return heads,
        State::Known(Some((Setting::Int(n), span))) => (u32::try_from(n).ok()?, span),
        State::Known(Some(_)) | State::Wrong | State::Busy => return None,
    };
    let heads = heads?;
    if heads.is_multiple_of(kv_heads) {
        return Some(kv_heads);
    }
    fields.complained = true;
    let own = fields.written(Field::KvHeads).map(|expr| expr.span);
    let heads_span = fields.written(Field::Heads).map(|expr| expr.span);
    // Both copied: the attention that they come from has been complained about.
    let span = own.or(heads_span)?;
    let divisors: Vec<String> = (1..=heads)
        .filter(|n| heads.is_multiple_of(*n))
        .map(|n| n.to_string())
        .collect();
    let mut diagnostic = Diagnostic::new(
        Code::KvHeads,
        span,
        format!("`kv_heads` = {kv_heads} does not divide `heads` = {heads}"),
        if own.is_some() {
            format!("no divisor of {heads}")
        } else {
            format!("no multiple of {kv_heads}")
        },
    )
    .with_help(format!(
        "the divisors of {heads} are {}",
        divisors.join(", ")
    ));
    if own.is_none() {
        diagnostic = diagnostic.with_secondary(kv_span, "`kv_heads` is copied from here");
    } else if let Some(heads_span) = heads_span {
        diagnostic = diagnostic.with_secondary(heads_span, format!("`heads` is {heads}"));
    }
    eval.sink.push(diagnostic);
    None
}

/// The switches: those of `semantics`, each beaten by its own field wherever that is written.
fn profile(fields: &mut Fields<'_>, eval: &mut Evaluator<'_>) -> Option<Profile> {
    let preset = match fields.word(Field::Semantics, Word::Paper, eval)? {
        Word::Torchscale => Profile::TORCHSCALE,
        _ => Profile::PAPER,
    };
    let mut set = |field| match fields.get(field, eval) {
        State::Known(None) => Some(None),
        State::Known(Some((Setting::Word(word), _))) => Some(Some(word)),
        State::Known(Some(_)) | State::Wrong | State::Busy => None,
    };
    Some(Profile {
        offsets: match set(Field::Offsets)? {
            Some(Word::Blocked) => Offsets::Blocked,
            Some(_) => Offsets::Modulo,
            None => preset.offsets,
        },
        ragged: match set(Field::Ragged)? {
            Some(Word::ZeroKeys) => Ragged::ZeroKeys,
            Some(_) => Ragged::Masked,
            None => preset.ragged,
        },
        rows: match set(Field::Rows)? {
            Some(Word::Displaced) => Rows::Displaced,
            Some(_) => Rows::Aligned,
            None => preset.rows,
        },
        gradient: match set(Field::Gradient)? {
            Some(Word::Detached) => Gradient::Detached,
            Some(_) => Gradient::Exact,
            None => preset.gradient,
        },
        zero_lse: match set(Field::ZeroLse)? {
            Some(Word::Uncovered) => ZeroLse::Uncovered,
            Some(_) => ZeroLse::Covered,
            None => preset.zero_lse,
        },
    })
}
