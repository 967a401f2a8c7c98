// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tensor files in the safetensors format: reading by memory map, writing in one stream.
//!
//! In: a path. Out: tensors by name, in their own storage type or cast; or a typed error that says what is wrong with the file.
//! Written files have the same bytes for the same tensors: names in the order given, the header padded with blanks to 8 bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};

use crate::elem::{Elem, Storage};
use crate::tensor::{Tensor, TensorError};

/// Why a tensor file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused to open or read it.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file ends before what its header announces.
    #[error("{path} is truncated: it has {found} bytes, its header announces {expected}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes announced, header included.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// There is more than the header announces.
    #[error("{path} has {found} bytes, {expected} are announced by its header: trailing data")]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes announced, header included.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The header's length field is beyond the format's limit of 100 MB: most likely no safetensors file.
    #[error("{path} is not a safetensors file: its header would be {bytes} bytes long")]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// The length field.
        bytes: u64,
    },
    /// The header is not what the format demands.
    #[error("{path} is not a valid safetensors file: {reason}")]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No tensor of that name.
    #[error("{path} has no tensor `{name}` (it has: {})", list(.have))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name looked for.
        name: String,
        /// The names there are, sorted.
        have: Vec<String>,
    },
    /// The tensor's elements are of a type that is not read here.
    #[error("tensor `{name}` of {path} has dtype {found}; F32, BF16, F16 and F64 are accepted")]
    WrongDType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its dtype as the file names it.
        found: String,
    },
    /// No memory for the tensor.
    #[error("tensor `{name}` of {path}: {source}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What could not be had.
        source: TensorError,
    },
}

fn list(names: &[String]) -> String {
    const MOST: usize = 12;
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST {
        text.push_str(", ...");
    }
    text
}

/// Where the bytes of an open file are.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(m) => m,
            Bytes::Read(v) => v,
        }
    }
}

/// An open tensor file, its header checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    metadata: Metadata,
    /// Where the tensor data starts.
    start: usize,
}

impl TensorFile {
    /// Opens and checks a file. Regular files are memory-mapped; pipes and devices are read to their end.
    pub fn open(path: &Path) -> Result<TensorFile, FileError> {
        let io = |source| FileError::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let bytes = if meta.is_file() && meta.len() > 0 {
            Bytes::Mapped(map(&file).map_err(io)?)
        } else {
            let mut all = Vec::new();
            file.read_to_end(&mut all).map_err(io)?;
            Bytes::Read(all)
        };
        TensorFile::from_bytes(path, bytes)
    }

    fn from_bytes(path: &Path, bytes: Bytes) -> Result<TensorFile, FileError> {
        match SafeTensors::read_metadata(bytes.as_slice()) {
            Ok((n, metadata)) => Ok(TensorFile {
                path: path.to_path_buf(),
                bytes,
                metadata,
                start: n + 8,
            }),
            Err(e) => Err(explain(path, bytes.as_slice(), e)),
        }
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names
    }

