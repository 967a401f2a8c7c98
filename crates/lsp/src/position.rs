// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The protocol's places: a line and a column, counted in the units that client and server agreed on.
//!
//! In: a text. Out: bytes for positions and positions for bytes. Lines end with `\n`, `\r\n` or a lone `\r`. Positions beyond a line or the
//! text mean its end; one inside a character means its start.

use lsp_types::{Position, PositionEncodingKind, Range};

/// The units of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Bytes.
    Utf8,
    /// What the protocol means where nobody says anything.
    Utf16,
    /// Characters.
    Utf32,
}

impl Encoding {
    /// The best of those that the client takes.
    pub(crate) fn choose(offered: Option<&[PositionEncodingKind]>) -> Encoding {
        let offered = offered.unwrap_or_default();
        let ours = [Encoding::Utf8, Encoding::Utf32];
        let taken = ours.into_iter().find(|e| offered.contains(&e.kind()));
        taken.unwrap_or(Encoding::Utf16)
    }

    /// Its name in the protocol.
    pub(crate) fn kind(self) -> PositionEncodingKind {
        match self {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
            Encoding::Utf32 => PositionEncodingKind::UTF32,
        }
    }

    fn width(self, c: char) -> usize {
        match self {
            Encoding::Utf8 => c.len_utf8(),
            Encoding::Utf16 => c.len_utf16(),
            Encoding::Utf32 => 1,
        }
    }
}

/// A text with its lines.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
    encoding: Encoding,
}

impl<'a> Places<'a> {
    /// The places of a text.
    pub(crate) fn new(text: &'a str, encoding: Encoding) -> Places<'a> {
        let bytes = text.as_bytes();
        let ends = |i: &usize| match bytes[*i] {
            b'\n' => true,
            b'\r' => bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = (0..bytes.len()).filter(ends).map(|i| i + 1);
        Places {
            text,
            starts: [0].into_iter().chain(starts).collect(),
            encoding,
        }
    }

    /// The byte at a position.
    pub(crate) fn offset(&self, position: Position) -> usize {
        let Some(&start) = self.starts.get(position.line as usize) else {
            return self.text.len();
        };
        let wanted = position.character as usize;
        let mut column = 0;
        for (at, c) in self.text[start..].char_indices() {
            column += self.encoding.width(c);
            if column > wanted || matches!(c, '\n' | '\r') {
                return start + at;
            }
        }
        self.text.len()
    }

    /// The position of a byte.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|&start| start <= offset) - 1;
        let before = self.text[self.starts[line]..offset].chars();
        let column: usize = before.map(|c| self.encoding.width(c)).sum();
        let cap = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position::new(cap(line), cap(column))
    }

    /// The range of bytes.
    pub(crate) fn range(&self, bytes: std::ops::Range<usize>) -> Range {
        Range::new(self.position(bytes.start), self.position(bytes.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "aé𝔸z\r\nb\rc\n";

    #[test]
    fn columns_count_the_units_agreed_on() {
        for (encoding, column) in [
            (Encoding::Utf8, 7),
            (Encoding::Utf16, 4),
            (Encoding::Utf32, 3),
        ] {
            let places = Places::new(TEXT, encoding);
            assert_eq!(places.position(7), Position::new(0, column));
            assert_eq!(places.offset(Position::new(0, column)), 7);
        }
    }

    #[test]
    fn every_byte_of_a_character_goes_there_and_back() {
        for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
            let places = Places::new(TEXT, encoding);
            for (at, c) in TEXT.char_indices() {
                let back = places.offset(places.position(at));
                // Between \r and \n there is no place.
                assert!(
                    back == at || c == '\n' && back + 1 == at,
                    "{encoding:?} {at}"
                );
            }
            assert_eq!(places.position(TEXT.len()), Position::new(3, 0));
        }
    }

    #[test]
    fn positions_beyond_mean_the_end_and_positions_within_a_character_its_start() {
        let places = Places::new(TEXT, Encoding::Utf16);
        assert_eq!(places.offset(Position::new(0, 3)), 3);
        assert_eq!(places.offset(Position::new(0, 99)), 8);
        assert_eq!(places.offset(Position::new(1, 99)), 11);
        assert_eq!(places.offset(Position::new(2, 1)), 13);
        assert_eq!(places.offset(Position::new(9, 0)), TEXT.len());
    }
}
