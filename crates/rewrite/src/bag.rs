// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one bag of branches issues for one head: products padded to tiles, and how often a tile meets a run of keys.
//!
//! In: sizes of tiles and kernels, the branches of a bag. Out: [`Issued`], as averages over the cells between segment boundaries. The rows
//! of a cell are sorted by mask and cut into tiles; a tile computes a run of keys for all its rows when one of them sees the run. Of the
//! innermost segment, which holds the cell, a causal tile takes the keys up to its last row: the tiles on the diagonal, padded by rows
//! and keys. What lies outside that segment is wholly before it or wholly hidden. `tests/cost_model.rs`
//! of the tests holds the estimate against the schedule's count.

use attnc_graph::{Branch, Segment};

/// Sizes of tiles and tasks, and the nominal sequence length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// Rows and keys that kernels compute in multiples of.
    pub grain: (u64, u64),
    /// Rows of a tile.
    pub tile: u64,
    /// Rows of a task.
    pub chunk: u64,
    /// D.
    pub head_dim: u64,
    /// Keys behind a query are hidden.
    pub causal: bool,
    /// The length that costs are estimated for.
    pub nominal_n: u64,
}

/// What a bag issues.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Issued {
    /// Multiply-adds for both products.
    pub(crate) products: f64,
    /// Meetings of a tile and a run of keys.
    pub(crate) runs: f64,
}

/// Places of a cell that are looked at beyond which they are sampled.
const PLACES: u64 = 16;

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Up to a multiple of `step`. A key or row that is there on average less than once is there or not.
fn pad(x: f64, step: u64) -> f64 {
    let step = step as f64;
    // Sums of exact fractions may exceed an integer by a rounding error.
    (x / step - 1e-9).ceil().max(0.0) * step
}

/// A class of rows as one tile holds it.
struct Part {
    /// Mask of the class.
    mask: u64,
    /// Places of the cell up to and with its last row in the tile.
    end: f64,
}

/// A tile of a cell.
struct Tile {
    rows: f64,
    parts: Vec<Part>,
}

impl CostModel {
    fn clipped(&self, b: Branch) -> u64 {
        match b.segment {
            Segment::Finite(w) => w.min(self.nominal_n).max(1),
            Segment::Whole => self.nominal_n.max(1),
        }
    }

    /// The mean distance of boundaries: of tasks, and of the segments that do not end where shorter ones do.
    fn cell(&self, branches: &[(u64, u64)]) -> f64 {
        let n = self.nominal_n.max(1);
        let mut lengths: Vec<u64> = branches.iter().map(|(w, _)| *w).collect();
        lengths.push(self.chunk.clamp(1, n));
        lengths.sort_unstable();
        let mut own: Vec<u64> = Vec::new();
        for w in lengths {
            if own.iter().all(|o| w % o != 0) {
                own.push(w);
            }
        }
        1.0 / own.iter().map(|w| 1.0 / *w as f64).sum::<f64>()
    }

    /// The tiles of a cell whose rows are sorted by class.
    fn tiles(&self, rows: &[(u64, u64)], cell: f64, period: u64) -> Vec<Tile> {
        let mut begins = vec![0.0];
        for (_, residues) in rows {
            let count = cell * *residues as f64 / period as f64;
            begins.push(begins[begins.len() - 1] + count);
        }
        let all = begins[rows.len()];
        let mq = self.tile as f64;
        let mut tiles = Vec::new();
        let mut class = 0;
        let mut at = 0.0;
        while at < all - 1e-9 {
            let end = (at + mq).min(all);
            let mut parts = Vec::new();
            while class < rows.len() {
                let (mask, residues) = rows[class];
                let stop = end.min(begins[class + 1]);
                if stop - begins[class].max(at) > 1e-9 {
                    let places = (stop - begins[class]) * period as f64 / residues as f64;
                    let end = places.min(cell);
                    parts.push(Part { mask, end });
                }
                if begins[class + 1] > end {
                    break;
                }
                class += 1;
            }
            let rows = end - at;
            tiles.push(Tile { rows, parts });
            at = end;
        }
        tiles
    }

