// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The picture of a pattern: rows downwards, keys to the right, one large square for all branches and a small one for each.
//!
//! In: an operator, a head, a length. Out: a [`Drawing`]. Where a square of the picture stands for several pairs, its colour is their
//! mean on a logarithmic scale, and the picture says so.

use attnc::pattern::{Pattern, PatternError};
use attnc_spec::Operator;
use plotters::prelude::*;

use super::{DrawError, Drawing, Pen, Place, palette, short};

/// Side of the large square at most, in logical pixels.
const SIDE: u64 = 560;
/// Bins of the large square at most: two pixels each.
const BINS: u64 = SIDE / 2;
/// Small pictures at most.
const SMALL: usize = 12;
/// Where the large square begins.
const LEFT: i32 = 84;
const TOP: i32 = 100;
/// Steps of the scale of means: neighbours that look alike become one rectangle.
const LEVELS: u32 = 25;

const PLAIN: FontStyle = FontStyle::Normal;

/// The picture of one head.
pub(crate) struct PatternDrawing<'a> {
    op: &'a Operator,
    head: u32,
    all: Pattern,
    /// The first [`SMALL`] branches by themselves; none where there is one only.
    alone: Vec<Pattern>,
    columns: i32,
    small_side: i32,
    row_height: i32,
}

impl<'a> PatternDrawing<'a> {
    /// Counts what the picture shows.
    ///
    /// # Errors
    /// Heads that there are not, lengths too long.
    pub(crate) fn new(
        op: &'a Operator,
        head: u32,
        seq_len: u64,
    ) -> Result<PatternDrawing<'a>, PatternError> {
        let every: Vec<usize> = (0..op.branches.len()).collect();
        let all = Pattern::count(op, &every, head, seq_len, BINS)?;
        let shown = if every.len() > 1 {
            every.len().min(SMALL) as i32
        } else {
            0
        };
        let columns = match shown {
            0..=3 => 1,
            4..=6 => 2,
            _ => 3,
        };
        let rows = shown.div_euclid(columns) + i32::from(shown % columns != 0);
        let row_height = side(&all) / rows.max(1);
        let small_side = (row_height - 34).clamp(60, 200);
        let alone = every[..shown as usize]
            .iter()
            .map(|b| Pattern::count(op, &[*b], head, seq_len, small_side as u64))
            .collect::<Result<_, _>>()?;
        Ok(PatternDrawing {
            op,
            head,
            all,
            alone,
            columns,
            small_side,
            row_height: row_height.max(94),
        })
    }

    fn column_width(&self) -> i32 {
        self.small_side.max(158) + 22
    }

    fn bottom(&self) -> i32 {
        let rows = self.alone.len().div_ceil(self.columns as usize) as i32;
        (TOP + side(&self.all)).max(TOP + rows * self.row_height)
    }

    /// What must be said of the picture.
    fn notes(&self) -> Vec<String> {
        let p = &self.all;
        let mut notes = Vec::new();
        if p.exact() {
            notes.push("Each square is one query and one key.".to_owned());
        } else {
            let b = p.bin;
            notes.push(format!(
                "Binned: each square is the mean of {b} × {b} pairs{}; single keys cannot be told apart at this length.",
                if p.causal { " (those that causality allows)" } else { "" }
            ));
        }
        if self.alone.iter().any(|s| !s.exact()) {
            notes.push(
                "Small pictures: shades are relative to the densest square of the same picture."
                    .to_owned(),
            );
        }
        if p.zero_keys > 0 {
            notes.push(format!(
                "Zero keys behind the end of short segments have no position: up to {} a query are not drawn.",
                p.zero_keys
            ));
        }
        if p.uncovered > 0 {
            notes.push(format!(
                "{} of {} queries are covered by no branch.",
                p.uncovered, p.seq_len
            ));
        }
        let more = self.op.branches.len().saturating_sub(SMALL);
        if more > 0 {
            notes.push(format!("{more} more branches have no small picture."));
        }
        notes
    }

    fn range(&self) -> Scale {
        Scale::of(&self.all)
    }
}

/// Logical pixels of one bin.
fn cell(p: &Pattern, room: u64) -> i32 {
    (room / p.bins as u64).max(1) as i32
}

fn side(p: &Pattern) -> i32 {
    cell(p, SIDE) * p.bins as i32
}

/// How amounts become colours.
struct Scale {
    exact: bool,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(p: &Pattern) -> Scale {
        let most = p.most();
        let all = (0..p.bins).flat_map(|i| (0..p.bins).map(move |j| (i, j)));
        let least = all
            .map(|(i, j)| p.mean(i, j))
            .filter(|m| *m > 0.0)
            .fold(most, f64::min);
        Scale {
            exact: p.exact(),
            // Rarer than a 4096th of the densest looks the same.
            least: least.max(most / 4096.0),
            most,
        }
    }

