// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What names stand for: registers become slots, variables addresses, parameters storage.
//! In: declarations. Out: symbols in scope.

use super::code::*;
use super::decode::{D, Dec, Formal, Sym, refuse};
use super::state::SHARED_BASE;
use crate::module::*;
use crate::ty::Space;
use std::collections::HashMap;

impl<'m> Dec<'m> {
    pub(super) fn alloc_shared(&mut self, v: &Var) -> u32 {
        let al = v.alignment() as u32;
        // Extern arrays of unknown length begin behind all static memory; patched at the end
        // of decoding by laying static variables out first (see `lower::finish`).
        let off = self.code.shared_static.next_multiple_of(al);
        self.code.shared_static = off + v.size() as u32;
        SHARED_BASE as u32 + off
    }

    pub(super) fn module_var(&mut self, v: &'m Var, address_of: &HashMap<Name, u64>) {
        let sym = match v.space {
            Space::Shared | Space::SharedCta | Space::SharedCluster => {
                if v.linkage == Linkage::Extern && v.size() == 0 {
                    self.code.dynamic_align =
                        self.code.dynamic_align.max(v.alignment() as u32).max(16);
                    Sym::Shared(u32::MAX)
                } else {
                    Sym::Shared(self.alloc_shared(v))
                }
            }
            Space::Global | Space::Const => {
                Sym::Global(address_of.get(&v.name).copied().unwrap_or(0))
            }
            Space::Reg | Space::Local | Space::Param | Space::ParamEntry | Space::ParamFunc => {
                return;
            }
        };
        self.globals.insert(v.name.clone(), sym);
    }

    pub(super) fn alloc_local(&mut self, size: u32, align: u32) -> u32 {
        let off = self.code.local.next_multiple_of(align.max(1));
        self.code.local = off + size;
        off
    }

    pub(super) fn declare(&mut self, n: &Name, s: Sym) {
        if let Some(top) = self.scopes.last_mut() {
            top.insert(n.clone(), s);
        }
    }

