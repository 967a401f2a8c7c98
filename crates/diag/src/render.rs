// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Diagnostics for people: message, place and help around an excerpt of the source, drawn by ariadne.
//!
//! In: diagnostics and the texts they point into. Out: text, coloured or not. The cost of a diagnostic goes by the lines it
//! shows, not by the size of its file: each file is prepared once, places that are far apart are drawn as separate excerpts, lines
//! of more than [`MAX_LINE`] characters are named but not drawn. Control characters of the source never reach the terminal.

use std::collections::HashMap;
use std::fmt;

use ariadne::{Cache, Color, Config, Label as AriadneLabel, Report, ReportKind, Source};

use crate::{Diagnostic, FileId, Label, Severity, SourceFile, SourceMap, Span};

/// Longest source line that is drawn, in characters.
const MAX_LINE: usize = 400;
/// Labels of one file within that many lines share an excerpt.
const NEAR: usize = 8;

/// Renders `diagnostics` in their order, each followed by an empty line. `color`: with ANSI escapes.
pub fn render_text<'a>(
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
    sources: &SourceMap,
    color: bool,
) -> String {
    let mut excerpts = Excerpts {
        sources,
        files: HashMap::new(),
    };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let drawn = draw(diagnostic, &mut excerpts, color);
        for line in drawn.trim_end().lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn draw(diagnostic: &Diagnostic, excerpts: &mut Excerpts<'_>, color: bool) -> String {
    let Some(clusters) = clusters(diagnostic, excerpts) else {
        return plain(diagnostic, excerpts.sources, color);
    };
    let (kind, own) = match diagnostic.severity() {
        Severity::Error => (ReportKind::Error, Color::Red),
        Severity::Warning => (ReportKind::Warning, Color::Yellow),
    };
    let Some(at) = clusters
        .first()
        .and_then(|c| c.iter().find(|place| place.primary))
    else {
        return plain(diagnostic, excerpts.sources, color);
    };
    let mut report = Report::build(kind, ((at.file, 0), at.chars.clone()))
        .with_config(Config::default().with_color(color))
        .with_code(diagnostic.code.id())
        .with_message(clean(&diagnostic.message));
    for (index, cluster) in clusters.iter().enumerate() {
        for place in cluster {
            let tint = if place.primary { own } else { Color::Blue };
            report = report.with_label(
                AriadneLabel::new(((place.file, index), place.chars.clone()))
                    .with_message(clean(&place.text))
                    .with_order(index as i32)
                    .with_color(tint),
            );
        }
    }
    if let Some(help) = &diagnostic.help {
        report = report.with_help(clean(help));
    }
    let mut bytes = Vec::new();
    match report.finish().write(&mut *excerpts, &mut bytes) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => plain(diagnostic, excerpts.sources, color),
    }
}

/// A label on the prepared text of its file.
struct Place {
    file: FileId,
    line: usize,
    chars: std::ops::Range<usize>,
    text: String,
    primary: bool,
}

/// The labels by excerpt, the primary one's first; `None` where the primary label cannot be drawn.
fn clusters(diagnostic: &Diagnostic, excerpts: &mut Excerpts<'_>) -> Option<Vec<Vec<Place>>> {
    let mut clusters = vec![vec![excerpts.place(&diagnostic.primary, true)?]];
    for label in &diagnostic.secondary {
        let Some(place) = excerpts.place(label, false) else {
            continue;
        };
        let near = clusters.iter_mut().find(|cluster| {
            cluster
                .iter()
                .any(|other| other.file == place.file && other.line.abs_diff(place.line) <= NEAR)
        });
        match near {
            Some(cluster) => cluster.push(place),
            None => clusters.push(vec![place]),
        }
    }
    for cluster in &mut clusters {
        cluster.sort_by_key(|place| (place.line, place.chars.start));
    }
    Some(clusters)
}

/// The same without an excerpt: for files that have none to show and for lines too long to draw.
fn plain(diagnostic: &Diagnostic, sources: &SourceMap, color: bool) -> String {
    let (on, off) = match (color, diagnostic.severity()) {
        (false, _) => ("", ""),
        (true, Severity::Error) => ("\u{1b}[31m", "\u{1b}[0m"),
        (true, Severity::Warning) => ("\u{1b}[33m", "\u{1b}[0m"),
    };
    let kind = match diagnostic.severity() {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
    };
    let mut out = format!(
        "{on}[{}] {kind}:{off} {}\n",
        diagnostic.code.id(),
        clean(&diagnostic.message)
    );
    let mut labels = vec![&diagnostic.primary];
    labels.extend(&diagnostic.secondary);
    for (index, label) in labels.into_iter().enumerate() {
        let Some(file) = sources.get(label.span.file) else {
            continue;
        };
        let corner = if index == 0 { "╭" } else { "├" };
        out.push_str(&format!(
            "   {corner}─[ {} ]\n   │ {}\n",
            location(file, label.span),
            clean(&label.text)
        ));
    }
    if let Some(help) = &diagnostic.help {
        out.push_str(&format!("   │ Help: {}\n", clean(help)));
    }
    out.push_str("───╯\n");
    out
}

fn location(file: &SourceFile, span: Span) -> String {
    if file.text().is_empty() {
        return clean(file.name());
    }
    let place = file.line_column(span.start as usize);
    format!("{}:{}:{}", clean(file.name()), place.line, place.column)
}

