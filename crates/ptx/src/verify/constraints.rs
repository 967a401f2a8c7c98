// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What single modifiers need (rule 1), constants in their ranges (8), modifiers that fit
//! together (9). In: an instruction, for the last two one whose operands have the right
//! number and shape. Out: broken rules.

use super::{Bad, VerifyErrorKind};
use crate::module::*;
use crate::ty::{Class, Type};

/// m, n, k of a shape such as `m16n8k16`.
pub(super) fn dims(s: &str) -> Option<(usize, usize, usize)> {
    let (m, r) = s.strip_prefix('m')?.split_once('n')?;
    let (n, k) = r.split_once('k')?;
    Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
}

/// What modifiers and types need beyond their form: `.version`, architecture, and whether
/// only an architecture-specific target has it.
pub(super) fn features(i: &Instr) -> ((u32, u32), u32, bool) {
    let mut need = ((1, 0), 20, false);
    let mut add = |version: (u32, u32), arch: u32| {
        need.0 = need.0.max(version);
        need.1 = need.1.max(arch);
    };
    for m in &i.mods {
        if *m == "cluster" || m.contains("::cluster") {
            add((7, 8), 90);
        } else if m.contains("::cta") {
            add((7, 8), 20);
        } else if m.starts_with("L1::") || m.starts_with("L2::") {
            add((7, 4), 20);
        }
    }
    let ty = |s: &str| i.slot_type(s);
    match i.opcode() {
        "atom" | "red" => {
            if i.slot("V").is_some() {
                add((8, 1), 90);
            }
            if matches!(ty("T"), Some(Type::Bf16 | Type::Bf16x2)) {
                add((7, 8), 90);
            }
        }
        "mbarrier" if i.slot("S").is_some() => add((8, 0), 80),
        "mma" => {
            let s = i.slot("S").unwrap_or_default();
            if s.starts_with("m16") && !(s == "m16n8k8" && i.slot("A") == Some("f16")) {
                add((7, 0), 80);
            }
        }
        "wgmma" if i.slot("D") == Some("s32") && i.slot("A") != i.slot("B") => add((8, 4), 90),
        "cvt" => match (ty("D"), ty("T")) {
            (Some(Type::Bf16), Some(Type::F32)) | (Some(Type::F32), Some(Type::Bf16)) => {}
            (Some(Type::Bf16), _) | (_, Some(Type::Bf16)) => add((7, 8), 90),
            (Some(Type::Tf32), _) if !i.has("rna") => add((7, 8), 90),
            (Some(Type::F16x2 | Type::Bf16x2), Some(Type::F32)) if i.has("satfinite") => {
                add((8, 1), 80);
            }
            _ => {}
        },
        _ => {}
    }
    need.2 = i.opcode() == "setmaxnreg" || (i.opcode() == "tensormap" && i.has("replace"));
    need
}

/// Rule 8.
pub(super) fn ranges(i: &Instr, bad: &mut Bad) {
    let int = |k: usize| match i.args.get(k) {
        Some(Operand::Imm(Imm::Int(v))) => Some(*v),
        _ => None,
    };
    let mut range = |k: usize, ok: bool, want: &'static str| {
        if !ok {
            bad.push(VerifyErrorKind::Range { index: k + 1, want });
        }
    };
    match i.opcode() {
        "bar" | "barrier" if !i.has("warp") && !i.has("cluster") => {
            let first = usize::from(i.has("red"));
            if let Some(v) = int(first) {
                range(first, (0..16).contains(&v), "a barrier from 0 to 15");
            }
            if let Some(v) = int(first + 1) {
                range(
                    first + 1,
                    v % 32 == 0 && v >= 0,
                    "a multiple of the warp size",
                );
            }
        }
        "bfe" | "bfi" => {
            let last = i.args.len() - 1;
            for k in [last - 1, last] {
                if let Some(v) = int(k) {
                    range(k, (0..256).contains(&v), "from 0 to 255");
                }
            }
        }
        "cp" if i.has("bulk") => {
            if let Some(v) = int(2).filter(|_| !i.has("tensor") && !i.has("prefetch")) {
                range(2, v >= 0 && v % 16 == 0, "a multiple of 16");
            }
        }
        "cp" if i.args.len() > 2 => {
            let size = int(2).unwrap_or(0);
            if i.has("cg") {
                range(2, size == 16, "16");
            } else {
                range(2, matches!(size, 4 | 8 | 16), "4, 8 or 16");
            }
            if let Some(v) = int(3) {
                range(3, (0..=size).contains(&v), "at most the copy's size");
            }
        }
        "tensormap" if i.args.len() == 3 && i.has("replace") => {
            range(
                1,
                int(1).is_some_and(|v| (0..5).contains(&v)),
                "from 0 to 4",
            );
        }
        "setmaxnreg" => {
            let v = int(0).unwrap_or(0);
            range(
                0,
                v % 8 == 0 && (24..=256).contains(&v),
                "a multiple of 8 from 24 to 256",
            );
        }
        "wgmma" if i.has("mma_async") => {
            for k in 4..i.args.len() {
                let v = int(k).unwrap_or(2);
                if k < 6 {
                    range(k, v == 1 || v == -1, "1 or -1");
                } else {
                    range(k, v == 0 || v == 1, "0 or 1");
                }
            }
        }
        _ => {}
    }
}

