// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the command line names: files and standard input.

use std::io;
use std::path::Path;

use attnc::files::{read_file, read_limited, reason};
use attnc_spec::{LoadError, Loaded};
use attnc_syntax::MAX_FILE_BYTES;

/// A file that was read, or its name and why it was not.
pub(crate) type Read = Result<Loaded, (String, LoadError)>;

/// The file named on the command line; `-` is standard input.
pub(crate) fn read_named(path: &Path) -> Read {
    read_up_to(path, MAX_FILE_BYTES)
}

/// [`read_named`] for text that may be longer than an `.attn` file.
pub(crate) fn read_up_to(path: &Path, limit: usize) -> Read {
    if path.as_os_str() == "-" {
        let bytes = read_limited(io::stdin().lock(), limit)
            .map_err(|error| ("<stdin>".to_owned(), reason(&error)))?;
        return Ok(Loaded {
            // No canonical path looks like it.
            key: "-".to_owned(),
            name: "<stdin>".to_owned(),
            bytes,
        });
    }
    read_file(path, limit).map_err(|error| (path.display().to_string(), error))
}
