// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a launch demands of its tensors, checked once, before anything runs.
//!
//! In: views, whose own constructors have checked that no index leaves their memory. Out: pointers and strides for generated code.

use std::ops::Range;

use attnc_tensor::{Slice, SliceMut, Storage, View, ViewMut};

use crate::LaunchError;

/// A tensor as the C ABI wants it, and the addresses that it spans.
pub(crate) struct Raw {
    pub(crate) pointer: *mut u8,
    pub(crate) strides: [i64; 3],
    span: Range<usize>,
}

/// What fits: name, shape, storage type.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'static str,
    pub(crate) shape: &'a [usize],
    pub(crate) storage: Storage,
}

/// An input that fits. Its memory is only read.
pub(crate) fn input(v: &View<'_>, wanted: &Wanted<'_>) -> Result<Raw, LaunchError> {
    fits(v.shape(), v.strides(), v.storage(), wanted)?;
    let pointer = match v.data() {
        Slice::F32(x) => x.as_ptr().cast::<u8>(),
        Slice::Bf16(x) => x.as_ptr().cast(),
        Slice::F16(x) => x.as_ptr().cast(),
        Slice::F64(x) => x.as_ptr().cast(),
    };
    Ok(raw(pointer.cast_mut(), v.strides(), wanted))
}

/// An output that fits.
pub(crate) fn output(v: &mut ViewMut<'_>, wanted: &Wanted<'_>) -> Result<Raw, LaunchError> {
    fits(v.shape(), v.strides(), v.storage(), wanted)?;
    let pointer = match v.data_mut() {
        SliceMut::F32(x) => x.as_mut_ptr().cast::<u8>(),
        SliceMut::Bf16(x) => x.as_mut_ptr().cast(),
        SliceMut::F16(x) => x.as_mut_ptr().cast(),
        SliceMut::F64(x) => x.as_mut_ptr().cast(),
    };
    Ok(raw(pointer, v.strides(), wanted))
}

fn fits(
    shape: &[usize],
    strides: &[usize],
    storage: Storage,
    wanted: &Wanted<'_>,
) -> Result<(), LaunchError> {
    let name = wanted.name;
    if shape != wanted.shape {
        return Err(LaunchError::Shape {
            name,
            found: shape.to_vec(),
            needed: wanted.shape.to_vec(),
        });
    }
    if storage != wanted.storage {
        return Err(LaunchError::Storage {
            name,
            found: storage,
            needed: wanted.storage,
        });
    }
    match (shape.last(), strides.last()) {
        (Some(2..), Some(&stride)) if stride != 1 => Err(LaunchError::Stride { name, stride }),
        _ => Ok(()),
    }
}

/// Pointer, leading strides and span of a tensor that fits.
fn raw(pointer: *mut u8, strides: &[usize], wanted: &Wanted<'_>) -> Raw {
    let mut leading = [0; 3];
    let inner = strides.len() - 1;
    for (to, from) in leading.iter_mut().zip(&strides[..inner]) {
        *to = *from as i64;
    }
    let start = pointer as usize;
    let empty = wanted.shape.contains(&0);
    // The view's constructor has shown that the sum fits.
    let last: usize = if empty {
        0
    } else {
        let axes = wanted.shape.iter().zip(strides);
        axes.map(|(n, s)| (n - 1) * s).sum::<usize>() + 1
    };
    Raw {
        pointer,
        strides: leading,
        span: start..start + last * wanted.storage.bytes(),
    }
}

/// Checks that an output shares no memory with another tensor: tasks run in any order, and a row of the output may be written before
/// the keys that lie under it are read.
pub(crate) fn apart(
    out: (&'static str, &Raw),
    others: &[(&'static str, &Raw)],
) -> Result<(), LaunchError> {
    for (with, other) in others {
        let (a, b) = (&out.1.span, &other.span);
        if a.start.max(b.start) < a.end.min(b.end) {
            return Err(LaunchError::Overlap { out: out.0, with });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(span: Range<usize>) -> Raw {
        Raw {
            pointer: std::ptr::null_mut(),
            strides: [0; 3],
            span,
        }
    }

    #[test]
    fn outputs_that_share_a_byte_with_anything_are_refused() {
        let (q, out) = (at(100..200), at(200..300));
        assert_eq!(apart(("out", &out), &[("q", &q)]), Ok(()));
        for span in [199..250, 100..101, 0..400, 150..160] {
            let out = at(span);
            let refused = LaunchError::Overlap {
                out: "out",
                with: "q",
            };
            assert_eq!(apart(("out", &out), &[("q", &q)]), Err(refused));
        }
        // Nothing stands in an empty tensor.
        assert_eq!(apart(("out", &at(150..150)), &[("q", &q)]), Ok(()));
    }
}
