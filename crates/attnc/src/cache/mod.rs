// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compiled kernels kept on disk, so that a process need not compile what another has.
//!
//! In: a folder, and keys that say everything which decides a kernel ([`key`]). Out: programs ready to be linked. Entries are written
//! beside their place and renamed, so that a process that is killed leaves a whole entry or none; every byte is under a checksum, so that
//! damage is found ([`entry`]). The checksum guards against accidents only. Against people stands the file system: a cached kernel is
//! code that will run, so folder and entries must belong to this process's user and be writable by nobody else ([`folder`]).

pub(crate) mod entry;
mod folder;
pub(crate) mod key;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use attnc_codegen_cpu::StoreError;
use entry::Artifact;
use folder::Found;
use key::Key;

/// Bytes that a cache holds at most, unless told otherwise.
pub const DEFAULT_LIMIT: u64 = 256 << 20;

/// No entry is larger: what claims to be is damaged.
const MAX_ENTRY: u64 = 64 << 20;

/// How old an unfinished file is when nobody can still be writing it.
const ABANDONED: Duration = Duration::from_secs(3600);

/// An entry's time of last use is noted this coarsely, for a hit should not write.
const TOUCH_AFTER: Duration = Duration::from_secs(600);

/// Why the cache was not used, or an entry of it. Nothing of this keeps a kernel from being compiled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be trusted with code.
    #[error("{}: {what}; {instead}", path.display())]
    Untrusted {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        instead: String,
    },
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// An entry that is not what was written.
    #[error("{}: {what}; the kernel is compiled anew", path.display())]
    Corrupt {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A kernel that has no stored form.
    #[error("this kernel cannot be stored: {0}")]
    Store(#[from] StoreError),
}

impl CacheError {
    fn io(path: &Path) -> impl Fn(io::Error) -> CacheError {
        move |error| CacheError::Io {
            path: path.to_owned(),
            error: Arc::new(error),
        }
    }
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStat {
    /// Kernels.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A folder of compiled kernels. Any number of processes may use one at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

impl Cache {
    /// The cache in `folder`, which is made with mode 0700 when something is stored. A folder that is there must belong to this process's
    /// user and be closed to everybody else.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache {
            folder: folder.into(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// Bounds its size, in bytes; what was not used for longest goes first.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Cache {
        self.limit = bytes;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The largest size, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.limit
    }

    fn place(&self, key: &Key) -> PathBuf {
        self.folder.join(key.file_name())
    }

    /// The kernel of this key; none where there is none.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Artifact>, CacheError> {
        if folder::check(&self.folder)? == Found::Nothing {
            return Ok(None);
        }
        let place = self.place(key);
        let Some((mut file, meta)) = folder::open(&place)? else {
            return Ok(None);
        };
        let corrupt = |what: String| CacheError::Corrupt {
            path: place.clone(),
            what,
        };
        if meta.len() > MAX_ENTRY {
            self.remove(&place);
            return Err(corrupt("it is larger than any kernel".to_owned()));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        (&mut file)
            .take(MAX_ENTRY)
            .read_to_end(&mut bytes)
            .map_err(CacheError::io(&place))?;
        match entry::read(key, &bytes) {
            Ok(artifact) => {
                touch(&file, &meta);
                Ok(Some(artifact))
            }
            Err(what) => {
                self.remove(&place);
                Err(corrupt(what.to_string()))
            }
        }
    }

    /// Takes away an entry that passed its checks and cannot be linked all the same.
    pub(crate) fn reject(&self, key: &Key, what: String) -> CacheError {
        let path = self.place(key);
        self.remove(&path);
        CacheError::Corrupt { path, what }
    }

    /// Keeps a kernel, and makes room for it.
    pub(crate) fn put(&self, key: &Key, artifact: &Artifact) -> Result<(), CacheError> {
        folder::make(&self.folder)?;
        let bytes = entry::write(key, artifact)?;
        let place = self.place(key);
        let failed = CacheError::io(&place);
        // Readable and writable by the owner alone, as temporary files are.
        let mut file = tempfile::Builder::new()
            .prefix(folder::UNFINISHED)
            .tempfile_in(&self.folder)
            .map_err(&failed)?;
        file.write_all(&bytes).map_err(&failed)?;
        file.persist(&place).map_err(|e| failed(e.error))?;
        self.evict();
        Ok(())
    }

    /// Removes what was not used for longest until the rest is within three quarters of the limit, and unfinished files that nobody
    /// writes any more. Another process may do the same at once: what is gone is gone. A kernel in use is in memory and does not care.
    fn evict(&self) {
        let Ok(mut list) = folder::list(&self.folder) else {
            return;
        };
        let now = SystemTime::now();
        for file in list.iter().filter(|f| f.unfinished) {
            if now
                .duration_since(file.used)
                .is_ok_and(|age| age > ABANDONED)
            {
                self.remove(&file.path);
            }
        }
        list.retain(|f| !f.unfinished);
        let mut bytes: u64 = list.iter().map(|f| f.bytes).sum();
        if bytes <= self.limit {
            return;
        }
        list.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        for file in &list {
            if bytes <= self.limit / 4 * 3 {
                break;
            }
            self.remove(&file.path);
            bytes -= file.bytes;
        }
    }

    fn remove(&self, path: &Path) {
        // Whoever was faster has done the same.
        let _ = std::fs::remove_file(path);
    }

    /// Its size.
    ///
    /// # Errors
    /// A folder that cannot be trusted or read.
    pub fn stat(&self) -> Result<CacheStat, CacheError> {
        let list = self.entries()?;
        Ok(CacheStat {
            entries: list.len() as u64,
            bytes: list.iter().map(|f| f.bytes).sum(),
        })
    }

    /// Empties it. What stands in the folder and is not ours stays.
    ///
    /// # Errors
    /// A folder that cannot be trusted or changed.
    pub fn clear(&self) -> Result<CacheStat, CacheError> {
        let mut cleared = CacheStat::default();
        for file in self.all()? {
            match std::fs::remove_file(&file.path) {
                Ok(()) if !file.unfinished => {
                    cleared.entries += 1;
                    cleared.bytes += file.bytes;
                }
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CacheError::io(&file.path)(e)),
            }
        }
        Ok(cleared)
    }

    fn entries(&self) -> Result<Vec<folder::Listed>, CacheError> {
        let mut list = self.all()?;
        list.retain(|f| !f.unfinished);
        Ok(list)
    }

    fn all(&self) -> Result<Vec<folder::Listed>, CacheError> {
        match folder::check(&self.folder)? {
            Found::Nothing => Ok(Vec::new()),
            Found::Folder => folder::list(&self.folder),
        }
    }
}

/// Notes the use of an entry.
fn touch(file: &File, meta: &std::fs::Metadata) {
    let now = SystemTime::now();
    let old = meta
        .modified()
        .is_ok_and(|t| now.duration_since(t).is_ok_and(|age| age > TOUCH_AFTER));
    if old {
        // A cache that may only be read serves all the same.
        let _ = file.set_modified(now);
    }
}

#[cfg(all(test, unix))]
mod tests;
