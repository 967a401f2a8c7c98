// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Host tensors, dtypes, seeded fill, safetensors input and output, tolerances.
//!
//! In: shapes, seeds, files. Out: [`Tensor`]s and strided [`View`]s, tensor files, and the one table of what counts as right.

mod dtype;
mod elem;
mod file;
mod file_error;
mod file_write;
pub mod measure;
mod normal;
mod tensor;
mod tolerance;
mod view;

pub use dtype::DType;
pub use elem::{Elem, Storage};
pub use file::TensorFile;
pub use file_error::FileError;
pub use file_write::write_safetensors;
pub use normal::{fill_normal, normal_tensor};
pub use tensor::{Tensor, TensorError};
pub use tolerance::{Bounds, Exactness, Place, ROW_FACTOR};
pub use view::{Slice, SliceMut, View, ViewMut, contiguous_strides};
