// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damage to what only packed panels have: pitches, strides, tiles that are read as they are packed.
//!
//! In: the good program in bf16 under the schedule of half panels. Out: rows of the table of damaged programs, which change that program.

use attnc_tile::core::{Buf, Core, Elem, Inst, Layout, Lie, Place, Port, TileTy, Val, View};
use attnc_tile::verify::Rule;

use super::{Damage, buf, change, constant, function};

fn buffer<'a>(core: &'a mut Core, name: &str) -> &'a mut Buf {
    let b = buf(core, name);
    &mut core.bufs[b.0 as usize]
}

/// The type of a tile of `step`.
fn tile<'a>(core: &'a mut Core, name: &str) -> &'a mut TileTy {
    let f = function(core, "step");
    let found = f
        .tiles
        .iter_mut()
        .chain(&mut f.temps)
        .find(|(n, _)| n == name);
    &mut found.unwrap_or_else(|| panic!("step has a tile {name}")).1
}

/// The gather of keys or values.
fn gather(core: &mut Core, of: Port, mut f: impl FnMut(&mut Inst)) {
    change(core, |inst| {
        let it = matches!(inst, Inst::Gather { src: View::Tensor { port, .. }, .. } if *port == of);
        if it {
            f(inst);
        }
        it
    });
}

/// Keys of a panel.
fn keys(core: &mut Core) -> u32 {
    function(core, "step").nk
}

pub(super) const DAMAGES: &[Damage] = &[
    ("packed floats", Rule::Packing, |c| {
        buffer(c, "k_panels").elem = Elem::F32;
    }),
    ("a pitch shorter than a row", Rule::Packing, |c| {
        let short = Layout::Padded { pitch: 7 };
        buffer(c, "k_panels").layout = short;
        tile(c, "k").layout = short;
    }),
    ("a tile's pitch shorter than a row", Rule::Packing, |c| {
        tile(c, "k").layout = Layout::Padded { pitch: 7 };
    }),
    (
        "a stride that is no multiple of the key step",
        Rule::Packing,
        |c| {
            let stride = keys(c) + 1;
            buffer(c, "v_panels").layout = Layout::Transposed { stride };
            buffer(c, "v_panels").len *= 2;
            tile(c, "v").layout = Layout::Transposed { stride };
        },
    ),
    ("a stride with room for fewer keys", Rule::Packing, |c| {
        let short = Layout::Transposed { stride: 32 };
        buffer(c, "v_panels").layout = short;
        tile(c, "v").layout = short;
    }),
    ("more keys than a stride has", Rule::Packing, |c| {
        let many = i64::from(keys(c)) + 1;
        let many = constant(c, many);
        buffer(c, "panel_positions").len += 1;
        gather(c, Port::V, |inst| {
            if let Inst::Gather { live, .. } = inst {
                *live = many;
            }
        });
    }),
    ("packed keys read as rows", Rule::Packing, |c| {
        tile(c, "k").layout = Layout::Row;
    }),
    ("keys in rows read as packed", Rule::Packing, |c| {
        buffer(c, "k_panels").layout = Layout::Row;
    }),
    (
        "values that are not transposed as read",
        Rule::Packing,
        |c| {
            buffer(c, "v_panels").layout = Layout::Padded { pitch: 8 };
        },
    ),
    (
        "a tile that is laid out as only buffers are",
        Rule::Packing,
        |c| tile(c, "q").layout = Layout::St,
    ),
    ("packed products", Rule::Packing, |c| {
        tile(c, "pv").layout = Layout::Padded { pitch: 96 };
    }),
    ("columns gathered into a panel", Rule::Packing, |c| {
        let stride = keys(c);
        gather(c, Port::V, |inst| {
            if let Inst::Gather { lie, .. } = inst {
                *lie = Lie::Cols { stride };
            }
        });
    }),
    ("a look beyond the pitch", Rule::Packing, |c| {
        let v = Val(c.vals);
        c.vals += 1;
        gather(c, Port::K, |inst| {
            if let Inst::Gather { dst, live, .. } = inst {
                *inst = Inst::Inspect(v, *dst, 33, *live);
            }
        });
    }),
    (
        "a panel without room for its pitch",
        Rule::MoveBounds,
        |c| {
            buffer(c, "k_panels").len -= 1;
        },
    ),
    (
        "a panel without room for its stride",
        Rule::MoveBounds,
        |c| buffer(c, "v_panels").len -= 1,
    ),
    ("a function of unconverted queries", Rule::Operand, |c| {
        tile(c, "q").elem = Elem::Data;
    }),
    ("unconverted weights", Rule::Operand, |c| {
        tile(c, "t").elem = Elem::Data;
    }),
    ("keys read as positions", Rule::ElementType, |c| {
        let k = buf(c, "k_panels");
        gather(c, Port::V, |inst| {
            if let Inst::Gather { idx, .. } = inst {
                *idx = Place { buf: k, at: idx.at };
            }
        });
    }),
    ("float panels of a half function", Rule::ElementType, |c| {
        buffer(c, "v_panels").elem = Elem::F32;
    }),
];
