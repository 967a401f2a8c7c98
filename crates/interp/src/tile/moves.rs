// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves between rows of tensors or work buffers and tiles.
//!
//! In: a machine and the parts of a move. Out: changed memory or outputs, or the first fault. Rows that become columns are the lanes of
//! warps; rows that stay rows are divided over the warps as a backend likes.

use attnc_tile::core::{Layout, Lie, Place, Port, QUERY_STEP, Val, View as Rows};

use super::FaultKind;
use super::exec::Machine;
use super::order::Who;

impl Machine<'_> {
    pub(super) fn width(&self, v: Rows) -> usize {
        match v {
            Rows::Tensor {
                port: Port::Lse, ..
            } => 1,
            Rows::Tensor { .. } => self.core.head_dim as usize,
            Rows::Work { width, .. } => width as usize,
        }
    }

    /// Row `n` of a tensor, its head and batch checked.
    fn tensor_row(
        &self,
        port: Port,
        batch: Val,
        head: Val,
        n: i64,
    ) -> Result<[usize; 3], FaultKind> {
        let heads = if matches!(port, Port::K | Port::V) {
            self.core.kv_heads
        } else {
            self.core.heads
        };
        let check = |x: i64, len: usize| {
            usize::try_from(x)
                .ok()
                .filter(|x| *x < len)
                .ok_or_else(|| FaultKind::Bounds {
                    what: format!("{port:?}"),
                    index: x,
                    len: len as u64,
                })
        };
        Ok([
            check(self.get(batch)?, self.batch)?,
            check(n, self.seq_len)?,
            check(self.get(head)?, heads as usize)?,
        ])
    }

    fn row(&self, v: Rows, n: i64) -> Result<Vec<f32>, FaultKind> {
        match v {
            Rows::Tensor { port, batch, head } => {
                let [b, n, h] = self.tensor_row(port, batch, head, n)?;
                let view = match port {
                    Port::Q => self.inputs[0],
                    Port::K => self.inputs[1],
                    Port::V => self.inputs[2],
                    Port::Out | Port::Lse => {
                        return Err(FaultKind::Malformed("outputs are not read"));
                    }
                };
                Ok((0..self.core.head_dim as usize)
                    .map(|d| view.get(&[b, n, h, d]) as f32)
                    .collect())
            }
            Rows::Work { buf, width } => (0..i64::from(width))
                .map(|d| self.float(buf, n * i64::from(width) + d))
                .collect(),
        }
    }

    pub(super) fn put_row(&mut self, v: Rows, n: i64, row: &[f32]) -> Result<(), FaultKind> {
        match v {
            Rows::Tensor {
                port: Port::Out,
                batch,
                head,
            } => {
                let [b, n, h] = self.tensor_row(Port::Out, batch, head, n)?;
                let index = (b * self.seq_len + n) * self.core.heads as usize + h;
                mark("out", &mut self.out_written, index, self.task)?;
                for (d, x) in row.iter().enumerate() {
                    self.out
                        .set(index * self.core.head_dim as usize + d, f64::from(*x));
                }
                Ok(())
            }
            Rows::Tensor {
                port: Port::Lse,
                batch,
                head,
            } => {
                let [b, n, h] = self.tensor_row(Port::Lse, batch, head, n)?;
                let index = (b * self.core.heads as usize + h) * self.seq_len + n;
                mark("lse", &mut self.lse_written, index, self.task)?;
                self.lse.set(index, f64::from(row[0]));
                Ok(())
            }
            Rows::Tensor { .. } => Err(FaultKind::Malformed("inputs are not written")),
            Rows::Work { buf, width } => row
                .iter()
                .enumerate()
                .try_for_each(|(d, x)| self.set_float(buf, n * i64::from(width) + d as i64, *x)),
        }
    }

    pub(super) fn gather(
        &mut self,
        dst: Place,
        lie: Lie,
        src: Rows,
        idx: Place,
        live: Val,
        flag: Option<Place>,
        ahead: bool,
    ) -> Result<(), FaultKind> {
        let (to, from, live, width) = (
            self.get(dst.at)?,
            self.get(idx.at)?,
            self.get(live)?,
            self.width(src),
        );
        let layout = self.layout(dst.buf)?;
        // Elements of a row with the zeros behind it.
        let filled = match (lie, layout) {
            (Lie::Rows, Layout::Padded { pitch }) => width.max(pitch as usize),
            (Lie::Rows | Lie::Cols { .. }, _) => width,
        };
        let step = i64::from(if lie == Lie::Rows {
            self.core.key_step.max(1)
        } else {
            QUERY_STEP
        });
        for i in 0..(live + step - 1) / step * step {
            self.order.who = self.order.lane(lie, i);
            let row = if i < live && ahead {
                self.int_behind(idx.buf, from + i)?
            } else if i < live {
                self.int(idx.buf, from + i)?
            } else {
                -1
            };
            let zero = row == -1 && (i >= live || lie != Lie::Rows);
            let row = if zero {
                vec![0.0; width]
            } else {
                self.row(src, row)?
            };
            if let Some(flag) = flag
                && row.iter().any(|x| self.large(*x))
            {
                self.raise(flag.buf, self.get(flag.at)?)?;
            }
            let zeros = filled - row.len();
            let row = row.into_iter().chain(std::iter::repeat_n(0.0, zeros));
            for (d, x) in row.enumerate() {
                let at = match lie {
                    Lie::Cols { stride } => d as i64 * i64::from(stride) + i,
                    Lie::Rows => layout.at(i as u64, d as u64, width as u64) as i64,
                };
                if ahead {
                    self.copy_float(dst.buf, to + at, x)?;
                } else {
                    self.set_float(dst.buf, to + at, x)?;
                }
            }
        }
        self.order.who = Who::Any;
        Ok(())
    }

    /// Whether an element makes its tile or panel careful.
    pub(super) fn large(&self, x: f32) -> bool {
        x.is_nan() || x.abs() >= self.core.careful_above
    }

    pub(super) fn scatter(
        &mut self,
        dst: Rows,
        idx: Place,
        live: Val,
        src: Place,
        lie: Lie,
    ) -> Result<(), FaultKind> {
        let (from, at, width) = (self.get(src.at)?, self.get(idx.at)?, self.width(dst) as i64);
        for i in 0..self.get(live)? {
            let element = |d: i64| match lie {
                Lie::Cols { stride } => d * i64::from(stride) + i,
                Lie::Rows => i * width + d,
            };
            self.order.who = self.order.lane(lie, i);
            let row = (0..width)
                .map(|d| self.float(src.buf, from + element(d)))
                .collect::<Result<Vec<f32>, _>>()?;
            let n = self.int(idx.buf, at + i)?;
            self.put_row(dst, n, &row)?;
        }
        self.order.who = Who::Any;
        Ok(())
    }
}

/// Marks an output element as written by a task.
fn mark(
    what: &'static str,
    written: &mut [Option<i64>],
    index: usize,
    task: Option<i64>,
) -> Result<(), FaultKind> {
    match written[index] {
        None => {
            written[index] = task;
            Ok(())
        }
        Some(other) if task != Some(other) => Err(FaultKind::Race { what, index }),
        Some(_) => {
            let what = what.to_string();
            Err(FaultKind::Twice { what, index })
        }
    }
}
