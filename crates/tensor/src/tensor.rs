// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Owned, contiguous host tensors.
//!
//! In: a storage type and a shape, or a vector of elements. Out: elements by type, raw bytes, casts, strided views ([`crate::View`]).
//! Element order is C order: the last axis is the fastest.

use half::{bf16, f16};

use crate::elem::{Elem, Storage};
use crate::view::{Slice, SliceMut, View, ViewMut, contiguous_strides};

/// Why a tensor or view could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The element count or byte count does not fit the address space, or the allocator refused it.
    #[error("a {storage} tensor of shape {shape:?} does not fit in memory")]
    TooLarge {
        /// Storage asked for.
        storage: Storage,
        /// Shape asked for.
        shape: Vec<usize>,
    },
    /// Data and shape disagree.
    #[error("{elements} elements do not make a tensor of shape {shape:?}")]
    WrongCount {
        /// Elements given.
        elements: usize,
        /// Shape asked for.
        shape: Vec<usize>,
    },
    /// Shape and strides have different ranks.
    #[error("shape {shape:?} and strides {strides:?} differ in rank")]
    RankMismatch {
        /// The shape.
        shape: Vec<usize>,
        /// The strides, in elements.
        strides: Vec<usize>,
    },
    /// A stride is negative.
    #[error(
        "stride {stride} of axis {axis} is negative; begin the view at its first element and walk forwards, or copy the tensor"
    )]
    NegativeStride {
        /// Which axis, from 0.
        axis: usize,
        /// Its stride, in elements.
        stride: isize,
    },
    /// A strided view reaches beyond its data.
    #[error(
        "a view of shape {shape:?} with strides {strides:?} reaches beyond {elements} elements"
    )]
    OutOfBounds {
        /// The shape.
        shape: Vec<usize>,
        /// The strides, in elements.
        strides: Vec<usize>,
        /// Elements there are.
        elements: usize,
    },
    /// Two indices of a mutable view name the same element.
    #[error(
        "a mutable view of shape {shape:?} with strides {strides:?} overlaps itself; give each index an element of its own"
    )]
    Overlapping {
        /// The shape.
        shape: Vec<usize>,
        /// The strides, in elements.
        strides: Vec<usize>,
    },
}

/// The elements of a tensor, one vector type per storage type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    F64(Vec<f64>),
}

/// An owned, contiguous tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    data: Data,
    shape: Vec<usize>,
}

/// Product of the extents; `None` on overflow.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero extent empties the tensor whatever the others are, also where their product would overflow.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn filled<T: Elem>(n: usize, value: T) -> Option<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(n).ok()?;
    v.resize(n, value);
    Some(v)
}

macro_rules! each_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::F32($v) => $body,
            Data::Bf16($v) => $body,
            Data::F16($v) => $body,
            Data::F64($v) => $body,
        }
    };
}

impl Tensor {
    /// A tensor of zeros. Fails, rather than aborts, where the memory cannot be had.
    pub fn zeros(storage: impl Into<Storage>, shape: &[usize]) -> Result<Tensor, TensorError> {
        let storage = storage.into();
        let too_large = || TensorError::TooLarge {
            storage,
            shape: shape.to_vec(),
        };
        let n = element_count(shape).ok_or_else(too_large)?;
        let data = match storage {
            Storage::F32 => filled(n, 0f32).map(Data::F32),
            Storage::Bf16 => filled(n, bf16::ZERO).map(Data::Bf16),
            Storage::F16 => filled(n, f16::ZERO).map(Data::F16),
            Storage::F64 => filled(n, 0f64).map(Data::F64),
        };
        Ok(Tensor {
            data: data.ok_or_else(too_large)?,
            shape: shape.to_vec(),
        })
    }

    /// A tensor that takes over `elements`, in C order.
    pub fn from_vec<T: Elem>(elements: Vec<T>, shape: &[usize]) -> Result<Tensor, TensorError> {
        if element_count(shape) != Some(elements.len()) {
            return Err(TensorError::WrongCount {
                elements: elements.len(),
                shape: shape.to_vec(),
            });
        }
        // Moving a `Vec<T>` into the arm of its own type: `cast_vec` between identical types never copies nor fails.
        let data = match T::STORAGE {
            Storage::F32 => Data::F32(bytemuck::allocation::cast_vec(elements)),
            Storage::Bf16 => Data::Bf16(bytemuck::allocation::cast_vec(elements)),
            Storage::F16 => Data::F16(bytemuck::allocation::cast_vec(elements)),
            Storage::F64 => Data::F64(bytemuck::allocation::cast_vec(elements)),
        };
        Ok(Tensor {
            data,
            shape: shape.to_vec(),
        })
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Storage {
        match &self.data {
            Data::F32(_) => Storage::F32,
            Data::Bf16(_) => Storage::Bf16,
            Data::F16(_) => Storage::F16,
            Data::F64(_) => Storage::F64,
        }
    }

    /// The extents, slowest axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_data!(&self.data, v => v.len())
    }

