// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Special registers by name. In: a name. Out: whether PTX has it. Source: manual, 10.

/// Those without components.
const PLAIN: &[&str] = &[
    "%laneid",
    "%warpid",
    "%nwarpid",
    "%smid",
    "%nsmid",
    "%gridid",
    "%lanemask_eq",
    "%lanemask_le",
    "%lanemask_lt",
    "%lanemask_ge",
    "%lanemask_gt",
    "%clock",
    "%clock_hi",
    "%clock64",
    "%globaltimer",
    "%globaltimer_lo",
    "%globaltimer_hi",
    "%dynamic_smem_size",
    "%total_smem_size",
    "%aggr_smem_size",
    "%cluster_ctarank",
    "%cluster_nctarank",
    "%is_explicit_cluster",
    "%envreg0",
];

/// Those with components x, y, z.
const VECTOR: &[&str] = &[
    "%tid",
    "%ntid",
    "%ctaid",
    "%nctaid",
    "%clusterid",
    "%nclusterid",
    "%cluster_ctaid",
    "%cluster_nctaid",
];

/// Whether a name is a special register.
pub fn is_special(name: &str) -> bool {
    if PLAIN.contains(&name) {
        return true;
    }
    name.rsplit_once('.')
        .is_some_and(|(stem, c)| VECTOR.contains(&stem) && ["x", "y", "z", "w"].contains(&c))
}
