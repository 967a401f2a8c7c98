// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile functions, one operation at a time, on the live parts of their tiles.

use attnc_tile::core::{Axis, BufId, Elem, Expr, OpKind, QUERY_STEP, Red, Tile, TileFn, TileTy};

use super::exec::Machine;
use super::{FaultKind, Memory};

/// One call: where its tiles lie and how much of them lives.
struct Frame<'f> {
    f: &'f TileFn,
    tiles: &'f [(BufId, i64)],
    temps: Vec<Memory>,
    live_q: usize,
    live_k: usize,
}

/// Runs `f`.
pub(crate) fn call(
    m: &mut Machine<'_>,
    f: &TileFn,
    tiles: &[(BufId, i64)],
    scalars: &[i64],
) -> Result<(), FaultKind> {
    if tiles.len() != f.tiles.len() || scalars.len() != f.scalars.len() {
        return Err(FaultKind::Malformed(
            "a call has another number of arguments than its function",
        ));
    }
    let live = |i: usize, extent: u32| match scalars.get(i) {
        Some(x) if (1..=i64::from(extent)).contains(x) => Ok(*x as usize),
        _ => Err(FaultKind::Bounds {
            what: format!("live extent of {}", f.name),
            index: scalars.get(i).copied().unwrap_or(-1),
            len: u64::from(extent),
        }),
    };
    let live_q = live(0, f.mq)?;
    let live_k = if f.nk > 0 { live(1, f.nk)? } else { 0 };
    let temps = f
        .temps
        .iter()
        .map(|(_, t)| Memory::new(t.elem, extent(f, t.rows) * extent(f, t.cols)))
        .collect();
    let mut frame = Frame {
        f,
        tiles,
        temps,
        live_q,
        live_k,
    };
    for op in &f.body {
        if let Some(g) = op.guard
            && (scalars[g.scalar.0 as usize] != 0) != g.when
        {
            continue;
        }
        frame.op(m, &op.kind)?;
    }
    Ok(())
}

fn extent(f: &TileFn, a: Axis) -> u64 {
    u64::from(match a {
        Axis::One => 1,
        Axis::Query => f.mq,
        Axis::Key { .. } => f.nk,
        Axis::Dim => f.head_dim,
    })
}

