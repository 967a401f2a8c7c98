// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tensors of a run: generated from a seed or read from a file, always in the operator's dtype.
//!
//! In: a [`Signature`] and sizes with a seed, or a safetensors file. Out: [`Inputs`], or an [`InputError`] that names what is wrong. Sizes that cannot be had
//! are refused before anything is allocated.

use std::path::{Path, PathBuf};

use attnc_tensor::{FileError, Tensor, TensorError, TensorFile, normal_tensor};

use crate::memory;
use crate::signature::Signature;

/// q, k and v in the operator's dtype.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// `[B, N, H, D]`
    pub q: Tensor,
    /// `[B, N, H_kv, D]`
    pub k: Tensor,
    /// `[B, N, H_kv, D]`
    pub v: Tensor,
    /// B.
    pub batch: usize,
    /// N.
    pub seq_len: usize,
}

/// Why there are no inputs.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The tensors would not fit.
    #[error(
        "batch {batch} x sequence length {seq_len} needs {} for q, k, v, out and lse; {} are available",
        memory::readable(*.needed), memory::readable(*.available)
    )]
    TooLarge {
        /// B asked for.
        batch: u64,
        /// N asked for.
        seq_len: u64,
        /// Bytes of q, k, v, out and lse.
        needed: u128,
        /// Bytes that can be had.
        available: u128,
    },
    /// The file cannot be read as tensors.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tensor's shape is not what the operator takes.
    #[error("tensor `{tensor}` of {} has shape {found:?}; `{operator}` takes {want}", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: &'static str,
        /// The operator.
        operator: String,
        /// The shape it takes, with letters for what is free.
        want: String,
        /// The shape found.
        found: Vec<usize>,
    },
    /// The allocator refused.
    #[error(transparent)]
    Memory(#[from] TensorError),
    /// The system gives no threads to make or cast them with.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

/// Workers for filling tensors, one for each core. Rayon's own pool would panic where the system gives no threads.
fn workers() -> Result<rayon::ThreadPool, InputError> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| InputError::Threads {
            threads,
            reason: e.to_string(),
        })
}

fn check_size(s: &Signature, batch: u64, seq_len: u64) -> Result<(usize, usize), InputError> {
    let needed = s.bytes(batch, seq_len);
    let refuse = |available| InputError::TooLarge {
        batch,
        seq_len,
        needed,
        available,
    };
    memory::check(needed).map_err(refuse)?;
    // Empty tensors may have any extents; those beyond the address space are still refused.
    match (usize::try_from(batch), usize::try_from(seq_len)) {
        (Ok(b), Ok(n)) => Ok((b, n)),
        _ => Err(refuse(isize::MAX as u128)),
    }
}

impl Inputs {
    /// Whether tensors of these sizes can be had, asked before a long series of measurements.
    ///
    /// # Errors
    /// [`InputError::TooLarge`] if they cannot.
    pub fn check(s: &Signature, batch: u64, seq_len: u64) -> Result<(), InputError> {
        check_size(s, batch, seq_len).map(|_| ())
    }

    /// Standard-normal inputs: streams 0, 1 and 2 of `seed` for q, k and v, the same bits on every machine.
    ///
    /// # Errors
    /// [`InputError::TooLarge`] before anything is allocated.
    pub fn generate(
        s: &Signature,
        batch: u64,
        seq_len: u64,
        seed: u64,
    ) -> Result<Inputs, InputError> {
        let (batch, seq_len) = check_size(s, batch, seq_len)?;
        let keys = s.key_shape(batch, seq_len);
        workers()?.install(|| {
            Ok(Inputs {
                q: normal_tensor(s.dtype, &s.query_shape(batch, seq_len), seed, 0)?,
                k: normal_tensor(s.dtype, &keys, seed, 1)?,
                v: normal_tensor(s.dtype, &keys, seed, 2)?,
                batch,
                seq_len,
            })
        })
    }

