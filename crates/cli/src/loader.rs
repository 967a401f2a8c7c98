// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files on disk and standard input, for `attnc_spec::resolve`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use attnc_spec::{LoadError, Loaded, Loader};
use attnc_syntax::MAX_FILE_BYTES;

/// The key of standard input; no canonical path looks like it.
const STDIN: &str = "-";

/// Reads what files `use` relative to the folder of the file; from standard input, to the working folder.
pub(crate) struct DiskLoader;

impl Loader for DiskLoader {
    fn load(&mut self, from: &str, path: &str) -> Result<Loaded, LoadError> {
        if from.starts_with(':') {
            // The library uses nothing on disk.
            return Err(LoadError::NotFound);
        }
        // The key is the canonical path; links in the folder's own path are resolved, as the file's place on disk tells.
        let folder = if from == STDIN {
            Path::new("")
        } else {
            Path::new(from).parent().unwrap_or(Path::new(""))
        };
        let place = folder.join(path);
        let mut loaded = read_file(&place, MAX_FILE_BYTES)?;
        loaded.name = shown(Path::new(&loaded.key));
        Ok(loaded)
    }
}

/// A file that was read, or its name and why it was not.
pub(crate) type Read = Result<Loaded, (String, LoadError)>;

/// The file named on the command line; `-` is standard input.
pub(crate) fn read_named(path: &Path) -> Read {
    read_up_to(path, MAX_FILE_BYTES)
}

/// [`read_named`] for text that may be longer than an `.attn` file.
pub(crate) fn read_up_to(path: &Path, limit: usize) -> Read {
    let name = path.display().to_string();
    if path.as_os_str() == "-" {
        let bytes = read_limited(io::stdin().lock(), limit)
            .map_err(|error| ("<stdin>".to_owned(), reason(&error)))?;
        return Ok(Loaded {
            key: STDIN.to_owned(),
            name: "<stdin>".to_owned(),
            bytes,
        });
    }
    read_file(path, limit).map_err(|error| (name, error))
}

fn read_file(path: &Path, limit: usize) -> Result<Loaded, LoadError> {
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

/// At most one byte more than a file may have: enough to see that it has too many.
pub(crate) fn read_limited(input: impl io::Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn reason(error: &io::Error) -> LoadError {
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