impl Frame<'_> {
    fn ty(&self, t: Tile) -> Result<(&str, TileTy), FaultKind> {
        let mut all = self.f.tiles.iter().chain(&self.f.temps);
        all.nth(t.0 as usize)
            .map(|(n, t)| (n.as_str(), *t))
            .ok_or(FaultKind::Malformed("a tile does not exist"))
    }

    fn at(&self, t: Tile, i: usize, j: usize) -> Result<i64, FaultKind> {
        let (name, ty) = self.ty(t)?;
        let (rows, cols) = (
            extent(self.f, ty.rows) as usize,
            extent(self.f, ty.cols) as usize,
        );
        if i >= rows || j >= cols {
            return Err(FaultKind::Bounds {
                what: name.to_string(),
                index: (i * cols + j) as i64,
                len: (rows * cols) as u64,
            });
        }
        Ok(ty.layout.at(i as u64, j as u64, cols as u64) as i64)
    }

    fn get(&self, m: &Machine<'_>, t: Tile, i: usize, j: usize) -> Result<f32, FaultKind> {
        let at = self.at(t, i, j)?;
        match self.tiles.get(t.0 as usize) {
            Some((buf, base)) => m.float(*buf, base + at),
            None => self.temps[t.0 as usize - self.tiles.len()].float(self.ty(t)?.0, at),
        }
    }

    fn position(&self, m: &Machine<'_>, t: Tile, i: usize, j: usize) -> Result<i64, FaultKind> {
        let at = self.at(t, i, j)?;
        match self.tiles.get(t.0 as usize) {
            Some((buf, base)) if self.ty(t)?.1.elem == Elem::I64 => m.int(*buf, base + at),
            _ => Err(FaultKind::Malformed("positions are integer parameters")),
        }
    }

    fn set(
        &mut self,
        m: &mut Machine<'_>,
        t: Tile,
        i: usize,
        j: usize,
        x: f32,
    ) -> Result<(), FaultKind> {
        let at = self.at(t, i, j)?;
        match self.tiles.get(t.0 as usize) {
            Some((buf, base)) => m.set_float(*buf, base + at, x),
            None => {
                let name = self.ty(t)?.0.to_string();
                self.temps[t.0 as usize - self.tiles.len()].set_float(&name, at, x)
            }
        }
    }

    fn live(&self, a: Axis) -> usize {
        match a {
            Axis::One => 1,
            Axis::Query => self.live_q,
            Axis::Key { .. } => self.live_k,
            Axis::Dim => self.f.head_dim as usize,
        }
    }

    fn count(&self, m: &mut Machine<'_>) {
        let pad = |x: usize, step: u32| x.div_ceil(step as usize) as u64 * u64::from(step);
        m.madds += pad(self.live_q, QUERY_STEP)
            * pad(self.live_k, m.core.key_step.max(1))
            * u64::from(self.f.head_dim);
    }

    fn op(&mut self, m: &mut Machine<'_>, op: &OpKind) -> Result<(), FaultKind> {
        let (q, k, d) = (self.live_q, self.live_k, self.f.head_dim as usize);
        match op {
            OpKind::DotKeys { dst, a, b } => {
                self.count(m);
                for i in 0..k {
                    for j in 0..q {
                        let mut sum = 0.0f32;
                        for x in 0..d {
                            sum = self.get(m, *a, i, x)?.mul_add(self.get(m, *b, x, j)?, sum);
                        }
                        self.set(m, *dst, i, j, sum)?;
                    }
                }
                Ok(())
            }
            OpKind::DotValues { dst, a, b, only } => {
                self.count(m);
                for x in 0..d {
                    for j in 0..q {
                        let mut sum = 0.0f32;
                        for i in 0..k {
                            if let Some(o) = only
                                && self.get(m, *o, i, j)? == 0.0
                            {
                                continue;
                            }
                            sum = self.get(m, *a, i, x)?.mul_add(self.get(m, *b, i, j)?, sum);
                        }
                        self.set(m, *dst, x, j, sum)?;
                    }
                }
                Ok(())
            }
            OpKind::Map { dst, expr } => {
                let ty = self.ty(*dst)?.1;
                for i in 0..self.live(ty.rows) {
                    for j in 0..self.live(ty.cols) {
                        let x = self.eval(m, expr, i, j)?;
                        self.set(m, *dst, i, j, x)?;
                    }
                }
                Ok(())
            }
            OpKind::Reduce { dst, op, src } => {
                for j in 0..q {
                    let mut r = match op {
                        Red::Max => f32::NEG_INFINITY,
                        Red::Sum => 0.0,
                    };
                    for i in 0..k {
                        let x = self.get(m, *src, i, j)?;
                        r = match op {
                            Red::Max => r.max(x),
                            Red::Sum => r + x,
                        };
                    }
                    self.set(m, *dst, 0, j, r)?;
                }
                Ok(())
            }
            OpKind::Visible {
                dst,
                weight,
                causal,
            } => {
                for i in 0..k {
                    for j in 0..q {
                        let seen = self.get(m, *weight, 0, j)? > f32::NEG_INFINITY
                            && !self.behind(m, causal, i, j)?;
                        self.set(m, *dst, i, j, f32::from(u8::from(seen)))?;
                    }
                }
                Ok(())
            }
            OpKind::Mask { dst, causal, only } => {
                if causal.is_none() && only.is_none() {
                    self.unmixed(m, *dst)?;
                }
                for i in 0..k {
                    for j in 0..q {
                        let hidden = match only {
                            Some(o) => self.get(m, *o, i, j)? == 0.0,
                            None => false,
                        };
                        if hidden || self.behind(m, causal, i, j)? {
                            self.set(m, *dst, i, j, f32::NEG_INFINITY)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// A caller that leaves out the comparison of positions, where the function has one for the same scores, promises that no key lies
    /// behind a query that sees it.
    fn unmixed(&self, m: &Machine<'_>, scores: Tile) -> Result<(), FaultKind> {
        let compared = self.f.body.iter().find_map(|op| match &op.kind {
            OpKind::Mask {
                dst,
                causal: Some(c),
                ..
            } if *dst == scores => Some(*c),
            _ => None,
        });
        let Some(positions) = compared else {
            return Ok(());
        };
        let weight = self.f.body.iter().find_map(|op| match &op.kind {
            OpKind::Visible { weight, .. } => Some(*weight),
            _ => None,
        });
        for j in 0..self.live_q {
            if let Some(w) = weight
                && self.get(m, w, 0, j)? == f32::NEG_INFINITY
            {
                continue;
            }
            for i in 0..self.live_k {
                if self.behind(m, &Some(positions), i, j)? {
                    return Err(FaultKind::Acausal);
                }
            }
        }
        Ok(())
    }

    fn behind(
        &self,
        m: &Machine<'_>,
        causal: &Option<(Tile, Tile)>,
        i: usize,
        j: usize,
    ) -> Result<bool, FaultKind> {
        match causal {
            Some((kpos, qpos)) => {
                Ok(self.position(m, *kpos, i, 0)? > self.position(m, *qpos, 0, j)?)
            }
            None => Ok(false),
        }
    }

    fn eval(&self, m: &Machine<'_>, e: &Expr, i: usize, j: usize) -> Result<f32, FaultKind> {
        let x = |e: &Expr| self.eval(m, e, i, j);
        Ok(match e {
            Expr::Tile(t) => {
                let row = if self.ty(*t)?.1.rows == Axis::One {
                    0
                } else {
                    i
                };
                self.get(m, *t, row, j)?
            }
            Expr::Const(c) => *c,
            Expr::Add(a, b) => x(a)? + x(b)?,
            Expr::Sub(a, b) => x(a)? - x(b)?,
            Expr::Mul(a, b) => x(a)? * x(b)?,
            Expr::Div(a, b) => x(a)? / x(b)?,
            Expr::Fma(a, b, c) => x(a)?.mul_add(x(b)?, x(c)?),
            Expr::Max(a, b) => {
                let (a, b) = (x(a)?, x(b)?);
                if a > b { a } else { b }
            }
            // Exact whatever is asked for: accuracies are bounds.
            Expr::Exp2(a, _) => exp2(x(a)?),
            Expr::Exp(a, _) => exp2((f64::from(x(a)?) * std::f64::consts::LOG2_E) as f32),
            Expr::Log2(a) => x(a)?.log2(),
            Expr::Ln(a) => x(a)?.ln(),
            Expr::Data(a) => m.core.dtype.round(x(a)?),
            Expr::IfEq(a, b, c, d) => {
                if x(a)? == x(b)? {
                    x(c)?
                } else {
                    x(d)?
                }
            }
            Expr::IfLt(a, b, c, d) => {
                if x(a)? < x(b)? {
                    x(c)?
                } else {
                    x(d)?
                }
            }
        })
    }
}

fn exp2(x: f32) -> f32 {
    if x <= -126.0 {
        0.0
    } else {
        f64::from(x).exp2() as f32
    }
}
