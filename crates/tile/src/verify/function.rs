// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile functions: operands, order tags, and, for every combination of guards, that tiles are written before they are read and
//! scores are masked before they count.

use super::moves::written;
use super::{Rule, VerifyError};
use crate::core::{
    Axis, Core, Elem, Expr, Layout, OpKind, QUERY_STEP, Tile, TileFn, TileOp, TileTy,
};

/// Most scalars that guards may name; every combination is walked.
const GUARDS: u32 = 8;

/// Marks the parameters that are read before the function has surely written them, and those that it writes.
pub(super) fn uses(f: &TileFn, reads: &mut [bool], writes: &mut [bool]) {
    let mut sure = vec![false; f.tiles.len()];
    for op in &f.body {
        for t in read(&op.kind) {
            let i = t.0 as usize;
            if i < reads.len() && !sure[i] {
                reads[i] = true;
            }
        }
        let i = written(&op.kind).0 as usize;
        if i < writes.len() {
            writes[i] = true;
            sure[i] |= op.guard.is_none();
        }
    }
}

/// The tiles that an operation reads.
fn read(op: &OpKind) -> Vec<Tile> {
    match op {
        OpKind::DotKeys { dst: _, a, b } => vec![*a, *b],
        OpKind::DotValues { dst: _, a, b, only } => [*a, *b].into_iter().chain(*only).collect(),
        OpKind::Map { dst: _, expr } => {
            let mut out = Vec::new();
            leaves(expr, false, &mut |t, _| out.push(t));
            out
        }
        OpKind::Reduce { dst: _, op: _, src } => vec![*src],
        OpKind::Visible {
            dst: _,
            weight,
            causal,
        } => {
            let mut out = vec![*weight];
            out.extend(causal.iter().flat_map(|(k, q)| [*k, *q]));
            out
        }
        OpKind::Mask { dst, causal, only } => {
            let mut out = vec![*dst];
            out.extend(causal.iter().flat_map(|(k, q)| [*k, *q]));
            out.extend(*only);
            out
        }
    }
}

/// Visits the tiles of an expression, and whether an exponential stands above them.
fn leaves(e: &Expr, exponential: bool, visit: &mut impl FnMut(Tile, bool)) {
    match e {
        Expr::Tile(t) => visit(*t, exponential),
        Expr::Const(_) => {}
        Expr::Add(a, b) | Expr::Sub(a, b) | Expr::Mul(a, b) | Expr::Div(a, b) | Expr::Max(a, b) => {
            leaves(a, exponential, visit);
            leaves(b, exponential, visit);
        }
        Expr::Fma(a, b, c) => {
            for x in [a, b, c] {
                leaves(x, exponential, visit);
            }
        }
        Expr::Exp2(a, _) | Expr::Exp(a, _) => leaves(a, true, visit),
        Expr::Log2(a) | Expr::Ln(a) | Expr::Data(a) => leaves(a, exponential, visit),
        Expr::IfEq(a, b, c, d) | Expr::IfLt(a, b, c, d) => {
            for x in [a, b, c, d] {
                leaves(x, exponential, visit);
            }
        }
    }
}

struct Checker<'a> {
    f: &'a TileFn,
    errors: Vec<VerifyError>,
}

/// The broken rules of a function.
pub(super) fn check(core: &Core, f: &TileFn) -> Vec<VerifyError> {
    let mut c = Checker {
        f,
        errors: Vec::new(),
    };
    let lives = if f.nk > 0 { 2 } else { 1 };
    if f.mq == 0
        || !f.mq.is_multiple_of(QUERY_STEP)
        || core.key_step == 0
        || !f.nk.is_multiple_of(core.key_step)
        || f.head_dim != core.head_dim
        || f.scalars.len() < lives
    {
        let detail = format!("mq {}, nk {}, D {}", f.mq, f.nk, f.head_dim);
        c.fail(Rule::Extents, None, detail);
    }
    for (i, (name, ty)) in f.tiles.iter().chain(&f.temps).enumerate() {
        let panel = i < f.tiles.len() && is_key(ty.rows) && ty.cols == Axis::Dim;
        if ty.elem == Elem::Data && !panel {
            let detail = format!("{name} is not computed with: functions take floats");
            c.fail(Rule::Operand, None, detail);
        }
        if let Some(wrong) = mislaid(f, *ty, core.key_step) {
            c.fail(Rule::Packing, None, format!("{name} {wrong}"));
        }
    }
    for (i, op) in f.body.iter().enumerate() {
        c.operands(i, op, lives);
    }
    if c.errors.is_empty() {
        c.paths();
        c.compares(core.causal);
    }
    c.errors
}

