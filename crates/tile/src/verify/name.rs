// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rule 26: names that the text form can carry.
//!
//! In: a program. Out: every name that cannot be written down or read back.

use std::collections::BTreeSet;

use super::{Rule, VerifyError};
use crate::core::Core;
use crate::print::names::{is_name, is_word};

/// Checks the names of a program.
pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    if !is_word(&core.name) {
        errors.push(error(
            "header",
            format!("the operator is called {:?}", core.name),
        ));
    }
    if !core.target.split('-').all(is_word) {
        errors.push(error(
            "header",
            format!("the target is called {:?}", core.target),
        ));
    }
    let bufs = core.bufs.iter().map(|b| &b.name);
    let tables = core.tables.iter().map(|t| &t.name);
    let plan = core.plan_tables.iter().map(|t| &t.name);
    distinct("header", bufs.chain(tables).chain(plan), &mut errors);
    distinct("functions", core.fns.iter().map(|f| &f.name), &mut errors);
    for f in &core.fns {
        let tiles = f.tiles.iter().chain(&f.temps).map(|(n, _)| n);
        distinct(&f.name, tiles, &mut errors);
        distinct(&f.name, f.scalars.iter(), &mut errors);
    }
    errors
}

fn error(path: &str, detail: String) -> VerifyError {
    VerifyError {
        rule: Rule::Name,
        path: path.to_string(),
        detail,
    }
}

fn distinct<'a>(path: &str, names: impl Iterator<Item = &'a String>, out: &mut Vec<VerifyError>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_name(name) {
            out.push(error(path, format!("{name:?} is no name")));
        } else if !seen.insert(name) {
            out.push(error(path, format!("`{name}` is the name of two things")));
        }
    }
}
