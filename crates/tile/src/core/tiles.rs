// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile functions: axes, types, operations and elementwise expressions.
//!
//! In: nothing, these are types. Out: [`TileFn`], straight-line code on tiles, which the interpreter runs, a backend lowers operation by
//! operation, and a target may claim whole.

use super::{Elem, Layout};

/// What an axis of a tile counts. Contracted axes must carry equal tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// A single row: row vectors over queries.
    One,
    /// Queries; extent mq, live part `live_q`.
    Query,
    /// Keys; extent nk, live part `live_k`.
    Key {
        /// Order of the keys along the axis: 0 = as gathered; packs that permute use their own tag.
        order: u32,
    },
    /// Elements of a head; extent D, always all live.
    Dim,
}

/// Type of a tile parameter or temporary, `[rows, cols]`: f32, i64 positions, or a panel in the operator's dtype, which the dots widen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileTy {
    /// Element type.
    pub elem: Elem,
    /// First axis.
    pub rows: Axis,
    /// Second axis (contiguous, unless the tile is transposed).
    pub cols: Axis,
    /// [`Layout::Row`], or how a panel is packed. Temporaries and what is written are rows.
    pub layout: Layout,
}

/// Number of a tile inside a function: parameters first, then temporaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile(pub u32);

/// Number of a scalar parameter inside a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scalar(pub u32);

/// A tile function: straight-line code over tiles in memory.
///
/// Scalar parameter 0 is `live_q` (1..=mq), and 1 is `live_k` (1..=nk) in functions with a key axis.
#[derive(Clone, Debug, PartialEq)]
pub struct TileFn {
    /// Name: `step`, `init`, `finish`, ...
    pub name: String,
    /// Extents of the axes.
    pub mq: u32,
    /// Extent of the key axis (0 when there is none).
    pub nk: u32,
    /// D.
    pub head_dim: u32,
    /// Names and types of the tile parameters.
    pub tiles: Vec<(String, TileTy)>,
    /// Names of the scalar parameters.
    pub scalars: Vec<String>,
    /// Names and types of the temporaries (contents undefined at entry).
    pub temps: Vec<(String, TileTy)>,
    /// Operations, in order.
    pub body: Vec<TileOp>,
}

/// A condition on an operation: the scalar parameter is not 0 (`true`) or is 0 (`false`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which parameter.
    pub scalar: Scalar,
    /// Which outcome runs the operation.
    pub when: bool,
}

/// A tile operation with an optional guard.
#[derive(Clone, Debug, PartialEq)]
pub struct TileOp {
    /// Runs only then.
    pub guard: Option<Guard>,
    /// The operation.
    pub kind: OpKind,
}

/// Tile operations.
#[derive(Clone, Debug, PartialEq)]
pub enum OpKind {
    /// `dst[k, q]` = sum over d of `a[k, d]` * `b[d, q]`  (`a`: rows Key, cols Dim; `b`: rows Dim, cols Query).
    DotKeys {
        /// Scores [Key, Query].
        dst: Tile,
        /// Keys [Key, Dim].
        a: Tile,
        /// Queries [Dim, Query].
        b: Tile,
    },
    /// `dst[d, q]` = sum over live k of `a[k, d]` * `b[k, q]`  (`a`: rows Key, cols Dim; `b`: rows Key, cols Query; equal order tags).
    /// With `only`, products whose `only[k, q]` is 0 are left out, so that a hidden NaN or infinity never takes part.
    DotValues {
        /// [Dim, Query].
        dst: Tile,
        /// Values [Key, Dim].
        a: Tile,
        /// Weights [Key, Query].
        b: Tile,
        /// Visibility [Key, Query], 1 or 0.
        only: Option<Tile>,
    },
    /// dst = expr, element by element. Row vectors ([One, Query]) broadcast over the rows of a wider destination.
    Map {
        /// Destination; may occur in `expr`.
        dst: Tile,
        /// What is computed.
        expr: Expr,
    },
    /// `dst[q]` = op over the live rows of src.
    Reduce {
        /// Row vector.
        dst: Tile,
        /// Which reduction.
        op: Red,
        /// [Key, Query].
        src: Tile,
    },
    /// `dst[k, q]` = 1 where k < live_k, `weight[q]` > -inf, and (with `causal`) `kpos[k]` <= `qpos[q]`; else 0.
    Visible {
        /// [Key, Query].
        dst: Tile,
        /// Row vector T.
        weight: Tile,
        /// (kpos: [Key, One]-shaped I64 as rows Key cols One, qpos: [One, Query] I64).
        causal: Option<(Tile, Tile)>,
    },
    /// `dst[k, q]` = -inf where k >= live_k (up to the next multiple of KEY_STEP) or, with `causal`, `kpos[k]` > `qpos[q]`, or, with `only`, `only[k, q]` = 0.
    Mask {
        /// [Key, Query], in place.
        dst: Tile,
        /// Positions, as in `Visible`.
        causal: Option<(Tile, Tile)>,
        /// Visibility.
        only: Option<Tile>,
    },
}

/// Reductions over the key axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Red {
    /// Maximum; NaN elements may be passed over.
    Max,
    /// Sum.
    Sum,
}

/// How near an exponential is to what it stands for: a bound, which a body may keep by more than it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// Relative error below 2e-7.
    Full,
    /// Relative error below 2^-13.
    Bits13,
    /// Relative error below 2^-9.
    Bits9,
}

impl Accuracy {
    /// All, the nearest first.
    pub const ALL: [Accuracy; 3] = [Accuracy::Full, Accuracy::Bits13, Accuracy::Bits9];

    /// What stands behind the name of an exponential in the text.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Accuracy::Full => "",
            Accuracy::Bits13 => "_13",
            Accuracy::Bits9 => "_9",
        }
    }
}

/// An elementwise expression (f32).
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A tile's element; row vectors broadcast.
    Tile(Tile),
    /// A constant.
    Const(f32),
    /// a + b.
    Add(Box<Expr>, Box<Expr>),
    /// a - b.
    Sub(Box<Expr>, Box<Expr>),
    /// a * b.
    Mul(Box<Expr>, Box<Expr>),
    /// a / b.
    Div(Box<Expr>, Box<Expr>),
    /// a * b + c, fused where the body has FMA.
    Fma(Box<Expr>, Box<Expr>, Box<Expr>),
    /// max(a, b): b when a is NaN.
    Max(Box<Expr>, Box<Expr>),
    /// 2^x for x <= 1: exactly 0 below -126, NaN for NaN.
    Exp2(Box<Expr>, Accuracy),
    /// e^x = 2^(x * log2 e).
    Exp(Box<Expr>, Accuracy),
    /// log2 x for positive normal x; -inf for 0, NaN for NaN and negative x; absolute error below 2e-7.
    Log2(Box<Expr>),
    /// ln x, likewise.
    Ln(Box<Expr>),
    /// The number of the operator's dtype nearest to x, ties to even; NaN for NaN.
    Data(Box<Expr>),
    /// if a == b { c } else { d }.
    IfEq(Box<Expr>, Box<Expr>, Box<Expr>, Box<Expr>),
    /// if a < b { c } else { d }.
    IfLt(Box<Expr>, Box<Expr>, Box<Expr>, Box<Expr>),
}
