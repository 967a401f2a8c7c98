// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that appear complete or not at all.
//!
//! A regular or new file is written beside its place and renamed; devices, pipes and the like are written directly. Several files that
//! belong together are all written beside their places before the first one is renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::NamedTempFile;

/// Temporary files that exist right now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that could not be written. What stood at `path` before stands there still.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl WriteError {
    fn at(path: &Path) -> impl Fn(io::Error) -> WriteError + use<> {
        let path = path.to_owned();
        move |source| WriteError {
            path: path.clone(),
            source,
        }
    }
}

/// Removes the temporary files that exist right now, in all threads: for a handler of interrupts, before it ends the process.
pub fn remove_unfinished() {
    if let Ok(list) = UNFINISHED.lock() {
        for path in list.iter() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Calls `fill` with a file that becomes `path` if all goes well. Links are followed to what they stand for, permissions of
/// an existing file are kept.
///
/// # Errors
/// What the system said; `path` is then as it was before.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), WriteError> {
    let fail = WriteError::at(path);
    let made = match destination(path).map_err(&fail)? {
        Destination::Device => return direct(path, fill).map_err(fail),
        Destination::File(place) => beside(&place, fill),
    };
    made.and_then(Beside::put).map_err(fail)
}

/// Writes files that belong together: where one of them cannot be written, none is.
///
/// # Errors
/// The first file that could not be written, and what the system said.
pub fn write_all<'a>(
    files: impl IntoIterator<Item = (PathBuf, &'a [u8])>,
) -> Result<(), WriteError> {
    let mut all = Vec::new();
    let mut devices = Vec::new();
    for (path, bytes) in files {
        let fail = WriteError::at(&path);
        match destination(&path).map_err(&fail)? {
            Destination::Device => devices.push((path, bytes)),
            Destination::File(place) => {
                let made = beside(&place, |file| file.write_all(bytes)).map_err(&fail)?;
                all.push((path, made));
            }
        }
    }
    for (path, bytes) in devices {
        direct(&path, |file| file.write_all(bytes)).map_err(WriteError::at(&path))?;
    }
    // What can fail has been done: there is room, and every place takes a file.
    for (path, made) in all {
        made.put().map_err(WriteError::at(&path))?;
    }
    Ok(())
}

/// Whether files are going to be allowed in `folder`, asked before long work. A folder that is not there is no failure: see
/// [`make_folder`].
///
/// # Errors
/// What the system said.
pub fn check_folder(folder: &Path) -> Result<(), WriteError> {
    let answer = match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => probe(folder),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is no folder",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    answer.map_err(WriteError::at(folder))
}

/// Makes `folder` and those it stands in, where they are not there.
///
/// # Errors
/// What the system said.
pub fn make_folder(folder: &Path) -> Result<(), WriteError> {
    check_folder(folder)?;
    fs::create_dir_all(folder).map_err(WriteError::at(folder))
}

/// Whether [`write_with`] is going to be allowed, asked before long work. Leaves nothing behind and changes nothing.
///
/// # Errors
/// What the system said.
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    let answer = match destination(path) {
        // Opening a pipe would wait for its reader; a device says so when it is written.
        Ok(Destination::Device) => Ok(()),
        Ok(Destination::File(place)) => probe(folder(&place.path)),
        Err(error) => Err(error),
    };
    answer.map_err(WriteError::at(path))
}

/// Whether a file can be made in a folder.
fn probe(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)
        .map(|_| ())
        .map_err(without_path)
}

/// The error without the name of a temporary file, which is nobody's business and differs from run to run.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((what, _)) => io::Error::new(error.kind(), what.to_owned()),
        None => error,
    }
}

/// The folder that a file stands in.
fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What stands at a path.
enum Destination {
    /// Nothing yet, or a regular file.
    File(Place),
    /// Something that is written where it is.
    Device,
}

/// Where a file is to be, and the permissions it is to keep.
struct Place {
    path: PathBuf,
    permissions: Option<fs::Permissions>,
}

fn destination(path: &Path) -> io::Result<Destination> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(meta) if !meta.is_file() => Ok(Destination::Device),
        Ok(meta) => {
            let place = fs::canonicalize(path)?;
            // A file that must not be written stays as it is, although its folder would allow to replace it.
            fs::OpenOptions::new().write(true).open(&place)?;
            Ok(Destination::File(Place {
                path: place,
                permissions: Some(meta.permissions()),
            }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Destination::File(Place {
            path: link_target(path),
            permissions: None,
        })),
        Err(error) => Err(error),
    }
}

/// Where a dangling link points: the file to create is the one it names.
fn link_target(path: &Path) -> PathBuf {
    match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

fn direct(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    fill(&mut file).and_then(|()| file.flush())
}

/// A complete file beside its place. It is removed if it is not put there.
struct Beside {
    file: Option<NamedTempFile>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Beside {
    fn put(mut self) -> io::Result<()> {
        match self.file.take() {
            Some(file) => file
                .persist(&self.path)
                .map(|_| ())
                .map_err(|error| error.error),
            None => Ok(()),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.file.take());
        if let Ok(mut list) = UNFINISHED.lock() {
            list.retain(|other| *other != self.temporary);
        }
    }
}

fn beside(place: &Place, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Beside> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".attnc-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's mask takes away what new files must not have.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let file = {
        // Held while the file comes into being, so that an interrupt finds it in the list.
        let mut list = UNFINISHED
            .lock()
            .map_err(|_| io::Error::other("interrupted"))?;
        let file = builder
            .tempfile_in(folder(&place.path))
            .map_err(without_path)?;
        list.push(file.path().to_owned());
        file
    };
    let mut made = Beside {
        temporary: file.path().to_owned(),
        file: Some(file),
        path: place.path.clone(),
    };
    if let Some(file) = &mut made.file {
        fill(file.as_file_mut())?;
        file.as_file_mut().sync_data()?;
        if let Some(permissions) = &place.permissions {
            file.as_file().set_permissions(permissions.clone())?;
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_files_that_belong_together_all_are_written_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old"), "before").expect("can be written");
        fs::create_dir(at("taken")).expect("can be made");
        for bad in [at("taken"), at("missing/file"), PathBuf::from("/dev/full")] {
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                let paths = [at("new"), at("old"), bad.clone()];
                let files = order.map(|i| (paths[i].clone(), &b"after"[..]));
                let error = write_all(files).expect_err("one cannot be written");
                assert_eq!(error.path, bad);
                assert_eq!(names(folder.path()), ["old", "taken"], "{}", bad.display());
                assert_eq!(fs::read(at("old")).expect("is there"), b"before");
            }
        }
        let files = ["new", "old"].map(|name| (at(name), name.as_bytes()));
        write_all(files).expect("both can be written");
        assert_eq!(names(folder.path()), ["new", "old", "taken"]);
        for name in ["new", "old"] {
            assert_eq!(fs::read(at(name)).expect("is there"), name.as_bytes());
        }
        assert!(UNFINISHED.lock().expect("no panic").is_empty());
    }
}
