// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The picture of a bench: time a token, rate and memory over the sequence length.
//!
//! In: the points as measured. Out: a [`Drawing`] of three charts, sequence lengths on a logarithmic axis.

use plotters::prelude::*;

use super::{DrawError, Drawing, Pen, Place, palette};

const WIDTH: i32 = 1120;
const HEIGHT: i32 = 400;
const TOP: i32 = 76;
const GAP: i32 = 16;

/// One measured length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// N.
    pub(crate) seq_len: u64,
    /// Nanoseconds a token: median, least and most.
    pub(crate) ns: [f64; 3],
    /// GFLOP/s by formula.
    pub(crate) rate: f64,
    /// Bytes of q, k, v, out and lse, and those with what attnc allocates beside.
    pub(crate) bytes: [f64; 2],
}

/// The picture of a bench.
pub(crate) struct BenchDrawing {
    /// The operator and what ran it.
    pub(crate) title: String,
    /// In one line: machine code, plan, threads.
    pub(crate) subtitle: String,
    /// At least one.
    pub(crate) points: Vec<Measured>,
}

/// Points, colour and name of a line.
type Line<'a> = (Vec<(f64, f64)>, RGBColor, &'a str);

/// One chart.
struct Chart<'a> {
    title: &'a str,
    /// Upper end of the vertical axis and, where it is logarithmic, its lower end as well (both as logarithms).
    range: (f64, f64),
    label: &'a dyn Fn(f64) -> String,
    /// Lines with their colours and names.
    lines: Vec<Line<'a>>,
    /// Vertical bars from the second to the third number.
    spread: Vec<(f64, f64, f64)>,
}

impl Drawing for BenchDrawing {
    fn size(&self) -> (u32, u32) {
        (WIDTH as u32, HEIGHT as u32)
    }

    fn title(&self) -> String {
        format!(
            "{}: time a token, rate and memory over the sequence length",
            self.title
        )
    }

    fn draw<B: DrawingBackend>(&self, pen: &Pen<'_, B>) -> Result<(), DrawError> {
        let bold = FontStyle::Bold;
        pen.text((24, 26), &self.title, (20, bold), palette::INK, Place::Left)?;
        let quiet = (13, FontStyle::Normal);
        pen.text((24, 51), &self.subtitle, quiet, palette::QUIET, Place::Left)?;
        let x = |p: &Measured| (p.seq_len as f64).log2();
        let line = |y: &dyn Fn(&Measured) -> f64| -> Vec<(f64, f64)> {
            self.points.iter().map(|p| (x(p), y(p))).collect()
        };
        let most = |y: &dyn Fn(&Measured) -> f64| self.points.iter().map(y).fold(0.0, f64::max);
        let above = |y: f64| if y > 0.0 { y * 1.12 } else { 1.0 };
        let unit = if most(&|p| p.ns[2]) >= 2000.0 {
            1e3
        } else {
            1.0
        };
        let name = if unit > 1.0 {
            "time a token, µs"
        } else {
            "time a token, ns"
        };
        let bytes = |p: &Measured| p.bytes[1].max(1.0).log2();
        let low = self.points.iter().map(|p| p.bytes[0].max(1.0).log2());
        let low = low.fold(f64::INFINITY, f64::min).floor();
        let high = most(&bytes).ceil().max(low + 1.0);
        self.chart(
            pen,
            0,
            &Chart {
                title: name,
                range: (0.0, above(most(&|p| p.ns[2]) / unit)),
                label: &number,
                lines: vec![(line(&|p| p.ns[0] / unit), palette::hue(0), "median")],
                spread: self
                    .points
                    .iter()
                    .map(|p| (x(p), p.ns[1] / unit, p.ns[2] / unit))
                    .collect(),
            },
        )?;
        self.chart(
            pen,
            1,
            &Chart {
                title: "GFLOP/s, by formula",
                range: (0.0, above(most(&|p| p.rate))),
                label: &number,
                lines: vec![(line(&|p| p.rate), palette::hue(2), "median")],
                spread: Vec::new(),
            },
        )?;
        self.chart(
            pen,
            2,
            &Chart {
                title: "memory, logarithmic",
                range: (low, high),
                label: &|y| attnc::memory::readable(y.exp2().round() as u128).replace(".0 ", " "),
                lines: vec![
                    (line(&bytes), palette::hue(1), "with workspace"),
                    (
                        line(&|p| p.bytes[0].max(1.0).log2()),
                        palette::hue(4),
                        "tensors",
                    ),
                ],
                spread: Vec::new(),
            },
        )
    }
}

impl BenchDrawing {
    fn chart<B: DrawingBackend>(
        &self,
        pen: &Pen<'_, B>,
        at: i32,
        c: &Chart<'_>,
    ) -> Result<(), DrawError> {
        let s = pen.scale;
        let width = (WIDTH - 2 * GAP) / 3;
        let (left, top) = (GAP + at * width, TOP);
        let place = (left + 14, top + 8);
        pen.text(
            place,
            c.title,
            (14, FontStyle::Bold),
            palette::INK,
            Place::Left,
        )?;
        if c.lines.len() > 1 {
            let mut x = left + width - 14;
            for (_, color, name) in &c.lines {
                pen.text(
                    (x, top + 8),
                    name,
                    (12, FontStyle::Normal),
                    *color,
                    Place::Right,
                )?;
                x -= 8 + 7 * name.len() as i32;
            }
        }
        let area = pen.sheet.clone().shrink(
            (left * s, (top + 22) * s),
            (width * s, (HEIGHT - top - 30) * s),
        );
        let xs = self.points.iter().map(|p| (p.seq_len as f64).log2());
        let (first, last) = xs.fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
        let margin = ((last - first) * 0.05).max(0.25);
        let mut chart = ChartBuilder::on(&area)
            .margin_right(10 * s)
            .x_label_area_size(38 * s)
            .y_label_area_size(62 * s)
            .build_cartesian_2d(first - margin..last + margin, c.range.0..c.range.1)?;
        let text = |size: i32, color: &'static RGBColor| {
            TextStyle::from(("sans-serif", size * s).into_font()).color(color)
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(palette::tint(palette::LINE, 0.6))
            .axis_style(palette::LINE)
            .label_style(text(12, &palette::QUIET))
            .x_labels(7)
            .y_labels(6)
            .set_all_tick_mark_size(4 * s)
            .x_label_formatter(&|x| length(*x))
            .y_label_formatter(&|y| (c.label)(*y))
            .x_desc("sequence length N")
            .axis_desc_style(text(13, &palette::INK))
            .draw()?;
        for (x, low, high) in &c.spread {
            let style = palette::tint(palette::hue(0), 0.35).stroke_width(5 * s as u32);
            chart.draw_series([PathElement::new(vec![(*x, *low), (*x, *high)], style)])?;
        }
        for (line, color, _) in &c.lines {
            chart.draw_series(LineSeries::new(
                line.clone(),
                color.stroke_width(2 * s as u32),
            ))?;
            let dots = line.iter().map(|p| Circle::new(*p, 4 * s, color.filled()));
            chart.draw_series(dots)?;
        }
        Ok(())
    }
}

/// The length at `x` of the logarithmic axis; nothing between powers of two.
fn length(x: f64) -> String {
    let whole = x.round();
    if (x - whole).abs() < 1e-6 && (0.0..64.0).contains(&whole) {
        super::short(1 << whole as u32)
    } else {
        String::new()
    }
}

/// A tick of a linear axis.
fn number(y: f64) -> String {
    if y == 0.0 || y.abs() >= 10.0 {
        format!("{y:.0}")
    } else {
        format!("{y:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    }
}