/// What is wrong with the layout of a tile.
fn mislaid(f: &TileFn, ty: TileTy, key_step: u32) -> Option<&'static str> {
    match ty.layout {
        Layout::Row => None,
        Layout::St | Layout::Swz128 => Some("is laid out as only buffers are"),
        Layout::Padded { .. } | Layout::Transposed { .. } if ty.elem != Elem::Data => {
            Some("is packed and no panel")
        }
        Layout::Padded { pitch } => (pitch < f.head_dim).then_some("has rows beyond its pitch"),
        Layout::Transposed { stride } => {
            (stride < f.nk || key_step == 0 || !stride.is_multiple_of(key_step))
                .then_some("has keys beyond its stride")
        }
    }
}

fn is_key(a: Axis) -> bool {
    matches!(a, Axis::Key { .. })
}

impl Checker<'_> {
    fn fail(&mut self, rule: Rule, op: Option<usize>, detail: String) {
        let mut path = self.f.name.clone();
        if let Some(op) = op {
            path.push_str(&format!(".op{op}"));
        }
        let error = VerifyError { rule, path, detail };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Rule 33: scores are masked by positions, and visibility asks for them, if and only if the program is causal.
    fn compares(&mut self, causal: bool) {
        let mut scores = Vec::new();
        let mut compared = Vec::new();
        let mut asked = Vec::new();
        for op in &self.f.body {
            match &op.kind {
                OpKind::DotKeys { dst, .. } => scores.push(*dst),
                OpKind::Mask { dst, causal, .. } if causal.is_some() => compared.push(*dst),
                OpKind::Visible { dst, causal, .. } => asked.push((*dst, causal.is_some())),
                OpKind::Mask { .. }
                | OpKind::DotValues { .. }
                | OpKind::Map { .. }
                | OpKind::Reduce { .. } => {}
            }
        }
        let wrong = |t: &Tile| {
            asked
                .iter()
                .any(|(a, positions)| a == t && *positions != causal)
                || (scores.contains(t) || !causal) && compared.contains(t) != causal
        };
        let tiles = scores.iter().chain(&compared);
        let found: Vec<Tile> = tiles
            .chain(asked.iter().map(|(t, _)| t))
            .copied()
            .filter(wrong)
            .collect();
        for t in found {
            let what = if causal { "never compared" } else { "compared" };
            let detail = format!("positions of {} are {what}", self.name(t));
            self.fail(Rule::Positions, None, detail);
        }
    }

    fn name(&self, t: Tile) -> &str {
        let mut all = self.f.tiles.iter().chain(&self.f.temps);
        all.nth(t.0 as usize).map_or("?", |(n, _)| n.as_str())
    }

    fn ty(&self, t: Tile) -> Option<TileTy> {
        let mut all = self.f.tiles.iter().chain(&self.f.temps);
        all.nth(t.0 as usize).map(|(_, ty)| *ty)
    }

    /// A panel of keys or values: floats, or data that the operation widens.
    fn panel(&mut self, i: usize, t: Tile) {
        let elem = match self.ty(t) {
            Some(ty) if ty.elem == Elem::Data => Elem::Data,
            Some(_) | None => Elem::F32,
        };
        self.operand(i, t, elem, Axis::Key { order: 0 }, Axis::Dim);
    }

    /// A tile of the wanted type; key axes of any order.
    fn operand(&mut self, i: usize, t: Tile, elem: Elem, rows: Axis, cols: Axis) -> Option<TileTy> {
        let same = |a: Axis, b: Axis| a == b || (is_key(a) && is_key(b));
        match self.ty(t) {
            Some(ty) if ty.elem == elem && same(ty.rows, rows) && same(ty.cols, cols) => Some(ty),
            Some(ty) => {
                let detail = format!(
                    "{} is {ty:?}, not {elem:?} [{rows:?}, {cols:?}]",
                    self.name(t)
                );
                self.fail(Rule::Operand, Some(i), detail);
                None
            }
            None => {
                self.fail(Rule::Operand, Some(i), format!("there is no tile {}", t.0));
                None
            }
        }
    }

    fn same_order(&mut self, i: usize, tiles: &[Tile]) {
        let orders: Vec<Axis> = tiles
            .iter()
            .filter_map(|t| self.ty(*t))
            .map(|ty| if is_key(ty.rows) { ty.rows } else { ty.cols })
            .collect();
        if orders.windows(2).any(|w| w[0] != w[1]) {
            let names: Vec<&str> = tiles.iter().map(|t| self.name(*t)).collect();
            let detail = format!("{} order their keys differently", names.join(", "));
            self.fail(Rule::Order, Some(i), detail);
        }
    }

    fn positions(&mut self, i: usize, dst: Tile, causal: Option<(Tile, Tile)>) {
        if let Some((k, q)) = causal {
            let key = Axis::Key { order: 0 };
            self.operand(i, k, Elem::I64, key, Axis::One);
            self.operand(i, q, Elem::I64, Axis::One, Axis::Query);
            self.same_order(i, &[dst, k]);
        }
    }

    fn operands(&mut self, i: usize, op: &TileOp, lives: usize) {
        if let Some(g) = op.guard {
            let s = g.scalar.0 as usize;
            if s < lives || s >= self.f.scalars.len() || s - lives >= GUARDS as usize {
                self.fail(Rule::Guard, Some(i), format!("a guard names scalar {s}"));
            }
        }
        let key = Axis::Key { order: 0 };
        let (f32, one, dim, query) = (Elem::F32, Axis::One, Axis::Dim, Axis::Query);
        match &op.kind {
            OpKind::DotKeys { dst, a, b } => {
                self.operand(i, *dst, f32, key, query);
                self.panel(i, *a);
                self.operand(i, *b, f32, dim, query);
                self.same_order(i, &[*dst, *a]);
            }
            OpKind::DotValues { dst, a, b, only } => {
                self.operand(i, *dst, f32, dim, query);
                self.panel(i, *a);
                self.operand(i, *b, f32, key, query);
                let mut tiles = vec![*a, *b];
                if let Some(only) = only {
                    self.operand(i, *only, f32, key, query);
                    tiles.push(*only);
                }
                self.same_order(i, &tiles);
            }
            OpKind::Map { dst, expr } => {
                let Some(to) = self.ty(*dst) else {
                    self.fail(
                        Rule::Operand,
                        Some(i),
                        format!("there is no tile {}", dst.0),
                    );
                    return;
                };
                if to.elem != f32 || to.cols != query {
                    let detail = format!("{} cannot be mapped to", self.name(*dst));
                    self.fail(Rule::Operand, Some(i), detail);
                }
                let mut tiles = Vec::new();
                leaves(expr, false, &mut |t, _| tiles.push(t));
                for t in tiles {
                    if self.ty(t).is_some_and(|ty| ty.rows == one) {
                        self.operand(i, t, f32, one, query);
                    } else if self.operand(i, t, f32, to.rows, query).is_some() && is_key(to.rows) {
                        self.same_order(i, &[*dst, t]);
                    }
                }
            }
            OpKind::Reduce { dst, op: _, src } => {
                self.operand(i, *dst, f32, one, query);
                self.operand(i, *src, f32, key, query);
            }
            OpKind::Visible {
                dst,
                weight,
                causal,
            } => {
                self.operand(i, *dst, f32, key, query);
                self.operand(i, *weight, f32, one, query);
                self.positions(i, *dst, *causal);
            }
            OpKind::Mask { dst, causal, only } => {
                self.operand(i, *dst, f32, key, query);
                self.positions(i, *dst, *causal);
                if let Some(only) = only {
                    self.operand(i, *only, f32, key, query);
                    self.same_order(i, &[*dst, *only]);
                }
            }
        }
    }

    /// Walks the body once for every outcome of the guards.
    fn paths(&mut self) {
        let mut scalars: Vec<usize> = Vec::new();
        for op in &self.f.body {
            if let Some(g) = op.guard
                && !scalars.contains(&(g.scalar.0 as usize))
            {
                scalars.push(g.scalar.0 as usize);
            }
        }
        for outcome in 0..1u32 << scalars.len() {
            let runs = |op: &TileOp| {
                op.guard.is_none_or(|g| {
                    let bit = scalars.iter().position(|s| *s == g.scalar.0 as usize);
                    bit.is_some_and(|bit| (outcome >> bit & 1 == 1) == g.when)
                })
            };
            self.walk(runs);
        }
    }

    fn walk(&mut self, runs: impl Fn(&TileOp) -> bool) {
        let params = self.f.tiles.len();
        let total = params + self.f.temps.len();
        let mut ready: Vec<bool> = (0..total).map(|t| t < params).collect();
        // Scores that still hold keys beyond the live ones, or hidden ones.
        let mut raw = vec![false; total];
        for (i, op) in self.f.body.iter().enumerate().filter(|(_, op)| runs(op)) {
            for t in read(&op.kind) {
                if !ready[t.0 as usize] {
                    let detail = format!("{} is read before it is written", self.name(t));
                    self.fail(Rule::Unwritten, Some(i), detail);
                }
            }
            let dst = written(&op.kind).0 as usize;
            let mut bad = Vec::new();
            let after = match &op.kind {
                OpKind::DotKeys { .. } => true,
                OpKind::DotValues { b, only, .. } => {
                    bad.extend([*b].into_iter().chain(*only).filter(|t| raw[t.0 as usize]));
                    false
                }
                OpKind::Map { dst: _, expr } => {
                    let mut any = false;
                    leaves(expr, false, &mut |t, exponential| {
                        if raw[t.0 as usize] {
                            any = true;
                            if exponential {
                                bad.push(t);
                            }
                        }
                    });
                    any
                }
                OpKind::Reduce { src, .. } => {
                    bad.extend([*src].into_iter().filter(|t| raw[t.0 as usize]));
                    false
                }
                OpKind::Visible { .. } | OpKind::Mask { .. } => false,
            };
            for t in bad {
                let detail = format!("{} counts before it is masked", self.name(t));
                self.fail(Rule::Unmasked, Some(i), detail);
            }
            ready[dst] = true;
            raw[dst] = after;
        }
    }
}
