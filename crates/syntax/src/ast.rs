// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax tree: what the text says, with the place of everything, before anything has a meaning.
//!
//! Where the text is wrong the tree has holes ([`ExprKind::Error`]); each hole has a diagnostic.

use attnc_diag::Span;

/// A name as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// `edition 1`, if written.
    pub edition: Option<Edition>,
    /// The items in their order.
    pub items: Vec<Item>,
}

/// `edition INT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Edition {
    /// The number.
    pub number: u64,
    /// Its place.
    pub span: Span,
}

/// A top-level item.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `use "path"`.
    Use(Use),
    /// `let name = value`.
    Let(Let),
    /// `attention name { ... }`.
    Attention(Attention),
}

/// `use "path"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The path, escapes resolved.
    pub path: String,
    /// Place of the string.
    pub span: Span,
}

/// `let name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// What is named.
    pub name: Ident,
    /// What it stands for.
    pub value: Expr,
}

/// `attention name { ... }` or `attention name = base with { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Its name.
    pub name: Ident,
    /// The attention it copies.
    pub base: Option<Ident>,
    /// Its items.
    pub block: Vec<BlockItem>,
}

/// An item of a block: of an attention, or of a `for` (which has no fields).
#[derive(Clone, Debug, PartialEq)]
pub enum BlockItem {
    /// `name = value`.
    Field(Field),
    /// `branch { ... }`.
    Branch(Branch),
    /// `for name in ... { ... }`.
    For(For),
    /// `let name = value`.
    Let(Let),
}

/// `name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The field's name.
    pub name: Ident,
    /// Its value.
    pub value: Expr,
}

/// `branch { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Its fields.
    pub fields: Vec<Field>,
    /// From the keyword to the brace.
    pub span: Span,
}

/// `for name in ... { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// The loop variable.
    pub variable: Ident,
    /// What it runs over.
    pub over: Over,
    /// The body.
    pub body: Vec<BlockItem>,
    /// From the keyword to the brace.
    pub span: Span,
}

/// What a `for` runs over.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// `a..b`, without b.
    Range(Expr, Expr),
    /// The elements of a list.
    List(Expr),
}

impl Over {
    /// Its place.
    pub fn span(&self) -> Span {
        match self {
            Over::Range(a, b) => a.span.to(b.span),
            Over::List(list) => list.span,
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its place.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A hole: a diagnostic tells why.
    Error,
    /// An integer literal, up to 2^63 (which only a unary minus makes an integer of).
    Int(u64),
    /// A literal with a point or an exponent.
    Float(f64),
    /// A name.
    Name(String),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `f(a, b)`.
    Call(Ident, Vec<Expr>),
    /// `list[index]`.
    Index(Box<Expr>, Box<Expr>),
    /// `(a)`.
    Paren(Box<Expr>),
    /// `-a`.
    Neg(Box<Expr>),
    /// `a ^ b`.
    Pow(Box<Expr>, Box<Expr>),
    /// `a op b op c ...` of one precedence, from left to right; at least one step.
    Chain(Box<Expr>, Vec<(Op, Expr)>),
}

/// The operators of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
}

impl Op {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::Div => "/",
            Op::Rem => "%",
        }
    }
}
