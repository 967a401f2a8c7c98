// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator as text: an `.attn` file with every default written out and every loop unrolled, so that what is printed can be run.

use std::fmt::Write;

use crate::{Gradient, Offsets, Operator, Precision, Ragged, Rows, ZeroLse};

impl Operator {
    /// Every field but the name and the branches, by its word in `.attn` files, with its value written out.
    pub(crate) fn fields(&self) -> [(&'static str, String); 12] {
        let Operator {
            name: _,
            heads,
            kv_heads,
            head_dim,
            dtype,
            precision,
            causal,
            scale,
            profile: p,
            branches: _,
        } = self;
        let precision = match precision {
            Precision::Standard => "standard",
            Precision::Fast => "fast",
            Precision::Tf32 => "tf32",
        };
        let offsets = match p.offsets {
            Offsets::Modulo => "modulo",
            Offsets::Blocked => "blocked",
        };
        let ragged = match p.ragged {
            Ragged::Masked => "masked",
            Ragged::ZeroKeys => "zero_keys",
        };
        let rows = match p.rows {
            Rows::Aligned => "aligned",
            Rows::Displaced => "displaced",
        };
        let gradient = match p.gradient {
            Gradient::Exact => "exact",
            Gradient::Detached => "detached",
        };
        let zero_lse = match p.zero_lse {
            ZeroLse::Covered => "covered",
            ZeroLse::Uncovered => "uncovered",
        };
        [
            ("heads", heads.to_string()),
            ("kv_heads", kv_heads.to_string()),
            ("head_dim", head_dim.to_string()),
            ("dtype", dtype.to_string()),
            ("precision", precision.to_owned()),
            ("causal", causal.to_string()),
            // The shortest decimal that reads back as the same number.
            ("scale", format!("{scale:?}")),
            ("offsets", offsets.to_owned()),
            ("ragged", ragged.to_owned()),
            ("rows", rows.to_owned()),
            ("gradient", gradient.to_owned()),
            ("zero_lse", zero_lse.to_owned()),
        ]
    }

    /// An `.attn` text (edition 1, formatted) that means exactly this operator.
    pub fn to_attn(&self) -> String {
        let mut out = format!("edition 1\n\nattention {} {{\n", self.name);
        // Writing to a string cannot fail.
        for (name, value) in self.fields() {
            let _ = writeln!(out, "    {name:<9} = {value}");
        }
        for branch in &self.branches {
            let _ = writeln!(
                out,
                "    branch {{ segment = {}, dilation = {} }}",
                branch.segment, branch.dilation
            );
        }
        out.push_str("}\n");
        out
    }
}
