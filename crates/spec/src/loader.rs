// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where files come from: the host's [`Loader`] and the built-in library.

use thiserror::Error;

/// A file's bytes and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Identity: two files with one key are one file and are read once. For files on disk the canonical path.
    pub key: String,
    /// The name that diagnostics show.
    pub name: String,
    /// The content; hosts need not read more than one byte beyond `attnc_syntax::MAX_FILE_BYTES`.
    pub bytes: Vec<u8>,
}

impl Loaded {
    /// A text that stands in no file: its name is its key.
    pub fn text(name: &str, text: &str) -> Loaded {
        Loaded {
            key: name.to_owned(),
            name: name.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }
}

/// Why a file could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// There is one, but it cannot be read.
    #[error("{reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
}

/// Finds the files that files `use`.
pub trait Loader {
    /// The file at `path`, relative to the file with the key `from`. Called for relative paths only, never for `std/...`.
    ///
    /// # Errors
    /// [`LoadError`] where there is no such file or it cannot be read.
    fn load(&mut self, from: &str, path: &str) -> Result<Loaded, LoadError>;
}

/// A loader without files: `std/...` alone can be used.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _from: &str, _path: &str) -> Result<Loaded, LoadError> {
        Err(LoadError::NotFound)
    }
}

/// The built-in library: path and text.
pub const STD_FILES: &[(&str, &str)] = &[
    (
        "std/dense.attn",
        include_str!("../../../dsl/std/dense.attn"),
    ),
    (
        "std/local.attn",
        include_str!("../../../dsl/std/local.attn"),
    ),
    (
        "std/longnet.attn",
        include_str!("../../../dsl/std/longnet.attn"),
    ),
    (
        "std/longvit.attn",
        include_str!("../../../dsl/std/longvit.attn"),
    ),
    (
        "std/slide.attn",
        include_str!("../../../dsl/std/slide.attn"),
    ),
];

/// The built-in file at `path` (`std/...`).
pub fn std_file(path: &str) -> Option<Loaded> {
    let (name, text) = STD_FILES.iter().find(|(name, _)| *name == path)?;
    // No path on disk is a key with a colon in front.
    Some(Loaded {
        key: format!(":{name}"),
        name: (*name).to_owned(),
        bytes: text.as_bytes().to_vec(),
    })
}
