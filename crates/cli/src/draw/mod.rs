// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pictures as SVG or PNG: the sheet, its font and its colours.
//!
//! In: something to draw, in logical pixels. Out: the bytes of a file, the same on every machine. The font is embedded (Roboto, reduced to
//! the characters that are used; `fonts/README.md`), so that text appears where no font is installed.

pub(crate) mod measures;
pub(crate) mod palette;
pub(crate) mod pattern;
mod pen;

use std::path::Path;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

pub(crate) use pen::{Pen, Place};

use crate::failure::Failure;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the picture: {0}")]
pub(crate) struct DrawError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: DrawingAreaErrorKind<E>) -> DrawError {
        DrawError(error.to_string())
    }
}

/// The forms of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Vectors, with text as text.
    Svg,
    /// Pixels, two for each logical one in either direction.
    Png,
}

impl Form {
    /// The form that the ending of a file's name asks for.
    ///
    /// # Errors
    /// [`Failure::Usage`] for any other ending.
    pub(crate) fn of(path: &Path) -> Result<Form, Failure> {
        let ending = path.extension().map(|e| e.to_ascii_lowercase());
        match ending.as_ref().and_then(|e| e.to_str()) {
            Some("svg") => Ok(Form::Svg),
            Some("png") => Ok(Form::Png),
            _ => Err(Failure::Usage(format!(
                "{}: pictures are written as .svg or .png",
                path.display()
            ))),
        }
    }
}

/// Something that can be drawn.
pub(crate) trait Drawing {
    /// Width and height in logical pixels.
    fn size(&self) -> (u32, u32);
    /// What it shows, in one line; the title of an SVG file.
    fn title(&self) -> String;
    /// Draws on a white sheet of that size.
    fn draw<B: DrawingBackend>(&self, pen: &Pen<'_, B>) -> Result<(), DrawError>;
}

/// The bytes of the file.
///
/// # Errors
/// [`Failure::Draw`]: a bug, or no memory.
pub(crate) fn render(drawing: &impl Drawing, form: Form) -> Result<Vec<u8>, Failure> {
    fonts()?;
    let size = drawing.size();
    match form {
        Form::Svg => {
            let mut text = String::new();
            {
                let sheet = SVGBackend::with_string(&mut text, size).into_drawing_area();
                on_sheet(drawing, &sheet, 1)?;
            }
            let title = drawing.title().replace('&', "&amp;").replace('<', "&lt;");
            // Squares meet without seams at any zoom; the title is what screen readers say.
            let head = "<svg role=\"img\" shape-rendering=\"crispEdges\" ";
            let mut text = text.replacen("<svg ", head, 1);
            // What is so by itself, thousands of times.
            text = text
                .replace(" opacity=\"1\"", "")
                .replace(" stroke=\"none\"", "");
            if let Some(end) = text.find(">\n") {
                text.insert_str(end + 2, &format!("<title>{title}</title>\n"));
            }
            Ok(text.into_bytes())
        }
        Form::Png => {
            let size = (size.0 * 2, size.1 * 2);
            let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
            {
                let sheet = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
                on_sheet(drawing, &sheet, 2)?;
            }
            png(&pixels, size)
        }
    }
}

fn on_sheet<B: DrawingBackend>(
    drawing: &impl Drawing,
    sheet: &DrawingArea<B, Shift>,
    scale: i32,
) -> Result<(), DrawError> {
    sheet.fill(&WHITE)?;
    drawing.draw(&Pen::new(sheet, scale))?;
    Ok(sheet.present()?)
}

fn png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels));
    match written {
        Ok(()) => Ok(bytes),
        Err(error) => Err(DrawError(error.to_string()).into()),
    }
}

/// Registers the embedded fonts, once.
fn fonts() -> Result<(), DrawError> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let regular = include_bytes!("../../fonts/Roboto-Regular.ttf");
        let bold = include_bytes!("../../fonts/Roboto-Bold.ttf");
        register_font("sans-serif", FontStyle::Normal, regular).is_ok()
            && register_font("sans-serif", FontStyle::Bold, bold).is_ok()
    });
    if *done {
        Ok(())
    } else {
        Err(DrawError("the embedded font is damaged".to_owned()))
    }
}

/// A count as people write it here: `32k` where it is a multiple of 1024.
pub(crate) fn short(n: u64) -> String {
    for (shift, letter) in [(30, "G"), (20, "M"), (10, "k")] {
        if n >= 1 << shift && n.is_multiple_of(1 << shift) {
            return format!("{}{letter}", n >> shift);
        }
    }
    n.to_string()
}
