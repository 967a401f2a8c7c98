// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Source texts and places in them.
//!
//! In: file names and their bytes. Out: file ids, spans (byte ranges), lines and columns. Looking up a place costs a binary
//! search and at most [`MARK`] bytes of counting, however long the line is.

/// Distance in bytes of the marks at which the number of characters is known.
const MARK: usize = 1024;

/// A file of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

impl FileId {
    /// The id of the `index`-th file that was added to a map.
    pub fn new(index: u32) -> FileId {
        FileId(index)
    }

    /// Place in the order in which files were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bytes `start..end` of a file, counted from 0 in the file as it stands on disk (a byte order mark included).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Bytes `start..end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        let cap = |x: usize| u32::try_from(x).unwrap_or(u32::MAX);
        Span {
            file,
            start: cap(start),
            end: cap(end.max(start)),
        }
    }

    /// The smallest span over both; `self` if they lie in different files.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span {
            file: self.file,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// The byte range, for slicing the text.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Line and column, from 1, columns in characters; a byte order mark is no character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line, from 1. Lines end with `\n`.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

/// One source text with the indices that make places cheap to find.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    invalid_utf8: Option<std::ops::Range<usize>>,
    line_starts: Vec<u32>,
    char_marks: Vec<u32>,
}

impl SourceFile {
    /// A file of that display name. Bytes that are not UTF-8 are replaced one by one by `?`, so that offsets stay those of the
    /// file; [`SourceFile::invalid_utf8`] tells where the first of them stand.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> SourceFile {
        let (text, invalid_utf8) = decode(bytes);
        let mut line_starts = vec![0];
        let mut char_marks = Vec::with_capacity(text.len() / MARK + 1);
        let mut chars = 0u32;
        for (at, byte) in text.bytes().enumerate() {
            if at % MARK == 0 {
                char_marks.push(chars);
            }
            chars += u32::from(is_char_start(byte));
            if byte == b'\n' {
                line_starts.push(at as u32 + 1);
            }
        }
        char_marks.push(chars);
        SourceFile {
            name: name.into(),
            text,
            invalid_utf8,
            line_starts,
            char_marks,
        }
    }

    /// Display name, as given on the command line or in `use`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, a byte order mark included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first bytes that are not UTF-8, if any.
    pub fn invalid_utf8(&self) -> Option<std::ops::Range<usize>> {
        self.invalid_utf8.clone()
    }

    /// Number of lines, at least 1.
    pub fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    /// Byte range of line `line` (from 0) without its end (`\n` or `\r\n`) and without a byte order mark.
    pub fn line_range(&self, line: usize) -> std::ops::Range<usize> {
        let Some(&start) = self.line_starts.get(line) else {
            return self.text.len()..self.text.len();
        };
        let mut start = start as usize;
        let mut end = self
            .line_starts
            .get(line + 1)
            .map_or(self.text.len(), |&next| next as usize - 1);
        if end > start
            && line + 1 < self.line_starts.len()
            && self.text.as_bytes()[end - 1] == b'\r'
        {
            end -= 1;
        }
        if line == 0 && self.text.starts_with('\u{feff}') {
            start = 3.min(end);
        }
        start..end
    }

    /// Line and column of byte `offset`; beyond the end, those of the end.
    pub fn line_column(&self, offset: usize) -> LineColumn {
        let offset = offset.min(self.text.len());
        let line = self
            .line_starts
            .partition_point(|&start| start as usize <= offset)
            - 1;
        let start = self.line_range(line).start.min(offset);
        LineColumn {
            line: line + 1,
            column: self.chars_before(offset) - self.chars_before(start) + 1,
        }
    }

    /// Characters that begin before byte `offset`.
    fn chars_before(&self, offset: usize) -> usize {
        let block = offset / MARK;
        let counted = self.text.as_bytes()[block * MARK..offset]
            .iter()
            .filter(|&&b| is_char_start(b))
            .count();
        self.char_marks[block.min(self.char_marks.len() - 1)] as usize + counted
    }
}

fn is_char_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn decode(bytes: Vec<u8>) -> (String, Option<std::ops::Range<usize>>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, None),
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && first.is_none() {
            first = Some(text.len()..text.len() + chunk.invalid().len());
        }
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    (text, first)
}

/// Every source text of a run, each under the id that its spans carry.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// No files.
    pub fn new() -> SourceMap {
        SourceMap::default()
    }

    /// Adds a file and gives its id.
    pub fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> FileId {
        self.files.push(SourceFile::new(name, bytes.into()));
        FileId(self.files.len() as u32 - 1)
    }

    /// The file with that id. `None` for an id of another map.
    pub fn get(&self, file: FileId) -> Option<&SourceFile> {
        self.files.get(file.index())
    }

    /// The text of a file; empty for an id of another map.
    pub fn text(&self, file: FileId) -> &str {
        self.get(file).map_or("", |file| file.text())
    }

    /// The files in the order in which they were added.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files
            .iter()
            .enumerate()
            .map(|(i, file)| (FileId(i as u32), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, offset: usize) -> (usize, usize) {
        let place = SourceFile::new("f", text.as_bytes().to_vec()).line_column(offset);
        (place.line, place.column)
    }

    #[test]
    fn columns_count_characters_and_lines_count_newlines() {
        assert_eq!(at("ab\ncd", 0), (1, 1));
        assert_eq!(at("ab\ncd", 2), (1, 3));
        assert_eq!(at("ab\ncd", 3), (2, 1));
        assert_eq!(at("ab\r\ncd", 4), (2, 1));
        assert_eq!(at("héλ𝔸x", 9), (1, 5));
        assert_eq!(at("", 7), (1, 1));
        assert_eq!(at("\u{feff}ab", 3), (1, 1));
        assert_eq!(at("\u{feff}ab", 4), (1, 2));
        assert_eq!(at("\u{feff}ab\nc", 6), (2, 1));
        assert_eq!(at("a\tb", 2), (1, 3));
    }

    #[test]
    fn columns_are_right_across_marks() {
        let text = "é".repeat(5000);
        for offset in [0, 2, 1022, 1024, 1026, 2048, 9998, 10000] {
            assert_eq!(at(&text, offset), (1, offset / 2 + 1), "{offset}");
        }
    }

    #[test]
    fn invalid_bytes_keep_their_places() {
        let file = SourceFile::new("f", b"ab\xff\xfec\xe2\x82".to_vec());
        assert_eq!(file.text(), "ab??c??");
        assert_eq!(file.invalid_utf8(), Some(2..3));
    }

    #[test]
    fn line_ranges_leave_out_line_ends_and_the_byte_order_mark() {
        let file = SourceFile::new("f", "\u{feff}ab\r\nc\n".as_bytes().to_vec());
        assert_eq!(
            [file.line_range(0), file.line_range(1), file.line_range(2)],
            [3..5, 7..8, 9..9]
        );
        assert_eq!(file.line_count(), 3);
    }
}
