// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that appear complete or not at all.
//!
//! A regular or new file is written beside its place and renamed; devices, pipes and the like are written directly. An interrupt
//! removes what stands beside and leaves the place as it was.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::failure::Failure;

/// Temporary files that exist right now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// On Ctrl-C: remove unfinished files and leave with the shell's code for an interrupt.
pub(crate) fn remove_unfinished_on_interrupt() {
    // Without a handler an interrupt still ends the process; only the temporary file would stay.
    let _ = ctrlc::set_handler(|| {
        if let Ok(list) = UNFINISHED.lock() {
            for path in list.iter() {
                let _ = fs::remove_file(path);
            }
        }
        std::process::exit(130);
    });
}

/// Writes `bytes` to `path`: see [`write_with`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with(path, |file| file.write_all(bytes))
}

/// Calls `fill` with a file that becomes `path` if all goes well. Links are followed to what they stand for, permissions of
/// an existing file are kept.
///
/// # Errors
/// [`Failure::Write`] with what the system said; `path` is then as it was before.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Failure> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Write {
            path: path.to_owned(),
            source,
        },
    };
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(fail(io::Error::from(io::ErrorKind::IsADirectory))),
        Ok(meta) if !meta.is_file() => {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .map_err(fail)?;
            fill(&mut file).and_then(|()| file.flush()).map_err(fail)
        }
        Ok(meta) => {
            let place = fs::canonicalize(path).map_err(fail)?;
            // A file that must not be written stays as it is, although its folder would allow to replace it.
            fs::OpenOptions::new()
                .write(true)
                .open(&place)
                .map_err(fail)?;
            beside(&place, Some(meta.permissions()), fill).map_err(fail)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            beside(&link_target(path), None, fill).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Whether [`write_with`] is going to be allowed, asked before long work. Leaves nothing behind and changes nothing.
///
/// # Errors
/// [`Failure::Write`] with what the system said.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    let answer = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        // Opening a pipe would wait for its reader; a device says so when it is written.
        Ok(meta) if !meta.is_file() => Ok(()),
        Ok(_) => fs::OpenOptions::new().write(true).open(path).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let place = link_target(path);
            let folder = place.parent().filter(|p| !p.as_os_str().is_empty());
            tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
                .map(|_| ())
                .map_err(without_path)
        }
        Err(error) => Err(error),
    };
    answer.map_err(|source| Failure::Write {
        path: path.to_owned(),
        source,
    })
}

/// Where a dangling link points: the file to create is the one it names.
fn link_target(path: &Path) -> PathBuf {
    match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

/// The error without the name of a temporary file, which is nobody's business and differs from run to run.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((what, _)) => io::Error::new(error.kind(), what.to_owned()),
        None => error,
    }
}

fn beside(
    path: &Path,
    permissions: Option<fs::Permissions>,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".attnc-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's mask takes away what new files must not have.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = {
        // Held while the file comes into being, so that an interrupt finds it in the list.
        let mut list = UNFINISHED
            .lock()
            .map_err(|_| io::Error::other("interrupted"))?;
        let file = builder.tempfile_in(folder).map_err(without_path)?;
        list.push(file.path().to_owned());
        file
    };
    let temporary = file.path().to_owned();
    let result = fill(file.as_file_mut())
        .and_then(|()| file.as_file_mut().sync_data())
        .and_then(|()| {
            if let Some(permissions) = permissions {
                file.as_file().set_permissions(permissions)?;
            }
            file.persist(path).map(|_| ()).map_err(|error| error.error)
        });
    if let Ok(mut list) = UNFINISHED.lock() {
        list.retain(|other| *other != temporary);
    }
    result
}
