// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a folder and a file can be trusted with code.
//!
//! In: paths. Out: open files that belong to this process's user and that nobody else can write. Links are never followed, and what is
//! checked is the open file itself, so nobody can exchange it in between. On systems without owners there is no cache.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CacheError;
use super::key::FILE_ENDING;

/// How the names of files begin that are being written.
pub(super) const UNFINISHED: &str = ".attnc-";

/// What stands in a folder's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A folder that can be trusted.
    Folder,
    /// Nothing.
    Nothing,
}

/// A file of the cache.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When it was last used or written.
    pub(super) used: SystemTime,
    /// Whether it is still being written, or was when its writer was killed.
    pub(super) unfinished: bool,
}

fn untrusted(path: &Path, what: String, instead: String) -> CacheError {
    CacheError::Untrusted {
        path: path.to_owned(),
        what,
        instead,
    }
}

/// Whether the folder is there and can be trusted.
pub(super) fn check(folder: &Path) -> Result<Found, CacheError> {
    let meta = match fs::symlink_metadata(folder) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(CacheError::io(folder)(e)),
    };
    if !meta.is_dir() {
        let what = if meta.is_symlink() {
            "it is a link"
        } else {
            "it is no folder"
        };
        let instead = "name the folder itself (ATTNC_CACHE_DIR)".to_owned();
        return Err(untrusted(folder, what.to_owned(), instead));
    }
    owned(folder, &meta, 0o077, "700")?;
    Ok(Found::Folder)
}

/// Makes the folder where there is none.
pub(super) fn make(folder: &Path) -> Result<(), CacheError> {
    if check(folder)? == Found::Folder {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(CacheError::io(folder))?;
    // Another process may have made it at the same time, or somebody else.
    match check(folder)? {
        Found::Folder => Ok(()),
        Found::Nothing => Err(CacheError::io(folder)(io::ErrorKind::NotFound.into())),
    }
}

/// Opens an entry that can be trusted; none where there is none.
pub(super) fn open(path: &Path) -> Result<Option<(File, Metadata)>, CacheError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A link is refused, and a pipe does not keep us waiting for its writer.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(CacheError::io(path)(e)),
    };
    let meta = file.metadata().map_err(CacheError::io(path))?;
    if !meta.is_file() {
        let instead = "remove it".to_owned();
        return Err(untrusted(path, "it is no regular file".to_owned(), instead));
    }
    owned(path, &meta, 0o022, "600")?;
    Ok(Some((file, meta)))
}

/// Checks that `meta` belongs to this process's user and has none of the bits in `forbidden`.
#[cfg(unix)]
fn owned(path: &Path, meta: &Metadata, forbidden: u32, mode: &str) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        let what = format!("it belongs to user {}, not to {me}", meta.uid());
        let instead = "cached kernels are code; name a folder of your own (ATTNC_CACHE_DIR)";
        return Err(untrusted(path, what, instead.to_owned()));
    }
    if meta.mode() & forbidden != 0 {
        let what = format!("it is open to others (mode {:o})", meta.mode() & 0o7777);
        let instead = format!("cached kernels are code; chmod {mode} it");
        return Err(untrusted(path, what, instead));
    }
    Ok(())
}

#[cfg(not(unix))]
fn owned(path: &Path, _: &Metadata, _: u32, _: &str) -> Result<(), CacheError> {
    let what = "this system does not tell who owns it".to_owned();
    Err(untrusted(path, what, "go without a cache".to_owned()))
}

/// The cache's files in a folder; others are not ours.
pub(super) fn list(folder: &Path) -> Result<Vec<Listed>, CacheError> {
    let failed = CacheError::io(folder);
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let unfinished = name.starts_with(UNFINISHED);
        if !unfinished && !name.ends_with(FILE_ENDING) {
            continue;
        }
        // What another process has just removed is not there.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() {
            out.push(Listed {
                path: entry.path(),
                bytes: meta.len(),
                used: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                unfinished,
            });
        }
    }
    Ok(out)
}
