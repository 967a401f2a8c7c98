// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tensor files in the safetensors format, written in one stream.
//!
//! In: named tensors. Out: the same bytes for the same tensors: names in the order given, the header padded with blanks to 8 bytes.

use std::io::{self, Write};

use crate::elem::Storage;
use crate::tensor::Tensor;

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