    /// The file's own `__metadata__` entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata
            .metadata()
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], FileError> {
        Ok(&self.info(name)?.shape)
    }

    /// Storage type of a tensor.
    pub fn storage(&self, name: &str) -> Result<Storage, FileError> {
        match self.info(name)?.dtype {
            Dtype::F32 => Ok(Storage::F32),
            Dtype::BF16 => Ok(Storage::Bf16),
            Dtype::F16 => Ok(Storage::F16),
            Dtype::F64 => Ok(Storage::F64),
            // The format's list grows; whatever else it holds is no input of ours.
            other => Err(FileError::WrongDType {
                path: self.path.clone(),
                name: name.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// A tensor in the storage type of the file.
    pub fn load(&self, name: &str) -> Result<Tensor, FileError> {
        let storage = self.storage(name)?;
        self.load_as(name, storage)
    }

    /// A tensor cast to `storage`: nearest, ties to even, overflow to infinity.
    pub fn load_as(&self, name: &str, storage: impl Into<Storage>) -> Result<Tensor, FileError> {
        let from = self.storage(name)?;
        let info = self.info(name)?;
        // `read_metadata` has checked that offsets lie in the file and fit dtype and shape.
        let (begin, end) = info.data_offsets;
        let bytes = &self.bytes.as_slice()[self.start + begin..self.start + end];
        let mut out =
            Tensor::zeros(storage, &info.shape).map_err(|source| FileError::TooLarge {
                path: self.path.clone(),
                name: name.to_owned(),
                source,
            })?;
        match from {
            Storage::F32 => convert::<f32>(bytes, &mut out),
            Storage::Bf16 => convert::<bf16>(bytes, &mut out),
            Storage::F16 => convert::<f16>(bytes, &mut out),
            Storage::F64 => convert::<f64>(bytes, &mut out),
        }
        Ok(out)
    }

    fn info(&self, name: &str) -> Result<&safetensors::tensor::TensorInfo, FileError> {
        self.metadata.info(name).ok_or_else(|| FileError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            have: self.names(),
        })
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is sound as long as nobody shortens or changes the file while it is read; that is the usual contract of every program that maps
    // its input, and the bytes are only ever interpreted as plain numbers, for which every bit pattern is valid.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(file)
    }
}

/// Reads little-endian elements of type `A` into whatever `out` stores.
fn convert<A: Elem>(bytes: &[u8], out: &mut Tensor) {
    fn fill<A: Elem, B: Elem>(bytes: &[u8], out: &mut [B]) {
        const CHUNK: usize = 1 << 14;
        let size = A::STORAGE.bytes();
        out.par_chunks_mut(CHUNK)
            .zip(bytes.par_chunks(CHUNK * size))
            .for_each(|(to, from)| {
                for (t, f) in to.iter_mut().zip(from.chunks_exact(size)) {
                    let a = A::from_le(f);
                    // Bits survive, payloads of NaNs included, where no conversion is needed.
                    *t = if A::STORAGE == B::STORAGE {
                        bytemuck::cast(a)
                    } else {
                        B::from_f64(a.to_f64())
                    };
                }
            });
    }
    if let Some(v) = out.as_mut_slice::<f32>() {
        fill::<A, f32>(bytes, v);
    } else if let Some(v) = out.as_mut_slice::<bf16>() {
        fill::<A, bf16>(bytes, v);
    } else if let Some(v) = out.as_mut_slice::<f16>() {
        fill::<A, f16>(bytes, v);
    } else if let Some(v) = out.as_mut_slice::<f64>() {
        fill::<A, f64>(bytes, v);
    }
}

/// Turns the reader's error into ours, with the numbers that a user needs.
fn explain(path: &Path, bytes: &[u8], error: SafeTensorError) -> FileError {
    let path = path.to_path_buf();
    let found = bytes.len() as u64;
    let Some(field) = bytes.get(..8) else {
        return FileError::Truncated {
            path,
            expected: 8,
            found,
        };
    };
    let header = u64::from_le_bytes([
        field[0], field[1], field[2], field[3], field[4], field[5], field[6], field[7],
    ]);
    match error {
        SafeTensorError::HeaderTooLarge => FileError::HeaderTooLarge {
            path,
            bytes: header,
        },
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            FileError::Truncated {
                path,
                expected: header.saturating_add(8),
                found,
            }
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let expected = announced(bytes, header).unwrap_or(found);
            if expected > found {
                FileError::Truncated {
                    path,
                    expected,
                    found,
                }
            } else {
                FileError::Trailing {
                    path,
                    expected,
                    found,
                }
            }
        }
        other => FileError::BadHeader {
            path,
            reason: other.to_string(),
        },
    }
}

/// File size that a well-formed header announces: the largest end offset, after the header.
fn announced(bytes: &[u8], header: u64) -> Option<u64> {
    let start = 8 + usize::try_from(header).ok()?;
    let json: serde_json::Value = serde_json::from_slice(bytes.get(8..start)?).ok()?;
    let end = json
        .as_object()?
        .values()
        .filter_map(|v| v.get("data_offsets")?.get(1)?.as_u64())
        .max()
        .unwrap_or(0);
    end.checked_add(start as u64)
}

/// Writes a file of tensors in the order given. `metadata` becomes the header's `__metadata__`. Tensors are written whole, so `out` needs no buffer.
///
/// # Errors
/// What `out` says.
pub fn write_safetensors(
    out: &mut dyn Write,
    tensors: &[(&str, &Tensor)],
    metadata: &[(&str, &str)],
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|&(k, v)| (k.to_owned(), v.into()));
        header.insert(
            "__metadata__".to_owned(),
            serde_json::Value::Object(entries.collect()),
        );
    }
    let mut at = 0usize;
    for (name, t) in tensors {
        let end = at + t.bytes().len();
        header.insert(
            (*name).to_owned(),
            serde_json::json!({
                "dtype": file_dtype(t.storage()), "shape": t.shape(), "data_offsets": [at, end],
            }),
        );
        at = end;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    // Tensor data starts at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(&text)?;
    tensors.iter().try_for_each(|(_, t)| write_elements(out, t))
}

