// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tensor files in the safetensors format, read by memory map.
//!
//! In: a path. Out: tensors by name, in their own storage type or cast; or a typed error that says what is wrong with the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use crate::elem::{Elem, Storage};
use crate::file_error::{FileError, explain, given_twice};
use crate::tensor::Tensor;

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

    /// Checks a file that is in memory already; `path` is what errors call it.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<TensorFile, FileError> {
        TensorFile::from_bytes(path, Bytes::Read(bytes))
    }

    fn from_bytes(path: &Path, bytes: Bytes) -> Result<TensorFile, FileError> {
        match SafeTensors::read_metadata(bytes.as_slice()) {
            Ok((n, metadata)) => {
                // The reader keeps the last of two entries and forgets the first.
                if let Some(name) = given_twice(&bytes.as_slice()[8..n + 8]) {
                    return Err(FileError::BadHeader {
                        path: path.to_path_buf(),
                        reason: format!("its header describes `{name}` twice"),
                    });
                }
                Ok(TensorFile {
                    path: path.to_path_buf(),
                    bytes,
                    metadata,
                    start: n + 8,
                })
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_write::write_safetensors;

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
        // Two entries of one name; entries that overlap, whose message does not depend on which is found first.
        let file = |header: &str, data: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            bytes.resize(bytes.len() + data, 0);
            try_bytes(&bytes).to_string()
        };
        let q = r#""q":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let twice = file(&format!("{{{q},{q}}}"), 4);
        assert!(twice.contains("describes `q` twice"), "{twice}");
        let k = q.replace("\"q\"", "\"k\"");
        let overlap = file(&format!("{{{q},{k}}}"), 4);
        assert!(overlap.contains("overlap, leave a gap"), "{overlap}");
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