    /// The colour's number: for single pairs the number of branches, else a step of the logarithmic scale from 1 on; 0 for nothing.
    fn level(&self, mean: f64) -> u32 {
        if mean <= 0.0 {
            0
        } else if self.exact {
            mean as u32
        } else if self.most <= self.least {
            LEVELS
        } else {
            let t = (mean / self.least).ln() / (self.most / self.least).ln();
            1 + (t.clamp(0.0, 1.0) * f64::from(LEVELS - 1)).round() as u32
        }
    }

    fn color(&self, level: u32) -> RGBColor {
        let (level, last) = if self.exact {
            (f64::from(level), self.most)
        } else {
            (f64::from(level), f64::from(LEVELS))
        };
        // One branch alone is not pale.
        palette::amount(if last <= 1.0 {
            0.6
        } else if self.exact {
            0.32 + 0.68 * (level - 1.0) / (last - 1.0)
        } else {
            (level - 1.0) / (last - 1.0)
        })
    }
}

impl Drawing for PatternDrawing<'_> {
    fn size(&self) -> (u32, u32) {
        let small = if self.alone.is_empty() {
            0
        } else {
            26 + self.columns * self.column_width()
        };
        let width = (LEFT + side(&self.all) + small + 34).max(640);
        let height = self.bottom() + 116 + 17 * self.notes().len() as i32;
        (width as u32, height as u32)
    }

    fn title(&self) -> String {
        format!(
            "{}: keys that queries see in head {} of {}, N = {}",
            self.op.name, self.head, self.op.heads, self.all.seq_len
        )
    }

    fn draw<B: DrawingBackend>(&self, pen: &Pen<'_, B>) -> Result<(), DrawError> {
        let (op, p) = (self.op, &self.all);
        pen.text(
            (LEFT, 30),
            &op.name,
            (24, FontStyle::Bold),
            palette::INK,
            Place::Left,
        )?;
        let subtitle = format!(
            "head {} of {}  ·  N = {}  ·  {}  ·  {}",
            self.head,
            op.heads,
            p.seq_len,
            if op.causal { "causal" } else { "not causal" },
            match op.branches.len() {
                1 => "1 branch".to_owned(),
                n => format!("{n} branches"),
            }
        );
        pen.text(
            (LEFT, 58),
            &subtitle,
            (15, PLAIN),
            palette::QUIET,
            Place::Left,
        )?;
        let scale = self.range();
        let color = |level| scale.color(level);
        squares(
            pen,
            (LEFT, TOP),
            cell(p, SIDE),
            p,
            &|m| scale.level(m),
            &color,
        )?;
        self.axes(pen)?;
        let x = LEFT + side(p) + 48;
        for (i, small) in self.alone.iter().enumerate() {
            let (row, column) = (i as i32 / self.columns, i as i32 % self.columns);
            let at = (
                x + column * self.column_width(),
                TOP + row * self.row_height,
            );
            self.small(pen, at, i, small)?;
        }
        self.legend(pen, &scale)
    }
}

