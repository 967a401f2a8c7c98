// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a schedule does at a sequence length, counted without running it.
//!
//! In: a nest, a schedule, N. Out: [`Work`]. The loops are those of `lower`, told by class instead of by row: the rows of a tile and the
//! keys of a panel are arithmetic sequences by class, so that a tile meets a panel in a few operations. Products come out exactly as
//! a launch counts them (`tests/schedules.rs` of the tests compares them); packed panels as one worker packs them. Beyond a limit of
//! such meetings tasks are sampled evenly.

use std::ops::Range;

use attnc_tile::core::QUERY_STEP;

use crate::nest::{Group, Nest, Schedule};

/// Padding queries compare behind every key.
const BEHIND: i64 = 1 << 50;

/// What a launch of one batch entry does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tasks.
    pub tasks: f64,
    /// Cells between segment boundaries.
    pub cells: f64,
    /// Runs: classes of keys in regions, as each block of rows meets them.
    pub runs: f64,
    /// Rows whose queries are gathered, once for every group that covers them.
    pub rows: f64,
    /// Tiles of rows begun and finished.
    pub tiles: f64,
    /// Keys packed into panels.
    pub packed: f64,
    /// Tiles that meet a panel.
    pub meets: f64,
    /// Calls of `step`.
    pub steps: f64,
    /// Lanes of all steps: what a step does once for every row, such as scaling its state.
    pub lanes: f64,
    /// Scores computed, padding included.
    pub scores: f64,
    /// Scores by the time they take: lanes that leave part of the register tile idle count as if they filled it.
    pub busy: f64,
    /// Multiply-adds issued for both products, padding included.
    pub products: f64,
}

/// The classes of a stretch: masks, and residues within a period.
struct Classes {
    period: i64,
    len: i64,
    list: Vec<(u64, Vec<i64>)>,
}

impl Classes {
    /// As `classes::fill` makes them.
    fn new(group: &Group, first: &[i64], period: i64, len: i64, members: u64) -> Classes {
        if group.terms.len() == 1 {
            let list = if first[0] < len {
                vec![(1, vec![first[0]])]
            } else {
                Vec::new()
            };
            return Classes { period, len, list };
        }
        let mut list: Vec<(u64, Vec<i64>)> = Vec::new();
        for x in 0..period.min(len).min(64) {
            let hit = |(i, t): (usize, &crate::Term)| u64::from(x % t.dilation == first[i]) << i;
            let mask = group.terms.iter().enumerate().map(hit).sum::<u64>() & members;
            match list.iter_mut().find(|(m, _)| *m == mask) {
                Some((_, residues)) => residues.push(x),
                None if mask != 0 => list.push((mask, vec![x])),
                None => {}
            }
        }
        Classes { period, len, list }
    }

    /// Places of a class.
    fn count(&self, class: usize) -> i64 {
        within(&self.list[class].1, self.period, self.len)
    }

    /// The k-th place of a class.
    fn place(&self, class: usize, k: i64) -> i64 {
        place(&self.list[class].1, self.period, k)
    }
}

/// How many places of these residues lie below `len`.
fn within(residues: &[i64], period: i64, len: i64) -> i64 {
    let full = len / period;
    let rest = residues.iter().filter(|r| full * period + **r < len);
    full * residues.len() as i64 + rest.count() as i64
}

fn place(residues: &[i64], period: i64, k: i64) -> i64 {
    let n = residues.len() as i64;
    k / n * period + residues[(k % n) as usize]
}

/// What a slot holds: everything that a panel's contents depend on.
type Tag = [i64; 7];

struct Counter<'a> {
    nest: &'a Nest,
    sched: &'a Schedule,
    grain: (i64, i64),
    n: i64,
    slots: Vec<Option<Tag>>,
    work: Work,
}

