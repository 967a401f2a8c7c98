// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that appear complete or not at all ([`attnc::writing`]), with the failures of the command; an interrupt removes what stands
//! beside and leaves the places as they were.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use attnc::writing::{self, WriteError};

use crate::failure::Failure;

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error.source.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Write(error),
        }
    }
}

/// On Ctrl-C: remove unfinished files and leave with the shell's code for an interrupt.
pub(crate) fn remove_unfinished_on_interrupt() {
    // Without a handler an interrupt still ends the process; only the temporary file would stay.
    let _ = ctrlc::set_handler(|| {
        writing::remove_unfinished();
        std::process::exit(130);
    });
}

/// Writes `bytes` to `path`.
///
/// # Errors
/// As for [`writing::write_with`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with(path, |file| file.write_all(bytes))
}

/// [`writing::write_with`].
///
/// # Errors
/// The same.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Failure> {
    Ok(writing::write_with(path, fill)?)
}

/// [`writing::check_writable`].
///
/// # Errors
/// The same.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    Ok(writing::check_writable(path)?)
}