impl PatternDrawing<'_> {
    /// Ticks and names of both axes of the large square.
    fn axes<B: DrawingBackend>(&self, pen: &Pen<'_, B>) -> Result<(), DrawError> {
        let p = &self.all;
        let (side, cell) = (side(p), cell(p, SIDE));
        let step = tick_step(p.seq_len);
        for tick in (0..p.seq_len).step_by(step as usize) {
            let at = (tick as f64 / p.bin as f64 * f64::from(cell)).round() as i32;
            let label = short(tick);
            pen.fill((LEFT + at, TOP - 5), (1, 5), palette::LINE)?;
            pen.text(
                (LEFT + at, TOP - 12),
                &label,
                (12, PLAIN),
                palette::QUIET,
                Place::Middle,
            )?;
            pen.fill((LEFT - 5, TOP + at), (5, 1), palette::LINE)?;
            pen.text(
                (LEFT - 9, TOP + at),
                &label,
                (12, PLAIN),
                palette::QUIET,
                Place::Right,
            )?;
        }
        let middle = LEFT + side / 2;
        pen.text(
            (middle, TOP + side + 20),
            "key position",
            (14, PLAIN),
            palette::INK,
            Place::Middle,
        )?;
        let at = (LEFT - 50, TOP + side / 2);
        pen.text(
            at,
            "query position",
            (14, PLAIN),
            palette::INK,
            Place::Upwards,
        )
    }

    /// One branch by itself.
    fn small<B: DrawingBackend>(
        &self,
        pen: &Pen<'_, B>,
        (x, y): (i32, i32),
        i: usize,
        p: &Pattern,
    ) -> Result<(), DrawError> {
        let b = self.op.branches[i];
        let hue = palette::hue(i);
        let name = format!("segment {}, dilation {}", b.segment, b.dilation);
        pen.text((x, y + 4), &name, (13, FontStyle::Bold), hue, Place::Left)?;
        let most = p.most();
        // A square root keeps thin branches visible, and four steps of it few rectangles.
        let level = |mean: f64| {
            if mean <= 0.0 {
                0
            } else {
                1 + (3.0 * (mean / most).sqrt()).round() as u32
            }
        };
        let color = |level| palette::tint(hue, 0.25 + 0.75 * f64::from(level - 1) / 3.0);
        let room = self.small_side as u64;
        squares(pen, (x, y + 16), cell(p, room), p, &level, &color)
    }

    /// The scale under the large square, and the notes under that.
    fn legend<B: DrawingBackend>(&self, pen: &Pen<'_, B>, scale: &Scale) -> Result<(), DrawError> {
        let mut y = self.bottom() + 56;
        if scale.exact {
            let text = "branches that show the key:";
            pen.text((LEFT, y), text, (14, PLAIN), palette::INK, Place::Left)?;
            let most = (scale.most as u32).max(1);
            // Eight swatches at most; the first and the last are always there.
            let steps: Vec<u32> = if most <= 8 {
                (1..=most).collect()
            } else {
                (0..8).map(|i| 1 + (most - 1) * i / 7).collect()
            };
            let mut x = LEFT + 190;
            for n in steps {
                pen.fill((x, y - 7), (14, 14), scale.color(n))?;
                pen.text(
                    (x + 20, y),
                    &n.to_string(),
                    (14, PLAIN),
                    palette::INK,
                    Place::Left,
                )?;
                x += 46;
            }
            y += 28;
        } else {
            let text = "branches that show a key, mean, logarithmic scale:";
            pen.text((LEFT, y), text, (14, PLAIN), palette::INK, Place::Left)?;
            let (x, width) = (LEFT + 330, 200);
            for i in 0..LEVELS as i32 {
                let part = width / LEVELS as i32;
                pen.fill((x + i * part, y - 8), (part, 12), scale.color(1 + i as u32))?;
            }
            for t in [0.0, 0.5, 1.0] {
                let value = scale.least * (scale.most / scale.least).powf(t);
                let at = (x + (f64::from(width) * t) as i32, y + 14);
                pen.text(
                    at,
                    &significant(value),
                    (12, PLAIN),
                    palette::QUIET,
                    Place::Middle,
                )?;
            }
            y += 38;
        }
        if self.op.causal {
            pen.fill((LEFT, y - 7), (14, 14), palette::HIDDEN)?;
            pen.frame((LEFT, y - 7), (14, 14), palette::LINE)?;
            let text = "later keys, which causality hides";
            pen.text(
                (LEFT + 20, y),
                text,
                (12, PLAIN),
                palette::QUIET,
                Place::Left,
            )?;
        }
        for note in self.notes() {
            y += 17;
            pen.text((LEFT, y), &note, (12, PLAIN), palette::QUIET, Place::Left)?;
        }
        Ok(())
    }
}

/// Three significant digits.
fn significant(value: f64) -> String {
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A power of two, or 5 or 10 for short sequences, so that five to nine ticks appear.
fn tick_step(seq_len: u64) -> u64 {
    let mut step = 1;
    while seq_len.div_ceil(step) > 9 {
        step *= 2;
    }
    step
}

/// The squares of a pattern; equal neighbours become one rectangle.
fn squares<B: DrawingBackend>(
    pen: &Pen<'_, B>,
    (x, y): (i32, i32),
    cell: i32,
    p: &Pattern,
    level: &dyn Fn(f64) -> u32,
    color: &dyn Fn(u32) -> RGBColor,
) -> Result<(), DrawError> {
    let bins = p.bins;
    if p.causal {
        for i in 0..bins {
            let hidden = (bins - 1 - i) as i32 * cell;
            let at = (x + (i as i32 + 1) * cell, y + i as i32 * cell);
            if hidden > 0 {
                pen.fill(at, (hidden, cell), palette::HIDDEN)?;
            }
        }
    }
    let mut levels: Vec<u32> = (0..bins * bins)
        .map(|at| level(p.mean(at / bins, at % bins)))
        .collect();
    for i in 0..bins {
        for j in 0..bins {
            let this = levels[i * bins + j];
            if this == 0 {
                continue;
            }
            let run = |row: usize, from: usize, levels: &[u32]| {
                let row = &levels[row * bins..(row + 1) * bins];
                row[from..].iter().take_while(|l| **l == this).count()
            };
            let width = run(i, j, &levels);
            let height = (i..bins)
                .take_while(|row| run(*row, j, &levels) >= width)
                .count();
            for row in i..i + height {
                levels[row * bins + j..row * bins + j + width].fill(0);
            }
            let at = (x + j as i32 * cell, y + i as i32 * cell);
            pen.fill(at, (width as i32 * cell, height as i32 * cell), color(this))?;
        }
    }
    let side = bins as i32 * cell;
    pen.frame((x - 1, y - 1), (side + 2, side + 2), palette::LINE)
}