/// The text without characters that a terminal would act on.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c != '\n' && is_active(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Characters that move the cursor, break ariadne's lines or reorder the text.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A file prepared for drawing: one character for each of the source's, every line with a blank behind it to point at.
struct Prepared {
    source: Source<String>,
    /// First character and length of every line; `None` for those too long to draw.
    lines: Vec<Option<(usize, usize)>>,
}

impl Prepared {
    fn new(file: &SourceFile) -> Prepared {
        let mut text = String::with_capacity(file.text().len() + 2 * file.line_count());
        let mut lines = Vec::with_capacity(file.line_count());
        let mut at = 0;
        for line in 0..file.line_count() {
            let source = &file.text()[file.line_range(line)];
            let drawn = source.len() <= 4 * MAX_LINE && source.chars().count() <= MAX_LINE;
            let before = at;
            if drawn {
                for c in source.chars() {
                    text.push(if c != '\t' && is_active(c) {
                        '\u{fffd}'
                    } else {
                        c
                    });
                    at += 1;
                }
            }
            lines.push(drawn.then_some((before, at - before)));
            text.push_str(" \n");
            at += 2;
        }
        Prepared {
            source: Source::from(text),
            lines,
        }
    }
}

struct Excerpts<'a> {
    sources: &'a SourceMap,
    files: HashMap<FileId, Prepared>,
}

impl Excerpts<'_> {
    fn prepared(&mut self, file: FileId) -> Option<&Prepared> {
        if !self.files.contains_key(&file) {
            let prepared = Prepared::new(self.sources.get(file)?);
            self.files.insert(file, prepared);
        }
        self.files.get(&file)
    }

    /// Where a label is drawn: a label over several lines on the first of them, an empty one as one character.
    fn place(&mut self, label: &Label, primary: bool) -> Option<Place> {
        let span = label.span;
        let file = self
            .sources
            .get(span.file)
            .filter(|file| !file.text().is_empty())?;
        let (start, end) = (
            file.line_column(span.start as usize),
            file.line_column(span.end as usize),
        );
        let (first, length) = *self
            .prepared(span.file)?
            .lines
            .get(start.line - 1)?
            .as_ref()?;
        let from = (start.column - 1).min(length);
        let to = if end.line == start.line {
            (end.column - 1).min(length)
        } else {
            length
        };
        Some(Place {
            file: span.file,
            line: start.line,
            chars: first + from..first + to.max(from + 1),
            text: label.text.clone(),
            primary,
        })
    }
}

impl Cache<(FileId, usize)> for &mut Excerpts<'_> {
    type Storage = String;

    fn fetch(&mut self, id: &(FileId, usize)) -> Result<&Source<String>, impl fmt::Debug> {
        self.prepared(id.0)
            .map(|prepared| &prepared.source)
            .ok_or("no such file")
    }

    fn display<'a>(&self, id: &'a (FileId, usize)) -> Option<impl fmt::Display + 'a> {
        self.sources.get(id.0).map(|file| clean(file.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn one(text: &str, range: std::ops::Range<usize>) -> String {
        let mut sources = SourceMap::new();
        let file = sources.add("f.attn", text);
        let d = Diagnostic::new(
            Code::UnexpectedCharacter,
            Span::new(file, range.start, range.end),
            "bad",
            "here",
        );
        render_text([&d], &sources, false)
    }

    #[test]
    fn draws_the_line_of_the_label() {
        let text = one("a\nb@c\r\nd", 3..4);
        assert!(text.contains("f.attn:2:2"), "{text}");
        assert!(text.contains("2 │ b@c"), "{text}");
        assert!(text.contains("here"), "{text}");
    }

    #[test]
    fn every_place_of_every_odd_text_can_be_drawn() {
        for text in [
            "",
            "\n",
            "x",
            "x\n",
            "\u{feff}x\r\ny",
            "\r\r\n",
            "é𝔸\t漢字\u{301}\u{200b}",
            "a\u{2028}b\u{b}c\u{85}d",
            "\u{1b}[31m",
        ] {
            for start in 0..=text.len() + 1 {
                for end in start..=text.len() + 1 {
                    let drawn = one(text, start..end);
                    assert!(
                        drawn.contains("bad")
                            && drawn.contains("here")
                            && !drawn.contains('\u{1b}'),
                        "{text:?} {start}..{end}: {drawn}"
                    );
                }
            }
        }
    }

    #[test]
    fn many_labels_in_a_large_file_stay_cheap() {
        let line = "x".repeat(30) + "\n";
        let text = line.repeat(30_000);
        let mut sources = SourceMap::new();
        let file = sources.add("f.attn", text);
        let list: Vec<Diagnostic> = (0..2000)
            .map(|i| {
                let at = Span::new(file, 31 * 10 * i, 31 * 10 * i + 4);
                Diagnostic::new(Code::UnexpectedCharacter, at, "bad", "here")
                    .with_secondary(Span::new(file, 0, 3), "first")
            })
            .collect();
        let started = std::time::Instant::now();
        let text = render_text(&list, &sources, false);
        assert!(text.contains("f.attn:19991:1"));
        // A quadratic renderer needs minutes.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    #[test]
    fn a_line_too_long_to_draw_is_named() {
        let text = one(&"x".repeat(100_000), 70_000..70_001);
        assert!(text.contains("f.attn:1:70001"), "{text}");
        assert!(text.len() < 1000);
    }
}
