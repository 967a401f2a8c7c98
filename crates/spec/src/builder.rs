// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operators built in code, with no file and no parser.
//!
//! In: the fields of an `attention` block, those left out at the language's defaults. Out: a checked operator, or everything that is
//! wrong with it.

use attnc_tensor::DType;

use crate::{Branch, InvalidOperator, Operator, Precision, Profile, Segment};

/// An operator in the making; see [`Operator::builder`].
#[derive(Clone, Debug)]
pub struct OperatorBuilder {
    op: Operator,
    kv_heads: Option<u32>,
    scale: Option<f64>,
}

impl Operator {
    /// Begins an operator of `heads` query heads with `head_dim` elements each. Without more it is not causal, stores f32, has as many
    /// key/value heads as heads, scores `q . k / sqrt(head_dim)`, and follows [`Profile::PAPER`]; it needs at least one branch.
    ///
    /// ```
    /// use attnc_spec::{Operator, OperatorError};
    ///
    /// let op = Operator::builder("two_levels", 8, 64)
    ///     .causal(true)
    ///     .branch(2048, 1)
    ///     .branch(4096, 2)
    ///     .build()?;
    /// assert_eq!(op.kv_heads, 8);
    /// assert_eq!(op.scale, 0.125);
    ///
    /// // Everything that is wrong is told at once.
    /// let wrong = Operator::builder("two levels", 0, 64).branch(0, 1).build().unwrap_err();
    /// assert_eq!(wrong.0[0], OperatorError::Name("two levels".to_owned()));
    /// assert_eq!(wrong.0[1], OperatorError::Heads(0));
    /// assert_eq!(wrong.0.len(), 4);
    /// # Ok::<(), attnc_spec::InvalidOperator>(())
    /// ```
    pub fn builder(name: &str, heads: u32, head_dim: u32) -> OperatorBuilder {
        OperatorBuilder {
            op: Operator {
                name: name.to_owned(),
                heads,
                kv_heads: heads,
                head_dim,
                dtype: DType::F32,
                precision: Precision::Standard,
                causal: false,
                scale: 1.0,
                profile: Profile::PAPER,
                branches: Vec::new(),
            },
            kv_heads: None,
            scale: None,
        }
    }
}

impl OperatorBuilder {
    /// Key/value heads, a divisor of the heads; default: as many as heads.
    #[must_use]
    pub fn kv_heads(mut self, kv_heads: u32) -> OperatorBuilder {
        self.kv_heads = Some(kv_heads);
        self
    }

    /// Storage type of q, k, v and out; default f32.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> OperatorBuilder {
        self.op.dtype = dtype;
        self
    }

    /// How much accuracy may be traded for speed; default [`Precision::Standard`].
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> OperatorBuilder {
        self.op.precision = precision;
        self
    }

    /// Whether a query sees only keys at or before its own position; default: no.
    #[must_use]
    pub fn causal(mut self, causal: bool) -> OperatorBuilder {
        self.op.causal = causal;
        self
    }

    /// Factor of the scores, a positive normal f32; default `1 / sqrt(head_dim)`.
    #[must_use]
    pub fn scale(mut self, scale: f64) -> OperatorBuilder {
        self.scale = Some(scale);
        self
    }

    /// The switches in which implementations differ; default [`Profile::PAPER`].
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> OperatorBuilder {
        self.op.profile = profile;
        self
    }

    /// Adds a branch: attention within segments of `segment` tokens ([`Segment::Whole`]: of the whole sequence), every `dilation`-th
    /// of them.
    #[must_use]
    pub fn branch(mut self, segment: impl Into<Segment>, dilation: u64) -> OperatorBuilder {
        self.op.branches.push(Branch {
            segment: segment.into(),
            dilation,
        });
        self
    }

    /// The checked operator.
    ///
    /// # Errors
    /// Every mistake, in the order of the fields.
    pub fn build(self) -> Result<Operator, InvalidOperator> {
        let mut op = self.op;
        op.kv_heads = self.kv_heads.unwrap_or(op.heads);
        op.scale = self
            .scale
            .unwrap_or(1.0 / f64::from(op.head_dim.max(1)).sqrt());
        op.validate().map_err(InvalidOperator)?;
        Ok(op)
    }
}

impl From<u64> for Segment {
    fn from(tokens: u64) -> Segment {
        Segment::Finite(tokens)
    }
}
