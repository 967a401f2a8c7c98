// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The file with its names resolved: what `lower` makes of the syntax tree and `eval` runs.

use attnc_diag::Span;

use crate::words::{Field, Word};

pub(crate) use attnc_syntax::ast::Op;

/// An expression; every name says what it means.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// A mistake that has been reported.
    Error,
    Int(u64),
    Float(f64),
    Word(Word),
    /// A `let` or loop variable of a block: its place in the frame.
    Local(usize),
    /// A top-level `let`: its index.
    Global(usize),
    /// The operator's own final value.
    Own(Field),
    List(Vec<Expr>),
    Call(Function, Vec<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Neg(Box<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    Chain(Box<Expr>, Vec<(Op, Expr)>),
}

/// The functions of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sqrt,
    Min,
    Max,
    CeilDiv,
    Floor,
    Round,
    Len,
    Geom,
}

impl Function {
    pub(crate) const ALL: [Function; 8] = [
        Function::Sqrt,
        Function::Min,
        Function::Max,
        Function::CeilDiv,
        Function::Floor,
        Function::Round,
        Function::Len,
        Function::Geom,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Function::Sqrt => "sqrt",
            Function::Min => "min",
            Function::Max => "max",
            Function::CeilDiv => "ceil_div",
            Function::Floor => "floor",
            Function::Round => "round",
            Function::Len => "len",
            Function::Geom => "geom",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Function> {
        Function::ALL
            .into_iter()
            .find(|function| function.name() == name)
    }

    /// How it is called.
    pub(crate) fn signature(self) -> &'static str {
        match self {
            Function::Sqrt => "sqrt(x)",
            Function::Min => "min(a, ...)",
            Function::Max => "max(a, ...)",
            Function::CeilDiv => "ceil_div(a, b)",
            Function::Floor => "floor(x)",
            Function::Round => "round(x)",
            Function::Len => "len(list)",
            Function::Geom => "geom(first, last, count)",
        }
    }

    /// Whether it takes that many arguments.
    pub(crate) fn takes(self, count: usize) -> bool {
        match self {
            Function::Min | Function::Max => count >= 1,
            Function::Sqrt | Function::Floor | Function::Round | Function::Len => count == 1,
            Function::CeilDiv => count == 2,
            Function::Geom => count == 3,
        }
    }
}

/// What a block does, in order; its fields stand apart.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Puts a value into a place of the frame.
    Let(usize, Expr),
    Branch(Branch),
    For(For),
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    /// `None`: missing, which has been reported.
    pub(crate) segment: Option<Expr>,
    /// `None`: not written.
    pub(crate) dilation: Option<Expr>,
    /// The word `branch`.
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct For {
    /// Place of the loop variable.
    pub(crate) slot: usize,
    /// Its name where it is declared.
    pub(crate) variable: Span,
    pub(crate) over: Over,
    pub(crate) span: Span,
    pub(crate) body: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(crate) enum Over {
    Range(Expr, Expr),
    List(Expr),
}

/// An attention with its names resolved.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) base: Base,
    /// Each field at most once, in the order written.
    pub(crate) fields: Vec<(Field, Expr)>,
    pub(crate) items: Vec<Item>,
    /// Whether a branch is written anywhere in the block.
    pub(crate) writes_branches: bool,
    /// Whether the text of the block is whole; if not, what seems to be missing may be there.
    pub(crate) complete: bool,
    /// Fields that seem to be there under a wrong name or in the wrong block: nobody misses them.
    pub(crate) forgiven: Vec<Field>,
    /// Places that its frame needs.
    pub(crate) frame: usize,
}

/// What an attention copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing: it has no `with`.
    None,
    /// An attention of the same file, by index; the span is that of its name after `=`.
    Own(usize, Span),
    /// An imported one, by index among the imports.
    Imported(usize, Span),
    /// A mistake that has been reported.
    Error,
}
