// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The colours of pictures. Amounts run from light to dark blue, so that they can be told apart without colour; branches have hues of
//! their own that stay apart for most kinds of colour blindness.

use plotters::style::RGBColor;

/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(33, 37, 45);
/// What is said beside.
pub(crate) const QUIET: RGBColor = RGBColor(104, 112, 126);
/// Frames and grids.
pub(crate) const LINE: RGBColor = RGBColor(205, 210, 218);
/// Where causality hides keys.
pub(crate) const HIDDEN: RGBColor = RGBColor(242, 243, 245);

const AMOUNTS: [RGBColor; 6] = [
    RGBColor(222, 235, 247),
    RGBColor(170, 207, 231),
    RGBColor(107, 174, 214),
    RGBColor(51, 131, 190),
    RGBColor(15, 84, 153),
    RGBColor(6, 38, 89),
];

const HUES: [RGBColor; 8] = [
    RGBColor(36, 113, 181),
    RGBColor(214, 117, 22),
    RGBColor(20, 143, 109),
    RGBColor(175, 63, 120),
    RGBColor(112, 86, 176),
    RGBColor(160, 122, 20),
    RGBColor(194, 59, 49),
    RGBColor(84, 98, 112),
];

fn between(a: RGBColor, b: RGBColor, t: f64) -> RGBColor {
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * t).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// The colour of an amount, `t` from 0 (least) to 1 (most).
pub(crate) fn amount(t: f64) -> RGBColor {
    let t = t.clamp(0.0, 1.0) * (AMOUNTS.len() - 1) as f64;
    let i = (t as usize).min(AMOUNTS.len() - 2);
    between(AMOUNTS[i], AMOUNTS[i + 1], t - i as f64)
}

/// The hue of branch `i`.
pub(crate) fn hue(i: usize) -> RGBColor {
    HUES[i % HUES.len()]
}

/// `color` on white, `t` from 0 (white) to 1 (full).
pub(crate) fn tint(color: RGBColor, t: f64) -> RGBColor {
    between(RGBColor(255, 255, 255), color, t.clamp(0.0, 1.0))
}
