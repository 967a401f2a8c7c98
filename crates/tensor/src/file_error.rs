// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be wrong with a tensor file, with the numbers that a user needs.
//!
//! In: the reader's error and the bytes. Out: a [`FileError`].

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::SafeTensorError;
use serde::Deserializer;
use serde::de::IgnoredAny;

use crate::tensor::TensorError;

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

/// Turns the reader's error into ours, with the numbers that a user needs.
pub(crate) fn explain(path: &Path, bytes: &[u8], error: SafeTensorError) -> FileError {
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
        // The reader names whichever its hash table holds first.
        SafeTensorError::InvalidOffset(_) => FileError::BadHeader {
            path,
            reason: "the tensors' data offsets overlap, leave a gap or run backwards".to_owned(),
        },
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

/// A name that the header's object has twice: the format forbids it, and readers disagree about which entry counts.
pub(crate) fn given_twice(header: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> serde::de::Visitor<'de> for &mut Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = HashSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if seen.contains(&name) {
                    self.0.get_or_insert(name);
                } else {
                    seen.insert(name);
                }
            }
            Ok(())
        }
    }
    let mut names = Names(None);
    // What is not JSON has been refused before.
    let _ = serde_json::Deserializer::from_slice(header).deserialize_map(&mut names);
    names.0
}
