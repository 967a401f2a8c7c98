// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output files that appear whole or not at all.
//!
//! In: a path and a function that writes. Out: the file, written beside its place and renamed, or an error and the old state.
//! Files that exist and are not regular (devices, pipes) are written directly. A program that is interrupted calls [`remove_unfinished`].

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The path names a folder.
    #[error("cannot write {path}: it is a folder")]
    IsFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The path as given.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl WriteError {
    /// Whether the reader of a pipe went away, which is no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        match self {
            WriteError::IsFolder { .. } => false,
            WriteError::Io { source, .. } => source.kind() == io::ErrorKind::BrokenPipe,
        }
    }
}

/// Temporary files that exist just now.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files of writes in progress. For an interrupt handler that is about to end the process.
pub fn remove_unfinished() {
    for path in unfinished().iter() {
        // Nothing can be done about a failure here, and the process ends anyway.
        let _ = fs::remove_file(path);
    }
}

/// Lets `write` fill the file at `path`: beside it, then renamed, or directly where `path` is a device or pipe.
///
/// An existing file keeps its permissions; a symbolic link is followed and stays. Writes are buffered.
pub fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let io = |source| WriteError::Io {
        path: path.to_path_buf(),
        source,
    };
    let existing = match fs::metadata(path) {
        Ok(m) if m.is_dir() => {
            return Err(WriteError::IsFolder {
                path: path.to_path_buf(),
            });
        }
        Ok(m) if !m.is_file() => {
            let file = OpenOptions::new().write(true).open(path).map_err(io)?;
            return run(file, write).map(drop).map_err(io);
        }
        Ok(m) => Some(m),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(io(e)),
    };
    let target = followed(path).map_err(io)?;
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) | None => Path::new("."),
    };
    let temp = beside(folder).map_err(io)?;
    let guard = Registered::new(temp.path());
    if let Some(m) = existing {
        fs::set_permissions(temp.path(), m.permissions()).map_err(io)?;
    }
    let handle = temp.as_file().try_clone().map_err(io)?;
    run(handle, write).map_err(io)?;
    temp.persist(&target).map_err(|e| io(e.error))?;
    drop(guard);
    Ok(())
}

fn run(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, file);
    write(&mut out)?;
    out.flush()
}

/// The file that a symbolic link leads to, one step; existing chains end in `canonicalize`.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink());
    if !is_link {
        return Ok(path.to_path_buf());
    }
    if let Ok(full) = fs::canonicalize(path) {
        return Ok(full);
    }
    let to = fs::read_link(path)?;
    Ok(path.parent().unwrap_or(Path::new("")).join(to))
}

fn beside(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".attnc-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: 0666 less the umask.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Keeps a path in the list of unfinished files for as long as it lives.
struct Registered(PathBuf);

impl Registered {
    fn new(path: &Path) -> Registered {
        unfinished().insert(path.to_path_buf());
        Registered(path.to_path_buf())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_writes_leave_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_file(&path, |w| w.write_all(b"old")).unwrap();
        let e = write_file(&path, |w| {
            w.write_all(b"new")?;
            Err(io::Error::other("stop"))
        });
        assert!(matches!(e, Err(WriteError::Io { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(
            write_file(dir.path(), |_| Ok(())),
            Err(WriteError::IsFolder { .. })
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_devices_are_reported() {
        let e = write_file(Path::new("/dev/full"), |w| w.write_all(b"x")).unwrap_err();
        assert!(e.to_string().contains("/dev/full"), "{e}");
        assert!(!e.is_closed_pipe());
        write_file(Path::new("/dev/null"), |w| w.write_all(b"x")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_file(&link, |w| w.write_all(b"1")).unwrap();
        write_file(&link, |w| w.write_all(b"2")).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"2");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn an_interrupt_removes_what_is_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let e = write_file(&path, |w| {
            w.write_all(b"half")?;
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            remove_unfinished();
            Ok(())
        });
        // The file is gone, so it cannot be renamed into place.
        assert!(e.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
