// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled attention operator as an operation of candle on the CPU.
//!
//! In: nothing. Out: what differs from candle's own products and softmax, and exit code 1 if it is more than rounding.

use std::process::ExitCode;

use attnc::half::{bf16, f16};
use attnc::{Attention, Call, Elem, Kernel, Target, View, ViewMut};
use candle_core::{
    CpuStorage, CustomOp3, D, DType, Device, Error, Layout, Result, Shape, Tensor, WithDType,
};

/// A kernel as candle calls it.
struct Attend(Kernel);

impl Attend {
    /// The same for each element type.
    fn forward<T: Elem + WithDType>(
        &self,
        inputs: [(&[T], &Layout); 3],
    ) -> Result<(CpuStorage, Shape)> {
        let shape = inputs[0].1.shape().clone();
        let mut out = vec![<T as WithDType>::from_f64(0.0); shape.elem_count()];
        let [q, k, v] = inputs.map(|(data, layout)| {
            // A tensor of candle may begin anywhere in its memory.
            let data = &data[layout.start_offset()..];
            let strides: Vec<isize> = layout.stride().iter().map(|s| *s as isize).collect();
            View::strided(data, layout.dims(), &strides).map_err(Error::wrap)
        });
        let to = ViewMut::dense(&mut out, shape.dims()).map_err(Error::wrap)?;
        let call = Call::new(q?, k?, v?, to);
        self.0.forward(call).map_err(Error::wrap)?;
        Ok((T::to_cpu_storage_owned(out), shape))
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attnc"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match (q, k, v) {
            (CpuStorage::F32(q), CpuStorage::F32(k), CpuStorage::F32(v)) => {
                self.forward::<f32>([(q, ql), (k, kl), (v, vl)])
            }
            (CpuStorage::BF16(q), CpuStorage::BF16(k), CpuStorage::BF16(v)) => {
                self.forward::<bf16>([(q, ql), (k, kl), (v, vl)])
            }
            (CpuStorage::F16(q), CpuStorage::F16(k), CpuStorage::F16(v)) => {
                self.forward::<f16>([(q, ql), (k, kl), (v, vl)])
            }
            _ => candle_core::bail!("attnc takes q, k and v of one type: f32, bf16 or f16"),
        }
    }
}

/// Candle's own dense causal attention of `[B, N, H, D]`.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let [q, k, v] = [q, k, v].map(|t| t.transpose(1, 2)?.contiguous());
    let (q, k, v) = (q?, k?, v?);
    let n = q.dim(2)?;
    let scores = (q.matmul(&k.transpose(2, 3)?)? / (q.dim(3)? as f64).sqrt())?;
    let hidden: Vec<f32> = (0..n * n)
        .map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let scores = scores.broadcast_add(&Tensor::from_vec(hidden, (n, n), &Device::Cpu)?)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(1, 2)
}

fn main() -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let attention = Attention::parse(
        "attention dense { heads = 4, head_dim = 32, causal = true, branch { segment = whole } }",
    )?;
    let attend = Attend(attention.compile(&Target::native()?)?);
    let (b, n, h, d) = (2, 300, 4, 32);
    let random = || Tensor::randn(0f32, 1f32, (b, n, h, d), &Device::Cpu);
    let mut good = true;
    for transposed in [false, true] {
        // Tensors whose memory is [B, H, N, D], seen as [B, N, H, D].
        let make = || -> Result<Tensor> {
            let t = random()?;
            if transposed {
                t.transpose(1, 2)?.contiguous()?.transpose(1, 2)
            } else {
                Ok(t)
            }
        };
        let (q, k, v) = (make()?, make()?, make()?);
        let got = q.apply_op3_no_bwd(&k, &v, &attend)?;
        let worst = (got - plain(&q, &k, &v)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        println!("transposed {transposed}: largest difference {worst:.1e}");
        good &= worst < 1e-5;
    }
    // A type that the kernel was not compiled for is refused in words.
    let half = random()?.to_dtype(DType::BF16)?;
    let refused = half.apply_op3_no_bwd(&half, &half, &attend);
    println!("bf16 tensors: {}", refused.as_ref().map_or_else(ToString::to_string, |_| "taken".into()));
    good &= refused.is_err();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
