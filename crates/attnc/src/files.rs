// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files on disk for what `.attn` files `use`.
//!
//! In: paths. Out: bytes, and under which key a file is known, so that one file is read once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use attnc_spec::{LoadError, Loaded, Loader};
use attnc_syntax::MAX_FILE_BYTES;

/// Reads what files `use`, relative to the folder of the file; for text that stands in no file, relative to the working folder.
#[derive(Clone, Copy, Debug)]
pub struct DiskLoader;

impl Loader for DiskLoader {
    fn load(&mut self, from: &str, path: &str) -> Result<Loaded, LoadError> {
        if from.starts_with(':') {
            // The library uses nothing on disk.
            return Err(LoadError::NotFound);
        }
        // The key is the canonical path; links in the folder's own path are resolved, as the file's place on disk tells.
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        let mut loaded = read_file(&folder.join(path), MAX_FILE_BYTES)?;
        loaded.name = shown(Path::new(&loaded.key));
        Ok(loaded)
    }
}

/// Reads a file, at most one byte more than `limit`: enough to see that it has too many.
///
/// # Errors
/// [`LoadError`] where there is none or it cannot be read.
pub fn read_file(path: &Path, limit: usize) -> Result<Loaded, LoadError> {
    let meta = fs::metadata(path).map_err(|error| reason(&error))?;
    if meta.is_dir() {
        return Err(LoadError::Unreadable {
            reason: "it is a folder".to_owned(),
        });
    }
    let file = File::open(path).map_err(|error| reason(&error))?;
    let bytes = read_limited(file, limit).map_err(|error| reason(&error))?;
    // Files that have no canonical path (pipes) are known by the path given.
    let key = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    Ok(Loaded {
        key: key.display().to_string(),
        name: path.display().to_string(),
        bytes,
    })
}

/// Reads at most one byte more than `limit`.
///
/// # Errors
/// What the system says.
pub fn read_limited(input: impl io::Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a file could not be read, from what the system said.
pub fn reason(error: &io::Error) -> LoadError {
    match error.kind() {
        io::ErrorKind::NotFound => LoadError::NotFound,
        _ => LoadError::Unreadable {
            reason: error.to_string(),
        },
    }
}

/// The path as people would write it: relative to the working folder where it lies below that.
fn shown(path: &Path) -> String {
    let below = std::env::current_dir()
        .ok()
        .and_then(|here| fs::canonicalize(here).ok());
    let short = below.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    short
        .unwrap_or_else(|| path.to_owned())
        .display()
        .to_string()
}