/// Counts a launch of one batch entry at `seq_len`. At most about `limit` meetings of a tile and a panel are looked at; what is beyond
/// is estimated from tasks spread evenly.
pub fn work(nest: &Nest, sched: &Schedule, seq_len: u64, limit: u64) -> Work {
    let n = i64::try_from(seq_len).unwrap_or(i64::MAX >> 8).min(1 << 47);
    if n == 0 {
        return Work::default();
    }
    let (lanes, keys) = sched.grain();
    let mut counter = Counter {
        nest,
        sched,
        grain: (i64::from(lanes), i64::from(keys)),
        n,
        slots: vec![None; sched.slots as usize],
        work: Work::default(),
    };
    let chunk = i64::from(sched.chunk);
    let chunks = (n - 1) / chunk + 1;
    let tasks = chunks.saturating_mul(i64::from(nest.heads));
    // In the order of one worker: late chunks first where that is causal.
    let run = |counter: &mut Counter<'_>, t: i64| {
        let place = t % chunks;
        let place = if nest.causal {
            chunks - 1 - place
        } else {
            place
        };
        let n0 = place * chunk;
        counter.task(t / chunks, n0, (n0 + chunk).min(n));
    };
    let mut done = 0;
    while done < tasks && counter.work.meets + counter.work.cells < limit as f64 {
        run(&mut counter, done);
        done += 1;
    }
    if done == tasks {
        return counter.work;
    }
    // So many tasks, after one each whose panels they find; a task's own cost is that of a meeting at least.
    let each = ((counter.work.meets + counter.work.cells) / done as f64).max(1.0);
    let samples = ((limit as f64 / (2.0 * each)) as i64)
        .clamp(64, 4096)
        .min(tasks);
    counter.work = Work::default();
    let mut sum = Work::default();
    for i in 0..samples {
        // Heads in turn, and within a head places that no stride of tasks or segments meets: multiples of the golden ratio.
        let head = i * i64::from(nest.heads) / samples;
        let place = (i as f64 * 0.618_033_988_749_894_9).fract() * chunks as f64;
        let t = head * chunks + (place as i64).min(chunks - 1);
        if t > 0 {
            run(&mut counter, t - 1);
        }
        counter.work = Work::default();
        run(&mut counter, t);
        sum = sum.plus(&counter.work);
    }
    sum.times(tasks as f64 / samples as f64)
}

impl Work {
    fn fields(&mut self) -> [&mut f64; 12] {
        let Work {
            tasks,
            cells,
            runs,
            rows,
            tiles,
            packed,
            meets,
            steps,
            lanes,
            scores,
            busy,
            products,
        } = self;
        [
            tasks, cells, runs, rows, tiles, packed, meets, steps, lanes, scores, busy, products,
        ]
    }

    fn plus(mut self, other: &Work) -> Work {
        let mut other = *other;
        for (a, b) in self.fields().into_iter().zip(other.fields()) {
            *a += *b;
        }
        self
    }

    fn times(mut self, factor: f64) -> Work {
        self.fields().into_iter().for_each(|x| *x *= factor);
        self
    }
}

/// A cell: the branches' segments around some rows.
struct Cell<'g> {
    g: usize,
    h: i64,
    group: &'g Group,
    period: i64,
    offset: Vec<i64>,
    start: Vec<i64>,
    end: Vec<i64>,
    rows: Classes,
    lo: i64,
    /// Places from here on are padding queries of displaced rows.
    real: i64,
    /// Where displaced rows come from, less their place.
    shift: i64,
    /// Rows by class: where each begins in the list of the cell.
    begins: Vec<i64>,
}

impl Cell<'_> {
    /// The position that the i-th row of the cell compares.
    fn compare(&self, class: usize, i: i64) -> i64 {
        let x = self.rows.place(class, i - self.begins[class]);
        if x >= self.real {
            BEHIND
        } else {
            self.lo + x + self.shift
        }
    }
}