    /// Reads `q`, `k` and `v` and casts them. Further tensors are ignored.
    ///
    /// # Errors
    /// Files that are no safetensors files or truncated, missing tensors, foreign dtypes, shapes that the operator does not take, sizes that do not fit.
    pub fn load(s: &Signature, path: &Path) -> Result<Inputs, InputError> {
        let file = TensorFile::open(path)?;
        let wrong = |tensor, want: String, found: &[usize]| InputError::WrongShape {
            path: path.to_path_buf(),
            tensor,
            operator: s.name.clone(),
            want,
            found: found.to_vec(),
        };
        let shape = file.shape("q")?;
        let (batch, seq_len) = match *shape {
            [b, n, h, d] if [h, d] == [s.heads as usize, s.head_dim as usize] => (b, n),
            _ => {
                let want = format!("[B, N, {}, {}]", s.heads, s.head_dim);
                return Err(wrong("q", want, shape));
            }
        };
        let keys = s.key_shape(batch, seq_len);
        for tensor in ["k", "v"] {
            let found = file.shape(tensor)?;
            if found != keys {
                return Err(wrong(tensor, format!("{keys:?}"), found));
            }
        }
        // Before memory is asked for, so that the message is about the cause.
        for tensor in ["q", "k", "v"] {
            file.storage(tensor)?;
        }
        check_size(s, batch as u64, seq_len as u64)?;
        workers()?.install(|| {
            Ok(Inputs {
                q: file.load_as("q", s.dtype)?,
                k: file.load_as("k", s.dtype)?,
                v: file.load_as("v", s.dtype)?,
                batch,
                seq_len,
            })
        })
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.batch == 0 || self.seq_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_tensor::{DType, Storage, write_safetensors};
    use std::fs::File;

    fn signature() -> Signature {
        Signature {
            name: "op".into(),
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            dtype: DType::Bf16,
            causal: false,
        }
    }

    #[test]
    fn generated_inputs_depend_on_the_seed_only() {
        let s = signature();
        let a = Inputs::generate(&s, 2, 5, 1).unwrap();
        assert_eq!(a, Inputs::generate(&s, 2, 5, 1).unwrap());
        assert_ne!(a.q, Inputs::generate(&s, 2, 5, 2).unwrap().q);
        assert_ne!(a.k, a.v);
        assert_eq!(a.q.shape(), [2, 5, 4, 8]);
        assert_eq!(a.v.shape(), [2, 5, 2, 8]);
        assert_eq!(a.q.storage(), Storage::Bf16);
        assert!(Inputs::generate(&s, 0, 5, 1).unwrap().is_empty());
        assert!(Inputs::generate(&s, 1, 0, 1).unwrap().is_empty());
    }

    #[test]
    fn impossible_sizes_are_refused_before_allocation() {
        for (b, n) in [
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
            (1 << 40, 1 << 20),
            (1, 1 << 45),
        ] {
            let e = Inputs::generate(&signature(), b, n, 0).unwrap_err();
            assert!(matches!(e, InputError::TooLarge { .. }), "{e}");
        }
    }

    #[test]
    fn wrong_shapes_name_the_tensor_and_what_the_operator_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let t = |shape: &[usize]| Tensor::zeros(Storage::F64, shape).unwrap();
        let write = |q: &[usize], k: &[usize], v: &[usize]| {
            let mut f = File::create(&path).unwrap();
            write_safetensors(&mut f, &[("q", &t(q)), ("k", &t(k)), ("v", &t(v))], &[]).unwrap();
            Inputs::load(&signature(), &path)
        };
        let good = write(&[1, 3, 4, 8], &[1, 3, 2, 8], &[1, 3, 2, 8]).unwrap();
        assert_eq!((good.batch, good.seq_len), (1, 3));
        assert_eq!(good.k.storage(), Storage::Bf16);
        for (q, k, v, message) in [
            ([1, 3, 2, 8], [1, 3, 2, 8], [1, 3, 2, 8], "`q` of"),
            (
                [1, 3, 4, 8],
                [1, 3, 4, 8],
                [1, 3, 2, 8],
                "takes [1, 3, 2, 8]",
            ),
            ([1, 3, 4, 8], [1, 3, 2, 8], [2, 3, 2, 8], "`v` of"),
            (
                [1, 3, 4, 7],
                [1, 3, 2, 7],
                [1, 3, 2, 7],
                "takes [B, N, 4, 8]",
            ),
        ] {
            let e = write(&q, &k, &v).unwrap_err();
            assert!(matches!(e, InputError::WrongShape { .. }));
            assert!(e.to_string().contains(message), "{e}");
        }
    }
}
