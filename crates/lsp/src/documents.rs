// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The texts that an editor holds, and the loader that prefers them to those on disk.
//!
//! In: the protocol's notifications. Out: texts by URI, and files for `attnc_spec::inspect`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use attnc_spec::{LoadError, Loaded, Loader};
use lsp_types::{TextDocumentContentChangeEvent, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::position::{Encoding, Places};

/// What a path in a URI may not hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'\\');

/// A text that an editor holds.
#[derive(Debug)]
pub(crate) struct Document {
    /// As the editor calls it.
    pub(crate) uri: Uri,
    /// The number of its state.
    pub(crate) version: i32,
    /// The text.
    pub(crate) text: String,
}

impl Document {
    /// Applies changes in their order.
    pub(crate) fn change(
        &mut self,
        changes: Vec<TextDocumentContentChangeEvent>,
        encoding: Encoding,
    ) {
        for change in changes {
            match change.range {
                None => self.text = change.text,
                Some(range) => {
                    let places = Places::new(&self.text, encoding);
                    let (start, end) = (places.offset(range.start), places.offset(range.end));
                    self.text.replace_range(start..end.max(start), &change.text);
                }
            }
        }
    }
}

/// The key of a file by its path: the canonical one where it is on disk.
pub(crate) type Canonical<'a> = &'a dyn Fn(&Path) -> PathBuf;

/// Every text that the editor holds, by key.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// By key, so that answers come in a fixed order.
    pub(crate) open: BTreeMap<String, Document>,
}

/// The path of a `file:` URI.
pub(crate) fn path_of(uri: &Uri) -> Option<PathBuf> {
    let rest = uri.as_str().strip_prefix("file://")?;
    // An authority may stand before the path: the local machine.
    let path = &rest[rest.find('/')?..];
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8().ok()?;
    Some(PathBuf::from(path.into_owned()))
}

/// The URI of a path.
fn uri_of(path: &Path) -> Option<Uri> {
    let path = path.to_str()?;
    if !path.starts_with('/') {
        return None;
    }
    let escaped = utf8_percent_encode(path, ESCAPED);
    Uri::from_str(&format!("file://{escaped}")).ok()
}

impl Documents {
    /// The key of a URI: the canonical path of a file, else the URI itself.
    pub(crate) fn key(uri: &Uri, canonical: Canonical<'_>) -> String {
        match path_of(uri) {
            Some(path) => canonical(&path).display().to_string(),
            None => uri.as_str().to_owned(),
        }
    }

    /// The URI of a file: the editor's own where it holds the file; none for the built-in library.
    pub(crate) fn uri(&self, key: &str) -> Option<Uri> {
        match self.open.get(key) {
            Some(document) => Some(document.uri.clone()),
            None => uri_of(Path::new(key)),
        }
    }

    /// The document as a file to resolve.
    pub(crate) fn loaded(&self, key: &str) -> Option<Loaded> {
        let document = self.open.get(key)?;
        Some(Loaded {
            key: key.to_owned(),
            name: Path::new(key)
                .file_name()
                .map_or_else(|| key.to_owned(), |n| n.to_string_lossy().into_owned()),
            bytes: document.text.as_bytes().to_vec(),
        })
    }
}

/// Files as the editor sees them: its own texts before those on disk.
pub(crate) struct Overlay<'a> {
    /// The editor's texts.
    pub(crate) documents: &'a Documents,
    /// The disk.
    pub(crate) disk: &'a mut dyn Loader,
}

impl Loader for Overlay<'_> {
    fn load(&mut self, from: &str, path: &str) -> Result<Loaded, LoadError> {
        // A file that was never saved is known by its path alone.
        let beside = Path::new(from).with_file_name("").join(path);
        let beside = without_dots(&beside).display().to_string();
        if let Some(loaded) = self.documents.loaded(&beside) {
            return Ok(loaded);
        }
        if !from.starts_with('/') {
            // Only files have a folder.
            return Err(LoadError::NotFound);
        }
        let loaded = self.disk.load(from, path)?;
        Ok(self.documents.loaded(&loaded.key).unwrap_or(loaded))
    }
}

/// The path without `.` and `..`.
fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_uris_go_there_and_back() {
        for path in ["/a/b.attn", "/a b/c#d?.attn", "/é/𝔸%20.attn", "/[x]/{y}"] {
            let uri = uri_of(Path::new(path)).expect("a URI");
            assert_eq!(
                path_of(&uri).as_deref(),
                Some(Path::new(path)),
                "{}",
                uri.as_str()
            );
        }
        let of = |text: &str| path_of(&Uri::from_str(text).expect("a URI"));
        assert_eq!(of("file://localhost/a.attn"), Some("/a.attn".into()));
        assert_eq!(of("untitled:Untitled-1"), None);
        assert_eq!(of("file:///%FF"), None);
    }

    #[test]
    fn dots_are_taken_out_of_paths() {
        assert_eq!(without_dots(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(without_dots(Path::new("/../a")), Path::new("/a"));
    }
}