/// Rule 9.
pub(super) fn combinations(i: &Instr, version: (u32, u32), arch: u32, bad: &mut Bad) {
    let mut need = |ok: bool, what: &'static str| {
        if !ok {
            bad.push(VerifyErrorKind::Modifiers(what));
        }
    };
    match i.opcode() {
        "vote" | "shfl" if !i.has("sync") => need(
            arch < 70 || version < (6, 4),
            "the form without .sync is gone on sm_70 and later",
        ),
        "ld" | "st" => {
            let scope = i.slot("SC").is_some();
            match i.slot("S") {
                Some("relaxed" | "acquire" | "release" | "mmio") => {
                    need(scope, "this order needs a scope");
                    need(i.slot("C").is_none(), "an order excludes cache operators");
                }
                Some(_) | None => need(!scope, "a scope needs an order"),
            }
        }
        "mbarrier" => need(
            i.slot("S").is_none() || i.slot("SC").is_some(),
            "this order needs a scope",
        ),
        "atom" | "red" if !i.has("async") => atomic(i, &mut need),
        "set" | "setp" => {
            let class = i.slot_type("T").map_or(Class::Bits, Type::class);
            let ok = match i.slot("C").unwrap_or("eq") {
                "eq" | "ne" => true,
                "lt" | "le" | "gt" | "ge" => class != Class::Bits,
                "lo" | "ls" | "hi" | "hs" => class == Class::Unsigned,
                _ => class == Class::Float,
            };
            need(ok, "this comparison is not there for this type");
        }
        "wgmma" if i.has("mma_async") => {
            let registers = matches!(i.args.get(1), Some(Operand::Vector(_)));
            let half = matches!(i.slot("A"), Some("f16" | "bf16"));
            let integer = i.slot("D") == Some("s32");
            let want = match (half, integer) {
                (true, _) if registers => 7,
                (true, _) => 8,
                (false, true) => 4,
                (false, false) => 6,
            };
            need(
                i.args.len() == want,
                "this wgmma has another number of scale and transpose constants",
            );
        }
        "cp" if i.has("tensor") => {
            let rank = i.slot("D").and_then(|d| d.strip_suffix('d')?.parse().ok());
            let map = i.args.iter().find_map(|a| match a {
                Operand::Address(x) if !x.parts.is_empty() => x.parts.first(),
                _ => None,
            });
            if let Some(Operand::Vector(v)) = map {
                need(
                    rank == Some(v.len()),
                    "the map has another number of coordinates",
                );
            }
        }
        _ => {}
    }
}

/// The types that an atomic operation works on.
fn atomic(i: &Instr, need: &mut impl FnMut(bool, &'static str)) {
    let Some(ty) = i.slot_type("T") else { return };
    let half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    let vector = i.slot("V").is_some();
    let ok = match i.slot("O") {
        Some("and" | "or" | "xor") => matches!(ty, Type::B32 | Type::B64),
        Some("exch") => matches!(ty, Type::B32 | Type::B64 | Type::B128),
        Some("inc" | "dec") => ty == Type::U32,
        Some("min" | "max") => {
            matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64) || (half && vector)
        }
        Some("add") => {
            half || matches!(
                ty,
                Type::U32 | Type::S32 | Type::U64 | Type::F32 | Type::F64
            )
        }
        Some(_) | None => true,
    };
    need(ok, "this operation is not there for this type");
    if half && i.slot("O") == Some("add") {
        need(i.has("noftz"), "half precision needs .noftz");
    }
}
