// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rectangles, lines and text in logical pixels, on vectors and bitmaps alike.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::DrawError;

/// Which point of a text stands at the place it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its left end, half-way up.
    Left,
    /// Its right end, half-way up.
    Right,
    /// Its middle, half-way up.
    Middle,
    /// Its middle, turned to run upwards.
    Upwards,
}

/// Draws on a sheet.
pub(crate) struct Pen<'a, B: DrawingBackend> {
    /// The sheet itself, in its own pixels.
    pub(crate) sheet: &'a DrawingArea<B, Shift>,
    /// Pixels of the sheet for a logical one.
    pub(crate) scale: i32,
}

impl<'a, B: DrawingBackend> Pen<'a, B> {
    /// A pen on `sheet`, `scale` of whose pixels are a logical one.
    pub(crate) fn new(sheet: &'a DrawingArea<B, Shift>, scale: i32) -> Pen<'a, B> {
        Pen { sheet, scale }
    }

    /// Fills the rectangle at (x, y).
    pub(crate) fn fill(
        &self,
        (x, y): (i32, i32),
        (width, height): (i32, i32),
        color: RGBColor,
    ) -> Result<(), DrawError> {
        let s = self.scale;
        let last = |at: i32, extent: i32| (at + extent) * s;
        let corners = [(x * s, y * s), (last(x, width), last(y, height))];
        Ok(self.sheet.draw(&Rectangle::new(corners, color.filled()))?)
    }

    /// Draws the outline of a rectangle, inside of it.
    pub(crate) fn frame(
        &self,
        (x, y): (i32, i32),
        (width, height): (i32, i32),
        color: RGBColor,
    ) -> Result<(), DrawError> {
        self.fill((x, y), (width, 1), color)?;
        self.fill((x, y + height - 1), (width, 1), color)?;
        self.fill((x, y), (1, height), color)?;
        self.fill((x + width - 1, y), (1, height), color)
    }

    /// Writes `text` of `size` logical pixels.
    pub(crate) fn text(
        &self,
        (x, y): (i32, i32),
        text: &str,
        (size, style): (i32, FontStyle),
        color: RGBColor,
        place: Place,
    ) -> Result<(), DrawError> {
        let horizontal = match place {
            Place::Left => HPos::Left,
            Place::Right => HPos::Right,
            Place::Middle | Place::Upwards => HPos::Center,
        };
        let font = FontDesc::new(FontFamily::SansSerif, f64::from(size * self.scale), style);
        let font = match place {
            Place::Upwards => font.transform(FontTransform::Rotate270),
            Place::Left | Place::Right | Place::Middle => font,
        };
        let style = TextStyle::from(font)
            .color(&color)
            .pos(Pos::new(horizontal, VPos::Center));
        let at = (x * self.scale, y * self.scale);
        Ok(self.sheet.draw_text(text, &style, at)?)
    }
}
