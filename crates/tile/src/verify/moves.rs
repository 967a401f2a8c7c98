// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves and calls: places have room, rows and heads exist, counts fit.

use super::{Rule, Section, Verifier, show};
use crate::core::{
    Axis, Bound, Elem, FnId, Layout, Lie, OpKind, Place, Port, QUERY_STEP, Range, Tile, TileFn,
    Val, View,
};

/// Elements of an axis in a function's tiles.
fn extent(f: &TileFn, a: Axis) -> u64 {
    u64::from(match a {
        Axis::One => 1,
        Axis::Query => f.mq,
        Axis::Key { .. } => f.nk,
        Axis::Dim => f.head_dim,
    })
}

/// The tile that an operation writes.
pub(super) fn written(op: &OpKind) -> Tile {
    match op {
        OpKind::DotKeys { dst, .. }
        | OpKind::DotValues { dst, .. }
        | OpKind::Map { dst, .. }
        | OpKind::Reduce { dst, .. }
        | OpKind::Visible { dst, .. }
        | OpKind::Mask { dst, .. } => *dst,
    }
}

impl Verifier<'_> {
    /// A place of the right type with room for `count` elements.
    fn room(&mut self, p: Place, elem: Elem, count: u64, rule: Rule) -> bool {
        if !self.buffer(p.buf, elem) || !self.reads(&[p.at]) {
            return false;
        }
        let buf = &self.core.bufs[p.buf.0 as usize];
        let (lo, hi) = self.facts.bounds(p.at);
        if lo < 0 || i128::from(hi) + i128::from(count) > i128::from(buf.len) {
            let detail = format!(
                "{} has {} elements, {count} are accessed from {}",
                buf.name,
                buf.len,
                show(lo, hi)
            );
            self.fail(rule, detail);
            return false;
        }
        true
    }

    /// The most rows or lanes, when the count is proven to lie in 0..=most.
    fn count(&mut self, live: Val, most: i64) -> Option<u64> {
        if !self.reads(&[live]) {
            return None;
        }
        let (lo, hi) = self.facts.bounds(live);
        if lo < 0 || hi > most {
            let detail = format!("the count is in {}, at most {most} fit", show(lo, hi));
            self.fail(Rule::MoveBounds, detail);
            return None;
        }
        Some(hi as u64)
    }

    /// The width of a view's rows, when the view is sound and its rows `idx[..count]` exist.
    fn view(&mut self, view: View, write: bool, idx: Place, count: u64, none: bool) -> Option<u64> {
        if !self.room(idx, Elem::I64, count, Rule::MoveBounds) {
            return None;
        }
        self.reads_buffer(idx.buf);
        let range = self.core.bufs[idx.buf.0 as usize].range;
        let least = if none { -1 } else { 0 };
        let name = self.core.bufs[idx.buf.0 as usize].name.clone();
        match view {
            View::Tensor { port, batch, head } => {
                let output = matches!(port, Port::Out | Port::Lse);
                if output != write {
                    self.fail(Rule::Port, format!("{port:?} is used the wrong way round"));
                    return None;
                }
                if !self.reads(&[batch, head]) {
                    return None;
                }
                let rows = Range {
                    lo: least,
                    hi: Bound::SeqLen(-1),
                };
                if !inside(range, rows) {
                    self.fail(
                        Rule::Rows,
                        format!("{name} is not proven to hold rows of {port:?}"),
                    );
                }
                let heads = match port {
                    Port::K | Port::V => self.core.kv_heads,
                    Port::Q | Port::Out | Port::Lse => self.core.heads,
                };
                let (lo, hi) = self.facts.bounds(head);
                if lo < 0 || hi >= i64::from(heads) {
                    let detail = format!(
                        "{port:?} has {heads} heads, the head is in {}",
                        show(lo, hi)
                    );
                    self.fail(Rule::Head, detail);
                }
                if self.facts.bounds(batch).0 < 0 || !self.facts.below_batch(batch, -1) {
                    self.fail(Rule::Head, "the batch entry is not proven to exist".into());
                }
                if output {
                    if self.section != Section::Body {
                        self.fail(Rule::Section, "an output is written outside a task".into());
                    }
                    let decoded = |size| {
                        let heads = self.core.heads;
                        self.facts.decodes(batch, head, heads, size)
                    };
                    if !self.grid.is_some_and(decoded) {
                        let detail = "other tasks may have the same batch entry, head and chunk";
                        self.fail(Rule::Race, detail.into());
                    }
                    self.outputs.push((self.path.join("."), idx.buf));
                }
                Some(match port {
                    Port::Lse => 1,
                    Port::Q | Port::K | Port::V | Port::Out => u64::from(self.core.head_dim),
                })
            }
            View::Work { buf, width } => {
                if !self.buffer(buf, Elem::F32) {
                    return None;
                }
                let work = &self.core.bufs[buf.0 as usize];
                let rows = work.len / u64::from(width.max(1));
                let most = Range {
                    lo: least,
                    hi: Bound::Const(rows as i64 - 1),
                };
                if width == 0 || !inside(range, most) {
                    let detail = format!("{name} is not proven to hold rows of {}", work.name);
                    self.fail(Rule::Rows, detail);
                }
                if write {
                    self.written[buf.0 as usize] = true;
                } else {
                    self.reads_buffer(buf);
                }
                Some(u64::from(width))
            }
        }
    }

    fn stride(&mut self, stride: u32) {
        if stride == 0 || !stride.is_multiple_of(QUERY_STEP) {
            self.fail(Rule::Port, format!("a column stride of {stride}"));
        }
    }

    pub(super) fn floats(&mut self, dst: Place, src: Place, count: Val) {
        let Some(count) = self.count(count, i64::MAX - 1) else {
            return;
        };
        if self.room(src, Elem::I64, count, Rule::MoveBounds) {
            self.reads_buffer(src.buf);
            let buf = &self.core.bufs[src.buf.0 as usize];
            if buf.range.is_none_or(|r| r.lo < 0) {
                self.fail(
                    Rule::Count,
                    format!("{} may hold negative counts", buf.name),
                );
            }
        }
        if self.room(dst, Elem::F32, count, Rule::MoveBounds) {
            self.written[dst.buf.0 as usize] = true;
        }
    }

    pub(super) fn gather(
        &mut self,
        dst: Place,
        lie: Lie,
        src: View,
        idx: Place,
        live: Val,
        flag: Option<Place>,
    ) {
        let most = match lie {
            Lie::Cols { stride } => {
                self.stride(stride);
                i64::from(stride)
            }
            Lie::Rows => i64::MAX >> 20,
        };
        let Some(count) = self.count(live, most) else {
            return;
        };
        let none = matches!(lie, Lie::Cols { .. });
        if let Some(width) = self.view(src, false, idx, count, none) {
            let layout = self.layout_of(dst);
            let elements = match lie {
                Lie::Cols { stride } => u64::from(stride) * width,
                Lie::Rows => {
                    let rows = count.next_multiple_of(u64::from(self.core.key_step.max(1)));
                    self.fits(dst, rows);
                    layout.room(rows, width)
                }
            };
            if layout.packed() && none {
                self.packing(dst, "takes rows, not columns");
            }
            // Rows of tensors can be kept as they are.
            let elem = match src {
                View::Tensor { .. } => self.floats_of(dst),
                View::Work { .. } => Elem::F32,
            };
            if self.room(dst, elem, elements, Rule::MoveBounds) {
                self.written[dst.buf.0 as usize] = true;
            }
        }
        if let Some(flag) = flag
            && self.room(flag, Elem::I64, 1, Rule::MoveBounds)
        {
            // It is set, never reset: the rest of its value comes from before.
            self.reads_buffer(flag.buf);
            self.own[flag.buf.0 as usize] = Some(Default::default());
            let buf = &self.core.bufs[flag.buf.0 as usize];
            let one = Range {
                lo: 1,
                hi: Bound::Const(1),
            };
            if buf.range.is_some_and(|r| !inside(Some(one), r)) {
                self.fail(
                    Rule::StoredRange,
                    format!("{} does not take a flag of 1", buf.name),
                );
            }
        }
    }

    /// The element type in which a place is read as floats.
    fn floats_of(&self, p: Place) -> Elem {
        let elem = self.core.bufs.get(p.buf.0 as usize).map(|b| b.elem);
        match elem {
            Some(Elem::Data) => Elem::Data,
            Some(Elem::I64 | Elem::F32) | None => Elem::F32,
        }
    }

    /// How the buffer of a place is laid out.
    fn layout_of(&self, p: Place) -> Layout {
        let buf = self.core.bufs.get(p.buf.0 as usize);
        buf.map_or(Layout::Row, |b| b.layout)
    }

    fn packing(&mut self, p: Place, detail: &str) {
        let buf = self.core.bufs.get(p.buf.0 as usize);
        let name = buf.map_or("?", |b| b.name.as_str());
        self.fail(Rule::Packing, format!("{name} {detail}"));
    }

    /// Rows of a transposed panel stay within its stride.
    fn fits(&mut self, p: Place, rows: u64) {
        if let Layout::Transposed { stride } = self.layout_of(p)
            && rows > u64::from(stride)
        {
            self.packing(
                p,
                &format!("has a stride of {stride}, less than {rows} keys"),
            );
        }
    }

    pub(super) fn inspect(&mut self, src: Place, width: u32, live: Val) {
        let layout = self.layout_of(src);
        if let Layout::Padded { pitch } = layout
            && pitch < width
        {
            self.packing(src, &format!("has rows of {pitch}, fewer than {width}"));
        }
        if let Some(rows) = self.count(live, i64::MAX >> 20) {
            self.fits(src, rows);
            let elements = layout.room(rows, u64::from(width));
            if self.room(src, self.floats_of(src), elements, Rule::MoveBounds) {
                self.reads_buffer(src.buf);
            }
        }
    }

    pub(super) fn scatter(&mut self, dst: View, idx: Place, live: Val, src: Place, lie: Lie) {
        let most = match lie {
            Lie::Cols { stride } => {
                self.stride(stride);
                i64::from(stride)
            }
            Lie::Rows => i64::MAX >> 20,
        };
        let Some(count) = self.count(live, most) else {
            return;
        };
        if let Some(width) = self.view(dst, true, idx, count, false) {
            let elements = match lie {
                Lie::Cols { stride } => u64::from(stride) * width,
                Lie::Rows => count * width,
            };
            if self.room(src, Elem::F32, elements, Rule::MoveBounds) {
                self.reads_buffer(src.buf);
            }
        }
    }

    pub(super) fn fill(&mut self, dst: View, idx: Place, live: Val) {
        if let Some(count) = self.count(live, i64::MAX >> 20) {
            self.view(dst, true, idx, count, false);
        }
    }

    pub(super) fn call(&mut self, id: FnId, tiles: &[Place], scalars: &[Val]) {
        let Some(f) = self.core.fns.get(id.0 as usize) else {
            self.fail(Rule::Exists, format!("there is no function {}", id.0));
            return;
        };
        if tiles.len() != f.tiles.len() || scalars.len() != f.scalars.len() {
            let detail = format!(
                "{} takes {} tiles and {} scalars, not {} and {}",
                f.name,
                f.tiles.len(),
                f.scalars.len(),
                tiles.len(),
                scalars.len()
            );
            self.fail(Rule::CallPlaces, detail);
            return;
        }
        if !self.reads(scalars) {
            return;
        }
        let limits = [("live_q", f.mq), ("live_k", f.nk)];
        let counts = if f.nk > 0 { 2 } else { 1 };
        for ((name, most), live) in limits.into_iter().zip(scalars).take(counts) {
            let (lo, hi) = self.facts.bounds(*live);
            if lo < 1 || hi > i64::from(most) {
                let detail = format!(
                    "{name} of {} is in {}, not in 1..={most}",
                    f.name,
                    show(lo, hi)
                );
                self.fail(Rule::Live, detail);
            }
        }
        let mut reads = vec![false; f.tiles.len()];
        let mut writes = vec![false; f.tiles.len()];
        super::function::uses(f, &mut reads, &mut writes);
        for (i, (place, (name, ty))) in tiles.iter().zip(&f.tiles).enumerate() {
            let count = ty.layout.room(extent(f, ty.rows), extent(f, ty.cols));
            let stands = self.layout_of(*place);
            if (stands.packed() || ty.layout.packed()) && stands != ty.layout {
                self.packing(*place, &format!("is {stands:?}, {name} {:?}", ty.layout));
            }
            // What is only read may be rows of tensors as they are.
            let elem = match ty.elem {
                Elem::F32 if !writes[i] => self.floats_of(*place),
                elem @ (Elem::F32 | Elem::I64 | Elem::Data) => elem,
            };
            if !self.room(*place, elem, count, Rule::CallPlaces) {
                continue;
            }
            if reads[i] {
                self.reads_buffer(place.buf);
            }
            let shared = tiles
                .iter()
                .enumerate()
                .any(|(j, p)| j != i && p.buf == place.buf);
            if writes[i] && shared {
                let detail = format!("{name} of {} is written and shares its buffer", f.name);
                self.fail(Rule::Alias, detail);
            }
        }
        for (place, written) in tiles.iter().zip(writes) {
            if written && let Some(w) = self.written.get_mut(place.buf.0 as usize) {
                *w = true;
            }
        }
    }
}

/// Whether every element of a buffer promised to lie in `found` lies in `needed`, whatever N and B.
fn inside(found: Option<Range>, needed: Range) -> bool {
    let Some(found) = found else { return false };
    found.lo >= needed.lo
        && match (found.hi, needed.hi) {
            (Bound::Const(a), Bound::Const(b))
            | (Bound::SeqLen(a), Bound::SeqLen(b))
            | (Bound::Batch(a), Bound::Batch(b)) => a <= b,
            // N and B are at least 1.
            (Bound::Const(a), Bound::SeqLen(b) | Bound::Batch(b)) => a <= 1 + b,
            (Bound::SeqLen(_), Bound::Const(_) | Bound::Batch(_))
            | (Bound::Batch(_), Bound::Const(_) | Bound::SeqLen(_)) => false,
        }
}
