// SPDX-License-Identifier: Apache-2.0 OR MIT
//! "Did you mean": the known name that a wrong one is closest to.

use std::cell::Cell;

/// Names that people bring from elsewhere, and what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("num_heads", "heads"),
    ("n_heads", "heads"),
    ("nheads", "heads"),
    ("n_head", "heads"),
    ("num_kv_heads", "kv_heads"),
    ("n_kv_heads", "kv_heads"),
    ("num_key_value_heads", "kv_heads"),
    ("dim", "head_dim"),
    ("d", "head_dim"),
    ("d_head", "head_dim"),
    ("dim_head", "head_dim"),
    ("head_size", "head_dim"),
    ("type", "dtype"),
    ("data_type", "dtype"),
    ("softmax_scale", "scale"),
    ("is_causal", "causal"),
    ("profile", "semantics"),
    ("mode", "semantics"),
    ("window", "segment"),
    ("seg", "segment"),
    ("segment_length", "segment"),
    ("segment_len", "segment"),
    ("rate", "dilation"),
    ("ratio", "dilation"),
    ("dilated_ratio", "dilation"),
    ("dilation_rate", "dilation"),
    ("stride", "dilation"),
    ("fp16", "f16"),
    ("float16", "f16"),
    ("half", "f16"),
    ("fp32", "f32"),
    ("float32", "f32"),
    ("float", "f32"),
    ("bfloat16", "bf16"),
    ("bfp16", "bf16"),
    ("True", "true"),
    ("yes", "true"),
    ("on", "true"),
    ("False", "false"),
    ("no", "false"),
    ("off", "false"),
    ("all", "whole"),
    ("full", "whole"),
    ("inf", "whole"),
    ("none", "whole"),
    ("ceildiv", "ceil_div"),
    ("cdiv", "ceil_div"),
    ("length", "len"),
    ("size", "len"),
    ("geometric", "geom"),
    ("logspace", "geom"),
    ("geomspace", "geom"),
    ("maximum", "max"),
    ("minimum", "min"),
    ("int", "floor"),
    ("trunc", "floor"),
];

/// Compares names, a bounded number of them: a file made of wrong names only must not take forever.
#[derive(Debug)]
pub(crate) struct Suggester {
    left: Cell<u32>,
}

impl Suggester {
    pub(crate) fn new() -> Suggester {
        Suggester {
            left: Cell::new(2_000_000),
        }
    }

    /// Whether there is nothing left to compare with; gathering candidates is then a waste.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    fn spend(&self, effort: u32) {
        self.left.set(self.left.get().saturating_sub(effort));
    }

    /// The candidate closest to `name`, if one is close.
    pub(crate) fn closest<'a>(
        &self,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        if name.len() > 64 {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let known = ELSEWHERE
            .iter()
            .find(|(theirs, _)| *theirs == name || *theirs == lower)
            .map(|(_, ours)| *ours);
        let limit = (name.len() / 3).clamp(1, 3);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            self.spend(1);
            if known == Some(candidate) || candidate.eq_ignore_ascii_case(name) && candidate != name
            {
                return Some(candidate.to_owned());
            }
            if candidate == name || candidate.len().abs_diff(name.len()) > limit || self.is_spent()
            {
                continue;
            }
            self.spend(10);
            let distance = strsim::osa_distance(name, candidate);
            // A name of one or two letters is close to everything.
            let close = distance <= limit
                && (name.len() > 2 || distance == 0)
                && distance < name.len().max(candidate.len()) / 2 + 1;
            if close && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate.to_owned())
    }

    /// "did you mean `x`?", or `otherwise`.
    pub(crate) fn help<'a>(
        &self,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
        otherwise: &str,
    ) -> String {
        match self.closest(name, candidates) {
            Some(close) => format!("did you mean `{close}`?"),
            None => otherwise.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let fields = ["heads", "head_dim", "kv_heads", "dtype"];
        let suggest = Suggester::new();
        for (wrong, right) in [
            ("head_dims", Some("head_dim")),
            ("haeds", Some("heads")),
            ("Heads", Some("heads")),
            ("num_heads", Some("heads")),
            ("dtpye", Some("dtype")),
            ("foo", None),
            ("x", None),
        ] {
            assert_eq!(suggest.closest(wrong, fields).as_deref(), right, "{wrong}");
        }
    }
}
