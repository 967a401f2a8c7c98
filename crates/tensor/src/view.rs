// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Borrowed, strided views of elements.
//!
//! In: a slice of elements, a shape and strides counted in elements. Out: elements by multi-index, rows, contiguous copies.
//! A view is checked when it is made: no index within its shape reaches beyond its data, and no two indices of a writable view meet.

use half::{bf16, f16};

use crate::elem::{Elem, Storage};
use crate::tensor::{Tensor, TensorError, element_count, same_type, same_type_mut};

/// Borrowed elements of any storage type.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    /// binary32
    F32(&'a [f32]),
    /// bfloat16
    Bf16(&'a [bf16]),
    /// binary16
    F16(&'a [f16]),
    /// binary64
    F64(&'a [f64]),
}

/// Borrowed writable elements of any storage type.
#[derive(Debug)]
pub enum SliceMut<'a> {
    /// binary32
    F32(&'a mut [f32]),
    /// bfloat16
    Bf16(&'a mut [bf16]),
    /// binary16
    F16(&'a mut [f16]),
    /// binary64
    F64(&'a mut [f64]),
}

macro_rules! each_slice {
    ($ty:ident, $data:expr, $v:ident => $body:expr) => {
        match $data {
            $ty::F32($v) => $body,
            $ty::Bf16($v) => $body,
            $ty::F16($v) => $body,
            $ty::F64($v) => $body,
        }
    };
}

impl<'a, T: Elem> From<&'a [T]> for Slice<'a> {
    fn from(v: &'a [T]) -> Slice<'a> {
        match T::STORAGE {
            Storage::F32 => Slice::F32(bytemuck::cast_slice(v)),
            Storage::Bf16 => Slice::Bf16(bytemuck::cast_slice(v)),
            Storage::F16 => Slice::F16(bytemuck::cast_slice(v)),
            Storage::F64 => Slice::F64(bytemuck::cast_slice(v)),
        }
    }
}

impl<'a, T: Elem> From<&'a mut [T]> for SliceMut<'a> {
    fn from(v: &'a mut [T]) -> SliceMut<'a> {
        match T::STORAGE {
            Storage::F32 => SliceMut::F32(bytemuck::cast_slice_mut(v)),
            Storage::Bf16 => SliceMut::Bf16(bytemuck::cast_slice_mut(v)),
            Storage::F16 => SliceMut::F16(bytemuck::cast_slice_mut(v)),
            Storage::F64 => SliceMut::F64(bytemuck::cast_slice_mut(v)),
        }
    }
}

impl<'a> Slice<'a> {
    /// The storage type.
    pub fn storage(&self) -> Storage {
        each_slice!(Slice, self, v => storage_of(v))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_slice!(Slice, self, v => v.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are of type `T`.
    pub fn as_type<T: Elem>(&self) -> Option<&'a [T]> {
        each_slice!(Slice, *self, v => same_type(v))
    }

    /// Element `i`. Panics beyond the end, as slices do.
    pub fn get(&self, i: usize) -> f64 {
        each_slice!(Slice, self, v => v[i].to_f64())
    }
}

impl SliceMut<'_> {
    /// The storage type.
    pub fn storage(&self) -> Storage {
        each_slice!(SliceMut, self, v => storage_of(v))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_slice!(SliceMut, self, v => v.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn storage_of<T: Elem>(_: &[T]) -> Storage {
    T::STORAGE
}

/// Strides of a contiguous C-order tensor, in elements; 0 where an overflow can only mean an empty tensor.
pub fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1usize;
    for i in (0..shape.len()).rev() {
        strides[i] = step;
        step = step.saturating_mul(shape[i].max(1));
    }
    strides
}

/// Strides as views hold them.
fn forwards(strides: &[isize]) -> Result<Vec<usize>, TensorError> {
    let forward = |(axis, &stride): (usize, &isize)| {
        usize::try_from(stride).map_err(|_| TensorError::NegativeStride { axis, stride })
    };
    strides.iter().enumerate().map(forward).collect()
}

/// Checks that a contiguous tensor of `shape` has exactly so many elements.
fn check_count(shape: &[usize], elements: usize) -> Result<(), TensorError> {
    if element_count(shape) == Some(elements) {
        return Ok(());
    }
    Err(TensorError::WrongCount {
        elements,
        shape: shape.to_vec(),
    })
}

/// Checks that every index of `shape` lands in `elements`.
fn check(shape: &[usize], strides: &[usize], elements: usize) -> Result<(), TensorError> {
    if shape.len() != strides.len() {
        return Err(TensorError::RankMismatch {
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        });
    }
    if element_count(shape) == Some(0) {
        return Ok(());
    }
    let last = shape.iter().zip(strides).try_fold(0usize, |at, (&n, &s)| {
        at.checked_add((n - 1).checked_mul(s)?)
    });
    match last {
        Some(last) if last < elements => Ok(()),
        Some(_) | None => Err(TensorError::OutOfBounds {
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            elements,
        }),
    }
}

/// Checks that no two indices of `shape` meet: sorted by stride, each axis must step over all that the faster ones reach.
fn check_disjoint(shape: &[usize], strides: &[usize]) -> Result<(), TensorError> {
    if element_count(shape) == Some(0) {
        return Ok(());
    }
    let mut axes: Vec<(usize, usize)> = strides
        .iter()
        .copied()
        .zip(shape.iter().copied())
        .filter(|&(_, n)| n > 1)
        .collect();
    axes.sort_unstable();
    let mut reach = 0usize;
    for (stride, n) in axes {
        if stride <= reach {
            return Err(TensorError::Overlapping {
                shape: shape.to_vec(),
                strides: strides.to_vec(),
            });
        }
        // `check` has shown that the sum fits.
        reach += stride * (n - 1);
    }
    Ok(())
}

fn offset(strides: &[usize], index: &[usize]) -> usize {
    strides.iter().zip(index).map(|(s, i)| s * i).sum()
}

/// A read-only strided view.
#[derive(Clone, Debug)]
pub struct View<'a> {
    data: Slice<'a>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> View<'a> {
    /// A view of `data`, its element (i, j, ...) at `i*strides[0] + j*strides[1] + ...`.
    pub fn new(
        data: Slice<'a>,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<View<'a>, TensorError> {
        check(shape, strides, data.len())?;
        Ok(View::trusted(data, shape.to_vec(), strides.to_vec()))
    }

    /// A view of all of `data`, in C order without gaps.
    ///
    /// # Errors
    /// [`TensorError::WrongCount`] where `data` has other than `shape`'s elements.
    pub fn dense<T: Elem>(data: &'a [T], shape: &[usize]) -> Result<View<'a>, TensorError> {
        check_count(shape, data.len())?;
        View::new(data.into(), shape, &contiguous_strides(shape))
    }

    /// [`View::new`] from a slice and signed strides, as arrays of other libraries have them.
    ///
    /// # Errors
    /// As there, and [`TensorError::NegativeStride`].
    pub fn strided<T: Elem>(
        data: &'a [T],
        shape: &[usize],
        strides: &[isize],
    ) -> Result<View<'a>, TensorError> {
        View::new(data.into(), shape, &forwards(strides)?)
    }

    pub(crate) fn trusted(data: Slice<'a>, shape: Vec<usize>, strides: Vec<usize>) -> View<'a> {
        View {
            data,
            shape,
            strides,
        }
    }

    /// The elements behind the view, gaps included.
    pub fn data(&self) -> Slice<'a> {
        self.data
    }

    /// Storage type.
    pub fn storage(&self) -> Storage {
        self.data.storage()
    }

    /// Extents, slowest axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Strides in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Whether the elements lie in C order without gaps.
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(&self.shape, &self.strides)
    }

    /// One element. Panics where the index leaves the data.
    pub fn get(&self, index: &[usize]) -> f64 {
        self.data.get(offset(&self.strides, index))
    }

    /// Where the element stands in [`View::data`].
    pub fn offset(&self, index: &[usize]) -> usize {
        offset(&self.strides, index)
    }

    /// A contiguous copy.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        let mut out = Tensor::zeros(self.storage(), &self.shape)?;
        if !out.is_empty() {
            let mut index = vec![0; self.shape.len()];
            for i in 0..out.len() {
                out.set(i, self.get(&index));
                advance(&mut index, &self.shape);
            }
        }
        Ok(out)
    }
}

/// The next multi-index in C order; wraps to zeros after the last.
fn advance(index: &mut [usize], shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            return;
        }
        index[axis] = 0;
    }
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let want = contiguous_strides(shape);
    element_count(shape) == Some(0)
        || shape
            .iter()
            .zip(strides.iter().zip(&want))
            .all(|(&n, (s, w))| n == 1 || s == w)
}

/// A writable strided view whose elements are all distinct.
#[derive(Debug)]
pub struct ViewMut<'a> {
    data: SliceMut<'a>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> ViewMut<'a> {
    /// A writable view of `data`; strides in elements, no two indices may meet.
    pub fn new(
        data: SliceMut<'a>,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<ViewMut<'a>, TensorError> {
        check(shape, strides, data.len())?;
        check_disjoint(shape, strides)?;
        Ok(ViewMut::trusted(data, shape.to_vec(), strides.to_vec()))
    }

    /// A writable view of all of `data`, in C order without gaps.
    ///
    /// # Errors
    /// [`TensorError::WrongCount`] where `data` has other than `shape`'s elements.
    pub fn dense<T: Elem>(data: &'a mut [T], shape: &[usize]) -> Result<ViewMut<'a>, TensorError> {
        check_count(shape, data.len())?;
        ViewMut::new(data.into(), shape, &contiguous_strides(shape))
    }

    /// [`ViewMut::new`] from a slice and signed strides, as arrays of other libraries have them.
    ///
    /// # Errors
    /// As there, and [`TensorError::NegativeStride`].
    pub fn strided<T: Elem>(
        data: &'a mut [T],
        shape: &[usize],
        strides: &[isize],
    ) -> Result<ViewMut<'a>, TensorError> {
        ViewMut::new(data.into(), shape, &forwards(strides)?)
    }

    pub(crate) fn trusted(
        data: SliceMut<'a>,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> ViewMut<'a> {
        ViewMut {
            data,
            shape,
            strides,
        }
    }

    /// Storage type.
    pub fn storage(&self) -> Storage {
        self.data.storage()
    }

    /// Extents, slowest axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Strides in elements.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// The elements behind the view, gaps included.
    pub fn data_mut(&mut self) -> &mut SliceMut<'a> {
        &mut self.data
    }

    /// The elements behind the view, gaps included, if they are of type `T`.
    pub fn as_mut_slice<T: Elem>(&mut self) -> Option<&mut [T]> {
        each_slice!(SliceMut, &mut self.data, v => same_type_mut(v))
    }

    /// Whether the elements lie in C order without gaps.
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(&self.shape, &self.strides)
    }

    /// Where an element stands in the data.
    pub fn offset(&self, index: &[usize]) -> usize {
        offset(&self.strides, index)
    }

    /// Sets one element, rounded once to the storage type. Panics where the index leaves the data.
    pub fn set(&mut self, index: &[usize], x: f64) {
        let at = offset(&self.strides, index);
        each_slice!(SliceMut, &mut self.data, v => v[at] = Elem::from_f64(x));
    }

    /// The same elements, borrowed for reading.
    pub fn as_view(&self) -> View<'_> {
        let data = match &self.data {
            SliceMut::F32(v) => Slice::F32(v),
            SliceMut::Bf16(v) => Slice::Bf16(v),
            SliceMut::F16(v) => Slice::F16(v),
            SliceMut::F64(v) => Slice::F64(v),
        };
        View::trusted(data, self.shape.clone(), self.strides.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_views_read_the_right_elements() {
        let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
        // Axes swapped: [3, 2] with a gap after every row of the source.
        let v = View::new(Slice::F32(&data), &[3, 2], &[1, 8]).unwrap();
        assert_eq!(
            v.to_tensor().unwrap().to_f64(),
            [0.0, 8.0, 1.0, 9.0, 2.0, 10.0]
        );
        assert!(!v.is_contiguous());
        assert!(
            View::new(Slice::F32(&data), &[4, 6], &[6, 1])
                .unwrap()
                .is_contiguous()
        );
    }

    #[test]
    fn views_beyond_their_data_are_refused() {
        let data = [0f32; 10];
        assert!(View::new(Slice::F32(&data), &[2, 5], &[5, 1]).is_ok());
        assert!(matches!(
            View::new(Slice::F32(&data), &[2, 5], &[6, 1]),
            Err(TensorError::OutOfBounds { .. })
        ));
        assert!(matches!(
            View::new(Slice::F32(&data), &[2, 5], &[usize::MAX, 1]),
            Err(TensorError::OutOfBounds { .. })
        ));
        assert!(matches!(
            View::new(Slice::F32(&data), &[2, 5], &[1]),
            Err(TensorError::RankMismatch { .. })
        ));
        // Nothing is read from an empty view.
        assert!(View::new(Slice::F32(&[]), &[0, 5], &[6, 1]).is_ok());
    }

    #[test]
    fn slices_of_every_type_become_views_and_backward_strides_are_refused() {
        let view = View::dense(&[1.5f32, 2.0], &[1, 2]).unwrap();
        assert_eq!((view.storage(), view.get(&[0, 1])), (Storage::F32, 2.0));
        let half = [bf16::from_f32(1.5), bf16::from_f32(2.0)];
        let view = View::strided(&half, &[2, 1], &[1, 7]).unwrap();
        assert_eq!((view.storage(), view.get(&[1, 0])), (Storage::Bf16, 2.0));
        let mut out = [f16::from_f32(0.0); 4];
        let mut view = ViewMut::strided(&mut out, &[2], &[3]).unwrap();
        view.set(&[1], 2.0);
        assert_eq!(out[3], f16::from_f32(2.0));
        assert!(matches!(
            View::strided(&[0f32; 9], &[3, 2], &[3, -1]),
            Err(TensorError::NegativeStride {
                axis: 1,
                stride: -1
            })
        ));
        for shape in [&[3, 3][..], &[9, usize::MAX], &[]] {
            assert!(matches!(
                View::dense(&[0f32; 8], shape),
                Err(TensorError::WrongCount { elements: 8, .. })
            ));
        }
    }

    #[test]
    fn writable_views_may_not_overlap() {
        let mut data = [0f32; 32];
        assert!(ViewMut::new(SliceMut::F32(&mut data), &[2, 4], &[4, 1]).is_ok());
        assert!(ViewMut::new(SliceMut::F32(&mut data), &[4, 2], &[1, 4]).is_ok());
        for strides in [[3, 1], [0, 1], [1, 1]] {
            assert!(matches!(
                ViewMut::new(SliceMut::F32(&mut data), &[2, 4], &strides),
                Err(TensorError::Overlapping { .. })
            ));
        }
        // An axis of one element has no step.
        assert!(ViewMut::new(SliceMut::F32(&mut data), &[1, 4], &[0, 1]).is_ok());
    }
}
