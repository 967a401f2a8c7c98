// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Nests of every shape that rewriting can leave, for tests of lowering and of the text form.

use attnc_schedule::{Combine, Group, Nest, Term, WHOLE};
use attnc_tensor::DType;

fn term(segment: i64, dilation: i64) -> Term {
    Term {
        segment,
        dilation,
        weight: 1,
    }
}

fn each(terms: &[Term]) -> Vec<Group> {
    terms.iter().map(|t| Group { terms: vec![*t] }).collect()
}

/// Nests of every shape that rewriting can leave.
pub(crate) fn nests() -> Vec<(String, Nest)> {
    let sets: [(&str, Vec<Group>); 8] = [
        ("one", each(&[term(4, 2)])),
        ("dense", each(&[term(WHOLE, 1)])),
        ("each", each(&[term(8, 1), term(5, 3), term(WHOLE, 70)])),
        (
            "full",
            vec![Group {
                terms: (1..=64).map(|i| term(16 * i, 1 << (i % 7))).collect(),
            }],
        ),
        (
            "many",
            each(&(1..=64).map(|i| term(i, i + 1)).collect::<Vec<_>>()),
        ),
        (
            "shared",
            vec![Group {
                terms: vec![term(16, 1), term(32, 2), term(64, 4)],
            }],
        ),
        (
            "weighted",
            vec![Group {
                terms: vec![
                    Term {
                        weight: 2,
                        ..term(7, 1)
                    },
                    term(WHOLE, 3),
                ],
            }],
        ),
        (
            "groups",
            vec![
                Group {
                    terms: vec![term(16, 1), term(33, 5)],
                },
                Group {
                    terms: vec![term(1024, 2)],
                },
            ],
        ),
    ];
    let mut out = Vec::new();
    for (name, groups) in sets {
        let single = groups.iter().all(|g| g.terms.len() == 1);
        let branches = groups.iter().map(|g| g.terms.len() as u32).sum();
        let combines = [
            Combine::Stream,
            Combine::Join,
            Combine::Merge,
            Combine::Mix { branches },
        ];
        for combine in combines {
            for bits in 0..32u32 {
                let on = |i: u32| bits >> i & 1 == 1;
                if on(3) && !single {
                    continue;
                }
                let nest = Nest {
                    name: name.to_string(),
                    heads: 6,
                    kv_heads: 2,
                    head_dim: [1, 8, 64, 80, 256][(bits % 5) as usize],
                    dtype: DType::ALL[(bits % 3) as usize],
                    causal: on(0),
                    blocked: on(1),
                    zero_keys: on(2),
                    displaced: on(3),
                    base2: on(4),
                    scale: 0.5,
                    fast: on(4) != on(0),
                    panels: true,
                    two_sweeps: combine != Combine::Stream && on(1),
                    combine,
                    groups: groups.clone(),
                };
                out.push((format!("{name} {combine:?} {bits:05b}"), nest));
            }
        }
    }
    out
}