    /// Whether some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in native byte order.
    pub fn bytes(&self) -> &[u8] {
        each_data!(&self.data, v => bytemuck::cast_slice(v))
    }

    /// The elements, if they are stored as `T`.
    pub fn as_slice<T: Elem>(&self) -> Option<&[T]> {
        each_data!(&self.data, v => same_type(v))
    }

    /// The elements, writable, if they are stored as `T`.
    pub fn as_mut_slice<T: Elem>(&mut self) -> Option<&mut [T]> {
        each_data!(&mut self.data, v => same_type_mut(v))
    }

    /// Element `i` in C order. Panics beyond the end, as slices do.
    pub fn get(&self, i: usize) -> f64 {
        each_data!(&self.data, v => v[i].to_f64())
    }

    /// Sets element `i` in C order, rounded once to the storage type. Panics beyond the end, as slices do.
    pub fn set(&mut self, i: usize, x: f64) {
        each_data!(&mut self.data, v => v[i] = Elem::from_f64(x));
    }

    /// All elements as `f64`.
    pub fn to_f64(&self) -> Vec<f64> {
        each_data!(&self.data, v => v.iter().map(|x| x.to_f64()).collect())
    }

    /// The same values in another storage type: nearest, ties to even, overflow to infinity, rounded once.
    pub fn cast(&self, storage: impl Into<Storage>) -> Result<Tensor, TensorError> {
        let storage = storage.into();
        if storage == self.storage() {
            return Ok(self.clone());
        }
        let mut out = Tensor::zeros(storage, &self.shape)?;
        each_data!(&self.data, from => each_data!(&mut out.data, to => {
            for (t, f) in to.iter_mut().zip(from) {
                *t = Elem::from_f64(f.to_f64());
            }
        }));
        Ok(out)
    }

    /// A view of the whole tensor.
    pub fn view(&self) -> View<'_> {
        let data = match &self.data {
            Data::F32(v) => Slice::F32(v),
            Data::Bf16(v) => Slice::Bf16(v),
            Data::F16(v) => Slice::F16(v),
            Data::F64(v) => Slice::F64(v),
        };
        View::trusted(data, self.shape.clone(), contiguous_strides(&self.shape))
    }

    /// A writable view of the whole tensor.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let strides = contiguous_strides(&self.shape);
        let data = match &mut self.data {
            Data::F32(v) => SliceMut::F32(v),
            Data::Bf16(v) => SliceMut::Bf16(v),
            Data::F16(v) => SliceMut::F16(v),
            Data::F64(v) => SliceMut::F64(v),
        };
        ViewMut::trusted(data, self.shape.clone(), strides)
    }
}

/// `&[A]` as `&[B]` where both are the same storage type.
pub(crate) fn same_type<A: Elem, B: Elem>(v: &[A]) -> Option<&[B]> {
    (A::STORAGE == B::STORAGE).then(|| bytemuck::cast_slice(v))
}

/// `&mut [A]` as `&mut [B]` where both are the same storage type.
pub(crate) fn same_type_mut<A: Elem, B: Elem>(v: &mut [A]) -> Option<&mut [B]> {
    (A::STORAGE == B::STORAGE).then(|| bytemuck::cast_slice_mut(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_elements_must_agree() {
        assert!(Tensor::from_vec(vec![1f32; 6], &[2, 3]).is_ok());
        assert!(matches!(
            Tensor::from_vec(vec![1f32; 5], &[2, 3]),
            Err(TensorError::WrongCount { elements: 5, .. })
        ));
    }

    #[test]
    fn impossible_sizes_are_errors_not_aborts() {
        for shape in [vec![usize::MAX, 2], vec![1 << 40, 1 << 22], vec![1 << 61]] {
            assert!(matches!(
                Tensor::zeros(Storage::F64, &shape),
                Err(TensorError::TooLarge { .. })
            ));
        }
        let t = Tensor::zeros(Storage::F64, &[usize::MAX, 0, usize::MAX]).unwrap();
        assert!(t.is_empty());
    }

    #[test]
    fn casts_round_to_nearest_even_and_back_exactly() {
        let t = Tensor::from_vec(vec![1.0f64, 1.0 + 2f64.powi(-8), 1e39, -0.0, 0.1], &[5]).unwrap();
        let b = t.cast(Storage::Bf16).unwrap();
        assert_eq!(
            b.to_f64(),
            vec![1.0, 1.0, f64::INFINITY, 0.0, 0.10009765625]
        );
        assert!(b.get(3).is_sign_negative());
        assert_eq!(b.cast(Storage::F64).unwrap().to_f64(), b.to_f64());
        assert_eq!(b.bytes().len(), 10);
        assert!(b.as_slice::<f16>().is_none());
        assert_eq!(b.as_slice::<bf16>().unwrap().len(), 5);
    }
}
