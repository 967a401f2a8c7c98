// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which rows belong to a task: the decoding of task numbers that gives no two tasks the same rows.
//!
//! In: what values are computed from. Out: whether a number of tasks, a batch entry, a head and a first row are those of the grid: with
//! S rows a chunk and C = ceil(N / S) chunks there are B * H * C tasks; task t has batch entry t / C / H, head t / C mod H and the chunk
//! t mod C, or C - 1 - t mod C where late chunks come first. Division with remainder is one to one, so no two tasks share all three, and
//! what a task writes inside its own chunk no other task writes. The number of tasks stays within 64 bits by what hosts must see to
//! before they plan: B * N is at most 2^47.

use super::{Facts, Key, Val};
use crate::core::Bin;

impl Facts {
    fn is_constant(&self, v: u32, x: i64) -> bool {
        (self.k(v).lo, self.k(v).hi) == (x, x)
    }

    /// Whether `v` is ceil(N / size); yields the size.
    fn chunks(&self, v: u32) -> Option<i64> {
        let (Bin::Div, a, s) = self.defs[v as usize]? else {
            return None;
        };
        let size = self.k(s).lo;
        let whole = size >= 1 && self.is_constant(s, size);
        (whole && self.rounded_up(a, s) == Some(self.n)).then_some(size)
    }

    /// The rows of a chunk, where `tasks` is the number of all chunks of all heads of all batch entries.
    pub(in crate::verify) fn grid(&self, tasks: Val, heads: u32) -> Option<i64> {
        let product = |v: u32| match self.written[v as usize] {
            Some((Bin::Mul, a, b)) => Some([(a, b), (b, a)]),
            Some(_) | None => None,
        };
        for (rows, chunks) in product(self.num(tasks))? {
            let Some(size) = self.chunks(chunks) else {
                continue;
            };
            let of = |(a, b): &(u32, u32)| *a == self.b && self.is_constant(*b, heads.into());
            if product(rows)?.iter().any(of) {
                return Some(size);
            }
        }
        None
    }

    /// Whether the task number is divided by the number of chunks: `op` says with or without remainder.
    fn task_by_chunks(&self, v: u32, op: Bin, size: i64) -> bool {
        match self.defs[v as usize] {
            Some((found, t, chunks)) => {
                found == op
                    && self.keys.get(&Key::Task) == Some(&t)
                    && self.chunks(chunks) == Some(size)
            }
            None => false,
        }
    }

    /// Whether the batch entry and the head are the task's.
    pub(in crate::verify) fn decodes(&self, batch: Val, head: Val, heads: u32, size: i64) -> bool {
        let row = |v: u32, op: Bin| match self.defs[v as usize] {
            Some((found, row, h)) => {
                (found == op && self.is_constant(h, heads.into())).then_some(row)
            }
            None => None,
        };
        let entry = self.num(batch);
        let bounded = match self.defs[entry as usize] {
            // A bound of at least B - 1 changes nothing: there are no more tasks.
            Some((Bin::Min, a, b)) => [(a, b), (b, a)]
                .into_iter()
                .find(|(_, most)| self.above(self.b, *most, 3).is_some_and(|d| d <= 1))
                .map_or(entry, |(x, _)| x),
            Some(_) | None => entry,
        };
        match (row(bounded, Bin::Div), row(self.num(head), Bin::Rem)) {
            (Some(a), Some(b)) => a == b && self.task_by_chunks(a, Bin::Div, size),
            (_, _) => false,
        }
    }

    /// The number of `v` where it is the first row of the task's chunk.
    pub(in crate::verify) fn first_row(&self, v: Val, size: i64) -> Option<u32> {
        let v = self.num(v);
        let (Bin::Mul, a, b) = self.defs[v as usize]? else {
            return None;
        };
        let place = |c: u32| self.task_by_chunks(c, Bin::Rem, size);
        let late = |c: u32| match self.defs[c as usize] {
            Some((Bin::Sub, last, c)) if place(c) => match self.defs[last as usize] {
                Some((Bin::Add, chunks, less)) => {
                    self.is_constant(less, -1) && self.chunks(chunks) == Some(size)
                }
                Some(_) | None => false,
            },
            Some(_) | None => false,
        };
        let chunk = [(a, b), (b, a)]
            .into_iter()
            .any(|(c, s)| self.is_constant(s, size) && (place(c) || late(c)));
        chunk.then_some(v)
    }

    /// Whether x is one of the `size` rows from `first` on.
    pub(in crate::verify) fn in_chunk(&self, x: Val, first: u32, size: i64) -> bool {
        let x = self.num(x);
        let depth = super::DEPTH;
        self.above(first, x, depth).is_some_and(|d| d <= 0)
            && self.above(x, first, depth).is_some_and(|d| d < size)
    }
}