fn write_elements(out: &mut dyn Write, t: &Tensor) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(t.bytes());
    }
    t.bytes()
        .chunks_exact(t.storage().bytes())
        .try_for_each(|e| {
            let mut e = e.to_vec();
            e.reverse();
            out.write_all(&e)
        })
}

fn file_dtype(storage: Storage) -> &'static str {
    match storage {
        Storage::F32 => "F32",
        Storage::Bf16 => "BF16",
        Storage::F16 => "F16",
        Storage::F64 => "F64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(dir: &Path) -> PathBuf {
        let path = dir.join("a.safetensors");
        let q = Tensor::from_vec(vec![1f32, -2.5, 65520.0, f32::NAN], &[1, 4, 1, 1]).unwrap();
        let k = Tensor::from_vec(vec![1.0 + 2f64.powi(-30), 3.0], &[2]).unwrap();
        let mut file = File::create(&path).unwrap();
        write_safetensors(&mut file, &[("q", &q), ("k", &k)], &[("config", "{}")]).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let f = TensorFile::open(&path).unwrap();
        assert_eq!(f.names(), ["k", "q"]);
        assert_eq!(f.metadata("config"), Some("{}"));
        assert_eq!(f.shape("q").unwrap(), [1, 4, 1, 1]);
        assert_eq!(f.load("k").unwrap().get(0), 1.0 + 2f64.powi(-30));
        let q = f.load_as("q", Storage::F16).unwrap();
        assert_eq!(q.get(1), -2.5);
        assert_eq!(q.get(2), f64::INFINITY);
        assert!(q.get(3).is_nan());
        // The same tensors give the same bytes.
        let first = std::fs::read(&path).unwrap();
        sample(dir.path());
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(first.len() % 8, 0);
    }

    #[test]
    fn damaged_files_are_named_by_their_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let good = std::fs::read(&path).unwrap();
        let try_bytes = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            TensorFile::open(&path).unwrap_err()
        };
        for cut in [0, 7, 8, 20, good.len() - 1] {
            let e = try_bytes(&good[..cut]);
            assert!(matches!(e, FileError::Truncated { .. }), "{cut}: {e}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(matches!(try_bytes(&long), FileError::Trailing { .. }));
        assert!(matches!(
            try_bytes(&[0xff; 64]),
            FileError::HeaderTooLarge { .. }
        ));
        let mut bad = good.clone();
        bad[8] = b'[';
        assert!(matches!(try_bytes(&bad), FileError::BadHeader { .. }));
        // A shape whose product overflows.
        let header =
            br#"{"q":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#;
        let mut bad = (header.len() as u64).to_le_bytes().to_vec();
        bad.extend_from_slice(header);
        assert!(matches!(try_bytes(&bad), FileError::BadHeader { .. }));
        let missing = TensorFile::open(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, FileError::Io { .. }));
    }

    #[test]
    fn missing_tensors_and_foreign_dtypes_are_errors_of_the_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.safetensors");
        let header = br#"{"n":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 8]);
        std::fs::write(&path, bytes).unwrap();
        let f = TensorFile::open(&path).unwrap();
        assert!(matches!(f.load("n"), Err(FileError::WrongDType { .. })));
        let e = f.load("q").unwrap_err();
        assert!(e.to_string().contains("no tensor `q` (it has: n)"), "{e}");
    }

    #[test]
    fn empty_tensors_pass_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.safetensors");
        let t = Tensor::zeros(Storage::Bf16, &[1, 0, 4, 8]).unwrap();
        write_safetensors(&mut File::create(&path).unwrap(), &[("out", &t)], &[]).unwrap();
        let back = TensorFile::open(&path).unwrap().load("out").unwrap();
        assert_eq!(back, t);
    }
}