    /// What a bag of these branches issues at the nominal length.
    pub(crate) fn bag(&self, branches: impl IntoIterator<Item = Branch>) -> Issued {
        let mut branches: Vec<(u64, u64)> = branches
            .into_iter()
            .map(|b| (self.clipped(b), b.dilation.max(1)))
            .collect();
        branches.sort_unstable();
        if branches.is_empty() {
            return Issued::default();
        }
        let lcm = |l: u64, r: u64| (r / gcd(l, r)).saturating_mul(l);
        let period = branches.iter().fold(1, |l, (_, r)| lcm(l, *r));
        let cell = self.cell(&branches);
        // A phase that only some segments hold: they are computed for one row and one key.
        let there = match branches[..] {
            [(w, r)] if w < r => w as f64 / r as f64,
            _ => 1.0,
        };
        let tiles = self.tiles(&classes(&branches, 0, period), cell, period);
        let mut sum = Issued::default();
        let mut inner = 0;
        for (i, (w, _)) in branches.iter().enumerate() {
            if *w > inner {
                for (mask, residues) in classes(&branches, i, period) {
                    let density = residues as f64 / period as f64;
                    for t in &tiles {
                        let seen = t.parts.iter().filter(|p| p.mask & mask != 0);
                        let Some(end) = seen.map(|p| p.end).reduce(f64::max) else {
                            continue;
                        };
                        let (keys, runs) = if inner == 0 {
                            self.innermost(*w, cell, density, end)
                        } else {
                            self.ring(*w, inner, density)
                        };
                        let rows = pad(t.rows, self.grain.0);
                        sum.products += rows * keys;
                        sum.runs += runs;
                    }
                }
            }
            inner = *w;
        }
        let cells = there * (self.nominal_n.max(1) as f64 / cell);
        Issued {
            products: sum.products * cells * 2.0 * self.head_dim as f64,
            runs: sum.runs * cells,
        }
    }

    /// Keys issued to a row, and runs, of the segment `w` that holds the cell, for a tile whose last row is at place `end` of the cell.
    fn innermost(&self, w: u64, cell: f64, density: f64, end: f64) -> (f64, f64) {
        let grain = self.grain.1;
        if !self.causal {
            return (pad(w as f64 * density, grain), 1.0);
        }
        mean(w as f64 / cell, |place| {
            let before = place * cell;
            (pad((before + end).min(w as f64) * density, grain), 1.0)
        })
    }

    /// The same of the part of the segment `w` that lies outside the segment `inner` of the next shorter branch.
    fn ring(&self, w: u64, inner: u64, density: f64) -> (f64, f64) {
        let (w, inner) = (w as f64, inner as f64);
        let run = |length: f64| {
            let keys = pad(length * density, self.grain.1);
            (keys, if keys > 0.0 { 1.0 } else { 0.0 })
        };
        mean(w / inner, |place| {
            let before = run(place * inner);
            if self.causal {
                return before;
            }
            let after = run((w - (place + 1.0) * inner).max(0.0));
            (before.0 + after.0, before.1 + after.1)
        })
    }
}

/// The mean over the places that something shorter takes in something `ratio` times as long.
fn mean(ratio: f64, of: impl Fn(f64) -> (f64, f64)) -> (f64, f64) {
    let places = (ratio + 1e-9).floor().max(1.0);
    let looked = places.min(PLACES as f64);
    let (mut a, mut b) = (0.0, 0.0);
    for i in 0..looked as u64 {
        // In the middle of each sixteenth, so that early and late places weigh alike.
        let place = if looked < places {
            ((i as f64 + 0.5) * places / looked).floor()
        } else {
            i as f64
        };
        let (x, y) = of(place);
        (a, b) = (a + x, b + y);
    }
    (a / looked, b / looked)
}

/// (mask, residues) of the branches from `from` on, within one period; a lone branch has one class.
fn classes(branches: &[(u64, u64)], from: usize, period: u64) -> Vec<(u64, u64)> {
    if branches.len() == 1 {
        return vec![(1, 1)];
    }
    let mut out: Vec<(u64, u64)> = Vec::new();
    for x in 0..period.min(64) {
        let mask = branches
            .iter()
            .enumerate()
            .skip(from)
            .filter(|(_, (_, r))| x % r == 0)
            .fold(0u64, |m, (i, _)| m | 1 << i);
        if mask != 0 {
            match out.iter_mut().find(|(m, _)| *m == mask) {
                Some((_, n)) => *n += 1,
                None => out.push((mask, 1)),
            }
        }
    }
    out
}
