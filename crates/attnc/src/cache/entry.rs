// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of one entry: a mark, the key, the kernel, and SHA-256 over all of it.
//!
//! In: a kernel. Out: bytes, and from exactly those bytes the same kernel. An entry under another key's name, cut off, prolonged or with a
//! bit turned anywhere is refused. The checksum is no signature: anybody can make bytes that pass.

use attnc_codegen_cpu::{Program, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::Key;

/// First bytes of an entry.
const MARK: [u8; 16] = *b"attnc kernel\0\0\0\x01";
/// Bytes before the kernel: mark and key.
const HEAD: usize = MARK.len() + 32;
/// Bytes of the checksum behind it.
const SUM: usize = 32;

/// A kernel before it is linked, with what the host must know of it.
#[derive(Clone)]
pub(crate) struct Artifact {
    /// Remarks of the compiler.
    pub(crate) notes: Vec<String>,
    /// Rows of a task.
    pub(crate) chunk: u64,
    /// The code.
    pub(crate) program: Program,
}

#[derive(Serialize, Deserialize)]
struct Remarks {
    notes: Vec<String>,
    chunk: u64,
}

/// Why bytes are no entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("it is cut off")]
    Short,
    #[error("it is not of this form")]
    Mark,
    #[error("its checksum is wrong")]
    Sum,
    #[error("it is the entry of another kernel")]
    Key,
    #[error("{0}")]
    Form(#[from] postcard::Error),
    #[error("{0}")]
    Program(#[from] StoreError),
}

/// The bytes of a kernel's entry.
pub(super) fn write(key: &Key, artifact: &Artifact) -> Result<Vec<u8>, StoreError> {
    let mut out = [&MARK[..], &key.0].concat();
    let remarks = Remarks {
        notes: artifact.notes.clone(),
        chunk: artifact.chunk,
    };
    out.extend(postcard::to_stdvec(&remarks)?);
    out.extend(artifact.program.to_bytes()?);
    let sum = Sha256::digest(&out);
    out.extend_from_slice(&sum);
    Ok(out)
}

/// The kernel of an entry.
pub(super) fn read(key: &Key, bytes: &[u8]) -> Result<Artifact, EntryError> {
    if bytes.len() < HEAD + SUM {
        return Err(EntryError::Short);
    }
    let (body, sum) = bytes.split_at(bytes.len() - SUM);
    if body[..MARK.len()] != MARK {
        return Err(EntryError::Mark);
    }
    if Sha256::digest(body)[..] != *sum {
        return Err(EntryError::Sum);
    }
    if body[MARK.len()..HEAD] != key.0 {
        return Err(EntryError::Key);
    }
    let (remarks, program) = postcard::take_from_bytes::<Remarks>(&body[HEAD..])?;
    Ok(Artifact {
        notes: remarks.notes,
        chunk: remarks.chunk,
        program: Program::from_bytes(program)?,
    })
}