    /// Storage of a function's results and parameters, made on first use.
    pub(crate) fn formals(&mut self, k: usize) -> (Vec<Formal>, Vec<Formal>) {
        if let Some(f) = &self.fns[k].formals {
            return f.clone();
        }
        let decl = self.fns[k].decl;
        let mut make = |list: &'m [Param]| -> Vec<Formal> {
            list.iter()
                .map(|p| match p {
                    Param::Reg(_, n) => Formal::Reg(self.slot(n)),
                    Param::Var(v) => {
                        let size = v.size() as u32;
                        Formal::Local(self.alloc_local(size, v.alignment() as u32), size)
                    }
                })
                .collect()
        };
        let r = (make(&decl.returns), make(&decl.params));
        self.fns[k].formals = Some(r.clone());
        self.queue.push(k);
        r
    }

    pub(super) fn registers(&mut self, r: &RegDecl) {
        for (n, count) in &r.names {
            let names: Vec<Name> = match count {
                None => vec![n.clone()],
                // `%r<1000000>` costs nothing: slots are made on first use.
                Some(_) => {
                    self.declare(
                        &format!("{n}<").as_str().into(),
                        Sym::Reg(count.unwrap_or(0), r.ty),
                    );
                    continue;
                }
            };
            for n in names {
                if r.vector > 1 {
                    let comps: Vec<Slot> = (0..r.vector)
                        .map(|k| self.slot(&format!("{n}.{}", b"xyzw"[k as usize] as char)))
                        .collect();
                    for (k, s) in comps.iter().enumerate() {
                        for set in ["xyzw", "rgba"] {
                            let c = &set[k..=k];
                            self.declare(&format!("{n}.{c}").as_str().into(), Sym::Reg(*s, r.ty));
                        }
                    }
                    self.declare(&n, Sym::Vector(comps));
                } else {
                    let s = self.slot(&n);
                    self.declare(&n, Sym::Reg(s, r.ty));
                }
            }
        }
    }

    pub(super) fn local_var(&mut self, v: &Var) {
        let sym = match v.space {
            Space::Shared | Space::SharedCta | Space::SharedCluster => {
                Sym::Shared(self.alloc_shared(v))
            }
            Space::Local => Sym::Local(self.alloc_local(v.size() as u32, v.alignment() as u32)),
            Space::Param | Space::ParamFunc | Space::ParamEntry => {
                let size = v.size() as u32;
                Sym::ParamLocal(self.alloc_local(size, v.alignment() as u32), size)
            }
            Space::Global | Space::Const => Sym::Global(0),
            Space::Reg => return,
        };
        self.declare(&v.name, sym);
    }

    /// What a name stands for; makes slots of `%r<N>` families on first use.
    pub(crate) fn lookup(&mut self, n: &Name) -> Option<Sym> {
        for s in self.scopes.iter().rev() {
            if let Some(x) = s.get(n) {
                return Some(x.clone());
            }
            // A member of a family `%r<N>`: the digits behind its longest family name.
            let digits = n.bytes().rev().take_while(u8::is_ascii_digit).count();
            for cut in (n.len() - digits)..n.len() {
                let (stem, num) = n.split_at(cut);
                if (num.len() > 1 && num.starts_with('0')) || num.is_empty() {
                    continue;
                }
                if let Some(Sym::Reg(count, ty)) = s.get(format!("{stem}<").as_str()).cloned()
                    && num.parse::<u32>().is_ok_and(|k| k < count)
                {
                    // Family members live as long as the function: declare beside the family.
                    let slot = self.slot(n);
                    let scope = self
                        .scopes
                        .iter_mut()
                        .rev()
                        .find(|x| x.contains_key(format!("{stem}<").as_str()));
                    if let Some(scope) = scope {
                        scope.insert(n.clone(), Sym::Reg(slot, ty));
                    }
                    return Some(Sym::Reg(slot, ty));
                }
            }
        }
        self.globals.get(n).cloned()
    }

    pub(crate) fn special_named(&mut self, n: &str) -> Option<Slot> {
        let x = match n {
            "%laneid" => Special::Laneid,
            "%warpid" => Special::Warpid,
            "%nwarpid" => Special::Nwarpid,
            "%smid" => Special::Smid,
            "%nsmid" => Special::Nsmid,
            "%gridid" => Special::Gridid,
            "%lanemask_eq" => Special::LanemaskEq,
            "%lanemask_le" => Special::LanemaskLe,
            "%lanemask_lt" => Special::LanemaskLt,
            "%lanemask_ge" => Special::LanemaskGe,
            "%lanemask_gt" => Special::LanemaskGt,
            "%dynamic_smem_size" | "%aggr_smem_size" => Special::DynamicSmem,
            "%total_smem_size" => Special::TotalSmem,
            "%cluster_nctarank" | "%is_explicit_cluster" => Special::One,
            "%cluster_ctarank" | "%envreg0" => Special::Zero,
            _ => {
                let (stem, comp) = n.rsplit_once('.')?;
                let k = ["x", "y", "z", "w"].iter().position(|c| *c == comp)? as u8;
                match stem {
                    "%tid" => Special::Tid(k),
                    "%ntid" => Special::Ntid(k),
                    "%ctaid" | "%clusterid" => Special::Ctaid(k),
                    "%nctaid" | "%nclusterid" => Special::Nctaid(k),
                    "%cluster_ctaid" => Special::Zero,
                    "%cluster_nctaid" => Special::One,
                    _ => return None,
                }
            }
        };
        Some(self.special(x))
    }

    /// A label's number.
    pub(crate) fn label(&mut self, n: &Name) -> D<usize> {
        match self.lookup(n) {
            Some(Sym::Label(id)) => Ok(id),
            Some(_) | None => refuse(format!("label `{n}`")),
        }
    }
}
