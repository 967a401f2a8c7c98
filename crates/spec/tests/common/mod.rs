// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files in memory, and shorthands over `resolve`. Shared by the tests of this folder.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::sync::Arc;

use attnc_spec::{LoadError, Loaded, Loader, Operator, Resolution, resolve};

/// Files by name, all in one folder.
#[derive(Default)]
pub struct Memory {
    pub files: HashMap<String, String>,
    pub loads: Vec<String>,
}

impl Loader for Memory {
    fn load(&mut self, _from: &str, path: &str) -> Result<Loaded, LoadError> {
        self.loads.push(path.to_owned());
        let key = path.trim_start_matches("./").to_owned();
        let text = self.files.get(&key).ok_or(LoadError::NotFound)?;
        Ok(Loaded {
            name: key.clone(),
            bytes: text.clone().into_bytes(),
            key,
        })
    }
}

/// Resolves the first file; the others can be used.
pub fn files(list: &[(&str, &str)]) -> Resolution {
    let mut memory = Memory::default();
    for (name, text) in list {
        memory.files.insert((*name).to_owned(), (*text).to_owned());
    }
    let (name, text) = list[0];
    let main = Loaded {
        key: name.to_owned(),
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    resolve(vec![Ok(main)], &mut memory)
}

/// Resolves a file that uses the library at most.
pub fn text(text: &str) -> Resolution {
    files(&[("main.attn", text)])
}

/// The codes of a resolution, in order.
pub fn codes(resolution: &Resolution) -> Vec<&'static str> {
    resolution.diagnostics.iter().map(|d| d.code.id()).collect()
}

/// `CODE text`, the text being what the primary label covers.
pub fn mistakes(source: &str) -> Vec<String> {
    let resolution = text(source);
    let list = resolution.diagnostics.iter();
    list.map(|d| {
        format!(
            "{} {}",
            d.code.id(),
            &resolution.sources.text(d.primary.span.file)[d.primary.span.range()]
        )
    })
    .collect()
}

/// The operators of a text without errors, own ones then imported ones.
pub fn operators(source: &str) -> Vec<Arc<Operator>> {
    let resolution = text(source);
    assert!(
        !resolution.has_errors(),
        "{source}\n{:?}",
        resolution.diagnostics
    );
    resolution.operators().cloned().collect()
}

/// The only, or first, operator of a text without errors.
pub fn operator(source: &str) -> Operator {
    Operator::clone(&operators(source)[0])
}

/// An attention with these items beside `heads = 2` and `head_dim = 16`.
pub fn with_items(items: &str) -> String {
    format!("attention a {{\n heads = 2, head_dim = 16\n{items}\n}}\n")
}