impl Counter<'_> {
    fn task(&mut self, h: i64, n0: i64, n1: i64) {
        self.work.tasks += 1.0;
        if !self.sched.keep_panels {
            self.slots.fill(None);
        }
        let nest = self.nest;
        let mut begin = 0;
        for (g, group) in nest.groups.iter().enumerate() {
            let mut lo = n0;
            while lo < n1 {
                lo = self.cell(g, group, begin, h, lo, n1);
            }
            begin += group.terms.len() as i64;
        }
    }

    /// Counts one cell; yields its end.
    fn cell(&mut self, g: usize, group: &Group, begin: i64, h: i64, lo: i64, n1: i64) -> i64 {
        self.work.cells += 1.0;
        let (nest, n) = (self.nest, self.n);
        let period = group.period().unwrap_or(1);
        let heads = i64::from(nest.heads);
        let (mut start, mut end, mut offset, mut first) = (vec![], vec![], vec![], vec![]);
        let (mut hi, mut real, mut shift) = (n1, i64::MAX, 0);
        for t in &group.terms {
            let (w, r) = (t.segment.min(n), t.dilation);
            let grid = if nest.displaced {
                (w + r - 1) / r * r
            } else {
                w
            };
            let segment = lo / grid;
            let row0 = segment * grid;
            let from = if nest.displaced { segment * w } else { row0 };
            start.push(from);
            end.push((from + w).min(n));
            hi = hi.min(row0 + grid);
            let off = if nest.blocked {
                h / ((heads + r - 1) / r)
            } else {
                h % r
            };
            offset.push(off);
            first.push((off + r - (lo - row0) % r) % r);
            if nest.displaced {
                real = row0 + w.min(n - from).max(0) - lo;
                shift = from - row0;
            }
        }
        let len = hi - lo;
        if nest.displaced && !nest.zero_keys {
            real = real.min(len);
        }
        // Without zero keys a padding query covers nothing.
        let covered = if nest.displaced && !nest.zero_keys {
            real.max(0)
        } else {
            len
        };
        let rows = Classes::new(group, &first, period, covered, u64::MAX);
        let mut begins = vec![0];
        for class in 0..rows.list.len() {
            begins.push(begins[class] + rows.count(class));
        }
        let all = begins[rows.list.len()];
        let cell = Cell {
            g,
            h,
            group,
            period,
            offset,
            start,
            end,
            rows,
            lo,
            real,
            shift,
            begins,
        };
        let high = (0..cell.rows.list.len())
            .filter(|c| cell.begins[*c] < cell.begins[c + 1])
            .map(|c| cell.compare(c, cell.begins[c + 1] - 1))
            .max();
        let limit = high.unwrap_or(0).max(0) + 1;
        self.work.rows += all as f64;
        let block = i64::from(self.sched.rows);
        let mut r0 = 0;
        while r0 < all {
            let live = block.min(all - r0);
            let mq = i64::from(self.sched.mq);
            self.work.tiles += ((live - 1) / mq + 1) as f64;
            if nest.two_sweeps {
                self.sweep(&cell, begin, limit, r0, live, 1);
                self.sweep(&cell, begin, limit, r0, live, 2);
            } else {
                self.sweep(&cell, begin, limit, r0, live, 2);
            }
            r0 += block;
        }
        hi
    }

    /// All keys that rows `r0..r0 + live` see, for so many products.
    fn sweep(&mut self, cell: &Cell<'_>, begin: i64, limit: i64, r0: i64, live: i64, dots: i64) {
        let cut = |x: i64| if self.nest.causal { x.min(limit) } else { x };
        let ends: Vec<i64> = cell.end.iter().map(|e| cut(*e)).collect();
        let mut all: Vec<i64> = cell.start.iter().map(|s| (*s).min(self.n)).collect();
        all.extend(&ends);
        all.sort_unstable();
        let mut passed = 0;
        for pair in all.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            if a >= b {
                continue;
            }
            let (mut members, mut first) = (0u64, vec![0; ends.len()]);
            for (i, t) in cell.group.terms.iter().enumerate() {
                if cell.start[i] <= a && b <= ends[i] {
                    members |= 1 << i;
                    let place = (a - cell.start[i]) % t.dilation;
                    first[i] = (cell.offset[i] + t.dilation - place) % t.dilation;
                }
            }
            if members == 0 {
                continue;
            }
            let keys = Classes::new(cell.group, &first, cell.period, b - a, members);
            for (mask, residues) in &keys.list {
                if cell.rows.list.iter().all(|(rows, _)| rows & mask == 0) {
                    continue;
                }
                self.work.runs += 1.0;
                let periods = (i64::from(self.sched.panel) / residues.len() as i64).max(1);
                let stretch = periods * cell.period;
                let mut start = a;
                while start + residues[0] < b {
                    let end = (start + stretch).min(b);
                    let most = i64::from(self.sched.panel);
                    let count = within(residues, cell.period, end - start).min(most);
                    let own = if cell.group.terms.len() == 1 {
                        0
                    } else {
                        cell.h + 1
                    };
                    let kv = cell.h / i64::from(self.nest.heads / self.nest.kv_heads);
                    let (mask_bits, member_bits) = (*mask as i64, members as i64);
                    let (g, phase) = (cell.g as i64, start + residues[0]);
                    let tag = [kv, g, phase, end, mask_bits, member_bits, own];
                    self.pack(begin, cell.group.terms.len() as i64, passed, tag, count);
                    passed += 1;
                    let panel = Panel {
                        start,
                        count,
                        mask: *mask,
                        residues,
                    };
                    self.panel(cell, &panel, r0..r0 + live, dots);
                    start += stretch;
                }
            }
        }
    }

    /// Packs a panel unless its slot holds it.
    fn pack(&mut self, begin: i64, branches: i64, passed: i64, tag: Tag, count: i64) {
        let all: i64 = self.nest.groups.iter().map(|g| g.terms.len() as i64).sum();
        let slots = i64::from(self.sched.slots);
        let own = (branches * slots / all).max(1);
        let slot = ((begin * slots / all + passed % own) % slots) as usize;
        if !self.nest.panels || self.slots[slot] != Some(tag) {
            self.slots[slot] = Some(tag);
            self.work.packed += count as f64;
        }
    }

    /// The steps of every tile of `rows` over one panel.
    fn panel(&mut self, cell: &Cell<'_>, panel: &Panel<'_>, rows: Range<i64>, dots: i64) {
        let (mq, nk) = (i64::from(self.sched.mq), i64::from(self.sched.nk));
        let mut lane = rows.start;
        while lane < rows.end {
            let live = mq.min(rows.end - lane);
            // The last row that sees the class: rows of a class ascend.
            let classes = cell.rows.list.iter().enumerate();
            let seen = classes.filter(|(c, (mask, _))| {
                let own = cell.begins[*c].max(lane)..cell.begins[c + 1].min(lane + live);
                mask & panel.mask != 0 && own.start < own.end
            });
            let high = seen
                .map(|(c, _)| cell.compare(c, cell.begins[c + 1].min(lane + live) - 1))
                .max();
            lane += live;
            let Some(high) = high else { continue };
            self.work.meets += 1.0;
            let mut kb = 0;
            while kb < panel.count {
                let at = |k: i64| panel.start + place(panel.residues, cell.period, k);
                if self.nest.causal && at(kb) > high {
                    break;
                }
                let all = nk.min(panel.count - kb);
                // Keys behind the last row are no part of the step.
                let keys = match self.nest.causal {
                    true => reached(all, |i| at(kb + i) <= high),
                    false => all,
                };
                self.step(live, keys, dots);
                kb += nk;
            }
        }
    }

    fn step(&mut self, live: i64, keys: i64, dots: i64) {
        let pad = |x: i64, step: i64| (x + step - 1) / step * step;
        // The first of two sweeps is never assembled.
        let assembled = dots > 1 && self.sched.assembled(self.nest.head_dim);
        let (lanes, step) = if assembled || self.sched.warps > 1 {
            self.grain
        } else {
            (i64::from(QUERY_STEP), i64::from(self.sched.key_step))
        };
        let (q, k) = (pad(live, lanes), pad(keys, step));
        let w = &mut self.work;
        w.steps += 1.0;
        w.lanes += q as f64;
        w.scores += (q * k) as f64;
        let filled = if assembled { filled(q, lanes) } else { q };
        w.busy += (filled * k) as f64;
        w.products += (q * k * dots * i64::from(self.nest.head_dim)) as f64;
    }
}

/// How many of the numbers below `n` hold, where those that do come first.
fn reached(n: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut all, mut none) = (0, n);
    while all < none {
        let middle = (all + none) / 2;
        if holds(middle) {
            all = middle + 1;
        } else {
            none = middle;
        }
    }
    all
}

/// Lanes by the time they take: claims take three vectors by some rows at a time, which hides the latency of a multiply-add; what is
/// left over for a single vector takes as long as for two.
fn filled(lanes: i64, vector: i64) -> i64 {
    match lanes / vector % 3 {
        1 => lanes + vector,
        _ => lanes,
    }
}

/// A panel of one class of keys.
struct Panel<'a> {
    start: i64,
    count: i64,
    mask: u64,
    residues: &'a [i64],
}
