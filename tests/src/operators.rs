// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operators that several tests build.
//!
//! In: what the tests vary. Out: checked operators.

use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;

/// One head, two branches that share keys; segments of odd lengths, so that tails of every size come with the sequence length.
pub fn odd_segments(head_dim: u32, dtype: DType, causal: bool) -> Operator {
    let branch = |segment, dilation| Branch {
        segment: Segment::Finite(segment),
        dilation,
    };
    Operator {
        name: "odd_segments".into(),
        heads: 1,
        kv_heads: 1,
        head_dim,
        dtype,
        precision: Precision::Standard,
        causal,
        scale: 1.0 / f64::from(head_dim).sqrt(),
        profile: Profile::PAPER,
        branches: vec![branch(67, 1), branch(134, 2)],
    }
}
